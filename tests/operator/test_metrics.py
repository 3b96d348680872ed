"""Metrics: a scrape runs in a thread of its own, while the event loop goes on."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import generate_latest

from support.bodies import ISSUER, ROLE, binding_body
from support.fake_telemetry import FakeTelemetry
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.metrics import Metrics, State

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
                metrics.show(State(cache.readiness.counts, cache.readiness.unready, backlog=number))
        finally:
            is_over.set()
        assert all(scrape.result() > 0 for scrape in scrapes)


def test_bindings_by_reason() -> None:
    """As they were shown last; what is counted afterwards does not change it."""
    metrics = Metrics()
    readiness = Counter({("True", "TrustApplied"): 2, ("False", "NotGranted"): 1})
    metrics.show(State(readiness, backlog=5, waiting_pods=6, missed_pods=7))
    readiness["True", "TrustApplied"] = 9

    def sample(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"trustbind_operator_{name}", labels)

    assert sample("bindings", ready="True", reason="TrustApplied") == 2
    assert sample("bindings", ready="False", reason="NotGranted") == 1
    assert (sample("backlog"), sample("waiting_pods"), sample("missed_pods")) == (5, 6, 7)
    metrics.show(State())
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


def _series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the series of a gauge by the values of its labels."""
    (family,) = (f for f in metrics.registry.collect() if f.name == f"trustbind_operator_{name}")
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_unready_bindings_are_named_and_bounded() -> None:
    """One team's many do not hide another team's, and no more than a hundred are named."""
    metrics = Metrics()
    crowd = {BindingRef(f"team-{team:02}", f"b{number:03}"): "NotGranted" for team in range(3) for number in range(50)}
    metrics.show(State(unready={**crowd, BindingRef("zoo", "lion"): "RoleNotFound"}))
    shown = _series(metrics, "unready_bindings")
    assert len(shown) == 31
    assert shown["zoo", "lion", "RoleNotFound"] == 1

    crowd = {BindingRef(f"team-{team:02}", f"b{number:03}"): "" for team in range(12) for number in range(50)}
    metrics.show(State(unready={**crowd, BindingRef("zoo", "lion"): "RoleNotFound"}))
    shown = _series(metrics, "unready_bindings")
    assert len(shown) == 100
    assert ("zoo", "lion", "RoleNotFound") in shown

    metrics.show(State(unready={BindingRef(f"team-{team:03}", "b"): "" for team in range(150)}))
    assert len(_series(metrics, "unready_bindings")) == 100
    metrics.show(State())
    assert _series(metrics, "unready_bindings") == {}


def test_the_fullest_trust_policies_are_named() -> None:
    """So many that no fleet fills Prometheus."""
    metrics = Metrics()
    roles = {RoleArn("aws", "444455556666", "/", f"role-{number:03}"): number / 100 for number in range(100)}
    metrics.show(State(fill=roles, drifted={"444455556666": 3}))
    shown = _series(metrics, "trust_policy_fill_ratio")
    assert len(shown) == 50
    assert min(shown.values()) == 0.5
    assert _series(metrics, "drifted_roles") == {("444455556666",): 3}


def test_the_cache_knows_who_is_not_ready() -> None:
    """As their stored conditions say, and no longer once they are Ready or gone."""
    cache = ClusterCache(ISSUER)
    for name in ("a", "b"):
        cache.put_binding(StoredBinding.of(binding_body(name)))
    first, second = cache.bindings.values()
    assert cache.readiness.unready == {first.ref: "", second.ref: ""}
    refused = {"type": "Ready", "status": "False", "reason": "NotGranted"}
    cache.restate(first, {"conditions": [refused]}, "2")
    cache.restate(second, {"conditions": [{"type": "Ready", "status": "True", "reason": "TrustApplied"}]}, "3")
    assert cache.readiness.unready == {first.ref: "NotGranted"}
    cache.drop_binding(first.ref)
    assert cache.readiness.unready == {}


def test_an_aws_account_that_nobody_describes_any_more_is_not_shown() -> None:
    """Else the alert about its surveys would stay for ever."""
    telemetry = FakeTelemetry()
    telemetry.account_gone("444455556666")
    telemetry.surveyed("444455556666", 1, 0)
    assert list(_series(telemetry.metrics, "surveyed_timestamp_seconds")) == [("444455556666",)]
    telemetry.account_gone("444455556666")
    assert _series(telemetry.metrics, "surveyed_timestamp_seconds") == {}
