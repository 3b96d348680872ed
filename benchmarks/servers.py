"""The servers under measurement: started, asked whether they answer right, stopped by their id."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from benchmarks.reviews import Payload, check_injected
from benchmarks.section import BenchmarkError
from trustbind.errors import TrustbindError
from trustbind_cli.demo.processes import Process, free_port, post_review, python_environment

__all__ = ["Server", "eks_binary", "start_eks", "start_peer", "start_webhook"]

_EKS_NAME: Final = "amazon-eks-pod-identity-webhook"
_EXEC: Final = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
"""Turns a Python process into another program with the same id."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        key: short, for ``--json``.
        title: for people.
        port: of 127.0.0.1.
        process: whose CPU is counted.
        constant: whether it answers the same to everything, so that there is no patch to check.
        certificate: what it shows.
    """

    key: str
    title: str
    port: int
    process: Process
    constant: bool
    certificate: Path

    def wait(self) -> None:
        """Wait until it serves.

        Raises:
            TrustbindError: it ended, or took too long; with the end of its log.
        """
        self.process.wait_for(self._is_ready)

    def check(self, payload: Payload) -> None:
        """Send a review and check the answer.

        Raises:
            BenchmarkError: there is none, or it is wrong.
        """
        try:
            response = post_review(self.port, self.certificate, payload.review)
        except (TrustbindError, OSError, http.client.HTTPException) as error:
            tail = self.process.log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BenchmarkError(f"{self.title}: {error}; its log ends in: {' '.join(tail)[-300:]}") from None
        if self.constant:
            if response.get("allowed") is not True:
                raise BenchmarkError(f"{self.title} did not allow the pod: {response}")
            return
        check_injected(payload, response, self.title)

    def warm(self, payload: Payload, requests: int) -> None:
        """Send a review so many times over one connection."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)
        with contextlib.closing(connection):
            for _ in range(requests):
                connection.request("POST", "/mutate", payload.body, {"Content-Type": "application/json"})
                connection.getresponse().read()

    def _is_ready(self) -> bool:
        """Return whether the server says that it is ready or, where it has no word for that, that it is alive."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz" if self.key.startswith("webhook") else "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        return False


def start_webhook(
    stack: contextlib.ExitStack,
    folder: Path,
    *,
    key: str,
    title: str,
    accounts: Path | None = None,
    kube: str = "",
    kubeconfig: Path | None = None,
) -> Server:
    """Start our webhook, with accounts from a file or from an API server, and do not wait; ``stack`` stops it.

    Args:
        stack: stops it.
        folder: with ``tls.crt`` and ``tls.key``; for its log.
        key: see `Server`.
        title: see `Server`.
        accounts: file with service accounts.
        kube: URL of an API server that asks for no credentials, when there is no file.
        kubeconfig: for an API server that does.
    """
    port, metrics_port = free_port(), free_port()
    settings = {
        "SERVER__HOST": "127.0.0.1",
        "SERVER__PORT": str(port),
        "SERVER__METRICS_HOST": "127.0.0.1",
        "SERVER__METRICS_PORT": str(metrics_port),
        "SERVER__CERT_FILE": str(folder / "tls.crt"),
        "SERVER__KEY_FILE": str(folder / "tls.key"),
        "SERVER__DRAIN_SECONDS": "0",
    }
    if accounts is not None:
        settings |= {"LOOKUP__SOURCE": "files", "LOOKUP__MANIFESTS": str(accounts)}
    elif kubeconfig is not None:
        settings["LOOKUP__KUBECONFIG"] = str(kubeconfig)
    else:
        settings["LOOKUP__KUBECONFIG"] = str(_kubeconfig(folder / f"{key}.kubeconfig", kube))
    environment = {f"TRUSTBIND_WEBHOOK_{name}": value for name, value in settings.items()}
    process = _start(stack, title, ["-m", "trustbind_webhook"], folder / f"{key}.log", environment)
    return Server(key, title, port, process, constant=False, certificate=folder / "tls.crt")


def start_peer(stack: contextlib.ExitStack, folder: Path, *, which: str, title: str, accounts: Path) -> Server:
    """Start ``floor`` or ``fastapi`` of `benchmarks.peers`, and do not wait; ``stack`` stops it."""
    port = free_port()
    arguments = ["-m", "benchmarks.peers", which, str(port), str(folder), str(accounts)]
    process = _start(stack, title, arguments, folder / f"{which}.log", {})
    return Server(which, title, port, process, constant=which == "floor", certificate=folder / "tls.crt")


def start_eks(stack: contextlib.ExitStack, folder: Path, *, binary: Path, title: str, kube: str) -> Server:
    """Start the EKS pod identity webhook against an API server, and do not wait; ``stack`` stops it.

    It knows no address to listen on, and listens on all of them.
    """
    port, metrics_port = free_port(), free_port()
    flags = {
        "kube-api": kube,
        "in-cluster": "false",
        "port": port,
        "metrics-port": metrics_port,
        "tls-cert": folder / "tls.crt",
        "tls-key": folder / "tls.key",
    }
    arguments = ["-c", _EXEC, str(binary), *(f"--{name}={value}" for name, value in flags.items())]
    process = _start(stack, title, arguments, folder / "eks.log", {})
    return Server("eks", title, port, process, constant=False, certificate=folder / "tls.crt")


def eks_binary(environment: Mapping[str, str]) -> Path | None:
    """Return the EKS webhook's program: of EKS_WEBHOOK_BIN, of PATH, or where ``go install`` puts it; else None.

    Raises:
        BenchmarkError: EKS_WEBHOOK_BIN is set to something that is no program.
    """
    if given := environment.get("EKS_WEBHOOK_BIN"):
        if not os.access(given, os.X_OK):
            raise BenchmarkError(f"EKS_WEBHOOK_BIN is {given}, which is not a program")
        return Path(given).resolve()
    if found := shutil.which(_EKS_NAME):
        return Path(found)
    if go := shutil.which("go"):
        answer = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, timeout=20, check=False)
        program = Path(answer.stdout.strip()) / "bin" / _EKS_NAME
        if os.access(program, os.X_OK):
            return program
    return None


def _start(
    stack: contextlib.ExitStack, name: str, arguments: list[str], log: Path, environment: Mapping[str, str]
) -> Process:
    process = Process(name, arguments, log, python_environment() | dict(environment))
    stack.callback(process.stop)
    return process


def _kubeconfig(path: Path, server: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": server}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
    path.write_text(yaml.safe_dump(config))
    return path
