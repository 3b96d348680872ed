"""The EKS Pod Identity associations of one cluster, through boto3.

A list shows neither role nor tags (EKS API reference, ListPodIdentityAssociations), so what matters is described one by
one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from trustbind.api.aws_account import EksCluster
from trustbind.errors import NotFoundError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity_association import Association, Listed, Wish
from trustbind_aws.calls import Call
from trustbind_aws.client import AccountApi
from trustbind_aws.permits import WriteGuard, WritePermit

__all__ = ["AssociationStore", "EksAssociations"]

_PAGE: Final = 100  # EKS API reference, ListPodIdentityAssociations, maxResults


class AssociationStore(Protocol):
    """What reconciliation needs of one cluster. Every method raises AwsError when a call fails."""

    async def listed(self, namespace: str = "") -> list[Listed]:
        """Return the associations of a namespace, or of the whole cluster."""

    async def described(self, listed: Listed) -> Association | None:
        """Return an association whole; None when it was deleted meanwhile."""

    async def create(
        self, subject: Subject, role: str, wish: Wish, tags: Mapping[str, str], guard: WriteGuard
    ) -> Association:
        """Associate a service account with a role; return the association."""

    async def change(self, association: Association, role: str, wish: Wish, guard: WriteGuard) -> Association:
        """Let an association name this role, and be as it is wished for; return it as it is then."""

    async def tag(self, association: Association, tags: Mapping[str, str], guard: WriteGuard) -> None:
        """Give an association tags, beside those that it has."""

    async def untag(self, association: Association, keys: Iterable[str], guard: WriteGuard) -> None:
        """Take tags from an association."""

    async def delete(self, association: Association, guard: WriteGuard) -> None:
        """Delete an association; deleting one that is gone succeeds."""


class EksAssociations:
    """`AssociationStore` on EKS.

    Args:
        api: the cluster's AWS account.
        cluster: which.
    """

    def __init__(self, api: AccountApi, cluster: EksCluster) -> None:
        self._api = api
        self._name = cluster.name
        self._region = cluster.region
        self._about = f"{cluster.name} ({cluster.region})"

    async def listed(self, namespace: str = "") -> list[Listed]:
        """Return the associations of a namespace, or of the whole cluster.

        Raises:
            NotFoundError: there is no such cluster.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        found: list[Listed] = []
        further: dict[str, str] = {"namespace": namespace} if namespace else {}
        while True:
            page = await self._read(
                "ListPodIdentityAssociations",
                f" of cluster {self._about}",
                "list_pod_identity_associations",
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

    async def described(self, listed: Listed) -> Association | None:
        """Return an association whole; None when it was deleted meanwhile.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        try:
            answer = await self._read(
                "DescribePodIdentityAssociation",
                f" on {listed.arn}",
                "describe_pod_identity_association",
                associationId=listed.id,
            )
        except NotFoundError:
            return None
        return _association(answer["association"])

    async def create(
        self, subject: Subject, role: str, wish: Wish, tags: Mapping[str, str], guard: WriteGuard
    ) -> Association:
        """Associate a service account with a role; return the association.

        Raises:
            NotLeadingError: nothing may be written.
            AwsError: with code ``ResourceInUseException`` when it has an association already.
        """
        answer = await self._write(
            "CreatePodIdentityAssociation",
            f" for {subject.namespace}/{subject.name} in cluster {self._about}",
            "create_pod_identity_association",
            guard,
            clusterName=self._name,
            namespace=subject.namespace,
            serviceAccount=subject.name,
            roleArn=role,
            tags=dict(tags),
            **({"disableSessionTags": True} if wish.disable_session_tags else {}),
            **_further(wish),
        )
        return _association(answer["association"])

    async def change(self, association: Association, role: str, wish: Wish, guard: WriteGuard) -> Association:
        """Let an association name this role, and be as it is wished for; return it as it is then.

        Raises:
            NotLeadingError: nothing may be written.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        is_changed = wish.disable_session_tags != association.disable_session_tags
        answer = await self._write(
            "UpdatePodIdentityAssociation",
            f" on {association.listed.arn}",
            "update_pod_identity_association",
            guard,
            clusterName=self._name,
            associationId=association.listed.id,
            roleArn=role,
            **({"disableSessionTags": wish.disable_session_tags} if is_changed or wish.policy else {}),
            **_further(wish),
        )
        return _association(answer["association"])

    async def tag(self, association: Association, tags: Mapping[str, str], guard: WriteGuard) -> None:
        """Give an association tags, beside those that it has.

        Raises:
            NotLeadingError: nothing may be written.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        arn = association.listed.arn
        await self._write("TagResource", f" on {arn}", "tag_resource", guard, resourceArn=arn, tags=dict(tags))

    async def untag(self, association: Association, keys: Iterable[str], guard: WriteGuard) -> None:
        """Take tags from an association.

        Raises:
            NotLeadingError: nothing may be written.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        arn = association.listed.arn
        await self._write("UntagResource", f" on {arn}", "untag_resource", guard, resourceArn=arn, tagKeys=sorted(keys))

    async def delete(self, association: Association, guard: WriteGuard) -> None:
        """Delete an association; deleting one that is gone succeeds.

        Raises:
            NotLeadingError: nothing may be written.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        with contextlib.suppress(NotFoundError):
            await self._write(
                "DeletePodIdentityAssociation",
                f" on {association.listed.arn}",
                "delete_pod_identity_association",
                guard,
                clusterName=self._name,
                associationId=association.listed.id,
            )

    async def _read(self, action: str, about: str, method: str, **arguments: Any) -> Any:
        eks = await self._api.client("eks", self._region)
        call = Call(f"eks:{action}", about, getattr(eks, method), {"clusterName": self._name, **arguments})
        return await self._api.read(call)

    async def _write(self, action: str, about: str, method: str, guard: WriteGuard, **arguments: Any) -> Any:
        eks = await self._api.client("eks", self._region)
        return await self._api.write(
            Call(f"eks:{action}", about, getattr(eks, method), arguments), WritePermit(guard.deadline())
        )


def _further(wish: Wish) -> dict[str, str]:
    """Return the parameters that are named only where they are wanted."""
    return {key: value for key, value in (("targetRoleArn", wish.target), ("policy", wish.policy)) if value}


def _association(raw: Mapping[str, Any]) -> Association:
    return Association(
        Listed(raw["associationId"], raw["associationArn"], raw["namespace"], raw["serviceAccount"]),
        raw.get("roleArn", ""),
        raw.get("tags") or {},
        raw.get("targetRoleArn") or "",
        raw.get("externalId") or "",
        bool(raw.get("disableSessionTags")),
        raw.get("policy") or "",
    )
