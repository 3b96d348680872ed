"""From a call to its answer: who calls, what is set to go wrong, the operation, the journal."""

from __future__ import annotations

import logging
from typing import Final

from trustbind_localaws.callers import Identity
from trustbind_localaws.faults import DroppedError
from trustbind_localaws.iam import Iam
from trustbind_localaws.oidc import Oidc
from trustbind_localaws.protocol import AwsFailure, Call, Response, error_response, parse_call
from trustbind_localaws.records import CallRecord
from trustbind_localaws.state import State
from trustbind_localaws.sts import Sts

__all__ = ["Dispatcher"]

_LOG = logging.getLogger(__name__)
_RESOURCES: Final = ("RoleName", "RoleArn", "OpenIDConnectProviderArn", "UserName", "PolicyArn", "Url")
_DROPPED: Final = "Dropped"


class Dispatcher:
    """Answers calls over one state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._iam = Iam(state)
        self._oidc = Oidc(state)
        self._sts = Sts(state)

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
                self._state.faults.check([account], call.operation, "")
                response = self._sts.assume_role_with_web_identity(call)
            else:
                target, account = account, ""
                identity = self._state.callers.identify(call)
                account = identity.account
                self._state.faults.check([account, target], call.operation, identity.arn)
                response = self._operate(call, identity)
            code = response.code
        except AwsFailure as failure:
            code = failure.code
            response = error_response(failure, service=call.service, request_id=call.request_id)
        except DroppedError:
            code = _DROPPED
            raise
        except Exception:  # noqa: BLE001 - a client must get an answer to whatever went wrong here
            code = "InternalFailure"
            _LOG.exception("the local AWS failed in %s", call.operation)
            defect = AwsFailure(code, "The local AWS has a defect; its log shows where.")
            response = error_response(defect, service=call.service, request_id=call.request_id)
        finally:
            resource = next((call.params[name] for name in _RESOURCES if call.params.get(name)), "")
            caller = identity.arn if identity else ""
            self._state.journal.add_call(CallRecord(account, call.operation, resource, caller, code))
        return response

    def _operate(self, call: Call, identity: Identity) -> Response:
        if call.service == "iam":
            return self._iam.handle(call, identity, self._oidc.handlers)
        if call.operation == "AssumeRole":
            return self._sts.assume_role(call, identity)
        if call.operation == "GetCallerIdentity":
            return self._sts.get_caller_identity(call, identity)
        raise AwsFailure("InvalidAction", f"The action {call.operation} is not part of this local AWS.")


def _account_in(arn: str) -> str:
    parts = arn.split(":")
    return parts[4] if len(parts) > 4 else ""  # noqa: PLR2004 - an ARN's fifth part
