"""The statements that hold what deleted bindings left: read as a record, and written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from trustbind.api.role_binding import BindingRef
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    FederatedKey,
    Named,
    StatementKey,
    external_ids_of,
    is_retained,
    retained,
    retained_key,
    subjects_of,
)
from trustbind.policy.retention import Retention
from trustbind.policy.trust_document import Statement

__all__ = ["left_behind", "record_of"]

_LEFT: Final = BindingRef("", "left")
"""Stands for the bindings that left what a retained statement holds; they are gone."""


def record_of(statements: Iterable[Statement], issuer: Issuer, retention: Retention) -> list[Claim]:
    """Return what stands of what deleted bindings left, each statement as a claim, as far as it may stay.

    Args:
        statements: those that the cluster owns.
        issuer: the cluster's.
        retention: says what may stay.
    """
    record: list[Claim] = []
    for statement in statements:
        key = retained_key(statement, issuer) if is_retained(statement, issuer) else None
        if key is None:
            continue
        claim = Claim(_LEFT, key, _subjects_of(statement, key, issuer))
        is_understood = isinstance(key, ChainKey) or claim.subjects
        part = retention.kept(claim)
        if is_understood and part is not None:
            record.append(part)
    return record


def left_behind(
    role: RoleArn, issuer: Issuer, record: Iterable[Claim], claims: Iterable[Claim]
) -> dict[str, Statement]:
    """Return Sid to statement for what bindings leave and left; what ``claims`` ask for is theirs.

    Args:
        role: whose trust policy.
        issuer: the cluster's.
        record: see `record_of`, and what bindings leave that go now.
        claims: of live bindings.
    """
    live: dict[StatementKey, set[Named]] = {}
    for claim in claims:
        live.setdefault(claim.key, set()).update(claim.subjects)
    grouped: dict[StatementKey, set[Named]] = {}
    for claim in record:
        if not isinstance(claim.key, ChainKey):
            if subjects := set(claim.subjects) - live.get(claim.key, set()):
                grouped.setdefault(claim.key, set()).update(subjects)
        elif claim.key not in live:
            grouped[claim.key] = set()
    built = [retained(issuer, role, key, subjects) for key, subjects in grouped.items()]
    return {str(statement["Sid"]): statement for statement in sorted(built, key=lambda s: str(s["Sid"]))}


def _subjects_of(statement: Statement, key: StatementKey, issuer: Issuer) -> tuple[Named, ...]:
    """Return whom a statement with this key names, sorted; a subject that is no service account is left out."""
    if isinstance(key, ChainKey):
        return ()
    if isinstance(key, AssociationKey):
        return tuple(sorted(external_ids_of(statement)))
    if isinstance(key, FederatedKey):
        return tuple(sorted(subjects_of(statement, key.issuer, of_cluster=False)))
    found: list[Subject] = []
    for text in subjects_of(statement, issuer):
        with contextlib.suppress(InvalidValueError):
            found.append(Subject.parse(text))
    return tuple(sorted(found))
