"""RoleGrants: who may bind what. What is refused as a manifest stands in data/manifests (see test_bindings)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api.federated_subjects import FederatedSubjects
from trustbind.api.role_binding import BindingRef, DeletionPolicy, Method, RoleBinding, Source
from trustbind.api.role_grant import RoleGrant, arn_matches, authorize, consents
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer

TARGET = RoleArn.parse("arn:aws:iam::444455556666:role/team-a/reader")
BASE = RoleArn.parse("arn:aws:iam::111122223333:role/base")


def grant(name: str = "g", **spec: Any) -> RoleGrant:
    """Return a grant that covers team-a's web-identity bindings of team-a's roles unless said otherwise."""
    spec = {"namespaces": {"names": ["team-a"]}, "roleArns": ["arn:aws:iam::444455556666:role/team-a/*"]} | spec
    return RoleGrant.parse(
        {"apiVersion": "trustbind.dev/v1alpha1", "kind": "RoleGrant", "metadata": {"name": name}, "spec": spec}
    )


def binding(**fields: Any) -> RoleBinding:
    """Return a binding of team-a."""
    values: dict[str, Any] = {
        "ref": BindingRef("team-a", "b"),
        "role": TARGET,
        "service_account_names": ("reader",),
    } | fields
    return RoleBinding(**values)


CHAINED = binding(method=Method.ASSUME_ROLE, source=Source(BASE))


@pytest.mark.parametrize(
    ("pattern", "arn", "matches"),
    [
        ("arn:aws:iam::444455556666:role/team-a/*", "arn:aws:iam::444455556666:role/team-a/reader", True),
        ("arn:aws:iam::444455556666:role/team-a/*", "arn:aws:iam::444455556666:role/team-a/x/y", True),
        ("arn:aws:iam::444455556666:role/team-a/*", "arn:aws:iam::444455556666:role/team-ab/x", False),
        ("arn:aws:iam::444455556666:role/team-a/*", "arn:aws:iam::444455556666:role/team-a/", True),
        ("arn:aws:iam::444455556666:role/*", "arn:aws:iam::444455556666:role/a", True),
        ("arn:aws:iam::*:role/a", "arn:aws:iam::444455556666:role/a", True),
        ("arn:*:iam::444455556666:role/a", "arn:aws-cn:iam::444455556666:role/a", True),
        ("arn:aws:iam::*:role/a", "arn:aws:iam::1:x:role/a", False),
        ("arn:aws:iam::4*", "arn:aws:iam::444455556666:role/a", False),
        ("arn:aws:iam::444455556666:*", "arn:aws:iam::444455556666:role/a:b", False),
        ("arn:aws:iam::444455556666:role/a?", "arn:aws:iam::444455556666:role/ab", True),
        ("arn:aws:iam::444455556666:role/a?", "arn:aws:iam::444455556666:role/a", False),
        ("arn:aws:iam:?444455556666:role/a", "arn:aws:iam::444455556666:role/a", False),
        ("arn:aws:iam::444455556666:role/a.c", "arn:aws:iam::444455556666:role/abc", False),
        ("arn:aws:iam::444455556666:role/a+", "arn:aws:iam::444455556666:role/aa", False),
        ("arn:aws:iam::444455556666:role/[ab]", "arn:aws:iam::444455556666:role/a", False),
        ("arn:aws:iam::444455556666:role/A", "arn:aws:iam::444455556666:role/a", False),
        ("arn:aws:iam::444455556666:role/a", "arn:aws:iam::444455556666:role/ab", False),
        ("arn:aws:iam::444455556666:role/**/x", "arn:aws:iam::444455556666:role/a/x", True),
    ],
)
def test_glob(pattern: str, arn: str, matches: bool) -> None:
    """A star stands for anything but a colon, a question mark for one such character, and all else for itself."""
    assert arn_matches(pattern, arn) is matches


class Counted(str):
    """A text that counts how often one of its characters is read."""

    __slots__ = ("reads",)

    def __init__(self, *_: object) -> None:
        self.reads = 0

    def __getitem__(self, index: Any) -> str:
        self.reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("pattern", "arn"),
    [
        ("arn:aws:iam::444455556666:role/*-*-*-*q", f"arn:aws:iam::444455556666:role/{'-' * 500}/x"),
        ("arn:aws:iam::444455556666:role/" + "*-" * 100 + "q", f"arn:aws:iam::444455556666:role/{'-' * 500}/x"),
        ("arn:" + "*" * 5000 + ":x", "arn:" + "a" * 5000),
    ],
)
def test_steps_are_bounded(pattern: str, arn: str) -> None:
    """Every step reads a character or two of the ARN; their number is not exponential in the number of wildcards."""
    counted = Counted(arn)

    assert not arn_matches(pattern, counted)
    assert 0 < counted.reads <= 2 * len(pattern) * len(arn)
    if len(pattern) < 50:
        assert counted.reads < 20 * len(arn)  # with few wildcards, nearly linear


def test_default_deny() -> None:
    """Without a grant nothing is granted, and the message says whom to ask for what."""
    answer = authorize(binding(), ["reader"], {}, [])

    assert not answer.is_granted
    assert answer.grant == ""
    assert answer.message == (
        "no RoleGrant exists; ask a cluster administrator for one that covers "
        "arn:aws:iam::444455556666:role/team-a/reader for namespace team-a"
    )


def test_granted() -> None:
    """A grant that covers all of a binding grants it, and is named."""
    answer = authorize(binding(), ["reader"], {}, [grant("other", namespaces={"names": ["x"]}), grant("mine")])

    assert answer.is_granted
    assert (answer.grant, answer.message) == ("mine", "granted by RoleGrant mine")


@pytest.mark.parametrize(
    ("spec", "wanted", "lacks"),
    [
        ({"roleArns": ["arn:aws:iam::444455556666:role/x"]}, binding(), f"the role {TARGET}"),
        ({"methods": ["AssumeRole"]}, binding(), "the method WebIdentity"),
        ({"serviceAccountNames": ["write*"]}, binding(), "the service account reader"),
        ({"maxSessionDurationSeconds": 900}, binding(), "a session of 3600 seconds (it allows 900)"),
        (
            {"maxSessionDurationSeconds": 3600},
            binding(session_duration_seconds=7200),
            "a session of 7200 seconds (it allows 3600)",
        ),
        ({}, CHAINED, f"the source role {BASE}"),
        ({"roleArns": [str(BASE)]}, CHAINED, f"the role {TARGET}"),
        ({"roleArns": [str(BASE), str(TARGET)], "methods": ["WebIdentity"]}, CHAINED, "the method AssumeRole"),
        (
            {},
            binding(audience="vault"),
            "the audience vault (its spec would need audiences: [sts.amazonaws.com, vault])",
        ),
        (
            {"audiences": ["a", "b"]},
            binding(),
            "the audience sts.amazonaws.com (its spec would need audiences: [a, b, sts.amazonaws.com])",
        ),
        (
            {},
            binding(deletion_policy=DeletionPolicy.RETAIN),
            "deletionPolicy Retain (its spec would need allowRetain: true)",
        ),
    ],
)
def test_one_thing_lacking(spec: dict[str, Any], wanted: RoleBinding, lacks: str) -> None:
    """A grant that covers all but one thing does not grant, and the message names grant and thing."""
    answer = authorize(wanted, ["reader"], {}, [grant("elsewhere", namespaces={"names": ["x"]}), grant("near", **spec)])

    assert not answer.is_granted
    assert answer.message == (
        f"no RoleGrant covers {TARGET} for namespace team-a; the nearest, near, does not cover {lacks}"
    )


def test_audience_and_deletion_policy() -> None:
    """Another audience, and trust that outlives its binding, are granted where the grant says so."""
    assert authorize(binding(audience="vault"), ["reader"], {}, [grant(audiences=["vault"])]).is_granted
    retained = binding(deletion_policy=DeletionPolicy.RETAIN)
    assert authorize(retained, ["reader"], {}, [grant(allowRetain=True)]).is_granted


@pytest.mark.parametrize(
    "asks",
    [
        binding(method=Method.POD_IDENTITY, audience="vault"),
        binding(
            audience="vault",
            service_account_names=(),
            federated=(FederatedSubjects(Issuer.parse("https://ci.example.com"), "x", ("a",)),),
        ),
    ],
)
def test_an_audience_without_effect(asks: RoleBinding) -> None:
    """Where no token of the cluster is asked for, the audience means nothing, and needs no grant."""
    wide = grant(
        methods=["WebIdentity", "PodIdentity"],
        federatedSubjects=[{"issuer": "https://ci.example.com", "audience": "x", "subjects": ["a"]}],
    )
    assert authorize(asks, [], {}, [wide]).is_granted


def test_the_largest_bounds_count() -> None:
    """Of the grants that cover a binding, the largest maxBindings counts, and so does the largest maxSubjects."""
    grants = [
        grant("a", maxBindings=3, maxSubjects=50),
        grant("b", maxBindings=5, maxSubjects=10),
        grant("c", maxBindings=9, namespaces={"names": ["x"]}),
    ]
    answer = authorize(binding(), ["reader"], {}, grants)
    assert (answer.grant, answer.max_bindings, answer.max_subjects) == ("a", 5, 50)
    assert authorize(binding(), ["reader"], {}, [grant()]).max_bindings == 500


def test_a_namespace_that_no_grant_covers() -> None:
    """Grants of other namespaces are not told about: that would only lead away."""
    answer = authorize(binding(), ["reader"], {}, [grant("secret", namespaces={"names": ["x"]})])

    assert answer.message == f"no RoleGrant covers {TARGET} for namespace team-a; ask a cluster administrator for one"


def test_one_grant_must_cover_all() -> None:
    """Two grants that cover a half each do not add up."""
    halves = [
        grant("role", roleArns=[str(TARGET)]),
        grant("source", roleArns=[str(BASE)]),
        grant("reader", serviceAccountNames=["reader"]),
        grant("writer", serviceAccountNames=["writer"]),
    ]

    assert not authorize(CHAINED, ["reader"], {}, halves).is_granted
    assert not authorize(binding(), ["reader", "writer"], {}, halves[2:]).is_granted
    assert authorize(CHAINED, ["reader"], {}, [grant(roleArns=[str(TARGET), str(BASE)])]).is_granted


@pytest.mark.parametrize(
    ("namespaces", "labels", "granted"),
    [
        ({"names": ["team-a", "team-b"]}, {}, True),
        ({"names": ["team-*"]}, {}, False),
        ({"names": ["team"]}, {}, False),
        ({"selector": {}}, {}, True),
        ({"selector": {"matchLabels": {"aws": "yes"}}}, {"aws": "yes"}, True),
        ({"selector": {"matchLabels": {"aws": "yes"}}}, {"aws": "no"}, False),
        ({"selector": {"matchLabels": {"aws": "yes"}}}, {}, False),
        ({"names": ["x"], "selector": {"matchLabels": {"aws": "yes"}}}, {"aws": "yes"}, True),
        ({"names": ["team-a"], "selector": {"matchLabels": {"aws": "yes"}}}, {}, True),
    ],
)
def test_namespaces(namespaces: dict[str, Any], labels: dict[str, str], granted: bool) -> None:
    """Namespaces count by their full name or by the selector, whichever takes them; names are no globs."""
    assert authorize(binding(), ["reader"], labels, [grant(namespaces=namespaces)]).is_granted is granted


@pytest.mark.parametrize(
    ("patterns", "account", "granted"),
    [
        (["*"], "any.thing-at-all", True),
        (["reader"], "reader", True),
        (["read*"], "reader", True),
        (["read?r"], "reader", True),
        (["r.*"], "reader", False),
        (["read"], "reader", False),
        (["x", "*er"], "reader", True),
    ],
)
def test_account_globs(patterns: list[str], account: str, granted: bool) -> None:
    """Account names are globs over the whole name."""
    assert authorize(binding(), [account], {}, [grant(serviceAccountNames=patterns)]).is_granted is granted


def test_the_answer_does_not_depend_on_the_order() -> None:
    """Any order of the grants gives the same answer, message included."""
    grants = [
        grant("c"),
        grant("a", methods=["AssumeRole"]),
        grant("b", namespaces={"names": ["x"]}),
        grant("d", serviceAccountNames=["x"]),
    ]

    for some in (grants, grants[1:]):
        answers = {authorize(binding(), ["reader"], {}, order) for order in itertools.permutations(some)}
        assert len(answers) == 1


names = st.text("abc*?:/.", max_size=12)


@given(names, names)
def test_a_glob_never_crosses_a_colon(pattern: str, text: str) -> None:
    """What a pattern matches has exactly the pattern's colons."""
    if arn_matches(pattern, text):
        assert pattern.count(":") == text.count(":")


@pytest.mark.parametrize(
    ("tags", "consent"),
    [
        ({}, False),
        ({"trustbind.dev/namespaces": ""}, False),
        ({"trustbind.dev/namespaces": "team-a"}, True),
        ({"trustbind.dev/namespaces": " team-b  team-a "}, True),
        ({"trustbind.dev/namespaces": "team-ab"}, False),
        ({"trustbind.dev/namespaces": "team-a,team-b"}, False),
        ({"trustbind.dev/namespaces": "*"}, False),
        ({"Trustbind.dev/namespaces": "team-a"}, False),
    ],
)
def test_consent(tags: dict[str, str], consent: bool) -> None:
    """A role consents to the namespaces that its tag lists by their full names, and to no other."""
    assert consents(tags, "team-a") is consent


GITHUB = Issuer.parse("https://token.actions.githubusercontent.com")


def test_subjects_of_other_issuers_have_to_be_named() -> None:
    """A grant allows no other issuer unless it says so, and then only what its patterns match."""
    asks = binding(federated=(FederatedSubjects(GITHUB, "sts.amazonaws.com", ("repo:o/shop:ref:refs/heads/main",)),))

    plain = authorize(asks, ["reader"], {}, [grant()])
    other = authorize(
        asks, ["reader"], {}, [grant(federatedSubjects=[{"issuer": GITHUB.url, "subjects": ["repo:p/*"]}])]
    )
    right = authorize(
        asks, ["reader"], {}, [grant(federatedSubjects=[{"issuer": GITHUB.url, "subjects": ["repo:o/*"]}])]
    )

    for answer in (plain, other):
        assert not answer.is_granted
        assert "does not cover the federated subject repo:o/shop:ref:refs/heads/main" in answer.message
    assert right.is_granted
    assert authorize(binding(), ["reader"], {}, [grant()]).is_granted
