"""What the parsers of custom resources share: the strict base of their parts, and errors in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from trustbind.errors import InvalidValueError

__all__ = ["API_VERSION", "Metadata", "Strict", "check_size", "converted", "nearest", "region_of"]

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
    labels: Any = None
    """Of any form: only a label of ours is looked for."""


def converted(manifest: Mapping[str, Any], kind: type[T]) -> T:
    """Return ``manifest`` as ``kind``.

    Raises:
        InvalidValueError: with the field, and what must hold there.
    """
    _check_members(manifest, kind)
    result = part(manifest, kind)
    api_version = manifest.get("apiVersion")
    if api_version != API_VERSION:
        raise InvalidValueError(f"{api_version!r} is not {API_VERSION}", field="apiVersion")
    return result


def part(value: Mapping[str, Any], kind: type[T]) -> T:
    """Return a part of an object, which has no ``apiVersion`` of its own, as ``kind``.

    Raises:
        InvalidValueError: with the field, and what must hold there.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _translated(error, kind, value) from None
    except UnicodeEncodeError:
        raise InvalidValueError("a text has a lone surrogate, which is not a character") from None


def check_size(texts: Iterable[str], limit: int, *, field: str) -> None:
    """Check that texts of one object have at most ``limit`` characters together.

    Both halves keep all objects of the cluster, and a user who may write one may write very many.

    Raises:
        InvalidValueError: they have more.
    """
    if sum(map(len, texts)) > limit:
        raise InvalidValueError(f"has more than {limit} characters in all", field=field)


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
_IMPOSSIBLE = re.compile(r"Invalid enum value '(.*)'", re.DOTALL)
_UNQUOTED = re.compile(r"got `(?:bool|int|float)`")
_STEP = re.compile(r"[A-Za-z]+|\[[0-9.]+\]")
_MEMBERS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
"""What an object of ours has; the API server drops everything else before anybody sees it, a file has it still."""
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
_SHOWN: Final = 60
"""Characters of a value that a message shows."""
_MAX_TRANSLATED: Final = 500
"""Characters of an error of msgspec's that are looked at."""
_MAX_COMPARED: Final = 100
"""Characters of a name for which a similar one is looked up; no field or value of ours has half as many."""
_WORDS: Final = (
    ("Object contains unknown field", "there is no field"),
    ("Object missing required field", "a required field is missing:"),
    ("Expected", "expected"),
)


def nearest(text: str, possible: Iterable[str]) -> str:
    """Return which of ``possible`` was probably meant by ``text``, whatever its case; empty when none is near.

    Nothing longer than 100 characters is compared: the time grows with the square of the length, and the text may be
    anything that a user sends.
    """
    if len(text) > _MAX_COMPARED:
        return ""
    names = {name.casefold(): name for name in possible if len(name) <= _MAX_COMPARED}
    near = difflib.get_close_matches(text.casefold(), names, n=1)
    return names[near[0]] if near else ""


def _check_members(manifest: Any, kind: type) -> None:
    """Check that nothing stands beside ``spec`` that belongs into it, or nowhere."""
    unknown = [name for name in manifest if name not in _MEMBERS] if isinstance(manifest, Mapping) else []
    if not unknown:
        return
    name = str(unknown[0])
    inside = _fields_at(kind, "spec")
    meant = f"spec.{name}" if name in inside else nearest(name, _MEMBERS)
    if not meant and (near := nearest(name, inside)):
        meant = f"spec.{near}"
    raise InvalidValueError(f"there is no field {name} beside spec{f'; did you mean {meant}?' if meant else ''}")


def _translated(error: msgspec.ValidationError, kind: type, manifest: Any) -> InvalidValueError:
    """Return msgspec's error, which ends in the place as a JSON path, as one of ours."""
    text = str(error)
    if len(text) > _MAX_TRANSLATED:  # it quotes a name of any length, and ends in the place
        text = f"{text[:_SHOWN]}...{text[-_MAX_TRANSLATED:]}"
    match = _AT.fullmatch(text)
    problem, path = (match["problem"], match["path"] or "") if match else (text, "")
    found = _value_at(manifest, path)
    form = _form_at(kind, path)
    if impossible := _IMPOSSIBLE.fullmatch(problem):
        problem = _impossible(impossible[1], form)
    elif isinstance(form, inspect.IntType) and type(found) is int and form.ge is not None and form.le is not None:
        problem = f"expected a whole number from {form.ge} to {form.le}, got {found}"
    else:
        advice = _advice(form, problem, found)
        problem = _TYPE.sub(_named, problem)
        for theirs, ours in _WORDS:
            problem = problem.replace(theirs, ours)
        problem += advice
    if unknown := _UNKNOWN.fullmatch(problem):
        problem += _hint(unknown[1], kind, path)
    return InvalidValueError(problem, field=path)


def _impossible(text: str, form: inspect.Type) -> str:
    """Return the sentence about a value that is none of those that a field can have."""
    values = [str(value) for value in form.values] if isinstance(form, inspect.LiteralType) else []
    listed = " or ".join(part for part in (", ".join(values[:-1]), *values[-1:]) if part)
    said = f"{text!r} is not possible; {listed} {'is' if len(values) == 1 else 'are'}"
    near = nearest(text, values) if len(values) > 1 else ""
    return said + (f"; did you mean {near}?" if near else "")


def _advice(form: inspect.Type, problem: str, found: Any) -> str:
    """Return how to write what was written in the wrong form; empty where it cannot be told."""
    if isinstance(form, inspect.StrType) and _UNQUOTED.search(problem):
        return "; put it in quotes"
    if not isinstance(found, str):
        return ""
    if isinstance(form, inspect.ListType) and isinstance(form.item_type, inspect.StrType):
        return f"; write [{found[:_SHOWN]}]"
    bare = isinstance(form, inspect.BoolType) and found in {"true", "false"}
    if bare or (isinstance(form, inspect.IntType) and found.isdecimal()):
        return "; write it without quotes"
    return ""


def _hint(name: str, kind: type, path: str) -> str:
    """Return what may have been meant by an unknown field; empty where nothing is like it."""
    here = _fields_at(kind, path)
    if near := nearest(name, here):
        return f"; did you mean {near}?"
    if "matchLabels" in here:
        return "; put it under matchLabels"
    elsewhere = [place for place in _places(_form_at(kind, "spec"), "spec") if place.rpartition(".")[2] == name]
    return f"; there is {' and '.join(elsewhere)}" if elsewhere else ""


def _places(form: inspect.Type, path: str) -> Iterator[str]:
    """Yield the path of each field below ``form``."""
    for field in form.fields if isinstance(form, inspect.StructType) else ():
        inner = _plain(field.type)
        place = f"{path}.{field.encode_name}"
        yield place
        if isinstance(inner, inspect.ListType):
            inner, place = _plain(inner.item_type), f"{place}[]"
        yield from _places(inner, place)


def _plain(form: inspect.Type) -> inspect.Type:
    """Return the type of a field without the possibility to leave it out."""
    if isinstance(form, inspect.UnionType):
        return next((t for t in form.types if not isinstance(t, inspect.NoneType)), inspect.AnyType())
    return form


@cache
def _type_info(kind: type) -> inspect.Type:
    """Return the form of one of our kinds; making it anew takes longer than all the rest of a refusal."""
    return inspect.type_info(kind)


def _form_at(kind: type, path: str) -> inspect.Type:
    """Return what may stand at ``path``; any type where that cannot be told."""
    form = _type_info(kind)
    for step in _STEP.findall(path):
        match form:
            case inspect.StructType():
                form = next((f.type for f in form.fields if f.encode_name == step), inspect.AnyType())
            case inspect.ListType():
                form = form.item_type
            case inspect.DictType():
                form = form.value_type
            case _:
                form = inspect.AnyType()
        form = _plain(form)
    return form


def _fields_at(kind: type, path: str) -> list[str]:
    """Return the names of the fields that the object at ``path`` may have; empty where they cannot be told."""
    form = _form_at(kind, path)
    return [field.encode_name for field in form.fields] if isinstance(form, inspect.StructType) else []


def _value_at(manifest: Any, path: str) -> Any:
    """Return what stands at ``path``; None where that cannot be told, as below a key that msgspec does not name."""
    value = manifest
    for step in _STEP.findall(path):
        index = step.strip("[]")
        if isinstance(value, Mapping) and not step.startswith("["):
            value = value.get(step)
        elif isinstance(value, list) and index.isdigit() and int(index) < len(value):
            value = value[int(index)]
        else:
            return None
    return value


def _named(match: re.Match[str]) -> str:
    """Return a type, or several, in plain words; that a field may also be left out goes without saying."""
    kinds = (match[1] or match[2]).split(" | ")
    return " or ".join(_TYPES.get(kind, kind) for kind in kinds if kind != "null" or len(kinds) == 1)
