"""One role brought to what is wanted, against a store that is late, loses writes and has other writers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, NotFoundError, PolicyRejectedError, ThrottledError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind.policy.plan import Desired, plan
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind_aws.client import RoleState
from trustbind_aws.resources.trust_policy import Patience, commit, preview

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
OTHER = Issuer.parse("https://oidc.example.com/id/2")
ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/app")
WEB = WebIdentityKey("sts.amazonaws.com")
OPS = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
TERRAFORM = {"Sid": "Terraform", "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "x:y"}

Writer = Callable[[TrustDocument], TrustDocument]


@dataclass
class Store:
    """One role in a pretended IAM.

    Attributes:
        current: the document that IAM has.
        reads_until_visible: how many reads after a write still show the document from before it.
        others: each is called after one of our writes and replaces the document, as another writer would.
        lost: numbers of our writes (from 1) that are dropped without an error, as if somebody had overwritten them
            with what was there before.
        errors: raised by writes, in order.
    """

    current: TrustDocument
    reads_until_visible: int = 0
    others: list[Writer] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    errors: list[AwsError] = field(default_factory=list)
    limit: int = 2048
    reads: int = 0
    writes: list[TrustDocument] = field(default_factory=list)
    _old: TrustDocument | None = None
    _late: int = 0

    def read(self, role: RoleArn) -> RoleState:
        """Return the role, late if need be."""
        if role != ROLE:
            raise NotFoundError("there is no such role", code="NoSuchEntity")
        self.reads += 1
        if self._old is not None and self._late > 0:
            self._late -= 1
            return RoleState(self._old, 3600, {})
        return RoleState(self.current, 3600, {})

    def write(self, role: RoleArn, document: TrustDocument) -> None:
        """Replace the document, and let the other writers have their turn."""
        assert role == ROLE
        if self.errors:
            raise self.errors.pop(0)
        self.writes.append(document)
        self._old, self._late = self.current, self.reads_until_visible
        if len(self.writes) not in self.lost:
            self.current = TrustDocument.parse(document.to_json())
        if self.others:
            self.current = self.others.pop(0)(self.current)

    def trust_policy_limit(self) -> int:
        """Return the account's limit."""
        return self.limit


class Clock:
    """Notes pauses instead of making them."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Note the pause."""
        self.pauses.append(seconds)


def patience(clock: Clock | None = None, *, jitter: float = 1.0) -> Patience:
    """Return a patience that takes no time: three reads, two more writes."""
    return Patience((1.0, 2.0), (10.0, 20.0), (clock or Clock()).sleep, lambda: jitter)


def wanted(*accounts: str) -> Desired:
    """Return the wish that these accounts be let in."""
    claims = [Claim(BindingRef("team-a", a), WEB, (Subject("team-a", a),)) for a in accounts]
    return Desired(ROLE, ISSUER, tuple(claims))


def owned(*accounts: str, issuer: Issuer = ISSUER) -> dict[str, Any]:
    """Return an owned statement for these accounts."""
    return build(issuer, ROLE, WEB, [Subject("team-a", a) for a in accounts])


def document(*statements: dict[str, Any]) -> TrustDocument:
    """Return a trust document."""
    return TrustDocument(statements)


def replaced(*statements: dict[str, Any]) -> Writer:
    """Return a writer that had read before us and writes its own document back."""
    return lambda _: document(*statements)


def added(statement: dict[str, Any]) -> Writer:
    """Return a writer that adds a statement to what is there."""
    return lambda current: document(*current.statements, statement)  # type: ignore[arg-type] # statements are mappings


def test_one_read_and_one_write() -> None:
    """A wish that is not there yet costs one write, a read before it and a read after it."""
    store = Store(document(OPS))

    done = commit(store, wanted("a"), patience=patience())

    assert store.current == document(OPS, owned("a"))
    assert (done.written, done.problem, store.reads) == (1, None, 2)
    assert done.state.document == document(OPS)
    assert not done.plan.is_empty


def test_nothing_to_do() -> None:
    """A wish that is there costs one read; with a state that was just read, none."""
    store = Store(document(OPS, owned("a")))

    assert commit(store, wanted("a"), patience=patience()).written == 0
    assert store.reads == 1
    first = store.read(ROLE)
    assert commit(store, wanted("a"), first=first, patience=patience()).plan.is_empty
    assert (store.reads, store.writes) == (2, [])


def test_given_state_saves_a_read() -> None:
    """With a state that was just read, only the read after the write is made."""
    store = Store(document(OPS))
    first = store.read(ROLE)

    commit(store, wanted("a"), first=first, patience=patience())

    assert store.reads == 2


@pytest.mark.parametrize("late", [1, 2])
def test_late_visibility(late: int) -> None:
    """A read that still shows the document from before the write is waited for, and nothing is written again."""
    clock = Clock()
    store = Store(document(OPS), reads_until_visible=late)

    done = commit(store, wanted("a"), patience=patience(clock))

    assert (done.written, done.problem) == (1, None)
    assert clock.pauses == [1.0, 2.0][:late]


def test_never_visible_in_time() -> None:
    """A write that does not show within the patience is written again from what is seen then."""
    clock = Clock()
    store = Store(document(OPS), reads_until_visible=3)

    done = commit(store, wanted("a"), patience=patience(clock, jitter=0.5))

    assert done.problem is None
    assert store.current == document(OPS, owned("a"))
    assert clock.pauses[:3] == [1.0, 2.0, 5.0]


def test_lost_update() -> None:
    """A write that another writer undid is redone from what is there now, with that writer's change kept."""
    clock = Clock()
    store = Store(document(OPS), others=[replaced(OPS, TERRAFORM)])

    done = commit(store, wanted("a"), patience=patience(clock, jitter=0.25))

    assert store.current == document(OPS, TERRAFORM, owned("a"))
    assert (done.written, done.problem) == (2, None)
    assert clock.pauses == [2.5]


def test_overwritten_with_what_was_there() -> None:
    """A write that was silently undone is redone as well."""
    store = Store(document(OPS), lost={1})

    done = commit(store, wanted("a"), patience=patience())

    assert store.current == document(OPS, owned("a"))
    assert (done.written, done.problem) == (2, None)


def test_another_cluster_added_its_own() -> None:
    """A change of another writer's that keeps ours is none of our business."""
    theirs = owned("z", issuer=OTHER)
    store = Store(document(OPS), others=[added(theirs)])

    done = commit(store, wanted("a"), patience=patience())

    assert store.current == document(OPS, owned("a"), theirs)
    assert done.written == 1


def test_contended() -> None:
    """A writer that undoes every write is told about after a bounded number of tries, with pauses in between."""
    clock = Clock()
    store = Store(document(OPS), others=[replaced(OPS, TERRAFORM), replaced(OPS), replaced(TERRAFORM)])

    done = commit(store, wanted("a"), patience=patience(clock))

    assert done.written == 3
    assert done.problem is not None
    assert done.problem.reason is TrustReason.TRUST_CONTENDED
    assert "written 3 times" in done.problem.message
    assert clock.pauses == [10.0, 20.0]


def test_solved_by_somebody_else() -> None:
    """When the other writer's document turns out to be what is wanted, nothing more is written."""
    store = Store(document(OPS), others=[replaced(TERRAFORM)])
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        store.current = document(TERRAFORM, owned("a"))

    done = commit(store, wanted("a"), patience=Patience((1.0,), (10.0,), sleep, lambda: 1.0))

    assert (done.written, done.problem) == (1, None)


def test_removal_is_seen() -> None:
    """After a removal the statement has to be gone; a late read that still shows it is waited for."""
    clock = Clock()
    store = Store(document(OPS, owned("a")), reads_until_visible=1)

    done = commit(store, wanted(), patience=patience(clock))

    assert store.current == document(OPS)
    assert (done.written, done.problem, clock.pauses) == (1, None, [1.0])


def test_removal_is_undone() -> None:
    """A removal that another writer undid is redone."""
    store = Store(document(OPS, owned("a")), others=[replaced(TERRAFORM, owned("a"))])

    done = commit(store, wanted(), patience=patience())

    assert store.current == document(TERRAFORM)
    assert done.written == 2


def test_last_statement() -> None:
    """The last wish that goes leaves the placeholder, and the next one replaces it."""
    store = Store(document(owned("a")))

    commit(store, wanted(), patience=patience())
    assert [s["Effect"] for s in store.current.statements] == ["Deny"]
    assert commit(store, wanted(), patience=patience()).written == 0
    commit(store, wanted("b"), patience=patience())

    assert store.current == document(owned("b"))


@pytest.mark.parametrize("error", [PolicyRejectedError("no", code="LimitExceeded"), ThrottledError("slow down")])
def test_write_fails(error: AwsError) -> None:
    """An error of AWS's goes through, and what was there stays."""
    store = Store(document(OPS), errors=[error])

    with pytest.raises(type(error)):
        commit(store, wanted("a"), patience=patience())

    assert store.current == document(OPS)


def test_no_such_role() -> None:
    """A role that is not there is an error, for a commit as for a preview."""
    elsewhere = Desired(RoleArn.parse("arn:aws:iam::444455556666:role/gone"), ISSUER)

    with pytest.raises(NotFoundError):
        commit(Store(document()), elsewhere, patience=patience())
    with pytest.raises(NotFoundError):
        preview(Store(document()), elsewhere)


@pytest.mark.parametrize("given", [None, 150])
def test_limit(given: int | None) -> None:
    """The account's limit counts unless another is given; what does not fit is refused, not written."""
    store = Store(document(OPS), limit=160)

    done = commit(store, wanted("a"), limit=given, patience=patience())

    assert (done.written, store.writes) == (0, [])
    assert [r.reason for r in done.plan.refusals] == [TrustReason.TRUST_POLICY_FULL]
    assert done.plan.limit == (given or 160)


def test_preview_writes_nothing() -> None:
    """A preview is the plan that a commit would begin with."""
    store = Store(document(OPS))

    planned = preview(store, wanted("a"))

    assert planned == plan(document(OPS), wanted("a"))
    assert store.writes == []
    assert preview(store, wanted("a"), 160).refusals


def test_defaults_allow_for_seconds() -> None:
    """By default a write has over ten seconds to show, and is redone a few times with growing pauses."""
    assert sum(Patience().visible_seconds) > 10
    assert list(Patience().redo_seconds) == sorted(Patience().redo_seconds)
    assert 0 <= Patience().jitter() < 1


statements = st.sampled_from([OPS, TERRAFORM, owned("a"), owned("b", "c"), owned("z", issuer=OTHER)])
documents = st.lists(statements, max_size=4, unique_by=lambda s: str(s["Sid"])).map(lambda ss: document(*ss))
accounts = st.sets(st.sampled_from("abcd")).map(sorted)


def foreign(one: TrustDocument) -> list[Any]:
    """Return the statements that this cluster does not own."""
    mine = owned("a")["Sid"][:17]
    return [s for s in one.statements if not str(s["Sid"]).startswith(mine)]


@given(documents, accounts, st.integers(0, 2), st.lists(documents, max_size=2), st.sets(st.integers(1, 2), max_size=1))
def test_converges(
    current: TrustDocument, names: Iterable[str], late: int, others: list[TrustDocument], lost: set[int]
) -> None:
    """With late reads, lost writes and two writes of others, the wish comes true and the others' statements stay."""
    store = Store(current, late, [lambda _, d=d: d for d in others], lost)  # type: ignore[misc] # mypy does not infer the default
    desired = wanted(*names)

    done = commit(store, desired, patience=Patience((1.0, 1.0, 1.0), (1.0,) * 6, Clock().sleep, lambda: 1.0))

    assert done.problem is None
    assert plan(store.current, desired).is_empty
    last = others[min(len(store.writes), len(others)) - 1] if others and store.writes else current
    assert foreign(store.current) == foreign(last)
