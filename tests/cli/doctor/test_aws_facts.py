"""Facts of AWS from answers in AWS's own forms, also of services that the local AWS does not have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import msgspec
import pytest

from support.diagnosis import AGENT, CHAIN, HEALTHY, ROLE, SOURCE, Json
from trustbind.diagnosis.facts import Bundle
from trustbind.errors import AccessDeniedError, AwsError, NotFoundError
from trustbind_aws.calls import Call
from trustbind_aws.client import AccountClient
from trustbind_cli.commands.doctor.aws import _Reader
from trustbind_cli.commands.doctor.wanted import wanted_of
from trustbind_webhook.injection.decision import InjectionSettings

ACCOUNT = "111122223333"
STATEMENT = {"Effect": "Deny", "Action": "sts:*"}
Answer = Callable[..., Any]


def denied(**_: Any) -> Any:
    """Answer as AWS does where a right is missing."""
    raise AccessDeniedError("not authorized to perform it", code="AccessDenied", operation="x")


class FakeAws:
    """An AWS account whose answers are given, by ``service.method``; everything else is denied."""

    def __init__(self, **answers: Answer) -> None:
        self._answers = {name.replace("__", "."): answer for name, answer in answers.items()}
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def client(self, service: str, _region: str) -> Any:
        """Return a client each method of which gives the answer."""
        names = (
            *("get_role", "list_role_policies", "list_attached_role_policies", "get_open_id_connect_provider"),
            *("lookup_events", "simulate_principal_policy", "list_policies_for_target", "describe_policy"),
            *("list_parents", "describe_vpc_endpoints"),
            *("list_pod_identity_associations", "describe_pod_identity_association"),
        )
        return SimpleNamespace(**{name: self._answers.get(f"{service}.{name}", denied) for name in names})

    async def read(self, call: Call) -> Any:
        """Make a call; what is absent is None where the caller asked for that."""
        self.asked.append((call.operation, call.arguments))
        try:
            return call.method(**call.arguments)
        except NotFoundError:
            if call.or_none:
                return None
            raise

    async def role_policy(self, _role: object, name: str) -> tuple[str, float]:
        """Return an inline policy as IAM does, URL-encoded."""
        return quote(json.dumps({"Statement": [], "Name": name})), 0.0


def read(bundle: Json, aws: FakeAws, *, action: str = "", accounts: list[Json] | None = None) -> dict[str, Any]:
    """Return the facts that are read for a workload."""
    facts = msgspec.convert(bundle, Bundle)
    reader = _Reader(cast("AccountClient", aws), ACCOUNT, "eu-central-1")
    return asyncio.run(reader.read(facts, wanted_of(facts, InjectionSettings()), accounts or [], action))


def role(arn: str, **more: Any) -> Answer:
    """Return what GetRole answers."""
    return lambda **_: {
        "Role": {"Arn": arn, "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}} | more
    }


def test_nothing_is_allowed() -> None:
    """Every fact says why it is not visible, and none is called absent."""
    found = read(HEALTHY, FakeAws())

    assert found.keys() == {"role", "provider", "change", "organization", "endpoints"}
    assert {fact.seen for fact in found.values()} == {"not visible"}
    assert all("not authorized" in fact.detail for fact in found.values())
    assert found["organization"].why == "AWS answers x with AccessDenied"


def test_what_is_absent() -> None:
    """A role and a provider that AWS does not have."""

    def gone(**_: Any) -> Any:
        raise NotFoundError("there is none", code="NoSuchEntity", operation="x")

    found = read(HEALTHY, FakeAws(iam__get_role=gone, iam__get_open_id_connect_provider=gone))

    assert (found["role"].seen, found["provider"].seen) == ("absent", "absent")


def test_role_and_provider() -> None:
    """With the path that AWS has, and the claims that the identity context reads."""
    context = {"SubjectSourceKey": "/sub", "KeyDefinitionList": [{"SourceKey": "/team", "TargetKey": "team"}]}
    provider = {"ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": ["aa"], "ContextProvider": context}
    aws = FakeAws(
        iam__get_role=role("arn:aws:iam::111122223333:role/checkout", MaxSessionDuration=7200),
        iam__get_open_id_connect_provider=lambda **_: provider,
    )

    found = read(HEALTHY, aws)

    assert (found["role"].value.arn, found["role"].value.max_session_seconds) == (
        "arn:aws:iam::111122223333:role/checkout",
        7200,
    )
    assert (found["provider"].value.audiences, found["provider"].value.context_claims) == (
        ["sts.amazonaws.com"],
        ["/sub", "/team"],
    )
    assert ("iam:GetRole", {"RoleName": "checkout"}) in aws.asked


def test_policies_of_a_source_role() -> None:
    """Inline policies are decoded; of attached ones the names are known. The target role is in another AWS account."""
    aws = FakeAws(
        iam__get_role=role(SOURCE),
        iam__list_role_policies=lambda **_: {"PolicyNames": ["trustbind-1"]},
        iam__list_attached_role_policies=lambda **_: {"AttachedPolicies": [{"PolicyName": "Admin", "PolicyArn": "x"}]},
    )

    found = read(CHAIN, aws)

    assert found["role"].value.inline_policies == [{"Statement": [], "Name": "trustbind-1"}]
    assert found["role"].value.attached_policies == ["Admin"]
    assert found["target_role"].seen == "not visible"
    assert "your credentials are for AWS account 111122223333, not 444455556666" in found["target_role"].why


def paged(name: str, items: list[Any], token: str) -> Answer:
    """Return a list of which each item is a page."""

    def answer(**arguments: Any) -> Any:
        at = int(arguments.get(token, "0"))
        more = {token: str(at + 1)} if at + 1 < len(items) else {}
        return {name: items[at : at + 1]} | more

    return answer


def test_lists_of_several_pages() -> None:
    """What decides may be on the last page of any list."""
    names = [f"p-{number}" for number in range(12)]
    statement = json.dumps({"Statement": [STATEMENT]})
    endpoints = [{"VpcEndpointId": name, "PolicyDocument": statement} for name in names]
    policies = [{"Id": name, "Name": name} for name in names]
    chain = read(
        CHAIN,
        FakeAws(
            iam__get_role=role(SOURCE),
            iam__list_role_policies=paged("PolicyNames", names, "Marker"),
            iam__list_attached_role_policies=paged("AttachedPolicies", [{"PolicyName": n} for n in names], "Marker"),
            organizations__list_policies_for_target=paged("Policies", policies, "NextToken"),
            organizations__describe_policy=lambda **_: {"Policy": {"Content": statement}},
            organizations__list_parents=lambda **_: {"Parents": []},
            ec2__describe_vpc_endpoints=paged("VpcEndpoints", endpoints, "NextToken"),
        ),
    )

    assert [each["Name"] for each in chain["role"].value.inline_policies] == names
    assert chain["role"].value.attached_policies == names
    assert [each.name for each in chain["endpoints"].value] == names
    assert [each.name for each in chain["organization"].value] == [*names, *names]


def test_list_without_an_end() -> None:
    """It is not visible, and the command comes to an end."""
    found = read(HEALTHY, FakeAws(ec2__describe_vpc_endpoints=lambda **_: {"NextToken": "same"}))

    assert found["endpoints"].seen == "not visible"
    assert "the list has more than 200 pages" in found["endpoints"].detail


def test_write_on_a_later_page_of_events() -> None:
    """A page without a write of the trust policy is no answer; ten of them are one."""
    other = {"EventName": "GetRole", "EventTime": datetime(2026, 11, 29, tzinfo=UTC)}
    detail = json.dumps({"userIdentity": {"arn": "arn:who"}})
    write = {"EventName": "UpdateAssumeRolePolicy", "EventTime": other["EventTime"], "CloudTrailEvent": detail}
    late = read(HEALTHY, FakeAws(cloudtrail__lookup_events=paged("Events", [other, other, write], "NextToken")))
    never = read(HEALTHY, FakeAws(cloudtrail__lookup_events=paged("Events", [other] * 20, "NextToken")))

    assert late["change"].value.author == "arn:who"
    assert never["change"].why == "CloudTrail has no write of it among the last 500 events"


def test_last_writer_of_the_trust_policy() -> None:
    """Of all events about the role, the newest write counts."""

    def event(name: str, hour: int, who: str) -> Json:
        at = datetime(2026, 11, 29, hour, tzinfo=UTC)
        detail = json.dumps({"userIdentity": {"arn": who}})
        return {"EventName": name, "EventTime": at, "CloudTrailEvent": detail}

    events = [
        event("UpdateAssumeRolePolicy", 8, "arn:old"),
        event("UpdateAssumeRolePolicy", 9, "arn:new"),
        event("PutRolePolicy", 10, "arn:other"),
    ]

    found = read(HEALTHY, FakeAws(cloudtrail__lookup_events=lambda **_: {"Events": events}))
    none = read(HEALTHY, FakeAws(cloudtrail__lookup_events=lambda **_: {"Events": []}))

    assert (found["change"].value.at, found["change"].value.author) == ("2026-11-29T09:00:00+00:00", "arn:new")
    assert none["change"].why == "CloudTrail has no write of it in the last 90 days"


def test_policies_of_the_organization() -> None:
    """Those of the AWS account, of each unit above it, and of the root."""
    parents = {ACCOUNT: "ou-1", "ou-1": "r-1"}
    aws = FakeAws(
        organizations__list_policies_for_target=lambda TargetId, Filter: {  # noqa: N803 - boto3's names
            "Policies": [{"Id": f"{TargetId}/{Filter}", "Name": f"{TargetId}-{Filter[:1]}"}]
        },
        organizations__describe_policy=lambda PolicyId: {  # noqa: N803 - as above
            "Policy": {"Content": json.dumps({"Statement": [STATEMENT], "Id": PolicyId})}
        },
        organizations__list_parents=lambda ChildId: {"Parents": [{"Id": parents[ChildId], "Type": "x"}]},  # noqa: N803
    )

    found = read(HEALTHY, aws)["organization"].value

    assert [(each.kind, each.name) for each in found] == [
        *(("SCP", f"{ACCOUNT}-S"), ("RCP", f"{ACCOUNT}-R")),
        *(("SCP", "ou-1-S"), ("RCP", "ou-1-R")),
        *(("SCP", "r-1-S"), ("RCP", "r-1-R")),
    ]
    assert found[0].document["Statement"] == [STATEMENT]


def test_policies_of_endpoints() -> None:
    """Of the interface endpoints for STS in the region."""
    endpoints = {
        "VpcEndpoints": [{"VpcEndpointId": "vpce-1", "PolicyDocument": json.dumps({"Statement": [STATEMENT]})}]
    }
    aws = FakeAws(ec2__describe_vpc_endpoints=lambda **_: endpoints)

    (found,) = read(HEALTHY, aws)["endpoints"].value

    assert (found.kind, found.name, found.document) == ("VPC endpoint policy", "vpce-1", {"Statement": [STATEMENT]})
    wanted = [{"Name": "service-name", "Values": ["com.amazonaws.eu-central-1.sts"]}]
    assert ("ec2:DescribeVpcEndpoints", {"Filters": wanted}) in aws.asked


def test_simulated_permission() -> None:
    """Asked only where a call of the workload was denied."""
    result = {"EvaluationResults": [{"EvalActionName": "s3:GetObject", "EvalDecision": "implicitDeny"}]}
    aws = FakeAws(iam__simulate_principal_policy=lambda **_: result)

    found = read(HEALTHY, aws, action="s3:GetObject")

    assert (found["permission"].value.action, found["permission"].value.decision) == ("s3:GetObject", "implicitDeny")
    assert ("iam:SimulatePrincipalPolicy", {"PolicySourceArn": ROLE, "ActionNames": ["s3:GetObject"]}) in aws.asked
    assert "permission" not in read(HEALTHY, FakeAws())


@pytest.mark.parametrize("listed", [[{"associationId": "a-1"}], []])
def test_association(listed: list[Json]) -> None:
    """By the EKS cluster that the AWSAccount of the caller's AWS account names."""
    spec = {"accountId": ACCOUNT, "eks": {"clusterName": "blue", "region": "eu-central-1"}}
    aws = FakeAws(
        eks__list_pod_identity_associations=lambda **_: {"associations": listed},
        eks__describe_pod_identity_association=lambda **_: {"association": {"roleArn": ROLE}},
    )

    found = read(AGENT, aws, accounts=[{"spec": spec}])["association"]
    unnamed = read(AGENT, aws)["association"]

    assert (found.seen, found.value.role if found.value else "") == (("known", ROLE) if listed else ("absent", ""))
    assert unnamed.why == "no AWSAccount says which EKS cluster this is (spec.eks)"


@pytest.mark.parametrize(
    "answer", [{}, {"Role": {}}, {"Role": {"Arn": "x", "AssumeRolePolicyDocument": "%7B"}}, AwsError]
)
def test_answer_that_cannot_be_read(answer: Any) -> None:
    """It is not visible, with the reason, and the rest is read all the same."""

    def get_role(**_: Any) -> Any:
        if answer is AwsError:
            raise AwsError("busy", code="Throttling", operation="iam:GetRole")
        return answer

    found = read(HEALTHY, FakeAws(iam__get_role=get_role, ec2__describe_vpc_endpoints=lambda **_: {}))

    assert found["role"].seen == "not visible"
    assert found["role"].why
    assert found["endpoints"].value == []
