"""No service account is left out: one that the evaluator allows has an answer of its own, or matches a pattern."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.trust import ISSUER, OTHER, ROLE
from trustbind.evaluation import Answer, Caller, PrincipalKind, Request, evaluate_call, request_context
from trustbind.evaluation.wildcards import glob_matches
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy import access
from trustbind.policy.access import Verdict
from trustbind.policy.condition_operators import OPERATORS, OperatorKind
from trustbind.policy.trust_document import TrustDocument

SUBJECTS = [
    Subject(namespace, name)
    for namespace in ("team-a", "a-prod", "kube-system")
    for name in ("reader", "app1x", "app", "default")
]
AUDIENCES = ["sts.amazonaws.com", "vault", "vault-1", "other"]
SUBJECT_VALUES = [
    *map(str, SUBJECTS[:6]),
    *["*", "?*", "*:reader", "system:serviceaccount:*-prod:app?x", "system:serviceaccount:team-?:*"],
    *["system:serviceaccount:TEAM-A:READER", "system:serviceaccount:*:app*", "repo:o/shop", "", "*:default"],
    *[
        "system:serviceaccount:${aws:username, 'team-a'}:reader",
        "${*}",
        "system:*:${x",
        "system:serviceaccount:team-a:${aws:x}",
        "*:*:*:*:*",
    ],
]
AUDIENCE_VALUES = [*AUDIENCES, "vault*", "*", "STS.amazonaws.com", "${aws:username, 'other'}", "v?ult"]

texts = [name for name, operator in OPERATORS.items() if operator.kind in {OperatorKind.STRING, OperatorKind.ARN}]
operators = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "ForAnyValue:", "ForAllValues:"]),
    st.sampled_from([*texts, *texts, "NumericEquals", "Nothing"]),
    st.sampled_from(["", "", "IfExists"]),
)


def on(key: str, values: list[str]) -> st.SearchStrategy[tuple[str, str, Any]]:
    """Return conditions on a key."""
    return st.tuples(operators, st.just(key), st.sampled_from(values) | st.lists(st.sampled_from(values), max_size=3))


def block(entries: list[tuple[str, str, Any]]) -> dict[str, Any]:
    """Return the conditions as a statement has them."""
    found: dict[str, dict[str, Any]] = {}
    for operator, key, values in entries:
        found.setdefault(operator, {})[key] = values
    return found


conditions = st.lists(
    on(ISSUER.subject_key, SUBJECT_VALUES)
    | on(ISSUER.subject_key.upper(), SUBJECT_VALUES)
    | on(ISSUER.audience_key, AUDIENCE_VALUES)
    | on(OTHER.subject_key, SUBJECT_VALUES)
    | st.tuples(st.just("Null"), st.just(ISSUER.subject_key), st.sampled_from(["true", "false"]))
    | st.tuples(st.just("IpAddress"), st.just("aws:SourceIp"), st.just("192.0.2.0/24")),
    max_size=4,
).map(block)
principals = st.sampled_from(
    [
        *[{"Federated": str(ISSUER.provider_for(ROLE))}] * 3,
        *["*", {"AWS": "*"}, {"Federated": "*"}, {"Federated": str(OTHER.provider_for(ROLE))}],
    ]
)
statements = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Allow", "Allow", "Deny"]),
        "Action": st.sampled_from(["sts:AssumeRoleWithWebIdentity", "sts:*", "sts:AssumeRole"]),
    },
    optional={"Condition": conditions},
).flatmap(
    lambda each: st.tuples(st.sampled_from(["Principal", "Principal", "Principal", "NotPrincipal"]), principals).map(
        lambda element: {**each, element[0]: element[1]}
    )
)
documents = st.builds(
    TrustDocument, st.lists(statements, min_size=1, max_size=3), st.sampled_from(["2012-10-17", "2012-10-17", None])
)


def allowing(**condition: Any) -> TrustDocument:
    """Return a trust policy with one statement for the issuer."""
    return TrustDocument(
        (
            {
                "Effect": "Allow",
                "Principal": {"Federated": str(ISSUER.provider_for(ROLE))},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": condition,
            },
        )
    )


def decided(document: TrustDocument, issuer: Issuer, subject: Subject, audience: str) -> Answer:
    """Return the evaluator's answer for one token."""
    caller = Caller(PrincipalKind.FEDERATED, str(issuer.provider_for(ROLE)))
    claims = {"iss": issuer.url, "sub": str(subject), "aud": audience}
    context = request_context(caller, claims=claims, role=ROLE)
    request = Request(caller, "sts:AssumeRoleWithWebIdentity", context, ROLE)
    return evaluate_call(document.to_json_object(), request).answer


SUB = ISSUER.subject_key


@given(documents, st.sampled_from(SUBJECTS), st.sampled_from(AUDIENCES))
@example(allowing(StringLike={SUB: "system:serviceaccount:*-prod:app?x"}), Subject("a-prod", "app1x"), "vault")
@example(allowing(StringLike={SUB: "*:reader"}), Subject("team-a", "reader"), "vault")
@example(
    allowing(StringLike={SUB: "system:serviceaccount:team-*"}, **{"ForAnyValue:StringLike": {SUB: "*:reader"}}),
    Subject("team-a", "reader"),
    "vault",
)
@example(allowing(StringNotLike={SUB: "*:x"}), Subject("team-a", "reader"), "vault")
@example(allowing(StringLike={ISSUER.audience_key: "vault*"}), Subject("team-a", "reader"), "vault-1")
@example(
    allowing(StringEqualsIgnoreCase={SUB: "System:ServiceAccount:Team-A:Reader"}), Subject("team-a", "reader"), "vault"
)
@example(
    allowing(StringEquals={SUB: "system:serviceaccount:${aws:username, 'team-a'}:reader"}),
    Subject("team-a", "reader"),
    "vault",
)
@settings(max_examples=400)
def test_nobody_is_left_out(document: TrustDocument, subject: Subject, audience: str) -> None:
    """One that the evaluator allows, or may allow, is named, matches a pattern, or the answer is unknown."""
    if decided(document, ISSUER, subject, audience) is Answer.DENY:
        return
    audiences = access.audiences_named(document, ISSUER)
    named = access.subjects_named(document, ISSUER)
    own = access.service_account(ROLE, document, ISSUER, subject, audiences)
    patterns = access.patterns_of(ROLE, document, ISSUER, audiences)

    assert own.verdict is not Verdict.NO
    assert access.possible(ROLE, document, ISSUER)(subject)
    assert subject in named or any(glob_matches(each.principal, str(subject)) for each in patterns)


@given(documents, st.sampled_from(SUBJECTS))
@settings(max_examples=300)
def test_what_is_certain(document: TrustDocument, subject: Subject) -> None:
    """What is yes for a service account, or for a pattern that it matches, the evaluator allows."""
    audiences = access.audiences_named(document, ISSUER)
    own = access.service_account(ROLE, document, ISSUER, subject, audiences)
    matching = [
        each
        for each in access.patterns_of(ROLE, document, ISSUER, audiences)
        if glob_matches(each.principal, str(subject))
    ]
    for each in (own, *matching):
        if each.verdict is Verdict.YES:
            assert decided(document, ISSUER, subject, each.audience) is Answer.ALLOW
    if own.verdict is Verdict.NO:
        assert {decided(document, ISSUER, subject, audience) for audience in AUDIENCES} == {Answer.DENY}


@pytest.mark.parametrize(
    "value", ["repo:o/*", "system:serviceaccount:TEAM-*:x", "system:serviceaccount:*:*:*:*:*", "system:node:*"]
)
def test_no_service_account(value: str) -> None:
    """A pattern that the name of no service account can match is nobody."""
    document = allowing(StringLike={SUB: value})
    exact = allowing(StringEquals={SUB: "system:serviceaccount:*:reader"})

    assert access.patterns_of(ROLE, exact, ISSUER, access.audiences_named(exact, ISSUER)) == []
    assert access.patterns_of(ROLE, document, ISSUER, access.audiences_named(document, ISSUER)) == []


def test_patterns_that_exclude_one_another() -> None:
    """Of several conditions on the subject one gives the pattern, and the others are conditions; or it is nobody."""
    audiences = ["sts.amazonaws.com"]
    both = allowing(StringLike={SUB: "*:reader"}, **{"ForAnyValue:StringLike": {SUB: "system:serviceaccount:team-*"}})
    none = allowing(StringLike={SUB: "*:reader"}, StringNotLike={SUB: "*:r*"})
    inner = allowing(StringLike={SUB: "*"}, **{"ForAnyValue:StringLike": {SUB: "system:serviceaccount:team-*"}})

    (row,) = access.patterns_of(ROLE, both, ISSUER, audiences)
    assert row.verdict is Verdict.IF
    assert "expects" in row.conditions[0]
    assert access.patterns_of(ROLE, none, ISSUER, audiences) == []
    (narrow,) = access.patterns_of(ROLE, inner, ISSUER, audiences)
    assert (narrow.principal, narrow.verdict) == ("system:serviceaccount:team-*", Verdict.YES)
