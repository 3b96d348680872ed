"""What the operator does about pods: lets waiting ones go, and tells of those that were missed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trustbind.api.annotations import AnnotationKeys
from trustbind.api.webhook_scope import WebhookScope
from trustbind.reasons import TrustReason
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.cluster.informer import Seen
from trustbind_operator.controllers.pod.gate_decision import Wait, WaitingPod, judge_wait, release_patch, wait_of
from trustbind_operator.controllers.pod.missed_decision import (
    EvictionRounds,
    Missed,
    ScannedPod,
    binding_of,
    in_turns,
    why_missed,
)
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.kubernetes.informer import Key
from trustbind_runtime.kubernetes.pages import ListPage, pages
from trustbind_runtime.logs import Logger

__all__ = ["GateKeeper", "MissedPods", "PodEvents"]

STRATEGIC: Final = "application/strategic-merge-patch+json"
TOO_MANY: Final = 429
"""What the API server answers to an eviction that a PodDisruptionBudget does not allow now."""

_LOOK_SECONDS: Final = 0.5
"""Between two looks at what waiting pods wait for; it costs no call."""

_PODS_A_SLICE: Final = 50
"""Looks until the event loop has its turn; each costs some microseconds, and more where the bindings are asked."""

_REST_PER_POD_SECONDS: Final = 0.0005
_REST_PER_ACCOUNT_SECONDS: Final = 0.005
"""After a round, for each pod and each service account whose bindings were asked: a namespace of very many waiting pods
is looked at less often, and takes a small share of the CPU."""

_PATIENCE_SECONDS: Final = 5.0
"""A pod that waits longer than this gets an Event that says what for; most are let go before."""

_ATTEMPTS: Final = 10
"""For each eviction of a look, how many may be tried: a PodDisruptionBudget can refuse them all."""

_IN_VAIN: Final = (
    ". It came in place of one that was evicted for that, so it is not evicted for now; see whether the webhook "
    "answers, and is asked about pods here"
)

PodEvents = Callable[[Mapping[str, Any], Transition], Any]
"""Posts an Event about a pod: takes its metadata (namespace, name, uid) and what to say; awaitable."""


@dataclass(frozen=True, slots=True)
class _Told:
    """Which Events a waiting pod has had."""

    waiting: bool = False
    timed_out: bool = False


class GateKeeper:
    """A store for a watch of waiting pods, which lets each go when its bindings are Ready.

    Args:
        api: the API server.
        cache: what is known of bindings and service accounts.
        events: posts Events.
        log: what was done.
        limit_seconds: how long a pod may wait.
        release_late: whether it is let go after that.
        now: the time, aware.
    """

    def __init__(
        self,
        api: ApiServer,
        cache: ClusterCache,
        events: PodEvents,
        log: Logger,
        *,
        limit_seconds: float,
        release_late: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._cache = cache
        self._events = events
        self._log = log
        self._limit = timedelta(seconds=limit_seconds)
        self._release_late = release_late
        self._now = now
        self._pods: dict[str, dict[str, WaitingPod]] = {}
        """By namespace and name."""
        self._told: dict[Key, _Told] = {}
        self._waits: dict[str, tuple[int, dict[str, Wait]]] = {}
        """By namespace, what the pods of each service account wait for, at a version of the cache."""
        self._kept: set[str] = set()
        """Namespaces that a task looks at."""
        self._wake = asyncio.Event()
        self._wakes: dict[str, asyncio.Event] = {}

    # --- the store ------------------------------------------------------------------------------------------------

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> WaitingPod | None:  # noqa: ARG002 - as every store
        """Return the pod in ``raw``."""
        return WaitingPod.read(raw)

    def replace(self, items: Mapping[Key, WaitingPod | None]) -> None:
        """Take in a complete list."""
        for key in [(namespace, name) for namespace, pods in self._pods.items() for name in pods]:
            if key not in items:
                self.drop(key)
        for key, item in items.items():
            self.put(key, item)

    def put(self, key: Key, item: WaitingPod | None) -> None:
        """Take in one pod."""
        if item is None or not item.gated:
            self.drop(key)
            return
        namespace, name = key
        self._pods.setdefault(namespace, {})[name] = item
        self._wakes.setdefault(namespace, asyncio.Event()).set()
        self._wake.set()

    def drop(self, key: Key) -> None:
        """Forget one, if it is there."""
        namespace, name = key
        self._told.pop(key, None)
        pods = self._pods.get(namespace, {})
        if pods.pop(name, None) is not None and not pods:
            del self._pods[namespace]

    def __len__(self) -> int:
        return sum(map(len, self._pods.values()))

    # --- the work -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let pods go until cancelled; while some wait, look at their bindings every so often.

        Each namespace has a task of its own, so that its pods wait for no other one's.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for namespace in self._pods.keys() - self._kept:
                    self._kept.add(namespace)
                    group.create_task(self._keep(namespace))

    async def _keep(self, namespace: str) -> None:
        """Look at a namespace's pods until none waits any more."""
        wake = self._wakes[namespace]
        try:
            while namespace in self._pods:
                wake.clear()
                looked, computed = await self._look_at_all(namespace)
                rest = looked * _REST_PER_POD_SECONDS + computed * _REST_PER_ACCOUNT_SECONDS
                await asyncio.sleep(rest)
                with suppress(TimeoutError):  # not asyncio.wait_for: see `trustbind_operator.controllers.workqueue`
                    async with asyncio.timeout(max(0.0, _LOOK_SECONDS - rest)):
                        await wake.wait()
        finally:
            self._kept.discard(namespace)
            self._waits.pop(namespace, None)
            self._wakes.pop(namespace, None)

    async def _look_at_all(self, namespace: str) -> tuple[int, int]:
        """Look at each pod; return how many there were, and for how many service accounts the bindings were asked."""
        looked = computed = 0
        for name, pod in list(self._pods.get(namespace, {}).items()):
            looked += 1
            wait, is_new = self._wait(namespace, pod.account)
            computed += is_new
            if is_new or not looked % _PODS_A_SLICE:
                await asyncio.sleep(0)
            try:
                await self._look((namespace, name), pod, wait)
            except ApiError as error:
                self._log.warning("waiting pod not released", pod=f"{namespace}/{name}", problem=str(error))
        return looked, computed

    def _wait(self, namespace: str, account: str) -> tuple[Wait, bool]:
        """Return what the pods of a service account wait for, and whether it had to be computed."""
        version = self._cache.version(namespace)
        known = self._waits.get(namespace)
        if known is None or known[0] != version:
            known = self._waits[namespace] = version, {}
        if account in known[1]:
            return known[1][account], False
        wait = known[1][account] = wait_of(self._cache.naming(namespace, account))
        return wait, True

    async def _look(self, key: Key, pod: WaitingPod, wait: Wait) -> None:
        namespace, name = key
        now = self._now()
        verdict = judge_wait(pod, wait, now, self._limit, release_late=self._release_late)
        told = self._told.get(key, _Told())
        metadata = {"namespace": namespace, "name": name, "uid": pod.uid}
        if verdict.timed_out and not told.timed_out:
            self._told[key] = _Told(waiting=True, timed_out=True)
            await self._tell(metadata, TrustReason.WAITED_TOO_LONG, verdict.message, well=False)
        elif not verdict.release and not told.waiting and (now - pod.created).total_seconds() > _PATIENCE_SECONDS:
            self._told[key] = _Told(waiting=True)
            await self._tell(metadata, TrustReason.WAITING, verdict.message, well=True)
        if not verdict.release:
            return
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}"
        try:
            await self._api.send("PATCH", path, {**release_patch(), **_uid(pod)}, content_type=STRATEGIC)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
        self.drop(key)
        self._log.info("pod released", namespace=namespace, pod=name, late=verdict.timed_out)
        if told.waiting and not verdict.timed_out:
            await self._tell(metadata, TrustReason.RELEASED, verdict.message, well=True)

    async def _tell(self, metadata: Mapping[str, Any], reason: TrustReason, message: str, *, well: bool) -> None:
        await self._events(metadata, Transition("Ready", "True" if well else "False", reason, message))


class MissedPods:
    """Looks through all running pods once in a while for those that should have been injected.

    Args:
        api: the API server.
        cache: what is known of bindings.
        accounts: returns a service account by namespace and name.
        events: posts Events.
        log: what was found.
        keys: of the annotations.
        scope: which pods the webhook is called for.
        evict: whether such pods are evicted, where a controller would create them again.
        max_evictions: in one look; the rest comes next time.
        page_size: pods in one page of the list.
    """

    def __init__(
        self,
        api: ApiServer,
        cache: ClusterCache,
        accounts: Callable[[str, str], Seen | None],
        events: PodEvents,
        log: Logger,
        *,
        keys: AnnotationKeys,
        scope: WebhookScope,
        evict: bool,
        max_evictions: int = 10,
        page_size: int = 500,
    ) -> None:
        self._api = api
        self._cache = cache
        self._accounts = accounts
        self._events = events
        self._log = log
        self._keys = keys
        self._scope = scope
        self._evict = evict
        self._max_evictions = max_evictions
        self._page_size = page_size
        self._told: set[str] = set()
        self._rounds = EvictionRounds(time.monotonic)
        self._looks = 0
        self._served: dict[str, int] = {}
        """By namespace, the look at which its pods were evicted last."""
        self.count = 0
        """How many there were at the last look."""

    async def run(self, interval_seconds: float) -> None:
        """Look every ``interval_seconds`` until cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            try:
                await self.look()
            except ApiError as error:
                self._log.warning("pods not looked through", problem=str(error))

    async def look(self) -> None:
        """Look once.

        Raises:
            ApiError: the pods cannot be listed.
        """
        found: dict[str, tuple[ScannedPod, Missed]] = {}
        bound: dict[Key, str] = {}
        running = [("fieldSelector", "status.phase=Running")]
        async for page in pages(self._api, "/api/v1/pods", _decode_page, size=self._page_size, query=running):
            for number, pod in enumerate(page.items or ()):
                asked = len(bound)
                if missed := self._why(pod, bound):
                    found[pod.metadata.uid] = (pod, missed)
                if len(bound) != asked or not number % _PODS_A_SLICE:
                    await asyncio.sleep(0)
        self.count = len(found)
        self._told &= found.keys()
        self._rounds.forget()
        for uid, (pod, missed) in found.items():
            if uid not in self._told:
                self._told.add(uid)
                await self._tell(pod, missed)
        if self._evict:
            await self._evict_some([pod for pod, missed in found.values() if missed.is_evictable])

    async def _tell(self, pod: ScannedPod, missed: Missed) -> None:
        metadata = {"namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.metadata.uid}
        in_vain = self._evict and missed.is_evictable and pod.controller and not self._rounds.allow(pod)
        text = missed.message + _IN_VAIN if in_vain else missed.message
        await self._events(metadata, Transition("Ready", "False", TrustReason.MISSED, text))
        self._log.warning("pod missed", namespace=pod.metadata.namespace, pod=pod.metadata.name, why=text)

    async def _evict_some(self, missed: list[ScannedPod]) -> None:
        """Evict some pods, of each namespace in turn."""
        self._looks += 1
        evictions = attempts = 0
        namespaces = {pod.metadata.namespace for pod in missed}
        self._served = {namespace: look for namespace, look in self._served.items() if namespace in namespaces}
        for pod in in_turns(missed, self._served):
            if evictions == self._max_evictions or attempts == self._max_evictions * _ATTEMPTS:
                return
            if not self._rounds.allow(pod):
                continue
            attempts += 1
            self._served[pod.metadata.namespace] = self._looks
            if await self._evicted(pod):
                evictions += 1
                self._rounds.evicted(pod, missed)

    def _why(self, pod: ScannedPod, bound: dict[Key, str]) -> Missed | None:
        """Return why a pod should have been injected; ``bound`` remembers the bindings of service accounts."""
        key = namespace, account = pod.metadata.namespace, pod.account
        if self._scope.left_out(namespace, self._cache.namespaces.get(namespace, {})):
            return None  # the webhook is not asked there
        if key not in bound:
            bound[key] = binding_of(self._cache.naming(namespace, account))
        return why_missed(pod, self._accounts(namespace, account), bound[key], self._keys)

    async def _evicted(self, pod: ScannedPod) -> bool:
        """Evict one pod, where its PodDisruptionBudget allows it; return whether it did."""
        namespace, name = pod.metadata.namespace, pod.metadata.name
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": name},
            "deleteOptions": {"preconditions": {"uid": pod.metadata.uid}},
        }
        try:
            await self._api.send("POST", f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}/eviction", body)
        except ApiError as error:
            # One that its budget does not allow now is tried again at the next look.
            if error.status not in {NOT_FOUND, TOO_MANY}:
                self._log.warning("missed pod not evicted", namespace=namespace, pod=name, problem=str(error))
            return False
        self._log.info("missed pod evicted", namespace=namespace, pod=name)
        return True


class _Page(ListPage, frozen=True):
    items: list[ScannedPod] | None = None


_decode_page = msgspec.json.Decoder(_Page).decode


def _uid(pod: WaitingPod) -> dict[str, Any]:
    """Return a precondition: not another pod of the same name."""
    labels = release_patch()["metadata"]["labels"]
    return {"metadata": {"uid": pod.uid, "labels": labels}}
