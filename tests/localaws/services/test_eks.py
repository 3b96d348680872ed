"""EKS's associations: one for each account of a cluster, whose role the caller may pass and which trusts EKS."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from botocore.exceptions import ConnectionClosedError

from trustbind_localaws import LocalAws

A, B = "111122223333", "444455556666"
REGION: Final = "eu-central-1"
BLUE: Final = {"clusterName": "blue"}
TRUST: Final = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
}
ASSOCIATIONS: Final = f"arn:aws:eks:{REGION}:{A}:podidentityassociation/blue/*"
CLUSTER: Final = f"arn:aws:eks:{REGION}:{A}:cluster/blue"
Client = Callable[..., Any]


@pytest.fixture(autouse=True)
def cluster(aws: LocalAws) -> None:
    """Have the cluster ``blue``."""
    aws.create_cluster(A, REGION, "blue")


@pytest.fixture
def role(make_role: Any) -> str:
    """Return a role that EKS Pod Identity may have."""
    return str(make_role(A, "app", TRUST, Path="/team-a/"))


@pytest.fixture
def eks(client: Client) -> Any:
    """Return EKS as the account's root."""
    return client("eks", A, region=REGION)


def _create(eks: Any, role: str, account: str = "reader", **more: Any) -> dict[str, Any]:
    wanted = {"namespace": "team-a", "serviceAccount": account, "roleArn": role, **BLUE, **more}
    return dict(eks.create_pod_identity_association(**wanted)["association"])


def test_from_creation_to_deletion(eks: Any, role: str, make_role: Any) -> None:
    """It is listed without role and tags, described with them, changed and deleted."""
    made = _create(eks, role, tags={"owner": "ops"})
    at = {**BLUE, "associationId": made["associationId"]}

    assert made["associationArn"] == ASSOCIATIONS.replace("*", made["associationId"])
    (listed,) = eks.list_pod_identity_associations(**BLUE)["associations"]
    assert listed == {
        k: made[k] for k in ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")
    }
    described = eks.describe_pod_identity_association(**at)["association"]
    assert (described["roleArn"], described["tags"]) == (role, {"owner": "ops"})
    other = make_role(A, "other", TRUST)
    assert eks.update_pod_identity_association(**at, roleArn=other)["association"]["roleArn"] == other
    assert eks.delete_pod_identity_association(**at)["association"]["associationId"] == made["associationId"]
    assert eks.list_pod_identity_associations(**BLUE)["associations"] == []


def test_one_for_each_account(eks: Any, role: str, refused: Any) -> None:
    """A second one is refused, and the same request sent again is not a second one."""
    made = _create(eks, role, clientRequestToken="t")
    assert _create(eks, role, clientRequestToken="t")["associationId"] == made["associationId"]
    with refused("ResourceInUseException", made["associationId"], 409):
        _create(eks, role)
    _create(eks, role, "writer")
    _create(eks, role, namespace="team-b")


def test_list_by_page_and_filter(eks: Any, role: str, refused: Any) -> None:
    """Pages follow each other, and namespace and account narrow the list."""
    for n in range(5):
        _create(eks, role, f"reader-{n}")
    _create(eks, role, namespace="team-b")
    pages = [
        [a["serviceAccount"] for a in page["associations"]]
        for page in eks.get_paginator("list_pod_identity_associations").paginate(
            **BLUE, namespace="team-a", PaginationConfig={"PageSize": 2}
        )
    ]
    assert pages == [["reader-0", "reader-1"], ["reader-2", "reader-3"], ["reader-4"]]
    found = eks.list_pod_identity_associations(**BLUE, serviceAccount="reader")["associations"]
    assert [a["namespace"] for a in found] == ["team-b"]
    with refused("InvalidParameterException", status=400):
        eks.list_pod_identity_associations(**BLUE, maxResults=101)


def test_tags(eks: Any, role: str, refused: Any) -> None:
    """They come, change and go, whatever is in an ARN."""
    arn = _create(eks, role, tags={"a": "1"})["associationArn"]
    eks.tag_resource(resourceArn=arn, tags={"a": "2", "trustbind.dev/issuer": "0a1b2c3d"})
    assert eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "2", "trustbind.dev/issuer": "0a1b2c3d"}
    eks.untag_resource(resourceArn=arn, tagKeys=["trustbind.dev/issuer", "never"])
    assert eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "2"}
    with refused("BadRequestException", status=400):
        eks.tag_resource(resourceArn=arn, tags={})
    with refused("InvalidParameterException", "aws:x", 400):
        eks.tag_resource(resourceArn=arn, tags={"aws:x": "y"})
    with refused("InvalidParameterException", "at most 50", 400):
        eks.tag_resource(resourceArn=arn, tags={f"k{n}": "" for n in range(51)})
    with refused("NotFoundException", status=404):
        eks.tag_resource(resourceArn=arn + "x", tags={"a": "b"})


def test_what_is_not_there(eks: Any, role: str, client: Client, refused: Any) -> None:
    """Clusters are told apart by account and region."""
    nobody = {**BLUE, "associationId": "a-00000000000000000"}
    with refused("ResourceNotFoundException", "No cluster found for name: green.", 404):
        eks.list_pod_identity_associations(clusterName="green")
    with refused("ResourceNotFoundException", "No cluster found", 404):
        eks.describe_pod_identity_association(**nobody | {"clusterName": "green"})
    with refused("ResourceNotFoundException", "No cluster found", 404):
        client("eks", A, region="us-east-1").list_pod_identity_associations(**BLUE)
    with refused("ResourceNotFoundException", "No cluster found", 404):
        client("eks", B, region=REGION).list_pod_identity_associations(**BLUE)
    for act in (eks.describe_pod_identity_association, eks.delete_pod_identity_association):
        with refused("ResourceNotFoundException", "No association found", 404):
            act(**nobody)
    with refused("ResourceNotFoundException", "No association found", 404):
        eks.update_pod_identity_association(**nobody, roleArn=role)


def test_role_of_an_association(eks: Any, role: str, make_role: Any, refused: Any) -> None:
    """It is a role of the same account, it is there, and it trusts EKS Pod Identity."""
    for arn, problem in [
        ("", "roleArn"),
        ("app", "not a valid ARN"),
        (f"arn:aws:iam::{A}:role/app", "does not exist"),
        (make_role(B, "app", TRUST), "Cross-account"),
        (make_role(A, "plain"), "Trust policy of the role provided is invalid"),
        (make_role(A, "ec2", TRUST | {"Principal": {"Service": ["ec2.amazonaws.com"]}}), "Trust policy"),
    ]:
        with refused("InvalidParameterException", problem, 400):
            _create(eks, arn)
    made = _create(eks, role)
    with refused("InvalidParameterException", "At least one", 400):
        eks.update_pod_identity_association(**BLUE, associationId=made["associationId"])
    with refused("InvalidParameterException", "namespace", 400):
        _create(eks, role, namespace="")


def _allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


PASS: Final = {"Condition": {"StringEquals": {"iam:PassedToService": "pods.eks.amazonaws.com"}}}
ENOUGH: Final = {
    "create": _allow(["eks:CreatePodIdentityAssociation", "eks:ListPodIdentityAssociations"], CLUSTER),
    "tag": _allow("eks:TagResource", ASSOCIATIONS),
    "rest": _allow(["eks:*PodIdentityAssociation", "eks:UntagResource"], ASSOCIATIONS),
    "pass": _allow("iam:PassRole", f"arn:aws:iam::{A}:role/team-a/*", **PASS),
    "get": _allow("iam:GetRole", f"arn:aws:iam::{A}:role/team-a/*"),
}


@pytest.fixture
def as_manager(client: Client, make_role: Any, session_of: Any) -> Callable[..., Any]:
    """Return EKS as a session of a role with these identity policies."""

    def give(*statements: dict[str, Any]) -> Any:
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        return client("eks", session_of(make_role(A, "manager", allow=policy)), region=REGION)

    return give


def test_enough(as_manager: Any, role: str) -> None:
    """With these rights a session may do everything."""
    eks = as_manager(*ENOUGH.values())
    made = _create(eks, role, tags={"a": "b"})
    at = {**BLUE, "associationId": made["associationId"]}
    assert eks.list_pod_identity_associations(**BLUE)["associations"]
    eks.update_pod_identity_association(**at, roleArn=role)
    eks.untag_resource(resourceArn=made["associationArn"], tagKeys=["a"])
    eks.delete_pod_identity_association(**at)


@pytest.mark.parametrize(
    ("without", "action"),
    [
        ("create", "eks:CreatePodIdentityAssociation"),
        ("tag", "eks:TagResource"),
        ("pass", "iam:PassRole"),
        ("get", "iam:GetRole"),
    ],
)
def test_not_enough(as_manager: Any, role: str, refused: Any, without: str, action: str) -> None:
    """Whoever lacks one of them creates nothing, and is told which."""
    eks = as_manager(*(statement for name, statement in ENOUGH.items() if name != without))
    with refused("AccessDeniedException", f"is not authorized to perform: {action} on resource: arn:aws:", 403):
        _create(eks, role, tags={"a": "b"})


def test_role_may_be_passed_to_another_service_only(as_manager: Any, role: str, refused: Any) -> None:
    """The condition counts."""
    elsewhere = {"Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}}
    others = (statement for name, statement in ENOUGH.items() if name != "pass")
    eks = as_manager(*others, _allow("iam:PassRole", **elsewhere))
    with refused("AccessDeniedException", "iam:PassRole", 403):
        _create(eks, role)


def test_faults(aws: LocalAws, eks: Any, client: Client, refused: Any) -> None:
    """Throttled, denied and unreachable, in EKS's own words; strangers are not let in at all."""
    aws.throttle(A, ["ListPodIdentityAssociations"], count=1)
    with refused("ThrottlingException", "Rate exceeded", 429):
        eks.list_pod_identity_associations(**BLUE)
    aws.deny(A, ["eks:ListPodIdentityAssociations"])
    with refused("AccessDeniedException", "eks:ListPodIdentityAssociations with an explicit deny", 403):
        eks.list_pod_identity_associations(**BLUE)
    aws.clear_faults()
    aws.unreachable(A)
    with pytest.raises(ConnectionClosedError):
        eks.list_pod_identity_associations(**BLUE)
    aws.clear_faults()
    with refused("UnrecognizedClientException", status=403):
        client("eks", "AKIAUNKNOWN", region=REGION).list_pod_identity_associations(**BLUE)
    assert [(c.service, c.code, c.resource) for c in aws.calls(A, "ListPodIdentityAssociations")] == [
        ("eks", "ThrottlingException", "blue"),
        ("eks", "AccessDeniedException", "blue"),
        ("eks", "Dropped", "blue"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/clusters", ""), ("POST", "/clusters/blue/pod-identity-associations", "["), ("POST", "/tags/x", "[]")],
)
def test_requests_that_are_none(aws: LocalAws, method: str, path: str, body: str) -> None:
    """What is not part of it, and what is no JSON object, is refused as such."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=10)
    signature = f"AWS4-HMAC-SHA256 Credential={A}/20260101/{REGION}/eks/aws4_request, SignedHeaders=host, Signature=0"
    connection.request(method, path, body, {"Authorization": signature})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "InvalidRequestException")
    assert json.loads(answer.read())["message"]
    connection.close()


def test_reset_and_clusters_over_http(aws: LocalAws, eks: Any, refused: Any) -> None:
    """The admin's route makes a cluster, and a reset forgets it."""
    aws.reset()
    with refused("ResourceNotFoundException"):
        eks.list_pod_identity_associations(**BLUE)
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=10)
    connection.request("POST", "/_local/clusters", json.dumps({"account": A, "region": REGION, "name": "blue"}))
    assert connection.getresponse().read() == b"{}"
    connection.close()
    assert eks.list_pod_identity_associations(**BLUE)["associations"] == []
