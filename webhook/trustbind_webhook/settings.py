"""The webhook's settings: read once, from a YAML file and the environment, and frozen.

Names and order are those of the chart's ``values.yaml``. A variable is the path of a setting in capitals, such as
``TRUSTBIND_WEBHOOK_SERVER__METRICS_PORT`` for ``server.metricsPort``, and wins over the file.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trustbind import identities, manifests
from trustbind.annotations import (
    DEFAULT_EXPIRATION_SECONDS,
    DEFAULT_PREFIX,
    MAX_EXPIRATION_SECONDS,
    MIN_EXPIRATION_SECONDS,
    clamp_expiration,
)
from trustbind.errors import ManifestError, TrustbindError
from trustbind_webhook.decision import DEFAULT_MOUNT_PATH, InjectionSettings

__all__ = [
    "ENV_PREFIX",
    "Injection",
    "Log",
    "LookupSettings",
    "Server",
    "Settings",
    "SettingsError",
    "load",
]

ENV_PREFIX: Final = "TRUSTBIND_WEBHOOK_"

_SERVICE_LINK = re.compile(
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)", re.ASCII
)
"""What the kubelet adds to a pod's environment for a Service named trustbind-webhook (Kubernetes documentation,
"Accessing Services", environment variables): they begin like ours, and are none of ours."""

_SUBDOMAIN = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII
)  # RFC 1123, as Kubernetes asks of the prefix of a label's or annotation's key
_MAX_SUBDOMAIN: Final = 253
_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,3}-[0-9]{1,2}", re.ASCII)
_CLUSTER = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)  # STS API reference, RoleSessionName

_T = TypeVar("_T", str, int)


class SettingsError(TrustbindError):
    """The settings cannot be used; ``str()`` of it has one sentence a line, each naming its setting."""


def _checked(check: Callable[[_T], bool], sentence: str) -> AfterValidator:
    """Return a validator that refuses, with ``sentence``, what does not pass ``check``."""

    def validate(value: _T) -> _T:
        if not check(value):
            raise ValueError(f"{value!r} {sentence}")
        return value

    return AfterValidator(validate)


def _is_mount_path(path: str) -> bool:
    return path.startswith("/") and path.strip("/") != "" and ":" not in path and ".." not in path.split("/")


def _paths(value: object) -> object:
    if isinstance(value, str):
        return tuple(path for part in value.split(",") if (path := part.strip()))
    if not isinstance(value, list | tuple):
        raise ValueError("a list of paths is needed")  # noqa: TRY004 - pydantic translates ValueError only
    return value


_Port = Annotated[int, Field(ge=0, le=65535)]
_Prefix = Annotated[
    str,
    _checked(
        lambda text: len(text) <= _MAX_SUBDOMAIN and bool(_SUBDOMAIN.fullmatch(text)),
        "is not a DNS name such as eks.amazonaws.com, without a slash",
    ),
]
_Expiration = Annotated[
    int,
    _checked(
        lambda seconds: clamp_expiration(seconds) == seconds,
        f"is outside of {MIN_EXPIRATION_SECONDS} to {MAX_EXPIRATION_SECONDS} seconds",
    ),
]
_MountPath = Annotated[str, _checked(_is_mount_path, "is not an absolute path below /, without a colon and without ..")]
_Region = Annotated[
    str, _checked(lambda text: not text or bool(_REGION.fullmatch(text)), "is not a region, such as eu-central-1")
]
_Cluster = Annotated[
    str,
    _checked(
        lambda text: not text or bool(_CLUSTER.fullmatch(text)),
        "does not fit into a session name: 1 to 64 letters, digits or characters of +=,.@_-",
    ),
]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Server(_Section):
    """Where the webhook listens, with which certificate, and how it stops."""

    host: str = ""
    """Address to listen on for admission. Default: every address, IPv4 and IPv6, since a pod has whatever the
    cluster gives it."""
    port: _Port = 8443
    """TCP port for admission. Default 8443: above 1024, so that no capability is needed. 0: any free one."""
    metrics_host: str = ""
    """Address to serve metrics on. Default: every address, since Prometheus comes from elsewhere."""
    metrics_port: _Port = 9443
    """TCP port for metrics, plain HTTP. Default 9443: apart from admission, so that a network policy can tell them
    apart. 0: any free one."""
    cert_file: str = "/etc/trustbind/tls/tls.crt"
    """PEM file with the serving certificate and what it was signed by. Default: where the chart mounts its Secret."""
    key_file: str = "/etc/trustbind/tls/tls.key"
    """PEM file with the certificate's private key, not encrypted. Default: where the chart mounts its Secret."""
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    """Seconds to keep serving after SIGTERM. Default 5: endpoints leave the Service's routing within a second or two
    on a healthy cluster, and the API server keeps connections of its own."""
    grace_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """Seconds after that for requests in flight. Default 10: no admission waits longer than the webhook's own
    timeout, and with drainSeconds it stays below the pod's default grace period of 30."""
    reload_seconds: Annotated[float, Field(ge=0.05, le=3600)] = 10.0
    """Seconds between two looks at the certificate's files. Default 10: renewals come days before the end, and the
    kubelet itself takes up to a minute or two to write a changed Secret."""


class Injection(_Section):
    """What pods get, cluster-wide; see `trustbind_webhook.decision.InjectionSettings`."""

    annotation_prefix: _Prefix = DEFAULT_PREFIX
    """DNS name in front of the annotations' keys. Default eks.amazonaws.com: what EKS workloads have already."""
    audience: Annotated[str, AfterValidator(identities.audience_of)] = identities.DEFAULT_AUDIENCE
    """Audience of tokens. Default sts.amazonaws.com: what SDKs and IAM's OIDC providers are set up with."""
    mount_path: _MountPath = DEFAULT_MOUNT_PATH
    """Absolute path of the token's folder in containers. Default: the EKS webhook's, which some images expect."""
    token_expiration_seconds: _Expiration = DEFAULT_EXPIRATION_SECONDS
    """Life of tokens in seconds, 600 to 86400. Default 86400, as on EKS; the kubelet renews at 80 % of it."""
    region: _Region = ""
    """AWS region for SDKs that are not told one. Default: none, since a cluster may serve many."""
    sts_regional_endpoints: bool = False
    """Whether to inject AWS_STS_REGIONAL_ENDPOINTS=regional without an annotation. Default false: today's SDKs call
    regional endpoints anyway."""
    cluster: _Cluster = ""
    """Name of the cluster, for session names. Default: none."""


class LookupSettings(_Section):
    """How the webhook learns of service accounts and bindings."""

    source: Literal["cluster", "files"] = "cluster"
    """``cluster``: the API server. ``files``: manifests, for demonstrations and local development. Default cluster."""
    manifests: Annotated[tuple[str, ...], BeforeValidator(_paths)] = ()
    """Files or folders with ServiceAccounts and RoleBindings, with source ``files``; in a variable separated by
    commas. Default: none."""
    kubeconfig: str = ""
    """Kubeconfig file to reach the API server with. Default: the pod's own account when there is one, else what
    kubectl would use."""
    timeout_seconds: Annotated[float, Field(gt=0, le=9)] = 2.0
    """Seconds for one live read of an account. Default 2: the API server waits at most 10 for a webhook, and a pod
    without credentials beats no pod."""
    rate_per_second: Annotated[float, Field(gt=0, le=10000)] = 50.0
    """Live reads a second, in the long run. Default 50: far above what new accounts cause, and little to an API
    server."""
    burst: Annotated[int, Field(ge=1, le=100000)] = 100
    """Live reads at once. Default 100: one Helm release or namespace restored from a backup."""
    page_size: Annotated[int, Field(ge=1, le=10000)] = 500
    """Objects in one page of a list. Default 500, as kubectl: keeps memory and the API server's work flat."""

    @model_validator(mode="after")
    def _files_need_manifests(self) -> Self:
        if self.source == "files" and not self.manifests:
            raise ValueError("source files needs at least one path in manifests")
        return self


class Log(_Section):
    """What is logged, to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written. Default info: every injection; debug adds the pods that are none of ours."""
    format: Literal["json", "console"] = "json"
    """``json``: one object a line, for collectors; ``console``: for people. Default json."""


class Settings(BaseSettings):
    """All of them."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
    )

    server: Server = Server()
    injection: Injection = Injection()
    lookup: LookupSettings = LookupSettings()
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

    def injection_settings(self) -> InjectionSettings:
        """Return what `trustbind_webhook.decision` takes."""
        return InjectionSettings(**self.injection.model_dump())


def load(file: str | None = None) -> Settings:
    """Return the settings from ``file``, if any, and the environment.

    Raises:
        SettingsError: unreadable file, unknown name or unusable value; one sentence a line.
    """
    problems = [*_unknown_variables(os.environ)]
    values = _read(Path(file)) if file else {}
    named = _python_names(values, Settings, file or "", "", problems)
    if problems:
        raise SettingsError("\n".join(problems))
    try:
        return Settings(**named)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(e["loc"], e["type"], e["msg"], file) for e in error.errors())) from None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: the settings cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: the settings are not UTF-8 text") from None
    try:
        found = [value for _, value in manifests.documents(text, str(path)) if value is not None]
    except ManifestError as error:
        raise SettingsError(str(error)) from None
    if not found:
        return {}
    if len(found) > 1 or not isinstance(found[0], dict):
        raise SettingsError(f"{path}: one mapping of settings is needed, such as 'server: {{port: 8443}}'")
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


def _variables() -> set[str]:
    """Return the names of all variables."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        f"{ENV_PREFIX}{name}__{setting}".upper()
        for name, section in sections.items()
        if isinstance(section, type) and issubclass(section, BaseModel)
        for setting in section.model_fields
    }


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = _variables()
    return [
        f"{name}: there is no such setting{_guess(name, known)}"
        for name in sorted(environment)
        if name.upper().startswith(ENV_PREFIX)
        and name.upper() not in known
        and not _SERVICE_LINK.fullmatch(name.upper().removeprefix(ENV_PREFIX))
    ]


def _guess(name: str, known: Mapping[str, str] | set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(location: tuple[int | str, ...], kind: str, message: str, file: str | None) -> str:
    """Return one of pydantic's errors as a sentence that names the setting where the user wrote it."""
    names = [part for part in location if isinstance(part, str)]
    variable = ENV_PREFIX + "__".join(names).upper()
    if any(name.upper() == variable for name in os.environ):
        where = variable
    else:
        where = ".".join(_camel(name) for name in names)
        where = f"{file}: {where}" if file else where
    problem = message.removeprefix("Value error, ")
    if kind != "value_error":
        problem = problem[:1].lower() + problem[1:]
    return f"{where}: {problem}"
