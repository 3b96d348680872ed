"""The CRDs and the parsers of the core say the same: objects come from the API server, and from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml
from msgspec import inspect

from support.kube import CRDS, ROOT, load_manifests
from trustbind.api import aws_account, role_binding, role_binding_set, role_grant
from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_binding_set import RoleBindingSet
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import InvalidValueError
from trustbind.policy.condition_operators import IF_EXISTS, OPERATORS, SPEC_PATTERN, SetQualifier

Schema = dict[str, Any]

CASES = sorted((ROOT / "tests" / "data" / "crds").glob("*.yaml"))
EXAMPLES = load_manifests(ROOT / "manifests" / "examples")
PARSERS: Final[Mapping[str, Callable[[Mapping[str, Any]], object]]] = {
    "RoleBinding": RoleBinding.parse,
    "AWSAccount": AwsAccount.parse,
    "RoleGrant": RoleGrant.parse,
    "RoleBindingSet": RoleBindingSet.parse,
}
# Private, since nobody else has to know in what form a manifest is read; but it is this form that has to agree.
SPECS: Final[Mapping[str, type]] = {
    "RoleBinding": role_binding._Spec,
    "AWSAccount": aws_account._Spec,
    "RoleGrant": role_grant._Spec,
    "RoleBindingSet": role_binding_set._Spec,
}
MINIMAL: Final[Mapping[str, dict[str, Any]]] = {
    "RoleBinding": {
        "roleArn": "arn:aws:iam::444455556666:role/team-a/reader",
        "serviceAccountNames": ["reader"],
    },
    "AWSAccount": {"accountId": "444455556666"},
    "RoleGrant": {"namespaces": {"names": ["team-a"]}, "roleArns": ["arn:aws:iam::444455556666:role/team-a/*"]},
    "RoleBindingSet": {
        "namespaceSelector": {"matchLabels": {"profile": "true"}},
        "serviceAccountNames": ["default-editor"],
        "template": {"roleArn": "arn:aws:iam::444455556666:role/notebooks"},
    },
}
DEFAULTS_OF_THE_SCHEMA_ONLY: Final = {
    "AWSAccount.oidcProvider",  # an empty object, so that what is in it shows its own default
}


def schema_of(kind: str) -> Schema:
    """Return the schema of ``kind`` in its CRD."""
    (definition,) = (d for d in load_manifests(CRDS) if d["spec"]["names"]["kind"] == kind)
    (version,) = definition["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def spec_of(kind: str) -> Schema:
    """Return the schema of the kind's spec."""
    spec: Schema = schema_of(kind)["properties"]["spec"]
    return spec


def nodes(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Return every part of a schema with its path, itself first."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    for name, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if name in schema:
            yield from nodes(schema[name], path + mark)


def fields(kind: type, schema: Schema, path: str) -> Iterator[tuple[str, inspect.Field, inspect.Type, Schema]]:
    """Return each field of the parser's form, and below it, with the schema's counterpart."""
    form = inspect.type_info(kind)
    assert isinstance(form, inspect.StructType)
    assert {f.encode_name for f in form.fields} == set(schema["properties"]), f"{path}: other fields"
    assert {f.encode_name for f in form.fields if f.required} == set(schema.get("required", [])), path
    for field in form.fields:
        part = schema["properties"][field.encode_name]
        place = f"{path}.{field.encode_name}"
        types = [field.type] if not isinstance(field.type, inspect.UnionType) else list(field.type.types)
        (one,) = (t for t in types if not isinstance(t, inspect.NoneType))
        yield place, field, one, part
        inner, inner_schema = (one.item_type, part["items"]) if isinstance(one, inspect.ListType) else (one, part)
        if isinstance(inner, inspect.StructType):
            yield from fields(inner.cls, inner_schema, place)


def bounds_of_form(form: inspect.Type) -> Schema:
    """Return type and bounds as a schema would say them; the lengths of texts are often a rule of the parser's."""
    match form:
        case inspect.StrType():
            return {"type": "string"}
        case inspect.LiteralType():
            return {"type": "string", "enum": sorted(form.values)}
        case inspect.IntType():
            return {"type": "integer", "minimum": form.ge, "maximum": form.le}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.ListType():
            return {"type": "array", "minItems": form.min_length or 0, "maxItems": form.max_length}
        case inspect.DictType():
            return {"type": "object", "maxProperties": form.max_length}
        case _:
            return {"type": "object", "maxProperties": None}


def bounds_of_schema(schema: Schema) -> Schema:
    """Return the same of a schema."""
    match schema["type"]:
        case "string" if "enum" in schema:
            return {"type": "string", "enum": sorted(schema["enum"])}
        case "integer":
            return {"type": "integer", "minimum": schema["minimum"], "maximum": schema["maximum"]}
        case "array":
            return {"type": "array", "minItems": schema.get("minItems", 0), "maxItems": schema["maxItems"]}
        case "object":
            return {"type": "object", "maxProperties": schema.get("maxProperties")}
        case other:
            return {"type": other}


def default_of(field: inspect.Field) -> Any:
    """Return what the parser takes where the field is left out; None: it knows that nothing was said."""
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default


def with_defaults(value: Any, schema: Schema) -> Any:
    """Return ``value`` as the API server fills it in."""
    if isinstance(value, list):
        return [with_defaults(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    filled = dict(value)
    for name, part in schema["properties"].items():
        if name not in filled and "default" in part:
            filled[name] = part["default"]
        if name in filled:
            filled[name] = with_defaults(filled[name], part)
    return filled


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_object_is_refused_by_the_parser_too(case: Path) -> None:
    """A file with a mistake is refused before it reaches an API server, or the case says why that is not needed."""
    content = yaml.safe_load(case.read_text())
    parse = PARSERS[content["object"]["kind"]]
    assert ("parser" in content) != ("parserAccepts" in content)
    if "parserAccepts" in content:
        parse(content["object"])
        return
    with pytest.raises(InvalidValueError) as caught:
        parse(content["object"])
    assert content["parser"] in str(caught.value)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e['kind']}-{e['metadata']['name']}")
def test_example_is_parsed(example: dict[str, Any]) -> None:
    """Every example is read, and means the same with the API server's defaults filled in."""
    parse = PARSERS[example["kind"]]
    assert parse(example) == parse(example | {"spec": with_defaults(example["spec"], spec_of(example["kind"]))})


@pytest.mark.parametrize("kind", PARSERS)
def test_defaults_mean_the_same(kind: str) -> None:
    """The smallest object means the same from a file as from the API server."""
    manifest = {"apiVersion": "trustbind.dev/v1alpha1", "kind": kind, "metadata": {"name": "smallest"}}
    filled = with_defaults(MINIMAL[kind], spec_of(kind))
    assert PARSERS[kind](manifest | {"spec": MINIMAL[kind]}) == PARSERS[kind](manifest | {"spec": filled})


@pytest.mark.parametrize("kind", PARSERS)
def test_fields_bounds_and_defaults_are_the_same(kind: str) -> None:
    """Field for field, parser and schema have the same names, types, bounds and defaults."""
    for path, field, form, schema in fields(SPECS[kind], spec_of(kind), kind):
        expected, found = bounds_of_schema(schema), bounds_of_form(form)
        assert found == expected, path
        if isinstance(form, inspect.StrType) and form.max_length is not None:
            assert form.max_length == schema["maxLength"], path
        if path not in DEFAULTS_OF_THE_SCHEMA_ONLY:
            assert default_of(field) == schema.get("default"), path


def test_condition_operators_are_those_of_the_table() -> None:
    """``make generate`` writes the pattern; one that was written by hand, or is stale, is refused here."""
    condition = spec_of("RoleBinding")["properties"]["conditions"]["items"]
    operator = condition["properties"]["operator"]

    assert operator["pattern"] == SPEC_PATTERN
    assert operator["minLength"] <= min(map(len, OPERATORS))
    longest = max(len(f"{q}:{name}{IF_EXISTS}") for q in SetQualifier for name in OPERATORS)
    assert longest <= operator["maxLength"]


@pytest.mark.parametrize("kind", PARSERS)
def test_schema_is_documented_and_bounded(kind: str) -> None:
    """Every field is described, and nothing in an object can grow without bound or be of an unknown form."""
    for path, schema in nodes(schema_of(kind), kind):
        if path == f"{kind}.metadata":
            continue  # the API server's own, which may not be described here
        assert schema.get("description", "").endswith("."), f"{path} is not described"
        assert not any(name.startswith("x-kubernetes-preserve") for name in schema), path
        if path in {f"{kind}.apiVersion", f"{kind}.kind"}:
            continue  # the same
        match schema["type"]:
            case "string":
                assert "maxLength" in schema or "enum" in schema, f"{path} has no bound"
            case "array":
                assert {"maxItems", "x-kubernetes-list-type"} <= schema.keys(), f"{path} has no bound"
            case "integer":
                assert {"minimum", "format"} <= schema.keys(), f"{path} has no bound"
            case "object":
                assert "properties" in schema or "maxProperties" in schema, f"{path} has any form"
            case other:
                assert other == "boolean", f"{path} is of type {other}"
        if "default" in schema and schema["type"] != "object":
            assert "Default:" in schema["description"], f"{path} does not tell its default"


@pytest.mark.parametrize("kind", PARSERS)
def test_optional_fields_tell_their_default(kind: str) -> None:
    """Whoever leaves out a field of the spec can read what then holds."""
    for path, schema in nodes(spec_of(kind), kind):
        for name, part in schema.get("properties", {}).items():
            if name in schema.get("required", []) or part["type"] in {"object", "array"}:
                continue
            assert "Default:" in part["description"], f"{path}.{name} tells no default"
