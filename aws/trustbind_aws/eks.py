"""The associations of EKS Pod Identity in one cluster, through boto3.

A list shows neither role nor tags (EKS API reference, ListPodIdentityAssociations), so what matters is described one by
one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from trustbind.api.aws_account import EksCluster
from trustbind.errors import NotFoundError
from trustbind.policy.pod_identity_association import Association, Listed
from trustbind_aws.client import AccountAccess

__all__ = ["AssociationStore", "EksAccess"]

_PAGE: Final = 100  # EKS API reference, ListPodIdentityAssociations, maxResults


class AssociationStore(Protocol):
    """What reconciliation needs of one cluster. Every method raises AwsError when a call fails."""

    def listed(self, namespace: str = "") -> list[Listed]:
        """Return the associations of a namespace, or of the whole cluster."""

    def described(self, listed: Listed) -> Association | None:
        """Return an association whole; None when it is gone meanwhile."""

    def create(self, namespace: str, service_account: str, role: str, tags: Mapping[str, str]) -> None:
        """Associate a service account with a role."""

    def move(self, association: Association, role: str) -> None:
        """Let an association name another role."""

    def tag(self, association: Association, tags: Mapping[str, str]) -> None:
        """Give an association tags, beside those that it has."""

    def untag(self, association: Association, keys: Iterable[str]) -> None:
        """Take tags from an association."""

    def delete(self, association: Association) -> None:
        """Delete an association; one that is gone is as good as deleted."""


class EksAccess:
    """`AssociationStore` on EKS.

    Args:
        access: to the cluster's account.
        cluster: which.
    """

    def __init__(self, access: AccountAccess, cluster: EksCluster) -> None:
        self._access = access
        self._name = cluster.name
        self._about = f"{cluster.name} ({cluster.region})"
        self._eks: Any = access.client("eks", cluster.region)

    def listed(self, namespace: str = "") -> list[Listed]:
        """Return the associations of a namespace, or of the whole cluster.

        Raises:
            NotFoundError: there is no such cluster.
            AwsError: see `trustbind_aws.client.translated`.
        """
        found: list[Listed] = []
        further: dict[str, str] = {"namespace": namespace} if namespace else {}
        while True:
            page = self._call(
                "ListPodIdentityAssociations",
                f" of cluster {self._about}",
                self._eks.list_pod_identity_associations,
                maxResults=_PAGE,
                **further,
            )
            found += [
                Listed(raw["associationId"], raw["associationArn"], raw["namespace"], raw["serviceAccount"])
                for raw in page["associations"]
            ]
            if not page.get("nextToken"):
                return found
            further["nextToken"] = page["nextToken"]

    def described(self, listed: Listed) -> Association | None:
        """Return an association whole; None when it is gone meanwhile.

        Raises:
            AwsError: see `trustbind_aws.client.translated`.
        """
        try:
            raw = self._call(
                "DescribePodIdentityAssociation",
                f" on {listed.arn}",
                self._eks.describe_pod_identity_association,
                associationId=listed.id,
            )["association"]
        except NotFoundError:
            return None
        return Association(listed, raw.get("roleArn", ""), raw.get("tags") or {}, raw.get("targetRoleArn") or "")

    def create(self, namespace: str, service_account: str, role: str, tags: Mapping[str, str]) -> None:
        """Associate a service account with a role.

        Raises:
            AwsError: with code ``ResourceInUseException`` when it has an association already.
        """
        self._call(
            "CreatePodIdentityAssociation",
            f" for {namespace}/{service_account} in cluster {self._about}",
            self._eks.create_pod_identity_association,
            namespace=namespace,
            serviceAccount=service_account,
            roleArn=role,
            tags=dict(tags),
        )

    def move(self, association: Association, role: str) -> None:
        """Let an association name another role.

        Raises:
            AwsError: see `trustbind_aws.client.translated`.
        """
        self._call(
            "UpdatePodIdentityAssociation",
            f" on {association.listed.arn}",
            self._eks.update_pod_identity_association,
            associationId=association.listed.id,
            roleArn=role,
        )

    def tag(self, association: Association, tags: Mapping[str, str]) -> None:
        """Give an association tags, beside those that it has.

        Raises:
            AwsError: see `trustbind_aws.client.translated`.
        """
        arn = association.listed.arn
        self._access.call("eks:TagResource", f" on {arn}", self._eks.tag_resource, resourceArn=arn, tags=dict(tags))

    def untag(self, association: Association, keys: Iterable[str]) -> None:
        """Take tags from an association.

        Raises:
            AwsError: see `trustbind_aws.client.translated`.
        """
        arn = association.listed.arn
        self._access.call(
            "eks:UntagResource", f" on {arn}", self._eks.untag_resource, resourceArn=arn, tagKeys=sorted(keys)
        )

    def delete(self, association: Association) -> None:
        """Delete an association; one that is gone is as good as deleted.

        Raises:
            AwsError: see `trustbind_aws.client.translated`.
        """
        with contextlib.suppress(NotFoundError):
            self._call(
                "DeletePodIdentityAssociation",
                f" on {association.listed.arn}",
                self._eks.delete_pod_identity_association,
                associationId=association.listed.id,
            )

    def _call(self, action: str, about: str, method: Any, **arguments: Any) -> Any:
        return self._access.call(f"eks:{action}", about, method, clusterName=self._name, **arguments)
