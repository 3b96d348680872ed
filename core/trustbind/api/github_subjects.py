"""Subjects of GitHub Actions' tokens, which have two forms.

- By names: ``repo:OWNER/REPO:...``. A name can be taken by another owner after a rename or a deletion.
- Immutable: ``repo:OWNER@<id>/REPO@<id>:...``. Ids are never used again. Repositories that were created, renamed or
  transferred since 15 July 2026 have it, others once they opted in; GitHub Enterprise Server does not have it.

No pattern with a fixed owner matches both. Source: GitHub Docs, "OpenID Connect reference", Immutable subject claims;
GitHub Changelog of 23 April 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from trustbind.identity.subjects import Issuer

__all__ = ["SubjectForm", "danger_of", "form_of", "is_github", "other_form"]

_ISSUER = re.compile(
    r"token\.actions\.(?:githubusercontent\.com(?:/[^/]+)?|[a-z0-9-]+\.ghe\.com)", re.ASCII
)  # an enterprise may have an issuer of its own (GitHub Docs, as above, Customizing the issuer value)
_WILDCARD = re.compile(r"[*?]")
_REPO: Final = "repo:"
_OWNERS = re.compile(r"(?:repository_owner|repository_owner_id|repository_id|enterprise|enterprise_id):[^:]+:")
"""What a subject of an organisation's own form may begin with that no stranger has (GitHub Docs, as above, Customizing
the subject claims)."""


class SubjectForm(StrEnum):
    """Which form a subject, or a pattern of subjects, has; each value completes "a subject ..."."""

    NAMES = "without ids"
    IMMUTABLE = "with ids"


def is_github(issuer: Issuer) -> bool:
    """Return whether an issuer is GitHub Actions'."""
    return _ISSUER.fullmatch(issuer.host_path) is not None


def form_of(pattern: str) -> SubjectForm | None:
    """Return the form of the subjects that a pattern matches; None where it may be either, or is another one."""
    if not pattern.startswith(_REPO):
        return None
    owner, slash, _ = _fixed(pattern).removeprefix(_REPO).partition("/")
    if "@" in owner:
        return SubjectForm.IMMUTABLE
    return SubjectForm.NAMES if slash else None


def danger_of(pattern: str) -> str:
    """Return why strangers can have a subject that a pattern matches; empty when they cannot.

    Args:
        pattern: one that does not begin with a wildcard.
    """
    fixed = _fixed(pattern)
    if fixed == pattern or "/" in fixed or _OWNERS.match(fixed):
        return ""
    if form_of(pattern) is SubjectForm.IMMUTABLE:
        owner = _owner(pattern)
        return (
            f"{pattern} has a wildcard in the owner's id, so repositories of the next owner of the name {owner} "
            f"after a rename or a deletion match; write the id out, as in repo:{owner}@<owner id>/*"
        )
    return (
        f"{pattern} has a wildcard before the repository's owner ends, so repositories of strangers match; "
        "write the owner out, as in repo:example-org@<owner id>/* or repo:example-org/*"
    )


def other_form(pattern: str, granted: Iterable[str]) -> str:
    """Return a clause about a granted pattern that has the same owner and the other form; empty for none.

    Args:
        pattern: what no granted pattern covers.
        granted: the patterns of a grant.
    """
    form = form_of(pattern)
    near = next((g for g in granted if form is not None and _is_other(g, form) and _owner(g) == _owner(pattern)), "")
    if not near:
        return ""
    owner = _fixed(pattern).removeprefix(_REPO).partition("/")[0]
    return (
        f" (it has {near} for subjects {form_of(near)}, and this one is {form}: its spec would need a pattern such as "
        f"repo:{owner}/*)"
    )


def _is_other(pattern: str, form: SubjectForm) -> bool:
    return form_of(pattern) not in {form, None}


def _fixed(pattern: str) -> str:
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def _owner(pattern: str) -> str:
    """Return the owner's name, as far as it is fixed."""
    return re.split("[@/]", _fixed(pattern).removeprefix(_REPO), maxsplit=1)[0]
