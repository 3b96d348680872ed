"""What the operator keeps of the largest objects: 1,000 of them fit into 64 MiB."""

from __future__ import annotations

import gc
import json
import tracemalloc

import pytest

from support.bodies import ISSUER
from support.largest import largest_binding
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.reconcile.decision import decide
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache

COUNT = 100


@pytest.mark.parametrize("selects", [False, True])
def test_largest_binding_in_the_operator(selects: bool) -> None:
    """The object, its status, its service accounts and its decision."""
    texts = [json.dumps(largest_binding(number, selects=selects)) for number in range(COUNT)]
    _decided(texts, selects=selects)  # fills the caches of parsed texts, which have bounds of their own
    # Of two: once, the table of interned texts may have to grow, and all of it counts.
    size = min(_size(texts, selects=selects) for _ in range(2))
    assert size / COUNT < 64 * 1024


def _size(texts: list[str], *, selects: bool) -> int:
    """Return how many bytes these bindings take."""
    gc.collect()
    tracemalloc.start()
    kept = _decided(texts, selects=selects)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept[1]) == COUNT
    return size


def _decided(texts: list[str], *, selects: bool) -> tuple[ClusterCache, list[object]]:
    """Return a cache with these bindings, and what is remembered of their decisions."""
    cache = ClusterCache(ISSUER)
    for number in range(COUNT if selects else 0):
        cache.put_service_account("evil", f"account-{number}", {"a": "b"})
    for text in texts:
        cache.put_binding(StoredBinding.of(json.loads(text)))
    return cache, [
        decision.key
        for stored in cache.bindings.values()
        for decision in decide(cache.snapshot_of(stored, _role(stored), {}))
    ]


@pytest.mark.parametrize("field", ["serviceAccountNames", "conditions", "federatedSubjects", "serviceAccountSelector"])
def test_it_is_about_the_largest(field: str) -> None:
    """Each part that multiplies is near its bound: with a tenth more it is refused."""
    body = largest_binding(0, selects=field == "serviceAccountSelector")
    RoleBinding.parse(body)
    text = json.dumps(body["spec"][field])
    for letters in ("nnn", "sss", "vvv"):
        text = text.replace(letters, letters + letters[0])
    grown = json.loads(text)

    with pytest.raises(InvalidValueError, match="characters in all"):
        RoleBinding.parse(body | {"spec": body["spec"] | {field: grown}})


def _role(stored: StoredBinding) -> RoleArn:
    assert stored.binding is not None
    return stored.binding.role
