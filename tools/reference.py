"""Writes docs/reference from what the code and the manifests say; ``--check`` only compares, and tells what differs.

python tools/reference.py [--check]
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import typer
import yaml
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from trustbind.api.annotations import DEFAULT_PREFIX, AnnotationKeys
from trustbind.findings import FINDINGS
from trustbind.policy.document_rules import RULES
from trustbind.reasons import SkipReason, TrustReason
from trustbind_cli.main import app
from trustbind_operator import metrics as operator_metrics
from trustbind_operator import settings as operator_settings
from trustbind_runtime.settings import ProcessSettings
from trustbind_webhook import metrics as webhook_metrics
from trustbind_webhook import settings as webhook_settings

ROOT: Final = Path(__file__).resolve().parents[1]
TARGET: Final = ROOT / "docs" / "reference"
KEYS: Final = ROOT / "tools" / "reference-keys.yaml"
NOTE: Final = "<!-- Made by tools/reference.py; change what it is made of, then run it. -->"

# --- reasons ----------------------------------------------------------------------------------------------------------

_ACCOUNT_ONLY: Final = {TrustReason.ACCOUNT_READY, TrustReason.ACCOUNT_DUPLICATE}
_BOTH: Final = {
    TrustReason.INVALID_SPEC,
    TrustReason.ACCOUNT_UNREACHABLE,
    TrustReason.ACCOUNT_DENIED,
    TrustReason.ACCOUNT_MISMATCH,
    TrustReason.PROVIDER_MISSING,
    TrustReason.ACCESS_DENIED,
    TrustReason.THROTTLED,
    TrustReason.AWS_FAILED,
}
_READY: Final = "conditions Ready and TrustApplied of the RoleBinding"
_ACCOUNT: Final = "condition Ready of the AWSAccount"
_POD: Final = "Event of the Pod"
_TOLD: Final = "Event; metric trustbind_operator_bindings"
_SHOWN: Final[Mapping[TrustReason, str]] = {
    TrustReason.GRANTED: "condition Authorized of the RoleBinding",
    TrustReason.NEAR_LIMIT: "condition NearLimit of the RoleBinding, absent while all is well; Event",
    TrustReason.HAND_WRITTEN: "condition HandWrittenSubjects of the RoleBinding, absent while all is well; Event",
    TrustReason.NOT_GRANTED: f"{_READY}, and Authorized; {_TOLD}",
    TrustReason.NO_CONSENT: f"{_READY}, and Authorized; {_TOLD}",
    TrustReason.REVOKED: "Event when the RoleBinding is let go",
    TrustReason.RETAINED: "Event when the RoleBinding is let go",
    TrustReason.PENDING: f"{_READY}, without an Event; {_ACCOUNT}",
    **dict.fromkeys(
        (TrustReason.WAITING, TrustReason.WAITED_TOO_LONG), f"{_POD}; metric trustbind_operator_waiting_pods"
    ),
    TrustReason.RELEASED: _POD,
    **dict.fromkeys(
        (
            TrustReason.BINDINGS_READY,
            TrustReason.BINDINGS_NOT_READY,
            TrustReason.NAME_TAKEN,
            TrustReason.NO_NAMESPACES,
            TrustReason.SETS_DISABLED,
        ),
        "condition Ready of the RoleBindingSet; Event",
    ),
    **dict.fromkeys(
        (TrustReason.STRAY_NAMESPACE, TrustReason.PATTERN_UNGUARDED),
        f"{_READY}; condition Ready of the RoleBindingSet; {_TOLD}",
    ),
    TrustReason.MISSED: f"{_POD}; metric trustbind_operator_missed_pods",
}
_CONDITIONS: Final = """\
| condition | of | meaning |
| --- | --- | --- |
| Ready | RoleBinding, AWSAccount, RoleBindingSet | the summary: the role accepts the tokens of the accounts that the \
binding names; the operator can work in the account; all bindings of the set are Ready |
| Authorized | RoleBinding | whether a RoleGrant, and where asked for the role itself, allows the binding |
| TrustApplied | RoleBinding | whether the role's trust policy holds the binding |
| NearLimit | RoleBinding | there, and True, while the trust policy is longer than 80 % of what the account allows |
| HandWrittenSubjects | RoleBinding | there, and True, while service accounts of this cluster reach the target \
role of a chain by a statement of its source role that trustbind did not write |
"""


def docstrings(cls: type) -> dict[str, str]:
    """Return the text below each of a class's assignments."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for statement, following in itertools.pairwise(body):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if isinstance(target, ast.Name) and isinstance(following, ast.Expr):
            text = following.value.value if isinstance(following.value, ast.Constant) else None
            if isinstance(text, str):
                found[target.id] = " ".join(text.split())
    return found


def explained(kind: type[StrEnum]) -> Iterator[tuple[StrEnum, str, str]]:
    """Yield each reason with its meaning and its remedy, by name.

    Raises:
        ValueError: one has none.
    """
    texts = docstrings(kind)
    for reason in sorted(kind, key=str):
        meaning, remedy, told = texts.get(reason.name, "").partition(" Remedy: ")
        if not remedy or not meaning or not told:
            raise ValueError(f"{kind.__name__}.{reason.name} needs a docstring: its meaning, then 'Remedy: ...'")
        yield reason, meaning.replace("``", "`"), told[:1].upper() + told[1:].replace("``", "`")


def shown(reason: StrEnum) -> str:
    """Return where a reason can be seen."""
    if isinstance(reason, SkipReason):
        where = "audit annotation `reason`, log and metric trustbind_webhook_admissions of the webhook"
        if reason is SkipReason.WEBHOOK_NOT_CALLED:
            return "`trustbind preview pod`; in the cluster the webhook does not learn of the pod"
        return where if reason is SkipReason.INTERNAL_ERROR else f"{where}; `trustbind preview pod`"
    known = TrustReason(reason.value)
    if known in _SHOWN:
        return _SHOWN[known]
    if known in _ACCOUNT_ONLY:
        return f"{_ACCOUNT}; Event"
    where = f"{_READY}; {_TOLD}"
    return f"{where}; {_ACCOUNT}" if known in _BOTH else where


def conditions() -> str:
    """Return conditions.md."""
    parts = [
        (
            "# Conditions and reasons\n\nOne word for each reason, the same in conditions, Events, metrics, audit "
            "annotations, the command line and here. The message beside it names the object and says what to do.\n"
        ),
        f"## Conditions\n\n{_CONDITIONS}",
    ]
    for kind, title, intro in (
        (TrustReason, "Why trust is, or is not, as a binding asks", "From the operator, and in plans."),
        (SkipReason, "Why a pod was not injected", "From the webhook. A pod is never denied for it."),
    ):
        parts.append(f"## {title}\n\n{intro}\n")
        for reason, meaning, remedy in explained(kind):
            parts.append(f"### {reason.value}\n\n{meaning}\n\n- Remedy: {remedy}\n- Shown: {shown(reason)}.\n")
    return "\n".join(parts)


# --- settings ---------------------------------------------------------------------------------------------------------

_UNITS: Final = ("Seconds", "PerSecond", "Port", "Size")
_UNIT_WORDS: Final = {"Seconds": "seconds", "PerSecond": "a second", "Port": "TCP port", "Size": "objects"}
_WORDS: Final = {int: "whole number", float: "number", str: "text", bool: "true or false"}
_BOUNDS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def camel(name: str) -> str:
    """Return a setting's name as YAML has it."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def kind_of(field: FieldInfo) -> str:
    """Return a setting's type and bounds in words."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list of texts"
    if get_origin(annotation) is dict:
        return "label selector"
    word = _WORDS[annotation] if isinstance(annotation, type) and annotation in _WORDS else str(annotation)
    bounds = [
        f"{words} {getattr(constraint, key):g}"
        for constraint in field.metadata
        for key, words in _BOUNDS.items()
        if getattr(constraint, key, None) is not None
    ]
    return ", ".join([word, *bounds])


def written(value: object) -> str:
    """Return a default as YAML has it."""
    if value in ("", (), {}):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def settings(kind: type[ProcessSettings], title: str, command: str) -> str:
    """Return a process's page of settings."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    parts = [
        (
            f"# Settings of the {title}\n\nFrom a YAML file (`trustbind {command} --config FILE`) and from variables, "
            "which win. An unknown name is an error. Names and order are those of the chart's values.yaml.\n"
        )
    ]
    for name, section in kind.model_fields.items():
        model = model_of(section)
        parts.append(f"## {camel(name)}\n\n{first_line(model)}\n")
        for setting, field in model.model_fields.items():
            key = camel(setting)
            unit = next((f" ({_UNIT_WORDS[u]})" for u in _UNITS if key.endswith((u, u.lower()))), "")
            default = field.get_default(call_default_factory=True)
            text = " ".join((field.description or "").split()).replace("``", "`")
            parts.append(
                f"### {camel(name)}.{key}\n\n{text}\n\n- Type: {kind_of(field)}{unit}\n"
                f"- Default: {written(default)}\n- Variable: `{f'{prefix}{name}__{setting}'.upper()}`\n"
            )
    return "\n".join(parts)


def model_of(field: FieldInfo) -> type[BaseModel]:
    """Return a section's model.

    Raises:
        TypeError: the field is no section.
    """
    model = field.annotation
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise TypeError(f"{model} is no section of settings")
    return model


def first_line(thing: object) -> str:
    """Return the first paragraph of a docstring, without references to modules."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return re.sub(r"; see `trustbind_[a-z_.A-Z]+`", "", " ".join(text.split())).replace("``", "`")


# --- metrics ----------------------------------------------------------------------------------------------------------


def metrics_of(registry: CollectorRegistry) -> str:
    """Return a table of a registry's metrics."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    labels: dict[str, tuple[str, ...]] = {}
    # The library has no public way to a metric's labels.
    for collector, names in registry._collector_to_names.items():  # noqa: SLF001 - as above
        for name in names:
            labels[name] = tuple(getattr(collector, "_labelnames", ()))
    for family in sorted(registry.collect(), key=lambda f: f.name):
        if family.name.startswith("process_"):
            continue  # Prometheus' own, the same in every program
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        listed = labels.get(family.name) or tuple(getattr(family, "_labelnames", ()) or ())
        kind = "gauge" if family.type == "info" else family.type
        listed = ("version",) if family.type == "info" else listed
        rows.append(row(f"`{family.name}{suffix}`", kind, ", ".join(listed), family.documentation))
    return "\n".join(rows) + "\n"


def metrics() -> str:
    """Return metrics.md."""
    operator, webhook = operator_metrics.Metrics(), webhook_metrics.Metrics()
    return (
        "# Metrics\n\nIn Prometheus' text format, beside the usual `process_*`. A label `reason` has the words of "
        "[conditions.md](conditions.md).\n\n"
        f"## Webhook\n\nOn `server.metricsPort`, under /metrics.\n\n{metrics_of(webhook.registry)}\n"
        f"## Operator\n\nOn `server.port`, under /metrics.\n\n{metrics_of(operator.registry)}"
    )


def row(*cells: str) -> str:
    """Return a row of a table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


# --- custom resources -------------------------------------------------------------------------------------------------

_BOUND_WORDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "maxProperties": "at most {} entries",
    "pattern": "pattern `{}`",
}


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield path, schema and whether it is required, for each field below ``schema``."""
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, inner, name in required
        yield from fields(inner, where)
        if "items" in inner:
            yield f"{where}[]", inner["items"], False
            yield from fields(inner["items"], f"{where}[]")
        if "additionalProperties" in inner:
            yield f"{where}.*", inner["additionalProperties"], False


def default_of(schema: Mapping[str, Any], *, required: bool) -> str:
    """Return a field's default."""
    if required:
        return "required"
    return (
        f"`{yaml.safe_dump(schema['default'], default_flow_style=True).split(chr(10))[0]}`"
        if "default" in schema
        else ""
    )


def bounds_of(schema: Mapping[str, Any]) -> str:
    """Return what a field's value may be."""
    listed = [words.format(schema[key]) for key, words in _BOUND_WORDS.items() if key in schema]
    if "enum" in schema:
        listed.insert(0, "one of " + ", ".join(f"`{value}`" for value in schema["enum"]))
    return re.sub(r"\b1 (character|entr)(?:s|ies)\b", _one, "; ".join(listed))


def _one(match: re.Match[str]) -> str:
    return "1 character" if match[1] == "character" else "1 entry"


def custom_resources() -> str:
    """Return custom-resources.md."""
    parts = ["# Custom resources\n\nWhat `kubectl explain` says, in one place. An unknown field is refused.\n"]
    for path in sorted((ROOT / "manifests" / "crd").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        names, (version,) = crd["names"], crd["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        short = f", short name {', '.join(names['shortNames'])}" if names.get("shortNames") else ""
        parts.append(
            f"## {names['kind']}\n\n{' '.join(schema['description'].split())}\n\n"
            f"`{crd['group']}/{version['name']}`, {names['plural']}.{crd['group']}{short}; "
            f"{'in a namespace' if crd['scope'] == 'Namespaced' else 'cluster-wide'}.\n"
        )
        rows = ["| field | type | default | bounds | meaning |", "| --- | --- | --- | --- | --- |"]
        rules: list[str] = []
        for field, inner, required in fields(schema):
            if field in {"apiVersion", "kind", "metadata"}:
                continue
            described = inner.get("description", "")
            rows.append(
                row(f"`{field}`", inner["type"], default_of(inner, required=required), bounds_of(inner), described)
            )
            for rule in inner.get("x-kubernetes-validations", ()):
                place = field + rule.get("fieldPath", "")
                rules.append(row(f"`{place}`", rule["message"], f"`{rule['rule']}`"))
        parts.append("\n".join(rows) + "\n")
        if rules:
            parts.append("Rules that concern more than one field, or one field's history:\n")
            parts.append("\n".join(["| at | message | rule (CEL) |", "| --- | --- | --- |", *rules]) + "\n")
        printed = ["| column | shows |", "| --- | --- |"]
        for column in version["additionalPrinterColumns"]:
            wide = " (with -o wide)" if column.get("priority") else ""
            printed.append(row(column["name"] + wide, column.get("description", f"`{column['jsonPath']}`")))
        parts.append("Columns of `kubectl get`:\n")
        parts.append("\n".join(printed) + "\n")
    return "\n".join(parts)


# --- annotations, labels and other keys -------------------------------------------------------------------------------

_KEY = re.compile(r"trustbind\.dev/[a-z][a-z-]*(?![a-z0-9])")


def keys_in_code() -> set[str]:
    """Return the keys under trustbind.dev that stand in the code as texts of their own."""
    found: set[str] = set()
    for package in ("core", "webhook", "operator", "runtime", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _KEY.fullmatch(node.value):
                    found.add(node.value)
    return found


def keys() -> str:
    """Return annotations.md.

    Raises:
        ValueError: the code has a key that is not explained here, or the other way round.
    """
    texts = yaml.safe_load(KEYS.read_text(encoding="utf-8"))
    known = AnnotationKeys.under(DEFAULT_PREFIX)
    prefixed = {getattr(known, name) for name in type(known).__slots__}
    explained_ones = {*texts["own"], *(f"{DEFAULT_PREFIX}/{name}" for name in texts["prefixed"])}
    if difference := (keys_in_code() | prefixed) ^ explained_ones:
        raise ValueError(f"{KEYS.name} explains other keys than the code has: {', '.join(sorted(difference))}")
    first = ["| annotation | on | meaning |", "| --- | --- | --- |"]
    first += [row(f"`{DEFAULT_PREFIX}/{name}`", *words.values()) for name, words in texts["prefixed"].items()]
    second = ["| key | what | on | meaning |", "| --- | --- | --- | --- |"]
    second += [row(f"`{key}`", *words.values()) for key, words in sorted(texts["own"].items())]
    return (
        "# Annotations, labels and other keys\n\nThe first family is what the EKS pod identity webhook reads, so "
        "existing workloads work unchanged. Its prefix is a setting (`injection.annotationPrefix` of the webhook, "
        f"`bindAnnotated.annotationPrefix` of the operator), by default `{DEFAULT_PREFIX}`.\n\n"
        + "\n".join(first)
        + "\n\nThe second family is trustbind's own, and has no setting.\n\n"
        + "\n".join(second)
        + "\n"
    )


# --- command line -----------------------------------------------------------------------------------------------------


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each command, groups before their members."""
    yield path
    if hasattr(group, "list_commands"):
        for name in group.list_commands(None):
            yield from commands(group.get_command(None, name), (*path, name))


def cli() -> str:
    """Return cli.md."""
    parts = [
        (
            "# Command line\n\nExit codes: 0 nothing is wrong; 1 the answer is no, or something is refused, by AWS "
            "or by a rule; 2 the command or a file is wrong; 3 what could be seen is not enough to tell; 130 "
            "interrupted. A closed pipe changes none.\n\n`pip install trustbind` installs the command line, "
            "`pip install 'trustbind[webhook,operator]'` the servers, too. `kubectl trustbind` is the same command. "
            "`source <(trustbind completion bash)` completes commands and options; there are scripts for zsh and "
            "fish, and kubectl completes `kubectl trustbind` with `kubectl_complete-trustbind`.\n"
        )
    ]
    runner = CliRunner(env={"COLUMNS": "110", "TERMINAL_WIDTH": "110", "NO_COLOR": "1"})
    for path in commands(typer.main.get_command(app)):
        shown_help = runner.invoke(app, [*path, "--help"], prog_name="trustbind", catch_exceptions=False)
        text = "\n".join(line.rstrip() for line in shown_help.output.strip().splitlines())
        parts.append(f"## {' '.join(('trustbind', *path))}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


# --- findings ---------------------------------------------------------------------------------------------------------

_TRUST_POLICIES: Final = (
    "What IAM and STS do with a role's trust policy, foreign statements included. A behaviour that AWS documents "
    "nowhere is not called refused.\n\n"
    "- `trustbind preview trust` and `trustbind apply` warn of what is refused or dead in the resulting "
    "document.\n"
    "- The validating webhook, and `preview trust`, warn of what is dead or risky in a RoleBinding's own "
    "statements. A RoleBinding whose statement IAM would refuse is denied.\n"
    "- The operator writes no document of which a foreign statement breaks a rule since it was written, "
    "because IAM takes a document as a whole or not: see the reasons `StalePrincipal` and "
    "`ForeignStatementRefused`.\n"
    "- The local AWS refuses what IAM refuses.\n"
    "- [`trustbind lint`](../guides/lint.md) finds all of them, in files and in AWS. What has no effect below is its "
    "own: about the length of trust policies, subjects of GitHub Actions, RoleBindings, RoleGrants and annotated "
    "service accounts.\n\n"
    "| effect | meaning |\n| --- | --- |\n"
    "| refused | IAM refuses every write of a document that has it, also of one that trustbind did not write. |\n"
    "| dead | IAM takes it. The statement never applies: an Allow admits no caller, a Deny stops none. |\n"
    "| risky | The statement probably applies to more callers than its author wants, or to fewer. |\n"
)
_DOCTOR: Final = (
    "The links of the chain that `trustbind doctor` looks at, by number; [day-two.md](../day-two.md) shows it at work. "
    "What could not be seen is no finding.\n"
)
_GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "TB1": ("Workloads without their role", _DOCTOR),
    "TB2": ("Trust policies and objects", _TRUST_POLICIES),
}
_EFFECTS: Final = {rule.code: rule.severity.value for rule in RULES}


def findings() -> str:
    """Return findings.md."""
    parts = [
        (
            "# Findings\n\nEach thing that a command can find has a code and a name, the same in text, in JSON and "
            "here. A code keeps its meaning for ever.\n\n| severity | meaning |\n| --- | --- |\n"
            "| error | Something does not work, or AWS refuses it. |\n"
            "| warning | Something works, and probably not as its author wants. |\n"
            "| info | Good to know. |\n"
        )
    ]
    for prefix, (title, intro) in _GROUPS.items():
        parts.append(f"## {title}\n\n{intro}")
        for kind in (each for each in FINDINGS if each.code.startswith(prefix)):
            effect = f", {_EFFECTS[kind.code]}" if kind.code in _EFFECTS else ""
            source = f"\n- Source: {kind.source}" if kind.source else ""
            parts.append(
                f"### {kind.code} {kind.name}\n\n{kind.what}\n\n- Severity: {kind.severity}{effect}\n"
                f"- Remedy: {kind.remedy}{source}\n"
            )
    return "\n".join(parts)


# --- all of it --------------------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Return name to content of every page."""
    return {
        "annotations.md": keys(),
        "cli.md": cli(),
        "conditions.md": conditions(),
        "custom-resources.md": custom_resources(),
        "findings.md": findings(),
        "metrics.md": metrics(),
        "settings-operator.md": settings(operator_settings.Settings, "operator", "operator"),
        "settings-webhook.md": settings(webhook_settings.Settings, "webhook", "webhook"),
    }


BY_HAND = frozenset({"alerts.md", "drift.md", "evaluate.md", "permissions.md"})
"""Pages that stand beside the made ones. They are held to the truth by tests: permissions.md by
tests/cluster/test_rbac.py, alerts.md by tests/chart/test_alerts.py, drift.md by tests/cluster/test_operator_drift.py,
and evaluate.md by tests/core/evaluation/test_page.py."""


def main(arguments: Iterable[str]) -> int:
    """Write the pages, or with ``--check`` say which differ; return the exit code."""
    given = list(arguments)
    if given not in ([], ["--check"]):
        sys.stderr.write("usage: python tools/reference.py [--check]\n")
        return 2
    made = pages()
    TARGET.mkdir(parents=True, exist_ok=True)
    stale = {path.name: None for path in TARGET.glob("*.md") if path.name not in made and path.name not in BY_HAND}
    code = 0
    for name, content in sorted((made | stale).items()):
        path, text = TARGET / name, None if content is None else f"{NOTE}\n\n{content}"
        if text == (path.read_text(encoding="utf-8") if path.exists() else None):
            continue
        what = path.relative_to(ROOT)
        if given:
            sys.stdout.write(f"{what} {'should not be there' if text is None else 'differs'}\n")
            code = 1
        elif text is None:
            path.unlink()
            sys.stdout.write(f"{what} removed\n")
        else:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{what} written\n")
    if code:
        sys.stdout.write("run: python tools/reference.py\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
