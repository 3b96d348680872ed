"""The request context: which condition keys AWS would have in a request, and what is known of their values.

Sources: IAM User Guide, "AWS global condition context keys" (availability of each), "IAM and AWS STS condition context
keys"; STS API reference (parameters); EKS User Guide, "Grant Pods access to AWS resources based on tags". What is in
those pages neither as always included nor as never included counts as possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from trustbind.evaluation.model import Caller, PrincipalKind
from trustbind.evaluation.token_claims import ROLES_CLAIM, claim_names, issuer_of, keys_of, names_role, prefix_of
from trustbind.evaluation.wildcards import has_wildcard
from trustbind.identity.arns import RoleArn

__all__ = ["KeyState", "RequestContext", "ValueForm", "request_context"]

_EVERY_REQUEST: Final = (
    *("aws:CurrentTime", "aws:EpochTime", "aws:RequestedRegion", "aws:ResourceAccount", "aws:SecureTransport"),
    *("aws:UserAgent", "aws:userid", "aws:PrincipalAccount", "aws:PrincipalType", "sts:RoleSessionName"),
)
"""Always included; ``sts:RoleSessionName`` is a required parameter."""

_OPEN: Final = ("aws:", "sts:")
"""How keys begin of which some requests have others than named here. AWS adds new ones."""

_NEVER_WITH_A_TOKEN: Final = ("sts:ExternalId", "aws:username", "aws:MultiFactorAuth")
"""Not in AssumeRoleWithWebIdentity: the first is no parameter of it, the others are of IAM users."""

_OF_TOKEN: Final = ("aws:RequestTag/", "aws:TagKeys", "sts:TransitiveTagKeys", "sts:SourceIdentity")
"""In AssumeRoleWithWebIdentity, these come from the token alone."""

_TYPES: Final = {
    "root": "Account",
    "user": "User",
    "role": "AssumedRole",
    "assumed-role": "AssumedRole",
    "federated-user": "FederatedUser",
}
"""Type in a caller's ARN to ``aws:PrincipalType``; a role calls by a session of it."""

_TAG: Final = "aws:requesttag/"


class KeyState(StrEnum):
    """What is known of a condition key of a request."""

    GIVEN = "given"
    """The request has it, and its value is known."""
    FILLED = "filled"
    """The request has it, with a value that is not known here."""
    POSSIBLE = "possible"
    """The request may have it."""
    ABSENT = "absent"
    """The request has no such key."""


@dataclass(frozen=True, slots=True)
class ValueForm:
    """What every value of a key looks like that is not known otherwise.

    Attributes:
        any_of: alternatives; a value matches every pattern of one of them.
        shown: the same for people.
    """

    any_of: tuple[tuple[str, ...], ...]
    shown: str

    @property
    def is_arn(self) -> bool:
        """Whether every value is an ARN."""
        return all(any(each.startswith("arn:") for each in patterns) for patterns in self.any_of)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The condition keys of one request. Names are case-insensitive, so they are in lower case except in ``names``.

    Attributes:
        values: those that are given.
        names: given and filled keys as they are usually written, for messages.
        filled: those that AWS fills.
        possible: those that may be there.
        families: beginnings of keys that may be there.
        absent: beginnings of keys that are exceptions from ``families``.
        unused: claims of the token that become no key, as ``host/path:claim``.
        forms: of some keys with a value that is not known, what every value looks like.
        refusal: why STS refuses the token before it looks at a trust policy; empty where it does not.
    """

    values: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()
    possible: frozenset[str] = frozenset()
    families: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unused: frozenset[str] = frozenset()
    forms: Mapping[str, ValueForm] = field(default_factory=dict)
    refusal: str = ""

    @classmethod
    def of(cls, context: RequestContext | Mapping[str, Sequence[str]]) -> RequestContext:
        """Return a mapping of keys to values as a context of which everything is known: other keys are absent.

        Names that differ only in case are one key, so their values come together; a key without values is absent.
        """
        if isinstance(context, RequestContext):
            return context
        values: dict[str, tuple[str, ...]] = {}
        names: dict[str, str] = {}
        for name, given in context.items():
            texts = (given,) if isinstance(given, str) else tuple(given)
            if texts:
                lowered = name.lower()
                names.setdefault(lowered, name)
                values[lowered] = values.get(lowered, ()) + texts
        return cls(values, names)

    def get(self, key: str) -> tuple[str, ...]:
        """Return the values of a given key; none for every other."""
        return self.values.get(key.lower(), ())

    def state(self, key: str) -> KeyState:
        """Return what is known of a key."""
        lowered = key.lower()
        if lowered in self.values:
            return KeyState.GIVEN
        if lowered in self.filled:
            return KeyState.FILLED
        if lowered in self.possible:
            return KeyState.POSSIBLE
        if lowered.startswith(self.families) and not lowered.startswith(self.absent):
            return KeyState.POSSIBLE
        return KeyState.ABSENT

    def with_form(self, key: str, form: ValueForm) -> RequestContext:
        """Return the context in which the request has a key of which only the form of its value is known."""
        lowered = key.lower()
        return replace(
            self,
            values={name: value for name, value in self.values.items() if name != lowered},
            names={lowered: key, **self.names},
            filled=self.filled | {lowered},
            forms={**self.forms, lowered: form},
        )

    def has_tags(self) -> KeyState:
        """Return what is known of session tags in the request."""
        if any(name.startswith(_TAG) for name in self.values):
            return KeyState.GIVEN
        return self.state("aws:TagKeys")


def request_context(
    caller: Caller,
    *,
    claims: Mapping[str, Any] | None = None,
    role: RoleArn | None = None,
    now: datetime | None = None,
    known: Mapping[str, Sequence[str]] | None = None,
    is_whole: bool = False,
) -> RequestContext:
    """Return the context of a request that asks for a role.

    Args:
        caller: who calls.
        claims: of the token that is sent; None where it is not known, or where there is none.
        role: which role is asked for; None where it is not known.
        now: when; None where it is not known.
        known: keys and values that are known otherwise; they win over everything else.
        is_whole: whether ``known`` has all that the caller sends and the network adds; then no other key is possible.
    """
    prefix = prefix_of(caller)
    given: dict[str, Sequence[str]] = dict(_of_caller(caller))
    filled = [*_EVERY_REQUEST]
    possible: list[str] = []
    absent: tuple[str, ...] = _NEVER_WITH_A_TOKEN if prefix else ()
    if caller.kind is PrincipalKind.AWS:
        filled.append("aws:PrincipalArn")
    if role is not None:
        given["aws:ResourceAccount"] = (role.account_id,)
    if now is not None:
        given |= _of_clock(now)
    if claims is not None:
        given |= keys_of(claims)
        absent += _OF_TOKEN
    elif prefix:
        every, some = claim_names(prefix)
        filled += [*every, "sts:RoleAuthorizedByIdp"]
        possible += some
    told, mine = RequestContext.of(given), RequestContext.of(known or {})
    values = {**told.values, **mine.values}
    families = (*_OPEN, "saml:") if ":saml-provider/" in caller.identifier else _OPEN
    return RequestContext(
        values,
        {**{key.lower(): key for key in filled}, **told.names, **mine.names},
        filled=_lowered(filled) - values.keys(),
        possible=frozenset() if is_whole else _lowered(possible) - values.keys(),
        families=() if is_whole else families,
        absent=tuple(key.lower() for key in absent),
        unused=_lowered(f"{prefix}:{name}" for name in claims or ()) - values.keys(),
        forms=_forms_of(caller),
        refusal=_refusal(caller, claims or {}, role),
    )


def _forms_of(caller: Caller) -> dict[str, ValueForm]:
    """Return what is known of ``aws:PrincipalArn`` where a session calls: the ARN of its role, but for the path."""
    if not caller.is_session:
        return {}
    _, partition, _, _, account, session = caller.identifier.split(":", 5)
    name = session.split("/")[1]
    if has_wildcard(name):  # no role has such a name
        return {}
    role = f"arn:{partition}:iam::{account}:role"
    form = ValueForm(((f"{role}/{name}",), (f"{role}/*/{name}",)), f"{role}/PATH/{name}")
    return {"aws:principalarn": form}


def _refusal(caller: Caller, claims: Mapping[str, Any], role: RoleArn | None) -> str:
    """Return why STS refuses a token for a role whatever the trust policy says; empty where it does not.

    Source: IAM User Guide, "AWS JSON policy elements: Principal", OIDC federated principals.
    """
    if claims and (issuer := issuer_of(claims)) != prefix_of(caller):
        return (
            f"the token's issuer is {issuer}, and the caller is {caller.identifier}: STS takes the provider of the "
            "token's issuer, so the two contradict each other"
        )
    if role is None:
        return ""
    if not names_role(claims, str(role)):
        return f"the token's claim {ROLES_CLAIM} does not name {role}, and STS refuses it with InvalidIdentityToken"
    if caller.kind is PrincipalKind.FEDERATED and caller.identifier.startswith("arn:"):
        partition, account = caller.identifier.split(":")[1::3][:2]
        if (partition, account) != (role.partition, role.account_id):
            return (
                f"the provider {caller.identifier} is of AWS account {account} ({partition}), and STS looks for it in "
                f"the role's, {role.account_id} ({role.partition})"
            )
    return ""


def _lowered(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(key.lower() for key in keys)


def _of_clock(now: datetime) -> dict[str, Sequence[str]]:
    moment = now.astimezone(UTC)
    return {
        "aws:CurrentTime": (moment.strftime("%Y-%m-%dT%H:%M:%SZ"),),
        "aws:EpochTime": (str(int(moment.timestamp())),),
    }


def _of_caller(caller: Caller) -> dict[str, Sequence[str]]:
    """Return the keys that AWS fills from who calls, as far as the identifier tells them.

    Of a session, ``aws:PrincipalArn`` is the role's ARN with its path, which is not known; of an AWS account that is
    given by its id alone, it is nothing (IAM User Guide, "AWS global condition context keys", Properties of the
    principal).
    """
    if caller.kind is PrincipalKind.SERVICE:
        return {"aws:PrincipalIsAWSService": ("true",), "aws:PrincipalServiceName": (caller.identifier,)}
    if caller.kind is not PrincipalKind.AWS:  # nothing is signed with AWS credentials
        return {}
    keys: dict[str, Sequence[str]] = {"aws:PrincipalIsAWSService": ("false",)}
    if ":" not in caller.identifier:
        return keys | {"aws:PrincipalAccount": (caller.identifier,)}
    account, resource = caller.identifier.split(":", 5)[4:]
    kind, _, name = resource.partition("/")
    keys |= {"aws:PrincipalAccount": (account,), "aws:PrincipalType": (_TYPES[kind],)}
    if kind != "assumed-role":
        keys["aws:PrincipalArn"] = (caller.identifier,)
    if kind == "user":
        keys["aws:username"] = (name.rpartition("/")[2],)
    return keys
