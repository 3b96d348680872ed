"""The adapter to EKS: over HTTP against the strict local AWS, in the account's budget."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, TypeVar

import pytest

from support.pipeline_scene import NOT_LEADING, Refusing
from support.target_account import ONE_TRY, ROLE, TARGET, access, as_root, trust
from trustbind.api.aws_account import EksCluster
from trustbind.api.role_binding import BindingRef
from trustbind.backoff import Backoff
from trustbind.errors import AccessDeniedError, AwsError, NotFoundError, ThrottledError, UnreachableError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.pod_identity_association import Association, Listed, Wish
from trustbind_aws.eks import EksAssociations
from trustbind_aws.permits import ALWAYS
from trustbind_localaws import LocalAws

T = TypeVar("T")

BLUE: Final = EksCluster("blue", "eu-central-1")
PODS: Final = f"arn:aws:iam::{TARGET}:role/pods"
A: Final = {"a": "1"}
WISH: Final = Wish(BindingRef("team-a", "b"))


@pytest.fixture
def cluster(aws: LocalAws) -> LocalAws:
    """Return a local AWS with the cluster, and a role that trusts it."""
    aws.create_cluster(TARGET, BLUE.region, BLUE.name)
    as_root().create_role(RoleName="pods", AssumeRolePolicyDocument=json.dumps(trust(dict(STATEMENT))))
    aws.reset_calls()
    return aws


def eks(
    count: Callable[[str, str], None] = lambda _operation, _code: None, cluster: EksCluster = BLUE, tries: int = 1
) -> EksAssociations:
    """Return the cluster's associations as the AWS account's root."""
    settings = replace(ONE_TRY, reads=Backoff(0.0, 0.0, tries=tries))
    return EksAssociations(access(count, settings), cluster)


def play(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine."""
    return asyncio.run(steps)


async def made(store: EksAssociations, name: str = "reader") -> Association:
    """Create an association, and return it."""
    await store.create(Subject("team-a", name), PODS, WISH, A, ALWAYS)
    listed = next(one for one in await store.listed("team-a") if one.service_account == name)
    found = await store.described(listed)
    assert found is not None
    return found


@pytest.mark.usefixtures("cluster")
def test_from_creation_to_deletion() -> None:
    """Each call, counted under its own name; what is deleted twice is deleted."""
    counted: list[tuple[str, str]] = []
    store = eks(lambda *call: counted.append(call))

    async def steps() -> None:
        await store.create(Subject("team-a", "reader"), PODS, WISH, A, ALWAYS)
        (listed,) = await store.listed("team-a")
        assert (listed.namespace, listed.service_account) == ("team-a", "reader")
        assert await store.listed("team-b") == []
        found = await store.described(listed)
        assert found is not None
        assert (found.role, found.tags, found.subject.name) == (PODS, A, "reader")
        await store.tag(found, {"b": "2", "a": "3"}, ALWAYS)
        await store.untag(found, ["b"], ALWAYS)
        await store.change(found, PODS, WISH, ALWAYS)
        assert await store.described(listed) == replace(found, tags={"a": "3"})
        await store.delete(found, ALWAYS)
        await store.delete(found, ALWAYS)
        assert await store.described(listed) is None

    play(steps())

    assert [operation.removeprefix("eks:") for operation, code in counted if not code] == [
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
    """It is read."""
    root = as_root("eks", BLUE.region)
    wanted = {"clusterName": "blue", "namespace": "team-a", "serviceAccount": "reader", "roleArn": PODS}
    far = "arn:aws:iam::777788889999:role/far"
    root.create_pod_identity_association(**wanted, targetRoleArn=far)
    store = eks()
    (listed,) = play(store.listed())
    found = play(store.described(listed))
    assert found is not None
    assert (found.role, found.target, found.gives) == (PODS, far, far)
    root.update_pod_identity_association(clusterName="blue", associationId=listed.id, targetRoleArn=far + "2")
    assert (seen := play(store.described(listed))) is not None
    assert seen.gives == far + "2"


@pytest.mark.usefixtures("cluster")
def test_list_of_many() -> None:
    """Page by page, of one namespace or of all."""
    store = eks()

    async def steps() -> tuple[int, int]:
        for n in range(101):
            await store.create(Subject("team-a", f"reader-{n}"), PODS, WISH, A, ALWAYS)
        await store.create(Subject("team-b", "reader"), PODS, WISH, A, ALWAYS)
        return len(await store.listed("team-a")), len(await store.listed())

    assert play(steps()) == (101, 102)


def test_target_tags_and_session_policy(cluster: LocalAws) -> None:
    """They are set and changed, and EKS's external id is read; what is not wanted is not named."""
    del cluster
    store, near = eks(), f"arn:aws:iam::{TARGET}:role/near"
    policy = '{"Version": "2012-10-17", "Statement": []}'
    wish = replace(WISH, target=near, disable_session_tags=True, policy=policy)
    made = play(store.create(Subject("team-a", "reader"), PODS, wish, A, ALWAYS))
    assert (made.role, made.target, made.disable_session_tags, made.policy) == (PODS, near, True, policy)
    assert made.external_id
    assert play(store.described(made.listed)) == made
    changed = play(store.change(made, PODS, replace(WISH, target=near + "er", disable_session_tags=True), ALWAYS))
    assert changed == replace(made, target=near + "er")
    plain = play(store.create(Subject("team-a", "plain"), PODS, WISH, A, ALWAYS))
    assert (plain.target, plain.external_id, plain.disable_session_tags, plain.policy) == ("", "", False, "")
    tagless = play(store.change(plain, PODS, replace(WISH, disable_session_tags=True), ALWAYS))
    assert tagless == replace(plain, disable_session_tags=True)
    with pytest.raises(AwsError, match="disableSessionTags") as caught:
        play(store.change(changed, PODS, replace(WISH, policy=policy), ALWAYS))
    assert caught.value.code == "InvalidParameterException"


def test_refusals(cluster: LocalAws) -> None:
    """Each is of its class, with EKS's code, and says which call on what."""
    store = eks()
    found = play(made(store))
    with pytest.raises(AwsError, match=r"for team-a/reader in cluster blue \(eu-central-1\)") as caught:
        play(store.create(Subject("team-a", "reader"), PODS, WISH, A, ALWAYS))
    assert caught.value.code == "ResourceInUseException"
    with pytest.raises(AwsError, match="Trust policy of the role provided is invalid") as caught:
        play(store.create(Subject("team-a", "writer"), str(ROLE), WISH, A, ALWAYS))
    assert caught.value.code == "InvalidParameterException"
    with pytest.raises(NotFoundError, match="eks:ListPodIdentityAssociations of cluster green"):
        play(eks(cluster=EksCluster("green", BLUE.region)).listed())
    listed = found.listed
    unknown = Listed(listed.id, listed.arn + "x", listed.namespace, listed.service_account)
    with pytest.raises(NotFoundError):
        play(store.tag(replace(found, listed=unknown), A, ALWAYS))
    cluster.throttle(TARGET, ["ListPodIdentityAssociations"], count=1)
    with pytest.raises(ThrottledError):
        play(store.listed())
    cluster.deny(TARGET, ["ListPodIdentityAssociations"])
    with pytest.raises(AccessDeniedError) as denied:
        play(store.listed())
    assert denied.value.code == "AccessDeniedException"
    cluster.clear_faults()
    cluster.unreachable(TARGET)
    with pytest.raises(UnreachableError):
        play(store.listed())


def test_reads_are_tried_again_and_writes_are_not(cluster: LocalAws) -> None:
    """A write that AWS is too busy for is decided again."""
    store = eks(tries=3)
    cluster.throttle(TARGET, ["ListPodIdentityAssociations"], count=2)
    assert play(store.listed()) == []
    assert len(cluster.calls(TARGET, "ListPodIdentityAssociations")) == 3

    cluster.throttle(TARGET, ["CreatePodIdentityAssociation"])
    with pytest.raises(ThrottledError):
        play(store.create(Subject("team-a", "reader"), PODS, WISH, A, ALWAYS))
    assert len(cluster.calls(TARGET, "CreatePodIdentityAssociation")) == 1


@pytest.mark.parametrize("error", NOT_LEADING, ids=lambda error: type(error).__name__)
def test_nothing_is_sent_without_permission(cluster: LocalAws, error: AwsError) -> None:
    """The guard is asked before each write, and for no read."""
    store = eks()
    found = play(made(store))
    cluster.reset_calls()
    guard = Refusing(error)
    writes: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: store.create(Subject("team-a", "writer"), PODS, WISH, A, guard),
        lambda: store.change(found, PODS, WISH, guard),
        lambda: store.tag(found, A, guard),
        lambda: store.untag(found, ["a"], guard),
        lambda: store.delete(found, guard),
    ]

    for write in writes:
        with pytest.raises(type(error)):
            play(write())

    assert cluster.calls(TARGET) == []
    assert guard.asked == len(writes)


def test_one_client_for_each_region(cluster: LocalAws) -> None:
    """Clients cost time to make, so they are kept; the region goes into the signature."""
    client = access()

    async def steps() -> None:
        assert await client.client("eks", "eu-central-1") is await client.client("eks", "eu-central-1")
        assert await client.client("eks", "us-east-1") is not await client.client("eks", "eu-central-1")
        cluster.create_cluster(TARGET, "us-east-1", "blue")
        await EksAssociations(client, BLUE).create(Subject("team-a", "reader"), PODS, WISH, A, ALWAYS)
        assert await EksAssociations(client, EksCluster("blue", "us-east-1")).listed() == []

    play(steps())
