"""The outcome of an import, for a person and as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from trustbind.migration.findings import ImportFinding
from trustbind.migration.importing import Import

__all__ = ["as_json", "files_of", "sentences", "summary"]

_SHOWN: Final = 10
"""So many notes of one kind are printed; JSON has all of them."""


def sentences(outcome: Import) -> Iterator[str]:
    """Yield what a person should read: all that is not expressed, and of each kind of note the first ones."""
    for finding in outcome.lost:
        yield f"not imported ({finding.reason}): {finding}"
    counts: Counter[str] = Counter()
    for finding in outcome.findings:
        if not finding.reason.is_lost:
            counts[finding.reason] += 1
            if counts[finding.reason] <= _SHOWN:
                yield f"note ({finding.reason}): {finding}"
    for reason, count in counts.items():
        if count > _SHOWN:
            yield f"note ({reason}): {count - _SHOWN} more; -o json lists all"


def summary(outcome: Import) -> str:
    """Return one line about all of it."""
    others = sum(outcome.others.values())
    kinds = ", ".join(f"{count} for {kind}" for kind, count in sorted(outcome.others.items()))
    return (
        f"{_count(outcome.roles, 'role')} read: {_count(len(outcome.bindings), 'RoleBinding')}, "
        f"{_count(len(outcome.grants), 'RoleGrant')}, {_count(len(outcome.accounts), 'AWSAccount')}; "
        f"{_count(len(outcome.lost), 'finding')} about what is not imported; "
        f"{_count(others, 'statement')} not about this cluster{f' ({kinds})' if kinds else ''}"
    )


def as_json(outcome: Import) -> dict[str, Any]:
    """Return all of it as JSON has it."""
    return {
        "objects": list(outcome.objects),
        "notImported": [_finding(each) for each in outcome.lost],
        "notes": [_finding(each) for each in outcome.findings if not each.reason.is_lost],
        "otherStatements": dict(sorted(outcome.others.items())),
        "rolesRead": outcome.roles,
    }


def files_of(outcome: Import) -> dict[str, list[dict[str, Any]]]:
    """Return the objects by the name of the file that holds them: bindings by namespace."""
    files: dict[str, list[dict[str, Any]]] = {}
    for each in outcome.accounts:
        files.setdefault("awsaccounts.yaml", []).append(each)
    for each in outcome.grants:
        files.setdefault("rolegrants.yaml", []).append(each)
    for each in outcome.bindings:
        files.setdefault(f"rolebindings-{each['metadata']['namespace']}.yaml", []).append(each)
    return files


def _finding(finding: ImportFinding) -> dict[str, Any]:
    """Return one finding; statements are counted from 1."""
    where = finding.statement
    return {
        "reason": finding.reason.value,
        "role": None if finding.role is None else str(finding.role),
        "statement": None if where is None else where.index + 1,
        "sid": where.sid if where is not None and where.sid else None,
        "subject": finding.subject or None,
        "message": finding.message,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
