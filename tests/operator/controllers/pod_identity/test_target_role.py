"""Bindings by EKS Pod Identity with a target role: association, trust by its external id, and all back again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from support.bodies import ACCOUNT, ISSUER, OPS, OTHER_ROLE, ROLE, account_body, binding_body, grant_body
from support.scenario_pod_identity import APP, EKS, PodIdentityScenario, pod_identity_body
from trustbind.errors import AccessDeniedError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import external_ids_of, is_retained
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument

TARGET: Final = OTHER_ROLE
NEXT: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/next")
DENIED = AccessDeniedError("no", code="AccessDenied", operation="iam:UpdateAssumeRolePolicy")


def chain(name: str = "b", namespace: str = "team-a", target: RoleArn = TARGET, **more: Any) -> dict[str, Any]:
    """Return a RoleBinding whose associations go on to a target role."""
    return pod_identity_body(name, namespace, targetRoleArn=str(target), **more)


class TargetScenario(PodIdentityScenario):
    """The role of associations, and two targets."""

    def __init__(self) -> None:
        super().__init__()
        self.aws.roles[TARGET] = TrustDocument((OPS,))
        self.aws.roles[NEXT] = TrustDocument((OPS,))

    def settle(self, *roles: RoleArn) -> None:
        """Run roles, and those that these enqueue, until none is due."""
        self.neighbours.enqueued[:] = roles or (ROLE, TARGET)
        for _ in range(30):
            if not self.neighbours.enqueued:
                return
            self.run(self.neighbours.enqueued.pop(0))
        raise AssertionError("the roles enqueue each other for ever")

    def external_ids(self, role: RoleArn = TARGET) -> set[str]:
        """Return the external ids that a role trusts."""
        return {i for statement in self.aws.roles[role].statements for i in external_ids_of(statement)}

    def lists(self, **association: str) -> None:
        """Let a user write an association into the binding's status."""
        body = self._body("b", "team-a")
        body["status"]["associations"] = [*body["status"]["associations"], association]
        self._seen(body)

    def made(self, subject: Subject = APP) -> tuple[str, str, str]:
        """Return role, target and external id of an association."""
        association = self.eks.there[subject]
        return association.role, association.target, association.external_id


@pytest.fixture
def scene() -> Iterator[TargetScenario]:
    """Return a scene."""
    made = TargetScenario()
    yield made
    made.close()


def test_from_binding_to_target_and_back(scene: TargetScenario) -> None:
    """Permission, association, trust; the status shows what EKS made; nothing is left after the binding."""
    scene.has_binding(chain())
    scene.settle()
    role, target, external_id = scene.made()
    assert (role, target) == (str(ROLE), str(TARGET))
    (_, statement) = scene.aws.roles[TARGET].statements
    assert statement["Principal"] == {"AWS": str(ROLE)}
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": [external_id]}}
    assert set(scene.aws.targets(ROLE) or ()) == {f"sts:TagSession {TARGET}"}
    assert scene.ready() == (
        "True",
        "TrustApplied",
        f"{TARGET} trusts the EKS Pod Identity association of 1 service account of this binding with {ROLE}",
    )
    status = scene.stored()
    assert status["statementId"] == statement["Sid"]
    assert status["associations"] == [
        {
            "serviceAccount": "app",
            "id": scene.eks.there[APP].listed.id,
            "externalId": external_id,
            "targetRoleArn": str(TARGET),
        }
    ]
    scene.forget_calls()
    scene.settle(ROLE, TARGET)
    assert (scene.eks.written, scene.cluster.writes) == (0, [])
    scene.delete()
    scene.settle()
    assert not scene.exists()
    assert scene.external_ids() == set()
    assert scene.eks.there == {}
    assert not scene.aws.targets(ROLE)


def test_nothing_is_trusted_before_the_association(scene: TargetScenario) -> None:
    """The external id is not known before; the binding says what comes next."""
    scene.has_binding(chain())
    scene.run(TARGET)
    assert scene.external_ids() == set()
    assert scene.ready()[:2] == ("False", "Pending")
    assert "the associations" in scene.ready()[2]
    scene.run(ROLE)
    assert scene.ready()[:2] == ("False", "Pending")
    assert f"the trust policy of the target role {TARGET} is next" in scene.ready()[2]


def test_trust_goes_before_the_association(scene: TargetScenario) -> None:
    """A revoked binding keeps its association until the target role trusts it no more."""
    scene.has_binding(chain())
    scene.settle()
    scene.has_grants()
    scene.run(ROLE)
    assert set(scene.eks.there) == {APP}
    assert scene.external_ids() != set()
    scene.run(TARGET)
    assert scene.external_ids() == set()
    assert set(scene.eks.there) == {APP}
    scene.settle(ROLE)
    assert scene.eks.there == {}
    assert not scene.aws.targets(ROLE)
    assert scene.ready()[:2] == ("False", "NotGranted")
    assert "associations" not in scene.stored()


def test_failure_at_one_end_does_not_keep_the_other_open(scene: TargetScenario) -> None:
    """The target role cannot be written, so the association goes; the binding is kept and says why."""
    scene.has_binding(chain())
    scene.settle()
    scene.aws.always["UpdateAssumeRolePolicy"] = DENIED
    scene.delete()
    scene.settle(TARGET, ROLE)
    assert scene.eks.there == {}
    assert scene.exists()
    assert scene.ready()[:2] == ("False", "AccessDenied")
    scene.aws.always.clear()
    scene.settle(TARGET)
    assert not scene.exists()
    assert scene.external_ids() == set()


def test_target_changes_without_a_gap(scene: TargetScenario) -> None:
    """The new target trusts the association before it names it, and the old one until then."""
    scene.has_binding(chain())
    scene.settle()
    external_id = scene.made()[2]
    scene.change(targetRoleArn=str(NEXT))
    for role in (ROLE, TARGET):
        scene.run(role)
        assert scene.made()[1] == str(TARGET)
        assert scene.external_ids(TARGET) == {external_id}
    assert set(scene.aws.targets(ROLE) or ()) == {f"sts:TagSession {TARGET}", f"sts:TagSession {NEXT}"}
    scene.run(NEXT)
    assert scene.external_ids(NEXT) == scene.external_ids(TARGET) == {external_id}
    scene.run(ROLE)
    assert scene.made() == (str(ROLE), str(NEXT), external_id)
    assert scene.external_ids(TARGET) == {external_id}
    scene.settle(*scene.neighbours.enqueued)
    assert scene.external_ids(TARGET) == set()
    assert scene.external_ids(NEXT) == {external_id}
    assert set(scene.aws.targets(ROLE) or ()) == {f"sts:TagSession {NEXT}"}
    assert scene.ready()[0] == "True"


def test_restart_while_the_target_changes(scene: TargetScenario) -> None:
    """The status says which target an association named, so that its trust is not taken too early."""
    scene.has_binding(chain())
    scene.settle()
    external_id = scene.made()[2]
    scene.change(targetRoleArn=str(NEXT))
    scene.restart()
    scene.controller.progress.begin(scene.cache.bindings.values())
    scene.controller.progress.found_statements(TARGET)  # as a survey does
    scene.run(TARGET)
    assert scene.external_ids(TARGET) == {external_id}
    scene.settle(NEXT, ROLE)
    assert scene.made()[1] == str(NEXT)
    assert (scene.external_ids(TARGET), scene.external_ids(NEXT)) == (set(), {external_id})


def test_restart_keeps_what_stands(scene: TargetScenario) -> None:
    """The target's run comes before the external ids are known: the trust stays, and nothing is written."""
    scene.has_binding(chain())
    scene.settle()
    scene.restart()
    assert not scene.controller.is_in_step(ROLE)
    scene.forget_calls()
    scene.run(TARGET)
    assert scene.external_ids() == {scene.made()[2]}
    assert scene.ready()[0] == "True"
    scene.settle(ROLE)
    assert (scene.eks.written, scene.cluster.writes) == (0, [])


def test_a_status_grants_no_external_id(scene: TargetScenario) -> None:
    """Who writes into a status what EKS did not say gets nothing by it, whatever a restart believes."""
    scene.has_binding(chain())
    scene.settle()
    scene.lists(serviceAccount="app", id="a-1", externalId="forged", targetRoleArn=str(NEXT))
    scene.restart()
    scene.controller.progress.begin(scene.cache.bindings.values())
    scene.settle(NEXT, TARGET, ROLE)
    assert scene.external_ids() == {scene.made()[2]}
    assert scene.external_ids(NEXT) == set()


def test_external_id_that_changes(scene: TargetScenario) -> None:
    """Another writer made the association anew: the target trusts the new external id alone."""
    scene.has_binding(chain())
    scene.settle()
    before = scene.eks.there.pop(APP)
    made = scene.eks.has(APP, ROLE, before.tags)
    scene.eks.there[APP] = replace(made, target=str(TARGET), external_id="another")
    scene.settle()
    assert scene.external_ids() == {"another"}
    assert scene.stored()["associations"][0]["externalId"] == "another"
    assert scene.ready()[0] == "True"


def test_service_account_that_leaves(scene: TargetScenario) -> None:
    """Its association and its external id go; the other's stay."""
    scene.has_binding(chain(serviceAccountNames=["app", "more"]))
    scene.settle()
    assert len(scene.external_ids()) == 2
    scene.change(serviceAccountNames=["app"])
    scene.settle()
    assert set(scene.eks.there) == {APP}
    assert scene.external_ids() == {scene.made()[2]}


def test_tags_and_session_policy_are_kept(scene: TargetScenario) -> None:
    """Set when it is made, repaired when it differs, taken back when they are not wanted any more."""
    policy = '{"Version": "2012-10-17", "Statement": []}'
    scene.has_binding(chain(disableSessionTags=True, sessionPolicy=policy))
    scene.settle()
    made = scene.eks.there[APP]
    assert (made.disable_session_tags, made.policy) == (True, policy)
    scene.eks.there[APP] = replace(made, disable_session_tags=False, policy="")
    scene.settle()
    assert (scene.eks.there[APP].disable_session_tags, scene.eks.there[APP].policy) == (True, policy)
    assert scene.eks.there[APP].listed.id == made.listed.id
    scene.change(sessionPolicy=None)
    scene.settle()
    assert scene.eks.there[APP].policy == ""
    assert scene.external_ids() == {scene.made()[2]}


def test_both_roles_are_granted(scene: TargetScenario) -> None:
    """A grant of one of them is not enough."""
    for granted, missing in ((ROLE, TARGET), (TARGET, ROLE)):
        scene.has_grants(grant_body(roleArns=[str(granted)], methods=["PodIdentity"]))
        scene.has_binding(chain())
        scene.settle()
        assert scene.ready()[:2] == ("False", "NotGranted")
        assert str(missing) in scene.ready()[2]
    assert (scene.eks.there, scene.external_ids()) == ({}, set())


@pytest.mark.parametrize("protected", [ROLE, TARGET])
def test_protected_role(scene: TargetScenario, protected: RoleArn) -> None:
    """Neither may be a manager role."""
    scene.has_account(account_body(eks=EKS, managerRoleArn=str(protected)))
    scene.has_binding(chain())
    scene.settle()
    assert scene.ready()[:2] == ("False", "ProtectedRole")
    assert (scene.eks.there, scene.external_ids()) == ({}, set())


def test_target_role_that_refuses(scene: TargetScenario) -> None:
    """The role's own tag takes trust and association."""
    scene.has_binding(chain())
    scene.settle()
    scene.aws.tags["trustbind.dev/protected"] = "yes"
    scene.settle(TARGET)
    assert (scene.eks.there, scene.external_ids()) == ({}, set())
    assert scene.ready()[:2] == ("False", "ProtectedRole")


def test_cluster_is_needed(scene: TargetScenario) -> None:
    """Without spec.eks nobody makes the association whose external id is needed."""
    scene.has_account(account_body())
    scene.has_binding(chain())
    scene.settle()
    assert scene.ready()[:2] == ("False", "EksClusterNotFound")
    assert "set spec.eks of AWSAccount prod" in scene.ready()[2]


def test_paused_revocation(scene: TargetScenario) -> None:
    """Neither the trust nor the association goes until the pause ends."""
    scene.has_binding(chain())
    scene.settle()
    scene.neighbours.paused = "revocation is paused"
    scene.has_grants()
    scene.settle(TARGET, ROLE)
    assert set(scene.eks.there) == {APP}
    assert scene.external_ids() == {scene.made()[2]}
    assert set(scene.aws.targets(ROLE) or ()) == {f"sts:TagSession {TARGET}"}
    scene.neighbours.paused = ""
    scene.settle(TARGET, ROLE)
    assert (scene.eks.there, scene.external_ids()) == ({}, set())


def test_retained(scene: TargetScenario) -> None:
    """The association loses our tags, and the target role goes on to trust it in a statement that nobody owns."""
    scene.has_binding(chain(deletionPolicy="Retain"))
    scene.settle()
    external_id = scene.made()[2]
    scene.delete()
    scene.settle()
    assert not scene.exists()
    assert scene.eks.there[APP].tags == {}
    assert scene.external_ids() == {external_id}
    (_, left) = scene.aws.roles[TARGET].statements
    assert is_retained(left, ISSUER)


def test_shared_source_role(scene: TargetScenario) -> None:
    """A second namespace gets the associations' role only with a grant of the first one's target."""
    scene.has_grants(
        grant_body("a", namespaces={"names": ["team-a"]}, methods=["PodIdentity"]),
        grant_body(
            "b",
            namespaces={"names": ["team-b"]},
            roleArns=[str(ROLE), str(NEXT)],
            methods=["PodIdentity", "AssumeRole"],
        ),
    )
    scene.has_binding(chain())
    scene.settle()
    scene.has_binding(chain("c", "team-b", NEXT))
    scene.settle()
    assert scene.ready("c", "team-b")[:2] == ("False", "SharedSourceRole")
    assert "with method PodIdentity" in scene.ready("c", "team-b")[2]
    assert scene.external_ids(NEXT) == set()
    assert set(scene.eks.there) == {APP}


def test_no_room_for_the_permission(scene: TargetScenario) -> None:
    """No association is made, and the binding says what to do."""
    scene.aws.inline_limit = 10
    scene.has_binding(chain())
    scene.settle()
    assert scene.ready()[:2] == ("False", "SourcePolicyFull")
    assert scene.eks.there == {}


def test_change_of_method(scene: TargetScenario) -> None:
    """From EKS Pod Identity with a target role to a plain one, and to web identity."""
    scene.has_binding(chain())
    scene.settle()
    scene.change(targetRoleArn=None)
    scene.controller.progress.left(TARGET)  # as the manager notes where a binding names a role no more
    scene.settle(ROLE, TARGET)
    assert scene.made()[:2] == (str(ROLE), "")
    assert scene.external_ids() == set()
    assert not scene.aws.targets(ROLE)
    assert scene.ready()[0] == "True"
    scene.has_binding(binding_body())
    scene.settle(ROLE, TARGET)
    assert scene.eks.there == {}
    assert scene.trusted() == ["app"]


def test_the_role_still_has_to_trust_eks(scene: TargetScenario) -> None:
    """What the associations' role lacks is said as without a target."""
    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.has_binding(chain())
    scene.settle()
    assert scene.ready()[:2] == ("False", "PodIdentityUntrusted")
    scene.aws.roles[ROLE] = TrustDocument((OPS, STATEMENT))
    scene.settle()
    assert scene.ready()[0] == "True"


def test_two_bindings_share_both_roles(scene: TargetScenario) -> None:
    """Their external ids are in one statement; one binding goes and the other's stays."""
    scene.has_binding(chain())
    scene.has_binding(chain("c", serviceAccountNames=["more"]))
    scene.settle()
    more = Subject("team-a", "more")
    assert scene.external_ids() == {scene.made()[2], scene.made(more)[2]}
    assert len(scene.aws.roles[TARGET].statements) == 2
    scene.delete("c")
    scene.settle()
    assert not scene.exists("c")
    assert scene.external_ids() == {scene.made()[2]}
    assert set(scene.eks.there) == {APP}
    assert set(scene.aws.targets(ROLE) or ()) == {f"sts:TagSession {TARGET}"}
    assert scene.ready()[0] == "True"


def test_no_room_in_the_target(scene: TargetScenario) -> None:
    """The binding says which associations are left out; the ones that are trusted stay."""
    scene.has_binding(chain())
    scene.settle()
    scene.has_account(account_body(eks=EKS, trustPolicyLimit=scene.aws.roles[TARGET].size + 10))
    scene.change(serviceAccountNames=["app", "more"])
    scene.settle()
    assert scene.ready()[:2] == ("False", "TrustPolicyFull")
    assert f"1 of its 2 associations with {ROLE} is left out" in scene.ready()[2]
    assert scene.external_ids() == {scene.made()[2]}


def test_target_role_that_another_writer_changed(scene: TargetScenario) -> None:
    """What is lost is written again; what was added to our statement goes."""
    scene.has_binding(chain())
    scene.settle()
    ours = scene.aws.roles[TARGET].statements[1]
    for edited in ((OPS,), (OPS, {**ours, "Condition": {"StringEquals": {"sts:ExternalId": ["other"]}}})):
        scene.aws.roles[TARGET] = TrustDocument(edited)
        scene.settle(TARGET)
        assert scene.external_ids() == {scene.made()[2]}


def test_targets_account_is_not_described(scene: TargetScenario) -> None:
    """Nothing is made until an AWSAccount describes it."""
    scene.has_binding(chain(target=RoleArn.parse("arn:aws:iam::999988887777:role/far")))
    scene.settle()
    assert scene.ready()[:2] == ("False", "AccountUnknown")
    assert scene.eks.there == {}


def test_target_role_that_does_not_exist(scene: TargetScenario) -> None:
    """The association is made, and the binding says what is missing; then it is whole."""
    del scene.aws.roles[TARGET]
    scene.has_binding(chain())
    scene.settle()
    assert scene.ready()[:2] == ("False", "RoleNotFound")
    assert f"there is no role {TARGET}" in scene.ready()[2]
    scene.aws.roles[TARGET] = TrustDocument((OPS,))
    scene.settle(TARGET)
    assert scene.ready()[0] == "True"


def test_associations_role_that_does_not_exist(scene: TargetScenario) -> None:
    """Nothing is trusted, since IAM takes no principal that does not exist."""
    scene.has_binding(chain())
    scene.settle()
    del scene.aws.roles[ROLE]
    scene.settle(ROLE)
    assert scene.ready()[:2] == ("False", "RoleNotFound")
    assert scene.external_ids() == set()


@pytest.mark.parametrize("operation", ["PutRolePolicy", "GetRolePolicy"])
def test_permission_that_may_not_be_written(scene: TargetScenario, operation: str) -> None:
    """No association is made before the role may go on from there."""
    scene.aws.always[operation] = AccessDeniedError("no", code="AccessDenied", operation=f"iam:{operation} on {ROLE}")
    scene.has_binding(chain())
    scene.settle()
    assert scene.ready()[:2] == ("False", "AccessDenied")
    assert "iam:PutRolePolicy" in scene.ready()[2]
    assert (scene.eks.there, scene.external_ids()) == ({}, set())


def test_association_that_another_owner_has(scene: TargetScenario) -> None:
    """With the same roles its external id is trusted; with others the binding says whose it is."""
    theirs = scene.eks.has(APP, ROLE, {"owner": "ops"})
    scene.eks.there[APP] = replace(theirs, target=str(TARGET), external_id="theirs")
    scene.has_binding(chain())
    scene.settle()
    assert scene.external_ids() == {"theirs"}
    assert scene.ready()[0] == "True"
    scene.eks.there[APP] = replace(theirs, target=str(NEXT), external_id="theirs")
    scene.settle()
    assert scene.ready()[:2] == ("False", "AssociationTaken")
    assert scene.external_ids() == set()
    assert scene.eks.there[APP].tags == {"owner": "ops"}


def test_subjects_that_were_written_by_hand_into_the_associations_role(scene: TargetScenario) -> None:
    """They have the targets of all associations over it, so the binding says whom."""
    scene.has_binding(chain())
    scene.settle()
    by_hand = {
        "Effect": "Allow",
        "Principal": {"Federated": str(ISSUER.provider_for(ROLE))},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {ISSUER.subject_key: "system:serviceaccount:team-b:app"}},
    }
    scene.aws.roles[ROLE] = TrustDocument((OPS, STATEMENT, by_hand))
    scene.settle()
    told = next(c for c in scene.stored()["conditions"] if c["type"] == "HandWrittenSubjects")
    assert "system:serviceaccount:team-b:app" in told["message"]
    assert scene.ready()[0] == "True"
