"""The objects of a live cluster, as the files of a user would hold them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from trustbind.api.aws_account import AwsAccount
from trustbind.api.manifests import Manifest
from trustbind.api.strict import API_VERSION
from trustbind.errors import ManifestError
from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import owner_in
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.files.manifests import Objects, sort_out
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.kubernetes.discovery import read_issuer
from trustbind_runtime.kubernetes.pages import ListPage, pages

__all__ = ["ClusterObjects", "read_aws_accounts", "read_cluster", "read_live", "read_owners"]

_PAGE: Final = 500
_SOURCE: Final = "the cluster"
_OURS: Final = {"AWSAccount": "awsaccounts", "RoleGrant": "rolegrants", "RoleBinding": "rolebindings"}
_CORE: Final = {"Namespace": "namespaces", "ServiceAccount": "serviceaccounts", "Pod": "pods"}


class _Page(ListPage, frozen=True):
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ClusterObjects:
    """What a cluster holds.

    Attributes:
        published: the issuer of its tokens, as the API server publishes it.
        objects: service accounts, namespaces, our own objects, and pods where they were asked for.
        owners: whose statements the statuses of its RoleBindings name; see `trustbind.policy.owned_statement`.
        absent: kinds that it does not have.
        broken: its objects that break a rule, and are left out: which, and what must hold there.
    """

    published: str
    objects: Objects
    owners: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def issuer(self) -> Issuer:
        """The issuer of its tokens.

        Raises:
            InvalidValueError: IAM would not take it.
        """
        return Issuer.parse(self.published)


async def read_live(cluster: ClusterAccess, *, with_pods: bool = False) -> ClusterObjects:
    """Return what the cluster of the user holds; see `read_cluster`.

    Raises:
        NoClusterError: there is none.
        ApiError: a list was refused, or the API server does not answer.
    """
    api = await cluster.connect()
    try:
        return await read_cluster(api, with_pods=with_pods)
    finally:
        await api.close()


async def read_cluster(api: ApiServer, *, with_pods: bool = False) -> ClusterObjects:
    """Return what a cluster holds.

    Args:
        api: the API server.
        with_pods: whether pods are read, too.

    Raises:
        ApiError: a list was refused, or the API server does not answer.
    """
    published = await read_issuer(api)
    found: list[Manifest] = []
    absent: list[str] = []
    for kind in (*(each for each in _CORE if with_pods or each != "Pod"), *_OURS):
        listed = await _listed(api, kind)
        if listed is None:
            absent.append(kind)
        found += listed or ()
    objects, broken = _usable(found)
    return ClusterObjects(published, objects, _owners(found), tuple(absent), broken)


async def read_owners(api: ApiServer) -> frozenset[str] | None:
    """Return whose statements the statuses of a cluster's RoleBindings name; None where it does not have the kind.

    Raises:
        ApiError: the list was refused, or the API server does not answer.
    """
    listed = await _listed(api, "RoleBinding")
    return None if listed is None else _owners(listed)


async def read_aws_accounts(api: ApiServer) -> dict[str, AwsAccount]:
    """Return account id to AWSAccount of a cluster; none where it does not have the kind.

    Raises:
        ApiError: the list was refused, or the API server does not answer.
        ManifestError: one breaks a rule.
    """
    return sort_out(_counting(await _listed(api, "AWSAccount") or ())).aws_accounts


def _usable(manifests: list[Manifest]) -> tuple[Objects, tuple[str, ...]]:
    """Return the objects without those that break a rule, and what is wrong with these.

    So one team's object keeps nobody from an answer about the others.
    """
    with contextlib.suppress(ManifestError):
        return sort_out(_counting(manifests)), ()
    good: list[Manifest] = []
    broken: list[str] = []
    for each in manifests:
        try:
            sort_out([each])
        except ManifestError as error:
            broken.append(f"{error.what}: {error.problem}")
        else:
            good.append(each)
    return sort_out(_counting(good)), tuple(broken)


def _owners(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Return the owner prefixes of the statements that statuses name."""
    statuses = (each.body.get("status") for each in manifests if each.kind == "RoleBinding")
    sids = (status.get("statementId") for status in statuses if isinstance(status, dict))
    return frozenset(owner for sid in sids if (owner := owner_in(sid)))


async def _listed(api: ApiServer, kind: str) -> list[Manifest] | None:
    """Return the objects of a kind; None where the cluster does not have the kind."""
    api_version = API_VERSION if kind in _OURS else "v1"
    path = f"/apis/{api_version}/{_OURS[kind]}" if kind in _OURS else f"/api/v1/{_CORE[kind]}"
    listed: list[Manifest] = []
    try:
        async for page in pages(api, path, _decode, size=_PAGE):
            for item in page.items:
                item.get("metadata", {}).pop("managedFields", None)
                listed.append(Manifest(_SOURCE, 1, {"apiVersion": api_version, "kind": kind, **item}))
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise ApiError(error.status, f"{kind}s cannot be listed: {error.problem}") from None
    return listed


def _decode(body: bytes) -> _Page:
    return msgspec.json.decode(body, type=_Page)


def _counting(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return the objects without the AWSAccounts that do not count: of one AWS account the oldest does."""
    first: dict[str, Manifest] = {}
    rest: list[Manifest] = []
    for each in manifests:
        if each.kind != "AWSAccount":
            rest.append(each)
            continue
        account_id = str(each.body.get("spec", {}).get("accountId"))
        if account_id not in first or _age(each) < _age(first[account_id]):
            first[account_id] = each
    return [*rest, *first.values()]


def _age(manifest: Manifest) -> tuple[bool, str, str]:
    metadata = manifest.body["metadata"]
    return (bool(metadata.get("deletionTimestamp")), str(metadata.get("creationTimestamp") or ""), manifest.name)
