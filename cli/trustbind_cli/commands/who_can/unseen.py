"""What the trust policies leave to others, and nobody can see here: so that no answer says "none" in place of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from trustbind.evaluation.three_valued import Truth
from trustbind.evaluation.wildcards import has_wildcard
from trustbind.identity.arns import RoleArn
from trustbind.policy import access_principals
from trustbind.policy.access import Access, Verdict
from trustbind.policy.role_permissions import may_assume
from trustbind.policy.trust_document import SourceStatement, TrustDocument
from trustbind_cli.commands.who_can.scene import Scene

__all__ = ["of_audiences", "of_roles", "sources"]

_SHOWN: Final = 3
"""So many roles are named in a sentence about several."""


def sources(
    scene: Scene, role: RoleArn, document: TrustDocument, among: frozenset[RoleArn] | None = None
) -> list[RoleArn]:
    """Return the roles that may come before a role: those that it names, and those whose own policies name it.

    Args:
        scene: what is known.
        role: which.
        document: its trust policy.
        among: no others are looked at; None: all.
    """
    named = access_principals.sources_named(document)
    found = {source for source in named if among is None or source in among}
    known = scene.permissions.keys() if among is None else among & scene.permissions.keys()
    for callers in access_principals.callers_of_accounts(role, document) if known else ():
        for source in known:
            is_one = callers.account_id in {"", source.account_id} and source != role
            if is_one and may_assume(source, scene.permissions[source], role).truth is not Truth.NO:
                found.add(source)
    return sorted(found)


def of_roles(scene: Scene, roles: Sequence[RoleArn], first: Collection[RoleArn] | None) -> None:
    """Note what is not known of those who can assume roles.

    Args:
        scene: what is known; it gets the notes.
        roles: that are asked about.
        first: the roles that the service account can assume directly; None: every service account is asked about.
    """
    by_source: dict[RoleArn, list[RoleArn]] = {}
    by_account: dict[str, list[RoleArn]] = {}
    associated: list[RoleArn] = []
    for role in roles:
        document = scene.documents[role]
        if any(isinstance(each, SourceStatement) and each.repeats_key for each in document.statements):
            scene.miss(f"{role}: a statement of its trust policy has a key twice, of which the last one was looked at")
        for source in access_principals.sources_named(document):
            if source not in scene.documents and _may(scene, role, document, source):
                by_source.setdefault(source, []).append(role)
        for callers in access_principals.callers_of_accounts(role, document):
            if _may_be_one(scene, callers.account_id, first):
                by_account.setdefault(callers.account_id, []).append(role)
        if access_principals.trusts_pod_identity(role, document):
            associated.append(role)
    for source, targets in sorted(by_source.items()):
        scene.miss(f"{source}: its trust policy was not found, and it may assume {_listed(targets)}")
    for account, targets in sorted(by_account.items()):
        whose = f"the policies in AWS account {account}" if account else "the policies in all AWS accounts"
        scene.miss(f"{whose}: they decide which of its roles can assume {_listed(targets)}")
    if associated:
        scene.miss(f"EKS: Pod Identity associations that no RoleBinding makes, with {_listed(associated)}")


def of_audiences(scene: Scene, found: Iterable[Access]) -> None:
    """Note which OIDC providers have to have a client id that no condition names."""
    for each in found:
        if has_wildcard(each.audience) and each.verdict is not Verdict.NO:
            role = each.role if each.through is None else each.through
            scene.miss(
                f"the client ids of the OIDC providers in AWS account {role.account_id}, on which {role} depends"
            )


def _may(scene: Scene, role: RoleArn, document: TrustDocument, source: RoleArn) -> bool:
    found = access_principals.source_role(role, document, source, scene.permissions.get(source))
    return found.verdict is not Verdict.NO


def _may_be_one(scene: Scene, account: str, first: Collection[RoleArn] | None) -> bool:
    """Return whether a role of an AWS account may be one that the service account can assume directly."""
    if first is None or account not in scene.listed:
        return True
    return any(role.account_id == account for role in first)


def _listed(roles: Sequence[RoleArn]) -> str:
    more = f" and {len(roles) - _SHOWN} more" if len(roles) > _SHOWN else ""
    return f"{', '.join(map(str, roles[:_SHOWN]))}{more}"
