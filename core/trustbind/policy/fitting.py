"""Which claims fit into a trust policy of limited length.

The length is counted while the document grows, so that the work is linear in the number of claims.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    FederatedKey,
    Named,
    StatementKey,
    build,
    external_ids_of,
    other_issuer,
    sid_of,
    subjects_of,
)
from trustbind.policy.trust_document import Statement, TrustDocument, json_size, same_meaning, statement_text

__all__ = ["Fit", "LeftOut", "OwnedStatements", "fit"]

_MAX_NAMED: Final = 3
"""Subjects that a message names."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of one binding does not fit.

    Attributes:
        size: characters that the document would have with it.
        asked: everything that the binding asks for.
        claims: the part for which there is no room.
    """

    size: int
    asked: Sequence[Claim]
    claims: Sequence[Claim]

    def describe(self) -> str:
        """Return a clause such as ``1 of its 3 service accounts (c) is left out``."""
        totals = {key: len(names) for key, names in _subjects(self.asked).items()}
        left = _subjects(self.claims)
        parts = [_described(key, names, totals[key]) for key, names in left.items()]
        verb = "is" if len(parts) == 1 and len(next(iter(left.values()))) <= 1 else "are"
        return f"{' and '.join(parts)} {verb} left out"


@dataclass(frozen=True, slots=True)
class Fit:
    """What fits.

    Attributes:
        accepted: the claims, or parts of claims, that the document holds.
        left_out: of each binding that does not fit as a whole, in the order of the claims.
    """

    accepted: Sequence[Claim]
    left_out: Mapping[BindingRef, LeftOut] = field(default_factory=dict)


def fit(
    current: TrustDocument,
    there: OwnedStatements,
    others: Sequence[Statement],
    claims: Sequence[Claim],
    limit: int,
    *,
    role: RoleArn,
    barred: Collection[BindingRef],
) -> Fit:
    """Return the claims that fit into ``limit``.

    What an intact statement trusts is kept, also in a document that is over the limit. New subjects are added binding
    by binding, all of a binding or none.

    Args:
        current: the document as it was read.
        there: its owned statements.
        others: the statements of the new document that claims do not change.
        claims: those to fit in, oldest first; each can be built.
        limit: characters.
        role: whose trust policy it is.
        barred: bindings that get nothing new, for another reason.
    """
    size = _Size(current.with_statements(others), there, role)
    accepted: list[Claim] = []
    repaired: list[Claim] = []
    new: dict[BindingRef, list[Claim]] = {}
    for claim in claims:
        standing, fresh = there.split(claim)
        if standing is not None:
            (accepted if size.is_intact(claim.key) else repaired).append(standing)
        if fresh is not None:
            new.setdefault(claim.binding, []).append(fresh)
    size.start(accepted)
    unbarred = [claim for binding, group in new.items() if binding not in barred for claim in group]
    if size.with_claims((*repaired, *unbarred)) <= limit:
        return Fit((*accepted, *repaired, *unbarred))
    left_out: dict[BindingRef, tuple[int, list[Claim]]] = {}
    for claim in repaired:  # a statement that another writer edited may become longer than it is
        if (whole := size.with_claims((claim,))) <= max(limit, current.size):
            size.add((claim,))
            accepted.append(claim)
        else:
            left_out.setdefault(claim.binding, (whole, []))[1].append(claim)
    for binding in new.keys() & left_out.keys():
        left_out[binding][1].extend(new[binding])
    waiting = [binding for binding in new if binding not in barred and binding not in left_out]
    while waiting:
        refused: list[BindingRef] = []
        is_shorter = False
        for binding in waiting:
            if (whole := size.with_claims(new[binding])) <= limit:
                is_shorter |= whole < size.total
                size.add(new[binding])
                accepted += new[binding]
                left_out.pop(binding, None)
            else:
                refused.append(binding)
                left_out[binding] = (whole, new[binding])
        # A statement that was written at length and is written anew made room. At most once for each statement.
        waiting = refused if is_shorter else []
    asked: dict[BindingRef, list[Claim]] = {}
    for claim in claims:
        asked.setdefault(claim.binding, []).append(claim)
    return Fit(
        accepted, {ref: LeftOut(left_out[ref][0], asked[ref], left_out[ref][1]) for ref in asked if ref in left_out}
    )


class OwnedStatements:
    """The owned statements of a document, and whom they trust.

    Args:
        statements: those that the cluster owns; of two with one Sid the first counts.
        issuer: the cluster's.
    """

    def __init__(self, statements: Iterable[Statement], issuer: Issuer) -> None:
        self.issuer = issuer
        self._by_sid: dict[str, Statement] = {}
        for statement in statements:
            self._by_sid.setdefault(str(statement["Sid"]), statement)
        self._by_key: dict[StatementKey, Statement | None] = {}
        self._names: dict[StatementKey, frozenset[str]] = {}

    def statements(self) -> list[Statement]:
        """Return them, each Sid once."""
        return list(self._by_sid.values())

    def statement(self, key: StatementKey) -> Statement | None:
        """Return the statement with this key."""
        if key not in self._by_key:
            self._by_key[key] = self._by_sid.get(sid_of(self.issuer, key))
        return self._by_key[key]

    def names(self, key: StatementKey) -> frozenset[str]:
        """Return the subjects that the statement with this key admits now."""
        if key not in self._names:
            self._names[key] = self._read_names(key)
        return self._names[key]

    def _read_names(self, key: StatementKey) -> frozenset[str]:
        statement = self.statement(key) or {}
        if isinstance(key, AssociationKey):
            return external_ids_of(statement)
        foreign = key.issuer if isinstance(key, FederatedKey) else None
        return subjects_of(statement, foreign or self.issuer, of_cluster=foreign is None)

    def split(self, claim: Claim) -> tuple[Claim | None, Claim | None]:
        """Return the part of a claim that stands in its statement, and the part that does not; None for nothing."""
        if self.statement(claim.key) is None:
            return None, claim
        if isinstance(claim.key, ChainKey):
            return claim, None
        names = self.names(claim.key)
        standing = tuple(s for s in claim.subjects if str(s) in names)
        if len(standing) == len(claim.subjects):
            return claim, None
        fresh = tuple(s for s in claim.subjects if str(s) not in names)
        return replace(claim, subjects=standing) if standing else None, replace(claim, subjects=fresh)


@dataclass(slots=True)
class _Part:
    """One owned statement while the document grows.

    Attributes:
        names: its subjects.
        names_size: characters of all of them, each as JSON.
        size: characters of the statement.
    """

    names: set[str]
    names_size: int
    size: int


class _Size:
    """The length of the document that will be, kept up to date with the claims that are added to it.

    Each statement is built once, whatever is added to it: a subject adds its own length and a comma.
    """

    def __init__(self, rest: TrustDocument, there: OwnedStatements, role: RoleArn) -> None:
        self._there = there
        self._role = role
        self._bases: dict[StatementKey, int] = {}
        self._intact: dict[StatementKey, bool] = {}
        self._parts: dict[StatementKey, _Part] = {}
        self._count = len(rest.statements)
        self.total = rest.size

    def is_intact(self, key: StatementKey) -> bool:
        """Return whether the document has the statement with this key as it would be built for its subjects."""
        if key not in self._intact:
            statement, names = self._there.statement(key), self._there.names(key)
            self._intact[key] = (
                statement is not None
                and (bool(names) or isinstance(key, ChainKey))
                and same_meaning(statement, build(self._there.issuer, self._role, key, names))
            )
        return self._intact[key]

    def start(self, claims: Iterable[Claim]) -> None:
        """Take in what intact statements have; one that loses nobody stays as it is written."""
        self.add(claims)
        for key, part in self._parts.items():
            statement = self._there.statement(key)
            if statement is not None and part.names == self._there.names(key):
                written = len(statement_text(statement))
                self.total += written - part.size
                part.size = written

    def with_claims(self, claims: Iterable[Claim]) -> int:
        """Return the length with these claims added."""
        total, count = self.total, self._count
        for key, subjects in _subjects(claims).items():
            names = set(map(str, subjects))
            part = self._grown(key, names)
            before = self._parts.get(key)
            total += part.size - (before.size if before else -(count > 0))
            count += before is None
        return total

    def add(self, claims: Iterable[Claim]) -> None:
        """Add these claims."""
        for key, subjects in _subjects(claims).items():
            names = set(map(str, subjects))
            part = self._grown(key, names)
            before = self._parts.get(key)
            self.total += part.size - (before.size if before else -(self._count > 0))
            self._count += before is None
            if before:
                before.names |= names
                before.names_size, before.size = part.names_size, part.size
            else:
                self._parts[key] = _Part(set(names), part.names_size, part.size)

    def _grown(self, key: StatementKey, names: Collection[str]) -> _Part:
        """Return sizes of a statement with these names added; of its names, only the added ones."""
        part = self._parts.get(key) or _Part(set(), 0, 0)
        added = {name for name in names if name not in part.names}
        if part.size and not added:
            return part
        names_size = part.names_size + sum(json_size(name) for name in added)
        commas = max(len(part.names) + len(added) - 1, 0)
        return _Part(added, names_size, self._base(key, names) + names_size + commas)

    def _base(self, key: StatementKey, names: Collection[str]) -> int:
        """Return the length of the statement without its subjects."""
        if key not in self._bases:
            one = sorted(names)[:1]
            statement = build(self._there.issuer, self._role, key, one)
            self._bases[key] = len(statement_text(statement)) - sum(json_size(name) for name in one)
        return self._bases[key]


def _subjects(claims: Iterable[Claim]) -> dict[StatementKey, list[Named]]:
    grouped: dict[StatementKey, list[Named]] = {}
    for claim in claims:
        grouped.setdefault(claim.key, []).extend(claim.subjects)
    return grouped


def _described(key: StatementKey, subjects: Sequence[Named], total: int) -> str:
    """Return the subjects of one statement, as a part of the ``total`` that their binding asks for."""
    if isinstance(key, ChainKey):
        return f"its source role {key.source}"
    if isinstance(key, AssociationKey):
        return f"{len(subjects)} of its {total} associations with {key.source}"
    plural = "" if total == 1 else "s"
    other = other_issuer(key)
    kind = f"subject{plural} of {other}" if other is not None else f"service account{plural}"
    names = [s.name if isinstance(s, Subject) else s for s in subjects]
    listed = ", ".join(names[:_MAX_NAMED])
    if len(names) > _MAX_NAMED:
        listed += f" and {len(names) - _MAX_NAMED} more"
    share = "its" if total == 1 else f"{len(names)} of its {total}"
    return f"{share} {kind} ({listed})"
