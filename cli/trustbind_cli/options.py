"""What stands on the command line, as values: files, ARNs, URLs."""

from __future__ import annotations

from trustbind.api.annotations import DEFAULT_PREFIX, clamp_expiration
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind_cli.files import manifests
from trustbind_cli.output import note

__all__ = ["expiration", "issuer", "mount_path", "objects", "prefix", "role"]


def objects(files: list[str]) -> manifests.Objects:
    """Return the objects of the files, and say which of them play no part.

    Raises:
        InvalidValueError: standard input is named twice.
        ManifestError: see `manifests.read_manifests` and `manifests.sort_out`.
    """
    if files.count("-") > 1:
        raise InvalidValueError("standard input can be read only once", field="-f")
    found = manifests.sort_out(manifests.read_manifests(files))
    for described, hint in found.ignored:
        note(f"{described} is ignored: {hint}")
    if found.unplaced:
        note(f"no metadata.namespace, so {manifests.DEFAULT_NAMESPACE} is taken: {', '.join(found.unplaced)}")
    return found


def role(text: str) -> RoleArn:
    """Return ``--role-arn``.

    Raises:
        InvalidValueError: it is no role's ARN.
    """
    try:
        return RoleArn.parse(text)
    except InvalidValueError as error:
        raise error.within("--role-arn") from None


def issuer(text: str) -> Issuer:
    """Return ``--issuer``.

    Raises:
        InvalidValueError: it is no issuer's URL.
    """
    try:
        return Issuer.parse(text)
    except InvalidValueError as error:
        raise error.within("--issuer") from None


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
