"""The decision for each binding, from what is known of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.bodies import ACCOUNT, ISSUER, OTHER_ROLE, ROLE, account_body, binding_body, grant_body
from support.scenario_world import World
from trustbind.api.aws_account import AwsAccount
from trustbind.api.labels import MANAGED_LABEL
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision, decide, desired_of, with_consent
from trustbind.reconcile.stored_binding import StoredBinding

APPLIED = {
    "statementId": "Trustbind00000000000000000000000000000000",
    "conditions": [
        {"type": "Ready", "status": "True"},
        {"type": "Authorized", "status": "True"},
        {"type": "TrustApplied", "status": "True"},
    ],
}
DELETED = {"deletionTimestamp": "2026-01-02T00:00:00Z"}


def decided(world: World, body: dict[str, Any] | None = None, role: RoleArn = ROLE) -> BindingDecision:
    """Return the decision for a binding that has come to ``world``."""
    (decision,) = decide(world.cache.snapshot_of(world.has_binding(body), role, {}))
    return decision


def ready_world() -> World:
    """Return a world in which a binding gets what it asks for."""
    world = World()
    world.has_account()
    return world


def test_granted() -> None:
    """The binding gets one claim, and the sentence names the grant."""
    decision = decided(ready_world())

    assert (decision.authorized, decision.reason, decision.retains) == (True, None, False)
    assert decision.message == "granted by RoleGrant all"
    assert decision.subjects == (Subject("team-a", "app"),)
    assert [c.subjects for c in decision.claims] == [decision.subjects]


def _ungranted(world: World) -> None:
    world.has_grants()


def _unknown_account(world: World) -> None:
    world.cache.drop_aws_account("prod")


def _rival(world: World) -> None:
    world.has_binding(binding_body("older", created="2025-01-01T00:00:00Z"))


def _nothing(world: World) -> None:
    del world


BROKEN = {"audience": "a b"}
CHAIN = {"method": "AssumeRole", "source": {"roleArn": "arn:aws:iam::111122223333:role/base"}}
FOREIGN_KEY = {"conditions": [{"operator": "StringEquals", "key": "oidc.other.example.com:amr", "values": ["x"]}]}
NOBODY = {"serviceAccountSelector": {"matchLabels": {"a": "b"}}}
Change = Callable[[World], None]


@pytest.mark.parametrize(
    ("spec", "changes", "authorized", "reason"),
    [
        (BROKEN, [_nothing], None, TrustReason.INVALID_SPEC),
        ({}, [_rival], None, TrustReason.PROFILE_CONFLICT),
        ({}, [_ungranted], False, TrustReason.NOT_GRANTED),
        ({}, [_unknown_account], True, TrustReason.ACCOUNT_UNKNOWN),
        (NOBODY, [_nothing], True, TrustReason.NO_SUBJECTS),
        # of several, the first in this order:
        (BROKEN | CHAIN, [_rival, _ungranted, _unknown_account], None, TrustReason.INVALID_SPEC),
        ({}, [_rival, _ungranted, _unknown_account], None, TrustReason.PROFILE_CONFLICT),
        (NOBODY, [_ungranted, _unknown_account], False, TrustReason.NOT_GRANTED),
        (FOREIGN_KEY, [_nothing], True, TrustReason.INVALID_SPEC),
        (CHAIN | FOREIGN_KEY, [_nothing], True, TrustReason.INVALID_SPEC),
        (NOBODY, [_unknown_account], True, TrustReason.ACCOUNT_UNKNOWN),
    ],
)
def test_refused(spec: dict[str, Any], changes: list[Change], authorized: bool | None, reason: TrustReason) -> None:
    """Every reason, and which comes first; a binding with one has a sentence and no claims."""
    world = ready_world()
    for change in changes:
        change(world)

    decision = decided(world, binding_body(**spec))

    assert (decision.authorized, decision.reason) == (authorized, reason)
    assert decision.message
    assert decision.claims == ()


def test_unknown_account_says_what_to_write() -> None:
    """The sentence holds the object to create."""
    world = World()
    assert f'accountId: "{ACCOUNT}"' in decided(world).message
    assert f"arn:aws:iam::{ACCOUNT}:role/trustbind-manager" in decided(world).message


def test_profile_conflict_names_binding_and_account() -> None:
    """So that somebody knows which two to tell apart."""
    world = ready_world()
    _rival(world)

    message = decided(world).message

    assert "team-a/older" in message
    assert "service account app" in message
    assert "spec.profile" in message


def test_generated_binding_and_the_one_that_takes_over() -> None:
    """Both have their claim, in one statement, so that the subject stays there when the generated one goes."""
    world = ready_world()
    marked = {"labels": {MANAGED_LABEL: "true"}}
    world.cache.put_binding(StoredBinding.of(binding_body("annotated-app", metadata=marked)))
    world.cache.put_binding(StoredBinding.of(binding_body("mine", created="2026-02-01T00:00:00Z")))

    both = decide(world.cache.snapshot(ROLE, {}))
    world.cache.put_binding(
        StoredBinding.of(
            binding_body("annotated-app", metadata={**marked, "deletionTimestamp": "2026-02-02T00:00:00Z"})
        )
    )
    left = decide(world.cache.snapshot(ROLE, {}))

    assert [(d.stored.ref.name, d.reason) for d in both] == [("annotated-app", None), ("mine", None)]
    assert len({claim.key for d in both for claim in d.claims}) == 1
    assert [[claim.subjects for claim in d.claims] for d in left] == [[], [(Subject("team-a", "app"),)]]


def test_selector_conflicts_only_for_accounts_that_exist() -> None:
    """Two bindings that could claim one profile for one account do so when there is such an account."""
    world = ready_world()
    world.has_binding(binding_body("older", created="2025-01-01T00:00:00Z", serviceAccountSelector={}))
    body = binding_body(serviceAccountSelector={"matchLabels": {"a": "b"}})

    world.has_service_accounts("team-a", {"x": {}})
    assert decided(world, body).reason is TrustReason.NO_SUBJECTS
    world.has_service_accounts("team-a", {"x": {"a": "b"}})
    assert decided(world, body).reason is TrustReason.PROFILE_CONFLICT


def test_selector_follows_accounts_of_its_namespace() -> None:
    """Those elsewhere do not count."""
    world = ready_world()
    world.has_service_accounts("team-a", {"x": {"a": "b"}, "y": {}})
    world.has_service_accounts("team-b", {"z": {"a": "b"}})

    decision = decided(world, binding_body(serviceAccountSelector={"matchLabels": {"a": "b"}}))

    assert decision.subjects == (Subject("team-a", "x"),)


def test_grant_by_namespace_label() -> None:
    """The namespace's labels count as they are now."""
    world = ready_world()
    world.has_grants(grant_body("g", namespaces={"selector": {"matchLabels": {"team": "a"}}}))

    assert decided(world).reason is TrustReason.NOT_GRANTED
    world.cache.put_namespace("team-a", {"team": "a"})
    assert decided(world).reason is None


@pytest.mark.parametrize("changes", [[_nothing], [_rival, _ungranted, _unknown_account]])
def test_deleted(changes: list[Change]) -> None:
    """A binding that is being deleted wants nothing, whatever else is the matter."""
    world = ready_world()
    for change in changes:
        change(world)

    decision = decided(world, binding_body(metadata=DELETED, status=APPLIED))

    assert (decision.authorized, decision.reason, decision.claims, decision.retains) == (None, None, (), False)


FAILED = {
    "statementId": "Trustbind00000000000000000000000000000000",
    "conditions": [{"type": "Ready", "status": "False"}, {"type": "TrustApplied", "status": "False"}],
}
WITHDRAWN = {
    "statementId": "Trustbind00000000000000000000000000000000",
    "conditions": [{"type": "Ready", "status": "False"}, {"type": "Authorized", "status": "False"}],
}


@pytest.mark.parametrize(
    ("status", "retains"),
    [
        (APPLIED, True),
        (FAILED, True),
        (WITHDRAWN, False),
        ({"conditions": [{"type": "TrustApplied", "status": "False"}]}, False),
        ({}, False),
    ],
    ids=["applied", "failed since", "grant withdrawn", "never applied", "never seen"],
)
def test_retained_is_what_stands_by_right(status: dict[str, Any], retains: bool) -> None:
    """Only trust that may be there, and that nobody has taken back, is left; one failed call takes nothing away."""
    body = binding_body(metadata=DELETED, status=status, deletionPolicy="Retain")

    decision = decided(ready_world(), body)

    assert decision.retains is retains
    assert bool(decision.claims) is retains


@pytest.mark.parametrize(
    ("tag", "consents"),
    [(None, False), ("", False), ("team-a", True), ("x team-a y", True), ("team-ab", False), ("*", False)],
)
def test_role_consents(tag: str | None, consents: bool) -> None:
    """Where the account asks for it, the role's tag has to list the namespace."""
    decision = decided(ready_world())
    account = AwsAccount.parse(account_body(requireRoleConsent=True))
    tags = {} if tag is None else {"trustbind.dev/namespaces": tag}

    (asked,) = with_consent([decision], account, tags)

    if consents:
        assert asked == decision
    else:
        assert (asked.authorized, asked.reason, asked.claims) == (False, TrustReason.NO_CONSENT, ())
        assert "trustbind.dev/namespaces" in asked.message
        assert "team-a" in asked.message


def test_consent_is_asked_of_those_who_would_get_something() -> None:
    """One that is refused already, or is going, keeps its decision; without the account's wish nobody is asked."""
    account = AwsAccount.parse(account_body(requireRoleConsent=True))
    refused = decided(World())
    going = decided(ready_world(), binding_body(metadata=DELETED, status=APPLIED, deletionPolicy="Retain"))

    leaving = decided(ready_world(), binding_body(metadata=DELETED, status=APPLIED))

    assert with_consent([refused, leaving], account, {}) == [refused, leaving]
    (revoked,) = with_consent([going], account, {})
    assert (going.retains, revoked.retains, revoked.claims) == (True, False, ()), "nothing is left in spite of the role"
    granted = decided(ready_world())
    assert with_consent([granted], AwsAccount.parse(account_body()), {}) == [granted]


def test_desired_state() -> None:
    """All claims together, those of bindings that go and leave their trust apart."""
    world = ready_world()
    stays = decided(world, binding_body("a", serviceAccountNames=["x"]))
    refused = decided(world, binding_body("b", serviceAccountNames=["x"], created="2026-02-01T00:00:00Z"))
    leaves = decided(
        world,
        binding_body("c", metadata=DELETED, status=APPLIED, deletionPolicy="Retain", serviceAccountNames=["y"]),
    )

    desired = desired_of(ROLE, ISSUER, [stays, refused, leaves])

    assert (desired.role, desired.issuer) == (ROLE, ISSUER)
    assert [c.binding for c in desired.claims] == [BindingRef("team-a", "a")]
    assert [c.binding for c in desired.retained] == [BindingRef("team-a", "c")]


def test_claims_are_about_the_role_that_is_meant() -> None:
    """Decided for another role, the binding claims nothing there."""
    world = ready_world()

    assert decided(world, role=OTHER_ROLE).claims == ()


def test_key_tells_decisions_apart() -> None:
    """Equal for what asks for the same, whatever was stored meanwhile; different when something counts."""
    world = ready_world()
    before = decided(world)
    assert decided(world, binding_body(status=APPLIED)).key == before.key
    assert decided(world, binding_body(metadata={"generation": 2}, serviceAccountNames=["z"])).key != before.key
    assert decided(world, binding_body(metadata=DELETED)).key != before.key
    _ungranted(world)
    assert decided(world).key != before.key


@pytest.mark.parametrize(
    ("spec", "caller", "whose"),
    [
        ({"roleArn": "arn:aws:iam::444455556666:role/ops/Manager"}, "", "the manager role of AWSAccount prod"),
        (CHAIN | {"source": {"roleArn": "arn:aws:iam::444455556666:role/manager"}}, "", "the manager role"),
        ({}, "arn:aws:sts::444455556666:assumed-role/APP/pod", "the role that the operator runs as"),
        (
            CHAIN | {"source": {"roleArn": "arn:aws:iam::444455556666:role/x/app"}, "roleArn": str(OTHER_ROLE)},
            "arn:aws:sts::444455556666:assumed-role/app/pod",
            "the role that the operator runs as",
        ),
    ],
)
def test_protected_roles(spec: dict[str, Any], caller: str, whose: str) -> None:
    """Manager roles and the operator's own are bound by nobody, whatever path and letter case they are written with."""
    world = World()
    world.has_account(account_body(managerRoleArn="arn:aws:iam::444455556666:role/manager"))
    world.has_account(account_body("source", accountId="111122223333", managerRoleArn=None))
    world.learned(caller)
    decision = decided(world, binding_body(**spec))
    assert (decision.authorized, decision.reason, decision.claims) == (False, TrustReason.PROTECTED_ROLE, ())
    assert whose in decision.message


@pytest.mark.parametrize(
    "caller", ["arn:aws:iam::444455556666:user/app", "arn:aws:sts::111122223333:assumed-role/app/pod", "broken"]
)
def test_callers_that_are_another_role(caller: str) -> None:
    """A user, or a role of that name in another AWS account, protects nothing."""
    world = ready_world()
    world.learned(caller)
    assert decided(world).reason is None


@pytest.mark.parametrize("value", ["", "false", "yes"])
def test_protected_by_its_tag(value: str) -> None:
    """A role with the tag is bound by nobody, also where its consent is not required."""
    world = ready_world()
    account = world.cache.aws_account(ACCOUNT)
    assert account is not None
    (decision,) = with_consent([decided(world)], account, {"trustbind.dev/protected": value})
    assert (decision.authorized, decision.reason, decision.claims) == (False, TrustReason.PROTECTED_ROLE, ())


def test_nothing_is_retained_in_a_protected_role() -> None:
    """A role that became a manager role since leaves no trust behind."""
    world = World()
    world.has_account(account_body(managerRoleArn=str(ROLE)))
    body = binding_body(metadata=DELETED, deletionPolicy="Retain") | {"status": APPLIED}
    decision = decided(world, body)
    assert (decision.retains, decision.claims) == (False, ())
