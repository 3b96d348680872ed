"""Annotations of service accounts and pods: keys, precedence and bounds.

The first family is what the EKS pod identity webhook reads, under a prefix that can be set. ``trustbind.dev/inject``
is our own. Values are text that people typed, so each is read leniently where the meaning is plain, falls back one
level where it is not, and the fall-back is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from trustbind.api.labels import INJECT, SESSION_NAME
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import audience_of

__all__ = [
    "DEFAULT_EXPIRATION_SECONDS",
    "DEFAULT_PREFIX",
    "MAX_EXPIRATION_SECONDS",
    "MIN_EXPIRATION_SECONDS",
    "AnnotationKeys",
    "audience",
    "clamp_expiration",
    "inject",
    "is_opted_out",
    "skip_containers",
    "switch",
    "token_expiration",
]

DEFAULT_PREFIX: Final = "eks.amazonaws.com"

MIN_EXPIRATION_SECONDS: Final = 600
"""The API server's own minimum for projected tokens (Kubernetes documentation,
"Service account token volume projection")."""

MAX_EXPIRATION_SECONDS: Final = 86400
"""EKS refuses longer tokens, and so do we everywhere."""

DEFAULT_EXPIRATION_SECONDS: Final = 86400
"""As in the EKS webhook."""

MAX_VALUE_CHARACTERS: Final = 2048
"""Of an annotation of a service account; the longest that is valid, the ARN of a role, has 640."""

_SHOWN: Final = 60
"""Characters that are kept of a longer one."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(frozen=True, slots=True)
class AnnotationKeys:
    """The annotation keys under one prefix."""

    role_arn: str
    audience: str
    sts_regional_endpoints: str
    token_expiration: str
    skip_containers: str

    @classmethod
    def under(cls, prefix: str) -> AnnotationKeys:
        """Return the keys below ``prefix``, which has no slash at its end."""
        return cls(
            f"{prefix}/role-arn",
            f"{prefix}/audience",
            f"{prefix}/sts-regional-endpoints",
            f"{prefix}/token-expiration",
            f"{prefix}/skip-containers",
        )


def of_service_accounts(keys: AnnotationKeys) -> tuple[str, ...]:
    """Return the annotations of service accounts that are read."""
    return (keys.role_arn, keys.audience, keys.sts_regional_endpoints, keys.token_expiration, INJECT, SESSION_NAME)


def kept(annotations: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """Return the annotations under ``keys``; of a value that is longer than any that is valid, only the beginning.

    An object may have 256 KiB of annotations, and both halves keep those of all service accounts.
    """
    return {key: _kept_value(annotations[key]) for key in keys if key in annotations}


def _kept_value(text: str) -> str:
    if len(text) <= MAX_VALUE_CHARACTERS:
        return text
    value = text.strip()
    if len(value) <= MAX_VALUE_CHARACTERS:
        return value
    return f"{value[:_SHOWN]}... ({len(value)} characters)"  # valid for nothing, as the whole


def is_opted_out(annotations: Mapping[str, str]) -> bool:
    """Return whether ``trustbind.dev/inject`` says false."""
    return annotations.get(INJECT, "").strip() in _FALSE


def inject(annotations: Mapping[str, str]) -> str:
    """Return the finding about a ``trustbind.dev/inject`` that says nothing; empty when it is absent or plain."""
    text = annotations.get(INJECT)
    if text is None or text.strip() in _TRUE | _FALSE:
        return ""
    return f'annotation {INJECT} is {text[:40]!r}, which is neither "true" nor "false"; it is ignored'


def clamp_expiration(seconds: int) -> int:
    """Return ``seconds`` brought into 600 to 86,400."""
    return max(MIN_EXPIRATION_SECONDS, min(MAX_EXPIRATION_SECONDS, seconds))


def token_expiration(annotations: Mapping[str, str], key: str) -> tuple[int | None, str]:
    """Return the seconds under ``key``, clamped, and a finding.

    Returns:
        ``(None, "")`` when the key is absent; ``(None, finding)`` when the value cannot be read, so that the next
        level decides; ``(seconds, finding)`` when it was clamped; ``(seconds, "")`` otherwise.
    """
    text = annotations.get(key)
    if text is None:
        return None, ""
    digits = text.strip()  # int() takes off less than strip() does
    if not _INTEGER.fullmatch(digits):
        return None, f"annotation {key} is {text[:40]!r}, which is not a number of seconds; it is ignored"
    seconds = int(digits)
    clamped = clamp_expiration(seconds)
    if clamped != seconds:
        return clamped, (
            f"annotation {key} is {seconds}; tokens live {MIN_EXPIRATION_SECONDS} to {MAX_EXPIRATION_SECONDS} "
            f"seconds, so {clamped} is used"
        )
    return seconds, ""


def switch(annotations: Mapping[str, str], key: str) -> tuple[bool | None, str]:
    """Return the switch under ``key`` and a finding; ``None`` when absent or unreadable."""
    text = annotations.get(key)
    if text is None:
        return None, ""
    value = text.strip()
    if value in _TRUE:
        return True, ""
    if value in _FALSE:
        return False, ""
    return None, f'annotation {key} is {text[:40]!r}, which is neither "true" nor "false"; it is ignored'


def audience(annotations: Mapping[str, str], key: str) -> tuple[str | None, str]:
    """Return the audience under ``key`` and a finding; ``None`` when absent or not usable."""
    text = annotations.get(key)
    if text is None:
        return None, ""
    try:
        return audience_of(text.strip()), ""
    except InvalidValueError as error:
        return None, f"annotation {key}: {error.problem}; it is ignored"


def skip_containers(annotations: Mapping[str, str], key: str) -> frozenset[str]:
    """Return the container names under ``key``: separated by commas or lines, trimmed, quotes of CSV taken off."""
    text = annotations.get(key, "").replace("\n", ",")
    return frozenset(name for part in text.split(",") if (name := part.strip().strip('"').strip()))
