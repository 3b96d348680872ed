"""Texts of the command line as values: files, ARNs, URLs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeVar

from trustbind.api.annotations import DEFAULT_PREFIX, AnnotationKeys, clamp_expiration
from trustbind.api.manifests import Manifest
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind_cli.files import annotated, manifests, sources
from trustbind_cli.files.webhook_config import WebhookConfig
from trustbind_cli.terminal import note
from trustbind_webhook.injection.decision import InjectionSettings
from trustbind_webhook.lookup.eks_webhook_sources import Compatibility

__all__ = [
    "codes",
    "expiration",
    "issuer",
    "mount_path",
    "objects",
    "prefix",
    "read_manifests",
    "role",
    "role_name",
    "say_unplaced",
    "subject",
]

T = TypeVar("T", InjectionSettings, Compatibility)

_LISTED: Final = 3
"""So many objects are named in a sentence about several."""


def objects(
    files: list[str] | None, kustomizations: list[str] | None = None, *, recursive: bool = False
) -> manifests.Objects:
    """Return the objects of the files, and say which of them are not used.

    Args:
        files: ``-f``.
        kustomizations: ``-k``.
        recursive: ``-R``.

    Raises:
        InvalidValueError: no file is named, a name is a URL, or standard input is named twice.
        ManifestError: see `sources`, `manifests.read_manifests` and `manifests.sort_out`.
    """
    found = manifests.sort_out(read_manifests(files, kustomizations, recursive=recursive))
    for hint, described in _by_hint(found.ignored).items():
        more = f" and {len(described) - _LISTED} more" if len(described) > _LISTED else ""
        verb = "is" if len(described) == 1 else "are"
        note(f"{', '.join(described[:_LISTED])}{more} {verb} ignored: {hint}")
    return found


def read_manifests(
    files: list[str] | None, kustomizations: list[str] | None = None, *, recursive: bool = False
) -> list[Manifest]:
    """Return the manifests of the files, as `objects` reads them.

    Args:
        files: ``-f``.
        kustomizations: ``-k``.
        recursive: ``-R``.

    Raises:
        InvalidValueError: no file is named, a name is a URL, or standard input is named twice.
        ManifestError: see `sources` and `manifests.read_manifests`.
    """
    names = files or []
    if not names and not kustomizations:
        raise InvalidValueError("give files or folders with -f, or a kustomization with -k", field="-f")
    if names.count(sources.STANDARD_INPUT) > 1:
        raise InvalidValueError("standard input can be read only once", field="-f")
    read = manifests.read_manifests(sources.files_of(names, recursive=recursive))
    for folder in kustomizations or ():
        read += manifests.manifests_in(sources.kustomized(folder), folder)
    return read


def codes(texts: list[str]) -> frozenset[str]:
    """Return the codes of findings that ``--skip`` gives.

    Raises:
        InvalidValueError: no finding has one of them.
    """
    from trustbind.findings import BY_CODE  # noqa: PLC0415 - imports every check

    for text in texts:
        if text not in BY_CODE:
            raise InvalidValueError(f"no finding has the code {text!r}, such as TB219", field="--skip")
    return frozenset(texts)


def bound(
    objects: manifests.Objects, prefix: str, also: list[RoleArn], *, bind: bool
) -> tuple[manifests.Objects, tuple[str, ...]]:
    """Return the objects with what their annotated service accounts ask for, and say what gets no binding.

    Args:
        objects: of the files.
        prefix: of the annotations.
        also: the roles of ``--role-arn``.
        bind: ``--bind-annotated``; else the service accounts are only counted.

    Raises:
        InvalidValueError: there is no binding, and no ``--role-arn``.
    """
    keys = AnnotationKeys.under(prefix)
    problems: tuple[str, ...] = ()
    hint = ""
    if bind:
        objects, problems = annotated.with_annotated(objects, keys)
        for problem in problems:
            note(f"trustbind: {problem}")
    elif asking := annotated.annotated(objects, keys):
        which = f"{asking[0].describe()} is" if len(asking) == 1 else f"{len(asking)} ServiceAccounts are"
        hint = f"{which} annotated with a role, and counted as bound with --bind-annotated only"
    if not objects.bindings and not also:
        nothing = "there is no RoleBinding in the files, and no --role-arn is given"
        raise InvalidValueError("; ".join(filter(None, (nothing, hint))))
    if hint:
        note(hint)
    say_unplaced(objects)
    return objects, problems


def webhook_config(name: str | None) -> WebhookConfig:
    """Return ``--webhook-config``, or how a webhook without settings behaves.

    Raises:
        ManifestError: see `webhook_settings.read_webhook_config`.
        SettingsError: a setting is wrong.
    """
    if name is None:
        return WebhookConfig()
    from trustbind_cli.files.webhook_settings import read_webhook_config  # noqa: PLC0415 - pydantic takes long to load

    return read_webhook_config(name)


def replaced(values: T, **options: Any) -> T:
    """Return the values with those options that are given, which are not None."""
    return replace(values, **{name: value for name, value in options.items() if value is not None})


def say_unplaced(found: manifests.Objects) -> None:
    """Say which objects lack a namespace that matters."""
    if found.unplaced:
        note(f"no metadata.namespace, so {manifests.DEFAULT_NAMESPACE} is taken: {', '.join(found.unplaced)}")


def _by_hint(ignored: list[tuple[str, str]]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for described, hint in ignored:
        result.setdefault(hint, []).append(described)
    return result


def role(text: str, option: str = "--role-arn") -> RoleArn:
    """Return the role that an option gives.

    Raises:
        InvalidValueError: it is no role's ARN.
    """
    try:
        return RoleArn.parse(text)
    except InvalidValueError as error:
        raise error.within(option) from None


def role_name(text: str, option: str) -> str:
    """Return the name of a role, which an option gives.

    Raises:
        InvalidValueError: no role can have it.
    """
    try:
        return RoleArn.parse(f"arn:aws:iam::000000000000:role/{text}").name
    except InvalidValueError as error:
        raise InvalidValueError(f"{text!r} is not the name of a role", field=option) from error


def issuer(text: str, option: str = "--issuer") -> Issuer:
    """Return an issuer that an option gives.

    Raises:
        InvalidValueError: it is no issuer's URL.
    """
    try:
        return Issuer.parse(text)
    except InvalidValueError as error:
        raise error.within(option) from None


def subject(text: str, option: str) -> Subject:
    """Return the service account in ``NAMESPACE/NAME`` that an option gives.

    Raises:
        InvalidValueError: it is none.
    """
    namespace, slash, name = text.partition("/")
    if not slash:
        raise InvalidValueError(f"{text!r} is not NAMESPACE/NAME of a service account", field=option)
    try:
        return Subject.of(namespace, name)
    except InvalidValueError as error:
        raise error.within(option) from None


def prefix(text: str) -> str:
    """Return ``--annotation-prefix``.

    Raises:
        InvalidValueError: it is no prefix.
    """
    if not text or text.endswith("/") or any(c.isspace() for c in text):
        raise InvalidValueError(f"{text!r} is not a prefix, such as {DEFAULT_PREFIX}", field="--annotation-prefix")
    return text


def mount_path(text: str) -> str:
    """Return ``--token-mount-path``.

    Raises:
        InvalidValueError: it is no absolute path.
    """
    if not text.startswith("/") or ":" in text:
        raise InvalidValueError(f"{text!r} is not an absolute path in a container", field="--token-mount-path")
    return text


def expiration(seconds: int) -> int:
    """Return ``--token-expiration`` within its bounds, in seconds, and say when it was not."""
    clamped = clamp_expiration(seconds)
    if clamped != seconds:
        note(f"--token-expiration: {seconds} is out of range, so {clamped} is used")
    return clamped
