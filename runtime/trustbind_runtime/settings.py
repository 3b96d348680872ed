"""Settings of a process: read once, from a YAML file and the environment, and frozen.

Names and order are those of the chart's ``values.yaml``. A variable is the path of a setting in capitals behind the
process's prefix, such as ``TRUSTBIND_WEBHOOK_SERVER__METRICS_PORT`` for ``server.metricsPort``, and wins over the file.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trustbind.api import manifests
from trustbind.api.label_selector import LabelSelector, parse_selector
from trustbind.errors import InvalidValueError, ManifestError, TrustbindError

__all__ = [
    "Log",
    "Port",
    "ProcessSettings",
    "Section",
    "Selector",
    "SettingsError",
    "checked",
    "load",
    "read_selector",
    "settings_config",
]

_SERVICE_LINK = re.compile(
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)", re.ASCII
)
"""What the kubelet adds to a pod's environment for a Service named as the prefix, such as trustbind-webhook (Kubernetes
documentation, "Accessing Services", environment variables): they begin like ours, and are none of ours."""

_MAX_GUESSED: Final = 100
"""Characters of a name for which a similar setting is looked up."""

_T = TypeVar("_T", str, int)
_S = TypeVar("_S", bound="ProcessSettings")


class SettingsError(TrustbindError):
    """The settings cannot be used; ``str()`` of it has one sentence a line, each naming its setting."""


def checked(check: Callable[[_T], bool], sentence: str) -> AfterValidator:
    """Return a validator that refuses, with ``sentence``, what does not pass ``check``."""

    def validate(value: _T) -> _T:
        if not check(value):
            raise ValueError(f"{value!r} {sentence}")
        return value

    return AfterValidator(validate)


Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 means any free one."""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _selector_text(value: Any) -> Any:
    """Return a selector that a variable holds as text; YAML, as in a file."""
    if not isinstance(value, str):
        return value
    try:
        return next((each for _, each in manifests.documents(value, "the variable")), None) or {}
    except ManifestError as error:
        raise ValueError(str(error)) from None


def _checked_selector(value: dict[str, Any]) -> dict[str, Any]:
    read_selector(value)
    return value


def read_selector(value: Mapping[str, Any]) -> LabelSelector | None:
    """Return a setting of type `Selector` as a selector; None for the empty one, which means: not given.

    Raises:
        ValueError: it is none; says why.
    """
    try:
        return parse_selector(value)
    except InvalidValueError as error:
        raise ValueError(str(error)) from None


Selector = Annotated[
    dict[str, Any],
    BeforeValidator(_selector_text),
    AfterValidator(_checked_selector),
    WithJsonSchema({"type": "object", "format": "labelSelector"}),
]
"""A label selector, as Kubernetes has it: matchLabels and matchExpressions."""


class Section(BaseModel):
    """A part of the settings; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Log(Section):
    """What is logged, to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written. Default info: every injection; debug adds the pods that are none of ours."""
    format: Literal["json", "console"] = "json"
    """``json``: one object a line, for collectors; ``console``: for people. Default json."""


def settings_config(prefix: str) -> SettingsConfigDict:
    """Return the configuration of a process's settings.

    Args:
        prefix: of its environment variables.
    """
    return SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=prefix, env_nested_delimiter="__", enable_decoding=False
    )


class ProcessSettings(BaseSettings):
    """Base of a process's settings: sections of sections, and the log."""

    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, strongest first: the environment, then what `load` read from the file."""
        return env_settings, init_settings


def load(kind: type[_S], file: str | None = None, *, text: str | None = None) -> _S:
    """Return the settings from ``file``, if any, and the environment.

    Args:
        kind: whose settings.
        file: YAML.
        text: of the file, where it was read already.

    Raises:
        SettingsError: unreadable file, unknown name or unusable value; one sentence a line.
    """
    problems = [*_unknown_variables(kind, os.environ)]
    values = _mapping(_read(Path(file)) if text is None else text, file) if file else {}
    named = _python_names(values, kind, file or "", "", problems)
    if problems:
        raise SettingsError("\n".join(problems))
    try:
        return kind(**named)
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_sentence(kind, e["loc"], e["type"], e["msg"], file) for e in error.errors())
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: the settings cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: the settings are not UTF-8 text") from None


def _mapping(text: str, file: str) -> Mapping[str, Any]:
    try:
        found = [value for _, value in manifests.documents(text, file) if value is not None]
    except ManifestError as error:
        raise SettingsError(str(error)) from None
    if not found:
        return {}
    if len(found) > 1 or not isinstance(found[0], dict):
        raise SettingsError(f"{file}: one mapping of settings is needed, such as 'server: {{port: 8443}}'")
    return found[0]


def _python_names(
    values: Mapping[str, Any], model: type[BaseModel], file: str, at: str, problems: list[str]
) -> dict[str, Any]:
    """Return ``values`` under the fields' own names; what has no field becomes a problem."""
    names = {_camel(name): name for name in model.model_fields}
    result: dict[str, Any] = {}
    for key, value in values.items():
        where = f"{at}{key}"
        if key not in names:
            problems.append(f"{file}: {where}: there is no such setting{_guess(key, names)}")
            continue
        section = model.model_fields[names[key]].annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            if value is None:
                continue
            if not isinstance(value, dict):
                problems.append(f"{file}: {where}: a mapping of settings is needed")
                continue
            value = _python_names(value, section, file, f"{where}.", problems)  # noqa: PLW2901 - same value, renamed
        elif value is None:
            continue  # an empty value in YAML means "as if it were not there"
        result[names[key]] = value
    return result


def _variables(kind: type[ProcessSettings]) -> set[str]:
    """Return the names of all variables."""
    sections = {name: field.annotation for name, field in kind.model_fields.items()}
    return {
        f"{_prefix(kind)}{name}__{setting}".upper()
        for name, section in sections.items()
        if isinstance(section, type) and issubclass(section, BaseModel)
        for setting in section.model_fields
    }


def _unknown_variables(kind: type[ProcessSettings], environment: Mapping[str, str]) -> list[str]:
    known = _variables(kind)
    prefix = _prefix(kind)
    return [
        f"{name}: there is no such setting{_guess(name, known)}"
        for name in sorted(environment)
        if name.upper().startswith(prefix)
        and name.upper() not in known
        and not _SERVICE_LINK.fullmatch(name.upper().removeprefix(prefix))
    ]


def _guess(name: str, known: Mapping[str, str] | set[str]) -> str:
    # Comparing takes the square of the length.
    close = difflib.get_close_matches(name, sorted(known), n=1) if len(name) <= _MAX_GUESSED else []
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(
    kind_of: type[ProcessSettings], location: tuple[int | str, ...], kind: str, message: str, file: str | None
) -> str:
    """Return one of pydantic's errors as a sentence that names the setting where the user wrote it."""
    names = [part for part in location if isinstance(part, str)]
    variable = _prefix(kind_of) + "__".join(names).upper()
    if any(name.upper() == variable for name in os.environ):
        where = variable
    else:
        # A rule between sections belongs to none of them; its sentence names the settings.
        path = ".".join(_camel(name) for name in names)
        where = ": ".join(part for part in (file, path) if part)
    problem = message.removeprefix("Value error, ")
    if kind != "value_error":
        problem = problem[:1].lower() + problem[1:]
    return f"{where}: {problem}" if where else problem


def _prefix(kind: type[ProcessSettings]) -> str:
    return str(kind.model_config.get("env_prefix", ""))
