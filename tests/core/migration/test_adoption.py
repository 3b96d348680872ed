"""Which hand-written statements a binding's own may replace: only those with the same answers."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trust import FOREIGN, GITHUB, ISSUER, MAIN, OTHER, ROLE, claim, document, federated, statement
from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.role_binding import BindingRef
from trustbind.evaluation.model import Caller, PrincipalKind, Request
from trustbind.evaluation.policy import evaluate
from trustbind.identity.subjects import Issuer
from trustbind.migration.adoption import Takeover, restored_part, takeover
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import FederatedKey, WebIdentityKey, build
from trustbind.policy.trust_document import TrustDocument

STS = "sts.amazonaws.com"
SUB, AUD = ISSUER.subject_key, ISSUER.audience_key
PROVIDER = str(ISSUER.provider_for(ROLE))
BINDING = BindingRef("team-a", "app")


def sub(*names: str) -> str | list[str]:
    """Return subjects of team-a as a condition has them."""
    texts = [f"system:serviceaccount:team-a:{name}" for name in names]
    return texts[0] if len(texts) == 1 else texts


def by_hand(condition: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return a hand-written statement for the cluster's tokens."""
    return {
        "Sid": "Hand",
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
        **others,
    }


EXACT = {"StringEquals": {AUD: STS, SUB: sub("app")}}


def only(*audiences: str) -> Any:
    """Return a provider that accepts these audiences."""
    return lambda _issuer: frozenset(audiences)


def taken_over(*statements: dict[str, Any], claims: Collection[Claim] | None = None, ids: Any = None) -> Takeover:
    """Return what the binding ``app`` takes over."""
    return takeover(ROLE, document(*statements), ISSUER, claims or [claim("app")], ids or only(STS))


@pytest.mark.parametrize(
    "equal",
    [
        by_hand(EXACT),
        by_hand(EXACT, Action=["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]),
        by_hand(EXACT, Action="sts:AssumeRole*"),
        by_hand({"StringLike": {AUD: STS, SUB: sub("app")}}),
        by_hand({"StringEquals": {AUD: [STS]}, "StringLike": {SUB: [sub("app")]}}),
        by_hand({"ForAnyValue:StringEquals": {AUD: STS}, "StringEquals": {SUB: sub("app")}}),
        by_hand({"StringEquals": {AUD.upper(): STS, SUB.upper(): sub("app")}}),
        by_hand({"StringEquals": {SUB: sub("app")}}),
        by_hand({"StringEquals": {SUB: sub("app"), AUD: [STS, "not-listed"]}}),
        {key: value for key, value in by_hand(EXACT).items() if key != "Sid"},
    ],
)
def test_equal_ones_are_replaced(equal: dict[str, Any]) -> None:
    """Spelling, actions of no use and audiences that the provider does not accept make no difference."""
    found = taken_over(FOREIGN, equal)

    (replacement,) = found.replacements
    assert (replacement.index, replacement.before, replacement.after) == (1, equal, None)
    assert replacement.bindings == {BINDING}
    assert found.differences == {}


@pytest.mark.parametrize(
    ("different", "says"),
    [
        (by_hand(EXACT, Principal={"Federated": [PROVIDER, "accounts.google.com"]}), "further principals"),
        (by_hand({"StringEquals": {AUD: [STS, "also"], SUB: sub("app")}}), "audience also"),
        (by_hand({"StringEquals": {AUD: "also", SUB: sub("app")}}), "audience also"),
        (by_hand({"StringEquals": {SUB: sub("app")}}), "audience also"),
        (by_hand({"StringEquals": {SUB: sub("app")}, "StringLike": {AUD: "*"}}), "every audience"),
        (by_hand(EXACT | {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), "further conditions"),
        (by_hand({"StringEquals": {AUD: STS}, "StringEqualsIgnoreCase": {SUB: sub("app")}}), "IgnoreCase"),
        (by_hand({"StringEquals": {AUD: STS, SUB: sub("app")}, "StringNotEquals": {SUB: sub("b")}}), "StringNotEquals"),
        (by_hand(EXACT, NotPrincipal={"AWS": "*"}), "NotPrincipal"),
    ],
)  # fmt: skip
def test_others_stay(different: dict[str, Any], says: str) -> None:
    """What is wider, narrower or not understood stays, and the binding says how it differs."""
    found = taken_over(FOREIGN, different, ids=only(STS, "also"))

    assert found.replacements == ()
    assert says in found.differences[BINDING]
    assert "statement 2" in found.differences[BINDING]


@pytest.mark.parametrize(
    "silent",
    [
        by_hand({"StringEquals": {AUD: STS, SUB: sub("other")}}),
        by_hand({"StringEquals": {AUD: STS}}),
        by_hand({"StringEquals": {AUD: STS}, "StringLike": {SUB: "system:serviceaccount:team-a:*"}}),
        by_hand(EXACT, Effect="Deny"),
        by_hand(EXACT, Action="sts:TagSession"),
        by_hand(EXACT, Principal={"Federated": str(OTHER.provider_for(ROLE))}),
        by_hand(EXACT, Principal={"Federated": PROVIDER.replace("4444", "9999")}),
        by_hand(EXACT, Principal="*"),
        by_hand(EXACT, Action=None, NotAction="sts:AssumeRole"),
        statement("app"),
    ],
)
def test_of_others_nothing_is_said(silent: dict[str, Any]) -> None:
    """A statement that does not name the binding's service accounts is nothing that it could take over."""
    assert taken_over(silent) == Takeover()


def test_further_service_accounts_keep_their_statement() -> None:
    """Only the names that a binding takes go; the rest of the statement stays as it is."""
    shared = by_hand({"StringEquals": {AUD: STS, SUB: sub("a", "app", "z")}})

    (found,) = taken_over(shared).replacements
    assert found.after == by_hand({"StringEquals": {AUD: STS, SUB: sub("a", "z")}})

    both = [claim("app"), claim("a"), claim("z")]
    (found,) = taken_over(shared, claims=both).replacements
    assert found.after is None
    assert found.bindings == {BINDING, BindingRef("team-a", "a"), BindingRef("team-a", "z")}


def test_a_pattern_beside_the_name_stays() -> None:
    """A name is taken out of a list that also has a pattern only while no answer changes."""
    shared = by_hand({"StringEquals": {AUD: STS}, "StringLike": {SUB: [*sub("a", "app"), "system:serviceaccount:b:*"]}})

    (found,) = taken_over(shared).replacements
    assert found.after is not None
    assert found.after["Condition"]["StringLike"][SUB] == [sub("a"), "system:serviceaccount:b:*"]

    covered = by_hand({"StringEquals": {AUD: STS}, "StringLike": {SUB: [sub("app"), "system:serviceaccount:team-a:*"]}})
    (found,) = taken_over(covered).replacements
    assert found.after is not None, "the pattern trusts the name as before"


def test_conditions_have_to_be_the_same() -> None:
    """A statement with a further condition is equal to a binding with the same one, in any spelling of its key."""
    condition = ExtraCondition("StringEquals", "aws:PrincipalOrgID", ("o-1",))
    key = WebIdentityKey(STS, (condition,))
    narrow = by_hand({"StringEquals": {AUD: STS, SUB: sub("app"), "aws:principalorgid": ["o-1"]}})
    wide = by_hand(EXACT)

    assert taken_over(narrow, claims=[claim("app", key)]).replacements
    assert taken_over(wide, claims=[claim("app", key)]).differences
    assert taken_over(narrow).differences


def test_unknown_audiences_of_the_provider() -> None:
    """Without a condition on the audience, the provider decides; where it was not read, nothing is replaced."""
    found = taken_over(by_hand({"StringEquals": {SUB: sub("app")}}), ids=lambda _issuer: None)

    assert not found.replacements
    assert "not known" in found.differences[BINDING]
    assert taken_over(by_hand(EXACT), ids=lambda _issuer: None).replacements


def github(condition: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return a hand-written statement for another issuer's tokens."""
    return by_hand(condition, **{"Principal": {"Federated": str(GITHUB.provider_for(ROLE))}, **others})


def test_subjects_of_other_issuers() -> None:
    """A pattern is equal to the same pattern alone, and only under StringLike."""
    pattern = "repo:o/shop:*"
    mine = federated("app", GITHUB, pattern)
    same = github({"StringEquals": {GITHUB.audience_key: STS}, "StringLike": {GITHUB.subject_key: [pattern]}})
    literal = github({"StringEquals": {GITHUB.audience_key: STS, GITHUB.subject_key: [pattern]}})
    more = github(
        {"StringEquals": {GITHUB.audience_key: STS}, "StringLike": {GITHUB.subject_key: [pattern, "repo:x/*"]}}
    )
    tags = same | {"Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]}

    assert taken_over(same, claims=[mine]).replacements
    assert "same answers" in taken_over(literal, claims=[mine]).differences[BINDING]
    assert "pattern" in taken_over(more, claims=[mine]).differences[BINDING]
    assert "sts:TagSession" in taken_over(tags, claims=[mine]).differences[BINDING]


def test_what_another_cluster_wrote_stays() -> None:
    """Its operator would write it back: the two would undo each other's work for ever."""
    mine = federated("app", GITHUB, MAIN)
    theirs = build(OTHER, ROLE, mine.key, [MAIN, "repo:o/other:ref:refs/heads/main"])
    assert taken_over(theirs, claims=[mine]) == Takeover()
    assert taken_over(theirs | {"Sid": "Hand"}, claims=[mine]).replacements


@pytest.mark.parametrize(
    ("recorded", "says"),
    [
        (by_hand(EXACT), ""),
        (by_hand(EXACT | {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), ""),
        (by_hand({"StringEquals": {SUB: sub("app")}}), ""),
        (by_hand({"StringEquals": {AUD: STS, SUB: sub("b")}}), "it trusts system:serviceaccount:team-a:b"),
        (by_hand({"StringEquals": {AUD: STS}, "StringLike": {SUB: [sub("app"), "*"]}}), "it trusts *"),
        (by_hand({"StringEquals": {AUD: STS}}), "every one"),
        (by_hand({"StringEquals": {AUD: "also", SUB: sub("app")}}), "audience also"),
        (by_hand({"StringEquals": {AUD: STS}, "StringEqualsIgnoreCase": {SUB: sub("app")}}), "IgnoreCase"),
        (by_hand(EXACT, Principal="*"), "not about these tokens"),
        (by_hand(EXACT, Effect="Deny"), "not about these tokens"),
        (by_hand(EXACT, Action="*", Principal={"Federated": PROVIDER, "AWS": "*"}), "further principals"),
        (by_hand(EXACT, Sid=statement("app")["Sid"]), "Sid"),
        (FOREIGN, "not about these tokens"),
    ],
)  # fmt: skip
def test_what_may_be_written_back(recorded: dict[str, Any], says: str) -> None:
    """A record is untrusted: a statement is written back only where the binding's own trusts all that it trusts."""
    found, why = restored_part(ROLE, recorded, ISSUER, [claim("app")], only(STS), "2012-10-17")

    assert (says in why) if says else why == ""
    assert found == (None if says else recorded)
    assert restored_part(ROLE, recorded, ISSUER, [], only(STS), "2012-10-17")[0] is None


def test_only_the_own_part_is_written_back() -> None:
    """Whom else the recorded statement names is left out: they may have lost the role since."""
    recorded = by_hand({"StringEquals": {AUD: STS, SUB: sub("app", "b", "c")}})

    found, why = restored_part(ROLE, recorded, ISSUER, [claim("app")], only(STS), "2012-10-17")

    assert (found, why) == (by_hand({"StringEquals": {AUD: STS, SUB: sub("app")}}), "")


NAMES = ("app", "a", "z")
subjects = st.lists(
    st.sampled_from([*(f"system:serviceaccount:team-a:{name}" for name in (*NAMES, "*")), "*", "?"]),
    min_size=1, max_size=3, unique=True,
)  # fmt: skip


def _with(operator: str, names: list[str], audience: dict[str, Any]) -> dict[str, Any]:
    if operator == "StringEquals":
        return {operator: {SUB: names, **audience}}
    return {operator: {SUB: names}} | ({"StringEquals": audience} if audience else {})


conditions = st.builds(
    _with,
    st.sampled_from(
        ["StringEquals", "StringLike", "ForAnyValue:StringLike", "StringEqualsIgnoreCase", "StringNotLike"]
    ),
    subjects,
    st.sampled_from([{}, {AUD: STS}, {AUD: "also"}, {AUD: [STS, "also"]}]),
)


@given(
    st.lists(conditions, min_size=1, max_size=3),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    st.sampled_from([(STS,), ("also", STS), ("also",)]),
)
def test_no_answer_changes(many: list[dict[str, Any]], mine: list[str], ids: tuple[str, ...]) -> None:
    """Whatever is replaced, with the binding's own statement beside it before: all tokens are answered as before."""
    before = [by_hand(each, Sid=f"Hand{n}") for n, each in enumerate(many)]
    claims = [claim(name) for name in mine]
    found = takeover(ROLE, document(*before), ISSUER, claims, only(*ids))
    by_index = {each.index: each for each in found.replacements}
    taking = {ref.name for each in found.replacements for ref in each.bindings}
    after = [s if n not in by_index else by_index[n].after for n, s in enumerate(before)]
    own = [statement(*sorted(taking))] if taking else []

    for name, audience in itertools.product((*NAMES, "b", "team-a:app"), ids):
        old = _allows(before, name, audience)
        new = _allows([*[s for s in after if s is not None], *own], name, audience)
        assert new >= old, "nobody loses a role"
        if new and not old:
            assert name in taking, "only the binding's own service accounts get one"
            assert not _allows([before[n] for n in by_index], name, audience)
            assert audience == STS


def _allows(statements: list[Any], name: str, audience: str) -> bool:
    context = {SUB: (f"system:serviceaccount:team-a:{name}",), AUD: (audience,)}
    caller = Caller(PrincipalKind.FEDERATED, PROVIDER)
    request = Request(caller, "sts:AssumeRoleWithWebIdentity", context)
    return evaluate({"Version": "2012-10-17", "Statement": statements}, request).allowed


def test_an_old_document_has_no_variables() -> None:
    """In a document of 2008, ``${`` is literal text."""
    odd = by_hand({"StringEquals": {AUD: STS, SUB: [sub("app"), "${aws:username}"]}})
    old = TrustDocument((odd,), version="2008-10-17")

    assert takeover(ROLE, old, ISSUER, [claim("app")], only(STS)).replacements
    assert takeover(ROLE, replace(old, version="2012-10-17"), ISSUER, [claim("app")], only(STS)).differences


def test_federated_key_of_another_audience() -> None:
    """Claims with another audience take nothing over."""
    other = replace(
        federated("app"), key=FederatedKey(Issuer.parse("https://token.actions.githubusercontent.com"), "x")
    )
    same = github({"StringEquals": {GITHUB.audience_key: STS, GITHUB.subject_key: other.subjects[0]}})

    assert "audience" in taken_over(same, claims=[other]).differences[BINDING]


def test_a_proof_is_bounded_and_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement with too many names is not replaced; one that was looked at is not asked about again."""
    asked: list[Request] = []

    def counted(document: Any, request: Request) -> Any:
        asked.append(request)
        return evaluate(document, request)

    monkeypatch.setattr("trustbind.migration.adoption.evaluate", counted)
    many = [f"app-{number:04}" for number in range(1000)]
    large = by_hand({"StringEquals": {AUD: STS, SUB: sub(*many)}})
    assert not taken_over(large, claims=[claim("app", WebIdentityKey(STS), *many)]).replacements
    assert asked == []

    small = by_hand({"StringEquals": {AUD: STS, SUB: sub("once", "more")}})
    for _ in range(3):
        assert taken_over(small, claims=[claim("app", WebIdentityKey(STS), "once", "more")]).replacements
    assert 0 < len(asked) <= 2 * 2 * 6
