"""What was assumed, against what was answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_probes.model import ANY, Answer, Call, Difference, Probe
from trustbind.errors import InvalidValueError
from trustbind.policy.trust_document import TrustDocument

__all__ = ["differences_of", "same_value"]


def differences_of(probe: Probe, answers: tuple[Answer, ...]) -> tuple[Difference, ...]:
    """Return each call of a probe that was answered otherwise than assumed, in their order.

    A call without an answer was not made, because one before it failed; it counts as a difference.
    """
    found = []
    for index, call in enumerate(probe.calls):
        if index >= len(answers):
            found.append(Difference(probe.name, call.label, call.assumes or "success", "nothing: it was not made"))
            continue
        found += [Difference(probe.name, call.label, *each) for each in _differences(call, answers[index])]
    return tuple(found)


def _differences(call: Call, answer: Answer) -> list[tuple[str, str]]:
    answered = f"{answer.code} ({answer.message})" if answer.code else "success"
    if call.assumes not in (ANY, answer.code):
        return [(call.assumes or "success", answered)]
    if call.says and call.says not in answer.message:
        return [(f"the words {call.says!r}", answered)]
    return [
        (f"{path} = {wanted!r}", repr(answer.shows.get(path)))
        for path, wanted in call.shows.items()
        if not answer.code and not same_value(wanted, answer.shows.get(path))
    ]


def same_value(assumed: Any, answered: Any) -> bool:
    """Return whether an answer has the value that was assumed; policies are compared by meaning, lists as sets."""
    if assumed in (ANY, answered):
        return True
    if isinstance(assumed, Mapping) and isinstance(answered, Mapping) and "Statement" in assumed:
        try:
            return TrustDocument.parse(assumed).meaning() == TrustDocument.parse(answered).meaning()
        except InvalidValueError:
            return False
    if isinstance(assumed, list) and isinstance(answered, list):
        return sorted(map(str, assumed)) == sorted(map(str, answered))
    return False
