"""Metrics: a scrape runs in a thread of its own, while the event loop goes on."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import generate_latest

from support.bodies import ISSUER, ROLE, binding_body
from support.fake_telemetry import FakeTelemetry
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.metrics import Metrics

THREADS = 8
CHANGES = 2000


def test_scrapes_while_bindings_change() -> None:
    """No scrape fails, and each shows a state that there was: all bindings of one moment."""
    metrics, cache = Metrics(), ClusterCache(ISSUER)
    is_over = threading.Event()

    def scrape() -> int:
        count = 0
        while not is_over.is_set() or not count:
            text = generate_latest(metrics.registry).decode()
            shown = [
                float(line.rsplit(" ", 1)[1])
                for line in text.splitlines()
                if line.startswith("trustbind_operator_bindings{")
            ]
            assert sum(shown) in {0.0, 100.0}, shown
            count += 1
        return count

    for number in range(100):
        cache.put_binding(StoredBinding.of(binding_body(f"b{number}")))
    refs = list(cache.bindings)
    with ThreadPoolExecutor(THREADS) as pool:
        scrapes = [pool.submit(scrape) for _ in range(THREADS)]
        try:
            for number in range(CHANGES):
                stored = cache.bindings[refs[number % len(refs)]]
                condition = {"type": "Ready", "status": "False", "reason": f"Reason{number}"}
                cache.restate(stored, {"conditions": [condition]}, str(number + 2))
                metrics.show(cache.readiness, number, number, number)
        finally:
            is_over.set()
        assert all(scrape.result() > 0 for scrape in scrapes)


def test_bindings_by_reason() -> None:
    """As they were shown last; what is counted afterwards does not change it."""
    metrics = Metrics()
    readiness = Counter({("True", "TrustApplied"): 2, ("False", "NotGranted"): 1})
    metrics.show(readiness, 5, 6, 7)
    readiness["True", "TrustApplied"] = 9

    def sample(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"trustbind_operator_{name}", labels)

    assert sample("bindings", ready="True", reason="TrustApplied") == 2
    assert sample("bindings", ready="False", reason="NotGranted") == 1
    assert (sample("backlog"), sample("waiting_pods"), sample("missed_pods")) == (5, 6, 7)
    metrics.show({}, 0, 0, 0)
    assert sample("bindings", ready="True", reason="TrustApplied") is None


def test_what_is_counted() -> None:
    """Runs by outcome, calls of AWS by code, stale reads and surveys by AWS account."""
    telemetry = FakeTelemetry()
    telemetry.committed(ROLE, "written", 1, 1)
    telemetry.failed(ROLE, "Throttled", "slow")
    telemetry.called("444455556666", "GetRole", "")
    telemetry.called("444455556666", "UpdateAssumeRolePolicy", "StaleReadError")
    telemetry.surveyed("444455556666", 1, 0)

    def sample(name: str, **labels: str) -> float | None:
        return telemetry.metrics.registry.get_sample_value(f"trustbind_operator_{name}_total", labels)

    account = "444455556666"
    assert sample("commits", outcome="written") == sample("commits", outcome="Throttled") == 1
    assert sample("aws_calls", account=account, operation="GetRole", code="") == 1
    assert sample("stale_reads", account=account) == 1
    assert sample("surveys", account=account) == 1
