"""The answer as a table and as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trustbind.policy.access import Verdict
from trustbind_cli import output
from trustbind_cli.commands.who_can.answer import Row
from trustbind_cli.commands.who_can.scene import Scene

__all__ = ["as_data", "show"]


def show(rows: Sequence[Row], *, wide: bool, by_subject: bool) -> None:
    """Print a table as kubectl does: columns are as wide as they need to be, and nothing is cut."""
    further = ("AUDIENCE", "STATEMENT") if wide else ()
    head = ["ROLE" if by_subject else "SUBJECT", "PODS", "VIA", "MECHANISM", "VERDICT", *further, "CONDITIONS"]
    lines = [head, *(_cells(row, wide=wide, by_subject=by_subject) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        output.out.print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def as_data(scene: Scene, answers: Sequence[tuple[str, Sequence[Row]]]) -> dict[str, Any]:
    """Return the answers as JSON has them; docs/reference/who-can.schema.json says what is in them."""
    return {
        "issuer": scene.issuer.url if scene.issuer is not None else None,
        "answers": [{"asked": asked, "rows": [_as_data(row) for row in rows]} for asked, rows in answers],
        "notSeen": list(scene.unseen),
    }


def _as_data(row: Row) -> dict[str, Any]:
    access = row.access
    subject = access.subject
    return {
        "roleArn": str(access.role),
        "principal": access.principal,
        "serviceAccount": None if subject is None else {"namespace": subject.namespace, "name": subject.name},
        "isPattern": access.is_pattern,
        "mechanism": access.mechanism.value,
        "verdict": access.verdict.value,
        "conditions": [*access.conditions, *access.remarks],
        "reason": access.reason,
        "audience": access.audience or None,
        "statement": (
            None
            if access.statement is None
            else {"number": access.statement.index + 1, "sid": access.statement.sid or None}
        ),
        "through": None if access.through is None else str(access.through),
        "bindings": list(row.bindings),
        "annotation": row.is_annotated,
        "pods": None if row.pods is None else list(row.pods),
    }


def _cells(row: Row, *, wide: bool, by_subject: bool) -> list[str]:
    access = row.access
    subject = access.subject
    who = access.principal if subject is None else f"{subject.namespace}/{subject.name}"
    further = [access.audience or "-", str(access.statement or "-")] if wide else []
    conditions = (
        access.reason
        if access.verdict in {Verdict.NO, Verdict.UNKNOWN}
        else "; ".join((*access.conditions, *access.remarks))
    )
    return [
        str(access.role) if by_subject else who,
        "-" if row.pods is None else str(len(row.pods)),
        _via(row),
        access.mechanism.value,
        access.verdict.value,
        *further,
        conditions or "-",
    ]


def _via(row: Row) -> str:
    """Return where the role comes from: what asks for it, else the statement that allows it."""
    parts = [f"RoleBinding {name}" for name in row.bindings] + (["annotation"] if row.is_annotated else [])
    if not parts and row.access.statement is not None:
        parts = [str(row.access.statement)]
    if row.access.through is not None:
        parts.append(f"over {row.access.through}")
    return ", ".join(parts) or "-"
