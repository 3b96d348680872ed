"""The statements that one cluster owns in a trust policy: how they are named, recognised and built.

A Sid is ``Trustbind`` and 32 hex digits. The first 16 derive from the issuer, the other 16 from the statement's key. A
Sid has letters and digits only (IAM User Guide, "IAM JSON policy elements: Sid"). The Sid says which cluster may own a
statement; `is_owned` also looks at what the statement says, so that a Sid that another author chose removes nothing.

What a deleted binding leaves (``deletionPolicy: Retain``) has the same Sid with ``Retained`` in its middle. It is the
only record of that trust: `retained_key` and `subjects_of` read whom it trusts, and grants decide how long it stays.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.federated_subjects import is_one_issuer
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.condition_keys import is_key_of, issuer_prefix
from trustbind.policy.trust_document import Statement, stale_principals

__all__ = [
    "PREFIX",
    "RETAINED",
    "AssociationKey",
    "ChainKey",
    "FederatedKey",
    "Named",
    "PatternKey",
    "StatementKey",
    "WebIdentityKey",
    "build",
    "check_condition_issuers",
    "check_conditions",
    "check_issuer",
    "external_ids_of",
    "has_any_owner_sid",
    "has_owner_sid",
    "is_owned",
    "is_retained",
    "key_of",
    "other_issuer",
    "owner_in",
    "owner_prefix",
    "placeholder",
    "placeholder_sid",
    "principal_of",
    "retained",
    "retained_key",
    "retained_sid",
    "sid_of",
    "subjects_of",
]

PREFIX: Final = "Trustbind"
_HALF: Final = 16  # hex digits: finding an issuer or a key with a given digest takes 2**64 hashes
RETAINED: Final = "Retained"
"""In the middle of the Sid of what deleted bindings left."""
_SID = re.compile(rf"{PREFIX}[0-9a-f]{{{_HALF}}}(?:{RETAINED})?[0-9a-f]{{{_HALF}}}", re.ASCII)
_PROVIDER = re.compile(r"arn:aws[a-z0-9-]*:iam::[0-9]{12}:oidc-provider/(.+)", re.ASCII)
_ROOT = re.compile(r"(?:arn:aws[a-z0-9-]*:iam::)?[0-9]{12}(?::root)?", re.ASCII)


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


@dataclass(frozen=True, slots=True, order=True)
class PatternKey(FederatedKey):
    """The same for patterns over the cluster's own service accounts, of RoleBindingSets with ``subjects: Pattern``.

    Its issuer is the cluster's own, which a `FederatedKey` of a binding can never have. In a trust policy both have one
    form: a pattern over the subject.
    """


@dataclass(frozen=True, slots=True, order=True)
class AssociationKey:
    """What tells one statement for the role of EKS Pod Identity associations from another.

    The external ids that EKS made for the associations are grouped into it. EKS sends the association's, and session
    tags, when it assumes the target role (EKS API reference, PodIdentityAssociation, externalId).

    Attributes:
        source: the associations' role.
    """

    source: RoleArn

    @property
    def conditions(self) -> tuple[ExtraCondition, ...]:
        """Further ones: none."""
        return ()


StatementKey = WebIdentityKey | ChainKey | FederatedKey | AssociationKey

Named = Subject | str
"""Whom a statement trusts: a service account, a pattern over another issuer's subjects, or an external id."""

_ASSOCIATION_ACTIONS: Final = ("sts:AssumeRole", "sts:TagSession")


def owner_prefix(issuer: Issuer) -> str:
    """Return the beginning of every Sid that the cluster with this issuer writes."""
    return PREFIX + _digest(issuer.url)


def owner_in(sid: object) -> str:
    """Return the owner's part of a Sid of the form that any cluster's trustbind writes; see `owner_prefix`.

    Empty for another text, and for what is none: a status or a document that was read may hold anything.
    """
    return sid[: len(PREFIX) + _HALF] if isinstance(sid, str) and _SID.fullmatch(sid) else ""


def has_owner_sid(statement: Statement, issuer: Issuer) -> bool:
    """Return whether the statement has a Sid of the form that the cluster with this issuer writes."""
    return owner_in(statement.get("Sid")) == owner_prefix(issuer)


def has_any_owner_sid(statement: Statement) -> bool:
    """Return whether the statement has a Sid of the form that any cluster's trustbind writes."""
    return bool(owner_in(statement.get("Sid")))


def is_owned(statement: Statement, issuer: Issuer) -> bool:
    """Return whether the cluster with this issuer wrote the statement.

    Its Sid has to have the issuer's prefix, and one of these has to hold:

    - The statement names the issuer's OIDC provider, of any AWS account. The rest of it may have been edited.
    - The Sid derives from what the statement says: its source role or its other issuer, and its conditions.
    - It names a principal by its unique id, as IAM does once a source role was deleted.
    """
    if not has_owner_sid(statement, issuer):
        return False
    principal = statement.get("Principal")
    return (
        issuer.host_path.casefold() in (name.casefold() for name in _providers(principal))
        or any(
            statement["Sid"] in (sid_of(issuer, key), retained_sid(issuer, key)) for key in _keys_of(statement, issuer)
        )
        or bool(stale_principals({"Principal": principal}))
    )


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
        case AssociationKey():
            parts = ["association", str(key.source)]
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
    if (other := other_issuer(key)) is not None:
        check_issuer(issuer, other)
    if isinstance(key, AssociationKey) and not names:
        raise InvalidValueError(f"a statement without an external id would trust every association of {key.source}")
    if not isinstance(key, ChainKey) and not names:
        whose = key.issuer if isinstance(key, FederatedKey) else issuer
        raise InvalidValueError(f"a statement without a subject would trust every subject of {whose}")
    statement: dict[str, Any] = {
        "Sid": sid_of(issuer, key),
        "Effect": "Allow",
        "Principal": principal_of(issuer, role, key),
        "Action": _action_of(key),
    }
    if condition := _with_conditions(_base(issuer, key, names), key.conditions):
        statement["Condition"] = condition
    return statement


def other_issuer(key: StatementKey) -> Issuer | None:
    """Return the other issuer whose tokens the statement with this key is for; None when it is for none."""
    return key.issuer if isinstance(key, FederatedKey) and not isinstance(key, PatternKey) else None


def principal_of(issuer: Issuer, role: RoleArn, key: StatementKey) -> dict[str, str]:
    """Return the ``Principal`` of the statement with this key in the trust policy of ``role``."""
    match key:
        case WebIdentityKey():
            return {"Federated": str(issuer.provider_for(role))}
        case FederatedKey():
            return {"Federated": str(key.issuer.provider_for(role))}
        case ChainKey():
            root = f"arn:{key.source.partition}:iam::{key.source.account_id}:root"
            return {"AWS": root if key.via_root else str(key.source)}
        case AssociationKey():
            return {"AWS": str(key.source)}


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
    """Check that no further condition is about what the statement states itself, in any letter case.

    IAM compares condition keys without regard to case (IAM User Guide, "IAM JSON policy elements: Condition").

    Raises:
        InvalidValueError: one is about the audience or the subject; in a chain, about the external id or the source
            role.
    """
    stated = {name.casefold() for block in _base(issuer, key, []).values() for name in block}
    for condition in sorted(key.conditions):
        if condition.key.casefold() in stated:
            raise InvalidValueError(
                f"a further condition on {condition.key} is not possible: the statement states it itself"
            )


def check_condition_issuers(issuer: Issuer, key: StatementKey) -> None:
    """Check that no further condition is on a key of another issuer than the statement's, which no token of it has.

    Raises:
        InvalidValueError: one is.
    """
    whose = key.issuer if isinstance(key, FederatedKey) else issuer
    for condition in sorted(key.conditions):
        if issuer_prefix(condition.key) and not is_key_of(condition.key, whose):
            raise InvalidValueError(
                f"a further condition on {condition.key} is not possible in the statement for {whose}: it is a key of "
                "another issuer"
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


def external_ids_of(statement: Statement) -> frozenset[str]:
    """Return the external ids of associations that a statement trusts; empty for one of another kind."""
    actions = statement.get("Action")
    if not isinstance(actions, list) or set(map(str, actions)) != set(_ASSOCIATION_ACTIONS):
        return frozenset()
    condition = statement.get("Condition")
    block = condition.get("StringEquals") if isinstance(condition, Mapping) else None
    value = block.get("sts:ExternalId") if isinstance(block, Mapping) else None
    listed = value if isinstance(value, list) else [value]
    return frozenset(v for v in listed if isinstance(v, str))


def is_retained(statement: Statement, issuer: Issuer) -> bool:
    """Return whether a statement has the Sid of one that the cluster with this issuer retains."""
    return has_owner_sid(statement, issuer) and str(statement["Sid"]).startswith(owner_prefix(issuer) + RETAINED)


def retained_sid(issuer: Issuer, key: StatementKey) -> str:
    """Return the Sid of the statement that holds what deleted bindings left of this key."""
    sid, prefix = sid_of(issuer, key), owner_prefix(issuer)
    return prefix + RETAINED + sid.removeprefix(prefix)


def retained(issuer: Issuer, role: RoleArn, key: StatementKey, subjects: Iterable[Named] = ()) -> dict[str, Any]:
    """Return the statement that holds what deleted bindings left; see `build`."""
    return {**build(issuer, role, key, subjects), "Sid": retained_sid(issuer, key)}


def retained_key(statement: Statement, issuer: Issuer) -> StatementKey | None:
    """Return the key of a retained statement, as far as it tells; None for one that was edited beyond that."""
    keys = list(_keys_of(statement, issuer))
    intact = (key for key in keys if retained_sid(issuer, key) == statement.get("Sid"))
    return next(intact, keys[0] if keys else None)


def key_of(statement: Statement, issuer: Issuer) -> StatementKey | None:
    """Return the key from which the Sid of an owned statement derives; None for one that was edited beyond that."""
    return next((key for key in _keys_of(statement, issuer) if sid_of(issuer, key) == statement.get("Sid")), None)


def placeholder_sid(issuer: Issuer) -> str:
    """Return the Sid of `placeholder`; no other statement has it."""
    return owner_prefix(issuer) + "0" * _HALF


def placeholder(issuer: Issuer, role: RoleArn) -> dict[str, Any]:
    """Return the statement that stands alone when nothing else is left.

    IAM refuses a policy without a statement, so the last one cannot simply go. This one lets nobody in, and keeps
    nobody else out: it denies only this cluster's own provider.
    """
    return {
        "Sid": placeholder_sid(issuer),
        "Effect": "Deny",
        "Principal": {"Federated": str(issuer.provider_for(role))},
        "Action": "sts:AssumeRoleWithWebIdentity",
    }


def _base(issuer: Issuer, key: StatementKey, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the conditions that the statement with this key always has, as operator, key and value."""
    match key:
        case WebIdentityKey():
            return {"StringEquals": {issuer.audience_key: key.audience, issuer.subject_key: names}}
        case FederatedKey():
            return {
                "StringEquals": {key.issuer.audience_key: key.audience},
                "StringLike": {key.issuer.subject_key: names},
            }
        case ChainKey():
            stated = {"sts:ExternalId": key.external_id} if key.external_id else {}
            if key.via_root:
                stated["aws:PrincipalArn"] = str(key.source)
            return {"StringEquals": stated} if stated else {}
        case AssociationKey():
            return {"StringEquals": {"sts:ExternalId": names}}


def _action_of(key: StatementKey) -> str | list[str]:
    match key:
        case ChainKey():
            return "sts:AssumeRole"
        case AssociationKey():
            return list(_ASSOCIATION_ACTIONS)
        case _:
            return "sts:AssumeRoleWithWebIdentity"


def _with_conditions(base: Mapping[str, dict[str, Any]], extra: tuple[ExtraCondition, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {operator: dict(block) for operator, block in base.items()}
    for condition in sorted(extra):
        values = sorted(condition.values)
        block = result.setdefault(condition.operator, {})
        block[condition.key] = values[0] if len(values) == 1 else values
    return result


def _keys_of(statement: Statement, own: Issuer) -> Iterator[StatementKey]:
    """Return the keys of which the statement may be, as far as it tells; ``own``: the cluster's issuer."""
    conditions = _conditions_of(statement)
    principal = statement.get("Principal")
    if conditions is None or not isinstance(principal, Mapping) or len(principal) != 1:
        return
    for host_path in _providers(principal):
        issuer = Issuer(f"https://{host_path}")
        audience = conditions.get(("StringEquals", issuer.audience_key), ())
        for_audience = ("StringEquals", issuer.audience_key)
        exact, pattern = ("StringEquals", issuer.subject_key), ("StringLike", issuer.subject_key)
        if len(audience) != 1:
            continue
        if issuer != own:
            yield FederatedKey(issuer, audience[0], _without(conditions, {for_audience, pattern}))
            continue
        if pattern in conditions:
            yield PatternKey(issuer, audience[0], _without(conditions, {for_audience, pattern}))
        if exact in conditions or pattern not in conditions:
            yield WebIdentityKey(audience[0], _without(conditions, {for_audience, exact}))
    name = _only(principal.get("AWS"))
    by_arn = ("StringEquals", "aws:PrincipalArn")
    via_root = _ROOT.fullmatch(name) is not None
    source = RoleArn.or_none(_only(list(conditions.get(by_arn, ()))) if via_root else name)
    if source is None:
        return
    if is_association := bool(external_ids_of(statement)):
        yield AssociationKey(source)
    stated = {by_arn} if via_root else set()
    yield ChainKey(source, "", _without(conditions, stated), via_root)
    by_id = ("StringEquals", "sts:ExternalId")
    if len(external_id := conditions.get(by_id, ())) == 1:
        yield ChainKey(source, external_id[0], _without(conditions, {*stated, by_id}), via_root)
    if not is_association:
        yield AssociationKey(source)


def _conditions_of(statement: Statement) -> dict[tuple[str, str], tuple[str, ...]] | None:
    """Return operator and key to values; None for a ``Condition`` that we would not write."""
    condition = statement.get("Condition")
    if condition is None:  # null says the same as nothing
        return {}
    if not isinstance(condition, Mapping):
        return None
    result: dict[tuple[str, str], tuple[str, ...]] = {}
    for operator, block in condition.items():
        if not isinstance(block, Mapping):
            return None
        for key, value in block.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(v, str) for v in values):
                return None
            result[operator, key] = tuple(values)
    return result


def _without(
    conditions: Mapping[tuple[str, str], tuple[str, ...]], stated: Collection[tuple[str, str]]
) -> tuple[ExtraCondition, ...]:
    return tuple(
        ExtraCondition(operator, key, values)
        for (operator, key), values in conditions.items()
        if (operator, key) not in stated
    )


def _providers(principal: Any) -> list[str]:
    """Return host and path of each OIDC provider that a ``Principal`` names."""
    named = principal.get("Federated", []) if isinstance(principal, Mapping) else []
    listed = named if isinstance(named, list) else [named]
    return [match[1] for name in listed if isinstance(name, str) and (match := _PROVIDER.fullmatch(name))]


def _only(value: Any) -> str:
    """Return a text, or the only text of a list; empty for anything else."""
    listed = value if isinstance(value, list) else [value]
    return listed[0] if len(listed) == 1 and isinstance(listed[0], str) else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]
