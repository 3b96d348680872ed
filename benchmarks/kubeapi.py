"""A stand-in for an API server that has service accounts and nothing else: list, in pages, and watch.

It does what client-go's reflectors and our own watch ask for (Kubernetes documentation, "Kubernetes API Concepts"):
pages with ``continue``, a watch that goes on in silence, and a watch that begins with everything there is
(``sendInitialEvents``). It serves one version of the world, since nothing changes while something is measured.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

__all__ = ["kube_api"]

_ACCOUNTS: Final = "/api/v1/serviceaccounts"
_VERSION: Final = "1"


@contextmanager
def kube_api(accounts: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Serve ``accounts`` on a free port of 127.0.0.1, and yield the URL."""
    over = threading.Event()
    objects = [dict(account) for account in accounts]

    class Handler(_Handler):
        held = objects
        stopped = over

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="kube-api", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    held: Sequence[dict[str, Any]] = ()
    stopped: threading.Event
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a list or a watch; everything else does not exist."""
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if url.path != _ACCOUNTS:
            self._json(404, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404})
        elif query.get("watch") in {"true", "1"}:
            self._watch(query)
        else:
            self._list(query)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the overridden method's name for it
        """Write nothing."""

    def _list(self, query: dict[str, str]) -> None:
        start = int(query.get("continue", 0))
        end = start + (int(query.get("limit", 0)) or len(self.held))
        metadata = {"resourceVersion": _VERSION}
        if end < len(self.held):
            metadata["continue"] = str(end)
        kind = (
            "PartialObjectMetadataList" if "PartialObjectMetadata" in self.headers["Accept"] else "ServiceAccountList"
        )
        version = "meta.k8s.io/v1" if kind.startswith("Partial") else "v1"
        self._json(200, {"apiVersion": version, "kind": kind, "metadata": metadata, "items": self.held[start:end]})

    def _watch(self, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if query.get("sendInitialEvents") == "true":
            for account in self.held:
                self._event("ADDED", account)
            last = {"resourceVersion": _VERSION, "annotations": {"k8s.io/initial-events-end": "true"}}
            self._event("BOOKMARK", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": last})
        self.wfile.flush()
        self.stopped.wait(float(query.get("timeoutSeconds", 600)))
        self.close_connection = True

    def _event(self, kind: str, about: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": about}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _json(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
