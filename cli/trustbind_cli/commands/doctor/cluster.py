"""Facts of the cluster, read with the user's own rights. Nothing is written."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote

import yaml
from msgspec import structs

from trustbind.api.annotations import DEFAULT_PREFIX, AnnotationKeys
from trustbind.diagnosis.facts import (
    ApiFacts,
    BackendFacts,
    Bundle,
    Fact,
    PodFacts,
    ServiceAccountFacts,
    Target,
    absent,
    hidden_like,
    known,
    not_visible,
)
from trustbind.errors import InvalidValueError
from trustbind_cli.commands.doctor import redaction
from trustbind_runtime.kubernetes.client import FORBIDDEN, NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.kubernetes.discovery import read_issuer

__all__ = ["ClusterFacts", "read_cluster", "without_cluster"]

T = TypeVar("T")
Json = Mapping[str, Any]

_JSON: Final = "application/json"
_SECONDS: Final = 20.0
_WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_OURS: Final = "/apis/trustbind.dev/v1alpha1"
_SETTINGS: Final = "trustbind-webhook"
_SECRET: Final = "trustbind-webhook-tls"  # noqa: S105 - the name of an object
_AUTHORITIES: Final = "ca.crt"
_AGENT: Final = "app.kubernetes.io/name=eks-pod-identity-agent"
_NEEDED: Final = (
    ("get", "", "pods"),
    ("get", "", "serviceaccounts"),
    ("list", "trustbind.dev", "rolebindings"),
    ("list", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What was read of the cluster.

    Attributes:
        bundle: with the facts of the cluster alone.
        aws_accounts: AWSAccounts, as they are stored.
    """

    bundle: Bundle
    aws_accounts: tuple[Json, ...] = ()


async def read_cluster(api: ApiServer, target: Target, time: str) -> ClusterFacts:
    """Return what the cluster says about a target.

    Args:
        api: the API server.
        target: a pod, a service account or a RoleBinding.
        time: now, RFC 3339.

    Raises:
        InvalidValueError: there is no RoleBinding of that name.
    """
    return await _Reader(api, target).read(time)


class _Reader:
    def __init__(self, api: ApiServer, target: Target) -> None:
        self._api = api
        self._target = target
        self._core = f"/api/v1/namespaces/{quote(target.namespace)}"

    async def read(self, time: str) -> ClusterFacts:
        target = self._target
        api = await self._access()
        if api.value is None:
            return without_cluster(target, time, api)
        bindings, webhooks, issuer, labels, accounts = await asyncio.gather(
            self._list(f"{_OURS}/namespaces/{quote(target.namespace)}/rolebindings"),
            self._list(_WEBHOOKS),
            self._issuer(),
            self._fact(f"/api/v1/namespaces/{quote(target.namespace)}", _labels),
            self._list(f"{_OURS}/awsaccounts"),
        )
        entries = [entry for body in webhooks.value or () for entry in redaction.webhook_facts(body)]
        found = known(entries) if webhooks.value is not None else hidden_like(webhooks)
        service = next((e.service for e in entries if e.name.endswith(".trustbind.dev")), "")
        settings = await self._settings(service)
        role_key = AnnotationKeys.under(_prefix(settings.value)).role_arn
        pod = await self._pod(bindings)
        name = pod.value.service_account if pod.value else self._account_name(bindings)
        account, backend = await asyncio.gather(self._service_account(name, role_key), self._backend(service, settings))
        bundle = Bundle(
            target,
            time,
            api=api,
            settings=settings,
            pod=pod,
            service_account=account,
            namespace_labels=labels,
            bindings=_kept(bindings),
            webhooks=found,
            backend=backend,
            issuer=issuer,
            agent=await self._agent(pod.value),
        )
        return ClusterFacts(bundle, tuple(accounts.value or ()))

    # --- one fact each ------------------------------------------------------------------------------------------

    async def _access(self) -> Fact[ApiFacts]:
        async def may(verb: str, group: str, resource: str) -> bool:
            attributes = {"verb": verb, "group": group, "resource": resource, "namespace": self._target.namespace}
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            answer = json.loads(await self._api.send("POST", path, review, seconds=_SECONDS))
            return bool((answer.get("status") or {}).get("allowed"))

        try:
            allowed = await asyncio.gather(*(may(*each) for each in _NEEDED))
        except ApiError as error:
            return _refused(error)
        missing = [f"{verb} {resource}" for (verb, _, resource), ok in zip(_NEEDED, allowed, strict=True) if not ok]
        return known(ApiFacts(missing))

    async def _pod(self, bindings: Fact[list[Json]]) -> Fact[PodFacts]:
        target = self._target
        if target.kind == "Pod":
            return await self._pod_of(await self._fact(f"{self._core}/pods/{quote(target.name)}", dict))
        name = self._account_name(bindings)
        query = [("fieldSelector", f"spec.serviceAccountName={name}")]
        listed = await self._list(f"{self._core}/pods", query)
        if listed.value is None:
            return hidden_like(listed)
        return await self._pod_of(known(_newest(listed.value)) if listed.value else absent())

    async def _pod_of(self, fact: Fact[Any]) -> Fact[PodFacts]:
        if fact.value is None:
            return fact
        sources = redaction.sources_of(fact.value)
        read = await asyncio.gather(*map(self._keys, sources))
        return known(redaction.pod_facts(fact.value, dict(zip(sources, read, strict=True))))

    async def _keys(self, source: str) -> Fact[list[str]]:
        kind, _, name = source.partition("/")
        resource = {"Secret": "secrets", "ConfigMap": "configmaps"}.get(kind)
        if resource is None:
            return not_visible("it is neither a Secret nor a ConfigMap")
        return await self._fact(f"{self._core}/{resource}/{quote(name)}", lambda body: sorted(body.get("data") or {}))

    def _account_name(self, bindings: Fact[list[Json]]) -> str:
        target = self._target
        if target.kind != "RoleBinding":
            return target.name
        if bindings.value is None:
            raise InvalidValueError(f"RoleBinding {target.name} cannot be read: {bindings.reason}", field=str(target))
        for body in bindings.value:
            if (body.get("metadata") or {}).get("name") == target.name:
                names = (body.get("spec") or {}).get("serviceAccountNames") or ()
                if names:
                    return str(names[0])
                raise InvalidValueError(
                    "it selects service accounts by label; name one of them: serviceaccount/NAME", field=str(target)
                )
        raise InvalidValueError(
            f"there is no such RoleBinding; see 'kubectl get rolebindings.trustbind.dev -n {target.namespace}'",
            field=str(target),
        )

    async def _service_account(self, name: str, role_key: str) -> Fact[ServiceAccountFacts]:
        path = f"{self._core}/serviceaccounts/{quote(name)}"
        return await self._fact(path, lambda body: redaction.service_account_facts(body, role_key))

    async def _issuer(self) -> Fact[str]:
        return await self._read(lambda: read_issuer(self._api, seconds=_SECONDS))

    async def _settings(self, service: str) -> Fact[str]:
        namespace = service.partition("/")[0]
        if not namespace:
            return not_visible("the webhook has no Service, so its namespace is not known")
        path = f"/api/v1/namespaces/{quote(namespace)}/configmaps/{_SETTINGS}"
        return await self._fact(path, lambda body: str((body.get("data") or {}).get("settings.yaml", "")))

    async def _backend(self, service: str, settings: Fact[str]) -> Fact[BackendFacts]:
        namespace, _, name = service.partition("/")
        if not namespace:
            return not_visible("the webhook has no Service")
        query = [("labelSelector", f"kubernetes.io/service-name={name}")]
        slices = await self._list(f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace)}/endpointslices", query)
        if slices.value is None:
            return hidden_like(slices)
        ready = sum(
            len(endpoint.get("addresses") or ())
            for each in slices.value
            for endpoint in each.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready", True)
        )
        secret = _setting(settings.value, "certificates", "secretName") or _SECRET
        path = f"/api/v1/namespaces/{quote(namespace)}/secrets/{quote(secret)}"
        return known(BackendFacts(ready, await self._fact(path, _authorities)))

    async def _agent(self, pod: PodFacts | None) -> Fact[int]:
        query = [("labelSelector", _AGENT)]
        if pod is not None and pod.node:
            query.append(("fieldSelector", f"spec.nodeName={pod.node}"))
        listed = await self._list("/api/v1/namespaces/kube-system/pods", query)
        if listed.value is None:
            return hidden_like(listed)
        return known(sum((each.get("status") or {}).get("phase") == "Running" for each in listed.value))

    # --- the wire -----------------------------------------------------------------------------------------------

    async def _list(self, path: str, query: list[tuple[str, str]] | None = None) -> Fact[list[Json]]:
        found: Fact[list[Json]] = await self._fact(path, lambda body: list(body.get("items") or ()), query or [])
        # A collection that is absent is a kind that the cluster does not have.
        return not_visible(f"the API server has no {path.rpartition('/')[2]}") if found.is_absent else found

    async def _fact(self, path: str, read: Callable[[Json], T], query: list[tuple[str, str]] | None = None) -> Fact[T]:
        async def answer() -> T:
            return read(json.loads(await self._api.get(path, query or [], accept=_JSON, seconds=_SECONDS)))

        return await self._read(answer)

    async def _read(self, ask: Callable[[], Awaitable[T]]) -> Fact[T]:
        try:
            return known(await ask())
        except ApiError as error:
            if error.status == NOT_FOUND:
                return absent()
            return _refused(error)
        except (ValueError, TypeError) as error:
            why = "the answer of the API server cannot be read"
            return not_visible(why, f"{why} ({error})")


def _refused(error: ApiError) -> Fact[Any]:
    if error.status == FORBIDDEN:
        why = "you have no right to read it"
        return not_visible(why, f"{why} ({error.problem})")
    answered = f"the API server answers with HTTP {error.status}" if error.status else "the API server does not answer"
    return not_visible(answered, str(error))


def without_cluster(target: Target, time: str, why: Fact[Any]) -> ClusterFacts:
    """Return what is known where the API server cannot be asked: nothing.

    Args:
        target: what is asked about.
        time: now, RFC 3339.
        why: it cannot be asked: a fact that is not visible for the same reason.
    """
    names = ("api", "pod", "service_account", "namespace_labels", "bindings", "webhooks", "backend", "issuer")
    hidden = dict.fromkeys((*names, "settings", "agent"), hidden_like(why))
    return ClusterFacts(structs.replace(Bundle(target, time), **hidden))


def _labels(body: Json) -> dict[str, str]:
    return dict((body.get("metadata") or {}).get("labels") or {})


def _kept(bindings: Fact[list[Json]]) -> Fact[list[dict[str, Any]]]:
    if bindings.value is None:
        return hidden_like(bindings)
    return known([redaction.binding_facts(body) for body in bindings.value])


def _newest(pods: list[Json]) -> Json:
    """Return the pod that tells most: one that runs, and the newest of these."""

    def rank(body: Json) -> tuple[bool, bool, str]:
        metadata = body.get("metadata") or {}
        runs = (body.get("status") or {}).get("phase") == "Running"
        return runs, "deletionTimestamp" not in metadata, str(metadata.get("creationTimestamp", ""))

    return max(pods, key=rank)


def _authorities(body: Json) -> list[str]:
    try:
        return redaction.fingerprints(base64.b64decode((body.get("data") or {}).get(_AUTHORITIES, "")))
    except binascii.Error:
        return []


def _prefix(settings: str | None) -> str:
    return _setting(settings, "injection", "annotationPrefix") or DEFAULT_PREFIX


def _setting(settings: str | None, section: str, name: str) -> str:
    """Return a text of the webhook's settings; empty where it is not set, or the settings cannot be read."""
    try:
        values = yaml.safe_load(settings or "")
    except yaml.YAMLError:
        return ""
    found = values.get(section) if isinstance(values, Mapping) else None
    value = found.get(name) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else ""
