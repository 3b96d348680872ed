"""Metrics of the webhook, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.process_collector import ProcessCollector

from trustbind import __version__
from trustbind.reasons import SkipReason

__all__ = ["END_CAUSES", "LATE_RESULTS", "LIVE_RESULTS", "Metrics"]

LIVE_RESULTS: Final = ("found", "missing", "failed", "limited")
"""What a live read can come to; ``limited``: it was not made, because too many were."""

END_CAUSES: Final = ("idle", "late", "handshake", "displaced", "refused")
"""Why the webhook ended a connection. ``idle``: no request came; ``late``: a request, or the reading of an answer, took
too long; ``handshake``: TLS was not agreed on; ``displaced``: closed to make room for another; ``refused``: there was
no room for it."""

LATE_RESULTS: Final = ("read", "stale")
"""What a decision is made of while a watch is late."""

_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; from a decision out of the cache to the API server's patience."""


class Metrics:
    """Everything that is counted. What the hot path counts is looked up here once, not at every admission."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        admissions = Counter(
            "trustbind_webhook_admissions",
            "Pods decided about, by outcome (injected or skipped) and the reason for skipping.",
            ("outcome", "reason"),
            registry=self.registry,
        )
        self.injected: Final = admissions.labels("injected", "")
        self.skipped: Final = {reason: admissions.labels("skipped", reason.value) for reason in SkipReason}
        self.duration: Final = Histogram(
            "trustbind_webhook_admission_duration_seconds",
            "Time from the request's headers to the answer.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.validations: Final = Counter(
            "trustbind_webhook_validations",
            "Objects of trustbind.dev judged, by kind and outcome: allowed, warned (allowed with warnings), denied,"
            " or failed (let through after a defect).",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self.validation_duration: Final = Histogram(
            "trustbind_webhook_validation_duration_seconds",
            "Time from the request's headers to the answer, of validations.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.refused: Final = Counter(
            "trustbind_webhook_refused_requests",
            "Requests that were no admission review, by HTTP status.",
            ("status",),
            registry=self.registry,
        )
        ended = Counter(
            "trustbind_webhook_connections_ended",
            "Connections of the admission port that the webhook ended, by cause: idle, late, handshake, displaced "
            "(closed to make room for another) or refused (there was no room).",
            ("cause",),
            registry=self.registry,
        )
        self.connections_ended: Final = {cause: ended.labels(cause) for cause in END_CAUSES}
        self._connections = Gauge(
            "trustbind_webhook_connections", "Connections of the admission port.", registry=self.registry
        )
        self._body_bytes = Gauge(
            "trustbind_webhook_body_bytes",
            "Bytes of request bodies that have arrived and are not answered yet.",
            registry=self.registry,
        )
        live = Counter(
            "trustbind_webhook_live_lookups",
            "Reads past the caches: service accounts that were not there, and while a watch was late, accounts and "
            "the bindings of a namespace; by result.",
            ("result",),
            registry=self.registry,
        )
        self.live_lookups: Final = {result: live.labels(result) for result in LIVE_RESULTS}
        late = Counter(
            "trustbind_webhook_late_decisions",
            "Pods decided about while a watch was late, by what was used: read (accounts and bindings were read live) "
            "or stale (what the caches said, since a live read failed or was one too many).",
            ("result",),
            registry=self.registry,
        )
        self.late_decisions: Final = {result: late.labels(result) for result in LATE_RESULTS}
        self._behind = Gauge(
            "trustbind_webhook_watch_behind_seconds",
            "Seconds for which changes may have been missed, by resource; 0 while its watch is open and heard from.",
            ("resource",),
            registry=self.registry,
        )
        self.watch_restarts: Final = Counter(
            "trustbind_webhook_watch_restarts",
            "Times that a watch ended and was taken up again, by resource and cause.",
            ("resource", "cause"),
            registry=self.registry,
        )
        self._cached = Gauge(
            "trustbind_webhook_cached_objects",
            "Objects in the cache, by resource.",
            ("resource",),
            registry=self.registry,
        )
        self.unreadable_bindings: Final = Gauge(
            "trustbind_webhook_unreadable_bindings",
            "RoleBindings that are left out because they cannot be read.",
            registry=self.registry,
        )
        self._known = Gauge(
            "trustbind_webhook_known",
            "1 when a resource that only warnings need can be seen, else 0; by resource.",
            ("resource",),
            registry=self.registry,
        )
        self.synced: Final = Gauge(
            "trustbind_webhook_synced", "1 when the first lists are in, else 0.", registry=self.registry
        )
        self.certificate_expiry: Final = Gauge(
            "trustbind_webhook_certificate_expiry_timestamp_seconds",
            "When the serving certificate ends, in seconds since 1970.",
            registry=self.registry,
        )
        self.certificate_reloads: Final = Counter(
            "trustbind_webhook_certificate_reloads",
            "Times that changed certificate files were taken (loaded) or not (refused).",
            ("result",),
            registry=self.registry,
        )
        Info("trustbind_webhook_build", "The running version.", registry=self.registry).info({"version": __version__})

    def show_port(self, connections: Callable[[], int], body_bytes: Callable[[], int]) -> None:
        """Show the connections of the admission port and the bytes of their bodies whenever metrics are read."""
        self._connections.set_function(connections)
        self._body_bytes.set_function(body_bytes)

    def show_cached(self, resource: str, size: Callable[[], int]) -> None:
        """Show the number of cached objects of ``resource``, asked of ``size`` whenever metrics are read."""
        self._cached.labels(resource).set_function(size)

    def show_known(self, resource: str, known: Callable[[], bool]) -> None:
        """Show whether a resource can be seen, asked of ``known`` whenever metrics are read."""
        self._known.labels(resource).set_function(lambda: float(known()))

    def show_behind(self, resource: str, seconds: Callable[[], float]) -> None:
        """Show how late the watch of ``resource`` is, asked of ``seconds`` whenever metrics are read."""
        self._behind.labels(resource).set_function(seconds)

    def show_synced(self, synced: Callable[[], bool]) -> None:
        """Show whether the first lists are in, asked of ``synced`` whenever metrics are read."""
        self.synced.set_function(lambda: float(synced()))
