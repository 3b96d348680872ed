"""A stand-in for the API server's list, watch and get, which does as a test tells it: pages, ends, errors, drops.

Its attribute ``issuer`` is what it publishes, or the HTTP status with which it refuses to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web

__all__ = ["Collection", "Request", "ScriptedKube", "until"]

END: Final = object()
DROP: Final = object()


async def until(probe: Callable[[], object], what: str, *, seconds: float = 5.0) -> None:
    """Return once ``probe`` is true.

    Raises:
        AssertionError: it was not in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not probe():
        if loop.time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.002)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that came."""

    path: str
    query: dict[str, str]
    accept: str
    authorization: str


@dataclass
class Collection:
    """The objects of one resource, and what is to happen to those who ask for them.

    Attributes:
        present: whether the resource exists; 404 otherwise.
        refuse_lists: HTTP statuses for the next lists, in order.
        before_lists: what happens right before the next lists, in order.
        refuse_watches: the same for watches.
        oldest: watches from before this version get an ERROR event with code 410.
    """

    path: str
    api_version: str
    kind: str
    present: bool = True
    oldest: int = 0
    refuse_lists: list[int] = field(default_factory=list)
    refuse_watches: list[int] = field(default_factory=list)
    before_lists: list[Callable[[], object]] = field(default_factory=list)
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    watchers: list[asyncio.Queue[Any]] = field(default_factory=list)
    version: int = 100

    def put(self, namespace: str, name: str, *, tell: bool = True, **content: Any) -> None:
        """Create or change an object; without ``tell``, no watch hears of it."""
        self.version += 1
        key = (namespace, name)
        kind = "MODIFIED" if key in self.objects else "ADDED"
        metadata = {
            "namespace": namespace,
            "name": name,
            "resourceVersion": str(self.version),
            **content.pop("metadata", {}),
        }
        self.objects[key] = {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **content}
        if tell:
            self._tell({"type": kind, "object": self.objects[key]})

    def delete(self, namespace: str, name: str, *, tell: bool = True) -> None:
        """Delete an object."""
        self.version += 1
        gone = self.objects.pop((namespace, name))
        gone["metadata"]["resourceVersion"] = str(self.version)
        if tell:
            self._tell({"type": "DELETED", "object": gone})

    def bookmark(self) -> None:
        """Move every watch on to a version of which nobody heard before."""
        self.version += 10
        metadata = {"resourceVersion": str(self.version)}
        self._send({"type": "BOOKMARK", "object": {"kind": self.kind, "metadata": metadata}})

    def error(self, code: int) -> None:
        """Send every watch an ERROR event."""
        status = {"kind": "Status", "apiVersion": "v1", "code": code, "message": f"scripted {code}"}
        self._send({"type": "ERROR", "object": status})

    def end(self) -> None:
        """End every watch as the API server does after timeoutSeconds."""
        self._send(END)

    def drop(self) -> None:
        """Cut every watch's connection."""
        self._send(DROP)

    def _tell(self, event: dict[str, Any]) -> None:
        self.history.append((self.version, event))
        self._send(event)

    def _send(self, event: Any) -> None:
        for queue in self.watchers:
            queue.put_nowait(event)


class ScriptedKube:
    """The stand-in; use as ``async with ScriptedKube().running(directory) as kubeconfig``."""

    def __init__(self) -> None:
        self.accounts = Collection("/api/v1/serviceaccounts", "v1", "ServiceAccount")
        self.bindings = Collection("/apis/trustbind.dev/v1alpha1/rolebindings", "trustbind.dev/v1alpha1", "RoleBinding")
        self.grants = Collection("/apis/trustbind.dev/v1alpha1/rolegrants", "trustbind.dev/v1alpha1", "RoleGrant")
        self.aws_accounts = Collection(
            "/apis/trustbind.dev/v1alpha1/awsaccounts", "trustbind.dev/v1alpha1", "AWSAccount"
        )
        self.namespaces = Collection("/api/v1/namespaces", "v1", "Namespace")
        self.issuer: str | int = "https://oidc.example.com/id/0123"
        self.requests: list[Request] = []
        self.gets: Counter[str] = Counter()
        self.get_status = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def lists(self, collection: Collection) -> list[Request]:
        """Return the first pages that were asked for."""
        return [
            r
            for r in self.requests
            if r.path == collection.path and "watch" not in r.query and "continue" not in r.query
        ]

    def watches(self, collection: Collection) -> list[Request]:
        """Return the watches that were asked for."""
        return [r for r in self.requests if r.path == collection.path and "watch" in r.query]

    @contextlib.asynccontextmanager
    async def running(self, directory: Path) -> AsyncIterator[str]:
        """Serve, and give the path of a kubeconfig for it."""
        app = web.Application()
        for collection in (self.accounts, self.bindings, self.grants, self.aws_accounts, self.namespaces):
            app.router.add_get(collection.path, partial(self._collection, collection))
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/api/v1/namespaces/{namespace}/serviceaccounts/{name}", self._get)
        app.router.add_get("/apis/trustbind.dev/v1alpha1/namespaces/{namespace}/rolebindings", self._list_bindings)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": f"http://{host}:{port}"}}],
                    "users": [{"name": "u", "user": {"token": "scripted-token"}}],
                }
            )
        )
        try:
            yield str(kubeconfig)
        finally:
            self.gate.set()
            await runner.cleanup()

    def _note(self, request: web.Request) -> None:
        headers = request.headers
        self.requests.append(
            Request(
                request.path,
                dict(request.query),
                headers.get("Accept", ""),
                headers.get("Authorization", ""),
            )
        )

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        return _status(self.issuer) if isinstance(self.issuer, int) else web.json_response({"issuer": self.issuer})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        key = (request.match_info["namespace"], request.match_info["name"])
        self.gets["/".join(key)] += 1
        await self.gate.wait()
        if self.get_status:
            return _status(self.get_status)
        found = self.accounts.objects.get(key)
        return web.json_response(found) if found else _status(404)

    async def _list_bindings(self, request: web.Request) -> web.StreamResponse:
        """Answer a list of one namespace, a page of it."""
        self._note(request)
        namespace = request.match_info["namespace"]
        self.gets[f"{namespace}/"] += 1
        await self.gate.wait()
        if self.get_status or not self.bindings.present:
            return _status(self.get_status or 404)
        items = [item for (of, _), item in sorted(self.bindings.objects.items()) if of == namespace]
        limit = int(request.query["limit"])
        metadata = {"continue": "more"} if len(items) > limit else {}
        return web.json_response({"kind": "RoleBindingList", "metadata": metadata, "items": items[:limit]})

    async def _collection(self, collection: Collection, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if not collection.present:
            return web.Response(status=404, text="404 page not found")
        if "watch" in request.query:
            if collection.refuse_watches:
                return _status(collection.refuse_watches.pop(0))
            return await self._watch(request, collection)
        if collection.before_lists:
            collection.before_lists.pop(0)()
        if collection.refuse_lists:
            return _status(collection.refuse_lists.pop(0))
        keys = sorted(collection.objects)
        start = int(request.query.get("continue", "0"))
        end = start + int(request.query["limit"])
        metadata = {"resourceVersion": str(collection.version)}
        if end < len(keys):
            metadata["continue"] = str(end)
        items = [collection.objects[key] for key in keys[start:end]]
        return web.json_response({"kind": f"{collection.kind}List", "metadata": metadata, "items": items})

    async def _watch(self, request: web.Request, collection: Collection) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        queue: asyncio.Queue[Any] = asyncio.Queue()
        for version, event in collection.history:
            if version > since:
                queue.put_nowait(event)
        if since < collection.oldest:
            code = {"kind": "Status", "code": 410, "message": "too old resource version"}
            queue.put_nowait({"type": "ERROR", "object": code})
        response = web.StreamResponse()
        await response.prepare(request)
        collection.watchers.append(queue)
        try:
            while True:
                event = await queue.get()
                if event is END:
                    return response
                if event is DROP:
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                await response.write(json.dumps(event).encode() + b"\n")
        except ConnectionError:
            return response
        finally:
            collection.watchers.remove(queue)


def _status(code: int) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"scripted {code}"}
    return web.json_response(body, status=code)
