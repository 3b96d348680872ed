"""What the cluster says about trustbind, and how full the trust policies of the user's AWS account are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trustbind.certificates import certificate_end, certificates_of_bundle
from trustbind.errors import AwsError, NotFoundError
from trustbind.identity.arns import RoleArn
from trustbind.overview import Capacity
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.aws_errors import own_account, sentence
from trustbind_runtime.kubernetes.client import FORBIDDEN, ApiError, ApiServer
from trustbind_runtime.kubernetes.discovery import read_issuer
from trustbind_runtime.kubernetes.pages import ListPage, pages

__all__ = ["Collected", "Lease", "collect", "read_capacity"]

Json = Mapping[str, Any]

_PAGE: Final = 500
_OURS: Final = "/apis/trustbind.dev/v1alpha1"
_WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_LABELS: Final = "app.kubernetes.io/name=trustbind"
_LEASE: Final = "trustbind-operator"
_ENTRIES: Final = ".trustbind.dev"
_MOST_ROLES: Final = 200
"""Roles whose trust policies are read."""


class _Page(ListPage, frozen=True):
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lease:
    """Who of the operators works.

    Attributes:
        holder: its name; empty for nobody.
        renewed: when, RFC 3339; empty where it never was.
    """

    holder: str
    renewed: str


@dataclass(slots=True)
class Collected:
    """What was seen; what is None was not, and ``unseen`` says why.

    Attributes:
        version: of Kubernetes.
        issuer: of the cluster.
        deployments: of trustbind.
        lease: of the operator.
        policies: failure policy of each entry of the webhook's configuration, by name.
        certificate: when the first authority in caBundle ends.
        accounts: AWSAccounts.
        bindings: RoleBindings.
        capacity: how full trust policies are.
        unseen: sentences about what could not be seen.
    """

    version: str | None = None
    issuer: str | None = None
    deployments: list[Json] | None = None
    lease: Lease | None = None
    policies: dict[str, str] | None = None
    certificate: datetime | None = None
    accounts: list[Json] | None = None
    bindings: list[Json] | None = None
    capacity: list[Capacity] | None = None
    unseen: list[str] = field(default_factory=list)


async def collect(api: ApiServer, namespace: str | None, selector: str | None) -> Collected:
    """Return what the cluster says.

    Args:
        api: the API server.
        namespace: of RoleBindings; None for all.
        selector: label selector of RoleBindings; None for all.
    """
    return await _Collector(api).collect(namespace, selector)


class _Collector:
    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._seen = Collected()

    async def collect(self, namespace: str | None, selector: str | None) -> Collected:
        seen = self._seen
        where = f"{_OURS}/namespaces/{quote(namespace)}/rolebindings" if namespace else f"{_OURS}/rolebindings"
        query = [("labelSelector", selector)] if selector else []
        version, seen.issuer, seen.deployments, webhooks, seen.accounts, seen.bindings = await asyncio.gather(
            self._get("the version", "/version"),
            self._issuer(),
            self._list("Deployments", "/apis/apps/v1/deployments", [("labelSelector", _LABELS)]),
            self._list("MutatingWebhookConfigurations", _WEBHOOKS, []),
            self._list("AWSAccounts", f"{_OURS}/awsaccounts", []),
            self._list("RoleBindings", where, query),
        )
        seen.version = str(version.get("gitVersion", "")) if version is not None else None
        if webhooks is not None:
            self._read_webhooks(webhooks)
        if spaces := {str((d.get("metadata") or {}).get("namespace", "")) for d in seen.deployments or ()}:
            path = f"/apis/coordination.k8s.io/v1/namespaces/{quote(min(spaces))}/leases/{_LEASE}"
            if (lease := await self._get("the Lease of the operator", path)) is not None:
                spec = lease.get("spec") or {}
                seen.lease = Lease(str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or ""))
        return seen

    def _read_webhooks(self, webhooks: list[Json]) -> None:
        policies: dict[str, str] = {}
        ends: list[datetime] = []
        for body in webhooks:
            for entry in body.get("webhooks") or ():
                if str(entry.get("name", "")).endswith(_ENTRIES):
                    policies[str(entry["name"])] = str(entry.get("failurePolicy", ""))
                    ends += _ends((entry.get("clientConfig") or {}).get("caBundle") or "")
        self._seen.policies = policies
        self._seen.certificate = min(ends, default=None)

    async def _issuer(self) -> str | None:
        try:
            return await read_issuer(self._api)
        except ApiError as error:
            self._hide("the issuer", error)
            return None

    async def _get(self, what: str, path: str) -> Json | None:
        try:
            found: Json = json.loads(await self._api.get(path, accept="application/json"))
        except ApiError as error:
            self._hide(what, error)
            return None
        except ValueError as error:
            self._seen.unseen.append(f"{what}: the answer cannot be read ({error})")
            return None
        return found

    async def _list(self, what: str, path: str, query: list[tuple[str, str]]) -> list[Json] | None:
        found: list[Json] = []
        try:
            async for page in pages(self._api, path, _decode, size=_PAGE, query=query):
                found += page.items
        except ApiError as error:
            self._hide(what, error)
            return None
        return found

    def _hide(self, what: str, error: ApiError) -> None:
        why = f"you have no right to read it ({error.problem})" if error.status == FORBIDDEN else str(error)
        self._seen.unseen.append(f"{what}: {why}")


def _decode(body: bytes) -> _Page:
    return msgspec.json.decode(body, type=_Page)


def _ends(bundle: str) -> list[datetime]:
    try:
        pem = base64.b64decode(bundle)
    except ValueError:
        return []
    return [end for der in certificates_of_bundle(pem) if (end := certificate_end(der)) is not None]


async def read_capacity(seen: Collected, access: AwsAccess) -> None:
    """Add how full the trust policies of the user's own AWS account are, or why that cannot be seen.

    Args:
        seen: what the cluster says; changed.
        access: the way into AWS.
    """
    from trustbind_aws.call_limiter import CallLimiter  # noqa: PLC0415 - boto3 takes long to load

    roles = {role for body in seen.bindings or () if (role := _role(body)) is not None}
    try:
        sessions = access.sessions("trustbind-status")
        account = await own_account(sessions)
        client = await sessions.direct(CallLimiter(name=f"aws-{account}"))
        own = sorted(role for role in roles if role.account_id == account)
        limit = await client.trust_policy_limit()
        found = []
        for role in own[:_MOST_ROLES]:
            with contextlib.suppress(NotFoundError):  # its RoleBinding says so
                found.append(Capacity(str(role), (await client.role(role)).document.size, limit))
    except AwsError as error:
        seen.unseen.append(f"trust policies in AWS: {sentence(error)}")
        return
    seen.capacity = sorted(found, key=lambda each: (-each.share, each.role))
    if len(own) > _MOST_ROLES:
        seen.unseen.append(f"trust policies in AWS: of {len(own)} roles the first {_MOST_ROLES} were read")
    if others := len(roles) - len(own):
        seen.unseen.append(f"trust policies in AWS: {others} roles are in other AWS accounts than yours, {account}")


def _role(body: Json) -> RoleArn | None:
    return RoleArn.or_none(str((body.get("spec") or {}).get("roleArn", "")))
