"""Parameters with placeholders, the values behind them, and the way back: an answer without names of one AWS account.

Objects with one of these keys become a text when a call is made:

- ``$sized``: a policy of exactly so many characters. ``document`` holds the text ``@{fill}`` somewhere, ``characters``
  is a number or a placeholder, ``plus`` is added to it, and ``blanks`` is how much white space follows.
- ``$token``: a token of the issuer of the run; see `aws_probes.issuer.Issuer.mint`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from trustbind.policy.trust_document import json_size

__all__ = ["POLICIES", "Lookup", "Mint", "filled", "scrubbed", "value_at"]

Lookup = Callable[[str], Any]
"""Returns the value of a placeholder by its name."""

Mint = Callable[..., str]
"""Makes a token."""

POLICIES: Final = frozenset({"AssumeRolePolicyDocument", "Policy", "PolicyDocument", "policy"})
"""Parameters that are JSON text on the wire."""

_PLACEHOLDER = re.compile(r"@\{([^{}]*)\}")
_UNIQUE_ID = re.compile(r"\bA[A-Z]{2}A[A-Z0-9]{12,124}\b")
_ASSOCIATION_ID = re.compile(r"\ba-[a-z0-9]{17}\b")
_EPOCH = re.compile(r"\b[0-9]{10}\b")
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def filled(value: Any, lookup: Lookup, mint: Mint, key: str = "") -> Any:
    """Return a parameter as it is sent.

    Args:
        value: with placeholders.
        lookup: see `Lookup`; raises KeyError for a name that it does not know.
        mint: see `Mint`.
        key: the parameter's name.
    """
    if isinstance(value, Mapping) and "$sized" in value:
        return _sized(value["$sized"], lookup, mint)
    if isinstance(value, Mapping) and "$token" in value:
        return mint(**{name: filled(part, lookup, mint) for name, part in value["$token"].items()})
    if isinstance(value, Mapping):
        members = {filled(str(name), lookup, mint): filled(part, lookup, mint) for name, part in value.items()}
        return _text(members) if key in POLICIES else members
    if isinstance(value, list | tuple):
        return [filled(part, lookup, mint) for part in value]
    if not isinstance(value, str):
        return value
    if match := _PLACEHOLDER.fullmatch(value):
        found = lookup(match[1])
        return _text(found) if key in POLICIES and isinstance(found, Mapping) else found
    return _PLACEHOLDER.sub(lambda match: str(lookup(match[1])), value)


def _text(policy: Any) -> str:
    return json.dumps(policy, separators=(",", ":"))


def _sized(sized: Mapping[str, Any], lookup: Lookup, mint: Mint) -> str:
    wanted = int(filled(sized["characters"], lookup, mint)) + sized.get("plus", 0)

    def with_fill(fill: str) -> Any:
        return filled(sized["document"], lambda name: fill if name == "fill" else lookup(name), mint)

    missing = wanted - json_size(with_fill(""))
    if missing < 0:
        raise ValueError(f"the document has more than {wanted} characters without its fill")
    return _text(with_fill("x" * missing)) + " " * int(sized.get("blanks", 0))


def scrubbed(value: Any, names: Mapping[str, str]) -> Any:
    """Return an answer, or a part of it, with placeholders in place of what belongs to one run.

    Args:
        value: texts, lists and objects.
        names: placeholder to its value; longer values are replaced first. Unique ids become
            ``@{id}``, times in seconds ``@{seconds}``.
    """
    if isinstance(value, Mapping):
        return {scrubbed(str(name), names): scrubbed(part, names) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(part, names) for part in value]
    if not isinstance(value, str):
        return value if isinstance(value, bool | int | float | None) else str(value)
    for name, text in sorted(names.items(), key=lambda item: -len(item[1])):
        if text:
            value = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", f"@{{{name}}}", value)
    value = _ASSOCIATION_ID.sub("@{id}", _UNIQUE_ID.sub("@{id}", value))
    return _EPOCH.sub("@{seconds}", _UUID.sub("@{uuid}", value))


def value_at(answer: Any, path: str) -> Any:
    """Return the value at a path of an answer; None where there is none. See `aws_probes.model.Call.shows`."""
    for part in path.split("."):
        if part == "?":
            return answer is not None
        if part == "#":
            answer = len(answer) if isinstance(answer, list) else None
        elif isinstance(answer, list):
            answer = answer[int(part)] if int(part) < len(answer) else None
        else:
            answer = answer.get(part) if isinstance(answer, Mapping) else None
    return answer
