"""Metrics of the operator, in a registry of their own, and what is logged about roles and accounts."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from trustbind import __version__
from trustbind.identity.arns import RoleArn
from trustbind_operator.cluster.cache import Registry
from trustbind_operator.cluster.conditions import ready_condition
from trustbind_runtime.logs import Logger

__all__ = ["Metrics", "Telemetry"]


class Metrics:
    """Everything that is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.commits: Final = Counter(
            "trustbind_operator_commits",
            "Roles that were looked at, by outcome (written, unchanged, or a reason).",
            ("outcome",),
            registry=self.registry,
        )
        self.aws_calls: Final = Counter(
            "trustbind_operator_aws_calls",
            "Calls of AWS, by account, operation and AWS's error code (empty for a success).",
            ("account", "operation", "code"),
            registry=self.registry,
        )
        self.watch_restarts: Final = Counter(
            "trustbind_operator_watch_restarts",
            "Times that a watch ended and was taken up again, by resource and cause.",
            ("resource", "cause"),
            registry=self.registry,
        )
        self.crashes: Final = Counter(
            "trustbind_operator_unexpected_errors",
            "Errors that nobody expected: defects; the log has the trace.",
            registry=self.registry,
        )
        self.backlog: Final = Gauge(
            "trustbind_operator_backlog", "Roles and accounts that are due or being worked on.", registry=self.registry
        )
        self.waiting_pods: Final = Gauge(
            "trustbind_operator_waiting_pods", "Pods that wait at the gate for their bindings.", registry=self.registry
        )
        self.missed_pods: Final = Gauge(
            "trustbind_operator_missed_pods",
            "Running pods that should have been injected and were not, as of the last look.",
            registry=self.registry,
        )
        self.leading: Final = Gauge(
            "trustbind_operator_leading", "1 when this process does the work, 0 on standby.", registry=self.registry
        )
        Info("trustbind_operator_build", "The running version.", registry=self.registry).info({"version": __version__})

    def show(self, registry: Registry, backlog: Callable[[], int]) -> None:
        """Show bindings and backlog, asked for whenever metrics are read."""
        self.backlog.set_function(backlog)
        self.registry.register(_Bindings(registry))


class _Bindings(Collector):
    """Bindings by the reason of their Ready condition."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the gauge."""
        family = GaugeMetricFamily(
            "trustbind_operator_bindings", "RoleBindings, by readiness and reason.", labels=["ready", "reason"]
        )
        tally: Tally[tuple[str, str]] = Tally()
        for entry in list(self._registry.bindings.values()):
            ready = ready_condition(entry.status) or {}
            tally[str(ready.get("status", "Unknown")), str(ready.get("reason", ""))] += 1
        for labels, count in sorted(tally.items()):
            family.add_metric(list(labels), count)
        yield family


class Telemetry:
    """`trustbind_operator.controllers.context.Observer` on metrics and log."""

    def __init__(self, metrics: Metrics, log: Logger) -> None:
        self._metrics = metrics
        self._log = log

    def committed(self, role: RoleArn, outcome: str, written: int, bindings: int) -> None:
        """One role was worked on."""
        self._metrics.commits.labels(outcome).inc()
        if written:
            self._log.info("trust policy written", role=str(role), bindings=bindings, writes=written, outcome=outcome)
        else:
            self._log.debug("trust policy looked at", role=str(role), bindings=bindings, outcome=outcome)

    def associated(self, role: RoleArn, cluster: str, written: int, accounts: int) -> None:
        """The associations of one role were looked at."""
        log = self._log.info if written else self._log.debug
        log("associations kept", role=str(role), cluster=cluster, accounts=accounts, writes=written)

    def failed(self, role: RoleArn, reason: str, message: str) -> None:
        """One role could not be brought in order."""
        self._metrics.commits.labels(reason).inc()
        self._log.warning("trust policy not in order", role=str(role), reason=reason, problem=message)

    def account(self, account_id: str, reason: str, message: str) -> None:
        """One account was looked at."""
        if message:
            self._log.warning("account not in order", account=account_id, reason=reason, problem=message)
        else:
            self._log.debug("account looked at", account=account_id, reason=reason)

    def crashed(self, key: str) -> None:
        """An unexpected exception is being handled."""
        self._metrics.crashes.inc()
        self._log.exception("unexpected error, trying again", what=key)
