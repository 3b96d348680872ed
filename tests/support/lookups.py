"""The cluster lookup with a stand-in for the API server, inside of the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from support.scripted_kube import ScriptedKube, until
from trustbind_runtime.kubernetes.informer import Pace
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.lookup.api_server import ClusterLookup
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.settings import LookupSettings

__all__ = ["FAST", "ROLE", "Clock", "World", "run", "spec", "world"]

FAST = Pace(
    page_size=500,
    watch_seconds=60,
    idle_seconds=30,
    first_delay_seconds=0.01,
    last_delay_seconds=0.02,
    absent_seconds=0.02,
)
ROLE = "arn:aws:iam::444455556666:role/reader"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


class World:
    """A stand-in, a lookup that talks to it, and what it logged and counted."""

    def __init__(self, kube: ScriptedKube, lookup: ClusterLookup, metrics: Metrics, log: io.StringIO) -> None:
        self.kube = kube
        self.lookup = lookup
        self.metrics = metrics
        self.log = log
        self.clock = Clock()

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def known(self) -> dict[str, bool]:
        """Return what only validation needs, and whether it can be seen."""
        return {
            resource: bool(self.sample("trustbind_webhook_known", resource=resource))
            for resource in ("rolegrants", "awsaccounts", "namespaces")
        }

    async def cached(self, namespace: str, name: str) -> None:
        """Return once the cache itself holds the account."""
        await until(lambda: self.lookup._accounts.get(namespace, name), f"{namespace}/{name} in the cache")


def spec(**content: Any) -> dict[str, Any]:
    """Return the spec of a binding for the account ``app``."""
    return {"roleArn": ROLE, "serviceAccountNames": ["app"], **content}


@contextlib.asynccontextmanager
async def world(
    directory: Path, kube: ScriptedKube, *, pace: Pace = FAST, wait: bool = True, **settings: Any
) -> AsyncIterator[World]:
    """Run a lookup against ``kube``."""
    metrics, log, clock = Metrics(), io.StringIO(), Clock()
    async with kube.running(directory) as kubeconfig:
        lookup = ClusterLookup(
            LookupSettings(kubeconfig=kubeconfig, **settings),
            "eks.amazonaws.com",
            metrics=metrics,
            log=logger(Log(level="debug"), log),
            pace=pace,
            clock=clock,
        )
        await lookup.start()
        result = World(kube, lookup, metrics, log)
        result.clock = clock
        try:
            if wait:
                await asyncio.wait_for(lookup.wait_synced(), 5)
            yield result
        finally:
            await lookup.stop()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function to its end, with a limit."""

    async def limited() -> None:
        await asyncio.wait_for(test(), 15)

    asyncio.run(limited())
