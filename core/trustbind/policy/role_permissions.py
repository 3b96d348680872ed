"""Whether a role's own policies let it assume another role.

Source: IAM User Guide, "Policy evaluation logic" and "Permissions boundaries for IAM entities": an explicit deny wins;
else an identity policy has to allow the call, and the permissions boundary, if there is one, too. Policies of the
organization and of the session are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.evaluation.actions import check_action
from trustbind.evaluation.three_valued import Truth, as_texts
from trustbind.evaluation.wildcards import glob_matches
from trustbind.identity.arns import RoleArn

__all__ = ["Permission", "RolePermissions", "may_assume"]

_ASSUME: Final = "sts:AssumeRole"

Policy = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RolePermissions:
    """The policies of a role besides its trust policy.

    Attributes:
        policies: the inline and the attached policies, by name.
        missing: names of attached policies that could not be read.
        has_boundary: whether the role has a permissions boundary.
        boundary: that; None: none, or it could not be read.
    """

    policies: Mapping[str, Policy]
    missing: tuple[str, ...] = ()
    has_boundary: bool = False
    boundary: Policy | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """What the policies of a role say to one call.

    Attributes:
        truth: yes, no, or it depends on what is not known here.
        is_denied: whether a policy denies the call explicitly, which no trust policy outweighs.
        message: why, for a person.
    """

    truth: Truth
    is_denied: bool
    message: str


def may_assume(source: RoleArn, permissions: RolePermissions | None, target: RoleArn) -> Permission:
    """Return whether the policies of a role let its sessions assume another role.

    Args:
        source: the role.
        permissions: its policies; None: not known.
        target: the other role.
    """
    call = f"{_ASSUME} on {target}"
    if permissions is None:
        return Permission(Truth.DEPENDS, is_denied=False, message=f"the policies of {source} have to allow {call}")
    named = dict(permissions.policies)
    if permissions.boundary is not None:
        named["the permissions boundary"] = permissions.boundary
    denials = {name: _match(policy, "Deny", target) for name, policy in named.items()}
    for name, truth in denials.items():
        if truth is Truth.YES:
            return Permission(Truth.NO, is_denied=True, message=f"policy {name} of {source} denies {call}")
    allows = max((_match(policy, "Allow", target) for policy in permissions.policies.values()), default=Truth.NO)
    if allows is Truth.NO and permissions.missing:
        missing = ", ".join(permissions.missing)
        message = f"policy {missing} of {source}, which was not found, has to allow {call}"
        return Permission(Truth.DEPENDS, is_denied=False, message=message)
    if permissions.has_boundary:
        boundary = permissions.boundary
        allows = min(allows, Truth.DEPENDS if boundary is None else _match(boundary, "Allow", target))
    if allows is Truth.NO:
        return Permission(Truth.NO, is_denied=False, message=f"no policy of {source} allows {call}")
    if allows is Truth.YES and not permissions.missing and Truth.DEPENDS not in denials.values():
        return Permission(Truth.YES, is_denied=False, message="")
    message = f"the policies of {source} have to allow {call}, which depends on what is not known here"
    return Permission(Truth.DEPENDS, is_denied=False, message=message)


def _match(policy: Policy, effect: str, target: RoleArn) -> Truth:
    """Return whether a statement with an effect covers the call: yes, no, or it depends."""
    found = (_covers(each, target) for each in _statements(policy) if each.get("Effect") == effect)
    return max(found, default=Truth.NO)


def _statements(policy: Policy) -> Iterator[Policy]:
    raw = policy.get("Statement")
    listed: Iterable[Any] = raw if isinstance(raw, list | tuple) else [raw]
    yield from (each for each in listed if isinstance(each, Mapping))


def _covers(statement: Policy, target: RoleArn) -> Truth:
    element = "NotAction" if "NotAction" in statement else "Action"
    action = check_action(element, statement.get(element), _ASSUME).truth
    truth = min(_known(action), _resource(statement, target))
    return min(truth, Truth.DEPENDS) if statement.get("Condition") else truth


def _resource(statement: Policy, target: RoleArn) -> Truth:
    element = "NotResource" if "NotResource" in statement else "Resource"
    texts = as_texts(statement.get(element))
    if texts is None or any("${" in text for text in texts):
        return Truth.DEPENDS
    truth = Truth.YES if any(glob_matches(text, str(target)) for text in texts) else Truth.NO
    return truth.negated() if element == "NotResource" else truth


def _known(truth: Truth) -> Truth:
    """Return the truth, where what is not understood counts as depending."""
    return Truth.DEPENDS if truth is Truth.UNKNOWN else truth
