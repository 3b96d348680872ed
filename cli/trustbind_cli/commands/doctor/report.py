"""A diagnosis for a person, and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from trustbind.diagnosis.chain import Diagnosis, Link
from trustbind.diagnosis.facts import Bundle
from trustbind.diagnosis.model import State
from trustbind.findings import BY_CODE
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.output import out

__all__ = ["as_data", "exit_code", "show"]

_WHY = " cannot be seen: "
_STYLES = {
    State.OK: "green",
    State.BROKEN: "red",
    State.UNKNOWN: "yellow",
    State.NOT_APPLICABLE: "bright_black",
    State.NOT_LOOKED_AT: "bright_black",
}
_MARKS = {
    State.OK: "ok",
    State.BROKEN: "broken",
    State.UNKNOWN: "not visible",
    State.NOT_APPLICABLE: "-",
    State.NOT_LOOKED_AT: "-",
}


def exit_code(diagnosis: Diagnosis) -> int:
    """Return 1 for a broken link, 3 where too little could be seen to tell, else 0."""
    if diagnosis.of(State.BROKEN):
        return FAILED
    return UNKNOWN if not diagnosis.of(State.OK) or _is_blind(diagnosis) else DONE


_DECIDE: Final = frozenset({1, 2, 3, 4, 5, 6, 11, 12, 24, 28, 29, 31, 40, 41})
"""Checks without which nothing can be told: of the binding, the webhook, the pod, and the trust policy or association.

The others need a token, or rights that most people do not have, and look for rarer faults.
"""


def _is_blind(diagnosis: Diagnosis) -> bool:
    """Return whether something that decides could not be seen."""
    return any(link.check.number in _DECIDE for link in diagnosis.of(State.UNKNOWN))


def show(bundle: Bundle, diagnosis: Diagnosis, *, wide: bool) -> None:
    """Print a diagnosis.

    Args:
        bundle: what it is about.
        diagnosis: what came out.
        wide: whether also to print what is not applicable or was not looked at.
    """
    if diagnosis.error is not None:
        out.print(Text(f"The error is {diagnosis.error.name}: {diagnosis.error.meaning}"))
    reasons: dict[str, str] = {}
    for link in diagnosis.links:
        if wide or link.outcome.state in {State.OK, State.BROKEN, State.UNKNOWN}:
            out.print(Text(_line(link, reasons), style=_STYLES[link.outcome.state]))
    out.print()
    for line in _summary(bundle, diagnosis):
        out.print(Text(line))


def _line(link: Link, reasons: dict[str, str]) -> str:
    """Return a link's line; a reason that stands above is not repeated.

    Args:
        link: the link.
        reasons: why things could not be seen, each with the code where it stands; the link's is added.
    """
    check, outcome = link.check, link.outcome
    told = outcome.what
    if outcome.state is State.BROKEN:
        told = f"{check.name}: see below"
    if outcome.state is State.UNKNOWN:
        what, _, why = outcome.what.partition(_WHY)
        first = reasons.setdefault(why, check.code)
        if why and first != check.code:
            told = f"{what}{_WHY}see {first}"
    return f"{_MARKS[outcome.state]:<12}{check.code} {told}"


def _summary(bundle: Bundle, diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.cause is not None:
        cause = diagnosis.cause
        yield f"{cause.check.code} {cause.check.name}: {_sentence(cause.outcome.what)}"
        yield f"Do: {_sentence(cause.outcome.todo)}"
        yield f"More: {BY_CODE[cause.check.code].anchor}"
    elif diagnosis.error is not None and diagnosis.error.todo:
        yield f"Do: {_sentence(diagnosis.error.todo)}"
    others = [link for link in diagnosis.of(State.BROKEN) if link is not diagnosis.cause]
    for link in others:
        yield f"Also broken: {link.check.code} {link.check.name}: {_sentence(link.outcome.what)}"
    hidden = len(diagnosis.of(State.UNKNOWN))
    skipped = len(diagnosis.of(State.NOT_LOOKED_AT))
    counts = [f"{len(diagnosis.of(State.OK))} ok", f"{len(diagnosis.of(State.BROKEN))} broken", f"{hidden} not visible"]
    if skipped:
        counts.append(f"{skipped} not looked at (--all)")
    yield f"{bundle.target}: {', '.join(counts)}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def as_data(bundle: Bundle, diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as JSON has it; docs/schemas/doctor.json is its schema."""
    cause = diagnosis.cause
    error = diagnosis.error
    return {
        "target": {"kind": bundle.target.kind, "namespace": bundle.target.namespace, "name": bundle.target.name},
        "time": bundle.time,
        "error": None if error is None else {"name": error.name, "meaning": error.meaning},
        "cause": None if cause is None else _as_data(cause),
        "checks": [_as_data(link) for link in diagnosis.links],
    }


def _as_data(link: Link) -> dict[str, Any]:
    kind = BY_CODE[link.check.code]
    return {
        "code": kind.code,
        "name": kind.name,
        "state": link.outcome.state.value,
        "message": link.outcome.what,
        "remedy": link.outcome.todo,
        "anchor": kind.anchor,
    }
