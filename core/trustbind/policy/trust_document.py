"""The trust document: parsed, kept as it is, compared by meaning, measured as IAM measures it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from trustbind.errors import InvalidValueError

__all__ = [
    "EMPTY",
    "VERSION",
    "Statement",
    "TrustDocument",
    "document_size",
    "same_meaning",
    "stale_principals",
    "statement_meaning",
]

Statement = Mapping[str, Any]
"""One statement, as JSON has it."""

VERSION: Final = "2012-10-17"
"""The version of the policy language that has variables (IAM User Guide, "IAM JSON policy elements: Version")."""

_UNIQUE_ID = re.compile(r"A[A-Z]{2}A[A-Z0-9]{12,124}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_ROOT = re.compile(r"arn:aws[a-z0-9-]*:iam::([0-9]{12}):root", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustDocument:
    """A role's trust policy.

    Attributes:
        statements: in their order, each exactly as it was read.
        version: the document's ``Version``; None when it has none, which IAM takes as 2008-10-17.
        extra: other members of the document (``Id``), kept as they were.
    """

    statements: tuple[Statement, ...] = ()
    version: str | None = VERSION
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, source: str | Mapping[str, Any]) -> TrustDocument:
        """Return the document in ``source``: JSON text, plain or URL-encoded as IAM returns it, or the object itself.

        Raises:
            InvalidValueError: it is no JSON object with a list of statements; says what is there instead.
        """
        document = _decode(source) if isinstance(source, str) else source
        if not isinstance(document, Mapping):
            raise InvalidValueError(f"a trust policy is a JSON object, not {_kind(document)}")
        version = document.get("Version")
        if version is not None and not isinstance(version, str):
            raise InvalidValueError(f"Version is a text such as {VERSION}, not {_kind(version)}")
        raw = document.get("Statement", [])
        listed = [raw] if isinstance(raw, Mapping) else raw
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            raise InvalidValueError(f"Statement is a list of statements, not {_kind(raw)}")
        for number, statement in enumerate(listed, start=1):
            if not isinstance(statement, Mapping):
                raise InvalidValueError(f"statement {number} is {_kind(statement)}, not an object")
            sid = statement.get("Sid", "")
            if not isinstance(sid, str):
                raise InvalidValueError(f"statement {number}: Sid is {_kind(sid)}, not a text")
        extra = {key: value for key, value in document.items() if key not in {"Version", "Statement"}}
        return cls(tuple(copy.deepcopy(dict(s)) for s in listed), version, copy.deepcopy(extra))

    def with_statements(self, statements: Iterable[Statement]) -> TrustDocument:
        """Return the same document with other statements."""
        return TrustDocument(tuple(statements), self.version, self.extra)

    def to_json_object(self) -> dict[str, Any]:
        """Return the document as JSON has it: Version first, then what else there was, then the statements."""
        result: dict[str, Any] = {}
        if self.version is not None:
            result["Version"] = self.version
        result.update(copy.deepcopy(dict(self.extra)))
        result["Statement"] = [copy.deepcopy(dict(s)) for s in self.statements]
        return result

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the document as JSON text; without ``indent`` as small as it gets, which is what is sent to IAM."""
        if indent is None:
            return _compact(self.to_json_object())
        return json.dumps(self.to_json_object(), indent=indent, ensure_ascii=False)

    @property
    def size(self) -> int:
        """Length in characters as IAM counts it; see `document_size`."""
        return document_size(self.to_json_object())

    def meaning(self) -> tuple[str, tuple[str, ...]]:
        """Return a value that is equal for two documents that mean the same, statement order apart."""
        return (self.version or "2008-10-17", tuple(sorted(statement_meaning(s) for s in self.statements)))


EMPTY: Final = TrustDocument()
"""What a role without any trust would have; IAM itself never stores it."""


def document_size(document: Mapping[str, Any]) -> int:
    """Return the length of ``document`` in characters without white space between its parts.

    IAM does not count white space (IAM User Guide, "IAM and AWS STS quotas"). White space inside a value is counted
    here, since AWS does not say that it is not: the figure may be too large by that, never too small.
    """
    return len(_compact(document))


def statement_meaning(statement: Statement) -> str:
    """Return a text that is equal for two statements that mean the same.

    Does not change meaning (IAM User Guide, "IAM JSON policy elements reference"): key order, list order and repeats,
    a text or a list of one, the case of actions and of condition keys, an account id or its root ARN, and ``"*"``
    or ``{"AWS": "*"}``. The Sid counts: it says who owns the statement.
    """
    result: dict[str, Any] = {}
    for key, value in statement.items():
        if key in {"Action", "NotAction"}:
            result[key] = sorted({str(v).lower() for v in _listed(value)})
        elif key in {"Principal", "NotPrincipal"}:
            result[key] = _principal_meaning(value)
        elif key == "Condition":
            if meaning := _condition_meaning(value):
                result[key] = meaning
        elif key == "Sid" and value == "":
            continue
        else:
            result[key] = value
    return json.dumps(result, sort_keys=True, ensure_ascii=False, default=str)


def same_meaning(one: Statement, other: Statement) -> bool:
    """Return whether two statements mean the same; see `statement_meaning`."""
    return one == other or statement_meaning(one) == statement_meaning(other)


def stale_principals(statement: Statement) -> tuple[str, ...]:
    """Return the unique ids (``AROA...``, ``AIDA...``) that stand where a principal's ARN should be.

    IAM shows a principal that was deleted by its unique id, and refuses a document that carries one back (IAM User
    Guide, "AWS JSON policy elements: Principal").
    """
    found: list[str] = []
    for element in ("Principal", "NotPrincipal"):
        principal = statement.get(element)
        if isinstance(principal, Mapping):
            found += [v for v in _listed(principal.get("AWS", [])) if isinstance(v, str) and _UNIQUE_ID.fullmatch(v)]
    return tuple(found)


def _decode(text: str) -> Any:
    source = unquote(text) if text.lstrip()[:3].upper().startswith("%7B") else text
    try:
        return json.loads(source, object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise InvalidValueError(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InvalidValueError("not a trust policy: nested too deeply") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidValueError(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return result


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _scalar(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _principal_meaning(value: Any) -> Any:
    if value == "*":
        return {"AWS": ["*"]}
    if not isinstance(value, Mapping):
        return value
    return {kind: sorted({_account_meaning(_scalar(v)) for v in _listed(names)}) for kind, names in value.items()}


def _account_meaning(text: str) -> str:
    if match := _ROOT.fullmatch(text):
        return match[1]
    return text


def _condition_meaning(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    result: dict[str, Any] = {}
    for operator, keys in value.items():
        if not isinstance(keys, Mapping):
            result[operator] = keys
            continue
        # Pairs, not a mapping: two keys that differ in case only must not swallow each other.
        block = sorted((str(key).lower(), sorted({_scalar(v) for v in _listed(vs)})) for key, vs in keys.items())
        if block:
            result[operator] = block
    return result


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
