"""EKS Auth: the credentials that EKS's agent on a node gets for a pod."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from trustbind_localaws import LocalAws, TokenIssuer

A, B = "111122223333", "444455556666"
REGION: Final = "eu-central-1"
PODS: Final = "pods.eks.amazonaws.com"
READER: Final = "system:serviceaccount:team-a:reader"
TRUST: Final = {"Effect": "Allow", "Principal": {"Service": PODS}, "Action": ["sts:AssumeRole", "sts:TagSession"]}


@pytest.fixture(autouse=True)
def cluster(aws: LocalAws, issuer: TokenIssuer) -> None:
    """Have the cluster ``blue``, and know who signs its tokens."""
    aws.create_cluster(A, REGION, "blue")
    aws.register_issuer(issuer.issuer_url, issuer.jwks())


@pytest.fixture
def agent(client: Any) -> Any:
    """Return EKS Auth as the account's root."""
    return client("eks-auth", A, region=REGION)


def associated(client: Any, role: str, **more: Any) -> dict[str, Any]:
    """Associate the reader with a role."""
    eks = client("eks", A, region=REGION)
    made = eks.create_pod_identity_association(
        clusterName="blue", namespace="team-a", serviceAccount="reader", roleArn=role, **more
    )
    return dict(made["association"])


def asked(agent: Any, token: str) -> dict[str, Any]:
    """Return what the agent gets for a token."""
    return dict(agent.assume_role_for_pod_identity(clusterName="blue", token=token))


def whoami(client: Any, got: dict[str, Any]) -> str:
    """Return whose the credentials are."""
    names = {"AccessKeyId": "accessKeyId", "SecretAccessKey": "secretAccessKey", "SessionToken": "sessionToken"}
    credentials = {name: got["credentials"][key] for name, key in names.items()}
    return str(client("sts", credentials).get_caller_identity()["Arn"])


def test_credentials_of_the_associations_role(
    client: Any, agent: Any, make_role: Any, issuer: TokenIssuer, refused: Any
) -> None:
    """For a token of the account with the agent's audience; not for another account's."""
    made = associated(client, make_role(A, "app", TRUST))
    got = asked(agent, issuer.mint(READER, PODS))
    assert got["podIdentityAssociation"]["associationId"] == made["associationId"]
    assert ":assumed-role/app/" in whoami(client, got)
    assert got["assumedRoleUser"]["arn"] == whoami(client, got)
    with refused("ResourceNotFoundException", "writer", 404):
        asked(agent, issuer.mint(READER.replace("reader", "writer"), PODS))
    with refused("InvalidTokenException", PODS, 400):
        asked(agent, issuer.mint(READER, "sts.amazonaws.com"))
    with refused("InvalidTokenException", status=400):
        asked(agent, "nonsense")


def test_session_tags(client: Any, agent: Any, make_role: Any, issuer: TokenIssuer, refused: Any) -> None:
    """A trust policy can ask for them; without them the condition does not hold."""
    narrow = {**TRUST, "Condition": {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "team-a"}}}
    made = associated(client, make_role(A, "app", narrow))
    token = issuer.mint(READER, PODS)
    assert ":assumed-role/app/" in whoami(client, asked(agent, token))
    eks = client("eks", A, region=REGION)
    eks.update_pod_identity_association(
        clusterName="blue", associationId=made["associationId"], disableSessionTags=True
    )
    with refused("AccessDeniedException", status=403):
        asked(agent, token)


def test_credentials_of_the_target_role(
    client: Any, agent: Any, make_role: Any, issuer: TokenIssuer, refused: Any
) -> None:
    """It has to trust the association's role by the external id, and that role needs permission for both actions."""
    far = make_role(B, "far", TRUST)
    made = associated(client, make_role(A, "app", TRUST, allow=""), targetRoleArn=far)
    token = issuer.mint(READER, PODS)

    def trust(external_id: str) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": made["roleArn"]},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {"StringEquals": {"sts:ExternalId": [external_id]}},
        }
        client("iam", B).update_assume_role_policy(
            RoleName="far", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        )

    def allow(*actions: str) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": [far]}
        client("iam", A).put_role_policy(
            RoleName="app",
            PolicyName="far",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )

    trust(made["externalId"])
    with refused("AccessDeniedException", "sts:AssumeRole", 403):
        asked(agent, token)
    allow("sts:AssumeRole")
    with refused("AccessDeniedException", "sts:TagSession", 403):
        asked(agent, token)
    allow("sts:AssumeRole", "sts:TagSession")
    assert f"::{B}:assumed-role/far/" in whoami(client, asked(agent, token))
    trust("another")
    with refused("AccessDeniedException", "sts:AssumeRole", 403):
        asked(agent, token)
