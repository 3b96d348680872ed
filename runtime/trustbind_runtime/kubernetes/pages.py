"""A list in pages (Kubernetes documentation, "Kubernetes API Concepts", "Retrieving large results sets in chunks")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

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

    Args:
        api: the API server.
        path: of the collection.
        decode: decodes one page.
        size: objects in one page.
        query: further parameters, such as a selector.
        accept: the media type to ask for.

    Raises:
        ApiError: a page was refused; with 410 the list has to begin again.
    """
    token = ""
    while True:
        parameters = [("limit", str(size)), *query, *([("continue", token)] if token else [])]
        page = decode(await api.get(path, parameters, accept=accept))
        yield page
        token = page.metadata.continue_
        if not token:
            return
