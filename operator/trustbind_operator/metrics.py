"""Metrics of the operator, in a registry of their own, and what is logged about roles and accounts."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from trustbind import __version__
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind_runtime.logs import Logger

__all__ = ["Metrics", "State", "Telemetry"]

_UNREADY: Final = 100
_UNREADY_OF_A_NAMESPACE: Final = 10
"""So many bindings have a series of their own, so that one team's cannot fill Prometheus, nor hide another team's."""
_FULLEST: Final = 50
"""So many trust policies have a series of their own."""


@dataclass(frozen=True, slots=True)
class State:
    """What the event loop counted.

    Attributes:
        readiness: number of bindings by status and reason of their Ready condition.
        unready: the reason of each binding that is not Ready.
        fill: by role, the share of the limit that its trust policy takes, 0 to 1.
        drifted: by AWS account, how many roles a survey found not as they are wanted, and no run has mended since.
        backlog: roles and AWSAccounts that are due or under way.
        waiting_pods: pods at the gate.
        missed_pods: as of the last look.
    """

    readiness: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unready: Mapping[BindingRef, str] = field(default_factory=dict)
    fill: Mapping[RoleArn, float] = field(default_factory=dict)
    drifted: Mapping[str, int] = field(default_factory=dict)
    backlog: int = 0
    waiting_pods: int = 0
    missed_pods: int = 0


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
        self.annotated: Final = Gauge(
            "trustbind_operator_annotated_service_accounts",
            "Annotated service accounts by what becomes of them (bindAnnotated), as of the last look.",
            ("state",),
            registry=self.registry,
        )
        self.leading: Final = Gauge(
            "trustbind_operator_leading", "1 when this process does the work, 0 on standby.", registry=self.registry
        )
        self.surveys: Final = Counter(
            "trustbind_operator_surveys",
            "Surveys of AWS accounts that ended, their repairs included.",
            ("account",),
            registry=self.registry,
        )
        self.surveyed_at: Final = Gauge(
            "trustbind_operator_surveyed_timestamp_seconds",
            "When the last survey of an AWS account ended, its repairs included, in seconds since 1970.",
            ("account",),
            registry=self.registry,
        )
        self.stale_reads: Final = Counter(
            "trustbind_operator_stale_reads",
            "Writes that were not sent because the document was read too long before.",
            ("account",),
            registry=self.registry,
        )
        self.paused_revocations: Final = Gauge(
            "trustbind_operator_paused_revocations",
            "Subjects that are to be revoked and stay, since revocation is paused in their AWS account.",
            ("account",),
            registry=self.registry,
        )
        self._state = _State()
        self.registry.register(self._state)
        Info("trustbind_operator_build", "The running version.", registry=self.registry).info({"version": __version__})

    def show_annotated(self, counts: Mapping[str, int]) -> None:
        """Show how many annotated service accounts there are by state."""
        for state, count in counts.items():
            self.annotated.labels(state).set(count)

    def show(self, state: State) -> None:
        """Show what the event loop counted; a scrape runs in a thread of its own and reads these values alone."""
        self._state.show(state)
        self.backlog.set(state.backlog)
        self.waiting_pods.set(state.waiting_pods)
        self.missed_pods.set(state.missed_pods)


_Series = tuple[tuple[tuple[str, ...], float], ...]
"""Values of labels, and the value, of each series of a metric."""


class _State(Collector):
    """What changes with the bindings, so that its series come and go."""

    def __init__(self) -> None:
        self.show(State())

    def show(self, state: State) -> None:
        """Take the series over; they are replaced as a whole, never changed: another thread reads them."""
        fullest = heapq.nlargest(_FULLEST, state.fill.items(), key=itemgetter(1))
        self._series: tuple[_Series, _Series, _Series, _Series] = (
            tuple(sorted(state.readiness.items())),
            _unready(state.unready),
            tuple(sorted(((str(role),), share) for role, share in fullest)),
            tuple(sorted(((account,), count) for account, count in state.drifted.items())),
        )

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the gauges."""
        for (name, documentation, labels), series in zip(_GAUGES, self._series, strict=True):
            family = GaugeMetricFamily(f"trustbind_operator_{name}", documentation, labels=labels)
            for values, value in series:
                family.add_metric(list(values), value)
            yield family


_GAUGES: Final = (
    ("bindings", "RoleBindings, by readiness and reason.", ("ready", "reason")),
    (
        "unready_bindings",
        f"1 for a RoleBinding that is not ready; at most {_UNREADY}, and {_UNREADY_OF_A_NAMESPACE} of a namespace.",
        ("namespace", "name", "reason"),
    ),
    (
        "trust_policy_fill_ratio",
        f"Share of the limit that a role's trust policy takes, as planned last, 0 to 1; of the {_FULLEST} fullest.",
        ("role",),
    ),
    (
        "drifted_roles",
        "Roles that a survey found not as their bindings want them, and that no run has mended since.",
        ("account",),
    ),
)
"""Name, meaning and labels."""


def _unready(reasons: Mapping[BindingRef, str]) -> _Series:
    """Return a series for each binding, as far as they may have one.

    The namespaces take turns, so that few with many unready bindings leave room for the others.
    """
    of_namespace: dict[str, list[BindingRef]] = {}
    for ref in sorted(reasons, key=lambda each: (each.namespace, each.name)):
        of_namespace.setdefault(ref.namespace, []).append(ref)
    turns = itertools.zip_longest(*(refs[:_UNREADY_OF_A_NAMESPACE] for refs in of_namespace.values()))
    shown = itertools.islice((ref for turn in turns for ref in turn if ref is not None), _UNREADY)
    return tuple(((ref.namespace, ref.name, reasons[ref]), 1.0) for ref in shown)


class Telemetry:
    """Logs and metrics of what the controllers do."""

    def __init__(self, metrics: Metrics, log: Logger) -> None:
        self._metrics = metrics
        self._log = log

    def committed(self, role: RoleArn, outcome: str, written: int, bindings: int) -> None:
        """One role's trust policy was reconciled."""
        self._metrics.commits.labels(outcome).inc()
        if written:
            self._log.info("trust policy written", role=str(role), bindings=bindings, writes=written, outcome=outcome)
        else:
            self._log.debug("trust policy read", role=str(role), bindings=bindings, outcome=outcome)

    def associated(self, role: RoleArn, cluster: str, written: int, accounts: int) -> None:
        """One role's EKS Pod Identity associations were reconciled; ``accounts`` service accounts want one."""
        log = self._log.info if written else self._log.debug
        log("associations reconciled", role=str(role), cluster=cluster, service_accounts=accounts, writes=written)

    def failed(self, role: RoleArn, reason: str, message: str) -> None:
        """One role's run failed."""
        self._metrics.commits.labels(reason).inc()
        self._log.warning("trust policy reconciliation failed", role=str(role), reason=reason, problem=message)

    def account(self, account_id: str, reason: str, message: str) -> None:
        """One AWSAccount was reconciled."""
        if message:
            self._log.warning("AWSAccount is not ready", aws_account=account_id, reason=reason, problem=message)
        else:
            self._log.debug("AWSAccount reconciled", aws_account=account_id, reason=reason)

    def surveyed(self, account_id: str, pages: int, reconciled: int) -> None:
        """One survey of an AWS account ended, and the roles that differed were reconciled."""
        self._metrics.surveys.labels(account_id).inc()
        self._metrics.surveyed_at.labels(account_id).set_to_current_time()
        log = self._log.info if reconciled else self._log.debug
        log("AWS account surveyed", aws_account=account_id, pages=pages, reconciled=reconciled)

    def account_gone(self, account_id: str) -> None:
        """No AWSAccount names an AWS account any more: nothing is to be said of it."""
        for gauge in (self._metrics.surveyed_at, self._metrics.paused_revocations):
            with contextlib.suppress(KeyError):
                gauge.remove(account_id)

    def revocation_paused(self, account_id: str, held: int, *, is_new: bool) -> None:
        """Revocation is paused in an AWS account, and so many subjects stay; 0: it goes on."""
        self._metrics.paused_revocations.labels(account_id).set(held)
        if is_new and held:
            self._log.warning("revocation paused", aws_account=account_id, subjects=held)
        elif is_new:
            self._log.info("revocation goes on", aws_account=account_id)

    def called(self, account_id: str, operation: str, code: str) -> None:
        """One call of AWS ended."""
        self._metrics.aws_calls.labels(account_id, operation, code).inc()
        if code == "StaleReadError":
            self._metrics.stale_reads.labels(account_id).inc()

    def crashed(self, key: str) -> None:
        """An unexpected exception is being handled."""
        self._metrics.crashes.inc()
        self._log.exception("unexpected error; retrying", what=key)
