"""Which condition keys STS makes of the claims of an OIDC token.

Sources: IAM User Guide, "IAM and AWS STS condition context keys", Available keys for AWS OIDC federation (the default
claims, and those of single providers since February 2026); Service Authorization Reference, AWS STS (the names of the
providers' keys); IAM User Guide, "Pass session tags in AWS STS" (the tags claim, nested and flat) and "Monitor and
control actions taken with assumed roles" (the source identity claim). The roles claim is documented by its key alone,
``sts:RoleAuthorizedByIdp``; its name, its two forms and the refusal are from a public test of July 2026.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from trustbind.evaluation.model import Caller, PrincipalKind

__all__ = [
    "ROLES_CLAIM",
    "audiences_of",
    "claim_names",
    "decoded",
    "is_token",
    "issuer_of",
    "keys_of",
    "moment",
    "names_role",
    "prefix_of",
    "without_tokens",
]

ROLES_CLAIM: Final = "https://aws.amazon.com/roles"
_TAGS: Final = "https://aws.amazon.com/tags"
_FLAT_TAG: Final = f"{_TAGS}/principal_tags/"
_FLAT_TRANSITIVE: Final = f"{_TAGS}/transitive_tag_keys"
_SOURCE_IDENTITY: Final = "https://aws.amazon.com/source_identity"
_PROVIDER: Final = ":oidc-provider/"

_TOKEN: Final = re.compile(r"\bey[A-Za-z0-9_-]{12,}=*\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?", re.ASCII)
"""A JWT, or its beginning: the base64url of a brace with a quotation mark or white space, then a dot."""


_DEFAULT: Final = ("amr", "aud", "email", "oaud", "sub")
"""Of every issuer but those that are built into IAM."""

_GITHUB: Final = (
    *("actor", "actor_id", "enterprise_id", "environment", "job_workflow_ref", "ref", "repository", "repository_id"),
    *("repository_owner_id", "workflow"),
)
_BUILDKITE: Final = (
    *("build_branch", "cluster_id", "cluster_name", "organization_id", "organization_slug", "pipeline_id"),
    "pipeline_slug",
)
_GITLAB: Final = (
    *("namespace_id", "pipeline_source", "project_id", "ref_protected", "runner_environment", "user_access_level"),
    *("user_email", "user_id", "user_login"),
)


@dataclass(frozen=True, slots=True)
class _Provider:
    """A provider with claims of its own.

    Attributes:
        host_path: matches host and path of its issuers.
        claims: those that become keys, besides the default ones. A slash leads into an object, where there is no claim
            of the whole name.
        has_default: whether the default claims become keys, too.
        always: keys that every request of the provider has.
    """

    host_path: re.Pattern[str]
    claims: tuple[str, ...]
    has_default: bool = True
    always: tuple[str, ...] = ("sub", "aud")


def _like(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.IGNORECASE)


_PROVIDERS: Final = (
    _Provider(_like(r"token\.actions\.githubusercontent\.com(?:/.*)?"), _GITHUB),
    _Provider(_like(r"token\.actions\.[a-z0-9-]+\.ghe\.com"), _GITHUB),
    _Provider(_like(r"github\.com/enterprises/[^/]+"), _GITHUB),
    _Provider(_like(r"gitlab\.com"), _GITLAB),
    _Provider(_like(r"agent\.buildkite\.com|agent\.[a-z0-9-]+\.buildkite\.(?:dev|site)"), _BUILDKITE),
    _Provider(_like(r"oidc\.circleci\.com/org/[^/]+"), ("oidc.circleci.com/project-id",)),
    _Provider(_like(r"idcs-[a-z0-9-]+\.identity\.oraclecloud\.com"), ("rpst_id",)),
    _Provider(_like(r"accounts\.google\.com"), ("google/organization_number",)),
    _Provider(_like(r"cognito-identity\.amazonaws\.com"), ("amr", "aud", "sub"), has_default=False),
    _Provider(_like(r"graph\.facebook\.com"), ("app_id", "id"), has_default=False, always=("app_id", "id")),
    _Provider(_like(r"www\.amazon\.com"), ("app_id", "user_id"), has_default=False, always=("app_id", "user_id")),
)
_OTHER: Final = _Provider(_like(r".*"), ())


def prefix_of(caller: Caller) -> str:
    """Return host and path of the OIDC provider that calls, which prefix its keys; empty for any other caller."""
    if caller.kind is not PrincipalKind.FEDERATED or ":saml-provider/" in caller.identifier:
        return ""
    return caller.identifier.partition(_PROVIDER)[2] or caller.identifier


def issuer_of(claims: Mapping[str, Any]) -> str:
    """Return host and path of a token's issuer, which prefix its keys; empty where it names none."""
    issuer = claims.get("iss")
    return issuer.removeprefix("https://") if isinstance(issuer, str) else ""


def audiences_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the audience that STS compares: ``azp`` where it is set, else ``aud``; none where neither is a text."""
    return _texts(claims.get("azp")) or _texts(claims.get("aud"))


def decoded(part: str) -> dict[str, Any] | None:
    """Return the object in one part of a JWT (RFC 7515, section 7.1), header or claims; None where it holds none."""
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_token(text: str) -> bool:
    """Return whether a text looks like a JWT, which must not be shown."""
    return _TOKEN.match(text.strip()) is not None


def without_tokens(text: str) -> str:
    """Return the text with a word in place of each JWT, also of one that is cut off."""
    return _TOKEN.sub("<token>", text)


def claim_names(prefix: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of a provider whose token is not known: those that every request has, and those that some have.

    Args:
        prefix: host and path of the provider.
    """
    provider = _provider(prefix)
    every = tuple(f"{prefix}:{claim}" for claim in provider.always)
    some = tuple(f"{prefix}:{claim}" for claim in _claims(provider) if claim not in provider.always)
    return every, some


def moment(value: Any) -> datetime | None:
    """Return the moment that a NumericDate such as ``exp`` names (RFC 7519, section 2); None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def keys_of(claims: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the condition keys that STS makes of a token.

    Where ``azp`` is set it is the audience, and ``aud`` becomes the key ``oaud``. A claim that is null or an object
    makes no key. With a roles claim ``sts:RoleAuthorizedByIdp`` is true: of a role that is not in it, no trust policy
    is looked at (see `names_role`).
    """
    prefix = issuer_of(claims)
    keys: dict[str, tuple[str, ...]] = {}
    for claim in _claims(_provider(prefix)):
        if claim != "oaud" and (values := _texts(_claim(claims, claim))):
            keys[f"{prefix}:{claim}"] = values
    if (azp := _texts(claims.get("azp"))) and f"{prefix}:aud" in keys:
        keys[f"{prefix}:oaud"] = keys[f"{prefix}:aud"]
        keys[f"{prefix}:aud"] = azp
    if identity := _texts(claims.get(_SOURCE_IDENTITY)):
        keys["sts:SourceIdentity"] = identity
    keys["sts:RoleAuthorizedByIdp"] = ("true" if _texts(claims.get(ROLES_CLAIM)) else "false",)
    return keys | _tag_keys(claims)


def names_role(claims: Mapping[str, Any], role: str) -> bool:
    """Return whether a token is for this role: it has no roles claim, or one with exactly this ARN.

    STS refuses any other with InvalidIdentityToken, before it looks at the trust policy.
    """
    roles = _texts(claims.get(ROLES_CLAIM))
    return not roles or role in roles


def _provider(prefix: str) -> _Provider:
    return next((each for each in _PROVIDERS if each.host_path.fullmatch(prefix)), _OTHER)


def _claims(provider: _Provider) -> Iterator[str]:
    if provider.has_default:
        yield from _DEFAULT
    yield from provider.claims


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    outer, slash, inner = name.partition("/")
    within = claims.get(outer) if slash else None
    return within.get(inner) if isinstance(within, Mapping) else None


def _tag_keys(claims: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the keys of the session tags in a token, in the nested or the flat form of the claim."""
    nested = claims.get(_TAGS)
    nested = nested if isinstance(nested, Mapping) else {}
    of_object = nested.get("principal_tags")
    tags = {str(key): _texts(value) for key, value in of_object.items()} if isinstance(of_object, Mapping) else {}
    tags |= {key.removeprefix(_FLAT_TAG): _texts(value) for key, value in claims.items() if key.startswith(_FLAT_TAG)}
    keys = {f"aws:RequestTag/{key}": values for key, values in tags.items() if values}
    if keys:
        keys["aws:TagKeys"] = tuple(key for key, values in tags.items() if values)
    if transitive := _texts(nested.get("transitive_tag_keys")) or _texts(claims.get(_FLAT_TRANSITIVE)):
        keys["sts:TransitiveTagKeys"] = transitive
    return keys


def _texts(value: Any) -> tuple[str, ...]:
    """Return a claim's value as texts: one, or those of a list; none for what is absent or an object."""
    match value:
        case str():
            return (value,)
        case bool():
            return ("true" if value else "false",)
        case int() | float():
            return (str(value),)
        case list() | tuple():
            return tuple(text for item in value for text in _texts(item))
        case _:
            return ()
