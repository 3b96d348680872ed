"""The adapter to EKS: over HTTP against the strict local AWS, in the account's budget."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import boto3
import pytest

from support.target_account import ROLE, TARGET, trust
from trustbind.api.aws_account import EksCluster
from trustbind.errors import AccessDeniedError, AwsError, NotFoundError, ThrottledError, UnreachableError
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.pod_identity_association import Listed
from trustbind_aws.client import AccountAccess, Watch
from trustbind_aws.eks import EksAccess
from trustbind_localaws import LocalAws

BLUE: Final = EksCluster("blue", "eu-central-1")


class Noted:
    """A watch that keeps what it is told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []

    def before(self, operation: str) -> None:
        """Let it be."""

    def after(self, operation: str, code: str) -> None:
        """Note it."""
        self.log.append((operation, code))


@pytest.fixture
def cluster(aws: LocalAws) -> LocalAws:
    """Return a local AWS with the cluster, and a role that trusts it."""
    aws.create_cluster(TARGET, BLUE.region, BLUE.name)
    root: Any = boto3.client("iam", region_name="us-east-1", aws_access_key_id=TARGET, aws_secret_access_key="any")
    root.create_role(RoleName="pods", AssumeRolePolicyDocument=json.dumps(trust(dict(STATEMENT))))
    aws.reset_calls()
    return aws


PODS: Final = f"arn:aws:iam::{TARGET}:role/pods"


def eks(watch: Watch | None = None, cluster: EksCluster = BLUE) -> EksAccess:
    """Return the way to the cluster's associations as the account's root."""
    session = boto3.Session(aws_access_key_id=TARGET, aws_secret_access_key="any")
    return EksAccess(AccountAccess(session, watch), cluster)


@pytest.mark.usefixtures("cluster")
def test_from_creation_to_deletion() -> None:
    """Each call, counted under its own name; what is deleted twice is deleted."""
    noted = Noted()
    store = eks(noted)
    store.create("team-a", "reader", PODS, {"a": "1"})
    (listed,) = store.listed("team-a")
    assert (listed.namespace, listed.service_account) == ("team-a", "reader")
    assert store.listed("team-b") == []
    made = store.described(listed)
    assert made is not None
    assert (made.role, made.tags, made.subject.name) == (PODS, {"a": "1"}, "reader")
    store.tag(made, {"b": "2", "a": "3"})
    store.untag(made, ["b"])
    store.move(made, PODS)
    assert store.described(listed) == replace(made, tags={"a": "3"})
    store.delete(made)
    store.delete(made)
    assert store.described(listed) is None
    assert [operation.removeprefix("eks:") for operation, code in noted.log if not code] == [
        "CreatePodIdentityAssociation",
        "ListPodIdentityAssociations",
        "ListPodIdentityAssociations",
        "DescribePodIdentityAssociation",
        "TagResource",
        "UntagResource",
        "UpdatePodIdentityAssociation",
        "DescribePodIdentityAssociation",
        "DeletePodIdentityAssociation",
    ]


@pytest.mark.usefixtures("cluster")
def test_target_role() -> None:
    """It is seen."""
    root: Any = boto3.client("eks", region_name=BLUE.region, aws_access_key_id=TARGET, aws_secret_access_key="any")
    wanted = {"clusterName": "blue", "namespace": "team-a", "serviceAccount": "reader", "roleArn": PODS}
    far = "arn:aws:iam::777788889999:role/far"
    root.create_pod_identity_association(**wanted, targetRoleArn=far)
    store = eks()
    (listed,) = store.listed()
    made = store.described(listed)
    assert made is not None
    assert (made.role, made.target, made.gives) == (PODS, far, far)
    root.update_pod_identity_association(clusterName="blue", associationId=listed.id, targetRoleArn=far + "2")
    assert (seen := store.described(listed)) is not None
    assert seen.gives == far + "2"


@pytest.mark.usefixtures("cluster")
def test_list_of_many() -> None:
    """Page by page, of one namespace or of all."""
    store = eks()
    for n in range(101):
        store.create("team-a", f"reader-{n}", PODS, {"a": "1"})
    store.create("team-b", "reader", PODS, {"a": "1"})
    assert len(store.listed("team-a")) == 101
    assert len(store.listed()) == 102


def test_refusals(cluster: LocalAws) -> None:
    """Each is of its class, with EKS's code, and says which call on what."""
    store = eks()
    store.create("team-a", "reader", PODS, {"a": "1"})
    with pytest.raises(AwsError, match=r"for team-a/reader in cluster blue \(eu-central-1\)") as caught:
        store.create("team-a", "reader", PODS, {"a": "1"})
    assert caught.value.code == "ResourceInUseException"
    with pytest.raises(AwsError, match="Trust policy of the role provided is invalid") as caught:
        store.create("team-a", "writer", str(ROLE), {"a": "1"})
    assert caught.value.code == "InvalidParameterException"
    with pytest.raises(NotFoundError, match="eks:ListPodIdentityAssociations of cluster green"):
        eks(cluster=EksCluster("green", BLUE.region)).listed()
    with pytest.raises(NotFoundError):
        store.tag(replace_arn(store), {"a": "1"})
    cluster.throttle(TARGET, ["ListPodIdentityAssociations"], count=1)
    with pytest.raises(ThrottledError):
        store.listed()
    cluster.deny(TARGET, ["ListPodIdentityAssociations"])
    with pytest.raises(AccessDeniedError) as denied:
        store.listed()
    assert denied.value.code == "AccessDeniedException"
    cluster.clear_faults()
    cluster.unreachable(TARGET)
    with pytest.raises(UnreachableError):
        store.listed()


def replace_arn(store: EksAccess) -> Any:
    """Return the one association under an ARN that nobody has."""
    (listed,) = store.listed()
    made = store.described(listed)
    assert made is not None
    return replace(made, listed=Listed(listed.id, listed.arn + "x", listed.namespace, listed.service_account))


def test_one_client_for_each_region(cluster: LocalAws) -> None:
    """Clients cost time to make, so they are kept; the region goes into the signature."""
    access = AccountAccess(boto3.Session(aws_access_key_id=TARGET, aws_secret_access_key="any"))
    assert access.client("eks", "eu-central-1") is access.client("eks", "eu-central-1")
    assert access.client("eks", "us-east-1") is not access.client("eks", "eu-central-1")
    cluster.create_cluster(TARGET, "us-east-1", "blue")
    EksAccess(access, BLUE).create("team-a", "reader", PODS, {"a": "1"})
    assert EksAccess(access, EksCluster("blue", "us-east-1")).listed() == []
