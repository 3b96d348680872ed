"""What deleted bindings left in a trust policy: it is recorded there, and stays while it is granted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.bodies import grant_body
from support.trust import FOREIGN, GITHUB, ISSUER, ROLE, SOURCE, WEB, claim, document, statement, wanted
from trustbind.api.role_grant import RoleGrant
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import ChainKey, FederatedKey, WebIdentityKey, is_retained, retained, subjects_of
from trustbind.policy.plan import Desired, Plan, Refusal, plan, plan_without_revocation, revoked_names
from trustbind.policy.retention import KEEP_NONE, Retention, retention_of
from trustbind.policy.trusted_names import retained_names
from trustbind.reasons import TrustReason

NAMESPACES = {"team-a": {"team": "a"}, "team-b": {}}


def left(*names: str, key: Any = WEB) -> dict[str, Any]:
    """Return the statement that deleted bindings left for service accounts of team-a, or for other names."""
    subjects = [n if isinstance(key, FederatedKey) else f"system:serviceaccount:team-a:{n}" for n in names]
    return retained(ISSUER, ROLE, key, subjects)


def allowed(**spec: Any) -> Retention:
    """Return what one grant with these fields allows to stay."""
    body = grant_body(allowRetain=True, **{"roleArns": [str(ROLE), str(SOURCE)], **spec})
    return retention_of(ROLE, [RoleGrant.parse(body)], NAMESPACES)


def names(planned: Plan) -> set[str]:
    """Return the service accounts that retained statements of the planned document trust."""
    return {
        name.rpartition(":")[2]
        for s in planned.document.statements
        if is_retained(s, ISSUER)
        for name in subjects_of(s, ISSUER)
    }


def test_bindings_share_a_statement() -> None:
    """However often a binding is made and deleted, what is left of one key takes one statement."""
    current = document(FOREIGN)
    for name in ("a", "b", "c", "a"):
        written = plan(current, wanted(claim(name))).document
        current = plan(written, Desired(ROLE, ISSUER, (), (claim(name),))).document

    assert current == document(FOREIGN, left("a", "b", "c"))


def test_it_goes_with_the_grant() -> None:
    """Without a grant nothing of it stays, and foreign statements do."""
    current = document(FOREIGN, left("a", "b"))

    assert plan(current, wanted()).is_empty, "nobody is asked"
    assert plan(current, replace(wanted(), retention=allowed(namespaces={"names": ["team-a"]}))).is_empty
    gone = plan(current, replace(wanted(), retention=KEEP_NONE))

    assert gone.document == document(FOREIGN)
    assert revoked_names(gone) == {"system:serviceaccount:team-a:a", "system:serviceaccount:team-a:b"}


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ({}, {"a", "b"}),
        ({"namespaces": {"names": ["team-b"]}}, set()),
        ({"namespaces": {"selector": {"matchLabels": {"team": "a"}}}}, {"a", "b"}),
        ({"namespaces": {"selector": {"matchLabels": {"team": "b"}}}}, set()),
        ({"serviceAccountNames": ["a"]}, {"a"}),
        ({"audiences": ["other"]}, set()),
        ({"methods": ["PodIdentity"]}, set()),
        ({"methods": ["AssumeRole"]}, {"a", "b"}),
        ({"roleArns": ["arn:aws:iam::444455556666:role/another"]}, set()),
        ({"allowRetain": False}, set()),
    ],
)
def test_each_subject_needs_a_grant(spec: dict[str, Any], kept: set[str]) -> None:
    """The subject, its namespace, the audience, the method and the role have to be granted, and that it is retained."""
    body = grant_body(**{"allowRetain": True, "roleArns": [str(ROLE)], "namespaces": {"names": ["team-a"]}, **spec})
    retention = retention_of(ROLE, [RoleGrant.parse(body)], NAMESPACES)

    planned = plan(document(FOREIGN, left("a", "b")), replace(wanted(), retention=retention))

    assert names(planned) == kept
    assert planned.is_empty is (kept == {"a", "b"})


def test_a_namespace_that_is_gone() -> None:
    """A grant that selects by label covers no namespace that does not exist; one by name covers none either."""
    retention = retention_of(ROLE, [RoleGrant.parse(grant_body(allowRetain=True, roleArns=[str(ROLE)]))], {})

    assert names(plan(document(FOREIGN, left("a")), replace(wanted(), retention=retention))) == set()


def test_other_issuers_and_source_roles() -> None:
    """A pattern stays while a grant covers it; a chain's source role while a grant covers both roles."""
    pattern = FederatedKey(GITHUB, "sts.amazonaws.com")
    chain = ChainKey(SOURCE, "id")
    current = document(FOREIGN, left("repo:example-org/app:*", key=pattern), left(key=chain))
    entry = {"issuer": GITHUB.url, "subjects": ["repo:example-org/*"]}

    both = plan(current, replace(wanted(), retention=allowed(federatedSubjects=[entry])))
    one = plan(current, replace(wanted(), retention=allowed(roleArns=[str(ROLE)], federatedSubjects=[entry])))
    none = plan(current, replace(wanted(), retention=allowed(methods=["WebIdentity"])))

    assert both.is_empty
    assert one.document == document(FOREIGN, left("repo:example-org/app:*", key=pattern))
    assert none.document == document(FOREIGN)


def test_consent_and_protection_of_the_role() -> None:
    """A role that is protected keeps nothing; one whose consent is asked for keeps what its tag names."""
    current = document(FOREIGN, left("a"))
    retention = allowed(namespaces={"names": ["team-a"]})

    def kept(tags: dict[str, str], *, is_protected: bool = False, needs_consent: bool = False) -> set[str]:
        now = retention.with_tags(tags, is_protected=is_protected, needs_consent=needs_consent)
        return names(plan(current, replace(wanted(), retention=now)))

    assert kept({}) == {"a"}
    assert kept({}, is_protected=True) == set()
    assert kept({}, needs_consent=True) == set()
    assert kept({"trustbind.dev/namespaces": "team-b"}, needs_consent=True) == set()
    assert kept({"trustbind.dev/namespaces": "team-b team-a"}, needs_consent=True) == {"a"}


@pytest.mark.parametrize(
    ("granted", "tag", "stays"),
    [
        ("team-a", "", False),
        ("team-a", "team-b", False),
        ("team-a", "team-a", True),
        (None, "", False),
        (None, "team-b", True),
    ],
)
def test_consent_for_what_names_no_namespace(granted: str | None, tag: str, stays: bool) -> None:
    """Patterns and source roles stay where the role consents to a namespace of a grant that covers them.

    Where nobody is asked for grants, to any namespace.
    """
    current = document(
        FOREIGN,
        left("repo:example-org/app:*", key=FederatedKey(GITHUB, "sts.amazonaws.com")),
        left(key=ChainKey(SOURCE, "id")),
    )
    entry = {"issuer": GITHUB.url, "subjects": ["repo:example-org/*"]}
    retention = (
        allowed(namespaces={"names": [granted]}, federatedSubjects=[entry])
        if granted
        else retention_of(ROLE, None, NAMESPACES)
    )

    now = retention.with_tags({"trustbind.dev/namespaces": tag}, is_protected=False, needs_consent=True)
    planned = plan(current, replace(wanted(), retention=now))

    assert planned.document == (current if stays else document(FOREIGN))


def test_a_live_binding_takes_over() -> None:
    """What a binding asks for is its own again, and goes with it; the rest stays."""
    current = document(FOREIGN, left("a", "b"))

    taken = plan(current, wanted(claim("a")))
    after = plan(taken.document, wanted())

    assert taken.document == document(FOREIGN, left("b"), statement("a"))
    assert revoked_names(taken) == set()
    assert after.document == document(FOREIGN, left("b"))


def test_a_live_binding_takes_over_in_a_full_document() -> None:
    """Only one of both statements needs room; where a claim does not fit, what was left is still counted whole."""
    current = document(FOREIGN, left("a"))
    limit = document(FOREIGN, statement("a")).size

    taken = plan(current, wanted(claim("a")), limit)
    full = plan(current, wanted(claim("a"), claim("much-longer-name")), max(limit, current.size))

    assert taken.document == document(FOREIGN, statement("a"))
    assert full.size <= max(limit, current.size)
    assert TrustReason.TRUST_POLICY_FULL in {r.reason for r in full.refusals}
    trusted = {name for s in full.document.statements for name in subjects_of(s, ISSUER)}
    assert "system:serviceaccount:team-a:a" in trusted, "nobody loses what stood"


def test_a_pause_keeps_it() -> None:
    """While revocation is paused, nothing of it goes, whatever is granted."""
    current = document(FOREIGN, left("a"), statement("b"))
    going = Desired(ROLE, ISSUER, (), (claim("b"),), retention=KEEP_NONE)
    pause = Refusal(None, TrustReason.REVOCATION_PAUSED, "paused")

    planned = plan_without_revocation(current, going, 2048, pause)

    assert names(planned) >= {"a"}
    assert revoked_names(planned) == set()


def test_an_edited_statement_counts_by_what_it_says() -> None:
    """A subject that another writer added needs a grant as the others; a statement that names nobody goes."""
    current = document(FOREIGN, left("a", "added"))
    retention = allowed(namespaces={"names": ["team-a"]}, serviceAccountNames=["a"])
    open_to_all = left("a") | {"Condition": {}}

    assert names(plan(current, replace(wanted(), retention=retention))) == {"a"}
    assert plan(document(FOREIGN, open_to_all), wanted()).document == document(FOREIGN)


def test_who_is_retained() -> None:
    """Subjects, patterns and source roles are listed; what live bindings have is not."""
    pattern = left("repo:example-org/app:*", key=FederatedKey(GITHUB, "sts.amazonaws.com"))
    current = document(FOREIGN, statement("live"), left("a"), pattern, left(key=ChainKey(SOURCE, via_root=True)))

    assert retained_names(current, ISSUER) == (
        str(SOURCE),
        "repo:example-org/app:*",
        "system:serviceaccount:team-a:a",
    )


def test_what_is_no_service_account() -> None:
    """A subject that is none is nobody's, and does not stay."""
    odd = retained(ISSUER, ROLE, WebIdentityKey("sts.amazonaws.com"), ["system:node:x", str(Subject("team-a", "a"))])
    planned = plan(document(FOREIGN, odd), wanted())

    assert names(planned) == {"a"}
