"""The webhook as a process, and how to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from support.certs import Authority, Pair
from support.processes import Process

__all__ = ["JSON", "Webhook", "configured", "running"]

JSON: Final = {"content-type": "application/json"}


class Webhook:
    """A running webhook.

    Attributes:
        authority: who signed its certificate, in PEM.
    """

    def __init__(self, process: Process, directory: Path, port: int, metrics_port: int) -> None:
        self.process = process
        self.directory = directory
        self.port = port
        self.metrics_port = metrics_port
        self.authority = (directory / "ca.pem").read_bytes()
        self.context = ssl.create_default_context(cafile=str(directory / "ca.pem"))

    def connection(self) -> http.client.HTTPSConnection:
        """Return a connection that checks the certificate."""
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=10)

    def call(
        self, body: Any = None, *, method: str = "POST", path: str = "/mutate?timeout=10s", headers: Any = None
    ) -> tuple[int, Any]:
        """Return status and JSON of one call on a connection of its own."""
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, JSON if headers is None else headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def serial(self) -> int:
        """Return the serial number of the certificate that a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as raw,
            self.context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
        ):
            return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"").serial_number

    def metrics(self) -> str:
        """Return the metrics page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as response:
            return str(response.read().decode())


@contextlib.contextmanager
def running(
    directory: Path, authority: Authority, pair: Pair, *, lookup: Mapping[str, Any], **server: Any
) -> Iterator[Webhook]:
    """Run the webhook on free ports of 127.0.0.1 until the block ends; when it begins, the webhook is ready."""
    (directory / "ca.pem").write_bytes(authority.pem)
    pair.write(directory)
    config = configured(directory, server, lookup)
    with Process([sys.executable, "-m", "trustbind_webhook", "--config", str(config)]) as process:
        started = json.loads(process.line(lambda line: '"listening"' in line))
        process.line(lambda line: '"ready"' in line)
        yield Webhook(process, directory, started["port"], started["metrics_port"])


def configured(
    directory: Path, server: Mapping[str, Any], lookup: Mapping[str, Any], **sections: Mapping[str, Any]
) -> Path:
    """Write a configuration and return its path.

    Args:
        directory: where it goes, and where the certificate is.
        server: settings that differ from those of every test.
        lookup: settings.
        sections: of the settings, whole.
    """
    settings = {
        "server": {
            "host": "127.0.0.1",
            "port": 0,
            "metricsHost": "127.0.0.1",
            "metricsPort": 0,
            "certFile": str(directory / "tls.crt"),
            "keyFile": str(directory / "tls.key"),
            "drainSeconds": 0.3,
            "reloadSeconds": 0.05,
            **server,
        },
        "lookup": lookup,
        "log": {"level": "debug"},
        **sections,
    }
    path = directory / "config.yaml"
    path.write_text(json.dumps(settings))
    return path
