"""Which condition keys STS fills. Each key has a role of its own, which a control statement proves to be usable.

The statement under test asks that the key is there (``Null`` with the value false); a refusal means that it is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aws_probes.catalog.calls import ACCOUNT_ROOT, DENIED, allow, assume, create_role, document
from aws_probes.catalog.web_identity import CONTROL, PROVIDER, WEB, exchange, provider
from aws_probes.model import Call, Need, Probe

__all__ = ["PROBES"]

_CONTROL_ID: Final = {"ExternalId": "control"}

_OF_ASSUME_ROLE: Final = {
    "aws:CurrentTime": True,
    "aws:EpochTime": True,
    "aws:PrincipalAccount": True,
    "aws:PrincipalArn": True,
    "aws:PrincipalType": True,
    "aws:RequestedRegion": True,
    "aws:SecureTransport": True,
    "aws:SourceIp": True,
    "aws:UserAgent": True,
    "aws:userid": True,
    "sts:ExternalId": False,
    "sts:RoleSessionName": True,
    "sts:SourceIdentity": False,
}
"""Keys of a request of AssumeRole without external id and source identity: whether trustbind assumes that it has them.

Source: IAM User Guide, "AWS global condition context keys" and "IAM and AWS STS condition context keys".
"""

_OF_WEB_IDENTITY: Final = {
    "aws:CurrentTime": True,
    "aws:EpochTime": True,
    "aws:PrincipalArn": False,
    "aws:RequestedRegion": True,
    "aws:SecureTransport": True,
    "aws:SourceIp": True,
    "aws:UserAgent": True,
    "sts:RoleSessionName": True,
    "sts:ExternalId": False,
    "@{issuer}:amr": True,
    "@{issuer}:aud": True,
    "@{issuer}:sub": True,
    "@{issuer}:oaud": False,
    "@{issuer}:iss": False,
    "@{issuer}:kubernetes.io": False,
}
"""The same for AssumeRoleWithWebIdentity, with a token that has the claims amr and kubernetes.io and not azp."""


def _short(key: str) -> str:
    return "key-" + key.rpartition("}")[2].replace(":", "-").strip("-").replace(".", "-").lower()


def _assume_role() -> Iterable[Call]:
    for key in _OF_ASSUME_ROLE:
        yield create_role(
            _short(key),
            document(
                allow({"AWS": ACCOUNT_ROOT}, StringEquals={"sts:ExternalId": "control"}),
                allow({"AWS": ACCOUNT_ROOT}, Null={key: "false"}),
            ),
        )
    for key, is_there in _OF_ASSUME_ROLE.items():
        yield assume(_short(key), f"control of {key}", more=_CONTROL_ID, settles=True)
        yield assume(_short(key), key, assumes="" if is_there else DENIED)


def _web_identity() -> Iterable[Call]:
    yield provider()
    claims: Mapping[str, Any] = {"subject": "system:serviceaccount:team-a:reader", "amr": ["authenticated"]}
    for key in _OF_WEB_IDENTITY:
        yield create_role(
            _short(key),
            document(
                allow(PROVIDER, WEB, StringEquals={"@{issuer}:sub": CONTROL}),
                allow(PROVIDER, WEB, Null={key: "false"}),
            ),
        )
    for key, is_there in _OF_WEB_IDENTITY.items():
        yield exchange(_short(key), f"control of {key}", {"subject": CONTROL}, settles=True)
        yield exchange(_short(key), key, claims, assumes="" if is_there else DENIED)


PROBES: Final = (
    Probe(
        "keys-assume-role",
        "Which keys STS fills for AssumeRole",
        tuple(_assume_role()),
    ),
    Probe(
        "keys-web-identity",
        "Which keys STS fills for AssumeRoleWithWebIdentity: of the request, and of the token",
        tuple(_web_identity()),
        frozenset({Need.ISSUER}),
    ),
)
