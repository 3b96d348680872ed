"""A real API server, a local AWS and the operator, each a process of its own, with many bindings already stored."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import boto3
import msgspec

from benchmarks.section import BenchmarkError
from support.kube import CRDS, ROOT, ApiError, ApiServer, Binaries, load_manifests
from trustbind.api.strict import API_VERSION
from trustbind_cli.demo.processes import Process, free_port, http_json, python_environment

__all__ = ["Cluster", "Key", "Watch"]

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

_NAMESPACES: Final = 20
_THREADS: Final = 8
_SYSTEM: Final = "trustbind-system"
_USER: Final = f"system:serviceaccount:{_SYSTEM}:trustbind-operator"
_OPERATOR_ACCOUNT: Final = "111122223333"
_TARGET_ACCOUNT: Final = "444455556666"
_EXTERNAL_ID: Final = "bench"
_TRUST_POLICY_QUOTA: Final = 16384
_PAGE: Final = 500
_BINDINGS: Final = f"/apis/{API_VERSION}/rolebindings"
_WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})

_SETTINGS: Final = {
    "LEASE__NAMESPACE": _SYSTEM,
    "SERVER__HOST": "127.0.0.1",
    "SERVER__PORT": "0",
    "AWS__CALLS_PER_SECOND": "1000",
    "AWS__BURST": "1000",
}
"""The defaults but for these: with the default budget of calls, waiting for it would be all that is measured."""


class _Condition(msgspec.Struct):
    type: str
    status: str
    observedGeneration: int = 0  # noqa: N815 - Kubernetes' name


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Metadata(msgspec.Struct):
    namespace: str
    name: str
    resourceVersion: str  # noqa: N815 - Kubernetes' name
    generation: int = 0


class _Object(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def key(self) -> Key:
        return self.metadata.namespace, self.metadata.name

    @property
    def is_ready(self) -> bool:
        """Whether it is Ready as it is now."""
        wanted = ("Ready", "True", self.metadata.generation)
        return any((c.type, c.status, c.observedGeneration) == wanted for c in self.status.conditions)


class _Event(msgspec.Struct):
    type: str
    object: _Object


class Watch:
    """Follows all RoleBindings: which are Ready, and which are gone. A watch that ends is taken up anew.

    Args:
        api: the API server.
    """

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._connection = _connection(api)
        self._changed = threading.Condition()
        self._ready: dict[Key, int] = {}
        self._over = False
        self._why = ""
        self.restarts = 0
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._over = True
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def ready(self, count: int, seconds: float) -> float:
        """Wait until so many bindings are Ready; return when that was, by `time.monotonic`."""
        return self._wait(lambda: len(self._ready) >= count, seconds, f"{count} bindings Ready")

    def ready_as(self, key: Key, generation: int, seconds: float) -> float:
        """Wait until a binding of this generation is Ready."""
        return self._wait(lambda: self._ready.get(key, 0) >= generation, seconds, f"{key[1]} Ready")

    def gone(self, key: Key, seconds: float) -> float:
        """Wait until a binding that was Ready is gone."""
        return self._wait(lambda: key not in self._ready, seconds, f"{key[1]} gone")

    def _wait(self, check: Callable[[], bool], seconds: float, what: str) -> float:
        with self._changed:
            if not self._changed.wait_for(check, seconds):
                ended = f"; the watch ended {self.restarts} times, last: {self._why}" if self.restarts else ""
                raise BenchmarkError(f"not within {seconds:g} s: {what}; {len(self._ready)} are Ready{ended}")
            return time.monotonic()

    def _run(self) -> None:
        while not self._over:
            try:
                self._follow(self._list())
                self._why = "it was closed"
            except (OSError, ValueError, http.client.HTTPException, ApiError) as error:  # a DecodeError is a ValueError
                self._why = str(error)
            finally:
                self._connection.close()
            if not self._over:
                self.restarts += 1
                time.sleep(0.1)

    def _list(self) -> str:
        """Take in all there are; return the version to watch from."""
        objects, version = _all(self._api)
        with self._changed:
            self._ready = {each.key: each.metadata.generation for each in objects if each.is_ready}
            self._changed.notify_all()
        return version

    def _follow(self, version: str) -> None:
        self._connection = _connection(self._api)
        path = f"{_BINDINGS}?watch=true&timeoutSeconds=3600&resourceVersion={version}"
        self._connection.request("GET", path, headers=_headers(self._api))
        response = self._connection.getresponse()
        decoder = msgspec.json.Decoder(_Event)
        while not self._over and (line := response.readline()):
            event = decoder.decode(line)
            with self._changed:
                if event.type == "DELETED":
                    self._ready.pop(event.object.key, None)
                elif event.object.is_ready:
                    self._ready[event.object.key] = event.object.metadata.generation
                self._changed.notify_all()


_LONGEST_LINE: Final = 4 * 1024 * 1024
"""Bytes; an object and its audit entry are smaller."""


class Cluster:
    """A context manager: the API server and AWS, with everything stored but nothing bound yet.

    Args:
        binaries: of the API server.
        folder: for files.
        bindings: how many RoleBindings.
        roles: how many roles they are on.
    """

    def __init__(self, binaries: Binaries, folder: Path, *, bindings: int, roles: int) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._bindings = bindings
        self._roles = roles
        self._aws_url = ""
        self._starts = 0
        self.api = ApiServer(binaries, folder / "cluster")
        self.processes: dict[str, int] = {}
        """Process ids by name, of what the operator makes work."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.api)
            self._aws(stack)
            self._fill()
            self._stack = stack.pop_all()
        for name in ("kube-apiserver", "etcd"):
            self.processes[name] = int((self.api.directory / f"{name}.pid").read_text())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def watch(self) -> Watch:
        """Follow the bindings until the end."""
        watch = Watch(self.api)
        self._stack.callback(watch.close)
        return watch

    def operator(self) -> tuple[Process, float]:
        """Start the operator under its own account; return it and when it began, and do not wait.

        AWS calls are counted anew.
        """
        self._starts += 1
        settings = _SETTINGS | {"KUBERNETES__KUBECONFIG": str(self.api.kubeconfig(f"{_SYSTEM}/trustbind-operator"))}
        environment = python_environment() | {f"TRUSTBIND_OPERATOR_{name}": value for name, value in settings.items()}
        environment |= self._credentials()
        log = self._folder / f"operator-{self._starts}.log"
        self.forget_calls()
        began = time.monotonic()
        process = Process("operator", ["-m", "trustbind_cli", "operator"], log, environment)
        self._stack.callback(process.stop)
        return process, began

    # --- bindings ---------------------------------------------------------------------------------------------------

    def binding(self, number: int) -> Json:
        """Return the manifest of a binding; each is of a service account of its own."""
        arn = f"arn:aws:iam::{_TARGET_ACCOUNT}:role/app-{number // _NAMESPACES % self._roles}"
        spec = {"roleArn": arn, "serviceAccountNames": [f"reader-{number}"]}
        metadata = {"name": f"binding-{number}", "namespace": f"team-{number % _NAMESPACES}"}
        return {"apiVersion": API_VERSION, "kind": "RoleBinding", "metadata": metadata, "spec": spec}

    def versions(self) -> dict[Key, str]:
        """Return the resourceVersions of all bindings."""
        return {each.key: each.metadata.resourceVersion for each in _all(self.api)[0]}

    def store(self, objects: Sequence[Json]) -> None:
        """Create objects, over a few connections at once."""
        for manifest in {each["kind"]: each for each in objects}.values():  # discovery, once
            self.api.path(manifest)
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._create, (objects[start::_THREADS] for start in range(_THREADS))))

    # --- what is counted --------------------------------------------------------------------------------------------

    def forget_calls(self) -> None:
        """Count AWS calls anew."""
        _admin(self._aws_url, "DELETE", "calls")

    def calls(self) -> Counter[str]:
        """Return how many AWS calls there were, of all accounts, by operation."""
        counts: Counter[str] = Counter()
        for entry in http_json(f"{self._aws_url}/_local/counts"):
            counts[entry["operation"]] += entry["count"]
        return counts

    def audited(self) -> int:
        """Return a mark for `writes`: the end of the last whole line, since the API server may be writing one."""
        size = self.api.audit_log.stat().st_size
        with self.api.audit_log.open("rb") as log:
            log.seek(max(size - _LONGEST_LINE, 0))
            tail = log.read(size - log.tell())
        return size - len(tail) + tail.rfind(b"\n") + 1

    def writes(self, since: int) -> Counter[str]:
        """Return the operator's writes to Kubernetes, as the API server's audit log has them, but for its Lease.

        Args:
            since: a mark of `audited`.
        """
        counts: Counter[str] = Counter()
        with self.api.audit_log.open("rb") as log:
            log.seek(since)
            for line in log:
                if not line.endswith(b"\n"):  # it is being written
                    break
                event = json.loads(line)
                about = event.get("objectRef", {})
                if event["user"]["username"] != _USER or event["verb"] not in _WRITES:
                    continue
                if about["resource"] != "leases":
                    subresource = f"/{about['subresource']}" if "subresource" in about else ""
                    counts[f"{event['verb']} {about['resource']}{subresource}"] += 1
        return counts

    # --- the beginning ----------------------------------------------------------------------------------------------

    def _aws(self, stack: contextlib.ExitStack) -> None:
        operator = f"arn:aws:iam::{_OPERATOR_ACCOUNT}:role/operator"
        root = {"Principal": {"AWS": f"arn:aws:iam::{_OPERATOR_ACCOUNT}:root"}}
        manager = {
            "Principal": {"AWS": operator},
            "Condition": {"StringEquals": {"sts:ExternalId": _EXTERNAL_ID}},
        }
        foreign = {"Sid": "Ops", "Principal": {"Service": "ec2.amazonaws.com"}}
        roles = [
            _role("trustbind-manager", manager, manager=_policy_file("manager-role-policy.json")),
            *(_role(f"app-{number}", foreign) for number in range(self._roles)),
        ]
        content = {
            "issuers": [{"issuer": self.api.issuer, "jwks": self.api.jwks()}],
            "accounts": {
                _OPERATOR_ACCOUNT: {"roles": [_role("operator", root, operator=_policy_file("operator-policy.json"))]},
                _TARGET_ACCOUNT: {"trustPolicyQuota": _TRUST_POLICY_QUOTA, "roles": roles},
            },
        }
        file = self._folder / "accounts.json"
        file.write_text(json.dumps(content))
        port = free_port()
        arguments = ["-m", "trustbind_localaws", "--accounts-file", str(file), "--port", str(port)]
        process = Process("local AWS", arguments, self._folder / "aws.log", python_environment())
        stack.callback(process.stop)
        process.wait_for(lambda: process.said("ready on"))
        self.processes["local AWS"] = process.pid
        self._aws_url = f"http://127.0.0.1:{port}"

    def _credentials(self) -> dict[str, str]:
        sts = boto3.client(
            "sts",
            region_name="us-east-1",
            endpoint_url=self._aws_url,
            aws_access_key_id=_OPERATOR_ACCOUNT,
            aws_secret_access_key="unused",  # noqa: S106 - the local AWS looks at none
        )
        role = f"arn:aws:iam::{_OPERATOR_ACCOUNT}:role/operator"
        found = sts.assume_role(RoleArn=role, RoleSessionName="operator")["Credentials"]
        return {
            "AWS_ENDPOINT_URL": self._aws_url,
            "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
            "AWS_SESSION_TOKEN": found["SessionToken"],
            "AWS_REGION": "us-east-1",
        }

    def _fill(self) -> None:
        """Store everything; nobody acts on it yet."""
        definitions = load_manifests(CRDS)
        self.api.apply(definitions)
        for definition in definitions:  # before that, a watch ends when it comes
            self.api.wait(partial(self._is_established, definition), message="the CRDs are established")
        self.api.wait(partial(self.api.request, "GET", f"{_BINDINGS}?limit=1"), message="RoleBindings are served")
        namespaces = [f"team-{number}" for number in range(_NAMESPACES)]
        for name in (_SYSTEM, *namespaces):
            self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.api.apply(load_manifests(ROOT / "manifests" / "rbac" / "operator.yaml"))
        account = {
            "accountId": _TARGET_ACCOUNT,
            "managerRoleArn": f"arn:aws:iam::{_TARGET_ACCOUNT}:role/trustbind-manager",
            "externalId": _EXTERNAL_ID,
        }
        grant = {"namespaces": {"names": namespaces}, "roleArns": [f"arn:aws:iam::{_TARGET_ACCOUNT}:role/*"]}
        for kind, spec in (("AWSAccount", account), ("RoleGrant", grant)):
            self.api.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "bench"}, "spec": spec})
        bindings = [self.binding(number) for number in range(self._bindings)]
        accounts: list[Json] = [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {
                    "namespace": each["metadata"]["namespace"],
                    "name": each["spec"]["serviceAccountNames"][0],
                },
            }
            for each in bindings
        ]
        self.store([*accounts, *bindings])

    def _is_established(self, definition: Json) -> bool:
        conditions = self.api.get(definition).get("status", {}).get("conditions") or []
        return any((c["type"], c["status"]) == ("Established", "True") for c in conditions)

    def _create(self, objects: Iterable[Json]) -> None:
        """Create objects over one connection."""
        with contextlib.closing(_connection(self.api)) as connection:
            for manifest in objects:
                path = f"{self.api.path(manifest, collection=True)}?fieldValidation=Strict"
                connection.request("POST", path, json.dumps(manifest), _headers(self.api))
                response = connection.getresponse()
                answer = response.read()
                if response.status != http.HTTPStatus.CREATED:
                    raise BenchmarkError(f"{manifest['metadata']['name']} was refused: {answer.decode()[:300]}")


def _all(api: ApiServer) -> tuple[list[_Object], str]:
    """Return all bindings, and the version of that list."""
    objects: list[_Object] = []
    token = ""
    while True:
        page = api.request("GET", f"{_BINDINGS}?limit={_PAGE}&continue={token}")
        objects += msgspec.convert(page["items"], list[_Object])
        token = page["metadata"].get("continue", "")
        if not token:
            return objects, str(page["metadata"]["resourceVersion"])


def _connection(api: ApiServer) -> http.client.HTTPSConnection:
    parts = urlsplit(api.url)
    context = ssl.create_default_context(cafile=str(api.ca_file))
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context)


def _headers(api: ApiServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.bearer}", "Content-Type": "application/json", "Accept": "application/json"}


def _admin(url: str, method: str, route: str) -> None:
    request = urllib.request.Request(f"{url}/_local/{route}", method=method)  # noqa: S310 - our own process
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - the same
        pass


def _role(name: str, trust: Mapping[str, Any], **inline: Json) -> Json:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", **trust}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"name": name, "trustPolicy": document, "inlinePolicies": inline}


def _policy_file(name: str) -> Json:
    document: Json = json.loads((ROOT / "manifests" / "aws" / name).read_text())
    return document
