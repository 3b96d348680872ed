"""What a run would do and cost, as text; nothing is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from aws_probes.model import Need, Probe

__all__ = ["COSTS", "described"]

COSTS: Final = {
    "iam": "no charge",
    "sts": "no charge",
    "eks": "no charge for associations; the cluster that you name is billed as before",
    "s3": "less than USD 0.01: one bucket, two objects, for as long as the run takes",
}
"""By service, at AWS's prices of 2026."""

_OPTIONS: Final = {Need.ISSUER: "--issuer-bucket", Need.CLUSTER: "--eks-cluster NAME"}


def described(probes: Iterable[Probe], met: frozenset[Need], per_second: float) -> str:
    """Return a paragraph for each probe, and a summary.

    Args:
        probes: in the order in which they would run.
        met: the needs that are met; other probes are skipped.
        per_second: how many calls a second the run makes.
    """
    lines: list[str] = []
    total = Counter[str]()
    skipped = 0
    for probe in probes:
        operations = Counter(call.operation for call in probe.calls)
        missing = sorted(probe.needs - met)
        skipped += bool(missing)
        if not missing:
            total += operations
        lines += [probe.name, f"    assumes: {probe.fact}"]
        lines.append("    calls:   " + ", ".join(f"{count} {name}" for name, count in sorted(operations.items())))
        lines.append(f"    costs:   {_cost(operations)}")
        if missing:
            lines.append(f"    skipped: it needs {', '.join(_OPTIONS[need] for need in missing)}")
        lines.append("")
    calls = total.total()
    lines.append(
        f"{calls} calls in all, and about as many to remove what they create: at least "
        f"{2 * calls / per_second / 60:.0f} minutes at {per_second:g} calls a second, and longer where IAM takes time "
        f"to show a write. {skipped} probes are skipped."
    )
    return "\n".join(lines)


def _cost(operations: Counter[str]) -> str:
    services = sorted({name.partition(":")[0] for name in operations})
    return "; ".join(dict.fromkeys(COSTS[service] for service in services))
