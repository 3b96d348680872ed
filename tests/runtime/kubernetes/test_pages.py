"""Lists in pages, which are small where objects are large."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from trustbind_runtime.kubernetes.client import ApiServer
from trustbind_runtime.kubernetes.pages import ListPage, pages


class _Page(ListPage, frozen=True):
    items: list[msgspec.Raw]


class Api:
    """Lists objects of a size each.

    Attributes:
        limits: how many were asked for, page by page.
        largest: bytes of the largest page.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self.limits: list[int] = []
        self.largest = 0

    async def get(self, _path: str, query: Sequence[tuple[str, str]], **_: Any) -> bytes:
        """Return a page."""
        asked = dict(query)
        limit, start = int(asked["limit"]), int(asked.get("continue", "0"))
        end = min(start + limit, len(self._sizes))
        items = ["x" * size for size in self._sizes[start:end]]
        more = {"continue": str(end)} if end < len(self._sizes) else {}
        body = json.dumps({"metadata": more, "items": items}).encode()
        self.limits.append(limit)
        self.largest = max(self.largest, len(body))
        return body


def listed(api: Api, size: int) -> int:
    """List everything; return how many objects there are."""

    async def run() -> int:
        decode = msgspec.json.Decoder(_Page).decode
        return sum([len(page.items) async for page in pages(cast("ApiServer", api), "/x", decode, size=size)])

    return asyncio.run(run())


def test_small_objects_come_in_pages_of_the_size_that_is_set() -> None:
    """After a first page of few."""
    api = Api([100] * 1500)

    assert listed(api, 500) == 1500
    assert api.limits == [50, 500, 500, 500]
    few = Api([100] * 10)
    assert listed(few, 3) == 10
    assert set(few.limits) == {3}


@pytest.mark.parametrize("size", [300_000, 1_500_000])
def test_large_objects_come_in_small_pages(size: int) -> None:
    """However large they are, no page but the first has more than some megabytes."""
    api = Api([1000] * 50 + [size] * 60)

    assert listed(api, 50) == 110
    assert api.limits[-1] <= max(1, 4 * 2**20 // size)
    assert sum(limit > 50 for limit in api.limits) == 0
