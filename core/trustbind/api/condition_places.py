"""Where a condition on an issuer's key belongs.

Each issuer of a binding has a statement of its own in the role's trust policy, and a token has the keys of its own
issuer alone. A condition on a key of another issuer would deny every token of the statement. So ``spec.conditions`` has
keys of AWS's own, for every statement, and keys of the cluster's issuer, for the statement of the service accounts.
Keys of another issuer are in its entry of ``spec.federatedSubjects``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.federated_subjects import place_of
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer
from trustbind.policy.condition_keys import bare_key, is_key_of, issuer_prefix

__all__ = ["check_in_spec", "check_own_keys"]

_FIELD: Final = "spec.conditions"

_STATED: Final = {"aud": "audience", "sub": "subjects"}
"""Claims that an entry has a field for."""


def check_in_spec(conditions: Sequence[ExtraCondition], issuers: Sequence[Issuer], *, for_cluster: bool) -> None:
    """Check the keys of ``spec.conditions`` as far as the spec alone tells.

    Args:
        conditions: in the order of the manifest.
        issuers: of the entries of ``spec.federatedSubjects``, in the order of the manifest.
        for_cluster: whether the binding names or selects service accounts of the cluster.

    Raises:
        InvalidValueError: a key belongs to an issuer of an entry, has a form that no key has, or belongs to an issuer
            while the binding has no statement for service accounts.
    """
    for index, condition in enumerate(conditions):
        if problem := _misplaced(condition.key, issuers, for_cluster=for_cluster):
            raise InvalidValueError(problem, field=f"{_FIELD}[{index}].key")


def check_own_keys(conditions: Iterable[ExtraCondition], own: Issuer) -> None:
    """Check that each issuer's key of ``spec.conditions`` is one of the cluster's issuer.

    Args:
        conditions: of a binding that was parsed.
        own: the cluster's issuer.

    Raises:
        InvalidValueError: a key belongs to another issuer.
    """
    for condition in conditions:
        if issuer_prefix(condition.key) and not is_key_of(condition.key, own):
            raise InvalidValueError(
                f"{condition.key} is a key of another issuer than this cluster's, {own}, so no service account would "
                "ever match; for tokens of that issuer add an entry to spec.federatedSubjects and write the condition "
                "there, else remove it",
                field=_FIELD,
            )


def _misplaced(key: str, issuers: Sequence[Issuer], *, for_cluster: bool) -> str:
    bare = bare_key(key)
    for index, issuer in enumerate(issuers):
        if is_key_of(bare, issuer):
            claim = bare.rpartition(":")[2]
            stated = _STATED.get(claim.lower())
            what = "it" if stated else f"the condition, on {issuer.host_path}:{claim},"
            return (
                f"{key} is a key of {issuer}, whose tokens have a statement of their own; write {what} in "
                f"{place_of(index)}.{stated or 'conditions'}"
            )
    if not issuer_prefix(key):
        return ""
    if not for_cluster:
        places = "the conditions of its entry in spec.federatedSubjects"
        return (
            f"{key} is a key of an issuer, and the binding has no statement for that issuer: it names no service "
            f"accounts, and no entry has this issuer; a key of an issuer belongs in {places}"
        )
    if bare != key:
        return f"{key} is not a condition key: no key begins with a URL's scheme or an ARN; write {bare}"
    return ""
