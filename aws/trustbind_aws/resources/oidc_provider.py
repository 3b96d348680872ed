"""The OIDC provider in a target account: what it lacks, decided; and that brought about."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from trustbind.errors import NotFoundError
from trustbind.identity.arns import ProviderArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import FederatedKey, sid_of
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.client import AccountAccess

__all__ = ["ProviderPlan", "apply_provider", "lacking_for", "plan_provider", "provided"]


@dataclass(frozen=True, slots=True)
class ProviderPlan:
    """What an account's OIDC provider lacks.

    Attributes:
        provider: its ARN.
        create: whether it does not exist.
        audiences: client ids to add, or to create it with; sorted.
    """

    provider: ProviderArn
    create: bool
    audiences: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lacking."""
        return not self.create and not self.audiences

    def lacking(self) -> str:
        """Return one sentence for somebody who manages the provider by hand; empty when nothing is lacking."""
        listed = ", ".join(self.audiences)
        if self.create:
            return (
                f"account {self.provider.account_id} has no OIDC provider for https://{self.provider.host_path}; "
                f"create it with the client id {listed}, or let trustbind manage it "
                "(AWSAccount spec.oidcProvider.manage: true)"
            )
        return f"the OIDC provider {self.provider} lacks the client id {listed}; add it" if listed else ""


def plan_provider(provider: ProviderArn, present: frozenset[str] | None, audiences: Iterable[str]) -> ProviderPlan:
    """Return what the provider lacks.

    Args:
        provider: its ARN.
        present: the client ids that it has; None when it does not exist.
        audiences: all that bindings use in that account.
    """
    return ProviderPlan(provider, present is None, tuple(sorted(set(audiences) - (present or frozenset()))))


def apply_provider(access: AccountAccess, planned: ProviderPlan, issuer: Issuer, *, manage: bool) -> None:
    """Bring about what is lacking.

    Raises:
        NotFoundError: something is lacking and is not ours to manage.
        AwsError: a call failed.
    """
    if planned.is_empty:
        return
    if not manage:
        raise NotFoundError(planned.lacking(), operation="iam:GetOpenIDConnectProvider")
    if planned.create:
        access.create_provider(issuer, frozenset(planned.audiences))
        return
    for audience in planned.audiences:
        access.add_audience(planned.provider, audience)


def lacking_for(provider: ProviderArn, present: frozenset[str] | None, audience: str) -> str:
    """Return what another issuer's provider lacks, and what to do; empty when nothing.

    Args:
        provider: its ARN.
        present: the client ids that it has; None when it does not exist.
        audience: what the issuer's tokens are for.
    """
    if present is None:
        return (
            f"account {provider.account_id} has no OIDC provider for https://{provider.host_path}, which "
            f"spec.federatedSubjects needs; create it with the client id {audience}: trustbind makes only the cluster's"
        )
    if audience not in present:
        return f"the OIDC provider {provider} lacks the client id {audience}, which spec.federatedSubjects needs"
    return ""


def provided(
    claims: Iterable[Claim], absent: Collection[Issuer], document: TrustDocument, issuer: Issuer
) -> tuple[Claim, ...]:
    """Return the claims without those for issuers that have no provider, unless their statement stands already.

    Args:
        claims: on one role.
        absent: those issuers.
        document: the role's trust policy as it was read.
        issuer: the cluster's.
    """
    standing = {statement.get("Sid") for statement in document.statements}
    return tuple(
        claim
        for claim in claims
        if not (isinstance(claim.key, FederatedKey) and claim.key.issuer in absent)
        or sid_of(issuer, claim.key) in standing
    )
