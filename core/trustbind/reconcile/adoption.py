"""Adoption in one run of a role: what is recorded first, what is replaced then, and what is written back.

A statement is replaced only once the status of each binding that takes it over has it, marked as pending. So whatever
happens between the two writes, nothing is replaced that no object knows of.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trustbind.api.role_binding import BindingRef
from trustbind.errors import InvalidValueError
from trustbind.evaluation.model import StatementRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.migration.adoption import ClientIds, Replacement, restored_part, takeover
from trustbind.policy.claim import Claim
from trustbind.policy.document_rules import Severity, findings
from trustbind.policy.owned_statement import PREFIX, is_owned
from trustbind.policy.plan import ReplacedStatement, standing_claims
from trustbind.policy.trust_document import Statement, TrustDocument, same_meaning, statement_meaning, statement_text

__all__ = ["MAX_AGAIN", "AdoptedStatement", "AdoptionPlan", "AdoptionState", "Restoration", "adoption", "restoration"]

MAX_AGAIN: Final = 3
"""How often a statement is replaced again after another writer wrote it back."""

_MAX_STATEMENTS: Final = 10
_MAX_CHARACTERS: Final = 4096
"""Of all statements in a status; the schema has the same bounds."""


@dataclass(frozen=True, slots=True)
class AdoptedStatement:
    """A hand-written statement that a binding took over, as its status has it. Untrusted input.

    Attributes:
        text: the statement as JSON.
        times: how often it was replaced, or is to be.
        is_pending: whether it is replaced next, and may still stand.
    """

    text: str
    times: int = 1
    is_pending: bool = False

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> tuple[AdoptedStatement, ...]:
        """Return what a stored status lists."""
        listed = status.get("adopted")
        entries = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
        return tuple(
            cls(str(each.get("statement", "")), _number(each.get("times")), each.get("pending") is True)
            for each in entries[:_MAX_STATEMENTS]
        )

    def as_status(self) -> dict[str, Any]:
        """Return the entry of a status."""
        return {"statement": self.text, "times": self.times, **({"pending": True} if self.is_pending else {})}

    def statement(self) -> Statement | None:
        """Return the statement; None for a text that is none."""
        try:
            document = TrustDocument.parse('{"Version":"2012-10-17","Statement":[' + self.text + "]}")
        except InvalidValueError:
            return None
        return document.statements[0] if len(document.statements) == 1 else None

    def meaning(self) -> str:
        """Return a text that is equal for two statements that mean the same; empty for a text that is none."""
        statement = self.statement()
        return statement_meaning(statement) if statement is not None else ""


@dataclass(frozen=True, slots=True)
class AdoptionState:
    """What one binding's status says about adoption.

    Attributes:
        statements: see `AdoptedStatement`; in the order in which they were replaced.
        difference: how a hand-written statement differs, so that it stays; empty where none does.
        is_contested: whether another writer wrote one back too often.
    """

    statements: tuple[AdoptedStatement, ...] = ()
    difference: str = ""
    is_contested: bool = False


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """What adoption asks of the next write.

    Attributes:
        replaced: see `ReplacedStatement`; of bindings alone that have nothing to record.
        to_record: by binding, what its status has to list before anything is replaced; empty: all is recorded.
        states: of the adopting bindings.
    """

    replaced: tuple[ReplacedStatement, ...] = ()
    to_record: Mapping[BindingRef, tuple[AdoptedStatement, ...]] = field(default_factory=dict)
    states: Mapping[BindingRef, AdoptionState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restoration:
    """What is written back for bindings that are deleted with ``Restore``.

    Attributes:
        by_binding: those to write.
        refused: by binding, why one of its statements is not written back.
    """

    by_binding: Mapping[BindingRef, tuple[Statement, ...]] = field(default_factory=dict)
    refused: Mapping[BindingRef, str] = field(default_factory=dict)

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Those to write, of all bindings."""
        return tuple(statement for listed in self.by_binding.values() for statement in listed)

    def without_room(self) -> Restoration:
        """Return the restoration where the trust policy has no room for all statements, so that none is written."""
        full = dict.fromkeys(self.by_binding, "the trust policy has no room for what would be written back")
        return Restoration({}, {**full, **self.refused})


def adoption(
    role: RoleArn,
    document: TrustDocument,
    issuer: Issuer,
    claims: Iterable[Claim],
    statuses: Mapping[BindingRef, Mapping[str, Any]],
    client_ids: ClientIds,
    *,
    needs_record: bool,
) -> AdoptionPlan:
    """Return what the adopting bindings of a role take over.

    Args:
        role: which.
        document: its trust policy, as it was read.
        issuer: the cluster's.
        claims: of the adopting bindings, granted and due now.
        statuses: of all adopting bindings, as they are stored.
        client_ids: see `ClientIds`.
        needs_record: whether a statement has to be in a status first; not so where nothing is written.
    """
    records = {ref: AdoptedStatement.of_status(status) for ref, status in statuses.items()}
    found = takeover(role, document, issuer, claims, client_ids)
    differences = dict(found.differences)
    contested: set[BindingRef] = set()
    replaced: list[ReplacedStatement] = []
    changed: dict[BindingRef, tuple[AdoptedStatement, ...]] = {}
    for each in found.replacements:
        wish = ReplacedStatement(each.index, each.after, each.bindings)
        if not needs_record:
            replaced.append(wish)
            continue
        after = {ref: _recorded(changed.get(ref, records.get(ref, ())), each.before) for ref in each.bindings}
        if problem := _problem(role, each, after.values()):
            message, is_contested = problem
            for ref in each.bindings:
                differences[ref] = message
                if is_contested:
                    contested.add(ref)
            continue
        replaced.append(wish)
        changed |= {ref: entries for ref, entries in after.items() if entries != records.get(ref, ())}
    there = {statement_meaning(s) for s in document.statements}
    states = {
        ref: AdoptionState(_settled(entries, there), differences.get(ref, ""), ref in contested)
        for ref, entries in records.items()
    }
    recorded = (each for each in replaced if not each.bindings & changed.keys())
    return AdoptionPlan(tuple(recorded), changed, states)


def restoration(
    role: RoleArn,
    document: TrustDocument,
    issuer: Issuer,
    claims: Mapping[BindingRef, tuple[Claim, ...]],
    statuses: Mapping[BindingRef, Mapping[str, Any]],
    client_ids: ClientIds,
) -> Restoration:
    """Return which recorded statements are written back for bindings that are being deleted.

    Args:
        role: which.
        document: its trust policy, as it was read.
        issuer: the cluster's.
        claims: of these bindings, what of them is granted now.
        statuses: of these bindings, as they are stored.
        client_ids: see `ClientIds`.
    """
    restored: dict[BindingRef, tuple[Statement, ...]] = {}
    refused: dict[BindingRef, str] = {}
    taken = {str(s.get("Sid", "")) for s in document.statements} - {""}
    there = list(document.statements)
    for ref, granted in claims.items():
        standing = standing_claims(document, issuer, granted)
        for entry in AdoptedStatement.of_status(statuses[ref]):
            statement = entry.statement()
            if statement is None:
                refused.setdefault(ref, "a recorded statement is not a statement")
                continue
            if any(same_meaning(statement, other) and not is_owned(other, issuer) for other in there):
                continue
            if statement.get("Sid") in taken and not str(statement["Sid"]).startswith(PREFIX):
                statement = {key: value for key, value in statement.items() if key != "Sid"}
            part, why = restored_part(role, statement, issuer, standing, client_ids, document.version)
            why = why or _refused_by_iam(role, part or {}, document)
            if part is None or why:
                refused.setdefault(ref, f"{_name_of(statement)} is not written back: {why}")
            else:
                restored[ref] = (*restored.get(ref, ()), part)
                there.append(part)
                taken.add(str(part.get("Sid", "")))
    return Restoration(restored, refused)


def _recorded(entries: Sequence[AdoptedStatement], statement: Statement) -> tuple[AdoptedStatement, ...]:
    """Return a record that has the statement as pending."""
    meaning = statement_meaning(statement)
    result: list[AdoptedStatement] = []
    is_known = False
    for entry in entries:
        if entry.meaning() != meaning:
            result.append(entry)
            continue
        is_known = True
        result.append(entry if entry.is_pending else replace(entry, times=entry.times + 1, is_pending=True))
    return (*result, *(() if is_known else (AdoptedStatement(statement_text(statement), 1, is_pending=True),)))


def _problem(
    role: RoleArn, each: Replacement, records: Collection[Sequence[AdoptedStatement]]
) -> tuple[str, bool] | None:
    """Return why a statement is not replaced, and whether another writer keeps writing it; None where it may be."""
    ref = StatementRef(each.index, str(each.before.get("Sid", "")))
    if any(entry.times > 1 + MAX_AGAIN for entries in records for entry in entries):
        return (
            f"{ref} of the trust policy of {role} was replaced {1 + MAX_AGAIN} times, and another writer wrote it back "
            "each time; let that writer leave it out (often Terraform), then delete and create the binding anew"
        ), True
    if any(
        len(entries) > _MAX_STATEMENTS or sum(len(entry.text) for entry in entries) > _MAX_CHARACTERS
        for entries in records
    ):
        return (
            f"{ref} of the trust policy of {role} stays: status.adopted has room for {_MAX_STATEMENTS} statements with "
            f"{_MAX_CHARACTERS} characters; give its service accounts a binding of their own"
        ), False
    return None


def _settled(entries: Iterable[AdoptedStatement], there: Collection[str]) -> tuple[AdoptedStatement, ...]:
    """Return a record in which only what still stands is pending."""
    return tuple(replace(e, is_pending=False) if e.is_pending and e.meaning() not in there else e for e in entries)


def _refused_by_iam(role: RoleArn, statement: Statement, document: TrustDocument) -> str:
    alone = TrustDocument((statement,), version=document.version)
    refused = [f for f in findings(alone, role) if f.rule.severity is Severity.REFUSED]
    return f"it {refused[0].message}" if refused else ""


def _name_of(statement: Statement) -> str:
    sid = statement.get("Sid")
    return f"the statement with the Sid {json.dumps(sid)}" if sid else "a statement without a Sid"


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1
