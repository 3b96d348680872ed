"""Keeps the certificate: in the Secret that all replicas share, in this replica's files, and in caBundle.

Whichever replica is first writes; the API server refuses the second one's write, since it names the version that it has
read, and that one reads again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.logs import Logger
from trustbind_webhook.certificates import rotation_plan, signer
from trustbind_webhook.certificates.bundle import BadMaterialError, Material, same
from trustbind_webhook.certificates.metrics import CertificateMetrics
from trustbind_webhook.certificates.rotation_plan import Policy
from trustbind_webhook.certificates.serving import CertificateError
from trustbind_webhook.certificates.signer import KeyMaker
from trustbind_webhook.certificates.webhook_configurations import CALL_SECONDS, Configuration, Configurations, get
from trustbind_webhook.settings import Certificates, Server

__all__ = ["Keeper", "policy_of"]

CONFLICT: Final = 409

_START_SECONDS: Final = 60.0
"""For the first certificate: RBAC and the API server may come a little later than the pod."""

_EAGER_SECONDS: Final = 0.5
"""Between two looks until the API server trusts this replica for the first time: it gets no requests before."""

_TRIES: Final = 5
"""Writes that another replica's may come before, in one look."""


def policy_of(settings: Certificates) -> Policy:
    """Return what the settings ask for."""
    service, namespace = settings.service_name, settings.namespace
    return Policy(
        names=frozenset({f"{service}.{namespace}.svc", f"{service}.{namespace}"}),
        ca_validity=timedelta(days=settings.ca_validity_days),
        serving_validity=timedelta(days=settings.serving_validity_days),
        renew_before=timedelta(days=settings.renew_before_days),
        settle=timedelta(seconds=settings.settle_seconds),
    )


class Keeper:
    """See the module.

    Args:
        api: the API server.
        settings: see `Certificates`; its mode is ``self``.
        server: says where the files are.
        metrics: where looks and repairs are counted.
        log: where they are told.
        now: the time.
        make_key: returns a new key.
    """

    def __init__(
        self,
        api: ApiServer,
        settings: Certificates,
        server: Server,
        *,
        metrics: CertificateMetrics,
        log: Logger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        make_key: KeyMaker = signer.new_key,
    ) -> None:
        self._api = api
        self._settings = settings
        self._policy = policy_of(settings)
        self._files = (Path(server.cert_file), Path(server.key_file))
        self._metrics = metrics
        self._log = log
        self._now = now
        self._make_key = make_key
        self._held: Material | None = None
        self._had_owner = False
        """Whether a webhook configuration was there once."""
        self._told = ""
        self.announced = asyncio.Event()
        self._configurations = Configurations(api, settings)
        self._secrets = f"/api/v1/namespaces/{quote(settings.namespace)}/secrets"

    async def prepare(self) -> None:
        """Return when the files are there.

        Raises:
            CertificateError: not within a minute; with what the API server said last.
        """
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while True:
            await self.check()
            if self._held is not None:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise CertificateError(f"there is no certificate, and none can be made: {self._told}")
            await asyncio.sleep(_EAGER_SECONDS)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.check_seconds if self.announced.is_set() else _EAGER_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Look once, and bring in order what is not; a failure is told once and does not end anything."""
        try:
            await self._check()
        except (ApiError, CertificateError) as error:
            if isinstance(error, ApiError) and error.status == CONFLICT:
                return  # somebody else has just written what we would have; the next look sees it
            self._metrics.failures.inc()
            if self._told != (told := str(error)):
                self._told = told
                self._log.warning("certificate not looked after, trying again", problem=told)
        else:
            self._told = ""

    async def _check(self) -> None:
        for _ in range(_TRIES):
            # The Secret is read last: it is never older than the configurations, whose version is named when they are
            # written. So no replica writes an older bundle over a newer one.
            configurations = await self._configurations.read()
            secret = await get(self._api, f"{self._secrets}/{quote(self._settings.secret_name)}")
            owners = [dict(c.owner) for c in configurations if c.owner is not None][:1]
            if secret is None and not owners and self._had_owner:
                return  # trustbind is being uninstalled: a Secret without an owner would stay for ever
            self._had_owner = self._had_owner or bool(owners)
            current = self._read(secret)
            planned = rotation_plan.plan(
                current,
                self._policy,
                self._now(),
                announced=current is not None
                and all(c.trusts(current.authorities[0].certificate) for c in configurations),
            )
            wanted = current
            if planned.changes or wanted is None:
                wanted = signer.carried_out(planned, current, self._policy, self._now(), self._make_key)
            if await self._stored(secret, wanted, owners):
                break
        else:
            raise CertificateError("other replicas keep changing the Secret")
        if planned.changes:
            self._metrics.made.inc()
            self._log.info(
                "certificates made",
                why=planned.why,
                authorities=len(wanted.authorities),
                end=wanted.serving.certificate.not_valid_after_utc.isoformat(),
            )
        self._metrics.authority_expiry.set(wanted.authorities[0].end.timestamp())
        failure = await self._announce(configurations, wanted)
        issued_by = wanted.signer
        is_trusted = issued_by is not None and all(c.trusts(issued_by.certificate) for c in configurations)
        # What the API server does not trust is not served, unless there is nothing else to serve.
        if failure is None or is_trusted or self._held is None:
            await asyncio.to_thread(_write, self._files, wanted)
            self._held = wanted
        if failure is not None:
            raise failure

    def _read(self, secret: Mapping[str, Any] | None) -> Material | None:
        """Return what the Secret holds, else what this replica serves, else None."""
        if secret is None:
            return self._held
        try:
            return Material.from_data(secret.get("data") or {})
        except BadMaterialError as error:
            self._log.warning("the Secret is no good and is written anew", problem=str(error))
            return self._held

    async def _stored(
        self, secret: Mapping[str, Any] | None, wanted: Material, owners: Sequence[Mapping[str, str]]
    ) -> bool:
        """Bring the Secret in order; return whether it is, False when another replica was faster.

        It belongs to a webhook configuration, so that it goes when that goes: nobody else knows of it.
        """
        data = wanted.to_data()
        try:
            if secret is None:
                metadata: dict[str, Any] = {
                    "name": self._settings.secret_name,
                    "namespace": self._settings.namespace,
                    "labels": {"app.kubernetes.io/part-of": "trustbind", "app.kubernetes.io/managed-by": "trustbind"},
                }
                if owners:
                    metadata["ownerReferences"] = list(owners)
                body = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata}
                await self._api.send("POST", self._secrets, {**body, "data": data}, seconds=CALL_SECONDS)
                return True
            owned = secret["metadata"].get("ownerReferences") or []
            is_owned = not owners or any(reference["uid"] == owners[0]["uid"] for reference in owned)
            if is_owned and secret.get("data") == data:
                return True
            metadata = dict(secret["metadata"])
            if not is_owned:
                metadata["ownerReferences"] = [r for r in owned if r.get("name") != owners[0]["name"]] + list(owners)
            path = f"{self._secrets}/{quote(self._settings.secret_name)}"
            await self._api.send("PUT", path, {**secret, "metadata": metadata, "data": data}, seconds=CALL_SECONDS)
        except ApiError as error:
            if error.status in {CONFLICT, NOT_FOUND}:
                return False
            raise
        return True

    async def _announce(self, configurations: Sequence[Configuration], wanted: Material) -> ApiError | None:
        """Write the bundle where it is not; return the last failure."""
        trusted = [authority.certificate for authority in wanted.authorities]
        failure: ApiError | None = None
        all_there = True
        for configuration in configurations:
            is_right = configuration.version is not None and all(
                same(bundle, trusted) for bundle in configuration.bundles.values()
            )
            if not is_right and configuration.version is not None:
                try:
                    await self._configurations.write(configuration, wanted.bundle)
                except ApiError as error:
                    # With a conflict somebody else has written it: it is looked at again.
                    failure = error
                else:
                    is_right = True
                    self._tell_written(configuration)
            self._metrics.in_order.labels(configuration.which).set(float(is_right))
            all_there = all_there and is_right
        if all_there:
            self.announced.set()
        return failure

    def _tell_written(self, configuration: Configuration) -> None:
        self._metrics.repairs.labels(configuration.which).inc()
        tell = self._log.info if configuration.empty else self._log.warning
        tell("caBundle written", configuration=configuration.which, was="empty" if configuration.empty else "stale")


def _write(files: tuple[Path, Path], wanted: Material) -> None:
    """Write both files if they are not like that; each is whole at any moment.

    Raises:
        CertificateError: they cannot be written.
    """
    contents = (wanted.serving.certificate_pem, wanted.serving.key_pem)
    try:
        if all(path.is_file() and path.read_bytes() == content for path, content in zip(files, contents, strict=True)):
            return
        # The key first: whoever looks in between sees a pair that does not fit, and looks again.
        for path, content in reversed(list(zip(files, contents, strict=True))):
            new = path.with_name(f".{path.name}.new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
            new.replace(path)
    except OSError as error:
        raise CertificateError(f"the certificate cannot be written to {files[0].parent}: {error.strerror}") from None
