"""Metrics of certificates that the webhook makes itself."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["CertificateMetrics"]


class CertificateMetrics:
    """Everything that is counted about them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.made: Final = Counter(
            "trustbind_webhook_certificates_made",
            "Times that this replica wrote new certificates into the Secret.",
            registry=registry,
        )
        self.repairs: Final = Counter(
            "trustbind_webhook_ca_bundle_repairs",
            "Times that caBundle was not what it should be and was written, by webhook configuration.",
            ("configuration",),
            registry=registry,
        )
        self.in_order: Final = Gauge(
            "trustbind_webhook_ca_bundle_in_order",
            "1 when caBundle is what it should be, 0 when it is not or the webhook configuration is not there.",
            ("configuration",),
            registry=registry,
        )
        self.failures: Final = Counter(
            "trustbind_webhook_certificate_failures",
            "Looks at Secret and webhook configurations that failed.",
            registry=registry,
        )
        self.authority_expiry: Final = Gauge(
            "trustbind_webhook_authority_expiry_timestamp_seconds",
            "When the newest authority ends, in seconds since 1970.",
            registry=registry,
        )
