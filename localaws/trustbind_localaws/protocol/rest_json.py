"""AWS's REST-JSON protocol, as far as EKS's associations need it: from a request to a `Call`, and back to JSON.

Source: the "rest-json" protocol of AWS's API models, which EKS (2017-11-01) speaks: the path says the operation, JSON
in and out, the error's code in a header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from trustbind_localaws.protocol.query import AwsFailure, Call, Response, credential_scope

__all__ = ["REST_SERVICES", "json_error", "json_response", "parse_rest_call"]

REST_SERVICES: Final = ("eks", "eks-auth")
"""The services whose operations follow from method and path; as credential scopes name them."""

_ROUTES: Final = tuple(
    (method, re.compile(path), operation)
    for method, path, operation in (
        ("POST", r"/clusters/(?P<name>[^/]+)/pod-identity-associations", "CreatePodIdentityAssociation"),
        ("GET", r"/clusters/(?P<name>[^/]+)/pod-identity-associations", "ListPodIdentityAssociations"),
        (
            "GET",
            r"/clusters/(?P<name>[^/]+)/pod-identity-associations/(?P<associationId>[^/]+)",
            "DescribePodIdentityAssociation",
        ),
        (
            "POST",
            r"/clusters/(?P<name>[^/]+)/pod-identity-associations/(?P<associationId>[^/]+)",
            "UpdatePodIdentityAssociation",
        ),
        (
            "DELETE",
            r"/clusters/(?P<name>[^/]+)/pod-identity-associations/(?P<associationId>[^/]+)",
            "DeletePodIdentityAssociation",
        ),
        ("POST", r"/clusters/(?P<name>[^/]+)/assume-role-for-pod-identity", "AssumeRoleForPodIdentity"),
        ("POST", r"/tags/(?P<resourceArn>[^/]+)", "TagResource"),
        ("DELETE", r"/tags/(?P<resourceArn>[^/]+)", "UntagResource"),
        ("GET", r"/tags/(?P<resourceArn>[^/]+)", "ListTagsForResource"),
    )
)

_CODES: Final = {
    "AccessDenied": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "InternalFailure": "ServerException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "Throttling": "ThrottlingException",
}
"""What the query protocol's codes are called here (EKS API reference, "Common Errors")."""

_STATUS: Final = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "MissingAuthenticationTokenException": 403,
    "NotFoundException": 404,
    "ResourceInUseException": 409,
    "ResourceNotFoundException": 404,
    "ServerException": 500,
    "ThrottlingException": 429,
    "UnrecognizedClientException": 403,
}
"""HTTP status by error code; 400 where a code is not here (EKS API reference, "Errors" of each action)."""


def parse_rest_call(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Call:
    """Return the call that an HTTP request makes.

    Args:
        method: of HTTP.
        target: path and query.
        headers: with their names in lower case.
        body: JSON, or nothing.

    Raises:
        AwsFailure: the path is no operation's, or the body is no JSON object.
    """
    parts = urlsplit(target)
    found = next(
        (
            (match, operation)
            for verb, path, operation in _ROUTES
            if verb == method and (match := path.fullmatch(parts.path))
        ),
        None,
    )
    if found is None:
        raise AwsFailure("InvalidRequestException", f"{method} {parts.path} is not part of this local AWS.")
    match, operation = found
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise AwsFailure("InvalidRequestException", "The body is not a JSON object.")
    query = {name: ",".join(values) for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    texts = {name: value for name, value in document.items() if isinstance(value, str)}
    texts |= {name: str(value).lower() for name, value in document.items() if isinstance(value, bool)}
    tags = document.get("tags")
    access_key, region, service = credential_scope(headers.get("authorization", ""))
    return Call(
        service=service or "eks",
        operation=operation,
        params={**texts, **query, **{name: unquote(value) for name, value in match.groupdict().items()}},
        access_key=access_key,
        token=headers.get("x-amz-security-token", ""),
        region=region,
        headers=headers,
        tags={str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {},
    )


def json_response(result: Mapping[str, Any] | None = None) -> Response:
    """Return the answer of a call that succeeded."""
    return Response(200, json.dumps(result or {}).encode(), "application/json")


def json_error(failure: AwsFailure) -> Response:
    """Return the answer of a call that was refused."""
    code = _CODES.get(failure.code, failure.code)
    return Response(
        _STATUS.get(code, 400),
        json.dumps({"message": failure.message}).encode(),
        "application/json",
        code=code,
        headers={"x-amzn-ErrorType": code},
    )
