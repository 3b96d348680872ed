"""Calls of the API server, against a small stand-in that answers as a test tells it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey

from trustbind import __version__
from trustbind_runtime.kubernetes.client import ApiError, ApiServer, _unreachable

PATH = "/apis/trustbind.dev/v1alpha1/namespaces/team-a/rolebindings/b"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = ConnectionKey("cluster.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
Scene = Callable[[ApiServer], Awaitable[None]]


def kubeconfig(directory: Path, address: str, **user: Any) -> str:
    """Write a kubeconfig and return its path."""
    path = directory / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": user or {"token": "secret-token"}}],
    }
    path.write_text(json.dumps(content))
    return str(path)


@contextlib.asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[str]:
    """Answer every request so, and give the address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def play(directory: Path, answer: Answer, scene: Scene) -> None:
    """Let a scene happen with an API server that answers so."""

    async def run() -> None:
        async with served(answer) as address:
            api = await ApiServer.connect(kubeconfig(directory, address), "trustbind-test")
            try:
                await scene(api)
            finally:
                await api.close()

    asyncio.run(run())


def says(status: int, body: str | dict[str, Any]) -> Answer:
    """Return an answer that is always the same."""

    async def answer(_: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")

    return answer


async def silent(_: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return web.Response()


async def cut(request: web.Request) -> web.StreamResponse:
    """Close the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def test_send(tmp_path: Path) -> None:
    """Method, body, query, kind of patch, and who we are."""
    seen: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.update(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            body=await request.json(),
            type=request.headers["Content-Type"],
            accept=request.headers["Accept"],
            agent=request.headers["User-Agent"],
            token=request.headers["Authorization"],
        )
        return web.json_response({"kind": "RoleBinding"})

    async def scene(api: ApiServer) -> None:
        body = await api.send(
            "PATCH",
            PATH,
            {"status": None},
            [("fieldManager", "trustbind")],
            content_type="application/merge-patch+json",
        )
        assert json.loads(body) == {"kind": "RoleBinding"}

    play(tmp_path, answer, scene)
    assert seen == {
        "method": "PATCH",
        "path": PATH,
        "query": {"fieldManager": "trustbind"},
        "body": {"status": None},
        "type": "application/merge-patch+json",
        "accept": "application/json",
        "agent": f"trustbind-test/{__version__}",
        "token": "Bearer secret-token",
    }


@pytest.mark.parametrize("status", [200, 201, 202])
def test_every_success_is_one(tmp_path: Path, status: int) -> None:
    """Created and Accepted, too."""

    async def scene(api: ApiServer) -> None:
        assert await api.send("POST", PATH, {}) == b"{}"

    play(tmp_path, says(status, {}), scene)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 429, 500, 503])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_refused(tmp_path: Path, status: int, method: str) -> None:
    """The status, and the API server's own sentence."""

    async def scene(api: ApiServer) -> None:
        read = method == "GET"
        with pytest.raises(ApiError) as caught:
            await (api.get(PATH, accept="application/json") if read else api.send(method, PATH, {}))
        assert caught.value.status == status
        assert str(caught.value) == f"it is so (HTTP {status})"

    play(tmp_path, says(status, {"kind": "Status", "message": "it is so"}), scene)


def test_no_change_while_there_is_a_refusal(tmp_path: Path) -> None:
    """It is asked before each change, which is not sent then; reading goes on, and so does who has no refusal."""
    changes: list[str] = []
    why = [""]

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            changes.append(request.method)
        return web.json_response({})

    async def scene(api: ApiServer) -> None:
        guarded = api.unless(lambda: why[0])
        await guarded.send("POST", PATH, {})
        why[0] = "it does not lead"
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            with pytest.raises(ApiError, match=r"^it does not lead$"):
                await guarded.send(method, PATH, {})
        assert await guarded.get(PATH, accept="application/json") == b"{}"
        await api.send("PATCH", PATH, {})

    play(tmp_path, answer, scene)
    assert changes == ["POST", "PATCH"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "the API server refused"),
        ("{}", "the API server refused"),
        ("404 page not found\n", "404 page not found"),
        ("x" * 1000, "x" * 200),
        ("[1]", "[1]"),
    ],
)
def test_refused_without_a_status_object(tmp_path: Path, body: str, problem: str) -> None:
    """A proxy in between answers in its own way; the sentence stays short."""

    async def scene(api: ApiServer) -> None:
        with pytest.raises(ApiError) as caught:
            await api.send("POST", PATH, {})
        assert (caught.value.status, caught.value.problem) == (404, problem)

    play(tmp_path, says(404, body), scene)


def test_redirects_and_other_successes_of_a_read(tmp_path: Path) -> None:
    """A read needs 200, with an object."""

    async def scene(api: ApiServer) -> None:
        with pytest.raises(ApiError) as caught:
            await api.get(PATH, accept="application/json")
        assert caught.value.status == 202

    play(tmp_path, says(202, {}), scene)


def test_no_answer_in_time(tmp_path: Path) -> None:
    """One sentence, with the time that was given."""

    async def scene(api: ApiServer) -> None:
        for call in (
            api.send("PATCH", PATH, {}, seconds=0.05),
            api.get(PATH, accept="application/json", seconds=0.05),
        ):
            with pytest.raises(ApiError, match=r"did not answer within 0\.05 s") as caught:
                await call
            assert caught.value.status == 0

    play(tmp_path, silent, scene)


def test_connection_cut(tmp_path: Path) -> None:
    """No status, since there was no answer."""

    async def scene(api: ApiServer) -> None:
        for call in (api.send("PATCH", PATH, {}), api.get(PATH, accept="application/json")):
            with pytest.raises(ApiError, match="cannot be reached: ") as caught:
                await call
            assert caught.value.status == 0

    play(tmp_path, cut, scene)


def test_nobody_there(tmp_path: Path) -> None:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def run() -> None:
        api = await ApiServer.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        with pytest.raises(ApiError, match="cannot be reached") as caught:
            await api.send("PATCH", PATH, {})
        assert "\n" not in str(caught.value)
        assert caught.value.is_absent
        await api.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "is_absent"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "unknown")), True),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "no name server")), False),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "several addresses")), True),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.EHOSTUNREACH, "no route")), False),
        (aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, "the proxy")), False),
        (aiohttp.ServerDisconnectedError(), False),
        (TimeoutError(), False),
    ],
)
def test_server_that_may_be_there(error: Exception, is_absent: bool) -> None:
    """Only an unknown name and a refused connection say that there is no server."""
    assert _unreachable(error).is_absent is is_absent


def test_lines(tmp_path: Path) -> None:
    """However they are cut into pieces, and however long; empty ones are left out."""
    long = b"y" * 200_000

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"one\nt", b"wo\n\nthree\n", long, b"\nunfinished"):
            await response.write(piece)
        return response

    async def scene(api: ApiServer) -> None:
        lines = api.lines("/watch", [], accept="application/json", seconds=5, idle_seconds=5)
        assert [line async for line in lines] == [b"one", b"two", b"three", long]

    play(tmp_path, answer, scene)


def test_silent_lines_end(tmp_path: Path) -> None:
    """A watch whose other end is gone without a word is over, which is no error."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        await asyncio.Event().wait()
        return response

    async def scene(api: ApiServer) -> None:
        lines = api.lines("/watch", [], accept="application/json", seconds=5, idle_seconds=0.05)
        assert [line async for line in lines] == [b"one"]

    play(tmp_path, answer, scene)


@pytest.mark.parametrize(("answer", "status"), [(says(410, {"message": "too old"}), 410), (cut, 0)])
def test_refused_lines(tmp_path: Path, answer: Answer, status: int) -> None:
    """Before the first line."""

    async def scene(api: ApiServer) -> None:
        with pytest.raises(ApiError) as caught:
            async for _ in api.lines("/watch", [], accept="application/json", seconds=5, idle_seconds=5):
                pass
        assert caught.value.status == status

    play(tmp_path, answer, scene)


def test_lines_cut_in_the_middle(tmp_path: Path) -> None:
    """A broken connection is an error, after what came whole."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\ntw")
        await asyncio.sleep(0)
        return await cut(request)

    async def scene(api: ApiServer) -> None:
        lines = api.lines("/watch", [], accept="application/json", seconds=5, idle_seconds=5)
        assert await anext(lines) == b"one"
        with pytest.raises(ApiError, match="cannot be reached"):
            await anext(lines)

    play(tmp_path, answer, scene)
