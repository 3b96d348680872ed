"""One role's trust policy, and what bindings of namespace team-a claim there."""

from __future__ import annotations

import dataclasses
from typing import Any

from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import ChainKey, FederatedKey, WebIdentityKey, build, sid_of
from trustbind.policy.plan import Desired
from trustbind.policy.trust_document import TrustDocument

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
OTHER = Issuer.parse("https://oidc.example.com/id/2")
ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/app")
SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
WEB = WebIdentityKey("sts.amazonaws.com")
SID = sid_of(ISSUER, WEB)
FOREIGN = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
STALE = FOREIGN | {"Principal": {"AWS": ["AROAEXAMPLEID1234567A", "arn:aws:iam::111122223333:role/x"]}}


def claim(name: str, key: WebIdentityKey | ChainKey = WEB, *accounts: str, created: str = "") -> Claim:
    """Return what a binding of that name claims for accounts (by default: one of its name)."""
    subjects = tuple(Subject("team-a", a) for a in accounts or (name,)) if isinstance(key, WebIdentityKey) else ()
    ref = BindingRef("team-a", name)
    return Claim(ref, key, subjects, (not created, created, ref))


def wanted(*claims: Claim) -> Desired:
    """Return what this cluster wants."""
    return Desired(ROLE, ISSUER, claims)


def document(*statements: dict[str, Any]) -> TrustDocument:
    """Return a trust document with these statements."""
    return TrustDocument(statements)


def statement(*accounts: str, key: WebIdentityKey | ChainKey = WEB) -> dict[str, Any]:
    """Return the owned statement for these accounts of team-a."""
    return build(ISSUER, ROLE, key, [Subject("team-a", a) for a in accounts])


GITHUB = Issuer.parse("https://token.actions.githubusercontent.com")
GITLAB = Issuer.parse("https://gitlab.example.com")
MAIN = "repo:o/shop:ref:refs/heads/main"


def federated(name: str, issuer: Issuer = GITHUB, *subjects: str) -> Claim:
    """Return what a binding of that name claims for subjects of another issuer."""
    return dataclasses.replace(claim(name), key=FederatedKey(issuer, "sts.amazonaws.com"), subjects=subjects or (MAIN,))
