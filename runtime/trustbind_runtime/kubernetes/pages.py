"""A list in pages (Kubernetes documentation, "Kubernetes API Concepts", "Retrieving large results sets in chunks")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

import msgspec

from trustbind_runtime.kubernetes.client import ApiServer, Query

__all__ = ["ListMetadata", "ListPage", "pages"]


class ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """What a list says about itself.

    Attributes:
        continue_: asks for the next page; empty after the last.
        resource_version: from which a watch can start.
    """

    continue_: str = msgspec.field(default="", name="continue")
    resource_version: str = ""


class ListPage(msgspec.Struct, frozen=True):
    """One page; a subclass says what the items are."""

    metadata: ListMetadata


_PAGE_BYTES: Final = 4 * 2**20
"""What a page should have at most."""

_FIRST: Final = 50
"""Objects in the first page, of whose sizes nothing is known."""

_GROWTH: Final = 10
"""Times by which a page may have more objects than the one before."""

P = TypeVar("P", bound=ListPage)


async def pages(
    api: ApiServer,
    path: str,
    decode: Callable[[bytes], P],
    *,
    size: int,
    query: Query = (),
    accept: str = "application/json",
) -> AsyncIterator[P]:
    """Yield a list page by page.

    Pages become smaller where objects are large: an object may have over a megabyte, of which most is annotations that
    nobody here reads, and a page is in memory as a whole.

    Args:
        api: the API server.
        path: of the collection.
        decode: decodes one page.
        size: objects in one page, at most.
        query: further parameters, such as a selector.
        accept: the media type to ask for.

    Raises:
        ApiError: a page was refused; with 410 the list has to begin again.
    """
    token = ""
    limit = min(size, _FIRST)
    while True:
        parameters = [("limit", str(limit)), *query, *([("continue", token)] if token else [])]
        body = await api.get(path, parameters, accept=accept)
        limit = _next_limit(limit, len(body), size)
        page = decode(body)
        del body
        yield page
        token = page.metadata.continue_
        if not token:
            return


def _next_limit(limit: int, received: int, size: int) -> int:
    """Return how many objects to ask for after a page of ``limit`` objects had ``received`` bytes."""
    wanted = limit * _PAGE_BYTES // max(received, 1)
    return max(1, min(size, wanted, limit * _GROWTH))
