"""What the parsers of custom resources share: the strict base of their parts, and errors in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from trustbind.errors import InvalidValueError

__all__ = ["API_VERSION", "Metadata", "Strict", "converted", "region_of"]

T = TypeVar("T")

API_VERSION: Final = "trustbind.dev/v1alpha1"

_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,3}-[0-9]{1,2}", re.ASCII)


class Strict(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A part of a manifest in which an unknown field is a mistake."""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """The part of ``metadata`` that matters; it has many more fields, which are Kubernetes' own business."""

    name: str = ""
    namespace: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    generation: int = 0


def converted(manifest: Mapping[str, Any], kind: type[T]) -> T:
    """Return ``manifest`` as ``kind``.

    Raises:
        InvalidValueError: with the field, and what must hold there.
    """
    try:
        result = msgspec.convert(manifest, kind)
    except msgspec.ValidationError as error:
        raise _translated(error, kind) from None
    api_version = manifest.get("apiVersion")
    if api_version != API_VERSION:
        raise InvalidValueError(f"{api_version!r} is not {API_VERSION}", field="apiVersion")
    return result


def region_of(text: str, *, field: str) -> str:
    """Return ``text`` when it has the form of an AWS region.

    Raises:
        InvalidValueError: it has not.
    """
    if not _REGION.fullmatch(text):
        raise InvalidValueError(f"{text!r} is not a region, such as eu-central-1", field=field)
    return text


_AT = re.compile(r"(?P<problem>.*?)(?: - at `(?P<key>key in )?\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"there is no field `([^`]*)`")
_STEP = re.compile(r"[A-Za-z]+")
_TYPES: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "array": "a list",
    "object": "an object",
    "bool": "true or false",
    "null": "nothing",
}
_TYPE = re.compile(r"(?<=Expected )`([a-z]+(?: \| [a-z]+)*)`|(?<=, got )`([a-z]+)`")
_WORDS: Final = (
    ("Object contains unknown field", "there is no field"),
    ("Object missing required field", "a required field is missing:"),
    ("Invalid enum value", "not one of the possible values:"),
    ("Expected", "expected"),
)


def _translated(error: msgspec.ValidationError, kind: type) -> InvalidValueError:
    """Return msgspec's error, which ends in the place as a JSON path, as one of ours."""
    match = _AT.fullmatch(str(error))
    problem, path = (match["problem"], match["path"] or "") if match else (str(error), "")
    problem = _TYPE.sub(_named, problem)
    for theirs, ours in _WORDS:
        problem = problem.replace(theirs, ours)
    if unknown := _UNKNOWN.fullmatch(problem):
        near = difflib.get_close_matches(unknown[1], _fields_at(kind, path), n=1)
        problem += f"; did you mean {near[0]}?" if near else ""
    return InvalidValueError(problem, field=path)


def _fields_at(kind: type, path: str) -> list[str]:
    """Return the names of the fields that the object at ``path`` may have; empty where they cannot be told."""
    form: inspect.Type = inspect.type_info(kind)
    for name in ("", *_STEP.findall(path)):
        if isinstance(form, inspect.StructType) and name:
            form = next((f.type for f in form.fields if f.encode_name == name), inspect.AnyType())
        if isinstance(form, inspect.UnionType):
            form = next((t for t in form.types if not isinstance(t, inspect.NoneType)), inspect.AnyType())
        if isinstance(form, inspect.ListType):
            form = form.item_type
    return [field.encode_name for field in form.fields] if isinstance(form, inspect.StructType) else []


def _named(match: re.Match[str]) -> str:
    """Return a type, or several, in plain words; that a field may also be left out goes without saying."""
    kinds = (match[1] or match[2]).split(" | ")
    return " or ".join(_TYPES.get(kind, kind) for kind in kinds if kind != "null" or len(kinds) == 1)
