"""Waiting and missed pods of many namespaces: the work of one namespace delays no other one's pods."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from support.bodies import ISSUER, binding_body
from support.virtual_time import run_virtually
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.webhook_scope import WebhookScope
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.cluster.informer import Seen
from trustbind_operator.controllers.pod import controller
from trustbind_operator.controllers.pod.controller import GateKeeper, MissedPods
from trustbind_operator.controllers.pod.gate_decision import WaitingPod, judge_wait
from trustbind_runtime.kubernetes.client import ApiError, ApiServer
from trustbind_runtime.logs import Logger

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = AnnotationKeys.under("eks.amazonaws.com")
READY = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 1,
            "reason": "TrustApplied",
            "lastTransitionTime": "2026-01-01T12:00:00Z",
        }
    ],
}


class Log:
    """Takes everything."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Api:
    """An API server that takes its time, and notes what is sent.

    Attributes:
        sent: the namespaces of pods that were released or evicted, in order.
        pods: what a list of pods gives.
        refused: namespaces in which an eviction is refused.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.sent: list[str] = []
        self.pods: list[dict[str, Any]] = []
        self.refused: frozenset[str] = frozenset()
        self._seconds = seconds

    async def send(self, _method: str, path: str, _body: Any, **_: Any) -> None:
        """Release or evict a pod."""
        await asyncio.sleep(self._seconds)
        namespace = path.split("/")[4]
        self.sent.append(namespace)
        if namespace in self.refused:
            raise ApiError(429, "a budget does not allow it")

    async def get(self, _path: str, _query: Any = (), **_: Any) -> bytes:
        """List pods."""
        return json.dumps({"metadata": {}, "items": self.pods}).encode()


async def nothing(_: Mapping[str, Any], __: Transition) -> None:
    """Post no Event."""


def keeper_of(cache: ClusterCache, api: Api) -> GateKeeper:
    """Return a gate keeper."""
    return GateKeeper(
        cast("ApiServer", api),
        cache,
        nothing,
        cast("Logger", Log()),
        limit_seconds=300,
        release_late=True,
        now=lambda: NOW,
    )


def missed_of(cache: ClusterCache, api: Api, *, max_evictions: int = 10) -> MissedPods:
    """Return what looks for missed pods, and evicts them."""
    return MissedPods(
        cast("ApiServer", api),
        cache,
        lambda _namespace, _name: Seen("uid", {}, {}),
        nothing,
        cast("Logger", Log()),
        keys=KEYS,
        scope=WebhookScope(),
        evict=True,
        max_evictions=max_evictions,
    )


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count by namespace how often the bindings of a service account are asked for."""
    counts: Counter[str] = Counter()
    naming = ClusterCache.naming

    def counted(self: ClusterCache, namespace: str, service_account: str) -> list[StoredBinding]:
        counts[namespace] += 1
        return naming(self, namespace, service_account)

    with monkeypatch.context() as patch:
        patch.setattr(ClusterCache, "naming", counted)
        yield counts


def cache_of(*bodies: dict[str, Any]) -> ClusterCache:
    """Return a cache of these bindings."""
    cache = ClusterCache(ISSUER)
    for body in bodies:
        cache.put_binding(StoredBinding.of(body))
    return cache


def waiting(account: str = "app") -> WaitingPod:
    """Return a pod that has just come."""
    return WaitingPod("uid", account, NOW, gated=True)


Scene = Callable[[GateKeeper, Api], Awaitable[None]]


def play(cache: ClusterCache, scene: Scene, seconds: float = 0.0) -> Api:
    """Let a scene happen while pods are let go."""
    api = Api(seconds)

    async def run() -> None:
        keeper = keeper_of(cache, api)
        work = asyncio.create_task(keeper.run())
        await scene(keeper, api)
        work.cancel()

    run_virtually(run())
    return api


def test_bindings_are_asked_once_for_each_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pods wait, and again only when something of their namespace has changed."""
    cache = cache_of(*(binding_body(f"b{n}", "evil", waitUntilReady=True) for n in range(300)))

    async def scene(keeper: GateKeeper, _: Api) -> None:
        for number in range(1000):
            keeper.put(("evil", f"p{number}"), waiting())
        await asyncio.sleep(5)
        assert counts == {"evil": 1}
        cache.put_binding(StoredBinding.of(binding_body("mine", "team-a")))
        await asyncio.sleep(5)
        assert counts == {"evil": 1}
        cache.put_binding(StoredBinding.of(binding_body("one-more", "evil", waitUntilReady=True)))
        await asyncio.sleep(5)
        assert counts == {"evil": 2}

    with asked(monkeypatch) as counts:
        play(cache, scene)


def test_event_loop_has_its_turn_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a number of pods, and after each service account whose bindings were asked for."""
    cache = cache_of(*(binding_body(f"b{n}", "evil", waitUntilReady=True) for n in range(100)))
    looks = 0
    judge = judge_wait

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal looks
        looks += 1
        return judge(*arguments, **more)

    async def scene(keeper: GateKeeper, _: Api) -> None:
        for number in range(500):
            keeper.put(("evil", f"p{number}"), waiting(f"a{number % 100}"))
        steps = []
        while looks < 500:
            before, before_asked = looks, counts["evil"]
            await asyncio.sleep(0)
            steps.append((looks - before, counts["evil"] - before_asked))
        assert max(step for step, _ in steps) <= 51
        assert max(step for _, step in steps) <= 2

    monkeypatch.setattr(controller, "judge_wait", counted)
    with asked(monkeypatch) as counts:
        play(cache, scene)


def test_pods_of_another_namespace_do_not_wait() -> None:
    """While 500 pods of one namespace are let go, a call of some time for each, another one's pod goes at once."""
    cache = cache_of(
        binding_body("b", "evil", waitUntilReady=True, status=READY),
        binding_body("b", "team-a", waitUntilReady=True, status=READY),
    )

    async def scene(keeper: GateKeeper, api: Api) -> None:
        for number in range(500):
            keeper.put(("evil", f"p{number}"), waiting())
        await asyncio.sleep(1)
        keeper.put(("team-a", "p"), waiting())
        await asyncio.sleep(1)
        assert "team-a" in api.sent
        await asyncio.sleep(100)
        assert len(keeper) == 0

    sent = play(cache, scene, seconds=0.1).sent
    assert sent.index("team-a") < 20
    assert Counter(sent) == {"evil": 500, "team-a": 1}


def scanned(namespace: str, number: int, controller_uid: str = "rs", account: str = "app") -> dict[str, Any]:
    """Return a running pod that a controller made."""
    return {
        "metadata": {
            "name": f"p{number}",
            "namespace": namespace,
            "uid": f"{namespace}-{number}",
            "ownerReferences": [{"controller": True, "uid": f"{namespace}-{controller_uid}"}],
        },
        "spec": {"serviceAccountName": account},
    }


@pytest.mark.parametrize("refused", [frozenset(), frozenset({"evil"})])
def test_one_namespace_does_not_use_up_the_evictions(refused: frozenset[str]) -> None:
    """Of each look every namespace gets its share, also where evictions of another one are refused."""
    cache = cache_of(*(binding_body("b", namespace) for namespace in ("evil", "team-a", "team-b")))
    api = Api()
    api.refused = refused
    api.pods = [scanned("evil", n) for n in range(1000)] + [scanned(t, n) for t in ("team-a", "team-b") for n in (1, 2)]

    run_virtually(missed_of(cache, api, max_evictions=6).look())

    evicted = Counter(api.sent)
    assert (evicted["team-a"], evicted["team-b"]) == (2, 2)
    assert evicted["evil"] <= 60


def test_namespaces_that_had_no_eviction_come_first_the_next_time() -> None:
    """With more namespaces than evictions, each gets one after some looks."""
    cache = cache_of(*(binding_body("b", f"team-{n}") for n in range(5)))
    api = Api()
    api.pods = [scanned(f"team-{n}", i) for n in range(5) for i in range(9)]

    async def run() -> None:
        missed = missed_of(cache, api, max_evictions=2)
        for _ in range(3):
            await missed.look()

    run_virtually(run())
    assert set(api.sent[:5]) == {f"team-{n}" for n in range(5)}


def test_bindings_are_asked_once_for_each_service_account_of_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each pod."""
    cache = cache_of(*(binding_body(f"b{n}", "evil") for n in range(100)))
    api = Api()
    api.pods = [scanned("evil", n, account=f"a{n % 7}") for n in range(700)]

    with asked(monkeypatch) as counts:
        run_virtually(missed_of(cache, api).look())

    assert counts == {"evil": 7}
