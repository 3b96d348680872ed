"""The OIDC providers of an AWS account: read those that a role needs, and keep the cluster's own.

Other issuers' providers have other owners, so they are read and never written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from trustbind.api.identity_context import IdentityContext
from trustbind.errors import AwsError, NotFoundError, ObservedError
from trustbind.identity.arns import ProviderArn
from trustbind.identity.subjects import Issuer
from trustbind.reconcile.observation import Facts
from trustbind.reconcile.role_plan import EnsureProvider, RoleWork, provider_problem, unread_providers
from trustbind_aws.account_pool import Entered
from trustbind_aws.call_limiter import shared_queue
from trustbind_aws.permits import DecisionChangedError, NotLeadingError, WriteGuard, WritePermit

__all__ = ["apply", "ensure", "observe", "refresh"]


async def observe(entered: Entered, work: RoleWork, facts: Facts) -> Facts:
    """Return the facts with every provider that ``work`` needs; those that list a needed client id are not read again.

    A provider that cannot be read is a failure in the facts: bindings that need it wait, and others go on.
    """
    for provider in unread_providers(work, facts):
        facts = await _read(entered, provider, facts)
    return replace(facts, account=entered.facts)


async def apply(entered: Entered, step: EnsureProvider, issuer: Issuer, facts: Facts, guard: WriteGuard) -> Facts:
    """Create the cluster's provider, or add client ids to it, and return the facts then; a failure is in the facts.

    Raises:
        NotLeadingError: nothing may be written.
        DecisionChangedError: what was decided does not hold any more.
    """
    try:
        await _write(entered, step.provider, issuer, step.audiences, step.context, guard.deadline)
    except (NotLeadingError, DecisionChangedError):
        raise
    except AwsError as error:
        facts = replace(facts, failures={**facts.failures, step.provider: error})
    return replace(facts, account=entered.facts)


async def ensure(
    entered: Entered,
    provider: ProviderArn,
    issuer: Issuer,
    audiences: Iterable[str],
    *,
    context: IdentityContext | None = None,
    manage: bool,
    deadline: Callable[[], float],
) -> None:
    """Read the cluster's provider, and add what it lacks where it is ours to manage.

    Args:
        entered: the AWS account.
        provider: its ARN.
        issuer: the cluster's.
        audiences: the client ids that are needed.
        context: what it is to make of claims; None: that is left as it is.
        manage: whether the provider is ours to manage.
        deadline: see `WriteGuard`.

    Raises:
        NotFoundError: something is missing, and not ours to manage.
        ObservedError: what it makes of claims differs, and is not ours to manage.
        NotLeadingError: nothing may be written.
        AwsError: a call failed.
    """
    await refresh(entered, provider)
    present = entered.facts.providers.get(provider)
    if manage:
        await _write(entered, provider, issuer, sorted(audiences), context, deadline)
    elif problem := provider_problem(provider, present, audiences):
        raise NotFoundError(problem, operation="iam:GetOpenIDConnectProvider")
    if context is None or context.is_met_by(await entered.api.provider_context(provider)):
        return
    if not manage:
        raise ObservedError(
            f"the identity context of the OIDC provider {provider} differs from spec.oidcProvider.identityContext, and "
            "driftPolicy Observe writes nothing; change one of them",
            operation="iam:UpdateOpenIDConnectProvider",
        )
    await entered.api.write_provider_context(provider, context, WritePermit(deadline()))


async def refresh(entered: Entered, provider: ProviderArn) -> bool:
    """Read a provider again; return whether it is as it was known.

    Raises:
        AwsError: it cannot be read.
    """
    before = entered.facts.providers.get(provider, frozenset[str]())
    present = await entered.api.provider_audiences(provider)
    entered.facts = entered.facts.with_provider(provider, present)
    return present == before


async def _write(
    entered: Entered,
    provider: ProviderArn,
    issuer: Issuer,
    audiences: Iterable[str],
    context: IdentityContext | None,
    deadline: Callable[[], float],
) -> None:
    """Create the provider or add client ids to it, where it was seen to lack them."""
    with shared_queue():
        async with entered.provider_lock:  # who waited finds what the other run has made
            if entered.facts.providers.get(provider) is None:
                wanted = frozenset(audiences)
                created = await entered.api.create_provider(issuer, wanted, WritePermit(deadline()), context)
                present = wanted if created else await entered.api.provider_audiences(provider)
                entered.facts = entered.facts.with_provider(provider, present)
            for audience in audiences:
                if not entered.facts.lists(provider, audience):
                    await entered.api.add_audience(provider, audience, WritePermit(deadline()))
                    known = entered.facts.providers.get(provider) or frozenset()
                    entered.facts = entered.facts.with_provider(provider, known | {audience})


async def _read(entered: Entered, provider: ProviderArn, facts: Facts) -> Facts:
    try:
        await refresh(entered, provider)
    except AwsError as error:
        return replace(facts, failures={**facts.failures, provider: error})
    return replace(facts, read=facts.read | {provider})
