"""The roles of each service account, each with a profile of its own, grouped into bindings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.role_binding import DEFAULT_PROFILE, MAX_CHARACTERS
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.migration.service_accounts import ServiceAccounts

__all__ = ["MAX_NAMES", "ImportedBinding", "Use", "bindings_of", "chunks"]

MAX_NAMES: Final = 50
"""Service accounts of one binding."""

_MAX_PROFILE: Final = 60  # a profile has at most 64 characters, and some are for a number
_MAX_NAME: Final = 200  # an object's name has at most 253 characters
_NOT_IN_PROFILE = re.compile(r"[^A-Za-z0-9_.-]")
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Use:
    """One way in which a service account gets a role.

    Attributes:
        role: the role.
        audience: of the tokens.
        conditions: further ones.
        source: the role over which it gets there; None where the role trusts tokens.
        external_id: that the source role has to send; empty: none.
    """

    role: RoleArn
    audience: str
    conditions: tuple[ExtraCondition, ...] = ()
    source: RoleArn | None = None
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class ImportedBinding:
    """A binding that the import makes.

    Attributes:
        namespace: of the binding.
        name: unique in its namespace.
        use: what it gives.
        profile: under which.
        service_accounts: their names, sorted.
    """

    namespace: str
    name: str
    use: Use
    profile: str
    service_accounts: tuple[str, ...]


def bindings_of(
    uses: Mapping[Subject, Collection[Use]],
    accounts: ServiceAccounts,
    taken_profiles: Mapping[Subject, Collection[str]],
    taken_names: Iterable[tuple[str, str]],
) -> list[ImportedBinding]:
    """Return the bindings that give service accounts what they use.

    Args:
        uses: of each service account.
        accounts: the service accounts with their annotations.
        taken_profiles: profiles that other bindings have for a service account.
        taken_names: namespace and name of other bindings.
    """
    members: dict[tuple[str, Use, str], list[str]] = {}
    for subject in sorted(uses):
        annotated = accounts.role_of(subject)
        is_annotated = bool(accounts.annotations.get(subject, "").strip())
        profiles = _profiles(uses[subject], annotated, taken_profiles.get(subject, ()), is_annotated=is_annotated)
        for use, profile in profiles.items():
            members.setdefault((subject.namespace, use, profile), []).append(subject.name)
    names = set(taken_names)
    found: list[ImportedBinding] = []
    for (namespace, use, profile), listed in sorted(members.items(), key=_order):
        for part in chunks(listed, MAX_NAMES, MAX_CHARACTERS):
            readable = _NOT_IN_NAME.sub("-", use.role.name.lower()).strip("-")[:_MAX_NAME] or "role"
            name = next(n for n in _numbered(readable) if (namespace, n) not in names)
            names.add((namespace, name))
            found.append(ImportedBinding(namespace, name, use, profile, tuple(part)))
    return found


def chunks(texts: Iterable[str], most: int, characters: int) -> Iterator[list[str]]:
    """Yield the texts in lists of at most so many texts and characters."""
    part: list[str] = []
    size = 0
    for text in texts:
        if part and (len(part) == most or size + len(text) > characters):
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def _profiles(
    uses: Collection[Use], annotated: RoleArn | None, taken: Collection[str], *, is_annotated: bool
) -> dict[Use, str]:
    """Return the profile of each use.

    The default profile is for the role of the annotation, which has it in any case. Without an annotation, it is for
    the only role; which of several it should be, no trust policy says.
    """
    profiles: dict[Use, str] = {}
    used = set(taken)
    for use in sorted(uses, key=_use_order):
        is_default = (use.role == annotated and use.source is None) if is_annotated else len(uses) == 1
        if is_default and DEFAULT_PROFILE not in used:
            profile = DEFAULT_PROFILE
        else:
            readable = _NOT_IN_PROFILE.sub("-", use.role.name)[:_MAX_PROFILE]
            profile = next(p for p in _numbered(readable) if p not in used and p != DEFAULT_PROFILE)
        used.add(profile)
        profiles[use] = profile
    return profiles


def _order(member: tuple[tuple[str, Use, str], list[str]]) -> tuple[object, ...]:
    (namespace, use, profile), _ = member
    return (namespace, _use_order(use), profile)


def _use_order(use: Use) -> tuple[object, ...]:
    """Sort by what a binding says, those over a source role last."""
    return (use.source is not None, use.role, use.audience, use.conditions, str(use.source or ""), use.external_id)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
