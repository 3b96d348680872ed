"""Who a token speaks for (subject), who signed it (issuer), and whom it is meant for (audience)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import ProviderArn, RoleArn

__all__ = [
    "DEFAULT_AUDIENCE",
    "DEFAULT_SERVICE_ACCOUNT",
    "Issuer",
    "Subject",
    "audience_of",
    "is_namespace",
    "is_object_name",
]

DEFAULT_AUDIENCE: Final = "sts.amazonaws.com"
"""What AWS's SDKs and the EKS webhook use, in every partition including China."""

DEFAULT_SERVICE_ACCOUNT: Final = "default"
"""The account of a pod that names none (Kubernetes documentation, "Configure Service Accounts for Pods")."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)  # RFC 1123 label: namespaces
_SUBDOMAIN = re.compile(
    r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII
)  # RFC 1123 subdomain: service accounts
_SUBJECT_PARTS: Final = 4  # system:serviceaccount:<namespace>:<name>
_MAX_SUBDOMAIN: Final = 253
_MAX_ISSUER: Final = 255  # IAM API reference, CreateOpenIDConnectProvider, Url
_MAX_AUDIENCE: Final = 255  # IAM API reference, CreateOpenIDConnectProvider, ClientIDList
_AUDIENCE = re.compile(rf"[!-~]{{1,{_MAX_AUDIENCE}}}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
_OF_THE_CLUSTER: Final = "read the cluster's with 'kubectl get --raw /.well-known/openid-configuration'"
_DUAL_STACK = re.compile(r"oidc-eks\.([a-z0-9-]+)\.api\.aws", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """A service account as a token names it: ``system:serviceaccount:<namespace>:<name>``."""

    namespace: str
    name: str

    @classmethod
    def of(cls, namespace: str, name: str) -> Subject:
        """Return the subject after checking both names.

        Raises:
            InvalidValueError: a name that Kubernetes would not allow.
        """
        if not is_namespace(namespace):
            raise InvalidValueError(
                f"{namespace!r} is not a namespace name (lower-case letters, digits and '-', at most 63)"
            )
        if not is_object_name(name):
            raise InvalidValueError(
                f"{name!r} is not a service account name (lower-case letters, digits, '-' and '.', at most 253)"
            )
        return cls(namespace, name)

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Return the account that a token's ``sub`` names.

        Raises:
            InvalidValueError: it is not the subject of a service account.
        """
        parts = text.split(":")
        if len(parts) != _SUBJECT_PARTS or parts[:2] != ["system", "serviceaccount"]:
            raise InvalidValueError(
                f"{text!r} is not the subject of a service account (system:serviceaccount:<namespace>:<name>)"
            )
        return cls.of(parts[2], parts[3])

    def __str__(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Issuer:
    """A cluster's service-account token issuer.

    Attributes:
        url: the ``iss`` claim, letter for letter.
    """

    url: str

    @classmethod
    def parse(cls, text: str, *, advice: str = _OF_THE_CLUSTER) -> Issuer:
        """Return the issuer with this URL.

        Args:
            text: the URL.
            advice: where it is to be found, told when ``text`` is no URL of the kind.

        Raises:
            InvalidValueError: IAM would not take it as an OIDC provider (IAM API reference,
                CreateOpenIDConnectProvider: https, at most 255 characters, no port, no query), or it is EKS's
                dual-stack host, which never appears in a token.
        """
        if not text.startswith("https://"):
            raise InvalidValueError(f"{text!r} is not an issuer URL: IAM takes only https:// URLs; {advice}")
        if len(text) > _MAX_ISSUER:
            raise InvalidValueError(f"the issuer URL has {len(text)} characters; IAM takes at most {_MAX_ISSUER}")
        if not text.isascii() or any(c.isspace() for c in text):
            raise InvalidValueError(f"{text!r} is not an issuer URL: it has white space or letters beyond ASCII")
        rest = text.removeprefix("https://")
        host = rest.partition("/")[0]
        if "?" in rest or "#" in rest:
            raise InvalidValueError(f"{text!r} has a query or a fragment, which IAM does not take in an issuer URL")
        if ":" in host:
            raise InvalidValueError(f"{text!r} names a port, which IAM does not take in an issuer URL")
        if not _HOST.fullmatch(host) or ".." in host or urlsplit(text).hostname is None:
            raise InvalidValueError(f"{text!r} is not an issuer URL: {host!r} is not a host name")
        if match := _DUAL_STACK.fullmatch(host):
            raise InvalidValueError(
                f"{text!r} is EKS's dual-stack address, which no token names; "
                f"use https://oidc.eks.{match[1]}.amazonaws.com/id/<id>"
            )
        return cls(text)

    @property
    def host_path(self) -> str:
        """Host and path without ``https://``: the prefix of IAM's condition keys."""
        return self.url.removeprefix("https://")

    @property
    def audience_key(self) -> str:
        """IAM's condition key for the token's audience."""
        return f"{self.host_path}:aud"

    @property
    def subject_key(self) -> str:
        """IAM's condition key for the token's subject."""
        return f"{self.host_path}:sub"

    def provider_for(self, role: RoleArn) -> ProviderArn:
        """Return this issuer's OIDC provider in the account that owns ``role``."""
        return ProviderArn(role.partition, role.account_id, self.host_path)

    def __str__(self) -> str:
        return self.url


def is_namespace(text: str) -> bool:
    """Return whether a namespace can have this name (RFC 1123 label)."""
    return _LABEL.fullmatch(text) is not None


def is_object_name(text: str) -> bool:
    """Return whether a service account, a pod or an object of ours can have this name (RFC 1123 subdomain)."""
    return len(text) <= _MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


def audience_of(text: str, *, field: str = "") -> str:
    """Return ``text`` when IAM takes it as a client id of a provider.

    Raises:
        InvalidValueError: empty, longer than 255 characters, or with white space.
    """
    if not _AUDIENCE.fullmatch(text):
        raise InvalidValueError(
            f"{text[:60]!r} is not an audience: 1 to {_MAX_AUDIENCE} ASCII characters without white space",
            field=field,
        )
    return text
