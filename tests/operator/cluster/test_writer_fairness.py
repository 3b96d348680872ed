"""Writes to Kubernetes: one namespace's do not delay another one's."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from support.bodies import binding_body
from support.virtual_time import run_virtually
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.cluster.writer import KubernetesWriter
from trustbind_runtime.kubernetes.client import ApiServer
from trustbind_runtime.logs import Logger


class Api:
    """An API server that takes a second for each request.

    Attributes:
        sent: the namespaces of the requests, in the order in which they were answered.
        most: how many were under way at once, at most, by namespace.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()

    async def send(self, _method: str, path: str, _body: Any, **_: Any) -> bytes:
        """Take a request."""
        namespace = path.partition("/namespaces/")[2].partition("/")[0]
        self._now[namespace] += 1
        self.most[namespace] = max(self.most[namespace], self._now[namespace])
        await asyncio.sleep(1)
        self._now[namespace] -= 1
        self.sent.append(namespace)
        return b'{"metadata": {"resourceVersion": "2"}}'


def binding(number: int, namespace: str) -> StoredBinding:
    """Return a binding."""
    return StoredBinding.of(binding_body(f"b{number}", namespace))


def test_statuses_of_one_namespace_do_not_delay_another() -> None:
    """While 500 statuses of one namespace wait, that of another one is written at once."""
    api = Api()

    async def run() -> None:
        writer = KubernetesWriter(cast("ApiServer", api), cast("Logger", None))
        many = [asyncio.create_task(writer.patch_status(binding(n, "evil"), {"n": n})) for n in range(500)]
        await asyncio.sleep(2.5)
        began = asyncio.get_running_loop().time()
        assert await writer.patch_status(binding(0, "team-a"), {}) == "2"
        assert asyncio.get_running_loop().time() - began == 1
        await asyncio.gather(*many)

    run_virtually(run())
    assert api.most["evil"] == 8
    assert len(api.sent) == 501


def test_events_of_one_namespace_do_not_delay_another() -> None:
    """Nor their Events."""
    api = Api()
    transition = Transition("Ready", "True", "TrustApplied", "")

    async def run() -> None:
        writer = KubernetesWriter(cast("ApiServer", api), cast("Logger", None))
        many = [
            asyncio.create_task(
                writer.event("RoleBinding", {"namespace": "evil", "name": f"b{n}", "uid": f"{n}"}, transition)
            )
            for n in range(100)
        ]
        await asyncio.sleep(2.5)
        await writer.event("RoleBinding", {"namespace": "team-a", "name": "b", "uid": "u"}, transition)
        assert len(api.sent) < 20
        await asyncio.gather(*many)

    run_virtually(run())
    assert api.most["evil"] == 2
