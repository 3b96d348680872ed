"""From a call to its answer: who calls, what is set to go wrong, the operation, the journal."""

from __future__ import annotations

import logging
from typing import Final

from trustbind_localaws.protocol.query import AwsFailure, Call, Response, error_response, parse_call
from trustbind_localaws.protocol.rest_json import REST_SERVICES, json_error, parse_rest_call
from trustbind_localaws.services.eks import Eks
from trustbind_localaws.services.eks_auth import EksAuth
from trustbind_localaws.services.iam import Iam
from trustbind_localaws.services.oidc_provider import Oidc
from trustbind_localaws.services.sts import Sts
from trustbind_localaws.state.call_log import CallRecord
from trustbind_localaws.state.credentials import Identity
from trustbind_localaws.state.faults import DroppedError
from trustbind_localaws.state.state import State

__all__ = ["Dispatcher"]

_LOG = logging.getLogger(__name__)
_RESOURCES: Final = ("RoleName", "RoleArn", "OpenIDConnectProviderArn", "UserName", "PolicyArn", "Url")
_EKS_RESOURCES: Final = ("resourceArn", "associationId", "serviceAccount", "namespace", "name")
_DROPPED: Final = "Dropped"


class Dispatcher:
    """Answers calls over one state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._iam = Iam(state)
        self._oidc = Oidc(state)
        self._sts = Sts(state)
        self._eks = Eks(state)
        self._eks_auth = EksAuth(state, self._sts)

    def handle_rest(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Response:
        """Return the answer to an HTTP request of EKS or EKS Auth, whose operation follows from method and path.

        Args:
            method: of HTTP.
            target: path and query.
            headers: with their names in lower case.
            body: JSON, or nothing.

        Raises:
            DroppedError: there is to be no answer.
        """
        try:
            call = parse_rest_call(method, target, headers, body)
        except AwsFailure as failure:
            return json_error(failure)
        return self.answer(call)

    def handle(self, headers: dict[str, str], body: bytes) -> Response:
        """Return the answer to an HTTP request.

        Args:
            headers: with their names in lower case.
            body: the form.

        Raises:
            DroppedError: there is to be no answer.
        """
        try:
            call = parse_call(headers, body)
        except AwsFailure as failure:
            return error_response(failure)
        return self.answer(call)

    def answer(self, call: Call) -> Response:
        """Return the answer to a call, and note it.

        Raises:
            DroppedError: there is to be no answer.
        """
        identity: Identity | None = None
        account = _account_in(call.param("RoleArn"))
        code = ""
        try:
            if call.operation == "AssumeRoleWithWebIdentity":
                self._state.faults.check([account], call.operation, "", call.service)
                response = self._sts.assume_role_with_web_identity(call)
            else:
                target, account = account, ""
                identity = self._state.callers.identify(call)
                account = identity.account
                self._state.faults.check([account, target], call.operation, identity.arn, call.service)
                response = self._operate(call, identity)
            code = response.code
            self._state.faults.check_silence(account, call.operation)
        except AwsFailure as failure:
            response = _refusal(failure, call)
            code = response.code
        except DroppedError:
            code = _DROPPED
            raise
        except Exception:  # noqa: BLE001 - a client must get an answer to whatever went wrong here
            code = "InternalFailure"
            _LOG.exception("the local AWS failed in %s", call.operation)
            defect = AwsFailure(code, "The local AWS has a defect; its log shows where.")
            response = _refusal(defect, call)
        finally:
            names = _EKS_RESOURCES if call.service in REST_SERVICES else _RESOURCES
            resource = next((call.params[name] for name in names if call.params.get(name)), "")
            caller = identity.arn if identity else ""
            self._state.journal.add_call(CallRecord(account, call.operation, resource, caller, code, call.service))
        return response

    def _operate(self, call: Call, identity: Identity) -> Response:
        if call.operation == "AssumeRoleForPodIdentity":
            return self._eks_auth.assume_role_for_pod_identity(call, identity)
        if call.service == "eks":
            return self._eks.handle(call, identity)
        if call.service == "iam":
            return self._iam.handle(call, identity, self._oidc.handlers)
        if call.operation == "AssumeRole":
            return self._sts.assume_role(call, identity)
        if call.operation == "GetCallerIdentity":
            return self._sts.get_caller_identity(call, identity)
        raise AwsFailure("InvalidAction", f"The action {call.operation} is not part of this local AWS.")


def _refusal(failure: AwsFailure, call: Call) -> Response:
    if call.service in REST_SERVICES:
        return json_error(failure)
    return error_response(failure, service=call.service, request_id=call.request_id)


def _account_in(arn: str) -> str:
    parts = arn.split(":")
    return parts[4] if len(parts) > 4 else ""  # noqa: PLR2004 - an ARN's fifth part
