"""kopf as a source of events and nothing else: no Events of its own, no memory of objects, no signal handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import kopf

from trustbind_operator.events.event_router import EventRouter
from trustbind_operator.events.kopf_handlers import registry_of
from trustbind_runtime.kubernetes.client import ApiServer

__all__ = ["NoDiffBase", "NoProgress", "run_kopf"]

_IDENTITY: Final = cast("Any", "trustbind-operator")  # kopf has a type of its own for this text, not exported

_IDLE_SECONDS: Final = 0.1
"""How long kopf keeps a worker and the last body of an object that is quiet; its default of 5 s costs memory."""

_CHUNK: Final = 50
"""Objects in one page of kopf's own list, which is in memory as a whole; an object may have over a megabyte."""

_LEAVES_SECONDS: Final = 5.0
"""For kopf's watches to end; it has nothing of ours to finish."""


async def run_kopf(api: ApiServer, router: EventRouter, started: Callable[[], None]) -> None:
    """Route kopf's events until cancelled.

    Args:
        api: the API server.
        router: takes the events.
        started: called once kopf runs: it has put its own signal handlers in place of ours.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # Events are ours, on transitions only
    settings.scanning.disabled = True  # our resources do not come and go; saves watching all CRDs
    settings.watching.server_timeout = 300
    settings.watching.chunk_size = _CHUNK
    settings.networking.request_timeout = 60
    settings.process.ultimate_exiting_timeout = None  # the kubelet ends a process that hangs
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.queueing.idle_timeout = _IDLE_SECONDS
    configuration = api.configuration

    async def login(**_: Any) -> kopf.ConnectionInfo:
        # Also renews a pod's token, as the kubelet does.
        bearer: object = await configuration.get_api_key_with_prefix("BearerToken")
        scheme, _space, secret = str(bearer or "").rpartition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme or None,
            token=secret or None,
        )

    tasks = await kopf.spawn_tasks(
        registry=registry_of(router, login),
        settings=settings,
        standalone=True,
        clusterwide=True,
        # Unused without peering; left out, kopf asks for the user's name, which a container's user may not have.
        identity=_IDENTITY,
    )
    started()
    # Not kopf.run_tasks: it takes every task of the event loop for its own, and in the end waits for them and cancels
    # them in an order of its own.
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_LEAVES_SECONDS)


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-seen state.

    kopf's default storages copy every body of every event in order to find differences for handlers that trustbind does
    not have: only ``on.event`` is used, and state is in our own cache.
    """

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """Return an empty essence."""
        del body, extra_fields
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Return None: nothing was stored."""
        del body
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Store nothing."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        """Return None: nothing was stored."""

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Store nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is there to be removed."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Touch nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return the essence as it is."""
        return essence
