"""Identities of other issuers than the cluster's own: ``spec.federatedSubjects`` of bindings and of grants.

A subject of another issuer has no form that we know, so it is taken as IAM takes it: a pattern over the token's ``sub``
claim, in which ``*`` stands for any characters and ``?`` for one (IAM User Guide, "IAM JSON policy elements: Condition
operators", StringLike).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from trustbind.api.extra_conditions import ExtraCondition, RawCondition, conditions_of
from trustbind.api.github_subjects import danger_of, is_github, other_form
from trustbind.api.strict import Strict, check_size
from trustbind.errors import InvalidValueError
from trustbind.evaluation.wildcards import glob_covers
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, audience_of
from trustbind.policy.condition_keys import bare_key, is_key_of, issuer_prefix

__all__ = [
    "FederatedSubjects",
    "RawConditionedSubjects",
    "RawFederatedSubjects",
    "federated_of",
    "is_one_issuer",
    "place_of",
    "raw_conditions",
    "too_wide",
    "uncovered",
]

_MAX_SUBJECT: Final = 255
"""Characters of ``sub`` (OpenID Connect Core 1.0, section 2, ID Token)."""
_MAX_SUBJECTS: Final = 100
"""Of all entries of an object."""
_MAX_CHARACTERS: Final = 8192
"""Of all entries of an object: what a trust policy has room for where the quota was raised as far as it goes."""
_SUBJECT = re.compile(rf"[ -~]{{1,{_MAX_SUBJECT}}}")
_WILDCARDS: Final = "*?"
_LOWER_CASE_HOST = re.compile(r"https://[a-z0-9.-]+(?:/.*)?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class FederatedSubjects:
    """Who of another issuer is let in; in a grant, who may be.

    Attributes:
        issuer: the ``iss`` claim of their tokens.
        audience: the ``aud`` claim.
        subjects: patterns over the ``sub`` claim, sorted.
        conditions: further ones, of this issuer's statement alone, sorted; a grant has none.
    """

    issuer: Issuer
    audience: str
    subjects: tuple[str, ...]
    conditions: tuple[ExtraCondition, ...] = ()


class RawFederatedSubjects(Strict, frozen=True):
    """As it is in a manifest of a grant."""

    issuer: str
    subjects: Annotated[list[str], Meta(min_length=1, max_length=20)]
    audience: str = DEFAULT_AUDIENCE


class RawConditionedSubjects(RawFederatedSubjects, frozen=True):
    """As it is in a manifest of a binding."""

    conditions: Annotated[list[RawCondition], Meta(max_length=10)] | None = None


def federated_of(raw: Sequence[RawFederatedSubjects] | None, *, field: str) -> tuple[FederatedSubjects, ...]:
    """Return the entries, sorted.

    Args:
        raw: as they stand there; None for none.
        field: where.

    Raises:
        InvalidValueError: with the field and what must hold there.
    """
    result: dict[tuple[str, str], FederatedSubjects] = {}
    if sum(len(entry.subjects) for entry in raw or ()) > _MAX_SUBJECTS:
        raise InvalidValueError(f"has more than {_MAX_SUBJECTS} subjects in all", field=field)
    check_size((text for e in raw or () for text in (e.issuer, e.audience, *e.subjects)), _MAX_CHARACTERS, field=field)
    for index, entry in enumerate(raw or ()):
        where = f"{field}[{index}]"
        issuer = _issuer(entry.issuer, f"{where}.issuer")
        audience = audience_of(entry.audience, field=f"{where}.audience")
        if (issuer.url, audience) in result:
            raise InvalidValueError(
                f"{issuer} with audience {audience} stands twice; put the subjects into one entry", field=where
            )
        conditions = _conditions(raw_conditions(entry), issuer, f"{where}.conditions")
        result[issuer.url, audience] = FederatedSubjects(issuer, audience, _subjects(entry.subjects, where), conditions)
    return tuple(sorted(result.values()))


def raw_conditions(entry: RawFederatedSubjects) -> list[RawCondition]:
    """Return the further conditions of an entry; a grant's has none."""
    return (entry.conditions or []) if isinstance(entry, RawConditionedSubjects) else []


def place_of(index: int) -> str:
    """Return the place of an entry of a binding."""
    return f"spec.federatedSubjects[{index}]"


def is_one_issuer(one: Issuer, other: Issuer) -> bool:
    """Return whether IAM might take the two for the same issuer.

    Names of condition keys do not depend on case (IAM User Guide, "IAM JSON policy elements: Condition").
    """
    return one.url.rstrip("/").casefold() == other.url.rstrip("/").casefold()


def uncovered(wanted: Iterable[FederatedSubjects], granted: Iterable[FederatedSubjects]) -> str:
    """Return the first subject that ``granted`` does not cover, with its issuer; empty when it covers them all.

    A pattern is covered when another one of the same issuer and audience matches everything that it matches. Of the
    two forms of GitHub's subjects, one does not cover the other; the sentence then says which form is granted.
    """
    allowed = list(granted)
    for entry in wanted:
        patterns = [
            pattern
            for grant in allowed
            if (grant.issuer, grant.audience) == (entry.issuer, entry.audience)
            for pattern in grant.subjects
        ]
        for subject in entry.subjects:
            if not any(glob_covers(pattern, subject) for pattern in patterns):
                told = f"the federated subject {subject} of {entry.issuer} with audience {entry.audience}"
                return told + (other_form(subject, patterns) if is_github(entry.issuer) else "")
    return ""


def too_wide(entries: Iterable[FederatedSubjects]) -> list[str]:
    """Return what is dangerous about patterns that are allowed all the same: a sentence for each."""
    found: list[str] = []
    for entry in entries:
        for subject in entry.subjects:
            fixed = re.split("[*?]", subject, maxsplit=1)[0]
            if fixed == subject:
                continue
            if not fixed:
                found.append(f"{subject} begins with a wildcard, so whoever chooses the beginning of a subject matches")
            elif is_github(entry.issuer) and (danger := danger_of(subject)):
                found.append(danger)
    return found


def _issuer(text: str, field: str) -> Issuer:
    try:
        what = "the URL" if "://" in text else "https:// in front"
        issuer = Issuer.parse(text, advice=f"write {what}, as the token's iss has it")
    except InvalidValueError as error:
        raise error.within(field) from None
    if not _LOWER_CASE_HOST.fullmatch(text):
        raise InvalidValueError(f"{text!r} has capitals in its host name; write it as tokens have it", field=field)
    return issuer


def _conditions(raw: list[RawCondition], issuer: Issuer, field: str) -> tuple[ExtraCondition, ...]:
    """Return the further conditions of an entry, whose keys belong to no issuer or to the entry's, sorted."""
    conditions = conditions_of(raw, field=field)
    stated = {issuer.audience_key.casefold(): "audience", issuer.subject_key.casefold(): "subjects"}
    for index, condition in enumerate(conditions):
        key = condition.key
        if (place := stated.get(key.casefold())) is not None:
            problem = f"{key} is not possible: the statement states it itself; write {place} of the entry"
        elif issuer_prefix(key) and not is_key_of(bare_key(key), issuer):
            problem = (
                f"{key} is not a key of {issuer}, so none of its tokens would ever match; write it in the conditions "
                "of its own issuer's entry, for the cluster's issuer in spec.conditions"
            )
        elif issuer_prefix(key) and not key.casefold().startswith(f"{issuer.host_path}:".casefold()):
            problem = f"{key} is not a condition key of {issuer}; write {issuer.host_path}:{key.rpartition(':')[2]}"
        else:
            continue
        raise InvalidValueError(problem, field=f"{field}[{index}].key")
    return tuple(sorted(conditions))


def _subjects(raw: list[str], where: str) -> tuple[str, ...]:
    for index, subject in enumerate(raw):
        field = f"{where}.subjects[{index}]"
        if not _SUBJECT.fullmatch(subject):
            raise InvalidValueError(
                f"{subject[:60]!r} is not a pattern of subjects: 1 to {_MAX_SUBJECT} printable ASCII characters",
                field=field,
            )
        if not subject.strip(_WILDCARDS):
            raise InvalidValueError("a pattern of wildcards alone would let in everybody of that issuer", field=field)
        if "${" in subject:
            raise InvalidValueError("${ begins a policy variable, which is not possible here", field=field)
        if subject in raw[:index]:
            raise InvalidValueError(f"{subject!r} stands twice", field=field)
    return tuple(sorted(raw))
