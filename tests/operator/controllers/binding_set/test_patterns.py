"""Bindings of a set with a pattern, from the cache to the trust policy: one entry for all, within its guards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import ISSUER, OPS, ROLE, account_body, binding_body, grant_body, set_body
from support.scenario_manager import ManagerScenario
from trustbind.api.role_binding import DeletionPolicy
from trustbind.api.role_binding_set import RoleBindingSet
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import PatternKey, is_owned, retained_sid, sid_of, subjects_of
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.binding_set import PatternProblem, SetPattern
from trustbind_operator.controllers.pace import Pace

PATTERN = "profile-*"
LABELS = {"profile": "true"}
SUBJECT = f"system:serviceaccount:{PATTERN}:default-editor"
KEY = PatternKey(ISSUER, "sts.amazonaws.com")
UNSAFE = PatternProblem(TrustReason.STRAY_NAMESPACE, "profile-x is a stray", is_proven=True)
NOT_YET = PatternProblem(TrustReason.PENDING, "the pattern counts in 10 s")
UNREAD = PatternProblem(TrustReason.PATTERN_UNGUARDED, "the policy cannot be read")
GRANT = grant_body("profiles", namespaces={"selector": {"matchLabels": LABELS}}, allowPatterns=True)
LOOSE = {"StringLike": {ISSUER.subject_key: "system:serviceaccount:*"}}


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a scenario; a test starts it."""
    made = ManagerScenario()
    made.pace = Pace(survey=1e6)
    made.has_account()
    made.has_grants(GRANT)
    yield made
    made.close()


def wanted(**changes: Any) -> RoleBindingSet:
    """Return the set."""
    return RoleBindingSet.parse(set_body(**({"pattern": PATTERN} | changes)))


def put(scene: ManagerScenario, pattern: SetPattern | None) -> None:
    """Let the set's controller say what the pattern is, and time pass."""
    if scene.cache.put_pattern("uid-profiles", pattern):
        scene.manager.reconsider(["profile-a", "profile-b"])
    scene.wait(30)


def member(namespace: str, **changes: Any) -> dict[str, Any]:
    """Return the set's binding in a namespace as it is stored."""
    manifest = wanted().manifest_in(namespace)
    spec = manifest["spec"] | changes
    found = binding_body(manifest["metadata"]["name"], namespace, **spec)
    return found | {"metadata": found["metadata"] | manifest["metadata"]}


def begin(scene: ManagerScenario, problem: PatternProblem | None = None, **changes: Any) -> None:
    """Start the operator with two namespaces of the set."""
    for namespace in ("profile-a", "profile-b"):
        scene.cache.put_namespace(namespace, LABELS)
    found = wanted(**changes)
    scene.cache.put_pattern("uid-profiles", None if found.pattern is None else SetPattern(found, problem))
    scene.start()
    for namespace in ("profile-a", "profile-b"):
        scene.create(member(namespace))
    scene.wait(30)


def trusted(scene: ManagerScenario, role: RoleArn = ROLE) -> list[str]:
    """Return whom our statements in a role trust, patterns included."""
    return sorted(
        name
        for statement in scene.aws.roles[role].statements
        if is_owned(statement, ISSUER) and statement["Effect"] == "Allow"
        for of_cluster in (True, False)
        for name in subjects_of(statement, ISSUER, of_cluster=of_cluster)
    )


def reason(scene: ManagerScenario, namespace: str = "profile-a") -> tuple[str, str]:
    """Return status and reason of the condition Ready of a namespace's binding."""
    body = scene.cluster.get("RoleBinding", f"{namespace}/set-profiles")
    assert body is not None
    (ready,) = (c for c in body["status"]["conditions"] if c["type"] == "Ready")
    return ready["status"], ready["reason"]


def test_one_entry_for_all(scene: ManagerScenario) -> None:
    """One statement with one pattern beside the audience; every binding is Ready and names it."""
    begin(scene)

    (ours,) = (s for s in scene.aws.roles[ROLE].statements if is_owned(s, ISSUER))
    assert ours["Sid"] == sid_of(ISSUER, KEY)
    assert ours["Condition"] == {
        "StringEquals": {ISSUER.audience_key: "sts.amazonaws.com"},
        "StringLike": {ISSUER.subject_key: [SUBJECT]},
    }
    assert ours["Principal"] == {"Federated": str(ISSUER.provider_for(ROLE))}
    for namespace in ("profile-a", "profile-b"):
        assert reason(scene, namespace) == ("True", "TrustApplied")
        stored = scene.cluster.get("RoleBinding", f"{namespace}/set-profiles")
        assert stored is not None
        assert stored["status"]["statementId"] == ours["Sid"]
        assert stored["status"]["subjects"] == [f"system:serviceaccount:{namespace}:default-editor"]
    assert OPS in scene.aws.roles[ROLE].statements


def test_another_namespace_costs_nothing(scene: ManagerScenario) -> None:
    """Its binding is Ready without a write."""
    begin(scene)
    scene.forget_calls()
    scene.cache.put_namespace("profile-c", LABELS)
    scene.create(member("profile-c"), seconds=30)

    assert reason(scene, "profile-c") == ("True", "TrustApplied")
    assert not scene.aws.calls["UpdateAssumeRolePolicy"]


def test_restart_writes_nothing(scene: ManagerScenario) -> None:
    """What stands is what is wanted."""
    begin(scene)
    scene.stop()
    scene.forget_calls()
    assert scene.start() == 0
    scene.wait(60)
    assert not scene.aws.calls["UpdateAssumeRolePolicy"]
    assert trusted(scene) == [SUBJECT]


@pytest.mark.parametrize(
    ("grant", "says"),
    [
        (
            grant_body("profiles", namespaces={"selector": {"matchLabels": LABELS}}),
            "does not cover the pattern profile-* (its spec would need allowPatterns: true)",
        ),
        (
            grant_body("profiles", namespaces={"names": ["profile-a", "profile-b"]}, allowPatterns=True),
            "would need no more than matchLabels: {profile: 'true'}",
        ),
        (
            grant_body(
                "profiles", namespaces={"selector": {"matchLabels": {**LABELS, "team": "a"}}}, allowPatterns=True
            ),
            "does not cover the namespace profile-a",
        ),
        (
            grant_body(
                "profiles",
                namespaces={"selector": {"matchExpressions": [{"key": "profile", "operator": "Exists"}]}},
                allowPatterns=True,
            ),
            "would need no more than matchLabels",
        ),
    ],
)
def test_grant_that_does_not_cover_namespaces_to_come(scene: ManagerScenario, grant: dict[str, Any], says: str) -> None:
    """A grant by name, or by further labels, would be passed by a namespace that is created later."""
    scene.has_grants(grant)
    begin(scene)

    assert reason(scene) == ("False", "NotGranted")
    body = scene.cluster.get("RoleBinding", "profile-a/set-profiles")
    assert body is not None
    if "namespace" not in says:
        assert any(says in c["message"] for c in body["status"]["conditions"])
    assert trusted(scene) == []
    assert not scene.aws.calls["GetRole"]


def test_withdrawn_grant(scene: ManagerScenario) -> None:
    """What it allowed is revoked."""
    begin(scene)
    scene.set_grants(seconds=30)

    assert trusted(scene) == []
    assert reason(scene) == ("False", "NotGranted")


def test_nothing_new_while_it_is_not_safe(scene: ManagerScenario) -> None:
    """No pattern is written, and it is as soon as the stray is gone."""
    begin(scene, UNSAFE)
    assert trusted(scene) == []
    assert reason(scene) == ("False", "StrayNamespace")

    put(scene, SetPattern(wanted()))
    assert trusted(scene) == [SUBJECT]
    assert reason(scene) == ("True", "TrustApplied")


def test_what_stands_stays(scene: ManagerScenario) -> None:
    """A stray namespace takes the role from nobody; not Ready says so, also after a restart and for newcomers."""
    begin(scene)
    put(scene, SetPattern(wanted(), UNSAFE))
    assert trusted(scene) == [SUBJECT]
    assert reason(scene) == ("False", "StrayNamespace")

    scene.cache.put_namespace("profile-c", LABELS)
    scene.create(member("profile-c"), seconds=30)
    assert reason(scene, "profile-c") == ("False", "StrayNamespace")
    scene.stop()
    scene.start(60)
    assert trusted(scene) == [SUBJECT]

    put(scene, SetPattern(wanted()))
    assert reason(scene) == ("True", "TrustApplied")


def test_what_was_exact_stays(scene: ManagerScenario) -> None:
    """A set that gets a pattern which is not safe keeps what each namespace had, and nothing is written."""
    begin(scene, pattern="")
    exact = [f"system:serviceaccount:profile-{n}:default-editor" for n in "ab"]
    assert trusted(scene) == exact

    put(scene, SetPattern(wanted(), UNSAFE))
    assert trusted(scene) == exact
    put(scene, SetPattern(wanted()))
    assert trusted(scene) == [SUBJECT]
    put(scene, None)
    assert trusted(scene) == exact


def test_revoked_where_the_set_says_so(scene: ManagerScenario) -> None:
    """With onStray: Revoke, a stray namespace ends the pattern for all."""
    begin(scene, on_stray="Revoke")
    assert trusted(scene) == [SUBJECT]

    put(scene, SetPattern(wanted(on_stray="Revoke"), UNSAFE))
    assert trusted(scene) == []
    assert reason(scene) == ("False", "StrayNamespace")


@pytest.mark.parametrize("problem", [NOT_YET, UNREAD])
def test_only_what_is_proved_revokes(scene: ManagerScenario, problem: PatternProblem) -> None:
    """With onStray: Revoke, neither a policy that cannot be read nor a change that has to settle revokes anything."""
    begin(scene, on_stray="Revoke")
    put(scene, SetPattern(wanted(on_stray="Revoke"), problem))

    assert trusted(scene) == [SUBJECT]
    assert reason(scene) == ("False", str(problem.reason))


def test_revoked_in_spite_of_the_brake(scene: ManagerScenario) -> None:
    """onStray: Revoke is the administrator's word: the brake on mass revocation does not leave the stray its role."""
    begin(scene, on_stray="Revoke")
    for number in range(40):
        scene.cache.put_namespace(f"profile-{number}", LABELS)
        scene.create(member(f"profile-{number}"))
    scene.wait(60)

    put(scene, SetPattern(wanted(on_stray="Revoke"), UNSAFE))
    scene.manager.reconsider(f"profile-{number}" for number in range(40))
    scene.wait(60)
    assert trusted(scene) == []


def test_wider_pattern(scene: ManagerScenario) -> None:
    """Until the wider pattern is granted, the one before stands; then it alone."""
    begin(scene)
    wider = wanted(pattern="pro*")
    put(scene, SetPattern(wider, NOT_YET))
    assert trusted(scene) == [SUBJECT]
    assert reason(scene) == ("False", "Pending")
    put(scene, SetPattern(wider, UNREAD))
    assert trusted(scene) == [SUBJECT]

    put(scene, SetPattern(wider))
    assert trusted(scene) == ["system:serviceaccount:pro*:default-editor"]


def test_former_pattern_that_is_not_covered(scene: ManagerScenario) -> None:
    """What only the former pattern matched is trusted no more."""
    begin(scene)
    put(scene, SetPattern(wanted(pattern="profile-a*"), NOT_YET))
    assert trusted(scene) == []


def test_last_binding_takes_the_pattern_along(scene: ManagerScenario) -> None:
    """As long as one is left, the pattern stands."""
    begin(scene)
    scene.remove("RoleBinding", "profile-a/set-profiles", seconds=30)
    assert trusted(scene) == [SUBJECT]

    scene.remove("RoleBinding", "profile-b/set-profiles", seconds=30)
    assert trusted(scene) == []
    assert scene.cluster.get("RoleBinding", "profile-b/set-profiles") is None


def test_set_that_is_gone(scene: ManagerScenario) -> None:
    """Until Kubernetes deletes its bindings, they keep the pattern, and do not each get a subject of their own."""
    begin(scene)
    scene.forget_calls()
    put(scene, SetPattern(wanted(), PatternProblem(TrustReason.PENDING, "its RoleBindingSet is gone")))

    assert trusted(scene) == [SUBJECT]
    assert not scene.aws.calls["UpdateAssumeRolePolicy"]


def test_binding_that_no_set_owns_any_more(scene: ManagerScenario) -> None:
    """After kubectl delete --cascade=orphan it is a RoleBinding as any other, at once: nothing else changes in it."""
    begin(scene)
    for namespace in ("profile-a", "profile-b"):
        scene.edit("RoleBinding", f"{namespace}/set-profiles", seconds=30, metadata={"ownerReferences": []})

    assert trusted(scene) == [f"system:serviceaccount:profile-{n}:default-editor" for n in "ab"]


def test_binding_that_a_team_changes(scene: ManagerScenario) -> None:
    """A pattern is never granted by what a team writes: another audience, or another name, of the set's binding."""
    begin(scene)
    scene.forget_calls()
    scene.edit("RoleBinding", "profile-a/set-profiles", seconds=30, spec={"audience": "granted"})
    assert trusted(scene) == [SUBJECT]
    assert reason(scene) == ("False", "Pending")
    assert not scene.aws.calls["UpdateAssumeRolePolicy"]

    forged = member("profile-b", serviceAccountNames=["admin"])
    forged["metadata"] |= {"name": "mine", "uid": "uid-mine"}
    scene.create(forged, seconds=30)
    assert trusted(scene) == [SUBJECT, "system:serviceaccount:profile-b:admin"]


def test_binding_of_a_namespace_that_is_not_selected(scene: ManagerScenario) -> None:
    """A forged owner in another namespace gets that namespace's own subject at most, by its own grant."""
    scene.has_grants(GRANT, grant_body())
    begin(scene)
    scene.cache.put_namespace("team-a", {})
    scene.create(member("team-a"), seconds=30)

    assert trusted(scene) == [SUBJECT, "system:serviceaccount:team-a:default-editor"]


def test_namespace_outside_of_the_pattern(scene: ManagerScenario) -> None:
    """It has the labels and not the name: its binding says so, and nobody there gets the role."""
    begin(scene)
    scene.cache.put_namespace("my-profile", LABELS)
    scene.create(member("my-profile"), seconds=30)

    assert reason(scene, "my-profile") == ("False", "OutsidePattern")
    assert trusted(scene) == [SUBJECT]


def test_role_that_consents_by_name(scene: ManagerScenario) -> None:
    """A tag that lists namespaces cannot name a pattern."""
    scene.has_account(account_body(requireRoleConsent=True))
    scene.aws.tags = {"trustbind.dev/namespaces": "profile-a profile-b"}
    begin(scene)

    assert reason(scene) == ("False", "NoRoleConsent")
    assert trusted(scene) == []


def test_source_role_of_a_chain(scene: ManagerScenario) -> None:
    """Namespaces to come have no grant for the target, so the second binding is refused."""
    scene.has_grants(GRANT, grant_body())
    begin(scene)
    chain = binding_body(
        "chain",
        "team-a",
        created="2026-02-01T00:00:00Z",
        roleArn=str(RoleArn.parse(f"arn:aws:iam::{ROLE.account_id}:role/far")),
        method="AssumeRole",
        source={"roleArn": str(ROLE)},
    )
    scene.cache.put_namespace("team-a", {})
    scene.create(chain, seconds=30)

    body = scene.cluster.get("RoleBinding", "team-a/chain")
    assert body is not None
    (ready,) = (c for c in body["status"]["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "SharedSourceRole"
    assert "by the pattern profile-*" in ready["message"]
    assert trusted(scene) == [SUBJECT]
    assert reason(scene) == ("True", "TrustApplied")


def test_drift_is_repaired(scene: ManagerScenario) -> None:
    """An edited statement is ours by its Sid and provider, and put right."""
    begin(scene)
    statements = scene.aws.roles[ROLE].statements
    edited = [{**s, "Condition": LOOSE} if is_owned(s, ISSUER) else s for s in statements]
    scene.aws.roles[ROLE] = TrustDocument(tuple(edited))
    scene.wait(700)

    assert trusted(scene) == [SUBJECT]


def test_retained_while_trustbind_is_uninstalled(scene: ManagerScenario) -> None:
    """The setting that decides for all bindings leaves the pattern in a statement of its own."""
    scene.cache.leaving = DeletionPolicy.RETAIN
    begin(scene)
    for namespace in ("profile-a", "profile-b"):
        scene.remove("RoleBinding", f"{namespace}/set-profiles", seconds=30)

    (ours,) = (s for s in scene.aws.roles[ROLE].statements if is_owned(s, ISSUER))
    assert ours["Sid"] == retained_sid(ISSUER, KEY)
    assert trusted(scene) == [SUBJECT]


def test_brake(scene: ManagerScenario) -> None:
    """Each namespace counts: many bindings that go at once are held back, and the pattern stands."""
    for number in range(30):
        scene.cache.put_namespace(f"profile-{number:02}", LABELS)
    begin(scene)
    for number in range(30):
        scene.create(member(f"profile-{number:02}"))
    scene.wait(30)
    assert reason(scene, "profile-29") == ("True", "TrustApplied")

    scene.set_grants(seconds=30)
    assert trusted(scene) == [SUBJECT]
    assert reason(scene, "profile-29") == ("False", "RevocationPaused")
