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
from trustbind.api.labels import INJECT
from trustbind.reasons import TrustReason
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.cluster.informer import Seen
from trustbind_operator.controllers.pod.gate_decision import WaitingPod, judge_wait, release_patch
from trustbind_operator.controllers.pod.missed_decision import EvictionRounds, ScannedPod, why_missed
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

_PATIENCE_SECONDS: Final = 5.0
"""A pod that waits longer than this gets an Event that says what for; most are let go before."""

_IN_VAIN: Final = (
    ". It came in place of one that was evicted for that, so it is not evicted within the hour; see whether the "
    "webhook answers, and is asked about pods here"
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
        self._pods: dict[Key, WaitingPod] = {}
        self._told: dict[Key, _Told] = {}
        self._wake = asyncio.Event()

    # --- the store ------------------------------------------------------------------------------------------------

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> WaitingPod | None:  # noqa: ARG002 - as every store
        """Return the pod in ``raw``."""
        return WaitingPod.read(raw)

    def replace(self, items: Mapping[Key, WaitingPod | None]) -> None:
        """Take in a complete list."""
        for key in [key for key in self._pods if key not in items]:
            self.drop(key)
        for key, item in items.items():
            self.put(key, item)

    def put(self, key: Key, item: WaitingPod | None) -> None:
        """Take in one pod."""
        if item is None or not item.gated:
            self.drop(key)
            return
        self._pods[key] = item
        self._wake.set()

    def drop(self, key: Key) -> None:
        """Forget one, if it is there."""
        self._pods.pop(key, None)
        self._told.pop(key, None)

    def __len__(self) -> int:
        return len(self._pods)

    # --- the work -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let pods go until cancelled; while some wait, look at their bindings every so often."""
        while True:
            timeout = _LOOK_SECONDS if self._pods else None
            with suppress(TimeoutError):  # not asyncio.wait_for: see `trustbind_operator.controllers.workqueue`
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            self._wake.clear()
            for key, pod in list(self._pods.items()):
                try:
                    await self._look(key, pod)
                except ApiError as error:
                    self._log.warning("waiting pod not released", pod="/".join(key), problem=str(error))

    async def _look(self, key: Key, pod: WaitingPod) -> None:
        namespace, name = key
        now = self._now()
        verdict = judge_wait(
            pod,
            self._cache.service_accounts.get(namespace, {}).get(pod.account, {}),
            self._cache.in_namespace(namespace),
            now,
            self._limit,
            release_late=self._release_late,
        )
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
        excluded: namespaces that the webhook leaves alone.
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
        excluded: frozenset[str],
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
        self._excluded = excluded
        self._evict = evict
        self._max_evictions = max_evictions
        self._page_size = page_size
        self._told: set[str] = set()
        self._rounds = EvictionRounds(time.monotonic)
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
        found: dict[str, tuple[ScannedPod, str]] = {}
        running = [("fieldSelector", "status.phase=Running")]
        async for page in pages(self._api, "/api/v1/pods", _decode_page, size=self._page_size, query=running):
            for pod in page.items or ():
                if message := self._why(pod):
                    found[pod.metadata.uid] = (pod, message)
        self.count = len(found)
        self._told &= found.keys()
        self._rounds.forget()
        evictions = 0
        for uid, (pod, message) in found.items():
            if uid not in self._told:
                self._told.add(uid)
                metadata = {"namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": uid}
                in_vain = self._evict and pod.controller and not self._rounds.allow(pod)
                text = message + _IN_VAIN if in_vain else message
                await self._events(metadata, Transition("Ready", "False", TrustReason.MISSED, text))
                self._log.warning("pod missed", namespace=pod.metadata.namespace, pod=pod.metadata.name, why=text)
            if self._evict and evictions < self._max_evictions and self._rounds.allow(pod) and await self._evicted(pod):
                evictions += 1
                self._rounds.evicted(pod, (each for each, _ in found.values()))

    def _why(self, pod: ScannedPod) -> str:
        namespace = pod.metadata.namespace
        if namespace in self._excluded or self._cache.namespaces.get(namespace, {}).get(INJECT) == "false":
            return ""  # the webhook is not asked there
        account = self._accounts(namespace, pod.account)
        return why_missed(pod, account, self._cache.in_namespace(namespace), self._keys)

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
