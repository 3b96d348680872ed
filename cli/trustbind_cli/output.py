"""How results look: data on standard output, everything said to a person on standard error."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import Finding
from trustbind.policy.plan import Change, ChangeKind, Plan, Refusal
from trustbind_cli.exit_codes import INTERRUPTED
from trustbind_cli.findings import sentence
from trustbind_cli.terminal import note, uses_color, without_control

__all__ = [
    "difference",
    "leave_calls",
    "out",
    "print_difference",
    "show_plan",
    "show_refusals",
    "show_refused",
    "to_data",
    "to_json",
    "to_yaml",
]

_BEYOND_ASCII = re.compile(r"[\x7f-\x9f]")


class _Console(Console):
    """A console on which text from elsewhere does nothing but stand there."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed; every renderable comes through here, cells of tables as well."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=without_control(segment.text))


# No emoji: ":fire:" in an ARN or a subject is no picture.
out = _Console(no_color=None if uses_color() else True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def leave_calls() -> None:
    """Stop at once where a call of AWS is under way: at exit Python would wait for its thread, up to its time-out."""
    if threading.active_count() > 1:
        note("trustbind: stopped; a call that was under way may still take effect")
        sys.stdout.flush()
        os._exit(INTERRUPTED)


def to_json(value: Any) -> str:
    """Return ``value`` as indented JSON."""
    # JSON has escapes for the control characters of ASCII alone; a terminal obeys those behind it as well.
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _BEYOND_ASCII.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def to_data(value: Any, form: str) -> str:
    """Return ``value`` in the format of ``-o``: ``json`` or ``yaml``, without a line break at its end."""
    return to_yaml(value).rstrip() if form == "yaml" else to_json(value)


def to_yaml(value: Any) -> str:
    """Return ``value`` as YAML in the order it has."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True  # what stands twice is written twice: nobody wants to read anchors


def difference(before: str, after: str, *, name: str) -> Iterator[str]:
    """Yield the lines of a unified difference with ample context; none when there is no difference."""
    return difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name} (now)", f"{name} (then)", n=6, lineterm=""
    )


def print_difference(lines: Iterable[str], console: Console = out) -> None:
    """Print a unified difference, coloured where the terminal can."""
    for line in lines:
        style = ""
        if line.startswith(("+++", "---")):
            style = "bold"
        elif line.startswith("@@"):
            style = "cyan"
        elif line.startswith("+"):
            style = "green"
        elif line.startswith("-"):
            style = "red"
        console.print(Text(line, style=style))


def show_plan(
    planned: Plan, console: Console = out, *, refused: bool = False, findings: Iterable[Finding] = ()
) -> None:
    """Print what a plan will do, for a person.

    Args:
        planned: the plan.
        console: where.
        refused: whether something was kept out of it before.
        findings: about the resulting document.
    """
    console.print(Text(str(planned.role), style="bold"))
    if planned.is_empty:
        console.print(
            "  nothing is written" if planned.refusals or refused else "  nothing to do: the trust policy is up to date"
        )
    for change in planned.changes:
        console.print(Text(f"  {_sentence(change)}", style=_STYLES[change.kind]))
    if planned.changes:
        before, after = planned.current.to_json(indent=2), planned.document.to_json(indent=2)
        print_difference(difference(before, after, name="trust policy"), console)
        console.print(f"  size: {planned.size} of {planned.limit} characters")
    if planned.changes and planned.is_near_limit:
        console.print(Text("  near the limit: use another role, or raise the quota", style="yellow"))
    for finding in findings:
        console.print(Text(f"  warning: {sentence(finding)}", style="yellow"))
    show_refusals(planned.refusals, console)


def show_refusals(refusals: Iterable[Refusal], console: Console = out) -> None:
    """Print what is refused about a role that was printed just before."""
    for refusal in refusals:
        console.print(Text(f"  refused ({refusal.reason}): {refusal.message}", style="red"))


def show_refused(role: RoleArn, refusals: Iterable[Refusal]) -> None:
    """Print what is refused about a role that was not looked at."""
    out.print(Text(str(role), style="bold"))
    out.print("  nothing is written")
    show_refusals(refusals)


_STYLES = {
    ChangeKind.ADDED: "green",
    ChangeKind.CHANGED: "yellow",
    ChangeKind.REMOVED: "red",
    ChangeKind.ADOPTED: "yellow",
    ChangeKind.RESTORED: "green",
}


def _sentence(change: Change) -> str:
    named = f"the hand-written statement {change.sid or 'without a Sid'}"
    match change.kind:
        case ChangeKind.ADDED:
            return f"add statement {change.sid}"
        case ChangeKind.CHANGED:
            return f"change statement {change.sid}"
        case ChangeKind.REMOVED:
            return f"remove statement {change.sid}"
        case ChangeKind.ADOPTED:
            return f"replace {named}" if change.after is None else f"take what is replaced out of {named}"
        case ChangeKind.RESTORED:
            return f"write back {named}"
