"""Removes what runs created: what has their path or name, and their tag. Nothing else is ever deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from botocore.exceptions import ClientError

from aws_probes.lab import PATH, PREFIX, TAG, Clients

__all__ = ["Sweep"]

_GONE: Final = frozenset({"NoSuchEntity", "ResourceNotFoundException", "NotFoundException"})

Report = Callable[[str], None]


class Sweep:
    """See the module.

    Args:
        clients: of the runner's identity.
        cluster: name of the EKS cluster whose associations are looked at; empty for none.
        report: takes a line for each thing that was removed.
    """

    def __init__(self, clients: Clients, cluster: str, report: Report) -> None:
        self._clients = clients
        self._cluster = cluster
        self._report = report

    def all(self) -> int:
        """Remove everything of every run; return how much that was.

        Raises:
            botocore.exceptions.BotoCoreError: AWS was not reached.
            botocore.exceptions.ClientError: AWS refused a call, though not because a thing is gone.
        """
        removed = 0
        for label, remove in self._found():
            try:
                remove()
            except ClientError as error:
                if error.response["Error"]["Code"] not in _GONE:
                    raise
            removed += 1
            self._report(f"removed {label}")
        return removed

    def _found(self) -> Iterator[tuple[str, Callable[[], None]]]:
        yield from self._associations()
        yield from self._roles()
        yield from self._users()
        yield from self._providers()

    def _roles(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for role in self._pages("iam:ListRoles", "Roles", PathPrefix=PATH):
            name = role["RoleName"]
            if name.startswith(PREFIX) and self._is_tagged("iam:ListRoleTags", RoleName=name):
                yield f"role {role['Path']}{name}", partial(self._remove_role, name)

    def _remove_role(self, name: str) -> None:
        for policy in self._pages("iam:ListRolePolicies", "PolicyNames", RoleName=name):
            self._clients.call("iam:DeleteRolePolicy", {"RoleName": name, "PolicyName": policy})
        self._clients.call("iam:DeleteRole", {"RoleName": name})

    def _users(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for user in self._pages("iam:ListUsers", "Users", PathPrefix=PATH):
            name = user["UserName"]
            if name.startswith(PREFIX) and self._is_tagged("iam:ListUserTags", UserName=name):
                yield f"user {name}", self._removal("iam:DeleteUser", UserName=name)

    def _providers(self) -> Iterator[tuple[str, Callable[[], None]]]:
        answer = self._clients.call("iam:ListOpenIDConnectProviders", {})
        for arn in (entry["Arn"] for entry in answer["OpenIDConnectProviderList"]):
            if f"/{PREFIX}-" in arn and self._is_tagged(
                "iam:ListOpenIDConnectProviderTags", OpenIDConnectProviderArn=arn
            ):
                yield (
                    f"OIDC provider {arn}",
                    self._removal("iam:DeleteOpenIDConnectProvider", OpenIDConnectProviderArn=arn),
                )

    def _associations(self) -> Iterator[tuple[str, Callable[[], None]]]:
        if not self._cluster:
            return
        for found in self._associations_of_cluster():
            arn, made = found["associationArn"], found["associationId"]
            if not found["namespace"].startswith(PREFIX):
                continue
            if TAG in self._clients.call("eks:ListTagsForResource", {"resourceArn": arn})["tags"]:
                yield (
                    f"association {made}",
                    self._removal("eks:DeletePodIdentityAssociation", clusterName=self._cluster, associationId=made),
                )

    def _associations_of_cluster(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = self._clients.call("eks:ListPodIdentityAssociations", {"clusterName": self._cluster, **token})
            found += page["associations"]
            if not page.get("nextToken"):
                return found
            token = {"nextToken": page["nextToken"]}

    def _removal(self, operation: str, **parameters: str) -> Callable[[], None]:
        def remove() -> None:
            self._clients.call(operation, parameters)

        return remove

    def _is_tagged(self, operation: str, **parameters: str) -> bool:
        return any(tag["Key"] == TAG for tag in self._pages(operation, "Tags", **parameters))

    def _pages(self, operation: str, member: str, **parameters: str) -> list[Any]:
        """Return a whole list of IAM's, before anything of it is removed."""
        found: list[Any] = []
        while True:
            page = self._clients.call(operation, parameters)
            found += page[member]
            if not page.get("IsTruncated"):
                return found
            parameters = {**parameters, "Marker": page["Marker"]}
