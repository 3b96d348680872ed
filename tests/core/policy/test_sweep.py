"""What sweep removes of a trust policy, and what stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trust import FOREIGN, ISSUER, OTHER, ROLE, SID, SOURCE, STALE, WEB, claim, document, federated, statement
from trustbind.api.role_binding import RoleBinding
from trustbind.identity.subjects import Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    FederatedKey,
    WebIdentityKey,
    build,
    is_owned,
    placeholder,
    placeholder_sid,
    retained,
    sid_of,
)
from trustbind.policy.sweep import Scope, Sweep, SweepReason, claims_of, narrowed, other_owners, sweep, targets_wanted
from trustbind.policy.trust_document import TrustDocument
from trustbind.policy.trusted_names import names_of

READER, WRITER = Subject("team-a", "reader"), Subject("team-a", "writer")
LEFT = retained(ISSUER, ROLE, WEB, [READER, WRITER])
CHAIN = ChainKey(SOURCE)


def _sids(swept: Sweep) -> list[Any]:
    return [s.get("Sid") for s in swept.plan.document.statements]


def _gone(swept: Sweep) -> list[tuple[SweepReason, tuple[str, ...], bool]]:
    return [(each.reason, each.names, each.is_whole) for each in swept.swept]


def test_unbound() -> None:
    """A statement that no binding wants goes; foreign ones keep their text and order."""
    found = sweep(ROLE, document(FOREIGN, statement("reader"), {**FOREIGN, "Sid": "Last"}), ISSUER, ())

    assert _sids(found) == ["Ops", "Last"]
    assert _gone(found) == [(SweepReason.UNBOUND, (str(READER),), True)]


def test_one_of_two() -> None:
    """Of a statement that a binding wants in part, the rest goes."""
    found = sweep(ROLE, document(FOREIGN, statement("reader", "writer")), ISSUER, [claim("reader")])

    assert found.plan.document == document(FOREIGN, statement("reader"))
    assert _gone(found) == [(SweepReason.UNBOUND, (str(WRITER),), False)]


def test_wanted() -> None:
    """What a binding wants stays, and nothing is added: not what is missing, either."""
    current = document(FOREIGN, statement("reader"))
    found = sweep(ROLE, current, ISSUER, [claim("reader"), claim("writer"), federated("ci")])

    assert found == Sweep(found.plan)
    assert found.plan.is_empty


def test_last_statement() -> None:
    """IAM takes no empty trust policy, so the placeholder is left, and a second sweep finds nothing."""
    found = sweep(ROLE, document(statement("reader")), ISSUER, ())

    assert _sids(found) == [placeholder_sid(ISSUER)]
    again = sweep(ROLE, found.plan.document, ISSUER, ())
    assert again.plan.is_empty


def test_placeholder_beside_others() -> None:
    """The placeholder goes where another statement is."""
    found = sweep(ROLE, document(placeholder(ISSUER, ROLE), FOREIGN), ISSUER, ())

    assert _sids(found) == ["Ops"]
    assert _gone(found) == [(SweepReason.UNBOUND, (), True)]


def test_retained() -> None:
    """What deleted bindings left is named and stays, unless it is asked for."""
    current = document(FOREIGN, LEFT)

    kept = sweep(ROLE, current, ISSUER, ())
    assert kept.plan.is_empty
    assert kept.retained == (str(READER), str(WRITER))
    asked = sweep(ROLE, current, ISSUER, (), Scope(retained=True))
    assert _sids(asked) == ["Ops"]
    assert _gone(asked) == [(SweepReason.RETAINED, (str(READER), str(WRITER)), True)]


def test_service_account_that_is_gone() -> None:
    """Of what deleted bindings left, service accounts that are gone go; what is not known stays."""
    current = document(FOREIGN, LEFT)
    found = sweep(ROLE, current, ISSUER, (), Scope(service_accounts=frozenset({WRITER})))

    assert found.plan.document == document(FOREIGN, retained(ISSUER, ROLE, WEB, [WRITER]))
    assert _gone(found) == [(SweepReason.SERVICE_ACCOUNT_GONE, (str(READER),), False)]
    assert sweep(ROLE, current, ISSUER, (), Scope()).plan.is_empty


def test_retained_for_a_binding() -> None:
    """What a binding has as well goes from what deleted bindings left; its trust stays."""
    found = sweep(ROLE, document(FOREIGN, LEFT, statement("reader")), ISSUER, [claim("reader")])

    assert found.plan.document == document(FOREIGN, retained(ISSUER, ROLE, WEB, [WRITER]), statement("reader"))
    assert _gone(found) == [(SweepReason.UNBOUND, (str(READER),), False)]


def test_second_reading_that_removes_more() -> None:
    """Where a second reading would remove what was not shown, nothing goes."""
    current = document(FOREIGN, LEFT, statement("reader", "writer"))
    shown = sweep(ROLE, current, ISSUER, ())
    again = sweep(ROLE, current, ISSUER, [claim("reader")])

    assert again.removed - shown.removed == {(LEFT["Sid"], str(READER))}
    done = narrowed(shown, again)
    assert (done.plan.is_empty, done.plan.document, done.swept) == (True, current, ())


def test_service_account_that_a_binding_names() -> None:
    """A service account that is gone stays as long as a binding names it: the operator would add it again."""
    found = sweep(
        ROLE, document(FOREIGN, statement("reader")), ISSUER, [claim("reader")], Scope(service_accounts=frozenset())
    )

    assert found.plan.is_empty
    (note,) = found.notes
    assert note == (
        f"RoleBinding team-a/reader gives {ROLE} to team-a/reader, which the cluster does not have; remove them from "
        "the binding"
    )


def test_cluster_that_is_gone() -> None:
    """All of its statements go, retained and edited ones, too; those of another cluster stay."""
    edited = {**statement("reader"), "Action": "sts:*"}
    theirs = build(OTHER, ROLE, WEB, [READER])
    found = sweep(ROLE, document(FOREIGN, edited, LEFT, theirs), ISSUER, [claim("reader")], Scope(is_gone=True))

    assert _sids(found) == ["Ops", theirs["Sid"]]
    assert {each.reason for each in found.swept} == {SweepReason.CLUSTER_GONE}
    assert other_owners(found.plan.document, ISSUER) == {OTHER.host_path}


@pytest.mark.parametrize(
    "edited",
    [
        {**statement("reader"), "Action": "sts:*"},
        {**statement("reader"), "Condition": {}},
        {**LEFT, "Condition": {**LEFT["Condition"], "Bool": {"aws:SecureTransport": "true"}}},
        build(ISSUER, ROLE, CHAIN) | {"Sid": SID},
    ],
)
def test_edited(edited: dict[str, Any]) -> None:
    """Where one of ours differs from what trustbind writes, the trust policy is left alone, with a note."""
    current = document(FOREIGN, edited, statement("x", key=WebIdentityKey("other")))
    found = sweep(ROLE, current, ISSUER, (), Scope(retained=True))

    if is_owned(edited, ISSUER):
        assert found.plan.is_empty
        assert found.plan.document == current
        assert "differs from what trustbind writes" in found.notes[0]
    else:
        assert edited in found.plan.document.statements


def test_pattern_of_a_set() -> None:
    """A statement of ours with a pattern over the cluster's own service accounts stays: no RoleBinding names it."""
    key = FederatedKey(ISSUER, "sts.amazonaws.com")
    names = {ISSUER.subject_key: ["system:serviceaccount:profile-*:editor"]}
    condition = {"StringEquals": {ISSUER.audience_key: "sts.amazonaws.com"}, "StringLike": names}
    pattern = {**statement("x"), "Sid": sid_of(ISSUER, key), "Condition": condition}
    current = document(FOREIGN, pattern, statement("reader"))

    found = sweep(ROLE, current, ISSUER, ())
    assert found.plan.is_empty
    assert "trusts service accounts by a pattern" in found.notes[0]
    assert _sids(sweep(ROLE, current, ISSUER, (), Scope(is_gone=True))) == ["Ops"]


def test_deleted_source_role() -> None:
    """A chain's statement that names a deleted role by its unique id goes, though a binding wants the chain."""
    stale = build(ISSUER, ROLE, CHAIN) | {"Principal": {"AWS": "AROAEXAMPLEID1234567A"}}
    found = sweep(ROLE, document(FOREIGN, stale), ISSUER, [claim("chain", CHAIN)])

    assert _sids(found) == ["Ops"]
    assert found.swept[0].reason is SweepReason.STALE_PRINCIPAL


def test_chain() -> None:
    """A chain that a binding wants stays, another one goes."""
    other = ChainKey(SOURCE, "word")
    current = document(FOREIGN, build(ISSUER, ROLE, CHAIN), build(ISSUER, ROLE, other))
    found = sweep(ROLE, current, ISSUER, [claim("chain", CHAIN)])

    assert found.plan.document == document(FOREIGN, build(ISSUER, ROLE, CHAIN))
    assert _gone(found) == [(SweepReason.UNBOUND, (str(SOURCE),), True)]


def test_external_ids() -> None:
    """External ids of associations stay while a binding has their role as its source: no object knows them."""
    key = AssociationKey(SOURCE)
    current = document(FOREIGN, build(ISSUER, ROLE, key, ["one", "two"]))

    assert sweep(ROLE, current, ISSUER, [Claim(claim("x").binding, key)]).plan.is_empty
    assert _gone(sweep(ROLE, current, ISSUER, ())) == [(SweepReason.UNBOUND, ("one", "two"), True)]


def test_foreign_statement_that_iam_refuses() -> None:
    """A foreign statement that stops every write is named, and nothing is removed."""
    found = sweep(ROLE, document(STALE, statement("reader")), ISSUER, ())

    assert found.plan.is_empty
    assert found.plan.blocked is not None


def test_targets_wanted() -> None:
    """A source role is to assume the targets of its chains."""
    chain = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"namespace": "team-a", "name": "chain"},
        "spec": {
            "roleArn": str(ROLE),
            "method": "AssumeRole",
            "source": {"roleArn": str(SOURCE)},
            "serviceAccountNames": ["reader"],
        },
    }
    parsed = RoleBinding.parse(chain)

    assert targets_wanted(SOURCE, [parsed]) == {str(ROLE)}
    assert targets_wanted(ROLE, [parsed]) == frozenset()
    assert [c.subjects for c in claims_of(SOURCE, [(parsed, [READER])])] == [(READER,)]


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), unique=True)
STATEMENTS = st.sampled_from(
    [
        FOREIGN,
        statement("a", "b"),
        statement("c", key=WebIdentityKey("other")),
        LEFT,
        build(ISSUER, ROLE, CHAIN),
        build(OTHER, ROLE, WEB, [READER]),
        {**statement("b"), "Sid": "Mine"},
    ]
)


@given(
    listed=st.lists(STATEMENTS, max_size=5, unique_by=lambda s: s["Sid"]),
    wanted=NAMES,
    scope=st.builds(Scope, st.booleans(), st.booleans(), st.sampled_from([None, frozenset(), frozenset({READER})])),
)
def test_only_removes(listed: list[dict[str, Any]], wanted: list[str], scope: Scope) -> None:
    """Foreign statements stay in their order; ours get no new name; a second sweep finds nothing."""
    current = document(*listed)
    claims = [claim(name) for name in wanted]
    after = sweep(ROLE, current, ISSUER, claims, scope).plan.document

    def foreign(each: TrustDocument) -> list[Any]:
        return [s for s in each.statements if not is_owned(s, ISSUER)]

    assert foreign(after) == foreign(current)
    before = {s.get("Sid"): s for s in current.statements}
    for each in after.statements:
        if each.get("Sid") != placeholder_sid(ISSUER):
            assert set(map(str, each.items())) <= set(map(str, before[each["Sid"]].items())) or (
                set(_subjects(each)) < set(_subjects(before[each["Sid"]]))
            )
    assert sweep(ROLE, after, ISSUER, claims, scope).plan.is_empty


CLAIMS = st.lists(
    st.sampled_from(
        [
            *map(claim, ("a", "b", "reader")),
            claim("c", WebIdentityKey("other")),
            claim("chain", CHAIN),
            federated("ci"),
        ]
    ),
    unique_by=lambda c: c.binding,
)


@given(
    listed=st.lists(STATEMENTS, max_size=5, unique_by=lambda s: s["Sid"]),
    first=CLAIMS,
    second=CLAIMS,
    scope=st.builds(Scope, st.just(value=False), st.booleans(), st.sampled_from([None, frozenset({READER})])),
)
def test_two_readings(listed: list[dict[str, Any]], first: list[Claim], second: list[Claim], scope: Scope) -> None:
    """What goes after a second reading was shown after the first, and neither of the two wants it."""
    current = document(*listed)
    both = [*first, *second]
    shown = sweep(ROLE, current, ISSUER, first, scope)
    done = narrowed(shown, sweep(ROLE, current, ISSUER, both, scope))

    assert done.removed <= shown.removed
    assert not done.removed & {(sid_of(ISSUER, c.key), str(subject)) for c in both for subject in c.subjects}
    after = {s.get("Sid"): s for s in done.plan.document.statements}
    for before in current.statements:
        wanting = [c for c in both if sid_of(ISSUER, c.key) == before.get("Sid")]
        stay = {str(subject) for c in wanting for subject in c.subjects} & names_of(before)
        if stay or any(isinstance(c.key, ChainKey) for c in wanting):
            assert stay <= names_of(after[before["Sid"]])


def _subjects(each: Any) -> list[str]:
    found: list[str] = each["Condition"]["StringEquals"][ISSUER.subject_key]
    return found
