"""What one team's objects cost another team: its time to Ready and its admissions, with and without them.

Both halves run on a real API server. A team of one namespace, which no RoleGrant names, stores very many objects of one
kind and goes on editing some of them; another team creates bindings and pods. What is compared is measured in one run:
before, a team of few objects edits as often.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import itertools
import json
import math
import os
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.cluster import Cluster, Watch
from benchmarks.machine import cpu_seconds, resident_mib
from benchmarks.reviews import NAMESPACE, Payload, accounts, payloads
from benchmarks.section import BenchmarkError, Options, Section
from benchmarks.servers import Server, start_webhook
from support.kube import ROOT, ApiError, Binaries, BinariesNotFoundError, find_binaries, load_manifests
from support.largest import largest_binding
from trustbind.api.labels import GATE, WAITING_LABEL
from trustbind.api.strict import API_VERSION
from trustbind_cli.demo.processes import Process, make_certificate

__all__ = ["measure"]

Json = dict[str, Any]
Figures = dict[str, Any]

_MANY: Final = 1000
_QUICK_MANY: Final = 200
_CHANGES: Final = 20
_QUICK_CHANGES: Final = 8
_ADMISSION_SECONDS: Final = 10.0
_QUICK_ADMISSION_SECONDS: Final = 4.0
_PAUSE_SECONDS: Final = 0.01
"""Between two admissions of the team that is measured."""
_STIR_SECONDS: Final = 0.05
"""Between two edits, and two reviews, of the other team."""
_READY_SECONDS: Final = 120
_SETTLE_SECONDS: Final = 60
_SYSTEM: Final = "trustbind-system"
_EVIL: Final = "evil"
_QUIET: Final = "quiet"
_ABSENT: Final = "arn:aws:iam::444455556666:role/absent"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of objects that a team can store.

    Attributes:
        key: short, for ``--json``.
        title: for people.
    """

    key: str
    title: str


_KINDS: Final = (
    Kind("selectors", "RoleBindings with selectors"),
    Kind("absent_roles", "ungranted bindings, absent roles"),
    Kind("service_accounts", "labelled service accounts"),
    Kind("waiting_pods", "pods at the gate"),
    Kind("largest", "largest RoleBindings"),
)


def measure(options: Options) -> Section:
    """Measure each kind in a cluster of its own, and stop everything."""
    try:
        binaries = find_binaries(os.environ)
    except BinariesNotFoundError as error:
        return Section(tables=(), data={}, notes=(f"Tenancy: not measured: {error}",))
    count = _QUICK_MANY if options.quick else _MANY
    results = {kind.key: _kind(binaries, kind, count, options) for kind in _KINDS}
    notes = (
        f"Tenancy: one team stores {count:,} objects of a kind, which nothing grants, and edits twenty a second.",
        "Tenancy: without them, a team of two objects edits as often.",
        "Tenancy, at once: the other team's bindings come as soon as those objects are stored, while they are decided.",
        "Tenancy: MiB is what is resident after them, less what was before.",
    )
    return Section(tables=(_table(results),), data={"objects": count, "kinds": results}, notes=notes)


def _kind(binaries: Binaries, kind: Kind, count: int, options: Options) -> Figures:
    try:
        with (
            tempfile.TemporaryDirectory(prefix="trustbind-bench-") as name,
            Cluster(binaries, Path(name), bindings=20, roles=10) as cluster,
            contextlib.ExitStack() as stack,
        ):
            options.tell(f"{kind.title}: starting both halves")
            scene = _Scene(cluster, Path(name), stack, options)
            options.tell(f"{kind.title}: without")
            without = scene.round(_objects("", _QUIET, 1))
            memory = scene.memory()
            options.tell(f"{kind.title}: storing them")
            objects = _objects(kind.key, _EVIL, count)
            for stored in ("ServiceAccount", "Pod", "RoleBinding"):  # a pod needs its service account
                cluster.store([each for each in objects if each["kind"] == stored])
            options.tell(f"{kind.title}: at once")
            at_once = scene.ready()
            options.tell(f"{kind.title}: settling")
            scene.settle()
            options.tell(f"{kind.title}: with")
            with_them = scene.round(objects)
            later = scene.memory()
    except (ApiError, RuntimeError, TimeoutError, AssertionError, OSError) as error:
        raise BenchmarkError(f"{kind.title}: {error}") from error
    return {
        "without": without,
        "at_once": at_once,
        "with": with_them,
        "ratios": {figure: with_them[figure] / without[figure] for figure in without},
        "ratios_at_once": {figure: at_once[figure] / without[figure] for figure in at_once},
        "mib": {half: round(later[half] - memory[half], 1) for half in memory},
        "resident_mib": later,
    }


class _Scene:
    """Both halves at work."""

    def __init__(self, cluster: Cluster, folder: Path, stack: contextlib.ExitStack, options: Options) -> None:
        self._cluster = cluster
        self._quick = options.quick
        self._number = 100
        for namespace in (_EVIL, _QUIET, NAMESPACE):
            cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        cluster.api.apply(load_manifests(ROOT / "manifests" / "rbac" / "webhook.yaml"))
        for account in accounts(1):
            del account["metadata"]["resourceVersion"]
            cluster.store([account])
        cluster.store(_objects("", _QUIET, 1))
        self._watch: Watch = cluster.watch()
        self._operator: Process
        self._operator, _ = cluster.operator()
        make_certificate(folder)
        kubeconfig = cluster.api.kubeconfig(f"{_SYSTEM}/trustbind-webhook")
        self._webhook: Server = start_webhook(
            stack, folder, key="webhook", title="trustbind", kubeconfig=Path(kubeconfig)
        )
        self._webhook.wait()
        self._watch.ready(20, _READY_SECONDS)
        self._payload: Payload = payloads()[0]
        self._webhook.check(self._payload)
        self._webhook.warm(self._payload, 300)

    def round(self, objects: Sequence[Json]) -> Figures:
        """Measure while a team edits objects, of which there are these."""
        over = threading.Event()
        stirring = threading.Thread(target=self._stir, args=(objects, over), daemon=True)
        stirring.start()
        try:
            ready = self.ready()
            admissions = sorted(self._admissions(_QUICK_ADMISSION_SECONDS if self._quick else _ADMISSION_SECONDS))
        finally:
            over.set()
            stirring.join()
        return {
            **ready,
            "mutate_p50_ms": statistics.median(admissions) * 1e3,
            "mutate_p99_ms": admissions[math.ceil(0.99 * len(admissions)) - 1] * 1e3,
        }

    def memory(self) -> dict[str, float]:
        """Return what each half has resident."""
        pids = {"operator": self._operator.pid, "webhook": self._webhook.process.pid}
        return {half: resident_mib(pid)[0] for half, pid in pids.items()}

    def ready(self) -> Figures:
        """Create bindings of the team that is measured, one after the other."""
        seconds = [self._ready() for _ in range(_QUICK_CHANGES if self._quick else _CHANGES)]
        return {"ready_s": statistics.median(seconds), "ready_worst_s": max(seconds)}

    def settle(self) -> None:
        """Wait until the operator has nothing to do any more, or some time."""
        until = time.monotonic() + _SETTLE_SECONDS
        used = cpu_seconds(self._operator.pid)
        while time.monotonic() < until:
            time.sleep(1)
            before, used = used, cpu_seconds(self._operator.pid)
            if used - before < 0.05:
                return

    def _ready(self) -> float:
        """Create a binding of the team that is measured; return the seconds until it is Ready."""
        self._number += 21  # through roles and namespaces; see `benchmarks.operator`
        manifest = self._cluster.binding(self._number)
        key = (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        began = time.monotonic()
        self._cluster.api.apply(manifest)
        return self._watch.ready_as(key, 1, _READY_SECONDS) - began

    def _admissions(self, seconds: float) -> Iterator[float]:
        """Admit pods of the team that is measured, one after the other; yield the seconds of each."""
        with contextlib.closing(self._connection()) as connection:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                began = time.monotonic()
                _post(connection, "/mutate", self._payload.body)
                yield time.monotonic() - began
                time.sleep(_PAUSE_SECONDS)

    def _stir(self, objects: Sequence[Json], over: threading.Event) -> None:
        """Edit objects and have them reviewed until it is over."""
        bindings = [each for each in objects if each["kind"] == "RoleBinding"]
        service_accounts = [each for each in objects if each["kind"] == "ServiceAccount"]
        with contextlib.closing(self._connection()) as connection:
            for number in itertools.count():
                if over.wait(_STIR_SECONDS):
                    return
                one = (service_accounts, bindings)[number % 2]
                manifest = one[number // 2 % len(one)]
                metadata = {"labels": {"stirred": f"v{number}"}}
                change: Json = {"metadata": metadata}
                if manifest["kind"] == "RoleBinding":
                    change["spec"] = {"session": {"durationSeconds": 900 + number % 100}}
                with contextlib.suppress(ApiError):
                    self._cluster.api.request(
                        "PATCH",
                        self._cluster.api.path(manifest),
                        change,
                        content_type="application/merge-patch+json",
                    )
                _post(connection, "/validate", _validation(bindings[-1], number))
                _post(connection, "/mutate", self._admission(service_accounts[number % len(service_accounts)]))

    def _admission(self, service_account: Json) -> bytes:
        review = copy.deepcopy(self._payload.review)
        metadata = service_account["metadata"]
        review["request"]["namespace"] = review["request"]["object"]["metadata"]["namespace"] = metadata["namespace"]
        review["request"]["object"]["spec"]["serviceAccountName"] = metadata["name"]
        return json.dumps(review).encode()

    def _connection(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self._webhook.certificate))
        return http.client.HTTPSConnection("127.0.0.1", self._webhook.port, context=context, timeout=30)


def _objects(kind: str, namespace: str, count: int) -> list[Json]:
    """Return so many objects of a kind, and what they need; for no kind, one binding and its service account."""
    few = max(1, count // 10)
    match kind:
        case "selectors":
            return [
                *(_service_account(namespace, n) for n in range(count)),
                *(_binding(namespace, n, serviceAccountSelector=_selector(n)) for n in range(count)),
            ]
        case "service_accounts":
            return [
                *(_service_account(namespace, n, labels=40) for n in range(count)),
                *(_binding(namespace, n, serviceAccountSelector={}) for n in range(few)),
            ]
        case "waiting_pods":
            return [
                *(_service_account(namespace, n) for n in range(few)),
                *(_pod(namespace, n, f"app-{n % few}") for n in range(count)),
                *(_binding(namespace, n, serviceAccountSelector={}, waitUntilReady=True) for n in range(few)),
            ]
        case "largest":
            return [_service_account(namespace, 0), *(_largest(namespace, n) for n in range(count))]
        case _:
            return [
                *(_service_account(namespace, n) for n in range(count)),
                *(
                    _binding(namespace, n, roleArn=f"{_ABSENT}-{n}", serviceAccountNames=[f"app-{n}"])
                    for n in range(count)
                ),
            ]


def _selector(number: int) -> Json:
    expressions = [{"key": f"none-{n}", "operator": "DoesNotExist"} for n in range(8)]
    return {"matchExpressions": [*expressions, {"key": "n", "operator": "NotIn", "values": [f"{number}", "x"]}]}


def _service_account(namespace: str, number: int, *, labels: int = 1) -> Json:
    each = {f"label-{n}": f"value-{number}-{n}" for n in range(labels - 1)}
    metadata = {"name": f"app-{number}", "namespace": namespace, "labels": {"n": f"{number}", **each}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _binding(namespace: str, number: int, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "RoleBinding",
        "metadata": {"name": f"binding-{number}", "namespace": namespace, **(metadata or {})},
        "spec": {"roleArn": f"{_ABSENT}-{number % 10}", **spec},
    }


def _pod(namespace: str, number: int, service_account: str) -> Json:
    metadata = {"name": f"pod-{number}", "namespace": namespace, "labels": {WAITING_LABEL: "true"}}
    spec = {
        "serviceAccountName": service_account,
        "schedulingGates": [{"name": GATE}],
        "containers": [{"name": "app", "image": "registry.invalid/app"}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _largest(namespace: str, number: int) -> Json:
    """Return about the largest RoleBinding that the schema takes; of annotations a tenth of what Kubernetes takes.

    With all of them, the API server takes minutes for a thousand.
    """
    body = largest_binding(number, namespace)
    annotations = {"example.com/note": "x" * 20_000}
    return _binding(namespace, number, {"annotations": annotations}, **body["spec"])


def _validation(binding: Json, number: int) -> bytes:
    """Return the review of a binding as the API server sends it with a dry run."""
    changed = {**binding, "metadata": {**binding["metadata"], "name": f"dry-{number}", "annotations": {}}}
    request = {
        "uid": f"dry-{number}",
        "kind": {"group": "trustbind.dev", "version": "v1alpha1", "kind": "RoleBinding"},
        "resource": {"group": "trustbind.dev", "version": "v1alpha1", "resource": "rolebindings"},
        "namespace": binding["metadata"]["namespace"],
        "name": f"dry-{number}",
        "operation": "CREATE",
        "dryRun": True,
        "object": changed,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def _post(connection: http.client.HTTPSConnection, path: str, body: bytes) -> None:
    connection.request("POST", f"{path}?timeout=10s", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise BenchmarkError(f"{path} answered {answer.status}: {content.decode(errors='replace')[:200]}")


def _table(results: Mapping[str, Figures]) -> Table:
    table = Table(title="Another team, with and without one team's objects", title_justify="left")
    table.add_column("objects", no_wrap=True)
    for column in ("s to Ready", "at once", "ratio", "with", "ratio", "p99 ms", "with", "ratio", "op. MiB", "wh. MiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for kind in _KINDS:
        found = results[kind.key]
        before, after, ratios = found["without"], found["with"], found["ratios"]
        table.add_row(
            kind.title,
            f"{before['ready_s']:.2f}",
            f"{found['at_once']['ready_s']:.2f}",
            f"{found['ratios_at_once']['ready_s']:.2f}",
            f"{after['ready_s']:.2f}",
            f"{ratios['ready_s']:.2f}",
            f"{before['mutate_p99_ms']:.1f}",
            f"{after['mutate_p99_ms']:.1f}",
            f"{ratios['mutate_p99_ms']:.2f}",
            f"+{found['mib']['operator']:.0f}",
            f"+{found['mib']['webhook']:.0f}",
        )
    return table
