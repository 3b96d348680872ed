"""The statements that one cluster owns in a trust policy: how they are named, recognised and built.

A Sid is ``Trustbind`` and 16 hex digits. The first eight derive from the issuer, so that everything that a cluster
wrote can be told from its Sid alone, whatever somebody did to the rest of the statement; the other eight derive from
the statement's key. A Sid has letters and digits only (IAM User Guide, "IAM JSON policy elements: Sid").
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.api.federated_subjects import is_one_issuer
from trustbind.api.role_binding import ExtraCondition
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.trust_document import Statement

__all__ = [
    "PREFIX",
    "ChainKey",
    "FederatedKey",
    "Named",
    "StatementKey",
    "WebIdentityKey",
    "build",
    "check_conditions",
    "check_issuer",
    "disowned",
    "is_owned",
    "is_retained",
    "owner_prefix",
    "placeholder",
    "sid_of",
    "subjects_of",
]

PREFIX: Final = "Trustbind"
_HALF: Final = 8
_SID = re.compile(rf"{PREFIX}[0-9a-f]{{16}}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class WebIdentityKey:
    """What tells one web-identity statement of a role from another: its subjects are grouped into it."""

    audience: str
    conditions: tuple[ExtraCondition, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class ChainKey:
    """What tells one statement for a source role from another (method AssumeRole).

    Attributes:
        source: the role that is let in.
        external_id: that it has to send; empty: none.
        conditions: further ones.
        via_root: whether the principal is the source role's account, and a condition names the role. IAM stores a role
            that is a principal by its unique id, so a role that is created again under its name is not let in any
            more; an account with a condition on ``aws:PrincipalArn`` is not concerned (IAM User Guide, "AWS JSON
            policy elements: Principal").
    """

    source: RoleArn
    external_id: str = ""
    conditions: tuple[ExtraCondition, ...] = ()
    via_root: bool = False


@dataclass(frozen=True, slots=True, order=True)
class FederatedKey:
    """What tells one statement for another issuer's tokens from another: its subjects are grouped into it.

    Attributes:
        issuer: that issuer, never the cluster's own.
        audience: of its tokens.
        conditions: further ones.
    """

    issuer: Issuer
    audience: str
    conditions: tuple[ExtraCondition, ...] = ()


StatementKey = WebIdentityKey | ChainKey | FederatedKey

Named = Subject | str
"""Whom a statement lets in: an account, or a pattern over another issuer's subjects."""


def owner_prefix(issuer: Issuer) -> str:
    """Return the beginning of every Sid that the cluster with this issuer writes."""
    return PREFIX + _digest(issuer.url)


def is_owned(statement: Statement, issuer: Issuer) -> bool:
    """Return whether the cluster with this issuer wrote the statement; decided by the Sid alone."""
    sid = statement.get("Sid", "")
    return isinstance(sid, str) and sid.startswith(owner_prefix(issuer)) and _SID.fullmatch(sid) is not None


def sid_of(issuer: Issuer, key: StatementKey) -> str:
    """Return the Sid of the statement with this key: the same after every restart."""
    conditions = [[c.operator, c.key, sorted(c.values)] for c in sorted(key.conditions)]
    parts: list[Any]
    match key:
        case WebIdentityKey():
            parts = ["web", key.audience, conditions]
        case FederatedKey():
            parts = ["federated", key.issuer.url, key.audience, conditions]
        case ChainKey():
            parts = ["chain", str(key.source), key.external_id, conditions, *(["root"] if key.via_root else [])]
    return owner_prefix(issuer) + _digest(json.dumps(parts, separators=(",", ":")))


def build(issuer: Issuer, role: RoleArn, key: StatementKey, subjects: Iterable[Named] = ()) -> dict[str, Any]:
    """Return the owned statement.

    Args:
        issuer: the cluster's issuer.
        role: the role in whose trust policy it will stand.
        key: see the key classes.
        subjects: of a web-identity statement; grouped and sorted here, and never empty.

    Raises:
        InvalidValueError: a further condition is about the audience, the subject or the external id, which the
            statement states itself, there is no subject, or the cluster's own issuer is named as another one.
    """
    check_conditions(issuer, key)
    names = sorted({str(s) for s in subjects})
    base: dict[str, dict[str, Any]]
    action = "sts:AssumeRoleWithWebIdentity"
    if isinstance(key, WebIdentityKey):
        if not names:
            raise InvalidValueError("a statement without a subject would let every account of the cluster in")
        principal = {"Federated": str(issuer.provider_for(role))}
        base = {"StringEquals": {issuer.audience_key: key.audience, issuer.subject_key: names}}
    elif isinstance(key, FederatedKey):
        check_issuer(issuer, key.issuer)
        if not names:
            raise InvalidValueError(f"a statement without a subject would let everybody of {key.issuer} in")
        principal = {"Federated": str(key.issuer.provider_for(role))}
        base = {
            "StringEquals": {key.issuer.audience_key: key.audience},
            "StringLike": {key.issuer.subject_key: names},
        }
    else:
        action = "sts:AssumeRole"
        root = f"arn:{key.source.partition}:iam::{key.source.account_id}:root"
        principal = {"AWS": root if key.via_root else str(key.source)}
        stated = {"sts:ExternalId": key.external_id} if key.external_id else {}
        if key.via_root:
            stated["aws:PrincipalArn"] = str(key.source)
        base = {"StringEquals": stated} if stated else {}
    statement: dict[str, Any] = {
        "Sid": sid_of(issuer, key),
        "Effect": "Allow",
        "Principal": principal,
        "Action": action,
    }
    if condition := _with_conditions(base, key.conditions):
        statement["Condition"] = condition
    return statement


def check_issuer(issuer: Issuer, other: Issuer) -> None:
    """Check that another issuer is not the cluster's own.

    Its accounts would be let in past what a grant says of service accounts and namespaces.

    Raises:
        InvalidValueError: it is.
    """
    if is_one_issuer(issuer, other):
        raise InvalidValueError(
            f"{other} is this cluster's own issuer; name its accounts in spec.serviceAccountNames, each namespace's in "
            "a binding of its own"
        )


def check_conditions(issuer: Issuer, key: StatementKey) -> None:
    """Check that no further condition is about what the statement states itself.

    Raises:
        InvalidValueError: one is about the audience or the subject; in a chain, about the external id.
    """
    if isinstance(key, ChainKey):
        stated = {"sts:externalid"} if key.external_id else set()
    else:
        whose = key.issuer if isinstance(key, FederatedKey) else issuer
        stated = {whose.audience_key.lower(), whose.subject_key.lower()}
    for condition in sorted(key.conditions):
        if condition.key.lower() in stated:
            raise InvalidValueError(
                f"a further condition on {condition.key} is not possible: the statement states it itself"
            )


def subjects_of(statement: Statement, issuer: Issuer, *, of_cluster: bool = True) -> frozenset[str]:
    """Return the subjects that a statement lets in; empty for one of another kind, or one that was tampered with.

    Args:
        statement: the statement.
        issuer: whose tokens.
        of_cluster: whether it is the cluster's own issuer; another one's subjects are patterns.
    """
    condition = statement.get("Condition")
    block = condition.get("StringEquals" if of_cluster else "StringLike") if isinstance(condition, Mapping) else None
    value = block.get(issuer.subject_key) if isinstance(block, Mapping) else None
    listed = [value] if isinstance(value, str) else value
    return frozenset(v for v in listed if isinstance(v, str)) if isinstance(listed, list) else frozenset()


def is_retained(statement: Statement) -> bool:
    """Return whether a statement is one that `disowned` makes, of whichever cluster."""
    return str(statement.get("Sid", "")).startswith(f"{PREFIX}Retained")


def disowned(statement: Statement, subjects: Iterable[Named]) -> dict[str, Any]:
    """Return ``statement`` under a Sid that no cluster owns: what a binding leaves that is deleted with ``Retain``."""
    names = ",".join(sorted(str(s) for s in subjects))
    return {**statement, "Sid": f"{PREFIX}Retained{_digest(str(statement['Sid']) + names)}"}


def placeholder(issuer: Issuer, role: RoleArn) -> dict[str, Any]:
    """Return the statement that stands alone when nothing else is left.

    IAM refuses a policy without a statement, so the last one cannot simply go. This one lets nobody in, and keeps
    nobody else out: it denies only this cluster's own provider.
    """
    return {
        "Sid": owner_prefix(issuer) + "0" * _HALF,
        "Effect": "Deny",
        "Principal": {"Federated": str(issuer.provider_for(role))},
        "Action": "sts:AssumeRoleWithWebIdentity",
    }


def _with_conditions(base: Mapping[str, dict[str, Any]], extra: tuple[ExtraCondition, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {operator: dict(block) for operator, block in base.items()}
    for condition in sorted(extra):
        values = sorted(condition.values)
        block = result.setdefault(condition.operator, {})
        block[condition.key] = values[0] if len(values) == 1 else values
    return result


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]
