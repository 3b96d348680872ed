"""EKS Auth: what the EKS Pod Identity agent on a node asks for a pod.

Sources: EKS Auth API reference, AssumeRoleForPodIdentity; EKS User Guide, "Access AWS Resources using EKS Pod Identity
Target IAM Roles" (two role assumptions, credentials of the target role for 59 minutes). Session policies narrow nothing
here, as no session's permissions are modelled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.evaluation import Caller, PrincipalKind, Request, evaluate_call, request_context
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind_localaws.protocol.query import AwsFailure, Call, Response
from trustbind_localaws.protocol.rest_json import json_response
from trustbind_localaws.services.authorization import require
from trustbind_localaws.services.eks import POD_IDENTITY
from trustbind_localaws.services.sts import Sts, sent_with
from trustbind_localaws.state.credentials import Identity, Session
from trustbind_localaws.state.eks_clusters import Association
from trustbind_localaws.state.state import State
from trustbind_localaws.tokens.issuer_keys import read_token

__all__ = ["EksAuth"]

_SECONDS: Final = 6 * 3600
_CHAINED_SECONDS: Final = 59 * 60


class EksAuth:
    """EKS Auth's one operation over one state.

    Args:
        state: of the local AWS.
        sts: assumes target roles.
    """

    def __init__(self, state: State, sts: Sts) -> None:
        self._state = state
        self._sts = sts

    def assume_role_for_pod_identity(self, call: Call, identity: Identity) -> Response:
        """Return the credentials of the role that the token's service account is associated with, or of its target.

        Raises:
            AwsFailure: the caller may not, the token is wrong, there is no association, or a role refuses.
        """
        place = (identity.account, call.region, call.required("name"))
        cluster = f"arn:{identity.partition}:eks:{place[1]}:{place[0]}:cluster/{place[2]}"
        require(self._state.callers, identity, "eks-auth:AssumeRoleForPodIdentity", cluster)
        if place not in self._state.clusters.places:
            raise AwsFailure("ResourceNotFoundException", f"No cluster found for name: {place[2]}.")
        subject = self._subject(call)
        association = next(
            (
                each
                for each in self._state.clusters.associations.values()
                if (each.place, each.namespace, each.service_account) == (place, subject.namespace, subject.name)
            ),
            None,
        )
        if association is None:
            raise AwsFailure("ResourceNotFoundException", f"No association found for {subject}.")
        session = self._associated(association, cluster, call)
        if association.target:
            session = self._chained(association, session, call)
        return json_response(_answer(association, session))

    def _subject(self, call: Call) -> Subject:
        try:
            token = read_token(call.required("token"))
            self._state.issuers.verify(token, self._state.clock.now())
            subject = Subject.parse(token.subject)
        except (AwsFailure, InvalidValueError) as error:
            raise AwsFailure("InvalidTokenException", f"The token is not valid: {error}") from None
        if POD_IDENTITY not in token.audience:
            raise AwsFailure("InvalidTokenException", f"The token is not for {POD_IDENTITY}.")
        return subject

    def _associated(self, association: Association, cluster: str, call: Call) -> Session:
        """Return a session of the association's role, as EKS assumes it."""
        arn = RoleArn.parse(association.role)
        role = self._state.storage.role_at(arn)
        refusal = AwsFailure("AccessDeniedException", f"EKS may not assume {association.role}.")
        if role is None:
            raise refusal
        known: dict[str, Sequence[str]] = {"aws:SourceArn": [cluster], "aws:SourceAccount": [association.place[0]]}
        if not association.disable_session_tags:
            tags = _tags(association, cluster)
            known |= {f"aws:RequestTag/{key}": [value] for key, value in tags.items()}
            known["aws:TagKeys"] = list(tags)
        caller = Caller(PrincipalKind.SERVICE, POD_IDENTITY)
        context = request_context(
            caller,
            role=arn,
            now=self._state.clock.now(),
            known=sent_with(call, _session_name(association)) | known,
            is_whole=True,
        )
        document = json.loads(self._state.visibility.read(role))
        if not evaluate_call(document, Request(caller, "sts:AssumeRole", context, arn)).allowed:
            raise refusal
        return self._state.callers.open_session(role, _session_name(association), _SECONDS)

    def _chained(self, association: Association, session: Session, call: Call) -> Session:
        """Return a session of the target role, which the association's role assumes with external id and tags."""
        params = {
            "RoleArn": association.target,
            "RoleSessionName": _session_name(association),
            "DurationSeconds": str(_CHAINED_SECONDS),
            "ExternalId": association.external_id,
        }
        if not association.disable_session_tags:
            params["Tags.member.1.Key"] = "kubernetes-namespace"
            params["Tags.member.1.Value"] = association.namespace
        chained = Call("sts", "AssumeRole", params, session.access_key, session.token, call.region, {})
        return self._sts.session(chained, self._state.callers.identify(chained))


def _tags(association: Association, cluster: str) -> Mapping[str, str]:
    return {
        "eks-cluster-arn": cluster,
        "eks-cluster-name": association.place[2],
        "kubernetes-namespace": association.namespace,
        "kubernetes-service-account": association.service_account,
    }


def _session_name(association: Association) -> str:
    return f"eks-{association.place[2]}-{association.id}"[:64]


def _answer(association: Association, session: Session) -> dict[str, Any]:
    return {
        "subject": {"namespace": association.namespace, "serviceAccount": association.service_account},
        "audience": POD_IDENTITY,
        "podIdentityAssociation": {"associationArn": association.arn, "associationId": association.id},
        "assumedRoleUser": {"arn": session.arn, "assumeRoleId": f"{session.role_id}:{session.name}"},
        "credentials": {
            "accessKeyId": session.access_key,
            "secretAccessKey": session.secret,
            "sessionToken": session.token,
            "expiration": session.expires.timestamp(),
        },
    }
