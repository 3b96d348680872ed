"""Complete lists of our own objects: once at the start, and again now and then.

Nothing is decided before everything is known: what a role has to be is computed from all bindings, so half of them
would look as if the other half had been deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from trustbind.api.annotations import kept
from trustbind.api.labels import PREFIX
from trustbind.api.strict import API_VERSION
from trustbind.errors import TrustbindError
from trustbind_operator.events.event_router import EventRouter
from trustbind_operator.events.kopf_handlers import KINDS
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.kubernetes.pages import ListPage, pages
from trustbind_runtime.logs import Logger

__all__ = ["Lister", "NoCrdsError"]

_FIRST_RELIST_SECONDS: Final = 30.0
"""From the start until everything is listed once more: it finds what was deleted between our list and kopf's own."""

_RELIST_SECONDS: Final = 600.0
"""Between two complete lists: kopf has no event for objects that were deleted while its watch was interrupted."""


_SLICE: Final = 20
"""Objects that are taken in until the event loop has its turn."""


class NoCrdsError(TrustbindError):
    """The custom resource definitions are not installed."""


class _Page(ListPage, frozen=True):
    items: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Page).decode
_decode_item = msgspec.json.Decoder(dict[str, Any]).decode


class Lister:
    """See the module.

    Args:
        api: the API server.
        router: takes the objects.
        log: what could not be listed.
        page_size: objects in one page.
    """

    def __init__(self, api: ApiServer, router: EventRouter, log: Logger, page_size: int) -> None:
        self._api = api
        self._router = router
        self._log = log
        self._page_size = page_size

    async def read_all(self) -> None:
        """Read all objects once, grants and AWSAccounts before the bindings that need them.

        Raises:
            NoCrdsError: a resource does not exist.
            ApiError: the API server refused.
        """
        for kind, seen in (
            ("RoleGrant", self._router.grant_seen),
            ("AWSAccount", self._router.account_seen),
            ("RoleBinding", self._router.binding_seen),
        ):
            async for body in self._listed(kind):
                seen(body)

    async def run(self) -> None:
        """List everything again now and then, until cancelled."""
        await asyncio.sleep(_FIRST_RELIST_SECONDS)
        while True:
            before = self._router.known()
            try:
                found = {kind: [before.slim(body) async for body in self._listed(kind)] for kind in KINDS}
                self._router.listed(before, found)
            except ApiError as error:
                self._log.warning("objects not listed", problem=str(error))
            await asyncio.sleep(_RELIST_SECONDS)

    async def _listed(self, kind: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield all objects of a kind, without what may be most of their size and is not read."""
        plural = KINDS[kind]
        try:
            async for page in pages(self._api, f"/apis/{API_VERSION}/{plural}", _decode, size=self._page_size):
                for number, raw in enumerate(page.items):
                    if number % _SLICE == _SLICE - 1:
                        await asyncio.sleep(0)
                    item = _decode_item(raw)
                    metadata = item["metadata"]
                    metadata.pop("managedFields", None)
                    for name in ("annotations", "labels"):
                        found = metadata.pop(name, None) or {}
                        if own := kept(found, [key for key in found if key.startswith(PREFIX)]):
                            metadata[name] = own
                    # A list's items may come without the two fields that the list itself has.
                    yield {"apiVersion": API_VERSION, "kind": kind, **item}
        except ApiError as error:
            if error.status == NOT_FOUND:
                raise NoCrdsError(f"the API server has no {plural}.trustbind.dev; install the CRDs first") from None
            raise
