"""Plans while revocation is paused: every trusted subject stays trusted, and granted ones are added."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.bodies import ISSUER, OPS, OTHER_ROLE, ROLE
from trustbind.api.role_binding import BindingRef
from trustbind.identity.subjects import Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import ChainKey, WebIdentityKey, build, is_owned, placeholder, subjects_of
from trustbind.policy.plan import Desired, Refusal, plan, plan_without_revocation, revoked_names
from trustbind.policy.trust_document import Statement, TrustDocument
from trustbind.reasons import TrustReason

LIMIT = 8192
PAUSED = Refusal(None, TrustReason.REVOCATION_PAUSED, "revocation is paused")
FIRST, SECOND = WebIdentityKey("sts.amazonaws.com"), WebIdentityKey("other")


def claim(name: str, key: WebIdentityKey = FIRST) -> Claim:
    """Return the claim of one service account."""
    return Claim(BindingRef("team-a", name), key, (Subject("team-a", name),))


def document(*claims: Claim) -> TrustDocument:
    """Return a document with these claims, and a foreign statement."""
    return plan(TrustDocument((OPS,)), Desired(ROLE, ISSUER, claims), LIMIT).document


def names(held: TrustDocument) -> list[tuple[str, str]]:
    """Return Sid and service account of what our statements trust, sorted."""
    return sorted(
        (str(s["Sid"]), name) for s in held.statements if is_owned(s, ISSUER) for name in subjects_of(s, ISSUER)
    )


def test_who_is_to_go_stays_beside_who_comes() -> None:
    """In a statement that is wanted, and in one that nobody wants any more."""
    current = document(claim("a"), claim("b"), claim("c", SECOND))
    planned = plan_without_revocation(current, Desired(ROLE, ISSUER, (claim("a"), claim("new"))), LIMIT, PAUSED)

    assert {name.rpartition(":")[2] for _, name in names(planned.document)} == {"a", "b", "c", "new"}
    assert planned.blocked == PAUSED
    assert set(planned.applied) == {BindingRef("team-a", "a"), BindingRef("team-a", "new")}
    assert len(planned.pending) == 2
    assert not planned.is_empty


def test_nothing_to_revoke_is_an_ordinary_plan() -> None:
    """Without the refusal."""
    current = document(claim("a"))
    desired = Desired(ROLE, ISSUER, (claim("a"), claim("b")))
    assert plan_without_revocation(current, desired, LIMIT, PAUSED) == plan(current, desired, LIMIT)


def test_only_to_revoke_is_nothing_to_write() -> None:
    """The document stays character by character."""
    current = document(claim("a"), claim("b"))
    planned = plan_without_revocation(current, Desired(ROLE, ISSUER, (claim("a"),)), LIMIT, PAUSED)
    assert planned.is_empty
    assert planned.document is current
    assert planned.blocked == PAUSED


def test_move_to_another_statement_revokes_nothing() -> None:
    """Who is trusted by another statement then is not lost."""
    current = document(claim("a"))
    assert revoked_names(plan(current, Desired(ROLE, ISSUER, (claim("a", SECOND),)), LIMIT)) == set()


def test_placeholder_goes() -> None:
    """It denies; nobody loses anything by its end."""
    current = TrustDocument((placeholder(ISSUER, ROLE),))
    old = document(claim("old", SECOND)).statements[-1]
    planned = plan_without_revocation(
        TrustDocument((*current.statements, old)), Desired(ROLE, ISSUER, (claim("a"),)), LIMIT, PAUSED
    )
    assert all(s["Effect"] == "Allow" for s in planned.document.statements)
    assert {name.rpartition(":")[2] for _, name in names(planned.document)} == {"a", "old"}


def test_chain_stays() -> None:
    """Its principal is its subject."""
    statement: Statement = build(ISSUER, ROLE, ChainKey(OTHER_ROLE))
    current = TrustDocument((OPS, statement))
    assert revoked_names(plan(current, Desired(ROLE, ISSUER), LIMIT)) == {str(OTHER_ROLE)}
    assert plan_without_revocation(current, Desired(ROLE, ISSUER), LIMIT, PAUSED).document is current


claims = st.sets(st.tuples(st.sampled_from("abcdef"), st.sampled_from([FIRST, SECOND])))


@given(claims, claims, st.integers(600, 3000))
def test_nobody_loses_anything(
    before: set[tuple[str, WebIdentityKey]], after: set[tuple[str, WebIdentityKey]], limit: int
) -> None:
    """Whatever is wanted and however little room there is, at each step; and it comes to an end.

    A name may come into a statement for another audience first, and leave the old one with the next write.
    """
    current = document(*(claim(name, key) for name, key in sorted(before)))
    desired = Desired(ROLE, ISSUER, tuple(claim(name, key) for name, key in sorted(after)))
    planned = plan_without_revocation(current, desired, limit, PAUSED)

    assert {name for _, name in names(current)} <= {name for _, name in names(planned.document)}
    for _ in range(5):
        document_before = planned.document
        planned = plan_without_revocation(document_before, desired, limit, PAUSED)
        assert {name for _, name in names(document_before)} <= {name for _, name in names(planned.document)}
    assert planned.is_empty
