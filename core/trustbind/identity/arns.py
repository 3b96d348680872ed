"""ARNs of IAM roles and OIDC providers, in every partition, with paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from trustbind.errors import InvalidValueError

__all__ = ["PARTITIONS", "ProviderArn", "RoleArn", "RoleName", "account_of"]

PARTITIONS: Final = (
    "aws",
    "aws-cn",
    "aws-us-gov",
    "aws-iso",
    "aws-iso-b",
    "aws-iso-e",
    "aws-iso-f",
    "aws-eusc",
)
"""The partitions that botocore's endpoint data names today. Others of the same form are accepted: AWS adds some."""

_PARTITION = re.compile(r"aws(?:-[a-z0-9]+){0,4}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)  # IAM API reference, CreateRole, RoleName
# IAM API reference, CreateRole, Path: at most 512 printable characters. IAM takes wildcards and "$" there, too. In a
# policy they would stand for other roles, so no role with one of them can be bound.
_ROLE_PATH = re.compile(r"/|/[!#%-)+->@-~]{1,510}/")

_ASSUMED = re.compile(r"arn:aws[a-z0-9-]*:sts::([0-9]{12}):assumed-role/([^/]+)/.*", re.ASCII)

_MAX_ARN: Final = 2048
"""Characters of any ARN (IAM API reference, arnType)."""
_ARN_PARTS: Final = 6  # arn:partition:service:region:account:resource
_SHOWN: Final = 120
_EXAMPLE: Final = "arn:aws:iam::123456789012:role/name"


@dataclass(frozen=True, slots=True, order=True)
class RoleArn:
    """The ARN of an IAM role.

    Attributes:
        partition: ``aws``, ``aws-cn``, ...
        account_id: 12 digits.
        path: begins and ends with ``/``; ``/`` alone for a role without a path.
        name: the bare name, which is what IAM's API takes.
    """

    partition: str
    account_id: str
    path: str
    name: str

    @classmethod
    def or_none(cls, text: str) -> RoleArn | None:
        """Return the role that ``text`` names; None where it names none."""
        try:
            return cls.parse(text)
        except InvalidValueError:
            return None

    @classmethod
    @lru_cache(maxsize=4096)  # a cluster has few roles and many pods
    def parse(cls, text: str) -> RoleArn:
        """Return the role that ``text`` names.

        Raises:
            InvalidValueError: it is not the ARN of an IAM role; the message says which part is wrong.
        """
        # Also so that what is remembered of 4,096 ARNs stays small.
        if len(text) > _MAX_ARN:
            raise InvalidValueError(f"{_quoted(text)} is not an ARN; an ARN has at most {_MAX_ARN} characters")
        parts = text.split(":", 5)
        if len(parts) != _ARN_PARTS or parts[0] != "arn":
            raise InvalidValueError(f"{_quoted(text)} is not an ARN; a role's looks like {_EXAMPLE}")
        _, partition, service, region, account, resource = parts
        if not _PARTITION.fullmatch(partition):
            raise InvalidValueError(
                f"{_quoted(text)} names the partition {partition!r}, which is none of AWS's ({', '.join(PARTITIONS)})"
            )
        if service == "iam" and region:
            raise InvalidValueError(f"{_quoted(text)} names the region {region!r}; IAM has none, so it is 'iam::'")
        if service != "iam":
            raise InvalidValueError(
                f"{_quoted(text)} is an ARN of another service, not of an IAM role; a role's looks like {_EXAMPLE}"
            )
        if not _ACCOUNT.fullmatch(account):
            raise InvalidValueError(f"{_quoted(text)} names the account {account!r}; an account id has 12 digits")
        kind, slash, rest = resource.partition("/")
        if kind != "role" or not slash:
            named = f"{'an' if kind[0] in 'aeio' else 'a'} {kind}" if kind not in {"", "role"} else "nothing"
            raise InvalidValueError(f"{_quoted(text)} names {named}, not a role; a role's looks like {_EXAMPLE}")
        head, _, name = rest.rpartition("/")
        path = f"/{head}/" if head or rest.startswith("/") else "/"
        if not _ROLE_NAME.fullmatch(name):
            raise InvalidValueError(
                f"{_quoted(text)} names the role {name!r}; "
                "a role's name has 1 to 64 letters, digits or characters of +=,.@_-"
            )
        if not _ROLE_PATH.fullmatch(path):
            raise InvalidValueError(
                f"{_quoted(text)} has a path that cannot be bound: at most 512 printable characters, without '*', '?', "
                "'$' and '\"'"
            )
        return cls(partition, account, path, name)

    def __str__(self) -> str:
        return f"arn:{self.partition}:iam::{self.account_id}:role{self.path}{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class RoleName:
    """An IAM role by AWS account and name, without its path: names are unique in an AWS account, whatever their path.

    IAM tells no two names apart by letter case (IAM User Guide, "IAM and AWS STS quotas"), so neither does this.

    Attributes:
        account_id: 12 digits.
        name: in lower case.
    """

    account_id: str
    name: str

    @classmethod
    def of(cls, role: RoleArn) -> RoleName:
        """Return the name of a role."""
        return cls(role.account_id, role.name.lower())

    @classmethod
    def of_caller(cls, arn: str) -> RoleName | None:
        """Return the role of a caller whose ARN ``sts:GetCallerIdentity`` gave; None for a user or the root."""
        match = _ASSUMED.fullmatch(arn)
        return cls(match[1], match[2].lower()) if match is not None else None


@dataclass(frozen=True, slots=True, order=True)
class ProviderArn:
    """The ARN of an IAM OIDC identity provider.

    Attributes:
        partition: ``aws``, ``aws-cn``, ...
        account_id: 12 digits.
        host_path: the issuer's host and path, without ``https://``.
    """

    partition: str
    account_id: str
    host_path: str

    @classmethod
    def parse(cls, text: str) -> ProviderArn:
        """Return the provider that ``text`` names.

        Raises:
            InvalidValueError: it is not the ARN of an OIDC provider.
        """
        parts = text.split(":", 5)
        if (
            len(parts) != _ARN_PARTS
            or parts[0] != "arn"
            or not _PARTITION.fullmatch(parts[1])
            or parts[2:4] != ["iam", ""]
            or not _ACCOUNT.fullmatch(parts[4])
            or not parts[5].startswith("oidc-provider/")
            or len(parts[5]) == len("oidc-provider/")
        ):
            raise InvalidValueError(
                f"{_quoted(text)} is not the ARN of an OIDC provider "
                "(arn:aws:iam::123456789012:oidc-provider/<issuer without https://>)"
            )
        return cls(parts[1], parts[4], parts[5].removeprefix("oidc-provider/"))

    def __str__(self) -> str:
        return f"arn:{self.partition}:iam::{self.account_id}:oidc-provider/{self.host_path}"


def account_of(text: str, *, field: str = "") -> str:
    """Return ``text`` when it is an account id.

    Raises:
        InvalidValueError: it has not exactly 12 digits.
    """
    if not _ACCOUNT.fullmatch(text):
        raise InvalidValueError(f"{_quoted(text)} is not an account id; one has 12 digits", field=field)
    return text


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")  # a message stays one readable line
