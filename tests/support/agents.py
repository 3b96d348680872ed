"""EKS Pod Identity in a world: an account with the cluster, and its associations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import boto3

from support.world import FOREIGN, Account, Binding, Team, World
from trustbind.policy.pod_identity import STATEMENT

__all__ = ["WRITES", "EksAccount"]

REGION: Final = "eu-central-1"

WRITES: Final = (
    "CreatePodIdentityAssociation",
    "UpdatePodIdentityAssociation",
    "DeletePodIdentityAssociation",
    "TagResource",
    "UntagResource",
)

Json = dict[str, Any]


@dataclass
class EksAccount:
    """An account in which the world's cluster lives as far as EKS knows, with a way in as its root."""

    account: Account
    name: str
    client: Any

    @classmethod
    def of(cls, world: World, *, exists: bool = True, **spec: Any) -> EksAccount:
        """Create an account whose AWSAccount names a cluster; with ``exists``, EKS has it."""
        name = "blue"
        account = world.account(eks={"clusterName": name, "region": REGION}, **spec)
        client = boto3.client(
            "eks",
            region_name=REGION,
            endpoint_url=world.aws.url,
            aws_access_key_id=account.id,
            aws_secret_access_key="unused",
        )
        made = cls(account, name, client)
        if exists:
            made.create()
        return made

    def create(self) -> None:
        """Let EKS have the cluster."""
        self.account.world.aws.create_cluster(self.account.id, REGION, self.name)

    def role(self, name: str = "app", *statements: Mapping[str, Any]) -> str:
        """Create a role that EKS Pod Identity may have, or one with these statements; return its ARN."""
        return self.account.role(name, *(statements or (FOREIGN, STATEMENT)))

    def there(self) -> dict[str, Json]:
        """Return the associations by ``namespace/account``."""
        listed = self.client.list_pod_identity_associations(clusterName=self.name)["associations"]
        found: dict[str, Json] = {}
        for each in listed:
            where = {"clusterName": self.name, "associationId": each["associationId"]}
            try:
                whole = self.client.describe_pod_identity_association(**where)["association"]
            except self.client.exceptions.ResourceNotFoundException:  # it went since the list
                continue
            found[f"{whole['namespace']}/{whole['serviceAccount']}"] = whole
        return found

    def roles(self) -> dict[str, str]:
        """Return the role's name of each, by ``namespace/account``."""
        return {key: a["roleArn"].rpartition("/")[2] for key, a in self.there().items()}

    def make(self, team: Team, service_account: str, role: str, tags: Mapping[str, str] | None = None) -> Json:
        """Create an association as somebody else would."""
        made = self.client.create_pod_identity_association(
            clusterName=self.name,
            namespace=team.namespace,
            serviceAccount=service_account,
            roleArn=role,
            **({"tags": dict(tags)} if tags else {}),
        )
        return dict(made["association"])

    def credentials(self, token: str) -> Json:
        """Return what EKS's agent on a node gets for a pod with this token."""
        root = {"aws_access_key_id": self.account.id, "aws_secret_access_key": "unused"}
        client = boto3.client("eks-auth", region_name=REGION, endpoint_url=self.account.world.aws.url, **root)
        return dict(client.assume_role_for_pod_identity(clusterName=self.name, token=token))

    def trust(self, name: str, *statements: Mapping[str, Any]) -> None:
        """Replace a role's trust policy."""
        self.account.iam.update_assume_role_policy(
            RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        )

    def grant(self, team: Team) -> None:
        """Grant a team every role of this account by EKS Pod Identity."""
        team.grant(self.account, methods=["PodIdentity"])

    def binding(self, team: Team, role: str, name: str = "app", **spec: Any) -> Binding:
        """Bind service account ``reader``, or whom ``spec`` names, by EKS Pod Identity."""
        return team.binding(role, name, method="PodIdentity", **spec)
