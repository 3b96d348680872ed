"""Roles: names, paths, durations, inline policies, lists."""

from __future__ import annotations

from typing import Final

from aws_probes.catalog.calls import ACCOUNT_ROOT, allow, create_role, document, get_role, name_of, role_arn
from aws_probes.lab import PATH
from aws_probes.model import Call, Probe

__all__ = ["PROBES"]

_TRUST: Final = document(allow({"AWS": ACCOUNT_ROOT}))
_INVALID: Final = "ValidationError"
_FOLDER: Final = f"{PATH}@{{run}}/"
"""A path of the run's own, since lists show the roles of a path."""


def _inline(characters: int) -> dict[str, object]:
    """Return a permissions policy of so many characters."""
    return {
        "$sized": {
            "document": document(
                {"Effect": "Allow", "Action": ["iam:GetUser"], "Resource": "arn:aws:iam::*:user/@{fill}"}
            ),
            "characters": characters,
        }
    }


def _put(name: str, policy: object, label: str, assumes: str = "") -> Call:
    parameters = {"RoleName": name_of("subject"), "PolicyName": name, "PolicyDocument": policy}
    return Call(label, "iam:PutRolePolicy", parameters, assumes=assumes)


def _created(label: str, assumes: str, **parameters: object) -> Call:
    sent = {"RoleName": name_of("limits"), "Path": PATH, "AssumeRolePolicyDocument": _TRUST, **parameters}
    return Call(label, "iam:CreateRole", sent, assumes=assumes)


PROBES: Final = (
    Probe(
        "role-limits",
        "A role's name has up to 64 characters of a fixed set, its path up to 512, its sessions last 3,600 to 43,200 "
        "seconds. Source: IAM API reference, CreateRole",
        (
            _created("a name of 65 characters", _INVALID, RoleName=name_of("x" * 65)),
            _created("a name with a space", _INVALID, RoleName=name_of("a b")),
            _created("a path without a slash at its end", _INVALID, Path=f"{PATH}team"),
            _created("a path of more than 512 characters", _INVALID, Path=f"{PATH}{'x' * 512}/"),
            _created("sessions of 3,599 s", _INVALID, MaxSessionDuration=3599),
            _created("sessions of 43,201 s", _INVALID, MaxSessionDuration=43_201),
            _created("sessions of 43,200 s", "", MaxSessionDuration=43_200),
            _created("a name that is taken", "EntityAlreadyExists"),
            _created("a name that is taken in another path", "EntityAlreadyExists", Path=f"{PATH}other/"),
        ),
    ),
    Probe(
        "role-absent",
        "Calls on a role that does not exist answer NoSuchEntity. Source: IAM API reference, UpdateAssumeRolePolicy",
        (
            Call("read", "iam:GetRole", {"RoleName": name_of("absent")}, assumes="NoSuchEntity"),
            Call(
                "write",
                "iam:UpdateAssumeRolePolicy",
                {"RoleName": name_of("absent"), "PolicyDocument": _TRUST},
                assumes="NoSuchEntity",
            ),
            Call("delete", "iam:DeleteRole", {"RoleName": name_of("absent")}, assumes="NoSuchEntity"),
            Call(
                "delete an inline policy",
                "iam:DeleteRolePolicy",
                {"RoleName": name_of("absent"), "PolicyName": "assume"},
                assumes="NoSuchEntity",
            ),
        ),
    ),
    Probe(
        "role-inline-policies",
        "All inline policies of a role share 10,240 characters. A role with one is not deleted. Source: IAM User "
        'Guide, "IAM and AWS STS quotas"; IAM API reference, DeleteRole',
        (
            create_role("subject", _TRUST),
            _put("one", _inline(10_240), "10,240 characters"),
            _put("two", _inline(200), "200 more", assumes="LimitExceeded"),
            _put("one", _inline(5_000), "5,000 in place of them"),
            _put("two", _inline(5_240), "5,240 more"),
            Call("delete the role", "iam:DeleteRole", {"RoleName": name_of("subject")}, assumes="DeleteConflict"),
        ),
    ),
    Probe(
        "role-list",
        "ListRoles returns each role's trust policy, honours PathPrefix, takes up to 1,000 as MaxItems, and shows "
        "neither tags nor last use. Source: IAM API reference, ListRoles",
        (
            create_role("listed", _TRUST, path=_FOLDER),
            create_role("deep", _TRUST, path=f"{_FOLDER}deep/"),
            create_role("other", _TRUST),
            Call(
                "of a path",
                "iam:ListRoles",
                {"PathPrefix": f"{PATH}@{{run}}/", "MaxItems": 1000},
                shows={
                    "Roles.#": 2,
                    "Roles.0.AssumeRolePolicyDocument": _TRUST,
                    "Roles.0.Tags": None,
                    "Roles.0.RoleLastUsed": None,
                },
                settles=True,
            ),
            Call(
                "of a deeper path",
                "iam:ListRoles",
                {"PathPrefix": f"{_FOLDER}deep/"},
                shows={"Roles.#": 1, "Roles.0.Arn": role_arn("deep", f"{_FOLDER}deep/")},
                settles=True,
            ),
            Call(
                "one a page",
                "iam:ListRoles",
                {"PathPrefix": _FOLDER, "MaxItems": 1},
                shows={"Roles.#": 1, "IsTruncated": True, "Marker.?": True},
                settles=True,
            ),
            Call("1,001 a page", "iam:ListRoles", {"PathPrefix": _FOLDER, "MaxItems": 1001}, assumes=_INVALID),
            get_role("listed", "read", {"Role.Path": _FOLDER, "Role.Tags.?": True}),
        ),
    ),
)
