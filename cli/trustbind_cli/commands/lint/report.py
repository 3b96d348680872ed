"""The findings as text, as data, and as SARIF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from trustbind import __version__
from trustbind.finding_kinds import FindingKind, FindingSeverity
from trustbind_cli import output
from trustbind_cli.commands.lint.found import Found, Place

__all__ = ["as_data", "as_sarif", "show", "summary"]

_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {FindingSeverity.ERROR: "error", FindingSeverity.WARNING: "warning", FindingSeverity.INFO: "note"}


def show(found: Sequence[Found]) -> None:
    """Print one line for each finding, as compilers do."""
    for each in found:
        where = _where(each.place)
        output.out.print(f"{where}{each.kind.severity} {each.kind.code} {each.kind.name}: {_sentence(each)}")


def summary(found: Sequence[Found]) -> str:
    """Return how many findings there are of each severity."""
    counts = {severity: sum(each.kind.severity is severity for each in found) for severity in FindingSeverity}
    return ", ".join(f"{count} {_named(severity, count)}" for severity, count in counts.items())


def as_data(found: Sequence[Found], unseen: Sequence[str]) -> dict[str, Any]:
    """Return the findings as JSON has them; docs/reference/lint.schema.json says what is in them."""
    return {
        "findings": [
            {
                "code": each.kind.code,
                "name": each.kind.name,
                "severity": each.kind.severity.value,
                "place": each.place.what,
                "source": each.place.source or None,
                "line": each.place.line or None,
                "statement": (
                    None
                    if each.statement is None
                    else {"number": each.statement.index + 1, "sid": each.statement.sid or None}
                ),
                "message": each.message,
                "remedy": each.kind.remedy,
            }
            for each in found
        ],
        "notSeen": list(unseen),
    }


def as_sarif(found: Sequence[Found]) -> dict[str, Any]:
    """Return the findings as SARIF 2.1.0 (OASIS), which code hosts show beside the lines."""
    kinds = sorted({each.kind.code: each.kind for each in found}.values(), key=lambda kind: kind.code)
    driver = {"name": "trustbind", "semanticVersion": __version__, "rules": [_rule(kind) for kind in kinds]}
    numbers = {kind.code: number for number, kind in enumerate(kinds)}
    results = [
        {
            "ruleId": each.kind.code,
            "ruleIndex": numbers[each.kind.code],
            "level": _LEVELS[each.kind.severity],
            "message": {"text": _sentence(each)},
            "locations": [_location(each.place)],
        }
        for each in found
    ]
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _named(severity: FindingSeverity, count: int) -> str:
    return severity if count == 1 or severity is FindingSeverity.INFO else f"{severity}s"


def _rule(kind: FindingKind) -> dict[str, Any]:
    return {
        "id": kind.code,
        "name": kind.name,
        "shortDescription": {"text": kind.what},
        "help": {"text": f"{kind.remedy} See {kind.anchor}."},
        "defaultConfiguration": {"level": _LEVELS[kind.severity]},
    }


def _location(place: Place) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": place.what}]}
    if place.is_file:
        region = {"region": {"startLine": place.line or 1}}
        location["physicalLocation"] = {"artifactLocation": {"uri": quote(place.source)}, **region}
    return location


def _where(place: Place) -> str:
    if not place.source:
        return ""
    return f"{place.source}:{place.line}: " if place.line else f"{place.source}: "


def _sentence(each: Found) -> str:
    statement = f"{each.statement} " if each.statement is not None else ""
    return f"{each.place.what}: {statement}{each.message}"
