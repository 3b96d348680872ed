"""Says whether the API server trusts the certificate, where somebody else makes it and writes caBundle.

A caBundle that was forgotten at a renewal is otherwise seen by nobody but the API server: with failurePolicy Ignore
pods just start without their roles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from trustbind_runtime.kubernetes.client import ApiError, ApiServer
from trustbind_runtime.logs import Logger
from trustbind_webhook.certificates.bundle import certificates_in
from trustbind_webhook.certificates.metrics import CertificateMetrics
from trustbind_webhook.certificates.webhook_configurations import Configuration, Configurations
from trustbind_webhook.settings import Certificates, Server

__all__ = ["Observer", "leads_to"]


class Observer:
    """See the module.

    Args:
        api: the API server.
        settings: see `Certificates`; its mode is ``files``.
        server: says where the certificate is.
        metrics: where it is shown.
        log: where a change is told.
    """

    def __init__(
        self, api: ApiServer, settings: Certificates, server: Server, *, metrics: CertificateMetrics, log: Logger
    ) -> None:
        self._configurations = Configurations(api, settings)
        self._seconds = settings.check_seconds
        self._file = Path(server.cert_file)
        self._metrics = metrics
        self._log = log
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(self._seconds)

    async def check(self) -> None:
        """Look once; what is wrong is told once."""
        try:
            configurations = await self._configurations.read()
            chain = certificates_in(await asyncio.to_thread(self._file.read_bytes))
        except (ApiError, OSError) as error:
            self._metrics.failures.inc()
            self._tell("", f"not known: {error}")
            return
        self._tell("", "")
        for configuration in configurations:
            problem = _problem(configuration, chain)
            self._metrics.in_order.labels(configuration.which).set(float(not problem))
            self._tell(configuration.which, problem)

    def _tell(self, which: str, problem: str) -> None:
        if self._told.get(which, "") == problem:
            return
        self._told[which] = problem
        if problem:
            self._log.warning("the API server may not trust the certificate", configuration=which, problem=problem)
        else:
            self._log.info("the API server trusts the certificate", configuration=which)


def _problem(configuration: Configuration, chain: Sequence[x509.Certificate]) -> str:
    if configuration.version is None:
        return "there is no such webhook configuration"
    if configuration.empty:
        return "caBundle is empty"
    if not all(leads_to(chain, bundle) for bundle in configuration.bundles.values()):
        return "caBundle is stale: none of its authorities signed the serving certificate"
    return ""


def leads_to(chain: Sequence[x509.Certificate], bundle: Sequence[x509.Certificate]) -> bool:
    """Return whether the first certificate of ``chain`` leads to one of ``bundle``, by way of the others."""
    if not chain:
        return False
    at, others = chain[0], chain[1:]
    if at in bundle or any(_issued(at, authority) for authority in bundle):
        return True
    return any(
        _issued(at, other) and leads_to((other, *others[:index], *others[index + 1 :]), bundle)
        for index, other in enumerate(others)
    )


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
