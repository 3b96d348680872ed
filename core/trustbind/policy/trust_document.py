"""The trust document: parsed, kept as it is, compared by meaning, measured as IAM measures it.

A statement that is read from text keeps its text. What is sent to IAM has each foreign statement in the characters in
which IAM returned it, white space between the parts apart. So no number is rounded, no escape is rewritten, and no key
is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.policy.policy_text import (
    compact,
    copied,
    decode,
    indented,
    is_text,
    joined,
    kind_of,
    member_tokens,
    part_texts,
    plain,
    raw_policy,
    repeats_key,
)

__all__ = [
    "EMPTY",
    "VERSION",
    "SourceStatement",
    "Statement",
    "TrustDocument",
    "document_size",
    "is_stale",
    "json_size",
    "raw_policy",
    "same_meaning",
    "stale_principals",
    "statement_meaning",
    "statement_text",
]

Statement = Mapping[str, Any]
"""One statement, as JSON has it."""

VERSION: Final = "2012-10-17"
"""The version of the policy language that has variables (IAM User Guide, "IAM JSON policy elements: Version")."""

_UNIQUE_ID = re.compile(r"A[A-Z]{2}A[A-Z0-9]{12,124}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_ROOT = re.compile(r"arn:aws[a-z0-9-]*:iam::([0-9]{12}):root", re.ASCII)


class SourceStatement(dict[str, Any]):
    """A statement that was read from text. Treat it as read-only: ``text`` does not follow a change.

    Attributes:
        text: the source without white space between its parts, as it is sent back to IAM.
        repeats_key: whether an object in it has one key twice; the members of this mapping show the last one only.
    """

    __slots__ = ("repeats_key", "text")

    text: str
    repeats_key: bool

    @classmethod
    def of(cls, members: Mapping[str, Any], text: str, *, repeats_key: bool = False) -> SourceStatement:
        """Return the statement with these members, read from ``text``."""
        statement = cls(members)
        statement.text = text
        statement.repeats_key = repeats_key
        return statement


@dataclass(frozen=True, slots=True)
class TrustDocument:
    """A role's trust policy.

    Attributes:
        statements: in their order, each exactly as it was read.
        version: the document's ``Version``; None when it has none, which IAM takes as 2008-10-17.
        extra: other members of the document (``Id``), kept as they were.
        text: the JSON text that the document was parsed from, URL-decoded; empty for a document that was built.
        extra_texts: the members of ``extra`` as they were written.
    """

    statements: tuple[Statement, ...] = ()
    version: str | None = VERSION
    extra: Mapping[str, Any] = field(default_factory=dict)
    text: str = field(default="", compare=False, repr=False)
    extra_texts: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, source: str | Mapping[str, Any], *, stored: bool = False) -> TrustDocument:
        """Return the document in ``source``: JSON text, plain or URL-encoded as IAM returns it, or the object itself.

        Only text keeps the statements exactly; an object has lost what its decoder does not show.

        Args:
            source: the text or the object.
            stored: whether the text is what IAM stores. A statement of it may have a key twice, and keeps both. In
                any other document that is a mistake and is refused. A second ``Sid`` is always refused.

        Raises:
            InvalidValueError: it is no JSON object with a list of statements; says what is there instead.
        """
        text = raw_policy(source) if isinstance(source, str) else ""
        document = decode(text, stored=stored) if isinstance(source, str) else copied(source)
        if not isinstance(document, Mapping):
            raise InvalidValueError(f"a trust policy is a JSON object, not {kind_of(document)}")
        version = document.get("Version")
        if version is not None and not is_text(version):
            raise InvalidValueError(f"Version is a text such as {VERSION}, not {kind_of(version)}")
        raw = document.get("Statement", [])
        listed = [raw] if isinstance(raw, Mapping) else raw
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            raise InvalidValueError(f"Statement is a list of statements, not {kind_of(raw)}")
        for number, statement in enumerate(listed, start=1):
            if not isinstance(statement, Mapping):
                raise InvalidValueError(f"statement {number} is {kind_of(statement)}, not an object")
            sid = statement.get("Sid", "")
            if not is_text(sid):
                raise InvalidValueError(f"statement {number}: Sid is {kind_of(sid)}, not a text")
        extra = {key: value for key, value in document.items() if key not in {"Version", "Statement"}}
        if not isinstance(source, str):
            return cls(tuple(dict(s) for s in listed), version, extra)
        texts = member_tokens(text)
        sources = part_texts(texts.pop("Statement", []))
        statements = (
            SourceStatement.of(s, t, repeats_key=stored and repeats_key(s))
            for s, t in zip(listed, sources, strict=True)
        )
        return cls(tuple(statements), version, extra, text, {key: joined(texts[key]) for key in extra})

    def with_statements(self, statements: Iterable[Statement]) -> TrustDocument:
        """Return the same document with other statements."""
        return TrustDocument(tuple(statements), self.version, self.extra, "", self.extra_texts)

    def same_text(self, other: TrustDocument | str) -> bool:
        """Return whether ``other`` is the text that this document was parsed from; false for a document that was built.

        Two documents with one text are equal; two with different texts may still be. A text may be URL-encoded.
        """
        text = other.text if isinstance(other, TrustDocument) else raw_policy(other)
        return bool(self.text) and self.text == text

    def to_json_object(self) -> dict[str, Any]:
        """Return the document as JSON has it: Version first, then what else there was, then the statements.

        A number that Python cannot hold is a text here, and of a key that stands twice it has the last; `to_json`
        changes neither.
        """
        result: dict[str, Any] = {}
        if self.version is not None:
            result["Version"] = self.version
        result.update(plain(self.extra))
        result["Statement"] = [plain(s) for s in self.statements]
        return result

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the document as JSON text; without ``indent`` as small as it gets, which is what is sent to IAM.

        A statement that was read from text is in the characters in which it was read. Characters above U+00FF are
        escaped: IAM takes none (IAM API reference, UpdateAssumeRolePolicy, PolicyDocument).
        """
        members = [] if self.version is None else [f'"Version":{compact(self.version)}']
        members += [f"{compact(key)}:{self.extra_texts.get(key) or compact(v)}" for key, v in self.extra.items()]
        members.append(f'"Statement":[{",".join(statement_text(s) for s in self.statements)}]')
        text = "{" + ",".join(members) + "}"
        return text if indent is None else indented(text, indent)

    @property
    def size(self) -> int:
        """Length in characters as IAM counts it: of what `to_json` returns; see `document_size`."""
        return len(self.to_json())

    def meaning(self) -> tuple[str, tuple[str, ...]]:
        """Return a value that is equal for two documents that mean the same, statement order apart."""
        return (self.version or "2008-10-17", tuple(sorted(statement_meaning(s) for s in self.statements)))


EMPTY: Final = TrustDocument()
"""What a role without any trust would have; IAM itself never stores it."""


def document_size(document: Mapping[str, Any]) -> int:
    """Return the length of ``document`` in characters without white space between its parts.

    IAM does not count white space (IAM User Guide, "IAM and AWS STS quotas"). White space inside a value is counted
    here, since AWS does not say that it is not: the figure may be too large by that, never too small. A character
    above U+00FF counts as the escape that is sent for it.
    """
    return json_size(document)


def json_size(value: Any) -> int:
    """Return the length of any part of a document; see `document_size`."""
    return len(compact(value))


def statement_text(statement: Statement) -> str:
    """Return a statement as it is sent to IAM: in the characters in which it was read, or as small as it gets."""
    return statement.text if isinstance(statement, SourceStatement) else compact(statement)


def statement_meaning(statement: Statement) -> str:
    """Return a text that is equal for two statements that mean the same.

    Does not change meaning (IAM User Guide, "IAM JSON policy elements reference"): key order, list order and repeats,
    a text or a list of one, the case of actions and of condition keys, an account id or its root ARN, and ``"*"``
    or ``{"AWS": "*"}``. The Sid counts: it says who owns the statement.
    """
    if isinstance(statement, SourceStatement) and statement.repeats_key:
        return f"text {statement.text}"  # its members do not show everything
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
    repeats_key = any(isinstance(s, SourceStatement) and s.repeats_key for s in (one, other))
    return (one == other and not repeats_key) or statement_meaning(one) == statement_meaning(other)


def stale_principals(statement: Statement) -> tuple[str, ...]:
    """Return the unique ids (``AROA...``, ``AIDA...``) that stand where a principal's ARN should be.

    IAM shows a principal that was deleted by its unique id, and refuses a document that carries one back (IAM User
    Guide, "AWS JSON policy elements: Principal").
    """
    found: list[str] = []
    for element in ("Principal", "NotPrincipal"):
        principal = statement.get(element)
        if isinstance(principal, Mapping):
            found += [v for v in _listed(principal.get("AWS", [])) if isinstance(v, str) and is_stale(v)]
    return tuple(found)


def is_stale(principal: str) -> bool:
    """Return whether a principal is named by its unique id; see `stale_principals`."""
    return _UNIQUE_ID.fullmatch(principal) is not None


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
