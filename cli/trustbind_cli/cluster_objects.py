"""The objects of a live cluster, as the files of a user would hold them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from trustbind.api.manifests import Manifest
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer
from trustbind_cli.files.manifests import Objects, sort_out
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.kubernetes.pages import ListPage, pages

__all__ = ["ClusterObjects", "read_cluster"]

_PAGE: Final = 500
_SOURCE: Final = "the cluster"
_OURS: Final = {"AWSAccount": "awsaccounts", "RoleGrant": "rolegrants", "RoleBinding": "rolebindings"}
_CORE: Final = {"Namespace": "namespaces", "ServiceAccount": "serviceaccounts"}


class _Page(ListPage, frozen=True):
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ClusterObjects:
    """What a cluster holds.

    Attributes:
        issuer: of its tokens.
        objects: service accounts, namespaces, our own objects, and pods where they were asked for.
    """

    issuer: Issuer
    objects: Objects


async def read_cluster(api: ApiServer, *, with_pods: bool = False) -> ClusterObjects:
    """Return what a cluster holds.

    Args:
        api: the API server.
        with_pods: whether pods are read, too.

    Raises:
        ApiError: a list was refused, or the API server does not answer.
        ManifestError: an object of ours breaks a rule.
        InvalidValueError: IAM would not take the cluster's issuer.
    """
    found: list[Manifest] = []
    for kind, plural in (_CORE | ({"Pod": "pods"} if with_pods else {})).items():
        found += await _listed(api, f"/api/v1/{plural}", "v1", kind)
    for kind, plural in _OURS.items():
        found += await _listed(api, f"/apis/{API_VERSION}/{plural}", API_VERSION, kind)
    return ClusterObjects(await _issuer(api), sort_out(_counting(found)))


async def _listed(api: ApiServer, path: str, api_version: str, kind: str) -> list[Manifest]:
    """Return the objects of a kind; none where the cluster does not have the kind."""
    listed: list[Manifest] = []
    try:
        async for page in pages(api, path, _decode, size=_PAGE):
            for item in page.items:
                item.get("metadata", {}).pop("managedFields", None)
                listed.append(Manifest(_SOURCE, 1, {"apiVersion": api_version, "kind": kind, **item}))
    except ApiError as error:
        if error.status == NOT_FOUND:
            return []
        raise ApiError(error.status, f"{kind}s cannot be listed: {error.problem}") from None
    return listed


def _decode(body: bytes) -> _Page:
    return msgspec.json.decode(body, type=_Page)


async def _issuer(api: ApiServer) -> Issuer:
    try:
        body = await api.get("/.well-known/openid-configuration", accept="application/json")
        return Issuer.parse(str(msgspec.json.decode(body)["issuer"]))
    except (KeyError, msgspec.DecodeError):
        raise InvalidValueError("the API server does not say what the cluster's issuer is; give --issuer") from None


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
