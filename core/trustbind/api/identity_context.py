"""How claims of the cluster's tokens become context of every call of a session, on an AWS account's OIDC provider.

Source: IAM API reference, ContextProvider and ContextProviderKeyDefinition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from trustbind.api.strict import Strict
from trustbind.errors import InvalidValueError

__all__ = ["ContextKey", "IdentityContext", "RawIdentityContext", "identity_context_of"]

_KEY = re.compile(r"[A-Za-z0-9_.:/=+@#-]+(?: [A-Za-z0-9_.:/=+@#-]+)*", re.ASCII)
_MAX_KEY: Final = 128
_MAX_KEYS: Final = 10


@dataclass(frozen=True, slots=True, order=True)
class ContextKey:
    """One claim that becomes a context key.

    Attributes:
        source: the claim.
        target: the context key; empty: AWS names it.
    """

    source: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class IdentityContext:
    """What an OIDC provider makes of the claims of tokens.

    Attributes:
        subject: the claim that is the subject.
        type_value: what kind of subject that is, such as ``workload``; empty: not said.
        type_source: the claim that says so; empty: none.
        keys: further claims, sorted.
    """

    subject: str
    type_value: str = ""
    type_source: str = ""
    keys: tuple[ContextKey, ...] = ()

    def is_met_by(self, present: IdentityContext | None) -> bool:
        """Return whether a provider has this; what AWS named itself counts as met."""
        if present is None or len(present.keys) != len(self.keys):
            return False
        named = {key.source: key.target for key in self.keys}
        keys = tuple(ContextKey(k.source, k.target if named.get(k.source) else "") for k in present.keys)
        return self == IdentityContext(present.subject, present.type_value, present.type_source, tuple(sorted(keys)))


class _Key(Strict, frozen=True):
    source_key: str
    target_key: str | None = None


class RawIdentityContext(Strict, frozen=True):
    """The fields as they are written."""

    subject_source_key: str
    subject_type_value: Annotated[str, Meta(min_length=1, max_length=_MAX_KEY)] | None = None
    subject_type_source_key: str | None = None
    key_definitions: Annotated[list[_Key], Meta(max_length=_MAX_KEYS)] | None = None


def identity_context_of(raw: RawIdentityContext | None, *, field: str) -> IdentityContext | None:
    """Return what was written; None for nothing.

    Raises:
        InvalidValueError: with the field and what must hold there.
    """
    if raw is None:
        return None
    if raw.subject_type_value is not None and raw.subject_type_source_key is not None:
        raise InvalidValueError("not supported together with subjectTypeValue", field=f"{field}.subjectTypeSourceKey")
    _check(raw.subject_source_key, f"{field}.subjectSourceKey")
    if raw.subject_type_source_key is not None:
        _check(raw.subject_type_source_key, f"{field}.subjectTypeSourceKey")
    keys: list[ContextKey] = []
    for index, key in enumerate(raw.key_definitions or ()):
        place = f"{field}.keyDefinitions[{index}]"
        _check(key.source_key, f"{place}.sourceKey")
        if key.target_key is not None:
            _check(key.target_key, f"{place}.targetKey")
        if any(key.source_key == other.source for other in keys):
            raise InvalidValueError(f"{key.source_key!r} stands twice", field=f"{place}.sourceKey")
        keys.append(ContextKey(key.source_key, key.target_key or ""))
    return IdentityContext(
        raw.subject_source_key, raw.subject_type_value or "", raw.subject_type_source_key or "", tuple(sorted(keys))
    )


def _check(text: str, field: str) -> None:
    if len(text) > _MAX_KEY or not _KEY.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not a key: 1 to {_MAX_KEY} letters, digits, single spaces or characters of _.:/=+-@#",
            field=field,
        )
