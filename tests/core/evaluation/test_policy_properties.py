"""What holds for every document."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.evaluation import Answer, Caller, Request, RequestContext, evaluate, evaluate_call, request_context
from trustbind.evaluation.request_context import ValueForm
from trustbind.evaluation.wildcards import glob_covers, glob_matches, globs_meet
from trustbind.policy.condition_operators import OPERATORS

CALLERS = [
    "111122223333",
    "arn:aws:iam::111122223333:role/app/reader",
    "arn:aws:sts::111122223333:assumed-role/reader/s",
    "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/1",
    "ec2.amazonaws.com",
]
KEYS = ["oidc.example/id/1:sub", "aws:SourceIp", "aws:CurrentTime", "aws:PrincipalArn"]
TEXTS = [
    *["ann", "Ann", "an*", "*", "?", "${aws:username}", "${oidc.example/id/1:sub, 'x'}", "${", "${*}", "", "true"],
    *["12", "1e3", "203.0.113.0/24", "203.0.113.9", "::1", "2026-03-01T12:00:00Z", "2026-03", "QUJD"],
    *["arn:aws:iam::111122223333:role/app/reader", "arn:aws:iam::*:role/*", "AROAEXAMPLEID1234567A"],
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(TEXTS)
words = st.sampled_from(
    ["Version", "Id", "Statement", "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"]
    + ["Resource", "Allow", "Deny", "2012-10-17", "AWS", "Federated", "Service", "CanonicalUser", "sts:*", *KEYS]
    + [
        f"{prefix}{name}{suffix}"
        for name in OPERATORS
        for prefix in ("", "ForAnyValue:")
        for suffix in ("", "IfExists")
    ]
)
json_values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)
set_prefixes = st.sampled_from(["", "", "ForAnyValue:", "ForAllValues:"])
operator_names = st.builds(
    "{}{}{}".format, set_prefixes, st.sampled_from([*OPERATORS, "Nothing"]), st.sampled_from(["", "IfExists"])
)
condition_values = st.sampled_from(TEXTS) | st.lists(st.sampled_from(TEXTS), max_size=3) | scalars
conditions = st.dictionaries(
    operator_names, st.dictionaries(st.sampled_from(KEYS), condition_values, max_size=2), max_size=3
)
principals = st.sampled_from(
    [
        *["*", {"AWS": "*"}, {"AWS": "111122223333"}, {"AWS": ["arn:aws:iam::111122223333:role/reader"]}, {}],
        *[{"Federated": CALLERS[3]}, {"Service": ["ec2.amazonaws.com"]}, {"AWS": "AROAEXAMPLEID1234567A"}],
    ]
)
actions = st.sampled_from(["*", "sts:*", "sts:AssumeRole", ["sts:TagSession", "sts:AssumeRole"], "nothing", []])


def statements_of(effects: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return statements with any mix of elements."""
    return st.fixed_dictionaries(
        {"Effect": st.sampled_from(effects)},
        optional={
            "Principal": principals,
            "NotPrincipal": principals,
            "Action": actions,
            "NotAction": actions,
            "Condition": conditions,
        },
    )


def likely_statements_of(effects: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return statements that have what a statement must have, so that some of them allow."""
    return st.fixed_dictionaries(
        {"Effect": st.sampled_from(effects), "Principal": principals, "Action": actions},
        optional={"Condition": conditions},
    )


statements = statements_of(["Allow", "Deny", "allow"]) | likely_statements_of(["Allow", "Allow", "Deny"])
documents = st.fixed_dictionaries(
    {"Version": st.sampled_from(["2012-10-17", "2008-10-17"]), "Statement": st.lists(statements, max_size=4)}
)
requests = st.builds(
    Request,
    st.sampled_from(CALLERS).map(Caller.parse),
    st.sampled_from(["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"]),
    st.dictionaries(st.sampled_from([*KEYS, "aws:username"]), st.lists(st.sampled_from(TEXTS), max_size=3), max_size=4),
)


@given(json_values, requests)
def test_never_raises_for_any_json(document: Any, request: Request) -> None:
    """Any JSON gets a decision."""
    evaluate(document, request)


@given(st.fixed_dictionaries({"Version": scalars | words, "Statement": json_values | st.lists(statements)}), requests)
def test_never_raises_for_what_looks_like_a_policy(document: Any, request: Request) -> None:
    """So does a document with strange statements."""
    evaluate(document, request)


@given(
    st.fixed_dictionaries(
        {
            "Effect": st.sampled_from(["Allow", "Deny"]),
            "Principal": principals | json_values | st.dictionaries(words, json_values, max_size=3),
            "Action": actions | json_values,
            "Condition": conditions | json_values | st.dictionaries(operator_names, json_values, max_size=3),
        }
    ),
    requests,
)
def test_never_raises_for_what_looks_like_a_statement(statement: Any, request: Request) -> None:
    """So does a statement with strange elements."""
    evaluate({"Version": "2012-10-17", "Statement": [statement]}, request)


@given(st.lists(likely_statements_of(["Allow"]) | statements_of(["Allow"]), max_size=4), requests)
def test_an_unknown_operator_in_every_allow_never_allows(allows: list[Any], request: Request) -> None:
    """What is not understood never allows, and is said of each statement that is about the caller and the action."""
    for statement in allows:
        statement["Condition"] = statement.get("Condition", {}) | {"StringResembles": {"aws:x": "y"}}
    plain = [{name: value for name, value in each.items() if name != "Condition"} for each in allows]

    decision = evaluate({"Version": "2012-10-17", "Statement": allows}, request)

    assert decision.answer is Answer.DENY
    concerned = [
        number
        for number, each in enumerate(plain, 1)
        if evaluate({"Version": "2012-10-17", "Statement": each}, request).allowed
    ]
    for number in concerned:
        assert any(note.startswith(f"Statement {number}: the condition operator") for note in decision.unknown)


@given(documents, requests, st.sets(st.sampled_from([*KEYS, "aws:username"])), st.data())
def test_depends_is_between_what_values_decide(
    document: Any, request: Request, hidden: set[str], data: st.DataObject
) -> None:
    """Whatever value a key turns out to have, or none where it may be absent: an answer that is certain stays."""
    known = RequestContext.of(request.context)
    open_keys = frozenset(key.lower() for key in hidden)
    filled = frozenset(data.draw(st.sets(st.sampled_from(sorted(open_keys)))) if open_keys else ())
    values = {key: value for key, value in known.values.items() if key not in open_keys}
    context = RequestContext(values, known.names, filled=filled, possible=open_keys - filled)

    decision = evaluate(document, replace(request, context=context))

    assert bool(decision.depends) == (decision.answer is Answer.DEPENDS)
    assert {each.key.lower() for each in decision.depends} <= open_keys
    drawn = {key: (data.draw(st.sampled_from(TEXTS)),) for key in sorted(open_keys)}
    absent = data.draw(st.sets(st.sampled_from(sorted(open_keys - filled)))) if open_keys - filled else set()
    told = evaluate(
        document,
        replace(request, context=values | {key: value for key, value in drawn.items() if key not in absent}),
    )
    if decision.answer is not Answer.DEPENDS and not told.unknown and not decision.unknown:
        assert told.answer is decision.answer


@given(documents, requests, st.sampled_from(KEYS), st.sampled_from(["ann", "an*", "*", "arn:aws:iam::*"]), st.data())
def test_form_is_between_what_values_decide(
    document: Any, request: Request, key: str, pattern: str, data: st.DataObject
) -> None:
    """Whatever value of its form a key turns out to have: an answer that is certain stays."""
    known = RequestContext.of(request.context)
    form = ValueForm(((pattern, "?*"),), "some value")
    decision = evaluate(document, replace(request, context=known.with_form(key, form)))

    value = data.draw(st.sampled_from([text for text in TEXTS if text and glob_matches(pattern, text)]))
    values = {name: given for name, given in known.values.items() if name != key.lower()} | {key.lower(): (value,)}
    told = evaluate(document, replace(request, context=values))
    if decision.answer is not Answer.DEPENDS and not told.unknown and not decision.unknown:
        assert told.answer is decision.answer


@given(documents, requests, st.integers(0, 4))
def test_denying_everything_always_denies(document: Any, request: Request, at: int) -> None:
    """An explicit Deny wins wherever it stands."""
    document["Statement"].insert(at, {"Effect": "Deny", "Principal": "*", "Action": "*"})

    decision = evaluate(document, request)

    assert not decision.allowed
    assert decision.statement is not None


@given(documents, requests, st.randoms(use_true_random=False))
def test_order_does_not_matter(document: Any, request: Request, random: Any) -> None:
    """Statements, elements, operators and keys have no order."""

    def shuffled(items: Any) -> list[Any]:
        return random.sample(list(items), len(items))  # type: ignore[no-any-return]  # random is Any

    other = []
    for statement in shuffled(document["Statement"]):
        copied = dict(shuffled(statement.items()))
        if "Condition" in copied:
            copied["Condition"] = {
                name: dict(shuffled(entries.items())) for name, entries in shuffled(copied["Condition"].items())
            }
        other.append(copied)

    first = evaluate(document, request)
    second = evaluate(dict(document, Statement=other), request)

    assert first.allowed == second.allowed
    assert (first.statement is None) == (second.statement is None)


def listed(value: Any) -> Any:
    """Return a text as a list of one."""
    return [value] if isinstance(value, str) else value


@given(documents, requests)
def test_a_text_and_a_list_of_one_are_the_same(document: Any, request: Request) -> None:
    """The whole decision is the same, not only the answer."""
    other = []
    for statement in document["Statement"]:
        copied = dict(statement)
        for name in copied.keys() & {"Action", "NotAction"}:
            copied[name] = listed(copied[name])
        for name in copied.keys() & {"Principal", "NotPrincipal"}:
            if isinstance(copied[name], dict):
                copied[name] = {kind: listed(value) for kind, value in copied[name].items()}
        if "Condition" in copied:
            copied["Condition"] = {
                name: {key: listed(value) for key, value in entries.items()}
                for name, entries in copied["Condition"].items()
            }
        other.append(copied)

    assert evaluate(document, request) == evaluate(dict(document, Statement=other), request)
    if len(other) == 1:
        assert evaluate(document, request) == evaluate(dict(document, Statement=other[0]), request)


@given(documents, requests)
def test_the_decision_is_consistent(document: Any, request: Request) -> None:
    """The fields of a decision fit each other."""
    decision = evaluate(document, request)

    assert decision.reason
    if decision.allowed:
        assert decision.statement is not None
        assert document["Statement"][decision.statement.index]["Effect"] == "Allow"
    if decision.statement is not None:
        assert decision.nearest is None
        assert decision.failure is None
    if decision.nearest is not None:
        assert decision.failure is not None
        assert decision.failure.message


@given(
    documents,
    st.sampled_from(["pods.eks.amazonaws.com", *CALLERS]).map(Caller.parse),
    st.sampled_from(["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"]),
    st.dictionaries(st.sampled_from(["aws:RequestTag/team", "sts:SourceIdentity", *KEYS]), st.just(["ann"])),
)
def test_a_call_is_the_least_of_its_actions(
    document: Any, caller: Caller, action: str, known: dict[str, list[str]]
) -> None:
    """It is allowed where all of its actions are, and denied for certain where one of them is."""
    context = request_context(caller, known=known)
    request = Request(caller, action, context)
    further = {"aws:RequestTag/team": "sts:TagSession", "sts:SourceIdentity": "sts:SetSourceIdentity"}
    actions = [action, *(needed for key, needed in further.items() if key in known)]

    decision = evaluate_call(document, request)

    answers = [evaluate(document, replace(request, action=each)).answer for each in actions]
    if Answer.DENY in answers:
        assert decision.answer is Answer.DENY
    elif Answer.DEPENDS in answers:
        assert decision.answer is Answer.DEPENDS
    else:
        assert decision.answer is Answer.ALLOW or "sts:TagSession" in decision.reason
    assert bool(decision.depends) == (decision.answer is Answer.DEPENDS)


def glob_by_recursion(pattern: str, text: str, barrier: str = "") -> bool:
    """Return whether the text matches, straight from the definition."""
    if not pattern:
        return not text
    takes = bool(text) and text[0] not in barrier
    if pattern[0] == "*":
        rest = glob_by_recursion(pattern[1:], text, barrier)
        return rest or (takes and glob_by_recursion(pattern, text[1:], barrier))
    same = takes if pattern[0] == "?" else bool(text) and pattern[0] == text[0]
    return same and glob_by_recursion(pattern[1:], text[1:], barrier)


@given(st.text("ab:*?", max_size=8), st.text("ab:*", max_size=8), st.sampled_from(["", ":", "a:"]))
def test_globs_match_as_their_definition_says(pattern: str, text: str, barrier: str) -> None:
    """The fast matcher agrees with the plain one."""
    assert glob_matches(pattern, text, barrier=barrier) == glob_by_recursion(pattern, text, barrier)


@given(st.text("ab*?", max_size=6), st.text("ab*?", max_size=6), st.text("ab", max_size=6))
def test_covering_globs_match_all_that_the_covered_match(pattern: str, narrower: str, text: str) -> None:
    """A pattern that covers another matches each of its texts."""
    if glob_covers(pattern, narrower) and glob_matches(narrower, text):
        assert glob_matches(pattern, text)


@given(st.text("ab*?", max_size=6), st.text("ab*?", max_size=6), st.text("ab", max_size=6))
def test_patterns_that_meet(one: str, other: str, text: str) -> None:
    """Two patterns that match one text meet; two that do not meet match none together; the order does not matter."""
    if glob_matches(one, text) and glob_matches(other, text):
        assert globs_meet(one, other)
        assert globs_meet(one, other, letters=frozenset("ab"))
    assert globs_meet(one, other) == globs_meet(other, one)
    if glob_covers(one, other):
        assert globs_meet(one, other)


@pytest.mark.parametrize(
    ("one", "other", "letters", "meet"),
    [
        ("a*", "*b", None, True),
        ("a?", "?b", None, True),
        ("a*c", "b*", None, False),
        ("??", "?", None, False),
        ("", "*", None, True),
        ("A*", "*", "ab", False),
        ("*A*", "*", "ab", False),
        ("*", "A*", "ab", True),
        ("a:b", "*", "ab", False),
        ("*:b", "*:*", "ab", True),
        ("*:*:b", "*:*", "ab", False),
    ],
)
def test_patterns_of_letters(one: str, other: str, letters: str | None, meet: bool) -> None:
    """Wildcards of the second pattern stand for some letters alone."""
    assert globs_meet(one, other, letters=None if letters is None else frozenset(letters)) is meet
