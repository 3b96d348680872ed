"""Chains (method AssumeRole): the order of steps, what stands where, and failures that name the step."""

from __future__ import annotations

import json

import boto3
import botocore.exceptions
import pytest

from support.halves import Operator
from support.processes import eventually
from support.tellings import told
from support.world import FOREIGN, SECONDS, Account, Binding, Team, World, policy
from trustbind.identity.subjects import Issuer
from trustbind.policy.source_policy import policy_name

pytestmark = pytest.mark.usefixtures("operator")

WRITES = ("UpdateAssumeRolePolicy", "PutRolePolicy", "DeleteRolePolicy")


def chain(team: Team, source: str, target: str, name: str = "app", **spec: object) -> Binding:
    """Bind service account ``reader`` to ``target`` over ``source``; ``over`` says more about the source."""
    more = spec.pop("over", {})
    assert isinstance(more, dict)
    wanted = {"method": "AssumeRole", "source": {"roleArn": source} | more, "externalId": "team/4711"}
    return team.binding(target, name, **(wanted | spec))


def writes(world: World, *accounts: Account) -> list[tuple[str, str]]:
    """Return operation and role of the operator's writes in these accounts, in order."""
    numbers = {account.id for account in accounts}
    return [
        (call.operation, call.resource)
        for call in world.aws.calls()
        if call.account in numbers and call.operation in WRITES and not call.caller.endswith(":root")
    ]


def targets(account: Account, role: str = "base") -> list[str]:
    """Return whom the source role may assume by our policy."""
    name = policy_name(Issuer(account.world.issuer))
    if name not in account.iam.list_role_policies(RoleName=role)["PolicyNames"]:
        return []
    policy = account.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    return list(policy["Statement"][0]["Resource"])


def test_from_the_far_end_and_back_from_the_near_end(world: World) -> None:
    """Target, permission, source; a workload gets the target role; and back in the opposite order."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    team.service_account()
    source, target = near.role("base"), far.role("app")
    binding = chain(team, source, target)
    ready = binding.ready()
    assert ready["message"] == f"{target} trusts {source}, which trusts 1 service account of this binding"
    assert writes(world, near, far) == [
        ("UpdateAssumeRolePolicy", "app"),
        ("PutRolePolicy", "base"),
        ("UpdateAssumeRolePolicy", "base"),
    ]
    assert targets(near) == [target]
    assert near.subjects("base") == [f"{team.namespace}:reader"]

    token = world.api.token(team.namespace, "reader", "sts.amazonaws.com", 3600)
    arn = assumed(world, token, source, target, "team/4711")
    assert arn == f"arn:aws:sts::{far.id}:assumed-role/app/test"
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        assumed(world, token, source, target, "another")

    world.aws.reset_calls()
    binding.delete()
    binding.gone()
    assert writes(world, near, far) == [
        ("UpdateAssumeRolePolicy", "base"),
        ("DeleteRolePolicy", "base"),
        ("UpdateAssumeRolePolicy", "app"),
    ]
    assert near.statements("base") == far.statements("app") == [FOREIGN]
    assert targets(near) == []


def assumed(world: World, token: str, source: str, target: str, external_id: str) -> str:
    """Go the way of a chain with a token; return who one is at its end."""
    anonymous = boto3.client("sts", region_name="us-east-1", endpoint_url=world.aws.url)
    first = anonymous.assume_role_with_web_identity(RoleArn=source, RoleSessionName="test", WebIdentityToken=token)

    def client(credentials: dict[str, str]) -> object:
        return boto3.client(
            "sts",
            region_name="us-east-1",
            endpoint_url=world.aws.url,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )

    second = client(first["Credentials"]).assume_role(  # type: ignore[attr-defined] # boto3 has no types
        RoleArn=target, RoleSessionName="test", ExternalId=external_id
    )
    return str(client(second["Credentials"]).get_caller_identity()["Arn"])  # type: ignore[attr-defined] # the same


def test_two_chains_share_the_source(world: World) -> None:
    """The source role's one policy names all targets; one chain goes and the other stays."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    source = near.role("base")
    one = chain(team, source, far.role("one"), "one")
    two = chain(team, source, far.role("two"), "two", profile="two")
    one.ready()
    two.ready()
    assert targets(near) == [far.arn("one"), far.arn("two")]
    one.delete()
    one.gone()
    eventually(lambda: targets(near) == [far.arn("two")], "the policy names the other alone", seconds=SECONDS)
    two.ready()
    assert near.subjects("base") == [f"{team.namespace}:reader"]


def test_permission_of_somebody_else(world: World) -> None:
    """Without managePermission the source role's policies are left alone."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    source = near.role("base")
    chain(team, source, far.role("app"), over={"managePermission": False}).ready()
    assert targets(near) == []


def test_trust_through_the_account(world: World) -> None:
    """AccountRoot: the target trusts the source's account, with a condition on the role; it outlives the role."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    source = near.role("base")
    binding = chain(team, source, far.role("app"), over={"trustedAs": "AccountRoot"})
    binding.ready()
    (statement,) = far.owned("app")
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{near.id}:root"}
    assert statement["Condition"]["StringEquals"]["aws:PrincipalArn"] == source


def test_both_roles_in_one_account(world: World) -> None:
    """Source and target may be in one account, which one AWSAccount describes."""
    account, team = world.account(), world.team()
    team.grant(account)
    team.service_account()
    source, target = account.role("base"), account.role("app")
    chain(team, source, target).ready()
    token = world.api.token(team.namespace, "reader", "sts.amazonaws.com", 3600)
    assert assumed(world, token, source, target, "team/4711").endswith(":assumed-role/app/test")


def test_failure_names_the_step(world: World) -> None:
    """A source role that is not there is told as such, and the chain is finished once it is; likewise the target."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    binding = chain(team, near.arn("base"), far.arn("app"))
    told = binding.refused("RoleNotFound")["message"]
    assert f"target role {far.arn('app')}" in told or f"source role {near.arn('base')}" in told
    near.role("base")
    far.role("app")
    binding.ready()
    other = chain(team, near.role("second"), far.arn("missing"), "other", profile="other")
    assert "target role" in other.refused("RoleNotFound")["message"]
    assert near.owned("second") == []


def test_both_roles_need_the_grant(world: World) -> None:
    """A grant for the target alone is not enough; taking back the source's grant closes both ends."""
    near, far, team = world.account(), world.account(), world.team()
    source, target = near.role("base"), far.role("app")
    team.grant(far)
    binding = chain(team, source, target)
    assert f"the source role {source}" in binding.refused("NotGranted")["message"]
    team.grant(near, far)
    binding.ready()
    team.grant(far)
    binding.refused("NotGranted")
    eventually(
        lambda: near.owned("base") == [] and far.owned("app") == [] and targets(near) == [],
        "both ends are closed",
        seconds=SECONDS,
    )


def test_restart_in_the_middle(world: World, operator: Operator) -> None:
    """Killed while chains come and go, the operator finishes them after its restart."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    sources = [near.role(f"base-{n}") for n in range(4)]
    kept = [chain(team, sources[n], far.role(f"app-{n}"), f"app-{n}", profile=f"p{n}") for n in range(4)]
    operator.kill()
    operator.start()
    for binding in kept:
        binding.ready()
    for binding in kept[:2]:
        binding.delete()
    operator.kill()
    operator.start()
    for binding in kept[:2]:
        binding.gone()
    for number, binding in enumerate(kept[2:], start=2):
        binding.ready()
        assert targets(near, f"base-{number}") == [far.arn(f"app-{number}")]
    for number in range(2):
        assert near.owned(f"base-{number}") == far.owned(f"app-{number}") == []
        assert targets(near, f"base-{number}") == []


def test_a_source_role_without_room(world: World) -> None:
    """Of more chains than the source role's policies have room for, the newest is told; the others go on."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    source, path = near.role("base"), f"/{'long' * 20}/"
    theirs = policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{'x' * 9950}"})
    near.iam.put_role_policy(RoleName="base", PolicyName="theirs", PolicyDocument=json.dumps(theirs))
    older = chain(team, source, far.role("one"), "one")
    older.ready()
    newer = chain(team, source, far.role("two", path=path), "two", profile="two")

    message = told(
        newer, "SourcePolicyFull", f"the inline policies of {source} have no room for {far.arn('two', path)}"
    )

    assert message.startswith(f"source role {source}: ")
    assert targets(near) == [far.arn("one")]
    assert near.subjects("base") == [f"{team.namespace}:reader"]
    older.ready()
    near.iam.delete_role_policy(RoleName="base", PolicyName="theirs")
    newer.ready()
    assert len(targets(near)) == 2

    for binding in (older, newer):
        binding.delete()
    for binding in (older, newer):
        binding.gone()
    assert targets(near) == []
    assert far.statements("one") == far.statements("two") == [FOREIGN]


def test_a_chain_without_room_can_be_deleted(world: World) -> None:
    """What was never allowed goes as everything else, and takes nothing with it."""
    near, far, team = world.account(), world.account(), world.team()
    team.grant(near, far)
    source = near.role("base")
    theirs = policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{'x' * 10100}"})
    near.iam.put_role_policy(RoleName="base", PolicyName="theirs", PolicyDocument=json.dumps(theirs))
    binding = chain(team, source, far.role("one"))
    told(binding, "SourcePolicyFull")
    assert near.statements("base") == [FOREIGN]

    binding.delete()
    binding.gone()

    assert far.statements("one") == [FOREIGN]
    assert near.iam.list_role_policies(RoleName="base")["PolicyNames"] == ["theirs"]
