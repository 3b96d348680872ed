"""What AWS says, as values: one role, and what is known of its AWS account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trustbind.errors import AwsError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.policy.source_policy import Target
from trustbind.policy.trust_document import TrustDocument

__all__ = ["AccountFacts", "Facts", "RoleObservation"]


@dataclass(frozen=True, slots=True)
class RoleObservation:
    """A role as IAM returned it.

    Attributes:
        document: its trust policy.
        max_session_seconds: its MaxSessionDuration.
        tags: its tags.
        answered_at: when the answer arrived, in seconds of the clock that write permits use.
    """

    document: TrustDocument
    max_session_seconds: int = 3600
    tags: Mapping[str, str] = field(default_factory=dict)
    answered_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What was seen in an AWS account, or written there by us.

    Attributes:
        limit: characters that a trust policy may have; None: not read yet.
        providers: client ids of OIDC providers; None for one that the AWS account does not have. One that is not in the
            mapping was not read yet.
        source_targets: what our inline policy of a source role allows, as texts of `Target`; None for a policy that is
            not as we write it. One that is not in the mapping was not read yet.
    """

    limit: int | None = None
    providers: Mapping[ProviderArn, frozenset[str] | None] = field(default_factory=dict)
    source_targets: Mapping[RoleArn, frozenset[str] | None] = field(default_factory=dict)

    def with_provider(self, provider: ProviderArn, audiences: frozenset[str] | None) -> AccountFacts:
        """Return the facts after a look at an OIDC provider."""
        return replace(self, providers={**self.providers, provider: audiences})

    def with_source_targets(self, role: RoleArn, targets: frozenset[str] | None) -> AccountFacts:
        """Return the facts after a look at a source role's inline policy."""
        return replace(self, source_targets={**self.source_targets, role: targets})

    def lists(self, provider: ProviderArn, audience: str) -> bool:
        """Return whether the provider was seen to list the client id."""
        return audience in (self.providers.get(provider) or ())


@dataclass(frozen=True, slots=True)
class Facts:
    """What one run of a role knows beside the role itself.

    Attributes:
        account: see `AccountFacts`.
        read: the providers that were read in this run, so that they are not read twice.
        failures: by provider, why it could not be read or brought in order in this run.
        no_room: target roles for which the source role's inline policies have no room.
        source_unreadable: whether the source role's inline policy may not be read, and need not be.
    """

    account: AccountFacts
    read: frozenset[ProviderArn] = frozenset()
    failures: Mapping[ProviderArn, AwsError] = field(default_factory=dict)
    no_room: frozenset[Target] = frozenset()
    source_unreadable: bool = False
