"""What happens while a role is worked on: others write, specs and AWSAccounts change, writes are refused."""

from __future__ import annotations

from typing import Any, Final

import pytest

from support.bodies import ISSUER, OPS, ROLE, account_body, binding_body, grant_body
from support.scenario_manager import ManagerScenario
from support.scenario_role import RoleScenario
from support.scenario_workflow import ENTRY, GITHUB, MAIN, workflow_grant, workflow_scenario
from trustbind.errors import AccessDeniedError, ThrottledError
from trustbind.policy.owned_statement import subjects_of
from trustbind.policy.trust_document import TrustDocument

LATE: Final = {"Sid": "Late", "Effect": "Allow", "Principal": {"AWS": "999922223333"}, "Action": "sts:AssumeRole"}
STALE: Final = {
    "Sid": "Stale",
    "Effect": "Allow",
    "Principal": {"AWS": "AROAABCDEFGHIJKLMNOPQ"},
    "Action": "sts:AssumeRole",
}
DENIED: Final = AccessDeniedError("no", code="AccessDenied", operation="iam:UpdateAssumeRolePolicy")


scene = pytest.fixture(workflow_scenario)


def adds(scene: RoleScenario, statement: dict[str, Any]) -> None:
    """Let somebody else add a statement to the role."""
    document = scene.aws.roles[ROLE]
    scene.aws.roles[ROLE] = document.with_statements([*document.statements, statement])


def test_foreign_write_while_a_provider_is_read(scene: RoleScenario) -> None:
    """Looking takes time, and what was read before it is not what is written upon."""
    scene.settled()
    scene.aws.before["GetOpenIDConnectProvider"] = [lambda: adds(scene, LATE)]
    scene.has_binding(binding_body("c", serviceAccountNames=["other"], federatedSubjects=[ENTRY]))

    scene.run()

    assert scene.sids()[0] == "Ops"
    assert "Late" in scene.sids()
    assert scene.ready("c")[0] == "True"


def test_foreign_write_while_the_own_provider_cannot_be_read(scene: RoleScenario) -> None:
    """A look that fails takes time as well; what goes is taken from what is there then."""
    scene.settled()
    scene.settled(binding_body("goes", serviceAccountNames=["web"]))
    scene.pool.forget(scene.aws_account())  # as is done from time to time
    scene.aws.before["GetOpenIDConnectProvider"] = [lambda: adds(scene, LATE)]
    scene.aws.always["GetOpenIDConnectProvider"] = ThrottledError(
        "Rate exceeded", code="Throttling", operation="iam:GetOpenIDConnectProvider"
    )
    scene.delete("goes")

    scene.run()

    assert "Late" in scene.sids()
    assert scene.trusted() == ["app"]
    assert not scene.exists("goes")


def test_changed_and_deleted_while_writes_are_refused(scene: RoleScenario) -> None:
    """A binding whose old trust stands is kept, whatever its spec says now."""
    scene.settled(binding_body(federatedSubjects=[ENTRY]))
    adds(scene, STALE)
    scene.change(serviceAccountNames=["nobody"], federatedSubjects=[])
    scene.delete()

    scene.run()
    assert scene.exists()
    assert scene.ready()[:2] == ("False", "StalePrincipal")

    scene.aws.roles[ROLE] = scene.aws.roles[ROLE].with_statements(
        s for s in scene.aws.roles[ROLE].statements if s != STALE
    )
    scene.run()
    assert not scene.exists()
    assert scene.aws.roles[ROLE].statements == (OPS,)


def test_narrowed_while_writes_are_refused(scene: RoleScenario) -> None:
    """A binding that asks for less is not Ready while what it asked for before stands; others of the role are."""
    scene.settled(binding_body(federatedSubjects=[ENTRY]))
    scene.has_binding(binding_body("other", serviceAccountNames=["web"]))
    scene.run()
    adds(scene, STALE)
    scene.change(federatedSubjects=[])

    scene.run()

    assert scene.ready("b")[:2] == ("False", "StalePrincipal")
    assert scene.ready("other")[0] == "True"


def test_account_changes_while_a_finalizer_is_put_on(scene: RoleScenario) -> None:
    """What the AWSAccount says when the work begins counts, not what it said before the wait."""
    scene.has_binding()

    def watch_only() -> None:
        scene.has_account(account_body(driftPolicy="Observe"))

    scene.cluster.before_finalizer.append(watch_only)
    scene.run()

    assert scene.sids() == ["Ops"]
    assert scene.ready()[:2] == ("False", "DriftObserved")


def test_account_goes_while_a_finalizer_is_put_on(scene: RoleScenario) -> None:
    """Then nothing is written there any more."""
    scene.has_binding()
    scene.cluster.before_finalizer.append(lambda: scene.cache.drop_aws_account("prod"))

    scene.run()

    assert scene.sids() == ["Ops"]
    assert scene.ready()[:2] == ("False", "AccountUnknown")


def test_one_refusal_to_look_is_not_believed(scene: RoleScenario) -> None:
    """That AWS is busy says nothing about a provider that was in order."""
    scene.settled(binding_body(federatedSubjects=[ENTRY]))
    scene.pool.forget(scene.aws_account())  # as is done from time to time
    busy = ThrottledError("Rate exceeded", code="Throttling", operation="iam:GetOpenIDConnectProvider")
    scene.aws.errors["GetOpenIDConnectProvider"] = [busy]

    scene.run()

    assert scene.ready()[0] == "True"
    assert scene.cluster.events == []


def test_an_absent_provider_is_asked_for_once_a_run(scene: RoleScenario) -> None:
    """However many bindings name its issuer."""
    scene.aws.others.clear()
    for number in range(5):
        scene.has_binding(binding_body(f"n{number}", serviceAccountNames=[f"a{number}"], federatedSubjects=[ENTRY]))
    scene.run()
    scene.aws.forget_calls()

    scene.run()

    assert scene.aws.calls["GetOpenIDConnectProvider"] == 1


def test_partly_fitting(scene: RoleScenario) -> None:
    """Of a new binding of which a part does not fit, nothing is written, and a younger one has the room."""
    probe = RoleScenario()
    probe.has_grants(workflow_grant())
    probe.aws.others = scene.aws.others
    probe.settled(binding_body(federatedSubjects=[ENTRY]))
    scene.aws.limit = probe.aws.roles[ROLE].size - 1
    probe.close()
    scene.has_binding(binding_body(federatedSubjects=[ENTRY]))
    scene.has_binding(binding_body("young", created="2026-02-01T00:00:00Z", serviceAccountNames=["web"]))

    scene.run()

    assert scene.trusted() == ["web"]
    assert scene.ready("b")[:2] == ("False", "TrustPolicyFull")
    assert scene.ready("young")[0] == "True"


# --- Retain ---------------------------------------------------------------------------------------------------------


def test_withdrawn_before_it_is_retained(scene: RoleScenario) -> None:
    """Only what is granted at that moment is retained."""
    scene.settled(binding_body(deletionPolicy="Retain"))
    scene.has_grants()
    scene.delete()

    scene.run()

    assert scene.sids() == ["Ops"]
    assert [t.reason for _, _, t in scene.cluster.events] == ["TrustRevoked"]


def test_partly_granted_when_it_is_retained(scene: RoleScenario) -> None:
    """Account by account, and pattern by pattern."""
    other = {"issuer": GITHUB.url, "subjects": [MAIN, "repo:example-org/infra:*"]}
    scene.settled(binding_body(deletionPolicy="Retain", serviceAccountNames=["a", "b"], federatedSubjects=[other]))
    scene.has_grants(
        grant_body(
            serviceAccountNames=["a"],
            federatedSubjects=[{"issuer": GITHUB.url, "subjects": ["repo:example-org/infra:*"]}],
        )
    )
    scene.delete()

    scene.run()

    left = [s for s in scene.aws.roles[ROLE].statements if s != OPS]
    assert {name for s in left for name in subjects_of(s, ISSUER)} == {"system:serviceaccount:team-a:a"}
    assert {n for s in left for n in subjects_of(s, GITHUB, of_cluster=False)} == {"repo:example-org/infra:*"}


def test_another_bindings_subject_is_not_retained(scene: RoleScenario) -> None:
    """A binding that names what another one was granted, and goes at once, leaves nothing of that."""
    scene.settled(binding_body("x", namespace="team-b", federatedSubjects=[ENTRY]))
    mine = {"issuer": GITHUB.url, "subjects": ["repo:example-org/mine:*"]}
    scene.has_grants(
        grant_body("a", namespaces={"names": ["team-a"]}, federatedSubjects=[mine]),
        grant_body("b", namespaces={"names": ["team-b"]}, federatedSubjects=[ENTRY]),
    )
    scene.has_binding(binding_body("y", serviceAccountNames=["q"], federatedSubjects=[mine]))
    scene.run()
    scene.change("y", federatedSubjects=[ENTRY], deletionPolicy="Retain")
    scene.delete("y")
    scene.run()

    scene.cache.drop_grant("b")
    scene.run()

    assert MAIN not in scene.aws.roles[ROLE].to_json()


def test_nothing_was_there_to_retain(scene: RoleScenario) -> None:
    """Then nobody is told that something was."""
    scene.settled(binding_body(deletionPolicy="Retain"))
    scene.change(audience="other.example.com")
    scene.delete()

    scene.run()

    assert scene.sids() == ["Ops"]
    assert [t.reason for _, _, t in scene.cluster.events] == ["TrustRevoked"]


def test_values_in_another_order(scene: RoleScenario) -> None:
    """Two bindings whose conditions mean the same share a statement."""
    for name, values in (("a", ["vpc-1", "vpc-2"]), ("b", ["vpc-2", "vpc-1"])):
        conditions = [{"operator": "StringEquals", "key": "aws:SourceVpc", "values": values}]
        scene.has_binding(binding_body(name, serviceAccountNames=[name], conditions=conditions))

    scene.run()

    assert [scene.ready(name)[0] for name in ("a", "b")] == ["True", "True"]
    assert len(scene.sids()) == 2


def test_told_while_revoking_fails(scene: RoleScenario) -> None:
    """A withdrawn grant whose trust cannot be revoked is told with both."""
    scene.settled(binding_body(federatedSubjects=[ENTRY]))
    scene.has_grants()
    scene.aws.always["UpdateAssumeRolePolicy"] = DENIED

    scene.run()

    assert scene.ready()[:2] == ("False", "AccessDenied")
    assert "its trust could not be revoked" in scene.ready()[2]
    assert scene.aws.roles[ROLE] != TrustDocument((OPS,))


def test_a_binding_that_comes_while_the_aws_account_gets_its_finalizer() -> None:
    """It gets its own finalizer before its trust is written, else nothing would remove that."""
    scene = ManagerScenario()
    scene.cluster.latency = lambda: 1.0
    scene.has_account()
    scene.has_binding(binding_body("first", metadata={"finalizers": ["trustbind.dev/trust"]}))
    before_the_write: list[list[tuple[str, str]]] = []
    scene.aws.before["UpdateAssumeRolePolicy"] = [lambda: before_the_write.append(list(scene.cluster.writes))]
    scene.start(0.5)
    scene.create(binding_body("second", serviceAccountNames=["second"]), 60.0)
    scene.close()

    assert scene.admitted() == ["app", "second"]
    assert ("add_finalizer", "prod") in before_the_write[0]
    assert ("add_finalizer", "team-a/second") in before_the_write[0]
