"""Vectors: what was sent and what was answered, as files that name no AWS account and hold no credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from aws_probes.model import ANY, Answer, Call, Need, Probe

__all__ = ["AWS", "LOCAL", "Vector", "read", "write"]

AWS: Final = "aws"
LOCAL: Final = "local"


@dataclass(frozen=True, slots=True)
class Vector:
    """A probe as it was run.

    Attributes:
        probe: the calls; their assumptions are not part of a vector.
        answers: one for each call that was made.
        observed_at: ``aws``, or ``local`` for the local AWS.
        observed_on: the day, such as 2026-11-29; empty for the local AWS, which answers the same on each day.
    """

    probe: Probe
    answers: tuple[Answer, ...]
    observed_at: str
    observed_on: str = ""

    def as_probe(self) -> Probe:
        """Return the probe that assumes what was answered, call by call. Messages are for people, and not assumed."""
        calls = (
            replace(call, assumes=answer.code, says="", shows=dict(answer.shows), settles=False)
            for call, answer in zip(self.probe.calls, self.answers, strict=False)
        )
        return replace(self.probe, calls=tuple(calls))


def write(folder: Path, vector: Vector) -> Path:
    """Write a vector into a folder, in place of an earlier one of the same probe, and return its path."""
    content: dict[str, Any] = {
        "probe": vector.probe.name,
        "fact": vector.probe.fact,
        "observed_at": vector.observed_at,
        **({"observed_on": vector.observed_on} if vector.observed_on else {}),
        **({"needs": sorted(vector.probe.needs)} if vector.probe.needs else {}),
        "calls": [_call(call, answer) for call, answer in zip(vector.probe.calls, vector.answers, strict=False)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{vector.probe.name}.json"
    head = {name: value for name, value in content.items() if name != "calls"}
    lines = ",\n".join("    " + json.dumps(call, ensure_ascii=False) for call in content["calls"])
    text = json.dumps(head, ensure_ascii=False, indent=2).removesuffix("\n}")
    path.write_text(f'{text},\n  "calls": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
    return path


def _call(call: Call, answer: Answer) -> dict[str, Any]:
    result: dict[str, Any] = {"label": call.label, "operation": call.operation, "parameters": call.parameters}
    if call.caller:
        result["caller"] = call.caller
    result["answer"] = {"code": answer.code}
    if answer.message:
        result["answer"]["message"] = answer.message
    if answer.shows:
        result["answer"]["shows"] = answer.shows
    if answer.tries > 1:
        result["answer"] |= {"tries": answer.tries, "seconds": answer.seconds}
    return result


def read(path: Path) -> Vector:
    """Return the vector in a file.

    Raises:
        ValueError: it is no vector; says what is wrong and where.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        calls, answers = zip(*(_parts(entry) for entry in content["calls"]), strict=True)
        vector = Vector(
            Probe(content["probe"], content["fact"], calls, frozenset(map(Need, content.get("needs", ())))),
            answers,
            content["observed_at"],
            content.get("observed_on", ""),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no vector: {error!r}") from None
    if vector.observed_at not in {AWS, LOCAL}:
        raise ValueError(f"{path}: observed_at is {vector.observed_at!r}; it is aws or local")
    if (vector.observed_at == AWS) != bool(vector.observed_on):
        raise ValueError(f"{path}: a vector of AWS has the day, observed_on, and no other has")
    return vector


def _parts(entry: Mapping[str, Any]) -> tuple[Call, Answer]:
    answer = entry["answer"]
    shows = answer.get("shows", {})
    call = Call(
        entry["label"],
        entry["operation"],
        entry["parameters"],
        answer["code"],
        shows=dict.fromkeys(shows, ANY),
        caller=entry.get("caller", ""),
    )
    tries, seconds = answer.get("tries", 1), answer.get("seconds", 0.0)
    return call, Answer(answer["code"], answer.get("message", ""), shows, tries, seconds)
