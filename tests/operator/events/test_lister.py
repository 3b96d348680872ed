"""Complete lists: what is read of each object, and how much of it is kept."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from typing import Any, cast

from support.bodies import account_body, binding_body, grant_body
from trustbind.api.labels import MANAGED_LABEL, RECONCILE_REQUESTED_AT
from trustbind.api.role_binding import BindingRef
from trustbind_operator.events.event_router import EventRouter, Known
from trustbind_operator.events.lister import Lister
from trustbind_runtime.kubernetes.client import ApiServer
from trustbind_runtime.logs import Logger

LARGE = {
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 1000, RECONCILE_REQUESTED_AT: "now"},
    "labels": {"a": "b"},
    "managedFields": [{"manager": "x"}],
}


class Api:
    """Lists objects by their plural."""

    def __init__(self, objects: Mapping[str, list[dict[str, Any]]]) -> None:
        self._objects = objects

    async def get(self, path: str, *_: Any, **__: Any) -> bytes:
        """Return the whole list."""
        return json.dumps({"metadata": {}, "items": self._objects.get(path.rpartition("/")[2], [])}).encode()


class Router:
    """Notes what comes."""

    def __init__(self) -> None:
        self.seen: list[Mapping[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return self.seen.append


def test_what_is_not_read_is_not_kept() -> None:
    """Neither managed fields, nor other labels and annotations than ours."""
    router = Router()
    body = binding_body(metadata=copy.deepcopy(LARGE))
    body["metadata"]["labels"][MANAGED_LABEL] = "true"
    lister = Lister(
        cast("ApiServer", Api({"rolebindings": [body]})), cast("EventRouter", router), cast("Logger", None), 9
    )

    asyncio.run(lister.read_all())

    (seen,) = router.seen
    assert seen["spec"] == body["spec"]
    assert {key: value for key, value in seen["metadata"].items() if key in LARGE} == {
        "annotations": {RECONCILE_REQUESTED_AT: "now"},
        "labels": {MANAGED_LABEL: "true"},
    }


def test_of_what_is_known_only_the_identity_is_kept() -> None:
    """A list is compared as a whole; what has not changed since needs no spec for that."""
    known = Known(
        {BindingRef("team-a", "b"): ("uid-team-a-b", "1")}, {"prod": ("uid-prod", "1")}, {"all": ("uid-all", "1")}
    )
    for body in (binding_body(), account_body(), grant_body()):
        assert set(known.slim(body)) == {"metadata"}
        newer = {**body, "metadata": {**body["metadata"], "resourceVersion": "2"}}
        assert known.slim(newer) is newer
    other = binding_body("other")
    assert known.slim(other) is other
