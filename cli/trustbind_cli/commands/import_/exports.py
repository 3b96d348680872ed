"""What the AWS command line prints about roles, read from files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from trustbind.errors import InvalidValueError, ManifestError
from trustbind.identity.arns import RoleArn
from trustbind.policy.role_permissions import RolePermissions
from trustbind.policy.trust_document import raw_policy
from trustbind_cli.files.manifests import read_policy
from trustbind_cli.files.sources import bytes_of

__all__ = ["ExportedRole", "read_export", "read_named_policy", "without_repeats"]

_MAX_BYTES: Final = 1024 * 1024 * 1024
"""An export of 10,000 roles has some 100 MB."""

_MORE: Final = "aws iam get-account-authorization-details --filter Role --output json"


@dataclass(frozen=True, slots=True)
class ExportedRole:
    """A role and its trust policy, which is not parsed yet.

    Attributes:
        source: where it was read, such as the file's name.
        arn: as it is written there.
        policy: the text of its trust policy, plain or URL-encoded.
        permissions: its other policies; None: not known.
    """

    source: str
    arn: str
    policy: str
    permissions: RolePermissions | None = None


class _Inline(msgspec.Struct, frozen=True):
    PolicyName: str = ""
    PolicyDocument: msgspec.Raw = msgspec.Raw()


class _Attached(msgspec.Struct, frozen=True):
    PolicyArn: str = ""


class _Boundary(msgspec.Struct, frozen=True):
    PermissionsBoundaryArn: str = ""


class _Role(msgspec.Struct, frozen=True):
    Arn: str
    AssumeRolePolicyDocument: msgspec.Raw
    RolePolicyList: list[_Inline] | None = None
    AttachedManagedPolicies: list[_Attached] | None = None
    PermissionsBoundary: _Boundary | None = None


class _Version(msgspec.Struct, frozen=True):
    Document: msgspec.Raw = msgspec.Raw()
    IsDefaultVersion: bool = False


class _Managed(msgspec.Struct, frozen=True):
    Arn: str = ""
    PolicyVersionList: list[_Version] = []


class _Export(msgspec.Struct, frozen=True):
    Policies: list[_Managed] | None = None
    RoleDetailList: list[_Role] | None = None
    Roles: list[_Role] | None = None
    Role: _Role | None = None
    UserDetailList: msgspec.Raw = msgspec.Raw()
    Statement: msgspec.Raw = msgspec.Raw()
    IsTruncated: bool = False
    NextToken: str | None = None


def read_export(name: str) -> list[ExportedRole]:
    """Return the roles in the output of get-account-authorization-details, list-roles or get-role.

    Args:
        name: of the file; ``-`` is standard input.

    Raises:
        ManifestError: the file cannot be read, is something else, is not whole, or is about several AWS accounts.
    """
    data = bytes_of(name, _MAX_BYTES).removeprefix(b"\xef\xbb\xbf")
    try:
        export = msgspec.json.decode(data, type=_Export)
    except msgspec.ValidationError as error:
        raise ManifestError(name, 0, f"not an export of roles: {error}; make it with '{_MORE}'") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(name, 0, f"not JSON, or the export was cut off: {error}") from None
    except RecursionError:
        raise ManifestError(name, 0, "not an export of roles: nested too deeply") from None
    listed = export.RoleDetailList if export.RoleDetailList is not None else export.Roles
    if listed is None and export.Role is not None:
        listed = [export.Role]
    if listed is None:
        raise ManifestError(name, 0, _what_instead(export))
    if export.IsTruncated or export.NextToken:
        raise ManifestError(
            name, 0, "holds only a part of the roles; export them again without --max-items and --no-paginate"
        )
    if not listed:
        raise ManifestError(name, 0, "holds no role")
    accounts = sorted({role.Arn.split(":")[4] for role in listed if role.Arn.count(":") > 4})  # noqa: PLR2004 - an ARN
    if len(accounts) > 1:
        raise ManifestError(
            name, 0, f"holds roles of the AWS accounts {accounts[0]} and {accounts[1]}; give one file for each account"
        )
    managed = {each.Arn: policy for each in export.Policies or () if (policy := _default_version(each)) is not None}
    return [
        ExportedRole(name, role.Arn, _policy_text(role.AssumeRolePolicyDocument), _permissions(role, managed))
        for role in listed
    ]


def read_named_policy(text: str) -> ExportedRole:
    """Return the role in ``ARN=FILE``, whose file holds its trust policy or what ``aws iam get-role`` prints.

    Raises:
        InvalidValueError: there is no ARN of a role in front of ``=``.
        ManifestError: the file holds no trust policy, or that of another role.
    """
    arn, equals, name = text.rpartition("=")
    if not equals or not name:
        raise InvalidValueError(f"{text!r} is not ARN=FILE", field="--trust")
    try:
        role = RoleArn.parse(arn)
    except InvalidValueError as error:
        raise error.within("--trust") from None
    document = read_policy(name, role, option="--trust")
    return ExportedRole(name, str(role), document.text or document.to_json())


def without_repeats(roles: Iterable[ExportedRole]) -> Iterator[ExportedRole]:
    """Yield each role once.

    Raises:
        ManifestError: two files have different trust policies for one role.
    """
    seen: dict[str, ExportedRole] = {}
    for role in roles:
        first = seen.setdefault(role.arn, role)
        if first is role:
            yield role
        elif first.policy != role.policy:
            raise ManifestError(
                role.source, 0, f"{role.arn} has another trust policy than in {first.source}; leave out the older file"
            )


def _what_instead(export: _Export) -> str:
    if bytes(export.Statement):
        return "is a single policy; give it with --trust ARN=FILE, with the ARN of the role whose trust policy it is"
    if bytes(export.UserDetailList):
        return f"has no RoleDetailList; make it with '{_MORE}'"
    return f"is not an export of roles: it has no RoleDetailList, Roles or Role; make it with '{_MORE}'"


def _permissions(role: _Role, managed: Mapping[str, dict[str, Any]]) -> RolePermissions | None:
    """Return the policies of a role; None where the export does not have them, as that of list-roles.

    Args:
        role: the role.
        managed: the managed policies of the export, by ARN.
    """
    if role.RolePolicyList is None or role.AttachedManagedPolicies is None:
        return None
    inline = {each.PolicyName: _policy(each.PolicyDocument) for each in role.RolePolicyList}
    attached = {each.PolicyArn: managed.get(each.PolicyArn) for each in role.AttachedManagedPolicies}
    named = {name: policy for name, policy in (inline | attached).items() if policy is not None}
    boundary = role.PermissionsBoundary
    return RolePermissions(
        named,
        tuple(sorted((inline | attached).keys() - named.keys())),
        has_boundary=boundary is not None,
        boundary=managed.get(boundary.PermissionsBoundaryArn) if boundary is not None else None,
    )


def _default_version(managed: _Managed) -> dict[str, Any] | None:
    return next((_policy(each.Document) for each in managed.PolicyVersionList if each.IsDefaultVersion), None)


def _policy(raw: msgspec.Raw) -> dict[str, Any] | None:
    """Return a policy; None where it cannot be read."""
    try:
        policy = json.loads(raw_policy(_policy_text(raw)))
    except (InvalidValueError, ValueError, RecursionError):
        return None
    return policy if isinstance(policy, dict) else None


def _policy_text(raw: msgspec.Raw) -> str:
    """Return the text of a policy that an export holds as an object, or as a text in JSON."""
    text = bytes(raw).decode("utf-8", errors="replace")
    if not text.startswith('"'):
        return text
    decoded = json.loads(text)
    return decoded if isinstance(decoded, str) else text
