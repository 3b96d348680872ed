"""Which roles a tenant can enter, asked of the trust policies alone, as STS would ask them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from simulation.cloud import parsed
from trustbind.evaluation import Caller, Request, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject

__all__ = ["entered_by", "reached_by"]

_MORE: Final[Mapping[str, Sequence[str]]] = {"aws:SourceVpc": ["vpc-1"], "sts:RoleSessionName": ["session"]}
"""What a caller can choose, so that conditions on it keep nobody out."""


def entered_by(texts: Mapping[RoleArn, str], issuer: Issuer, subject: Subject, audience: str) -> set[RoleArn]:
    """Return the roles that a service account enters with its token.

    Args:
        texts: the trust policy of each role.
        issuer: the cluster's.
        subject: the service account.
        audience: of its token.
    """
    return {
        role
        for role, text in texts.items()
        if _is_open(text, str(issuer.provider_for(role)), issuer, subject, audience)
    }


def reached_by(
    texts: Mapping[RoleArn, str],
    issuer: Issuer,
    subjects: Iterable[Subject],
    audiences: Sequence[str],
    external_ids: Sequence[str],
) -> set[RoleArn]:
    """Return the roles that service accounts enter with their tokens, and from there one after the other.

    A role that trusts another counts as reached from it: whether the other's own policies allow the call is not asked.
    """
    reached: set[RoleArn] = set()
    for subject in subjects:
        for audience in audiences:
            reached |= entered_by(texts, issuer, subject, audience)
    new = set(reached)
    while new:
        source = new.pop()
        found = {
            r for r, text in texts.items() if r not in reached and _is_open_from(text, source, tuple(external_ids))
        }
        reached |= found
        new |= found
    return reached


@lru_cache(maxsize=65536)
def _is_open(text: str, provider: str, issuer: Issuer, subject: Subject, audience: str) -> bool:
    own = {issuer.subject_key: [str(subject)], issuer.audience_key: [audience]}
    return _allows(text, Caller.parse(provider), "sts:AssumeRoleWithWebIdentity", own)


@lru_cache(maxsize=65536)
def _is_open_from(text: str, source: RoleArn, external_ids: tuple[str, ...]) -> bool:
    caller = Caller.parse(f"arn:{source.partition}:sts::{source.account_id}:assumed-role/{source.name}/session")
    own = {"aws:PrincipalArn": [str(source)], "aws:PrincipalAccount": [source.account_id]}
    given: list[Mapping[str, Sequence[str]]] = [{}, *({"sts:ExternalId": [each]} for each in external_ids)]
    return any(_allows(text, caller, "sts:AssumeRole", {**own, **each}) for each in given)


def _allows(text: str, caller: Caller, action: str, own: Mapping[str, Sequence[str]]) -> bool:
    document = parsed(text).to_json_object()
    return any(evaluate(document, Request(caller, action, {**own, **more})).allowed for more in ({}, _MORE))
