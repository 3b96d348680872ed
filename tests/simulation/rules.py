"""The rules that hold at every step, asked past the code under test: of what was answered, delivered and sent.

Each method is called by the simulated ports at one moment of a call: when a document is handed over to be written, when
the request leaves the process, when it takes effect. README.md says what the rules are.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from simulation.cloud import Answer, CloudRole, parsed
from simulation.cluster import ACCOUNT, BINDING
from simulation.known import Cover, Known, cover_of, covers_association
from trustbind.api.role_binding import DeletionPolicy
from trustbind.evaluation.model import Caller, PrincipalKind, Request
from trustbind.evaluation.policy import evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import (
    build,
    is_owned,
    is_retained,
    owner_prefix,
    retained_key,
    retained_sid,
    sid_of,
)
from trustbind.policy.source_policy import targets_of
from trustbind.policy.trust_document import Statement, TrustDocument, same_meaning, statement_text
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.permits import WritePermit

if TYPE_CHECKING:
    from simulation.operators import Operator
    from simulation.world import World

__all__ = ["Base", "Rules", "holders_in"]

_MOST_READ_AGE: Final = 2.0
"""`WritePace.most_read_age`."""

_KNOWN_AFTER: Final = 30.0
"""A new audience of a provider is known to an operator after the run of a role that began before."""

_ANYBODY: Final = (Subject("any", "body"),)

_PLACEHOLDER: Final = "0" * 8


@dataclass(slots=True)
class Base:
    """The answer that a write is based on, and whether it was used for one already."""

    answer: Answer
    is_used: bool = False
    adopted: frozenset[str] = frozenset()
    """Texts of foreign statements that the write takes away on purpose."""


class Rules:
    """See the module.

    Args:
        world: whose.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._last: dict[tuple[str, RoleArn], Base] = {}
        self._answers: dict[tuple[str, RoleArn], list[Base]] = {}
        self._inline: dict[tuple[str, RoleArn], tuple[str | None, float]] = {}

    # --- reads ------------------------------------------------------------------------------------------------------

    def read(self, operator: Operator, role: RoleArn, answer: Answer) -> None:
        """An operator has an answer about a role."""
        base = Base(answer)
        self._last[operator.name, role] = base
        known = self._answers.setdefault((operator.name, role), [])
        known.append(base)
        del known[:-8]

    def read_inline(self, operator: Operator, role: RoleArn, text: str | None, at: float) -> None:
        """An operator has an answer about its inline policy."""
        self._inline[operator.name, role] = text, at

    # --- writes of trust policies -------------------------------------------------------------------------------------

    def handed_over(self, operator: Operator, role: RoleArn, text: str, permit: WritePermit) -> Base:
        """A document is about to be written; return the answer that it is based on."""
        bases = self._answers.get((operator.name, role), [])
        base = next((b for b in reversed(bases) if b.answer.answered_at == permit.read_at), None)
        if base is None or base.answer.document is None:
            self._fail("one read for each write", operator, role, "the write is based on no answer")
        if base.is_used:
            self._fail("one read for each write", operator, role, "a second write is based on one answer")
        base.is_used = True
        current, sent = base.answer.document, parsed(text)
        issuer = operator.cluster.issuer
        base.adopted = self._foreign(operator, role, current, sent)
        if current.meaning() == sent.meaning():
            self._fail("I4 no write without a change", operator, role, text)
        self._covered(operator, role, current, sent, base.answer.tags)
        self._world.schedule.count(f"trust writes of {operator.cluster.name}")
        self._world.schedule.add(operator.name, f"plans {role.name}: {_names(sent, issuer)}")
        return base

    def sent_trust(self, operator: Operator, role: RoleArn, base: Base) -> None:
        """The request leaves the process."""
        age = operator.clock() - base.answer.answered_at
        if age > _MOST_READ_AGE + 1e-6:
            self._fail("the read is fresh", operator, role, f"it was read {age:.1f} s before")
        if base is not self._last[operator.name, role]:
            self._fail("one read for each write", operator, role, "another answer came since")

    def took_effect(
        self,
        operator: Operator,
        role: CloudRole,
        before: TrustDocument,
        since: Mapping[str, float],
        text: str,
        base: Base,
    ) -> None:
        """A trust policy was replaced: whose statement was lost or came back by it, and why.

        Args:
            operator: who wrote.
            role: which.
            before: the former trust policy.
            since: text of each of its statements to the time since when it was there.
            text: the new trust policy.
            base: the answer that the write is based on.
        """
        answer, issuer = base.answer, operator.cluster.issuer
        assert answer.document is not None
        sent = Counter(_foreign_texts(parsed(text), issuer))
        there = Counter(_foreign_texts(before, issuer))
        shown = Counter(_foreign_texts(answer.document, issuer))
        for lost in (there - sent).elements():
            if lost in base.adopted:
                continue
            changed_at = since.get(lost, -math.inf)
            self._attribute(
                operator, role, "lost", lost, changed_at, is_stale=answer.is_stale and lost not in shown, base=base
            )
        for back in (sent - there).elements():
            if back in shown:  # else it is one that the write leaves to nobody
                changed_at = role.removed.get(back, -math.inf)
                self._attribute(operator, role, "restored", back, changed_at, is_stale=answer.is_stale, base=base)

    def _attribute(
        self,
        operator: Operator,
        role: CloudRole,
        what: str,
        text: str,
        changed_at: float,
        *,
        is_stale: bool,
        base: Base,
    ) -> None:
        if max(changed_at, role.created) > base.answer.at:
            cause = "a write between our read and our write"
        elif is_stale:
            cause = "a stale answer"
        else:
            self._fail("I6 a lost statement has a cause", operator, role.arn, f"{what}: {text}")
        self._world.schedule.count(f"foreign statements {what} by {cause}")
        self._world.schedule.add("RULE", f"foreign statement {what} in {role.arn.name} by {cause}")

    # --- every write ------------------------------------------------------------------------------------------------

    def sent(self, operator: Operator, operation: str) -> None:
        """A write leaves the process."""
        self._world.schedule.count("writes sent")
        if operator.clock() >= operator.may_write_until:
            late = operator.clock() - operator.may_write_until
            self._fail("I5 writes end with the deadline", operator, None, f"{operation}, {late:.1f} s late")
        self._one_writer(operator, operation)

    def arrived(self, operator: Operator, operation: str) -> None:
        """A write takes effect."""
        self._one_writer(operator, operation)

    def _one_writer(self, operator: Operator, operation: str) -> None:
        holder = operator.cluster.holder
        if holder not in ("", operator.name):
            self._fail("I5 one writer", operator, None, f"{operation}, while {holder} holds the Lease")

    # --- other writes -----------------------------------------------------------------------------------------------

    def inline_handed_over(self, operator: Operator, role: RoleArn, text: str | None, permit: WritePermit) -> None:
        """An inline policy is about to be written."""
        before, at = self._inline[operator.name, role]
        if permit.read_at != at:
            self._fail("one read for each write", operator, role, "of the inline policy")
        there, wanted = targets_of(_json(before)) or frozenset(), targets_of(_json(text)) or frozenset()
        if before is not None and text is not None and _json(before) == _json(text):
            self._fail("I4 no write without a change", operator, role, text)
        allowed = set(there)
        for item in operator.known.bindings():
            binding = item.binding
            if binding.source is None or binding.source.role != role:
                continue
            if item.is_deleting and binding.deletion_policy is not DeletionPolicy.RETAIN:
                continue
            if operator.known.grants(item):
                allowed.add(str(binding.role))
        if extra := wanted - allowed:
            self._fail("I2 only what is granted", operator, role, f"inline policy with {sorted(extra)}")

    def association_handed_over(self, operator: Operator, namespace: str, service_account: str, role: str) -> None:
        """An association is about to be created."""
        if not covers_association(operator.known, role, namespace, service_account):
            self._fail(
                "I2 only what is granted",
                operator,
                RoleArn.parse(role),
                f"association of {namespace}/{service_account}",
            )

    # --- finalizers -------------------------------------------------------------------------------------------------

    def releasing(self, operator: Operator, stored: StoredBinding) -> None:
        """Our finalizer is about to be removed from a binding."""
        self._world.schedule.count("releases")
        binding = stored.binding
        if binding is None or not stored.guarded or binding.deletion_policy is DeletionPolicy.RETAIN:
            return
        issuer, known = operator.cluster.issuer, operator.known
        accounts = {i.account.account_id for i in known.of_kind(ACCOUNT)}
        subjects = binding.subjects(known.service_accounts(binding.ref.namespace))
        for role in sorted(stored.roles):
            base = self._last.get((operator.name, role))
            if role.account_id not in accounts:
                continue
            if base is None:
                there = self._world.role(role)
                if there is None:
                    continue
                # Never read: nothing of it may be there. It may be that nothing ever was.
                base = Base(Answer(there.document, there.tags, self._world.now(), there.text, 0.0))
            if base.answer.document is None or not self._world.exists(role):
                continue
            shown = holders_in(base.answer.document, issuer)
            since = known.deleted_at.get(stored.uid, math.inf)
            answers = [b.answer for b in self._answers.get((operator.name, role), ()) if b.answer.at >= since]
            seen = [
                holders_in(a.document, issuer) if a.document is not None else set[tuple[str, str]]() for a in answers
            ]
            cover = cover_of(known, issuer, role, base.answer.tags)
            others = cover.holders() | {(s, n) for s, names in cover.retained.items() for n in names}
            others |= self._claimed_by_others(operator, stored, role)
            for claim in claims_on(role, binding, subjects):
                sid = sid_of(issuer, claim.key)
                for name in [str(s) for s in claim.subjects] or [""]:
                    # One answer without it is enough: a later one may be stale, or show what another binding wanted.
                    if (sid, name) in shown - others and all((sid, name) in each for each in seen):
                        self._fail("I3 a release after the answer", operator, role, f"{stored.ref}: {sid} {name}")

    def _claimed_by_others(self, operator: Operator, stored: StoredBinding, role: RoleArn) -> set[tuple[str, str]]:
        """Return what other bindings claim that still have our finalizer, deleted or not: they answer for it."""
        known, found = operator.known, set[tuple[str, str]]()
        own = (
            {sid_of(operator.cluster.issuer, c.key) for c in claims_on(role, stored.binding, _ANYBODY)}
            if stored.binding
            else ()
        )
        everybody = {str(Subject(stored.ref.namespace, name)) for name in known.service_accounts(stored.ref.namespace)}
        everybody |= {str(s) for s in stored.binding.subjects({})} if stored.binding is not None else set()
        for item in known.bindings():
            if item.uid == stored.uid or "trustbind.dev/trust" not in item.finalizers:
                continue
            is_pending = item.status.get("observedGeneration") != item.metadata["generation"]
            is_here = role in StoredBinding.of(item.body).roles or is_pending
            if is_here and item.ref.namespace == stored.ref.namespace:
                # What it had by its former spec goes by its own run, which is still to come where this is pending.
                names = everybody if is_pending else item.status.get("subjects", ())
                found.update((sid, str(name)) for sid in own for name in names)
            subjects = item.binding.subjects(known.service_accounts(item.ref.namespace))
            for claim in claims_on(role, item.binding, subjects):
                sid = sid_of(operator.cluster.issuer, claim.key)
                found.update((sid, name) for name in [str(s) for s in claim.subjects] or [""])
        return found

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _foreign(
        self, operator: Operator, role: RoleArn, current: TrustDocument, sent: TrustDocument
    ) -> frozenset[str]:
        """Check the foreign statements; return the texts of those that bindings take over."""
        issuer = operator.cluster.issuer
        kept = _foreign_texts(current, issuer)
        listed = _foreign_texts(sent, issuer)
        gone = [t for t in kept if t not in set(listed)]
        new = [t for t in listed if t not in set(kept)]
        if [t for t in listed if t in set(kept)] != [t for t in kept if t in set(listed)]:
            self._fail("I1 foreign statements stay", operator, role, f"{kept} became {listed}")
        if gone or new:
            self._taken_over(operator, role, current, sent, gone, new)
        if (current.version, dict(current.extra)) != (sent.version, dict(sent.extra)):
            self._fail("I1 foreign statements stay", operator, role, "the document's own members changed")
        return frozenset(gone)

    def _taken_over(
        self,
        operator: Operator,
        role: RoleArn,
        current: TrustDocument,
        sent: TrustDocument,
        gone: list[str],
        new: list[str],
    ) -> None:
        """Check that no answer changes by foreign statements that go and come, and that what goes is recorded."""
        for text in gone:
            if not any(_is_recorded(item.body, role, text) for item in operator.cluster.of_kind(BINDING)):
                self._fail("I7 a statement is recorded before it goes", operator, role, text)
        issuer = operator.cluster.issuer
        account = self._world.accounts[role.account_id]
        ids = sorted(
            audience
            for audience in account.providers.get(issuer.host_path) or ()
            if account.accepted_since[issuer.host_path, audience] < account.now() - _KNOWN_AFTER
        )
        was = [s for s in current.statements if statement_text(s) in gone]
        comes = [s for s in sent.statements if statement_text(s) in new]
        own_before = [s for s in current.statements if is_owned(s, issuer)]
        own_after = [s for s in sent.statements if is_owned(s, issuer)]
        restorable = _restorable(operator.known)
        for subject, audience in itertools.product(_subjects_of([*was, *comes]), ids):
            if _gets(was, role, issuer, subject, audience) and not _gets(
                [*comes, *own_after], role, issuer, subject, audience
            ):
                self._fail("I7 nobody loses by adoption", operator, role, f"{subject} with {audience}: {gone}")
            if _gets(comes, role, issuer, subject, audience) and not _gets(was, role, issuer, subject, audience):
                if not _gets(own_before, role, issuer, subject, audience):
                    self._fail("I7 what comes back is no wider", operator, role, f"{subject} with {audience}: {new}")
                if subject not in restorable:
                    self._fail("I7 what comes back is granted", operator, role, f"{subject} with {audience}: {new}")
        self._world.schedule.count("foreign statements adopted", len(gone))
        self._world.schedule.count("foreign statements narrowed or written back", len(new))

    def _covered(
        self, operator: Operator, role: RoleArn, current: TrustDocument, sent: TrustDocument, tags: Mapping[str, str]
    ) -> None:
        issuer = operator.cluster.issuer
        cover = cover_of(operator.known, issuer, role, tags)
        for statement in sent.statements:
            if is_retained(statement, issuer) and is_owned(statement, issuer):
                self._retained(operator, role, statement, cover, current)
            elif is_owned(statement, issuer):
                self._owned(operator, role, statement, cover, current)

    def _owned(
        self, operator: Operator, role: RoleArn, statement: Statement, cover: Cover, current: TrustDocument
    ) -> None:
        issuer, sid = operator.cluster.issuer, str(statement["Sid"])
        if sid.endswith(_PLACEHOLDER) and statement.get("Effect") == "Deny":
            return
        before = next((s for s in current.statements if s.get("Sid") == sid), None)
        names = _subjects(statement) or {""}
        there = (_subjects(before) or {""}) if before is not None else set()
        if "" in names and sid in cover.claimed and before is not None and same_meaning(statement, before):
            return  # of a chain that is being revoked, the far end
        allowed = cover.subjects.get(sid, set()) | (cover.retained.get(sid, set()) & there)
        if operator.is_paused(role.account_id):  # who is to go stays, and nobody comes
            if before is not None and same_meaning(statement, before):
                return
            allowed |= there
        if extra := names - allowed:
            self._fail("I2 only what is granted", operator, role, f"{sid} admits {sorted(extra)}")
        key = cover.keys[sid]
        if not same_meaning(statement, build(issuer, role, key, names - {""})):
            self._fail("I2 only what is granted", operator, role, f"{sid} is not as it is built")
        new = names - there
        unguarded = {n for n in new if (sid, n) not in cover.guarded}
        if unguarded:
            self._fail("the finalizer comes first", operator, role, f"{sid} {sorted(unguarded)}")

    def _retained(
        self, operator: Operator, role: RoleArn, statement: Statement, cover: Cover, current: TrustDocument
    ) -> None:
        """Check what deleted bindings leave: what stood for them, as far as it is granted, and what was left before.

        The latter may be kept by a write that was planned before its grant went; in the end it has to be gone.
        """
        issuer, sid = operator.cluster.issuer, str(statement["Sid"])
        before = next((s for s in current.statements if s.get("Sid") == sid), None)
        if before is not None and same_meaning(statement, before) and operator.is_paused(role.account_id):
            return
        key, names = retained_key(statement, issuer), _subjects(statement) or {""}
        live = sid_of(issuer, key) if key is not None else ""
        if key is None or retained_sid(issuer, key) != sid:
            self._fail("I2 only what is granted", operator, role, f"retained {statement_text(statement)}")
        held = {name for held_sid, name in holders_in(current, issuer) if held_sid == live}
        left = (_subjects(before) or {""}) if before is not None else set()
        if extra := names - (cover.retained.get(live, set()) & held) - left:
            self._fail("I2 only what is granted", operator, role, f"{sid} retains {sorted(extra)}")
        if not same_meaning({**build(issuer, role, key, names - {""}), "Sid": sid}, statement):
            self._fail("I2 only what is granted", operator, role, f"{sid} is not as it is built")

    def _fail(self, rule: str, operator: Operator, role: RoleArn | None, problem: str) -> NoReturn:
        where = f" in {role.name}" if role is not None else ""
        self._world.schedule.fail(rule, f"{operator.name}{where}: {problem}")


def _is_recorded(body: Mapping[str, Any], role: RoleArn, text: str) -> bool:
    """Return whether a binding of a role lists a statement as about to be replaced, as the API server has it."""
    wanted = json.loads(text)
    listed = (body.get("status") or {}).get("adopted") or ()
    return body["spec"]["roleArn"] == str(role) and any(
        same_meaning(json.loads(each["statement"]), wanted) and each.get("pending") is True for each in listed
    )


def _restorable(known: Known) -> set[str]:
    """Return the service accounts of bindings that are deleted with ``Restore`` and still granted."""
    found: set[str] = set()
    for item in known.bindings():
        binding = item.binding
        if not item.is_deleting or binding.deletion_policy is not DeletionPolicy.RESTORE:
            continue
        for subject in binding.subjects(known.service_accounts(binding.ref.namespace)):
            if known.covers(replace(binding, federated=()), [subject.name]):
                found.add(str(subject))
    return found


def _subjects_of(statements: Iterable[Statement]) -> list[str]:
    """Return every service account of the world, and what statements name besides."""
    everybody = {str(Subject(namespace, f"s{n}")) for namespace in ("blue", "green") for n in range(4)}
    return sorted(everybody.union(*(_subjects(statement) for statement in statements)))


def _gets(statements: Sequence[Statement], role: RoleArn, issuer: Issuer, subject: str, audience: str) -> bool:
    """Return whether statements let a token get the role."""
    context = {issuer.subject_key: (subject,), issuer.audience_key: (audience,), "aws:SourceVpc": ("vpc-1",)}
    caller = Caller(PrincipalKind.FEDERATED, str(issuer.provider_for(role)))
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return evaluate(document, Request(caller, "sts:AssumeRoleWithWebIdentity", context)).allowed


def holders_in(document: TrustDocument, issuer: Issuer) -> set[tuple[str, str]]:
    """Return Sid and subject of everything that statements of a cluster admit; a chain's subject is empty.

    What deleted bindings left is not counted.
    """
    found: set[tuple[str, str]] = set()
    for statement in document.statements:
        is_live = is_owned(statement, issuer) and not is_retained(statement, issuer)
        if is_live and statement.get("Effect") == "Allow":
            found.update((str(statement["Sid"]), name) for name in _subjects(statement) or {""})
    return found


def _subjects(statement: Statement) -> set[str]:
    """Return every value of a condition on the token's subject; a key of another issuer is absent and admits nobody."""
    found: set[str] = set()
    own = str(statement.get("Principal", {}).get("Federated", "")).partition(":oidc-provider/")[2]
    for block in (statement.get("Condition") or {}).values():
        for key, value in block.items():
            if own and key.lower() == f"{own}:sub".lower():
                found.update([value] if isinstance(value, str) else value)
    return found


def _foreign_texts(document: TrustDocument, issuer: Issuer) -> list[str]:
    return [statement_text(s) for s in document.statements if not is_owned(s, issuer)]


def _names(document: TrustDocument, issuer: Issuer) -> str:
    prefix = owner_prefix(issuer)
    return " ".join(
        str(s.get("Sid", "-")).replace(prefix, "own:")
        + f"[{','.join(n.rpartition(':')[2] for n in sorted(_subjects(s)))}]"
        for s in document.statements
    )


def _json(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    decoded: Mapping[str, Any] = json.loads(text)
    return decoded
