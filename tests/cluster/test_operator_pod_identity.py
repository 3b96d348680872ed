"""Bindings by EKS Pod Identity: associations come, follow their binding, spare everybody else's, and go with it."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from support.agents import WRITES, EksAccount
from support.halves import Operator
from support.processes import eventually
from support.tellings import told
from support.world import FOREIGN, SECONDS, Team, World
from trustbind.api.role_binding import BindingRef
from trustbind.identity.subjects import Issuer
from trustbind.policy.pod_identity import BINDING_TAG, OWNER_TAG, STATEMENT, owner_of, tags_of
from trustbind.policy.source_policy import policy_name

pytestmark = pytest.mark.usefixtures("operator")


def associated(eks: EksAccount, team: Team, **roles: str) -> None:
    """Wait until these service accounts of the team, and no others, are associated with these roles."""
    wanted = {f"{team.namespace}/{name}": role for name, role in roles.items()}
    eventually(lambda: eks.roles() == wanted, f"{wanted} are associated", seconds=SECONDS)


def test_from_binding_to_association_and_back(world: World) -> None:
    """It is made with its tags and told; the object goes after it; nothing is written in a trust policy."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    role = eks.role()
    binding = eks.binding(team, role)
    message = binding.ready()["message"]
    assert message == f"EKS cluster blue in eu-central-1 associates 1 service account of this binding with {role}"
    (made,) = eks.there().values()
    assert (made["namespace"], made["serviceAccount"], made["roleArn"]) == (team.namespace, "reader", role)
    assert made["tags"] == {
        OWNER_TAG: owner_of(Issuer.parse(world.issuer)),
        BINDING_TAG: f"{team.namespace}/app",
    }
    assert binding.get()["metadata"]["finalizers"] == ["trustbind.dev/trust"]

    world.aws.deny(eks.account.id, ["DeletePodIdentityAssociation"])
    binding.delete()
    refused = binding.refused("AccessDenied")["message"]
    assert "its associations could not be deleted, so it is kept" in refused
    assert eks.roles() == {f"{team.namespace}/reader": "app"}
    world.aws.clear_faults()
    binding.gone()
    assert eks.roles() == {}
    assert world.event(binding.manifest, "TrustRevoked")["type"] == "Normal"
    assert eks.account.statements() == [FOREIGN, STATEMENT]


def test_selected_accounts_are_followed(world: World) -> None:
    """Associations come and go with labels and accounts, and the status shows whose they are."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    team.service_account("a", labels={"tier": "batch"})
    team.service_account("b", labels={"tier": "web"})
    binding = eks.binding(team, eks.role(), serviceAccountSelector={"matchLabels": {"tier": "batch"}})
    binding.ready()
    associated(eks, team, a="app")
    team.service_account("b", labels={"tier": "batch"})
    associated(eks, team, a="app", b="app")
    team.service_account("a", labels={"tier": "web"})
    associated(eks, team, b="app")
    subjects = [f"system:serviceaccount:{team.namespace}:b"]
    eventually(lambda: binding.get()["status"]["subjects"] == subjects, "the status shows whom", seconds=SECONDS)
    team.service_account("b", labels={"tier": "web"})
    binding.refused("NoSubjects")
    associated(eks, team)


def test_an_account_passes_from_one_role_to_another(world: World) -> None:
    """Of two bindings the older has it; when it goes, the association is the other's."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    first = eks.binding(team, eks.role("one"), "one")
    first.ready()
    second = eks.binding(team, eks.role("two"), "two", profile="two")
    assert "has service account reader by PodIdentity already" in second.refused("ProfileConflict")["message"]
    associated(eks, team, reader="one")
    first.delete()
    first.gone()
    second.ready()
    associated(eks, team, reader="two")


def test_somebody_elses_association_is_spared(world: World) -> None:
    """With another role it is told and untouched until it is gone; with the same role it is as good as ours."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    theirs = eks.make(team, "reader", eks.role("theirs"), {"owner": "ops"})
    same = eks.make(team, "writer", eks.role())
    binding = eks.binding(team, eks.account.arn("app"), serviceAccountNames=["reader", "writer"])
    told(
        binding, "AssociationTaken", f"with {theirs['roleArn']} already", f"--association-id {theirs['associationId']}"
    )
    assert eks.there() == {f"{team.namespace}/reader": theirs, f"{team.namespace}/writer": same}
    eks.client.delete_pod_identity_association(clusterName=eks.name, associationId=theirs["associationId"])
    assert binding.ready()["message"].endswith(
        "another owner keeps the association of writer, and it names the same role"
    )
    binding.delete()
    binding.gone()
    assert eks.there() == {f"{team.namespace}/writer": same}


def test_role_that_does_not_trust_eks(world: World) -> None:
    """What lacks is told with the statement to add; once it is there, the binding is ready."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    half = {**STATEMENT, "Action": "sts:AssumeRole"}
    binding = eks.binding(team, eks.role("app", FOREIGN, half))
    told(
        binding, "PodIdentityUntrusted", "does not allow sts:TagSession to pods.eks.amazonaws.com", '"sts:TagSession"]}'
    )
    associated(eks, team, reader="app")
    eks.trust("app", FOREIGN, STATEMENT)
    binding.ready()
    closed = eks.binding(team, eks.role("closed", FOREIGN), "closed", serviceAccountNames=["writer"])
    told(closed, "PodIdentityUntrusted", "does not allow sts:AssumeRole")
    narrowed = {**STATEMENT, "Condition": {"StringEquals": {"aws:RequestTag/kubernetes-namespace": team.namespace}}}
    eks.trust("closed", FOREIGN, narrowed)
    closed.ready()
    associated(eks, team, reader="app", writer="closed")


def test_grant_that_is_withdrawn(world: World) -> None:
    """The association goes, and comes again with the grant."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    binding = eks.binding(team, eks.role())
    binding.ready()
    team.grant(eks.account, methods=["WebIdentity"])
    binding.refused("NotGranted")
    associated(eks, team)
    eks.grant(team)
    binding.ready()
    associated(eks, team, reader="app")


def test_retained(world: World) -> None:
    """The association stays without our tags."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    binding = eks.binding(team, eks.role(), deletionPolicy="Retain")
    binding.ready()
    binding.delete()
    binding.gone()
    (left,) = eks.there().values()
    assert (left["roleArn"], left["tags"]) == (eks.account.arn("app"), {})


def test_restart_writes_nothing(world: World, operator: Operator) -> None:
    """Neither in AWS nor in Kubernetes, for what was left in order; reading is fine."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    role = eks.role()
    binding = eks.binding(team, role, serviceAccountNames=["a", "b", "c"])
    binding.ready()
    eks.account.ready()
    before = binding.get()
    operator.stop()
    world.aws.reset_calls()
    since = world.audited()
    operator.start()
    # The resync, which comes whether or not there is something to do.
    eventually(lambda: eks.account.calls("DescribePodIdentityAssociation") >= 3, "it was looked at", seconds=SECONDS)
    assert eks.account.calls(*WRITES, "UpdateAssumeRolePolicy") == 0
    assert binding.get() == before
    written = [
        e["objectRef"]
        for e in world.audit("trustbind-operator", since)
        if e["verb"] in {"patch", "update"} and e["objectRef"].get("resource") == "rolebindings"
    ]
    assert [w for w in written if w["namespace"] == team.namespace] == []


def test_changes_while_the_operator_was_down(world: World, operator: Operator) -> None:
    """Bindings that came, changed and went meanwhile are seen to after the start."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    role = eks.role()
    goes = eks.binding(team, role, "goes", serviceAccountNames=["a"])
    changes = eks.binding(team, role, "changes", serviceAccountNames=["b"])
    goes.ready()
    changes.ready()
    operator.kill()
    goes.delete()
    changes.patch(serviceAccountNames=["c"])
    comes = eks.binding(team, role, "comes", serviceAccountNames=["d"])
    operator.start()
    goes.gone()
    changes.ready()
    comes.ready()
    associated(eks, team, c="app", d="app")


def test_orphans_are_found(world: World, operator: Operator) -> None:
    """What a binding left whose finalizer was removed by force is deleted; another cluster's association stays."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    role = eks.role()
    binding = eks.binding(team, role)
    binding.ready()
    other = tags_of(Issuer.parse("https://oidc.example.com/id/another"), BindingRef(team.namespace, "app"))
    theirs = eks.make(team, "theirs", role, other)
    operator.kill()
    world.merge(binding.manifest, {"metadata": {"finalizers": None}})
    binding.delete()
    binding.gone()
    assert set(eks.roles()) == {f"{team.namespace}/reader", f"{team.namespace}/theirs"}
    world.aws.deny(eks.account.id, ["ListRoles"])  # one search that fails does not keep from the other
    operator.start()
    associated(eks, team, theirs="app")
    assert eks.there() == {f"{team.namespace}/theirs": theirs}


def test_drift_and_observe(world: World) -> None:
    """What somebody deleted is made again; where the account is only watched, it is told instead."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    binding = eks.binding(team, eks.role())
    binding.ready()

    def delete() -> None:
        (made,) = eks.there().values()
        eks.client.delete_pod_identity_association(clusterName=eks.name, associationId=made["associationId"])

    delete()
    associated(eks, team, reader="app")
    eks.account.patch(driftPolicy="Observe")
    delete()
    told(binding, "DriftObserved", f"create the association of {team.namespace}/reader")
    assert eks.roles() == {}
    eks.account.patch(driftPolicy="Repair")
    binding.ready()


@pytest.mark.parametrize(
    ("fault", "reason"), [("deny", "AccessDenied"), ("throttle", "Throttled"), ("unreachable", "AccountUnreachable")]
)
def test_failures_are_told_and_pass(world: World, fault: str, reason: str) -> None:
    """In the condition, until it works."""
    eks, team = EksAccount.of(world), world.team()
    eks.grant(team)
    eks.account.ready()
    role = eks.role()
    if fault == "unreachable":
        world.aws.unreachable(eks.account.id)
    else:
        getattr(world.aws, fault)(eks.account.id, ["ListPodIdentityAssociations"])
    binding = eks.binding(team, role)
    told(binding, reason)
    world.aws.clear_faults()
    binding.ready()


def test_cluster_that_eks_does_not_have(world: World) -> None:
    """The message says which, and where to correct it."""
    eks, team = EksAccount.of(world, exists=False), world.team()
    eks.grant(team)
    binding = eks.binding(team, eks.role())
    told(binding, "EksClusterNotFound", "no EKS cluster blue in eu-central-1", f"AWSAccount {eks.account.name}")
    eks.create()
    binding.ready()


def test_other_accounts_are_left_to_eks(world: World) -> None:
    """Of a role whose AWSAccount names no cluster, only the pods are seen to, and nothing is asked of EKS."""
    account, team = world.account(), world.team()
    team.grant(account, methods=["PodIdentity"])
    binding = team.binding(account.role(), method="PodIdentity")
    assert binding.ready()["message"] == "pods get container credentials; the association with the role is EKS's"
    assert "finalizers" not in binding.get()["metadata"]
    assert account.calls("ListPodIdentityAssociations", *WRITES) == 0


def test_from_binding_to_target_role_and_back(world: World) -> None:
    """Association, trust by its external id, permission; a pod gets the target role; and all is taken back."""
    eks, far, team = EksAccount.of(world), world.account(), world.team()
    team.grant(eks.account, far, methods=["PodIdentity"])
    team.service_account()
    source, target = eks.role("base"), far.role("app")
    binding = eks.binding(team, source, targetRoleArn=target)
    assert binding.ready()["message"] == (
        f"{target} trusts the EKS Pod Identity association of 1 service account of this binding with {source}"
    )
    (made,) = eks.there().values()
    assert (made["roleArn"], made["targetRoleArn"]) == (source, target)
    (statement,) = far.owned()
    assert statement["Principal"] == {"AWS": source}
    assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": [made["externalId"]]}}
    assert binding.get()["status"]["associations"] == [
        {
            "serviceAccount": "reader",
            "id": made["associationId"],
            "externalId": made["externalId"],
            "targetRoleArn": target,
        }
    ]
    token = world.api.token(team.namespace, "reader", "pods.eks.amazonaws.com", 3600)
    got = eks.credentials(token)
    assert got["assumedRoleUser"]["arn"].startswith(f"arn:aws:sts::{far.id}:assumed-role/app/")

    binding.delete()
    binding.gone()
    assert eks.roles() == {}
    assert far.statements() == [FOREIGN]
    name = policy_name(Issuer(world.issuer))
    gone = lambda: name not in eks.account.iam.list_role_policies(RoleName="base")["PolicyNames"]  # noqa: E731 - once
    eventually(gone, "the permission goes", seconds=SECONDS)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        eks.credentials(token)


def test_target_role_changes_and_association_is_made_again(world: World, operator: Operator) -> None:
    """The trust follows the target, and an external id that changed while the operator was down."""
    eks, far, team = EksAccount.of(world), world.account(), world.team()
    team.grant(eks.account, far, methods=["PodIdentity"])
    team.service_account()
    source, one, two = eks.role("base"), far.role("one"), far.role("two")
    binding = eks.binding(team, source, targetRoleArn=one)
    binding.ready()
    (made,) = eks.there().values()
    binding.patch(targetRoleArn=two)
    eventually(lambda: far.owned("one") == [], "the former target trusts nobody", seconds=SECONDS)
    binding.ready()
    (moved,) = eks.there().values()
    assert (moved["associationId"], moved["targetRoleArn"]) == (made["associationId"], two)
    operator.stop()
    eks.client.delete_pod_identity_association(clusterName=eks.name, associationId=moved["associationId"])
    again = eks.client.create_pod_identity_association(
        clusterName=eks.name,
        namespace=team.namespace,
        serviceAccount="reader",
        roleArn=source,
        targetRoleArn=two,
        tags=moved["tags"],
    )["association"]
    assert again["externalId"] != moved["externalId"]
    operator.start()

    def trusted() -> list[str]:
        return [i for s in far.owned("two") for i in s["Condition"]["StringEquals"]["sts:ExternalId"]]

    eventually(lambda: trusted() == [again["externalId"]], "the new external id is trusted", seconds=SECONDS)
    token = world.api.token(team.namespace, "reader", "pods.eks.amazonaws.com", 3600)
    assert ":assumed-role/two/" in eks.credentials(token)["assumedRoleUser"]["arn"]
