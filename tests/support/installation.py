"""The chart installed into a real API server by Helm, and its pods played by processes of this machine.

There are no nodes and no kube-proxy. So each pod's container is a process with the arguments and the settings that the
cluster holds for it, and the webhook's Service becomes a name for this machine: the API server calls the webhook by the
webhook configurations exactly as the chart has written them, and checks the certificate for the Service's name.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

from support.charts import CHART, Helm
from support.halves import operator_env
from support.kube import ApiError
from support.processes import Process, eventually
from support.world import API_VERSION, Team, World

__all__ = ["Installation", "Load", "Switchboard", "dry_run", "environment_of", "free_port", "injected", "moments"]

Json = dict[str, Any]

PRODUCT: Final = "trustbind"

KIND_OF: Final = {
    "rolebindingsets": "RoleBindingSet",
    "rolebindings": "RoleBinding",
    "awsaccounts": "AWSAccount",
    "rolegrants": "RoleGrant",
}
CLUSTER_KINDS: Final = (
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
)
KINDS: Final = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("coordination.k8s.io/v1", "Lease"),
)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Installation:
    """One release.

    Args:
        helm: does the work.
        world: where.
        directory: for files of the processes.
        values: on top of those that processes on one machine need.
    """

    def __init__(self, helm: Helm, world: World, directory: Path, values: Mapping[str, Any] | None = None) -> None:
        self.helm = helm
        self.world = world
        self.api = world.api
        self.release = f"tb-{secrets.token_hex(3)}"
        self.namespace = f"{self.release}-system"
        self.name = f"{self.release}-{PRODUCT}"
        self.port, self.metrics_port, self.operator_port = free_port(), free_port(), free_port()
        self._directory = directory
        self._stack = contextlib.ExitStack()
        self.chart = CHART
        self.jobs: list[str] = []
        self._processes: list[Process] = []
        self._failed: list[str] = []
        """Names of the Jobs that were run."""
        self.values: Json = {
            "webhook": {
                "service": {"port": self.port},
                "settings": {
                    "server": {
                        "host": "127.0.0.1",
                        "port": self.port,
                        "metricsHost": "127.0.0.1",
                        "metricsPort": self.metrics_port,
                        "drainSeconds": 0,
                        "reloadSeconds": 0.2,
                    },
                    "injection": {"region": "us-east-1"},
                },
            },
            "operator": {
                "settings": {
                    "server": {"host": "127.0.0.1", "port": self.operator_port},
                    # Under load an operator that loses its Lease ends, and nobody restarts it.
                    "lease": {"durationSeconds": 20, "renewDeadlineSeconds": 15, "retrySeconds": 1},
                    "aws": {"connectTimeoutSeconds": 1, "readTimeoutSeconds": 3},
                    "pace": {"retrySeconds": 0.2, "maxRetrySeconds": 1},
                }
            },
        }
        _merge(self.values, values or {})

    # --- Helm -------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Install the chart, and make its Service a name for this machine.

        Helm waits for a Job, whose pod runs here.
        """
        with ThreadPoolExecutor(1) as pool:
            where = ("-n", self.namespace, "--create-namespace")
            installing = pool.submit(self.helm.run, "install", self.release, self.chart, *where, *self._flags())
            while not installing.done():
                self._run_jobs()
                time.sleep(0.1)
            installing.result()
        self._point_service()

    def _run_jobs(self) -> None:
        """Run the containers of Jobs' pods, and write down how they ended, as a node would."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        for pod in self.api.request("GET", f"{path}?labelSelector=batch.kubernetes.io/job-name")["items"]:
            if pod["status"].get("phase") != "Pending":
                continue
            self.jobs.append(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])
            (container,) = pod["spec"]["containers"]
            program, *arguments = container["command"]
            assert program == "python"
            env = self.pod_env(pod["spec"]["serviceAccountName"])
            done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=False)
            status = {"phase": "Failed" if done.returncode else "Succeeded", "message": done.stdout}
            name = pod["metadata"]["name"]
            self.api.request(
                "PATCH", f"{path}/{name}/status", {"status": status}, content_type="application/merge-patch+json"
            )

    def pod_env(self, account: str) -> dict[str, str]:
        """Return what a container of this machine needs to reach the API server as a service account of the release."""
        folder = self._directory / f"account-{account}"
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(self.api.token(self.namespace, account))
        (folder / "ca.crt").write_bytes(self.api.ca_file.read_bytes())
        host, _, port = self.api.url.removeprefix("https://").partition(":")
        return {
            "PATH": os.environ["PATH"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "SERVICE_ACCOUNT_FOLDER": str(folder),
        }

    def upgrade(self, values: Mapping[str, Any] | None = None) -> None:
        """Upgrade the release to these values on top of the present ones."""
        _merge(self.values, values or {})
        self.helm.run("upgrade", self.release, CHART, "-n", self.namespace, *self._flags())

    def uninstall(self) -> None:
        """Uninstall the release; processes that are still there have no rights from then on."""
        self._failed += [text] if (text := self.failed()) else []
        self._processes.clear()
        self.helm.run("uninstall", self.release, "-n", self.namespace)

    def _flags(self) -> tuple[str, ...]:
        file = self._directory / f"{self.release}.json"
        file.write_text(json.dumps(self.values))
        return ("--values", str(file))

    def _point_service(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/services/{self.name}-webhook"
        spec = {"type": "ExternalName", "externalName": "localhost", "clusterIP": None, "clusterIPs": None}
        self.api.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")

    # --- what is there ----------------------------------------------------------------------------------------------

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Json:
        """Return an object."""
        metadata = {"name": name, "namespace": self.namespace if namespace is None else namespace}
        return self.api.get({"apiVersion": api_version, "kind": kind, "metadata": metadata})

    def configuration(self, which: str = "Mutating") -> Json:
        """Return a webhook configuration."""
        kind = f"{which}WebhookConfiguration"
        return self.get("admissionregistration.k8s.io/v1", kind, f"{self.name}-webhook")

    def ca_bundle(self, which: str = "Mutating") -> bytes:
        """Return what the API server trusts, in PEM; nothing where the entries do not agree."""
        bundles = {each["clientConfig"].get("caBundle") or "" for each in self.configuration(which)["webhooks"]}
        return base64.b64decode(bundles.pop()) if len(bundles) == 1 else b""

    def secret(self) -> Json:
        """Return the Secret with the certificate."""
        return self.get("v1", "Secret", f"{self.name}-webhook-tls")

    def remains(self) -> list[str]:
        """Return what is still there of the release, as ``kind/name``."""
        found = []
        for api_version, kind in (*CLUSTER_KINDS, *KINDS):
            metadata = {"name": "", "namespace": self.namespace}
            path = self.api.path({"apiVersion": api_version, "kind": kind, "metadata": metadata}, collection=True)
            for item in self.api.request("GET", path)["items"]:
                labels = item["metadata"].get("labels", {})
                name = item["metadata"]["name"]
                if labels.get("app.kubernetes.io/instance") == self.release or name.startswith(self.name):
                    found.append(f"{kind}/{name}")
        return found

    # --- processes --------------------------------------------------------------------------------------------------

    def files(self, replica: str) -> Path:
        """Return the folder with a replica's certificate."""
        folder = self._directory / f"tls-{replica}"
        folder.mkdir(exist_ok=True)
        return folder

    def metrics(self) -> str:
        """Return the metrics of the first replica of the webhook."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def webhook(self, replica: str = "a", env: Mapping[str, str] | None = None) -> Process:
        """Start a replica of the webhook; a second one needs other ports."""
        files = self.files(replica)
        own = {
            "TRUSTBIND_WEBHOOK_SERVER__CERT_FILE": str(files / "tls.crt"),
            "TRUSTBIND_WEBHOOK_SERVER__KEY_FILE": str(files / "tls.key"),
            "TRUSTBIND_WEBHOOK_LOOKUP__KUBECONFIG": str(self.api.kubeconfig(f"{self.namespace}/{self.name}-webhook")),
        }
        return self._start("webhook", {**own, **(env or {})})

    def operator(self) -> Process:
        """Start the operator."""
        aws = {k: v for k, v in operator_env(self.world).items() if k.startswith("AWS_")}
        kubeconfig = self.api.kubeconfig(f"{self.namespace}/{self.name}-operator")
        own = {
            "TRUSTBIND_OPERATOR_KUBERNETES__KUBECONFIG": str(kubeconfig),
            "TRUSTBIND_OPERATOR_LEASE__NAMESPACE": self.namespace,  # a pod reads it from a file
        }
        return self._start("operator", {**aws, **own})

    def _start(self, half: str, env: Mapping[str, str | None]) -> Process:
        """Start what the Deployment's container would be."""
        (container,) = self.get("apps/v1", "Deployment", f"{self.name}-{half}")["spec"]["template"]["spec"][
            "containers"
        ]
        settings = self._directory / f"{half}.yaml"
        settings.write_text(self.get("v1", "ConfigMap", f"{self.name}-{half}")["data"]["settings.yaml"])
        (mount,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == "settings")
        arguments = [text.replace(f"{mount}/settings.yaml", str(settings)) for text in container["args"]]
        process = Process([sys.executable, "-m", "trustbind_cli", *arguments], env)
        self._processes.append(process)
        return self._stack.enter_context(process)

    def failed(self) -> str:
        """Return what the processes said last that have ended with an error; empty when none has."""
        ended = [process for process in self._processes if not process.running]
        failed = [process for process in ended if process.wait() not in {0, -signal.SIGKILL}]  # a test may kill one
        return "\n".join((*self._failed, *("\n".join(process.output[-20:]) for process in failed)))

    def stop(self, process: Process) -> None:
        """Ask a process to end, and wait for it."""
        process.signal(signal.SIGTERM)
        assert process.wait(seconds=30) == 0, "\n".join(process.output)

    def close(self) -> None:
        """End all processes, and remove what would be in the way of others."""
        self._stack.close()
        for which in ("Mutating", "Validating"):
            with contextlib.suppress(ApiError):
                self.api.delete(self.configuration(which))

    def wipe(self) -> None:
        """Remove the definitions, and what a failed test has left: nobody is there to take a finalizer off."""
        for plural in KIND_OF:
            with contextlib.suppress(ApiError):
                for item in self.api.request("GET", f"/apis/{API_VERSION}/{plural}")["items"]:
                    manifest = {"apiVersion": API_VERSION, "kind": KIND_OF[plural], "metadata": item["metadata"]}
                    with contextlib.suppress(ApiError):
                        self.world.merge(manifest, {"metadata": {"finalizers": None}})
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.trustbind.dev"
            with contextlib.suppress(ApiError):
                self.api.request("DELETE", path)
        eventually(
            lambda: not [n for n in self.remains() if n.startswith("Custom")], "no definition is left", seconds=120
        )


class Switchboard:
    """What kube-proxy is in a cluster: new connections go to one of the endpoints, open ones stay where they are.

    Attributes:
        endpoints: ports of 127.0.0.1; changed from outside.
    """

    def __init__(self, port: int) -> None:
        self.endpoints: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no more connections, and wait for those that are open: the endpoints have to be gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=_relay, args=(client, random.choice(self.endpoints)))  # noqa: S311 - any
            thread.start()
            self._threads.append(thread)


def _relay(client: socket.socket, port: int) -> None:
    """Pass on what comes from either side, until both have ended."""
    with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_pass_on, args=(server, client))
        back.start()
        _pass_on(client, server)
        back.join()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Load:
    """Pods asked for by dry runs, again and again, by several at once.

    Attributes:
        asked: how many.
        lost: what was said about those that were refused, or not injected.
    """

    def __init__(self, team: Team, account: str, callers: int = 3) -> None:
        self._team = team
        self._account = account
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]
        self.asked = 0
        self.lost: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                if not injected(dry_run(self._team, self._account)):
                    self.lost.append("not injected")
            except (ApiError, OSError) as error:
                self.lost.append(str(error))
            self.asked += 1


def dry_run(team: Team, account: str) -> Json:
    """Return a pod of this account as it would be stored."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-"},
        "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "example.com/web:1"}]},
    }
    path = f"/api/v1/namespaces/{team.namespace}/pods?dryRun=All"
    stored: Json = team.world.api.request("POST", path, pod)
    return stored


def injected(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod has been given its role."""
    return any(e["name"] == "AWS_ROLE_ARN" for e in pod["spec"]["containers"][0].get("env", []))


def _merge(into: Json, other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = json.loads(json.dumps(value))


def moments(seconds: float, every: float) -> Iterator[float]:
    """Yield the seconds since the start, until they are over."""
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        yield passed
        time.sleep(every)


def environment_of(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a pod's only container, on top of a bare environment."""
    (container,) = pod["spec"]["containers"]
    return {"PATH": os.environ["PATH"]} | {e["name"]: e["value"] for e in container.get("env", [])}
