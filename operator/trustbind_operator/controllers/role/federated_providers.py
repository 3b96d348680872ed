"""Other issuers than the cluster's own: whether the account has the OIDC provider that their statements name.

The providers belong to somebody else, so they are only looked at, and the binding is told what is lacking. A statement
whose provider does not exist is not written, so that IAM has no reason to refuse a document that other bindings share;
one that stands already stays, since somebody may be about to make the provider again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import FederatedKey
from trustbind.policy.plan import Refusal
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.account_pool import Accounts, ProviderAbsentError
from trustbind_aws.client import AccountAccess
from trustbind_aws.resources.oidc_provider import provided
from trustbind_operator.cluster.conditions import ready_condition
from trustbind_operator.controllers.binding.decision import Verdict
from trustbind_operator.controllers.binding.failure_reasons import TRANSIENT, account_failure

__all__ = ["Hindrances", "hindrances", "without_absent"]


@dataclass(frozen=True, slots=True)
class Hindrances:
    """What was found.

    Attributes:
        told: what each binding is to be told whose other issuers' providers are not as they should be.
        absent: the issuers that have no provider in the account.
        asked: whether AWS was asked, so that time has passed.
    """

    told: Mapping[BindingRef, Refusal] = field(default_factory=dict)
    absent: frozenset[Issuer] = frozenset()
    asked: bool = False


def hindrances(
    verdicts: Iterable[Verdict], accounts: Accounts, account: AwsAccount, access: AccountAccess, role: RoleArn
) -> Hindrances:
    """Return what is lacking for subjects of other issuers.

    Blocks while it asks AWS, and never raises for what AWS says.
    """
    told: dict[BindingRef, Refusal] = {}
    absent: set[Issuer] = set()
    answers: dict[tuple[Issuer, str], AwsError | None] = {}
    asked = False
    for verdict in verdicts:
        for key in (claim.key for claim in verdict.claims if isinstance(claim.key, FederatedKey)):
            which = (key.issuer, key.audience)
            if which not in answers:
                provider = key.issuer.provider_for(role)
                asked |= not accounts.is_seen(account, provider, key.audience)
                answers[which] = accounts.lacks_for(account, access, provider, key.audience)
            error = answers[which]
            if error is None:
                continue
            if isinstance(error, ProviderAbsentError):
                absent.add(key.issuer)
            reason, message = account_failure(error)
            if reason not in TRANSIENT or not _is_ready(verdict):  # that AWS is busy says nothing about the provider
                told.setdefault(verdict.entry.ref, Refusal(verdict.entry.ref, reason, message))
    return Hindrances(told, frozenset(absent), asked)


def _is_ready(verdict: Verdict) -> bool:
    entry = verdict.entry
    ready = ready_condition(entry.status) or {}
    return ready.get("status") == "True" and entry.status.get("observedGeneration") == entry.generation


def without_absent(
    verdicts: Iterable[Verdict], absent: frozenset[Issuer], document: TrustDocument, issuer: Issuer
) -> list[Verdict]:
    """Return the verdicts without claims for issuers that have no provider, unless their statement stands already.

    Args:
        verdicts: on the bindings of a role.
        absent: those issuers.
        document: the role's trust policy as it was read.
        issuer: the cluster's.
    """
    return [replace(v, claims=provided(v.claims, absent, document, issuer)) if absent else v for v in verdicts]
