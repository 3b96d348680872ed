"""What the webhook is compared with, each a process of its own on the same server stack.

``floor`` reads the body, parses it with ``json.loads`` and answers a constant: what the stack itself costs. ``fastapi``
makes the webhook's own decision, logs and counts it in an ordinary FastAPI route: what the raw route saves.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
import uvloop
from fastapi import FastAPI

from trustbind_runtime.logs import Logger, logger
from trustbind_runtime.settings import Log
from trustbind_webhook.injection.decision import Inject, InjectionSettings, decide
from trustbind_webhook.injection.json_patch import patch
from trustbind_webhook.injection.pod import pod_of
from trustbind_webhook.lookup.manifest_files import FileLookup
from trustbind_webhook.metrics import Metrics

Message = MutableMapping[str, Any]

_CONSTANT: Final = json.dumps(
    {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "", "allowed": True}}
).encode()
_HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", str(len(_CONSTANT)).encode())]
_encode = msgspec.json.Encoder().encode


async def floor(_scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
    """Answer a constant after parsing the body: the floor, as an ASGI application."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if body:
        json.loads(body)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _CONSTANT})


def plain(lookup: FileLookup, metrics: Metrics, log: Logger) -> FastAPI:
    """Return the webhook's decision in a route as FastAPI's documentation would write it."""
    app = FastAPI()
    settings = InjectionSettings()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.post("/mutate")
    async def mutate(review: dict[str, Any]) -> dict[str, Any]:
        """Decide about one review."""
        started = time.perf_counter()
        request = review["request"]
        pod, namespace, uid = pod_of(request["object"]), request["namespace"], request["uid"]
        account = await lookup.account(namespace, pod.account)
        bindings = lookup.bindings(namespace, pod.account)
        outcome = decide(pod, account, bindings, settings, namespace=namespace, unique=uid)
        response: dict[str, Any] = {"uid": uid, "allowed": True}
        if isinstance(outcome, Inject):
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(_encode(patch(outcome))).decode()
            response["auditAnnotations"] = {"role": str(outcome.role)}
            metrics.injected.inc()
            name = pod.metadata.name or pod.metadata.generate_name or ""
            log.info(
                "pod injected", namespace=namespace, pod=name, account=pod.account, uid=uid, role=str(outcome.role)
            )
        metrics.duration.observe(time.perf_counter() - started)
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    return app


async def _serve(app: Any, port: int, folder: Path) -> None:
    """Serve as the webhook itself does, but for its certificate's reload."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=120,
        ssl_certfile=str(folder / "tls.crt"),
        ssl_keyfile=str(folder / "tls.key"),
    )
    await uvicorn.Server(config).serve()


async def _run(which: str, port: int, folder: Path, accounts: str) -> None:
    if which == "floor":
        await _serve(floor, port, folder)
        return
    metrics, log = Metrics(), logger(Log())
    lookup = FileLookup([accounts], InjectionSettings().annotation_prefix, metrics=metrics, log=log)
    await lookup.start()
    await _serve(plain(lookup, metrics, log), port, folder)


def main(arguments: Sequence[str]) -> None:
    """Run one of them until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("which", choices=("floor", "fastapi"))
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path, help="where tls.crt and tls.key are")
    parser.add_argument("accounts", nargs="?", default="", help="file with service accounts")
    options = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(options.which, options.port, options.folder, options.accounts))


if __name__ == "__main__":
    main(sys.argv[1:])
