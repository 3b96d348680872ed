"""Kubernetes manifests: YAML or JSON text taken apart into objects that remember where they stood.

The text becomes what the API server would make of it: JSON's types only. A date stays the text that was written, a
key that stands twice is an error, and so is anything that JSON has no form for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from trustbind.api.strict import nearest
from trustbind.errors import ManifestError
from trustbind.identity.subjects import is_namespace, is_object_name

__all__ = ["Manifest", "check_metadata", "documents", "read"]

_MAX_DEPTH: Final = 100
"""Levels of nesting; Kubernetes objects have a dozen, and an alias within itself has no end."""

_MAX_NODES: Final = 1_000_000
"""Values in one document after its aliases are followed: far more than any manifest has, far fewer than it takes to
fill the memory by aliases of aliases."""

_MAX_DIGITS: Final = 1000
"""Digits of a whole number, in any base: far more than a field has, and fewer than Python's limit for printing one."""

_METADATA: Final = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
"""Fields of ``metadata`` (Kubernetes API reference, "ObjectMeta")."""

_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final = {
    "null": "empty",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "map": "a mapping",
    "seq": "a list",
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object and where it stands.

    Attributes:
        source: the file's name, ``-`` for standard input.
        document: number of the document in the file, from 1.
        body: the object, with ``apiVersion`` and ``kind``; an item of a list is an object of its own.
    """

    source: str
    document: int
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """The object's kind, never empty."""
        return str(self.body["kind"])

    @property
    def api_version(self) -> str:
        """The object's apiVersion, never empty."""
        return str(self.body["apiVersion"])

    @property
    def name(self) -> str:
        """``metadata.name``, empty when there is none."""
        return self._metadata("name")

    @property
    def namespace(self) -> str:
        """``metadata.namespace``, empty when there is none."""
        return self._metadata("namespace")

    def describe(self) -> str:
        """Return kind and name, such as ``RoleBinding team-a/s3-reader``."""
        name = self.name or "without a name"
        return f"{self.kind} {self.namespace}/{name}" if self.namespace and self.name else f"{self.kind} {name}"

    def error(self, problem: object) -> ManifestError:
        """Return an error that says where this object stands and what is wrong: a sentence, field first."""
        return ManifestError(self.source, self.document, str(problem), what=self.describe())

    def _metadata(self, key: str) -> str:
        metadata = self.body.get("metadata") or {}
        return metadata.get(key) or ""


def read(text: str, source: str) -> list[Manifest]:
    """Return the objects in ``text``, in their order.

    Empty documents are passed over, but counted. A ``List`` (or a ``ServiceAccountList`` and the like) counts as its
    items, which inherit their kind from it where they have none, as in an answer of the API server.

    Args:
        text: YAML with any number of documents, or JSON.
        source: what to call the text in errors, usually the file's name.

    Raises:
        ManifestError: with the number of the document and the line, or the field, and what must hold there.
    """
    manifests: list[Manifest] = []
    for number, value in documents(text, source):
        if value is not None:
            _collect(value, source, number, "", manifests)
    return manifests


def check_metadata(manifest: Manifest) -> None:
    """Check what the API server would drop in silence, or refuse, of an object's metadata.

    It is for files alone: a later API server may give objects fields that are not known here.

    Raises:
        ManifestError: there is no such field, or a name is none that Kubernetes allows.
    """
    for name in manifest.body.get("metadata") or {}:
        if name not in _METADATA:
            near = nearest(name, _METADATA)
            raise manifest.error(f"metadata: there is no field `{name}`{f'; did you mean {near}?' if near else ''}")
    if manifest.name and not is_object_name(manifest.name):
        raise manifest.error(
            f"metadata.name: {manifest.name!r} is not a name (lower-case letters, digits, '-' and '.', at most 253)"
        )
    if manifest.namespace and not is_namespace(manifest.namespace):
        raise manifest.error(
            f"metadata.namespace: {manifest.namespace!r} is not a namespace name "
            "(lower-case letters, digits and '-', at most 63)"
        )


class _ValueError(Exception):
    """A value that a manifest cannot have; its argument is the sentence."""


def documents(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each document of ``text``, whatever it holds; None for an empty one.

    Raises:
        ManifestError: with the number of the document and the line.
    """
    number = 0
    try:
        for event in _shallow_events(text):
            number += isinstance(event, yaml.DocumentStartEvent)
        number = 0
        # compose_all resolves tags but builds no Python objects: those are ours to build.
        for node in yaml.compose_all(text, Loader=yaml.CSafeLoader):
            number += 1
            yield number, _Builder().value(node, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = error.problem or error.context or "it cannot be read"
        if mark and _is_indented_by_tab(text, mark.line):
            problem = "a tab; indent with spaces"
        raise ManifestError(source, max(number, 1), f"{where}not YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise ManifestError(source, max(number, 1), f"not YAML: {' '.join(str(error).split())}") from None
    except _ValueError as error:
        raise ManifestError(source, number, str(error)) from None


def _is_indented_by_tab(text: str, number: int) -> bool:
    line = (text.splitlines()[number:] or [""])[0]
    return "\t" in line[: len(line) - len(line.lstrip())]


def _shallow_events(text: str) -> Iterator[yaml.Event]:
    """Yield the text's events after checking its depth: the C composer recurses, and would overflow the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise _problem(event, f"nested deeper than {_MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        yield event


class _Builder:
    """Builds the values of one document."""

    def __init__(self) -> None:
        self._left = _MAX_NODES

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._left -= 1
        if depth > _MAX_DEPTH:
            raise _problem(node, f"nested deeper than {_MAX_DEPTH} levels, or an alias within itself")
        if self._left < 0:
            raise _problem(node, "the document grows too large when its aliases are followed")
        if isinstance(node, yaml.MappingNode):
            _check_tag(node, "map")
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq")
            return [self.value(item, depth + 1) for item in node.value]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                for other in self._merged(value_node, depth):
                    merged = {**other, **merged}  # the first of several wins (YAML's merge key type)
                continue
            key = _key(key_node)
            if key in result:
                raise _problem(key_node, f"the key {key!r} stands twice in one mapping")
            result[key] = self.value(value_node, depth + 1)
        return {**merged, **result} if merged else result

    def _merged(self, node: yaml.Node, depth: int) -> list[dict[str, Any]]:
        values = self.value(node, depth + 1)
        values = values if isinstance(values, list) else [values]
        if not all(isinstance(value, dict) for value in values):
            raise _problem(node, "<< merges mappings only")
        return values


def _problem(at: yaml.Node | yaml.Event, sentence: str) -> _ValueError:
    return _ValueError(f"line {at.start_mark.line + 1}: {sentence}" if at.start_mark else sentence)


def _check_tag(node: yaml.Node, expected: str) -> None:
    if node.tag != f"{_TAG}{expected}":
        raise _problem(node, f"{node.tag.replace(_TAG, '!!')} is not a type that a manifest can have")


def _key(node: yaml.Node) -> str:
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.ScalarNode) and kind not in _KINDS:
        return str(node.value)
    advice = "write it in quotes" if isinstance(node, yaml.ScalarNode) else "is this a template?"
    shown = f"the key {node.value!r} is" if isinstance(node, yaml.ScalarNode) else "a key is"
    raise _problem(node, f"{shown} {_KINDS.get(kind, kind)}, where a text is needed; {advice}")


def _scalar(node: yaml.Node) -> Any:
    text: str = node.value
    kind = node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in {"yes", "true", "on"}
    if kind == "int":
        return _integer(node, text)
    if kind == "float" and ":" not in text:
        return _float(node, text)
    if kind in {"str", "float", "timestamp", "value"}:
        return text  # sexagesimal numbers, dates and "=" are texts to Kubernetes
    raise _problem(node, f"{node.tag.replace(_TAG, '!!')} is not a type that a manifest can have")


def _float(node: yaml.Node, text: str) -> float:
    """Return a YAML 1.1 number with a fraction or an exponent; JSON has no infinity, and no value that is no number."""
    digits = text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan")
    try:
        number = float(digits or 0)
    except ValueError:  # under an explicit tag
        raise _problem(node, f"{text[:40]!r} is not a number") from None
    if number - number != 0:  # infinity and not-a-number
        raise _problem(node, f"{text} is not a number that JSON has")
    return number


def _integer(node: yaml.Node, text: str) -> int | str:
    """Return a YAML 1.1 integer; one in base 60 stays a text, as in Kubernetes."""
    if ":" in text:
        return text
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if len(digits) > _MAX_DIGITS:
        raise _problem(node, f"{text[:40]!r}... has {len(digits)} digits, which no number of a manifest has")
    try:
        if digits[:2].lower() in {"0x", "0b"}:
            return sign * int(digits, 0)
        return sign * int(digits, 8 if digits.startswith("0") and len(digits) > 1 else 10)
    except ValueError:
        raise _problem(node, f"{text[:40]!r} is not a number") from None


def _collect(value: Any, source: str, number: int, at: str, manifests: list[Manifest]) -> None:
    """Append the object, or the list's objects, after checking what every object has."""

    def problem(field: str, sentence: str) -> ManifestError:
        where = ".".join(part for part in (at, field) if part)
        return ManifestError(source, number, f"{where}: {sentence}" if where else sentence, what=_what(value))

    if not isinstance(value, dict):
        raise problem("", f"{_kind_of(value)}, where a Kubernetes object (a mapping) is needed")
    for field, example in (("apiVersion", "v1"), ("kind", "ServiceAccount")):
        if field not in value or value[field] in ("", None):
            raise problem(field, f"required, such as {example}")
        if not isinstance(value[field], str):
            raise problem(field, f"{_kind_of(value[field])}, where a text such as {example} is needed")
    kind: str = value["kind"]
    if kind.endswith("List") and "items" in value:
        items = value["items"] if value["items"] is not None else []
        if not isinstance(items, list):
            raise problem("items", f"{_kind_of(items)}, where a list is needed")
        own = kind.removesuffix("List")
        for index, item in enumerate(items):
            inherited = {"apiVersion": value["apiVersion"], "kind": own} if own and isinstance(item, dict) else {}
            _collect({**inherited, **item} if inherited else item, source, number, f"items[{index}]", manifests)
        return
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise problem("metadata", f"{_kind_of(metadata)}, where a mapping is needed")
    for field in ("name", "namespace", "generateName"):
        text = (metadata or {}).get(field)
        if text is not None and not isinstance(text, str):
            raise problem(f"metadata.{field}", f"{_kind_of(text)}, where a text is needed; write it in quotes")
    manifests.append(Manifest(source, number, value))


def _what(value: Any) -> str:
    """Return kind and name as far as the value has them."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or not value["kind"]:
        return ""
    metadata = value.get("metadata")
    names = [metadata.get("namespace"), metadata.get("name")] if isinstance(metadata, dict) else []
    name = "/".join(part for part in names if isinstance(part, str) and part)
    return f"{value['kind']} {name}".strip()


def _kind_of(value: Any) -> str:
    if value is None:
        return "it is empty"
    names = {dict: "it is a mapping", list: "it is a list", str: "it is a text", bool: "it is true or false"}
    return names.get(type(value), "it is a number")
