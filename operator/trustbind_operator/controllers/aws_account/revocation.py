"""The ledger of the brake on mass revocation: what stands in each AWS account, what is to go, and what went lately.

`trustbind.reconcile.revocation` decides. What stands is known from statuses, from what bindings left, and from surveys,
so a restart and another leader know it as well. A pause is remembered by the AWSAccount's condition.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from trustbind.identity.arns import RoleArn
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.revocation import (
    Pair,
    RevocationLimit,
    Revocations,
    is_paused,
    pause_message,
    pause_note,
    standing,
    wanted,
)
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.conditions import Condition, ConditionType

__all__ = ["RevocationBrake"]

_NOTHING: Final[frozenset[Pair]] = frozenset()


@dataclass(slots=True)
class _Book:
    """What is known of one AWS account.

    Attributes:
        name: of its AWSAccount.
        standing: how many bindings, or roles with leftovers, account for each subject that stands.
        wanted: how many bindings are to have it.
        going: what stands and nobody is to have.
        roles: those of `going`, of a pause from its beginning on: they run when it ends.
        allowed: of these, what an administrator allowed.
        gone: when subjects were revoked that nobody had allowed, oldest first.
        handled: the last value of the annotation that was seen.
        is_paused: see `trustbind.reconcile.revocation.is_paused`.
        is_allowing: whether the annotation changed before all was known.
    """

    name: str = ""
    standing: Counter[Pair] = field(default_factory=Counter)
    wanted: Counter[Pair] = field(default_factory=Counter)
    going: set[Pair] = field(default_factory=set)
    roles: set[RoleArn] = field(default_factory=set)
    allowed: set[Pair] = field(default_factory=set)
    gone: deque[float] = field(default_factory=deque)
    handled: str = ""
    is_known: bool = False
    is_paused: bool = False
    is_allowing: bool = False


_NO_BOOK: Final = _Book()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one binding, or what is left in one role, has and is to have."""

    standing: frozenset[Pair] = _NOTHING
    wanted: frozenset[Pair] = _NOTHING


class RevocationBrake:
    """See the module. Only the event loop touches it; each change takes time for the subjects that changed alone.

    Args:
        limit: see `RevocationLimit`.
        clock: the event loop's time, in seconds.
        changed: called with an account id whose revocation is, or was paused, and with both.
    """

    def __init__(
        self, limit: RevocationLimit, clock: Callable[[], float], changed: Callable[[str, bool, bool], None]
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._changed = changed
        self._books: dict[str, _Book] = {}
        self._entries: dict[str | RoleArn, _Entry] = {}
        """By a binding's uid, or a role in which something is left that no binding accounts for."""
        self._has_begun = False
        self._emptied_at: float | None = None

    def begin(self) -> None:
        """Decide from now on: everything is known."""
        self._has_begun = True
        for account_id in list(self._books):
            self._evaluate(account_id)

    # --- what is there ----------------------------------------------------------------------------------------------

    def decided(self, decision: BindingDecision) -> None:
        """Take note of a decision."""
        stands, wants = standing(decision.stored), wanted(decision)
        self._put(decision.stored.uid, _Entry(stands, stands if wants == stands else wants))  # one value saves memory

    def restated(self, stored: StoredBinding) -> None:
        """Take note of a status that was stored."""
        if (known := self._entries.get(stored.uid)) is not None:
            self._put(stored.uid, _Entry(standing(stored), known.wanted))

    def gone(self, stored: StoredBinding, roles: Iterable[RoleArn]) -> None:
        """Take note that a binding is gone; ``roles``: in which its trust may be left."""
        had = self._entries.get(stored.uid, _Entry()).standing
        for role in roles:
            left = self._entries.get(role, _Entry()).standing
            self._put(role, _Entry(left | {pair for pair in had if pair[0] == role}))
        self._put(stored.uid, _Entry())

    def found(self, role: RoleArn, names: Iterable[str]) -> None:
        """Take note of subjects that a survey found in a role, and that are to go."""
        self._put(role, _Entry(frozenset((role, name) for name in names)))

    def cleared(self, role: RoleArn) -> None:
        """Take note that nothing is left in a role that no binding accounts for."""
        self._put(role, _Entry())

    def list_emptied(self) -> None:
        """Take note that a list that was not empty came back empty; what it takes away follows."""
        self._emptied_at = self._clock()

    def account_seen(self, stored: StoredAwsAccount) -> None:
        """Take note of the AWSAccount that counts: its name, its annotation, and a pause that another process began."""
        book = self._books.setdefault(stored.account_id, _Book())
        book.name = stored.name
        if not book.is_known:
            book.is_known = True
            book.handled = str(stored.status.get("revocationAllowedAt", ""))
            book.is_paused = book.is_paused or any(
                c.get("type") == ConditionType.REVOCATION_PAUSED and c.get("status") == "True"
                for c in stored.status.get("conditions") or ()
            )
        if stored.revocation_allowed_at != book.handled:
            book.is_allowing = book.is_paused and bool(stored.revocation_allowed_at)
            book.handled = stored.revocation_allowed_at
            self._evaluate(stored.account_id)

    # --- what follows -----------------------------------------------------------------------------------------------

    def pause(self, account_id: str, waiting: RoleArn | None = None) -> str:
        """Return why nothing may be revoked in an AWS account now; empty when it may.

        Args:
            account_id: which.
            waiting: a role that runs again when the pause ends. Its run leaves out more than subjects: a permission of
                a source role, and the release of a binding.
        """
        book = self._books.get(account_id, _NO_BOOK)
        book.roles.update([waiting] if book.is_paused and waiting is not None else [])
        return pause_note(account_id, book.name) if book.is_paused else ""

    def condition(self, account_id: str) -> Condition | None:
        """Return the condition of the AWSAccount; None while nothing is paused."""
        book = self._books.get(account_id)
        if book is None or not book.is_paused:
            return None
        message = pause_message(book.name, self._revocations(book), self._limit)
        return Condition(
            ConditionType.REVOCATION_PAUSED, status=True, reason=TrustReason.MASS_REVOCATION, message=message
        )

    def take_roles(self, account_id: str) -> set[RoleArn]:
        """Return the roles that have to run after a pause, once."""
        book = self._books.get(account_id, _NO_BOOK)
        roles, book.roles = book.roles, {role for role, _ in book.going}
        return roles

    def handled(self, account_id: str) -> str:
        """Return the value of the annotation that was seen last, which allows nothing any more."""
        return self._books.get(account_id, _NO_BOOK).handled

    def held(self, account_id: str) -> int:
        """Return how many subjects a pause keeps from being revoked."""
        book = self._books.get(account_id, _NO_BOOK)
        return len(book.going) if book.is_paused else 0

    def _revocations(self, book: _Book) -> Revocations:
        now = self._clock()
        while book.gone and book.gone[0] <= now - self._limit.window_seconds:
            book.gone.popleft()
        is_empty = self._emptied_at is not None and now - self._emptied_at < self._limit.window_seconds
        going = len(book.going) - len(book.allowed)
        return Revocations(len(book.standing), going, len(book.gone), is_empty)

    def _put(self, key: str | RoleArn, entry: _Entry) -> None:
        before = self._entries.get(key, _Entry())
        if before == entry:
            return
        if entry == _Entry():
            del self._entries[key]
        else:
            self._entries[key] = entry
        changed = (before.standing ^ entry.standing) | (before.wanted ^ entry.wanted)
        for pair in before.standing - entry.standing:
            _subtract(self._book_of(pair).standing, pair)
        for pair in before.wanted - entry.wanted:
            _subtract(self._book_of(pair).wanted, pair)
        for pair in entry.standing - before.standing:
            self._book_of(pair).standing[pair] += 1
        for pair in entry.wanted - before.wanted:
            self._book_of(pair).wanted[pair] += 1
        for pair in changed:
            self._note(self._book_of(pair), pair)
        for account_id in {role.account_id for role, _ in changed}:
            self._evaluate(account_id)

    def _note(self, book: _Book, pair: Pair) -> None:
        """Bring the books about one subject up to date."""
        if pair in book.standing and pair not in book.wanted:
            book.going.add(pair)
            book.roles.add(pair[0])
        elif pair in book.going:
            book.going.discard(pair)
            if pair in book.allowed:
                book.allowed.discard(pair)
            elif pair not in book.standing:
                book.gone.append(self._clock())

    def _book_of(self, pair: Pair) -> _Book:
        return self._books.setdefault(pair[0].account_id, _Book())

    def _evaluate(self, account_id: str) -> None:
        if not self._has_begun:
            return
        book = self._books[account_id]
        if book.is_allowing:
            book.is_allowing = False
            book.allowed = set(book.going)
        before, book.is_paused = (
            book.is_paused,
            is_paused(self._revocations(book), self._limit, before=book.is_paused),
        )
        if not book.going and not before:
            book.roles.clear()
        if before or book.is_paused:
            self._changed(account_id, before, book.is_paused)


def _subtract(counts: Counter[Pair], pair: Pair) -> None:
    counts[pair] -= 1
    if not counts[pair]:
        del counts[pair]
