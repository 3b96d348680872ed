"""Which retained trust may stay: what deleted bindings left in a role, while a grant still allows it.

No object speaks for it any more, so its statement is asked: the subjects, the audience, the source role that it names.
Patterns, source roles and external ids do not tell a namespace, so for those a grant to any namespace counts; where the
role's consent is asked for, to any namespace that its tag names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from trustbind.api.federated_subjects import FederatedSubjects, uncovered
from trustbind.api.role_binding import Method
from trustbind.api.role_grant import CONSENT_TAG, RoleGrant, arn_matches, consents
from trustbind.evaluation.wildcards import glob_matches
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import AssociationKey, ChainKey, FederatedKey

__all__ = ["KEEP_ALL", "KEEP_NONE", "Retention", "RetentionGrant", "retention_of"]

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RetentionGrant:
    """A RoleGrant with ``allowRetain`` that covers a role, and the namespaces that it is for now."""

    grant: RoleGrant
    namespaces: frozenset[str]


@dataclass(frozen=True, slots=True)
class Retention:
    """Which retained trust of one role may stay.

    Attributes:
        grants: those that allow it; None: everything may.
        consenting: the namespaces that the role's tags let bind it; None: nobody asks for that.
    """

    grants: tuple[RetentionGrant, ...] | None = ()
    consenting: frozenset[str] | None = None

    def kept(self, claim: Claim) -> Claim | None:
        """Return the part of a retained statement's claim that may stay; None for nothing."""
        if self.grants is None and self.consenting is None:
            return claim
        key = claim.key
        if isinstance(key, ChainKey):
            return claim if self._covers_source(key.source, Method.ASSUME_ROLE) else None
        if isinstance(key, AssociationKey):
            return claim if self._covers_source(key.source, Method.POD_IDENTITY) else None
        if isinstance(key, FederatedKey):
            subjects = tuple(s for s in claim.subjects if self._covers_pattern(key, str(s)))
        else:
            subjects = tuple(s for s in claim.subjects if isinstance(s, Subject) and self._covers(s, key.audience))
        return replace(claim, subjects=subjects) if subjects else None

    def _covers_source(self, source: RoleArn, method: Method) -> bool:
        return self.grants is None or any(
            method in g.grant.methods and any(arn_matches(p, str(source)) for p in g.grant.role_arns)
            for g in self.grants
        )

    def _covers_pattern(self, key: FederatedKey, pattern: str) -> bool:
        wanted = [FederatedSubjects(key.issuer, key.audience, (pattern,))]
        return self.grants is None or any(not uncovered(wanted, g.grant.federated) for g in self.grants)

    def _covers(self, subject: Subject, audience: str) -> bool:
        if self.consenting is not None and subject.namespace not in self.consenting:
            return False
        return self.grants is None or any(
            subject.namespace in g.namespaces
            and audience in g.grant.audiences
            and _WITH_TOKENS.intersection(g.grant.methods)
            and any(glob_matches(pattern, subject.name) for pattern in g.grant.service_account_names)
            for g in self.grants
        )

    def with_tags(self, tags: Mapping[str, str], *, is_protected: bool, needs_consent: bool) -> Retention:
        """Return the retention after the role's tags were asked, as for bindings; see `consents`.

        Args:
            tags: the role's.
            is_protected: whether no binding may name the role.
            needs_consent: whether the AWSAccount asks for the role's consent.
        """
        if is_protected:
            return KEEP_NONE
        if not needs_consent:
            return self
        named = frozenset(name for name in tags.get(CONSENT_TAG, "").split() if consents(tags, name))
        if not named:
            return KEEP_NONE
        if self.grants is None:
            return replace(self, consenting=named)
        # A grant counts for the namespaces that the role consents to, also for names that tell no namespace.
        within = (replace(g, namespaces=g.namespaces & named) for g in self.grants)
        return replace(self, grants=tuple(g for g in within if g.namespaces), consenting=named)


_WITH_TOKENS: Final = frozenset({Method.WEB_IDENTITY, Method.ASSUME_ROLE})
"""Methods whose service accounts stand in a trust policy: the target role's, or the source role's."""

KEEP_ALL: Final = Retention(None)
"""Nobody is asked: all that was retained stays."""

KEEP_NONE: Final = Retention()
"""Nothing of it may stay."""


def retention_of(role: RoleArn, grants: Iterable[RoleGrant] | None, namespaces: Mapping[str, Labels]) -> Retention:
    """Return which retained trust of ``role`` may stay.

    Args:
        role: whose trust policy.
        grants: all grants; None: all is granted.
        namespaces: name to labels of all namespaces.
    """
    if grants is None:
        return KEEP_ALL
    allowing = [g for g in grants if g.allow_retain and any(arn_matches(p, str(role)) for p in g.role_arns)]
    return Retention(
        tuple(
            RetentionGrant(
                g, frozenset(name for name, labels in namespaces.items() if g.covers_namespace(name, labels))
            )
            for g in allowing
        )
    )
