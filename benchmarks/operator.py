"""What the operator costs: from cold, at a restart with nothing to do, and for one change, at two sizes.

It is the real thing on a real API server, under its own account; only AWS is local.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.cluster import Cluster, Key, Watch
from benchmarks.machine import cpu_seconds, resident_mib
from benchmarks.section import BenchmarkError, Options, Section
from support.kube import ApiError, Binaries, BinariesNotFoundError, find_binaries
from trustbind_cli.demo.processes import Process

__all__ = ["measure"]

_SIZES: Final = ((1000, 50), (5000, 250))
_QUICK_SIZES: Final = ((300, 15),)
_CHANGES: Final = 20
_QUIET_SECONDS: Final = 20
_QUICK_QUIET_SECONDS: Final = 5
_COLD_SECONDS: Final = 240
"""Deadline for all to be Ready."""
_CHANGE_SECONDS: Final = 30
"""Deadline for one change."""
_PAUSE_SECONDS: Final = 2
"""When nothing has been written to Kubernetes for so long, everything is."""

Figures = dict[str, Any]

_ROWS: Final = (
    ("cold: s to working", "cold", "working_s", ".1f"),
    ("cold: s to all Ready", "cold", "ready_s", ".1f"),
    ("cold: GetRole", "cold", "role_reads", ",d"),
    ("cold: UpdateAssumeRolePolicy", "cold", "role_writes", ",d"),
    ("cold: other AWS calls", "cold", "other_calls", ",d"),
    ("cold: s to all Events written", "cold", "quiet_s", ".1f"),
    ("cold: finalizers written", "cold", "finalizers", ",d"),
    ("cold: statuses written", "cold", "statuses", ",d"),
    ("cold: Events written", "cold", "events", ",d"),
    ("cold: other Kubernetes writes", "cold", "other_writes", ",d"),
    ("cold: CPU s", "cold", "cpu_s", ".1f"),
    ("cold: resident MiB", "cold", "resident_mib", ".0f"),
    ("restart: s to working", "restart", "working_s", ".1f"),
    ("restart: GetRole", "restart", "role_reads", ",d"),
    ("restart: IAM writes", "restart", "iam_writes", ",d"),
    ("restart: bindings changed", "restart", "changed", ",d"),
    ("restart: Kubernetes writes", "restart", "kube_writes", ",d"),
    ("restart: CPU s to working", "restart", "cpu_working_s", ".2f"),
    ("restart: CPU s afterwards", "restart", "cpu_quiet_s", ".2f"),
    ("one new binding: s, median", "change", "median_s", ".2f"),
    ("one new binding: s, p90", "change", "p90_s", ".2f"),
    ("one new binding: GetRole", "change", "role_reads", ".1f"),
    ("one new binding: UpdateAssumeRolePolicy", "change", "role_writes", ".1f"),
    ("one new binding: CPU ms", "change", "cpu_ms", ".0f"),
    ("one deletion: s, median", "deletion", "median_s", ".2f"),
    ("one deletion: s, p90", "deletion", "p90_s", ".2f"),
    ("at the end: resident MiB", "end", "resident_mib", ".0f"),
    ("at the end: most resident MiB so far", "end", "peak_mib", ".0f"),
)
"""Label, part, figure, format."""


def measure(options: Options) -> Section:
    """Measure each size in a cluster of its own, and stop everything."""
    try:
        binaries = find_binaries(os.environ)
    except BinariesNotFoundError as error:
        return Section(tables=(), data={}, notes=(f"Operator: not measured: {error}",))
    quiet = _QUICK_QUIET_SECONDS if options.quick else _QUIET_SECONDS
    results = [
        _size(binaries, bindings, roles, quiet, options)
        for bindings, roles in (_QUICK_SIZES if options.quick else _SIZES)
    ]
    notes = (
        "Operator: the budget is 1,000 AWS calls a second, so as not to measure the wait for it; all else by default.",
        "Operator, cold: from the start of its process; GetRole is a first read and, after a write, a read-back.",
        f"Operator, restart: in the first {quiet} s of work; the reads are the resync's, whose interval is 600 s.",
    )
    return Section(tables=(_table(results),), data={"sizes": results}, notes=notes)


def _size(binaries: Binaries, bindings: int, roles: int, quiet: float, options: Options) -> Figures:
    what = f"{bindings:,} bindings on {roles} roles"
    try:
        with tempfile.TemporaryDirectory(prefix="trustbind-bench-") as name:
            options.tell(f"{what}: storing them")
            with Cluster(binaries, Path(name), bindings=bindings, roles=roles) as cluster:
                watch = cluster.watch()
                options.tell(f"{what}: cold")
                process, cold = _cold(cluster, watch, bindings)
                process.stop()
                options.tell(f"{what}: restart")
                process, restart = _restart(cluster, quiet)
                options.tell(f"{what}: one change at a time")
                keys, change = _changes(cluster, watch, process, bindings)
                deletion = _deletions(cluster, watch, keys)
                now, peak = resident_mib(process.pid)
                _no_defects(process)
    except (ApiError, RuntimeError, TimeoutError, AssertionError, OSError) as error:
        raise BenchmarkError(f"{what}: {error}") from error
    end = {"resident_mib": now, "peak_mib": peak, "watch_restarts": watch.restarts}
    return {
        "bindings": bindings,
        "roles": roles,
        "cold": cold,
        "restart": restart,
        "change": change,
        "deletion": deletion,
        "end": end,
    }


def _cold(cluster: Cluster, watch: Watch, bindings: int) -> tuple[Process, Figures]:
    """Start with nothing done yet."""
    mark = cluster.audited()
    before = {name: cpu_seconds(pid) for name, pid in cluster.processes.items()}
    process, began, working = _started(cluster)
    ready = watch.ready(bindings, _COLD_SECONDS)
    others = {name: cpu_seconds(pid) - before[name] for name, pid in cluster.processes.items()}
    quiet = _settled(cluster)
    cpu = cpu_seconds(process.pid)
    calls, writes = cluster.calls(), cluster.writes(mark)
    reads, updates = calls.pop("GetRole", 0), calls.pop("UpdateAssumeRolePolicy", 0)
    finalizers, statuses = writes.pop("patch rolebindings", 0), writes.pop("patch rolebindings/status", 0)
    events = writes.pop("create events", 0)
    now, peak = resident_mib(process.pid)
    _no_defects(process)
    return process, {
        "working_s": working - began,
        "ready_s": ready - began,
        "quiet_s": quiet - began,
        "role_reads": reads,
        "role_writes": updates,
        "other_calls": calls.total(),
        "others": dict(calls),
        "finalizers": finalizers,
        "statuses": statuses,
        "events": events,
        "other_writes": writes.total(),
        "writes": dict(writes),
        "cpu_s": cpu,
        "cpu_of_others_s": others,
        "resident_mib": now,
        "peak_mib": peak,
    }


def _restart(cluster: Cluster, quiet: float) -> tuple[Process, Figures]:
    """Start with everything done."""
    before, mark = cluster.versions(), cluster.audited()
    process, began, working = _started(cluster)
    cpu = cpu_seconds(process.pid)
    time.sleep(quiet)
    later = cpu_seconds(process.pid)
    calls, after = cluster.calls(), cluster.versions()
    return process, {
        "seconds": quiet,
        "working_s": working - began,
        "role_reads": calls["GetRole"],
        "iam_writes": sum(count for operation, count in calls.items() if _is_write(operation)),
        "calls": dict(calls),
        "changed": sum(after.get(key) != version for key, version in before.items()),
        "kube_writes": cluster.writes(mark).total(),
        "cpu_working_s": cpu,
        "cpu_quiet_s": later - cpu,
        "resident_mib": resident_mib(process.pid)[0],
    }


def _changes(cluster: Cluster, watch: Watch, process: Process, bindings: int) -> tuple[list[Key], Figures]:
    """Apply new bindings, one after the other, each on another role where there are so many."""
    cluster.forget_calls()
    keys: list[Key] = []
    seconds: list[float] = []
    before = cpu_seconds(process.pid)
    for number in range(_CHANGES):
        # Twenty numbers in a row are of one role and of twenty namespaces, so steps of 21 go through both.
        manifest = cluster.binding(bindings + 21 * number)
        key = (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        began = time.monotonic()
        cluster.api.apply(manifest)
        seconds.append(watch.ready_as(key, 1, _CHANGE_SECONDS) - began)
        keys.append(key)
    cpu = cpu_seconds(process.pid) - before
    calls = cluster.calls()
    return keys, _times(seconds) | {
        "role_reads": calls["GetRole"] / _CHANGES,
        "role_writes": calls["UpdateAssumeRolePolicy"] / _CHANGES,
        "cpu_ms": cpu / _CHANGES * 1e3,
    }


def _deletions(cluster: Cluster, watch: Watch, keys: Sequence[Key]) -> Figures:
    """Delete bindings, one after the other."""
    manifest = cluster.binding(0)
    seconds: list[float] = []
    for namespace, name in keys:
        began = time.monotonic()
        cluster.api.delete(manifest | {"metadata": {"namespace": namespace, "name": name}})
        seconds.append(watch.gone((namespace, name), _CHANGE_SECONDS) - began)
    return _times(seconds)


def _started(cluster: Cluster) -> tuple[Process, float, float]:
    """Start the operator; return it, when it began, and when it worked."""
    process, began = cluster.operator()
    process.wait_for(lambda: process.said('"working"'))
    return process, began, time.monotonic()


def _settled(cluster: Cluster) -> float:
    """Wait until nothing more is written to Kubernetes; return when the last of it was."""
    start = last = time.monotonic()
    size = cluster.audited()
    while time.monotonic() - last < _PAUSE_SECONDS:
        if time.monotonic() - start > _COLD_SECONDS:
            raise BenchmarkError("the operator writes on and on, though all bindings are Ready")
        time.sleep(0.1)
        mark, size = size, cluster.audited()
        if size != mark and cluster.writes(mark):
            last = time.monotonic()
    return last


def _no_defects(process: Process) -> None:
    if line := process.said("Traceback") or process.said("unexpected error"):
        raise BenchmarkError(f"the operator met something that nobody expected: {line[:300]}")


def _times(seconds: Sequence[float]) -> Figures:
    ordered = sorted(seconds)
    p90 = ordered[math.ceil(0.9 * len(ordered)) - 1]
    return {"median_s": statistics.median(ordered), "p90_s": p90, "seconds": list(seconds)}


def _is_write(operation: str) -> bool:
    return not operation.startswith(("Get", "List", "AssumeRole"))


def _table(results: Sequence[Figures]) -> Table:
    table = Table(title="The operator", title_justify="left")
    table.add_column("", no_wrap=True)
    for result in results:
        table.add_column(f"{result['bindings']:,} on {result['roles']}", justify="right", no_wrap=True)
    if len(results) > 1:
        table.add_column("ratio", justify="right", no_wrap=True)
    for label, part, figure, form in _ROWS:
        values = [result[part][figure] for result in results]
        ratio = [f"{values[-1] / values[0]:.2f}" if values[0] else "-"] if len(values) > 1 else []
        table.add_row(label, *(format(value, form) for value in values), *ratio)
    return table
