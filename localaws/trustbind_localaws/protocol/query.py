"""AWS's query protocol: from a request's bytes to a `Call`, and from a result or an error to XML.

Source: the "query" protocol of AWS's API models, which IAM (2010-05-08) and STS (2011-06-15) speak: a form with
``Action`` and ``Version`` in, XML out.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

__all__ = [
    "AwsFailure",
    "Call",
    "Response",
    "credential_scope",
    "error_response",
    "parse_call",
    "response_of",
    "timestamp",
]

NAMESPACES: Final = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}

_STATUS: Final = {
    "AccessDenied": 403,
    "EntityAlreadyExists": 409,
    "ExpiredToken": 403,
    "InternalFailure": 500,
    "InvalidClientTokenId": 403,
    "LimitExceeded": 409,
    "MissingAuthenticationToken": 403,
    "NoSuchEntity": 404,
}
"""HTTP status by error code; 400 where a code is not here (API references of IAM and STS, "Errors")."""

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/[0-9]{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
_REGION: Final = "us-east-1"
_STS_ACTIONS: Final = frozenset({"AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "GetCallerIdentity"})


class AwsFailure(Exception):  # noqa: N818 - the word in AWS's model is exception or error; this is the refusal itself
    """A call that AWS refuses.

    Attributes:
        code: AWS's error code.
        message: AWS's message.
        status: HTTP status.
        why: what AWS does not tell the caller; goes to the decisions log only.
    """

    def __init__(self, code: str, message: str, *, why: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = _STATUS.get(code, 400)
        self.why = why


@dataclass(frozen=True, slots=True)
class Call:
    """One API call as it came in.

    Attributes:
        service: ``iam``, ``sts`` or ``eks``; what the credential scope says, else told from the action.
        operation: such as ``GetRole``.
        params: the form, flat, as the protocol has it (``ClientIDList.member.1``); of EKS, path, query and the texts
            of the body.
        access_key: the access key id; empty for an unsigned call.
        token: the session token; empty when none was sent.
        region: of the credential scope.
        headers: as received.
        request_id: made up here, for the answer.
        tags: those that the body of a call of EKS brings.
    """

    service: str
    operation: str
    params: Mapping[str, str]
    access_key: str = ""
    token: str = ""
    region: str = _REGION
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    tags: Mapping[str, str] = field(default_factory=dict)

    def param(self, name: str) -> str:
        """Return a parameter; empty when it was not sent."""
        return self.params.get(name, "")

    def required(self, name: str) -> str:
        """Return a parameter.

        Raises:
            AwsFailure: it was not sent.
        """
        value = self.params.get(name)
        if value is None:
            member = name[:1].lower() + name[1:]
            raise AwsFailure(
                "ValidationError",
                f"1 validation error detected: Value at '{member}' failed to satisfy constraint: "
                "Member must not be null",
            )
        return value

    def members(self, name: str) -> list[str]:
        """Return the values of a list parameter, in their order."""
        prefix = f"{name}.member."
        found = [(key.removeprefix(prefix), value) for key, value in self.params.items() if key.startswith(prefix)]
        return [value for index, value in sorted(found, key=lambda pair: pair[0].zfill(6)) if index.isdigit()]


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back.

    Attributes:
        status: HTTP status.
        body: the bytes.
        content_type: of the body.
        code: the AWS error code; empty for a success.
        headers: further ones.
    """

    status: int
    body: bytes
    content_type: str = "text/xml"
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def credential_scope(text: str) -> tuple[str, str, str]:
    """Return access key, region and service of a signature's credential; without one, only a region.

    Source: IAM User Guide, "Elements of an AWS API request signature".
    """
    scope = _CREDENTIAL.search(text)
    return (scope[1], scope[2], scope[3]) if scope else ("", _REGION, "")


def parse_call(headers: Mapping[str, str], body: bytes) -> Call:
    """Return the call that an HTTP request makes.

    Args:
        headers: with their names in lower case.
        body: the form; of a presigned request the query, which then has the caller as well (IAM user guide, "Add the
            signature to a request").

    Raises:
        AwsFailure: there is no action, or it is of another service.
    """
    params = dict(parse_qsl(body.decode("utf-8", errors="replace"), keep_blank_values=True))
    operation = params.get("Action", "")
    signed_by = headers.get("authorization") or f"Credential={params.get('X-Amz-Credential', '')}"
    access_key, region, signed_for = credential_scope(signed_by)
    service = signed_for or ("sts" if operation in _STS_ACTIONS else "iam")
    call = Call(
        service=service,
        operation=operation,
        params=params,
        access_key=access_key,
        token=headers.get("x-amz-security-token") or params.get("X-Amz-Security-Token", ""),
        region=region,
        headers=headers,
    )
    if service not in NAMESPACES:
        raise AwsFailure("InvalidAction", f"This local AWS has IAM and STS; {service} is not there.")
    if not operation:
        raise AwsFailure("MissingAction", "The request must contain the parameter Action.")
    return call


def response_of(call: Call, result: Mapping[str, Any] | None = None) -> Response:
    """Return the answer of a call that succeeded.

    Args:
        call: the call.
        result: member name to text, mapping, or sequence; None for an operation without a result.
    """
    inner = ""
    if result is not None:
        inner = f"<{call.operation}Result>{_members(result)}</{call.operation}Result>"
    return Response(
        200,
        (
            f'<{call.operation}Response xmlns="{NAMESPACES[call.service]}">{inner}'
            f"<ResponseMetadata><RequestId>{call.request_id}</RequestId></ResponseMetadata>"
            f"</{call.operation}Response>"
        ).encode(),
    )


def error_response(failure: AwsFailure, *, service: str = "iam", request_id: str = "") -> Response:
    """Return the answer of a call that was refused."""
    kind = "Receiver" if failure.status >= 500 else "Sender"  # noqa: PLR2004 - HTTP's server errors
    return Response(
        failure.status,
        (
            f'<ErrorResponse xmlns="{NAMESPACES.get(service, NAMESPACES["iam"])}"><Error><Type>{kind}</Type>'
            f"<Code>{escape(failure.code)}</Code><Message>{escape(failure.message)}</Message></Error>"
            f"<RequestId>{request_id or uuid.uuid4()}</RequestId></ErrorResponse>"
        ).encode(),
        code=failure.code,
    )


def timestamp(moment: datetime) -> str:
    """Return a moment as the protocol writes it: ISO 8601, UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _members(value: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items())


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return _members(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(f"<member>{_xml(item)}</member>" for item in value)
    return escape(str(value))
