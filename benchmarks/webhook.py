"""What one admission costs: CPU of the server, and latency, over TLS from a few kept-alive connections.

Rounds are interleaved, and every second one runs backwards, so that whatever else the machine does meets all alike;
ratios are taken within a round.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.kubeapi import kube_api
from benchmarks.load import CONNECTIONS, Load, Sample, find_load
from benchmarks.machine import cpu_seconds
from benchmarks.reviews import Payload, accounts, manifests, payloads
from benchmarks.section import BenchmarkError, Options, Section
from benchmarks.servers import Server, eks_binary, start_eks, start_peer, start_webhook
from trustbind_cli.demo.processes import make_certificate

__all__ = ["measure"]

_MANY_ACCOUNTS: Final = 1000
_ROUNDS: Final = 4
_SECONDS: Final = 2
_QUICK_ROUNDS: Final = 2
_QUICK_SECONDS: Final = 1
_WARM_UP: Final = 200
"""Requests before the first round, so that caches are filled and lazy things have happened."""

_FLOOR: Final = "floor"
_EKS: Final = "eks"
_NO_EKS: Final = (
    "EKS pod identity webhook: not measured, since there is none here: "
    "go install github.com/aws/amazon-eks-pod-identity-webhook@latest, or set EKS_WEBHOOK_BIN"
)


@dataclass(frozen=True, slots=True)
class Round:
    """One server under one payload, once.

    Attributes:
        cpu_ms: of the server, user and system, for one request.
        sample: what the load saw.
    """

    cpu_ms: float
    sample: Sample


Rounds = dict[tuple[str, str], list[Round]]
"""By server's key and payload's name."""


def measure(options: Options) -> Section:
    """Start all servers, check and measure them, and stop them."""
    load = find_load()
    binary = eks_binary(os.environ)
    bodies = payloads()
    with tempfile.TemporaryDirectory(prefix="trustbind-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        servers = _start(stack, folder, binary, options)
        rounds = _measure(servers, bodies, load, folder, options)
    titles = {server.key: server.title for server in servers}
    notes = [
        f"Load: {load.name}, {CONNECTIONS} kept-alive TLS connections, each always with a request under way.",
        "Each figure is the median of the rounds; ratios are of CPU, within a round; CPU is user and system.",
        "Floor: the same server stack with json.loads and a constant answer.",
    ]
    if binary is None:
        notes.append(_NO_EKS)
    return Section(
        tables=tuple(_table(payload, titles, rounds) for payload in bodies),
        data={
            "load": load.name,
            "connections": CONNECTIONS,
            "servers": titles,
            "payloads": {p.name: {"bytes": len(p.body), "containers": p.containers} for p in bodies},
            "results": [_result(payload, key, rounds) for payload in bodies for key in titles],
        },
        notes=tuple(notes),
    )


def _start(stack: contextlib.ExitStack, folder: Path, binary: Path | None, options: Options) -> list[Server]:
    options.tell("starting servers")
    make_certificate(folder)
    one, many = folder / "one.yaml", folder / "many.yaml"
    one.write_text(manifests(accounts(1)))
    many.write_text(manifests(accounts(_MANY_ACCOUNTS)))
    servers = [
        start_webhook(stack, folder, key="webhook", title="trustbind", accounts=one),
        start_peer(stack, folder, which=_FLOOR, title="floor", accounts=one),
        start_peer(stack, folder, which="fastapi", title="plain FastAPI", accounts=one),
    ]
    if not options.quick:
        title = f"trustbind, {_MANY_ACCOUNTS:,} accounts"
        servers.insert(1, start_webhook(stack, folder, key="webhook-many", title=title, accounts=many))
    if binary is not None:
        kube = stack.enter_context(kube_api(accounts(1)))
        servers.append(start_eks(stack, folder, binary=binary, title="EKS webhook", kube=kube))
    for server in servers:
        options.tell(f"waiting for {server.title}")
        server.wait()
    return servers


def _measure(
    servers: Sequence[Server], bodies: Sequence[Payload], load: Load, folder: Path, options: Options
) -> Rounds:
    count, seconds = (_QUICK_ROUNDS, _QUICK_SECONDS) if options.quick else (_ROUNDS, _SECONDS)
    files = {payload.name: folder / f"review-{payload.containers}.json" for payload in bodies}
    for payload in bodies:
        files[payload.name].write_bytes(payload.body)
        for server in servers:
            options.tell(f"checking {server.title}")
            server.check(payload)
            server.warm(payload, _WARM_UP)
    rounds: Rounds = {(server.key, payload.name): [] for server in servers for payload in bodies}
    pairs = [(server, payload) for payload in bodies for server in servers]
    for number in range(count):
        for server, payload in reversed(pairs) if number % 2 else pairs:
            options.tell(f"round {number + 1} of {count}: {payload.name} to {server.title}")
            rounds[server.key, payload.name].append(_round(server, load, files[payload.name], seconds))
    return rounds


def _round(server: Server, load: Load, body: Path, seconds: int) -> Round:
    before = cpu_seconds(server.process.pid)
    sample = load.run(server.port, body, seconds)
    cpu = cpu_seconds(server.process.pid) - before
    if sample.errors or not sample.requests:
        raise BenchmarkError(f"{server.title} failed under load: {sample.errors} errors in {sample.requests} requests")
    return Round(cpu / sample.requests * 1e3, sample)


def _median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    return statistics.median(value(each) for each in rounds)


def _ratio(payload: Payload, key: str, to: str, rounds: Rounds) -> float | None:
    """Return how much CPU a server takes for what another takes 1 for; None without the other."""
    others = rounds.get((to, payload.name))
    if not others:
        return None
    pairs = zip(rounds[key, payload.name], others, strict=True)
    return statistics.median(one.cpu_ms / other.cpu_ms for one, other in pairs)


def _result(payload: Payload, key: str, rounds: Rounds) -> dict[str, Any]:
    own = rounds[key, payload.name]
    return {
        "server": key,
        "payload": payload.name,
        "cpu_ms": _median(own, lambda r: r.cpu_ms),
        "cpu_to_floor": _ratio(payload, key, _FLOOR, rounds),
        "cpu_to_eks": _ratio(payload, key, _EKS, rounds),
        "p50_ms": _median(own, lambda r: r.sample.p50_ms),
        "p99_ms": _median(own, lambda r: r.sample.p99_ms),
        "requests_per_second": _median(own, lambda r: r.sample.requests / r.sample.seconds),
        "rounds": [{"cpu_ms": each.cpu_ms, **asdict(each.sample)} for each in own],
    }


def _table(payload: Payload, titles: dict[str, str], rounds: Rounds) -> Table:
    table = Table(title=f"One admission: {payload.name}, {payload.containers} containers", title_justify="left")
    table.add_column("server", no_wrap=True)
    for column in ("CPU ms", "min-max", "x floor", "x EKS", "p50 ms", "p99 ms", "req/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for key, title in titles.items():
        result = _result(payload, key, rounds)
        costs = [each["cpu_ms"] for each in result["rounds"]]
        table.add_row(
            title,
            f"{result['cpu_ms']:.3f}",
            f"{min(costs):.3f}-{max(costs):.3f}",
            _times(result["cpu_to_floor"]),
            _times(result["cpu_to_eks"]),
            f"{result['p50_ms']:.1f}",
            f"{result['p99_ms']:.1f}",
            f"{result['requests_per_second']:,.0f}",
        )
    return table


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
