"""Whether a trust policy lets EKS Pod Identity in, as far as that can be told; and how associations are marked."""

from __future__ import annotations

from typing import Any, Final

import pytest

from trustbind.api.aws_account import EksCluster
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import owner_prefix
from trustbind.policy.pod_identity import STATEMENT, owner_of, tags_of, untrusted
from trustbind.policy.trust_document import TrustDocument

ROLE: Final = RoleArn.parse("arn:aws:iam::444455556666:role/app")
CLUSTER: Final = EksCluster("blue", "eu-central-1")
CLUSTER_ARN: Final = "arn:aws:eks:eu-central-1:444455556666:cluster/blue"
READER: Final = Subject("team-a", "reader")
OPS: Final = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}


def told(*statements: Any, subjects: tuple[Subject, ...] = (READER,)) -> str:
    """Return what is said about a trust policy of these statements."""
    return untrusted(TrustDocument.parse({"Version": "2012-10-17", "Statement": statements}), ROLE, CLUSTER, subjects)


def when(operator: str, key: str, *values: str) -> dict[str, Any]:
    """Return the statement with a condition."""
    return {**STATEMENT, "Condition": {operator: {key: list(values)}}}


def denying(operator: str, key: str, *values: str) -> dict[str, Any]:
    """Return a Deny with a condition."""
    return {**when(operator, key, *values), "Effect": "Deny", "Sid": "Never"}


@pytest.mark.parametrize(
    "statements",
    [
        [STATEMENT],
        [OPS, STATEMENT],
        [{**STATEMENT, "Action": "sts:AssumeRole"}, {**STATEMENT, "Action": "sts:TagSession"}],
        [{**STATEMENT, "Action": "sts:*"}],
        [when("StringEquals", "aws:RequestTag/kubernetes-namespace", "team-a", "team-b")],
        [when("StringEquals", "aws:RequestTag/kubernetes-service-account", "reader")],
        [when("StringEquals", "aws:RequestTag/eks-cluster-name", "blue")],
        [when("StringLike", "aws:RequestTag/eks-cluster-arn", "arn:aws:eks:*:cluster/blue")],
        [when("ArnEquals", "aws:SourceArn", CLUSTER_ARN)],
        [when("StringEquals", "AWS:sourceaccount", "444455556666")],
        [when("ForAllValues:StringLike", "aws:TagKeys", "eks-*", "kubernetes-*")],
        [STATEMENT, denying("StringNotEquals", "aws:SourceAccount", "444455556666")],
    ],
)
def test_let_in(statements: list[Any]) -> None:
    """With one statement or two, with every condition on what is known of the request."""
    assert told(*statements) == ""


@pytest.mark.parametrize(
    "statements",
    [
        [when("StringLike", "aws:RequestTag/kubernetes-pod-name", "report-*")],
        [when("StringEquals", "aws:SourceOrgID", "o-0123456789")],
        [when("StringEquals", "aws:RequestTag/kubernetes-namespace", "${aws:PrincipalTag/team}")],
        [STATEMENT, denying("StringEquals", "aws:RequestTag/kubernetes-pod-name", "bad")],
        [OPS, {**STATEMENT, "Principal": {"AWS": "*"}}],
        [OPS, {**STATEMENT, "Condition": {"StringWishes": {"aws:SourceAccount": "1"}}}],
        [{**STATEMENT, "Condition": {"StringEquals": "x"}}],
        [STATEMENT, denying("StringWishes", "aws:SourceAccount", "1")],
    ],
)
def test_cannot_be_told(statements: list[Any]) -> None:
    """What depends on the pod, or is not understood, is not told as an error."""
    assert told(*statements) == ""


@pytest.mark.parametrize(
    ("statements", "action", "because"),
    [
        ([], "sts:AssumeRole", ""),
        ([OPS], "sts:AssumeRole", ""),
        ([{**STATEMENT, "Action": "sts:AssumeRole"}], "sts:TagSession", ""),
        ([{**STATEMENT, "Action": "sts:TagSession"}], "sts:AssumeRole", ""),
        ([{**STATEMENT, "Principal": {"Service": "ec2.amazonaws.com"}}], "sts:AssumeRole", ""),
        (
            [when("StringEquals", "aws:RequestTag/kubernetes-namespace", "team-b")],
            "sts:AssumeRole",
            'expects "team-b" but the request has "team-a"',
        ),
        ([when("ArnEquals", "aws:SourceArn", CLUSTER_ARN + "2")], "sts:AssumeRole", "aws:SourceArn"),
        (
            [STATEMENT, denying("StringEquals", "aws:RequestTag/kubernetes-service-account", "reader")],
            "sts:AssumeRole",
            'statement 2 (Sid "Never") denies it',
        ),
    ],
)
def test_not_let_in(statements: list[Any], action: str, because: str) -> None:
    """It says which action is lacking, for whom, what is nearest, and what to add."""
    text = told(*statements)
    assert f"the trust policy of {ROLE} does not allow {action} to pods.eks.amazonaws.com" in text
    assert "for service account team-a/reader" in text
    assert because in text
    assert text.endswith(
        'add this statement: {"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, '
        '"Action": ["sts:AssumeRole", "sts:TagSession"]}'
    )


def test_every_account_is_looked_at_where_it_matters() -> None:
    """A condition on the account is asked for each; the first that is not let in is told."""
    accounts = (READER, Subject("team-a", "writer"))
    by_account = when("StringEquals", "AWS:RequestTag/Kubernetes-Service-Account", "reader")
    assert "for service account team-a/writer" in told(by_account, subjects=accounts)
    assert "for service account team-a/reader" in told(OPS, subjects=accounts)
    assert told(STATEMENT, subjects=accounts) == told(OPS, subjects=()) == ""


def test_marks() -> None:
    """Ownership is the same digest as in Sids, and a long name is cut to what a tag can hold."""
    issuer = Issuer.parse("https://oidc.example.com/id/1")
    assert owner_prefix(issuer) == f"Trustbind{owner_of(issuer)}"
    assert tags_of(issuer, BindingRef("team-a", "b")) == {
        "trustbind.dev/issuer": owner_of(issuer),
        "trustbind.dev/binding": "team-a/b",
    }
    assert len(tags_of(issuer, BindingRef("n" * 63, "b" * 253))["trustbind.dev/binding"]) == 256
