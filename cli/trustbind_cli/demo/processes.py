"""The demo's processes and files: started, waited for, stopped; only those that the demo itself started."""

from __future__ import annotations

import datetime as dt
import http.client
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trustbind.errors import TrustbindError

__all__ = ["Process", "free_port", "http_json", "make_certificate", "post_review", "python_environment"]

START_SECONDS: Final = 30
STOP_SECONDS: Final = 10


class DemoError(TrustbindError):
    """The demo cannot go on; not a result of it."""


class Process:
    """A process of ours with its output in a file.

    Args:
        name: for messages.
        arguments: of Python.
        log: where its output goes.
        environment: all of it.
    """

    def __init__(self, name: str, arguments: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, *arguments], stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_for(self, check: Any) -> None:
        """Wait until ``check()`` is true.

        Raises:
            DemoError: it ended, or took over half a minute; with the end of what it said.
        """
        deadline = time.monotonic() + START_SECONDS
        while not check():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace").strip().splitlines()[-5:]
                state = "ended" if self._process.poll() is not None else "is not ready"
                raise DemoError(f"{self.name} {state}: {' / '.join(tail) or 'it said nothing'}")
            time.sleep(0.05)

    def said(self, text: str) -> str:
        """Return the first line of its output that holds ``text``; empty when there is none yet."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line for line in lines if text in line), "")

    def wait(self) -> None:
        """Wait until it ends."""
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python_environment() -> dict[str, str]:
    """Return this process's environment without anything of AWS's or Kubernetes's, so that nothing real is touched."""
    dropped = ("AWS_", "KUBE", "TRUSTBIND_", "MOTO_")
    return {key: value for key, value in os.environ.items() if not key.upper().startswith(dropped)}


def make_certificate(folder: Path) -> None:
    """Write ``tls.crt`` and ``tls.key`` for 127.0.0.1, signed by itself, good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trustbind demo")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def post_review(port: int, certificate: Path, review: dict[str, Any]) -> dict[str, Any]:
    """Send an AdmissionReview over TLS, as an API server does, and return the response's ``response``."""
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        connection.request(
            "POST", "/mutate?timeout=10s", json.dumps(review).encode(), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise DemoError(f"the webhook answered {answer.status}: {body.decode(errors='replace')}")
    response: dict[str, Any] = json.loads(body)["response"]
    return response


def http_json(url: str) -> Any:
    """Return what a local URL answers, as JSON."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a loopback URL of our own process
        return json.load(answer)
