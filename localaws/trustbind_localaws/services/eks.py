"""EKS: the associations of EKS Pod Identity, and their tags.

Clusters are only names that somebody said are there. Source: EKS API reference, the actions named here; EKS User Guide,
"Assign an IAM role to a Kubernetes service account"; Service Authorization Reference, "Amazon Elastic Kubernetes
Service".
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind_localaws.protocol.query import AwsFailure, Call, Response
from trustbind_localaws.protocol.rest_json import json_response
from trustbind_localaws.rules.trust_policy import trusts_service
from trustbind_localaws.services.authorization import require
from trustbind_localaws.state.credentials import Identity
from trustbind_localaws.state.eks_clusters import Association, Place
from trustbind_localaws.state.state import State

__all__ = ["POD_IDENTITY", "Eks"]

POD_IDENTITY: Final = "pods.eks.amazonaws.com"
"""Who assumes the roles of associations, in every partition."""

MAX_TAGS: Final = 50
_SHAPING: Final = ("targetRoleArn", "disableSessionTags", "policy")
_PAGE: Final = 100  # ListPodIdentityAssociations, maxResults
_ALPHABET: Final = string.ascii_lowercase + string.digits


class Eks:
    """EKS's operations over one state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._handlers: Mapping[str, Callable[[Call, Identity], dict[str, Any]]] = {
            "CreatePodIdentityAssociation": self._create,
            "DeletePodIdentityAssociation": self._delete,
            "DescribePodIdentityAssociation": self._describe,
            "ListPodIdentityAssociations": self._list,
            "ListTagsForResource": self._list_tags,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "UpdatePodIdentityAssociation": self._update,
        }

    def handle(self, call: Call, identity: Identity) -> Response:
        """Answer a call of EKS.

        Raises:
            AwsFailure: it is refused.
        """
        with self._state.storage.lock:
            return json_response(self._handlers[call.operation](call, identity))

    # --- associations -------------------------------------------------------------------------------------------------

    def _create(self, call: Call, identity: Identity) -> dict[str, Any]:
        place = self._cluster(call, identity, "eks:CreatePodIdentityAssociation")
        if call.tags:
            self._may(identity, "eks:TagResource", f"{_prefix(place, identity)}:podidentityassociation/{place[2]}/*")
        namespace, service_account = _needed(call, "namespace"), _needed(call, "serviceAccount")
        role, token = self._role(call, identity), call.param("clientRequestToken")
        _check_tags(call.tags)
        known = self._at(place, namespace, service_account)
        if known is not None:
            if token and (token, role) == (known.request_token, known.role):
                return {"association": known.whole()}  # the same request, sent again
            raise AwsFailure("ResourceInUseException", f"Association already exists: {known.id}")
        made = "a-" + "".join(secrets.choice(_ALPHABET) for _ in range(17))
        arn = f"{_prefix(place, identity)}:podidentityassociation/{place[2]}/{made}"
        now = self._state.clock.now()
        association = Association(
            place,
            made,
            arn,
            namespace,
            service_account,
            role,
            request_token=token,
            created=now,
            modified=now,
            tags=dict(call.tags),
        )
        _shape(association, call)
        self._state.clusters.associations[arn] = association
        return {"association": association.whole()}

    def _list(self, call: Call, identity: Identity) -> dict[str, Any]:
        place = self._cluster(call, identity, "eks:ListPodIdentityAssociations")
        text, start = call.params.get("maxResults", str(_PAGE)), call.params.get("nextToken", "0")
        if not text.isdigit() or not 1 <= int(text) <= _PAGE or not start.isdigit():
            raise AwsFailure("InvalidParameterException", "maxResults or nextToken is not valid.")
        found = [
            each.summary()
            for each in self._state.clusters.associations.values()
            if each.place == place
            and call.param("namespace") in {"", each.namespace}
            and call.param("serviceAccount") in {"", each.service_account}
        ]
        end = int(start) + int(text)
        more = {"nextToken": str(end)} if end < len(found) else {}
        return {"associations": found[int(start) : end], **more}

    def _describe(self, call: Call, identity: Identity) -> dict[str, Any]:
        return {"association": self._found(call, identity).whole()}

    def _update(self, call: Call, identity: Identity) -> dict[str, Any]:
        association = self._found(call, identity)
        if not any(call.param(name) for name in ("roleArn", *_SHAPING)):
            raise AwsFailure("InvalidParameterException", "At least one field has to be changed.")
        role = self._role(call, identity) if call.param("roleArn") else association.role
        changed = replace(association)
        _shape(changed, call)
        association.role, association.target, association.external_id = role, changed.target, changed.external_id
        association.disable_session_tags, association.policy = changed.disable_session_tags, changed.policy
        association.modified = self._state.clock.now()
        return {"association": association.whole()}

    def _delete(self, call: Call, identity: Identity) -> dict[str, Any]:
        association = self._found(call, identity)
        del self._state.clusters.associations[association.arn]
        return {"association": association.whole()}

    # --- tags ---------------------------------------------------------------------------------------------------------

    def _tag(self, call: Call, identity: Identity) -> dict[str, Any]:
        association = self._tagged(call, identity)
        _check_tags({**association.tags, **call.tags})
        if not call.tags:
            raise AwsFailure("BadRequestException", "There are no tags.")
        association.tags |= call.tags
        return {}

    def _untag(self, call: Call, identity: Identity) -> dict[str, Any]:
        association = self._tagged(call, identity)
        for key in call.required("tagKeys").split(","):
            association.tags.pop(key, None)
        return {}

    def _list_tags(self, call: Call, identity: Identity) -> dict[str, Any]:
        return {"tags": dict(self._tagged(call, identity).tags)}

    # --- what they share ----------------------------------------------------------------------------------------------

    def _cluster(self, call: Call, identity: Identity, action: str) -> Place:
        place = (identity.account, call.region, call.required("name"))
        self._may(identity, action, f"{_prefix(place, identity)}:cluster/{place[2]}")
        if place not in self._state.clusters.places:
            raise AwsFailure("ResourceNotFoundException", f"No cluster found for name: {place[2]}.")
        return place

    def _found(self, call: Call, identity: Identity) -> Association:
        place = (identity.account, call.region, call.required("name"))
        arn = f"{_prefix(place, identity)}:podidentityassociation/{place[2]}/{call.required('associationId')}"
        self._may(identity, f"eks:{call.operation}", arn)
        if place not in self._state.clusters.places:
            raise AwsFailure("ResourceNotFoundException", f"No cluster found for name: {place[2]}.")
        if arn not in self._state.clusters.associations:
            raise AwsFailure(
                "ResourceNotFoundException", f"No association found with ID: {call.required('associationId')}."
            )
        return self._state.clusters.associations[arn]

    def _tagged(self, call: Call, identity: Identity) -> Association:
        arn = call.required("resourceArn")
        self._may(identity, f"eks:{call.operation}", arn)
        association = self._state.clusters.associations.get(arn)
        if association is None or association.place[0] != identity.account:
            raise AwsFailure("NotFoundException", f"No resource found with ARN: {arn}.")
        return association

    def _at(self, place: Place, namespace: str, service_account: str) -> Association | None:
        where = (place, namespace, service_account)
        return next(
            (
                a
                for a in self._state.clusters.associations.values()
                if (a.place, a.namespace, a.service_account) == where
            ),
            None,
        )

    def _role(self, call: Call, identity: Identity) -> str:
        """Return the role that a call names: the caller may pass it, and it trusts EKS Pod Identity at all.

        What EKS says of a role that does not is "Trust policy of the role provided is invalid"; which conditions it
        looks at, it does not tell, so none are looked at here.
        """
        text = _needed(call, "roleArn")
        try:
            arn = RoleArn.parse(text)
        except InvalidValueError:
            raise AwsFailure("InvalidParameterException", "Role provided is not a valid ARN.") from None
        self._may(identity, "iam:PassRole", text, {"iam:PassedToService": (POD_IDENTITY,)})
        self._may(identity, "iam:GetRole", text)
        if arn.account_id != identity.account:
            raise AwsFailure("InvalidParameterException", "Cross-account pass role is not allowed.")
        role = self._state.storage.role_at(arn)
        if role is None:
            raise AwsFailure("InvalidParameterException", "Role provided in the request does not exist.")
        if not trusts_service(role.assume_role_policy_document, POD_IDENTITY):
            raise AwsFailure("InvalidParameterException", "Trust policy of the role provided is invalid.")
        return text

    def _may(
        self, identity: Identity, action: str, resource: str, context: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        require(self._state.callers, identity, action, resource, context=context)


def _shape(association: Association, call: Call) -> None:
    """Take what a call says of target role, session tags and session policy.

    EKS says neither how an external id looks nor when it changes; here it is random, and stays with the association.
    """
    if target := call.param("targetRoleArn"):
        try:
            RoleArn.parse(target)
        except InvalidValueError:
            raise AwsFailure("InvalidParameterException", "Target role provided is not a valid ARN.") from None
        association.target = target
        association.external_id = association.external_id or secrets.token_hex(16)
    if text := call.param("disableSessionTags"):
        association.disable_session_tags = text == "true"
    association.policy = call.param("policy") or association.policy
    if association.policy and not association.disable_session_tags:
        raise AwsFailure("InvalidParameterException", "A policy needs disableSessionTags to be true.")


def _prefix(place: Place, identity: Identity) -> str:
    return f"arn:{identity.partition}:eks:{place[1]}:{place[0]}"


def _needed(call: Call, name: str) -> str:
    value = call.param(name)
    if not value:
        raise AwsFailure("InvalidParameterException", f"{name} can't be empty.")
    return value


def _check_tags(tags: Mapping[str, str]) -> None:
    """Check number, lengths and names (EKS User Guide, "Tag restrictions")."""
    if len(tags) > MAX_TAGS:
        raise AwsFailure("InvalidParameterException", f"A resource has at most {MAX_TAGS} tags.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):  # noqa: PLR2004 - see above
            raise AwsFailure("InvalidParameterException", f"The tag {key} is not valid.")
