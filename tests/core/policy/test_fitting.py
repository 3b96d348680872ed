"""What of a plan fits into a trust policy of limited length, and what that costs."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable
from types import FrameType
from typing import Any

import pytest

from support.trust import FOREIGN, GITHUB, ISSUER, SID, SOURCE, WEB, claim, document, federated, statement, wanted
from trustbind.api.role_binding import BindingRef
from trustbind.policy import fitting
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import ChainKey, FederatedKey, WebIdentityKey, build
from trustbind.policy.plan import plan
from trustbind.policy.trust_document import EMPTY, TrustDocument
from trustbind.reasons import TrustReason


def test_growth_keeps_what_is_there() -> None:
    """A binding with one subject too many keeps the others, and its refusal names the one that is left out."""
    current = document(FOREIGN, statement("a", "b"))

    planned = plan(current, wanted(claim("x", WEB, "a", "b", "c")), current.size + 10)

    assert planned.is_empty
    assert planned.document is current
    assert planned.applied == {}
    (refusal,) = planned.refusals
    assert (refusal.binding, refusal.reason) == (BindingRef("team-a", "x"), TrustReason.TRUST_POLICY_FULL)
    size = document(FOREIGN, statement("a", "b", "c")).size
    assert f"would have {size} characters, and the AWS account allows {current.size + 10}" in refusal.message
    assert ", so 1 of its 3 service accounts (c) is left out; remove a binding" in refusal.message


def test_growth_gets_all_or_nothing_new() -> None:
    """Of two new subjects of a binding, of which one would fit, neither is added; a later binding may take the room."""
    current = document(statement("a"))
    limit = document(statement("a", "b")).size
    older = claim("x", WEB, "a", "b", "c", created="2025-01-01T00:00:00Z")

    alone = plan(current, wanted(older), limit)
    beside = plan(current, wanted(older, claim("d")), limit)

    assert alone.document is current
    assert "so 2 of its 3 service accounts (b, c) are left out" in alone.refusals[0].message
    assert beside.document == document(statement("a", "d"))
    assert beside.applied == {BindingRef("team-a", "d"): SID}


def test_growth_in_a_document_over_the_limit() -> None:
    """A quota that was lowered revokes nothing; what shrinks is written, what grows is not."""
    current = document(FOREIGN, statement("a", "b", "z"))

    planned = plan(current, wanted(claim("x", WEB, "a", "b", "c")), 100)

    assert planned.document == document(FOREIGN, statement("a", "b"))
    assert [r.reason for r in planned.refusals] == [TrustReason.TRUST_POLICY_FULL]


def test_growth_of_a_changed_condition() -> None:
    """A statement that another writer edited is repaired for its subjects, and grows only where it fits."""
    edited = statement("a") | {"Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]}

    planned = plan(document(edited), wanted(claim("x", WEB, "a", "b")), document(statement("a")).size)

    assert planned.document == document(statement("a"))


def test_who_is_left_out() -> None:
    """The message names up to three subjects of each kind."""
    many = claim("a", WEB, *(f"account-{i}" for i in range(5)))
    others = federated("a", GITHUB, "repo:o/x", "repo:o/y")
    chain = claim("c", ChainKey(SOURCE))

    said = {str(r.binding): r.message for r in plan(EMPTY, wanted(many, others, chain, claim("d")), 100).refusals}

    assert (
        "so 5 of its 5 service accounts (account-0, account-1, account-2 and 2 more) and 2 of its 2 subjects of "
        f"{GITHUB} (repo:o/x, repo:o/y) are left out"
    ) in said["team-a/a"]
    assert f"so its source role {SOURCE} is left out" in said["team-a/c"]
    assert "so its service account (d) is left out" in said["team-a/d"]


def test_an_edited_statement_that_no_longer_fits() -> None:
    """A repair that would make a full document longer is refused for that binding; nothing new of it is added."""
    edited = statement("a")
    del edited["Condition"]["StringEquals"][ISSUER.audience_key]

    planned = plan(document(FOREIGN, edited), wanted(claim("x", WEB, "a", "b")), 10)

    assert planned.document == document(FOREIGN)
    assert "so 2 of its 2 service accounts (a, b) are left out" in planned.refusals[0].message


def test_room_that_a_rewritten_statement_makes() -> None:
    """A statement that is written at length is written anew with its next subject; what fits then is not refused."""
    lengthy = statement("a")
    lengthy["Condition"]["StringEquals"][ISSUER.subject_key] *= 20
    other = claim("c", WebIdentityKey("y"), created="2025-01-01T00:00:00Z")
    huge = claim("x", WEB, *(f"account-{i}" for i in range(99)), created="2025-01-01T00:00:00Z")
    asked = wanted(other, claim("a"), huge, claim("b", created="2026-01-01T00:00:00Z"))
    current = document(lengthy)

    planned = plan(current, asked, current.size + 10)

    assert [r.binding for r in planned.refusals] == [huge.binding]
    assert len(planned.document.statements) == 2
    assert plan(planned.document, asked, current.size + 10).is_empty


def cost(monkeypatch: pytest.MonkeyPatch, current: TrustDocument, claims: Iterable[Claim]) -> tuple[int, int]:
    """Return how many statements a plan builds, and how many functions it calls in all."""
    calls = Counter[str]()

    def counted(*arguments: Any, **named: Any) -> Any:
        calls["build"] += 1
        return build(*arguments, **named)

    def called(_: FrameType, event: str, __: object) -> None:
        calls["any"] += event in {"call", "c_call"}

    asked = wanted(*claims)
    with monkeypatch.context() as patch:
        for module in (sys.modules[plan.__module__], fitting):
            patch.setattr(module, "build", counted)
        sys.setprofile(called)
        try:
            plan(current, asked)
        finally:
            sys.setprofile(None)
    return calls["build"], calls["any"]


@pytest.mark.parametrize("case", ["nothing fits", "one statement", "some fit"])
def test_the_work_is_linear(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Twice the bindings cost twice the work, also where most of them do not fit."""

    def some(count: int) -> list[Claim]:
        result: list[Claim] = []
        for i in range(count):
            created = f"2026-01-01T00:{i // 60:02}:{i % 60:02}Z"
            if case == "one statement":
                result.append(claim(f"b{i}", created=created))
                continue
            first = claim(f"b{i}", WebIdentityKey(f"a{i}"), created=created)
            more = FederatedKey(GITHUB, f"a{i}")
            subjects = tuple("s" * 250 + str(k) for k in range(10 if case == "nothing fits" or i % 50 else 1))
            result += [first, dataclasses.replace(first, key=more, subjects=subjects)]
        return result

    current = document(FOREIGN, statement(*(f"b{i}" for i in range(20))))
    builds, calls = cost(monkeypatch, current, some(300))
    more_builds, more_calls = cost(monkeypatch, current, some(600))

    assert more_builds <= 2 * builds
    assert more_builds <= 4 * 2 * 600
    assert more_calls < 2.3 * calls
