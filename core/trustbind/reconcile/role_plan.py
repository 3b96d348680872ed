"""The plan of one run of a role: an ordered list of steps, and what each binding waits for.

`plan_role` is asked again after each step whose outcome later steps need, with that outcome in the facts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.api.identity_context import IdentityContext
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.api.role_grant import PROTECTED_TAG
from trustbind.errors import AwsError, InvalidValueError, NotFoundError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import Claim, claims_on
from trustbind.policy.fitting import OwnedStatements
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    FederatedKey,
    WebIdentityKey,
    build,
    is_owned,
    other_issuer,
    sid_of,
)
from trustbind.policy.plan import (
    DEFAULT_LIMIT,
    ChangeKind,
    Plan,
    Refusal,
    plan,
    plan_without_revocation,
    standing_claims,
    withheld,
)
from trustbind.policy.retention import KEEP_ALL, Retention
from trustbind.policy.source_policy import TaggedTarget, Target
from trustbind.policy.trust_document import Statement, TrustDocument, same_meaning
from trustbind.reasons import TrustReason
from trustbind.reconcile.adoption import AdoptionPlan, Restoration, adoption, restoration
from trustbind.reconcile.decision import BindingDecision, desired_of, with_consent
from trustbind.reconcile.failure_reasons import TRANSIENT, account_failure
from trustbind.reconcile.observation import Facts, RoleObservation

__all__ = [
    "EnsureProvider",
    "NarrowSourcePolicy",
    "RolePlan",
    "RoleWork",
    "Step",
    "WidenSourcePolicy",
    "WriteTrustPolicy",
    "missing_client_ids",
    "observed",
    "plan_role",
    "provider_problem",
    "unread_providers",
]


@dataclass(frozen=True, slots=True)
class RoleWork:
    """What one run of a role is to reach.

    Attributes:
        role: which.
        issuer: the cluster's.
        aws_account: how its AWS account is reached.
        decisions: for its bindings that have statements in trust policies, oldest first.
        associations: the decisions for its bindings whose EKS Pod Identity associations name it, oldest first. As the
            source role of chains, they need permission to assume their targets.
        was_source: whether it may have been the source of a chain that does not name it any more.
        paused: why nothing may be revoked in its AWS account now; empty when it may.
        retention: which of what deleted bindings left there may stay.
        records: whether what is adopted is recorded in a status first; where nothing is written, it need not be.
        kept: associations' roles whose external ids stay trusted for now: an association still names the role as its
            target, although its binding names another one.
    """

    role: RoleArn
    issuer: Issuer
    aws_account: AwsAccount
    decisions: tuple[BindingDecision, ...]
    associations: tuple[BindingDecision, ...] = ()
    was_source: bool = False
    paused: str = ""
    retention: Retention = KEEP_ALL
    kept: frozenset[RoleArn] = frozenset()
    records: bool = True

    @property
    def may_write(self) -> bool:
        """Whether anything may be written in the AWS account."""
        return self.aws_account.drift_policy is DriftPolicy.REPAIR

    @property
    def provider(self) -> ProviderArn:
        """The cluster's OIDC provider in the AWS account."""
        return self.issuer.provider_for(self.role)


@dataclass(frozen=True, slots=True)
class EnsureProvider:
    """Create the cluster's OIDC provider, or add client ids to it."""

    provider: ProviderArn
    audiences: tuple[str, ...]
    context: IdentityContext | None = None
    """What a new provider makes of claims; that of one that is there is looked at with the AWSAccount."""


@dataclass(frozen=True, slots=True)
class WidenSourcePolicy:
    """Let the source role assume all of these targets, the most important first; what it may besides stays for now."""

    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class WriteTrustPolicy:
    """Write the role's trust policy."""


@dataclass(frozen=True, slots=True)
class NarrowSourcePolicy:
    """Let the source role assume these targets and no others."""

    targets: tuple[Target, ...]


Step = EnsureProvider | WidenSourcePolicy | WriteTrustPolicy | NarrowSourcePolicy


_NO_ADOPTION: Final = AdoptionPlan()
_NO_RESTORATION: Final = Restoration()


@dataclass(frozen=True, slots=True)
class RolePlan:
    """What is to be done for a role, and what each binding waits for.

    Attributes:
        decisions: as the role agreed to them (consent, chains, other issuers' providers, room in the source policy).
        trust: see `Plan`.
        steps: in their order, as far as foreseen; the first is carried out, and the rest is planned again.
        held: the bindings that wait for the cluster's OIDC provider.
        lacking: what that provider lacks, or why it is not known; None when all is well.
        hindrances: the bindings for which another issuer's provider is not in order.
        waiting: the chains that wait for their other role, each with that role: to be granted at the source role, or to
            be revoked at the target role.
        targets: the roles that this one is to be allowed to assume, as the source of chains; None when it is the source
            of none.
        unpermitted: whether the source role's inline policies have no room for a target.
        adoption: see `AdoptionPlan`. A binding whose status has to record something first waits for that; the others of
            the role do not.
        restoration: see `Restoration`.
        unassociated: the bindings by EKS Pod Identity whose target has no room there.
    """

    decisions: tuple[BindingDecision, ...]
    trust: Plan
    steps: tuple[Step, ...] = ()
    held: tuple[BindingDecision, ...] = ()
    lacking: AwsError | None = None
    hindrances: Mapping[BindingRef, Refusal] = field(default_factory=dict)
    waiting: Mapping[BindingRef, RoleArn] = field(default_factory=dict)
    targets: tuple[Target, ...] | None = None
    unpermitted: bool = False
    unassociated: Mapping[BindingRef, Refusal] = field(default_factory=dict)
    adoption: AdoptionPlan = _NO_ADOPTION
    restoration: Restoration = _NO_RESTORATION


def unread_providers(work: RoleWork, facts: Facts) -> tuple[ProviderArn, ...]:
    """Return the OIDC providers that have to be read before ``work`` can be planned, sorted.

    A client id that was seen is not asked for again, but for bindings that adopt, or whose statements are written back:
    which audiences the provider accepts decides what a hand-written statement means.
    """
    wanted: set[ProviderArn] = set()
    for decision in work.decisions:
        is_by_hand = decision.adopts or bool(decision.restorable)
        for key in (c.key for c in (*decision.claims, *decision.restorable)):
            if not isinstance(key, WebIdentityKey | FederatedKey):
                continue
            provider = (key.issuer if isinstance(key, FederatedKey) else work.issuer).provider_for(work.role)
            if is_by_hand or not facts.account.lists(provider, key.audience):
                wanted.add(provider)
    return tuple(sorted(wanted - facts.read - facts.failures.keys()))


def plan_role(work: RoleWork, facts: Facts, seen: RoleObservation) -> RolePlan:
    """Return what has to be done so that the role is as ``work`` asks.

    A binding that cannot be written or revoked now (the OIDC provider is missing, the other role of its chain is first,
    the source role's inline policies are full) keeps what the document has of it, and gets nothing new.

    Args:
        work: see `RoleWork`.
        facts: what is known of the AWS account.
        seen: the role, as it was read last.
    """
    role, issuer, document = work.role, work.issuer, seen.document
    decisions = _agreed(work, seen)
    hindrances, absent = _other_issuers(work, facts, decisions)
    decisions = _without_absent(decisions, absent, document, issuer)
    missing = missing_client_ids(work, facts, decisions)
    lacking = _lacking(work, facts, missing)
    held = tuple(d for d in decisions if _admits(d) and _audiences([d]) & missing) if lacking is not None else ()
    associations = with_consent(work.associations, work.aws_account, seen.tags)
    is_source = _may_have_targets(work, facts, (*decisions, *associations))
    going_on = [d for d in decisions if d not in held]
    going_on, full, refusals = _without_permission(role, going_on, facts.no_room if is_source else ())
    waiting = _waiting(role, going_on)
    adopted, restored = _by_hand(work, facts, document, (d for d in going_on if d.stored.ref not in waiting))
    not_due = {*waiting, *adopted.to_record, *(d.stored.ref for d in going_on if d.keeps_standing)}
    due = [d for d in going_on if d.stored.ref not in not_due]
    paused = [*held, *full, *(d for d in going_on if d not in due)]
    intact, edited = _without_edited(document, issuer, role, (c for d in paused for c in _claims(role, d)))
    kept = standing_claims(document, issuer, (c for c in intact if not isinstance(c.key, AssociationKey)))
    kept += _kept_associations(document, issuer, role, {*work.kept, *_sources(intact)})
    retention = work.retention.with_tags(
        seen.tags,
        is_protected=PROTECTED_TAG in seen.tags,
        needs_consent=work.aws_account.require_role_consent,
    )
    desired = desired_of(role, issuer, due, retention)
    desired = replace(
        desired,
        claims=(*desired.claims, *kept),
        former=(*desired.former, *edited),
        replaced=adopted.replaced,
        restored=restored.statements,
    )
    limit = work.aws_account.trust_policy_limit or facts.account.limit or DEFAULT_LIMIT
    if work.paused:
        refusal = Refusal(None, TrustReason.REVOCATION_PAUSED, work.paused)
        trust = plan_without_revocation(document, desired, limit, refusal)
    else:
        trust = plan(document, desired, limit)
    if not work.may_write and not trust.is_empty:
        trust = withheld(trust, desired, observed(work.aws_account, work.role, trust))
    partly = {d.stored.ref for d in paused}
    trust = replace(
        trust,
        refusals=(*trust.refusals, *refusals),
        applied={ref: sid for ref, sid in trust.applied.items() if ref not in partly},
    )
    targets: tuple[Target, ...] | None = None
    unassociated: dict[BindingRef, Refusal] = {}
    if is_source:
        targets = (*_targets(work, facts, decisions, trust), *_tagged_targets(work, facts, associations))
        _, _, full_too = _without_permission(role, associations, facts.no_room)
        unassociated = {refusal.binding: refusal for refusal in full_too if refusal.binding is not None}
    provided = _needed(work, going_on, trust) & missing if lacking is None else frozenset[str]()
    return RolePlan(
        decisions=(*going_on, *held),
        trust=trust,
        steps=_steps(work, facts, provided, targets, trust),
        held=held,
        lacking=lacking,
        hindrances=hindrances,
        waiting=waiting,
        targets=targets,
        unpermitted=bool(refusals) or bool(unassociated),
        unassociated=unassociated,
        adoption=adopted,
        restoration=_fitted(restored, trust),
    )


def provider_problem(provider: ProviderArn, present: frozenset[str] | None, audiences: Iterable[str]) -> str:
    """Return what the cluster's OIDC provider lacks and what to do; empty when nothing.

    Args:
        provider: its ARN.
        present: the client ids that it has; None when it does not exist.
        audiences: the client ids that are needed.
    """
    listed = ", ".join(sorted(set(audiences) - (present or frozenset())))
    if present is None:
        return (
            f"account {provider.account_id} has no OIDC provider for https://{provider.host_path}; "
            f"create it with the client id {listed}, or let trustbind manage it "
            "(AWSAccount spec.oidcProvider.manage: true)"
        )
    return f"the OIDC provider {provider} lacks the client id {listed}; add it" if listed else ""


def missing_client_ids(work: RoleWork, facts: Facts, decisions: Iterable[BindingDecision]) -> frozenset[str]:
    """Return the audiences that the cluster's OIDC provider was not seen to list."""
    return frozenset(_audiences(decisions) - (facts.account.providers.get(work.provider) or frozenset()))


def _agreed(work: RoleWork, seen: RoleObservation) -> list[BindingDecision]:
    """Return the decisions after the role's own consent; a chain's claims follow it."""
    asked = with_consent(work.decisions, work.aws_account, seen.tags)
    return [
        after if after is before else after.rollout.step(after, work.role)
        for before, after in zip(work.decisions, asked, strict=True)
    ]


def _other_issuers(
    work: RoleWork, facts: Facts, decisions: Iterable[BindingDecision]
) -> tuple[dict[BindingRef, Refusal], frozenset[Issuer]]:
    """Return which bindings lack another issuer's provider, and the issuers that have none.

    Those providers have other owners, so they are read and never written.
    """
    told: dict[BindingRef, Refusal] = {}
    absent: set[Issuer] = set()
    for decision in decisions:
        for key in _keys([decision]):
            if not isinstance(key, FederatedKey) or other_issuer(key) is None:
                continue
            provider = key.issuer.provider_for(work.role)
            error = facts.failures.get(provider)
            if error is None:
                present = facts.account.providers.get(provider)
                if present is None:
                    absent.add(key.issuer)
                problem = _lacking_for(provider, present, key.audience)
                error = NotFoundError(problem, operation="iam:GetOpenIDConnectProvider") if problem else None
            if error is None:
                continue
            reason, message = account_failure(error)
            # That AWS is busy says nothing about the provider.
            if reason not in TRANSIENT or not decision.stored.is_ready:
                told.setdefault(decision.stored.ref, Refusal(decision.stored.ref, reason, message))
    return told, frozenset(absent)


def _lacking_for(provider: ProviderArn, present: frozenset[str] | None, audience: str) -> str:
    """Return what another issuer's provider lacks, and what to do; empty when nothing."""
    if present is None:
        return (
            f"account {provider.account_id} has no OIDC provider for https://{provider.host_path}, which "
            f"spec.federatedSubjects needs; create it with the client id {audience}: trustbind makes only the cluster's"
        )
    if audience not in present:
        return f"the OIDC provider {provider} lacks the client id {audience}, which spec.federatedSubjects needs"
    return ""


def _without_absent(
    decisions: Iterable[BindingDecision], absent: Collection[Issuer], document: TrustDocument, issuer: Issuer
) -> list[BindingDecision]:
    """Return the decisions without claims for issuers that have no provider, unless their statement stands.

    A statement whose provider does not exist is not written, so that IAM has no reason to refuse a document that other
    bindings share; one that stands stays, since its owner may be about to make the provider again.
    """
    if not absent:
        return list(decisions)
    standing = {statement.get("Sid") for statement in document.statements}
    return [
        replace(
            decision,
            claims=tuple(
                claim
                for claim in decision.claims
                if not (isinstance(claim.key, FederatedKey) and claim.key.issuer in absent)
                or sid_of(issuer, claim.key) in standing
            ),
        )
        for decision in decisions
    ]


def _lacking(work: RoleWork, facts: Facts, missing: frozenset[str]) -> AwsError | None:
    """Return why the cluster's provider cannot list what is missing; None when it can, or nothing is."""
    if not missing:
        return None
    failure = facts.failures.get(work.provider)
    if failure is not None:
        return failure
    if work.aws_account.manage_provider and work.may_write:
        return None
    present = facts.account.providers.get(work.provider)
    problem = provider_problem(work.provider, present, missing)
    if work.aws_account.manage_provider:
        problem += f"; AWSAccount {work.aws_account.name} has driftPolicy Observe, so trustbind does not write it"
    return NotFoundError(problem, operation="iam:GetOpenIDConnectProvider")


def _may_have_targets(work: RoleWork, facts: Facts, decisions: Sequence[BindingDecision]) -> bool:
    """Return whether the role's inline policy is ours to keep: it is the source of a chain.

    Without any decision, what a binding left behind whose finalizer was removed by force has to go.
    """
    if not work.may_write or facts.source_unreadable:
        return False
    is_source = any(_is_source(d, work.role) for d in decisions) if decisions else True
    return is_source or work.was_source


def _targets(work: RoleWork, facts: Facts, decisions: Iterable[BindingDecision], trust: Plan) -> tuple[RoleArn, ...]:
    """Return the roles that this one must be allowed to assume, in the order of decisions.

    A target is added once the trust policy holds all that its chain asks for; until then what is allowed stays.
    """
    there = facts.account.source_targets.get(work.role, _UNREAD)
    managed = ((d, d.stored.binding) for d in decisions if d.reason is None and _is_managed(d, work.role))
    return tuple(
        dict.fromkeys(
            binding.role
            for decision, binding in managed
            if binding is not None
            and not decision.stored.deleting
            and binding.role not in facts.no_room
            and (decision.stored.ref in trust.applied or there is None or str(binding.role) in there)
        )
    )


def _tagged_targets(work: RoleWork, facts: Facts, associations: Iterable[BindingDecision]) -> tuple[TaggedTarget, ...]:
    """Return the targets of the role's EKS Pod Identity associations, in the order of decisions.

    What an association names stays allowed until no association names it, and is not allowed anew.
    """
    there = facts.account.source_targets.get(work.role, _UNREAD)
    targets: dict[TaggedTarget, None] = {}
    for decision in associations:
        binding = decision.stored.binding
        if binding is None or not _is_managed(decision, work.role):
            continue
        is_granted = decision.reason is None and not decision.stored.deleting
        if is_granted and TaggedTarget(binding.role) not in facts.no_room:
            targets[TaggedTarget(binding.role)] = None
        for target in map(TaggedTarget, decision.rollout.named_targets(decision.stored)):
            if there is _UNREAD or str(target) in (there or ()):
                targets[target] = None
    return tuple(targets)


def _without_permission(
    role: RoleArn, decisions: Iterable[BindingDecision], no_room: Collection[Target]
) -> tuple[list[BindingDecision], list[BindingDecision], tuple[Refusal, ...]]:
    """Take the claims from chains whose target the source role cannot be allowed to assume.

    Returns:
        All decisions, those without claims as they were before, and a refusal for each of these.
    """
    result: list[BindingDecision] = []
    full: list[BindingDecision] = []
    refusals: list[Refusal] = []
    for decision in decisions:
        stored, binding = decision.stored, decision.stored.binding
        if binding is None or _target_of(binding) not in no_room or not _admits_or_associates(decision, role):
            result.append(decision)
            continue
        message = (
            f"the inline policies of {role} have no room for {binding.role} in their 10,240 characters; remove a chain "
            "over it or another inline policy of it, or use a second source role"
        )
        if binding.method.has_source_role:
            message += "; or set spec.source.managePermission: false and allow it by a managed policy"
        refusals.append(Refusal(stored.ref, TrustReason.SOURCE_POLICY_FULL, message))
        full.append(decision)
        result.append(replace(decision, claims=()))
    return result, full, tuple(refusals)


def _waiting(role: RoleArn, decisions: Iterable[BindingDecision]) -> dict[BindingRef, RoleArn]:
    """Return the chains that wait for their other role; see `RolePlan.waiting`."""
    waiting: dict[BindingRef, RoleArn] = {}
    for decision in decisions:
        stored, binding = decision.stored, decision.stored.binding
        if binding is None or binding.source is None:
            continue
        is_granted = decision.reason is None and not stored.deleting
        if stored.is_pod_identity:
            if (is_granted or decision.retains) and decision.rollout.external_ids(decision) is None:
                waiting[stored.ref] = binding.source.role
            continue
        if decision.retains:
            continue
        if is_granted and role == binding.source.role and not decision.rollout.stands_in(binding.role):
            waiting[stored.ref] = binding.role
        elif not is_granted and role == binding.role and decision.claims:
            waiting[stored.ref] = binding.source.role
    return waiting


def _sources(claims: Iterable[Claim]) -> frozenset[RoleArn]:
    return frozenset(claim.key.source for claim in claims if isinstance(claim.key, AssociationKey))


def _kept_associations(
    document: TrustDocument, issuer: Issuer, role: RoleArn, sources: Collection[RoleArn]
) -> list[Claim]:
    """Return claims for all external ids that the document trusts for associations with these roles.

    A statement that differs from what trustbind writes is not kept, for the reason of `_without_edited`.
    """
    there = OwnedStatements((s for s in document.statements if is_owned(s, issuer)), issuer)
    keys = [AssociationKey(source) for source in sorted(sources)]
    nobody = BindingRef("", "")
    return [
        Claim(nobody, key, tuple(sorted(names)), (False, "", nobody))
        for key in keys
        if (names := there.names(key)) and same_meaning(there.statement(key) or {}, build(issuer, role, key, names))
    ]


def _claims(role: RoleArn, decision: BindingDecision) -> tuple[Claim, ...]:
    """Return what a granted binding claims in the role, whether that is due now or not."""
    binding = decision.stored.binding
    return decision.claims or (claims_on(role, binding, decision.subjects) if binding is not None else ())


def _without_edited(
    document: TrustDocument, issuer: Issuer, role: RoleArn, claims: Iterable[Claim]
) -> tuple[list[Claim], tuple[Claim, ...]]:
    """Return the claims that may be kept, and those of chains whose statement differs from what trustbind writes.

    The latter is not kept for the order of revocation: writing it anew would grant. IAM shows a deleted source role by
    its unique id, and naming it again would admit the role that has its name now.
    """
    there = {statement.get("Sid"): statement for statement in document.statements}
    kept: list[Claim] = []
    edited: list[Claim] = []
    for claim in claims:
        (edited if isinstance(claim.key, ChainKey) and not _is_intact(there, issuer, role, claim.key) else kept).append(
            claim
        )
    return kept, tuple(edited)


def _is_intact(there: Mapping[Any, Statement], issuer: Issuer, role: RoleArn, key: ChainKey) -> bool:
    try:
        built = build(issuer, role, key)
    except InvalidValueError:  # the plan refuses its binding
        return False
    return same_meaning(there.get(built["Sid"], {}), built)


def _by_hand(
    work: RoleWork, facts: Facts, document: TrustDocument, decisions: Iterable[BindingDecision]
) -> tuple[AdoptionPlan, Restoration]:
    """Return which hand-written statements go, and which are written back."""
    listed = list(decisions)
    adopting = [d for d in listed if d.adopts]
    going = [d for d in listed if d.restorable]

    def client_ids(issuer: Issuer) -> Collection[str] | None:
        return facts.account.providers.get(issuer.provider_for(work.role))

    adopted, restored = _NO_ADOPTION, _NO_RESTORATION
    if adopting:
        adopted = adoption(
            work.role,
            document,
            work.issuer,
            (c for d in adopting for c in d.claims),
            {d.stored.ref: d.stored.status for d in adopting},
            client_ids,
            needs_record=work.records and work.may_write,
        )
    if going:
        granted = {d.stored.ref: d.restorable for d in going}
        statuses = {d.stored.ref: d.stored.status for d in going}
        restored = restoration(work.role, document, work.issuer, granted, statuses, client_ids)
    return adopted, restored


def _fitted(restored: Restoration, trust: Plan) -> Restoration:
    """Return the restoration after the plan, which writes nothing back where there is no room for all of it."""
    if not restored.statements or trust.is_empty or any(c.kind is ChangeKind.RESTORED for c in trust.changes):
        return restored
    return restored.without_room()


def _needed(work: RoleWork, decisions: Iterable[BindingDecision], trust: Plan) -> frozenset[str]:
    """Return the audiences of the cluster's tokens that statements of the planned document ask for."""
    sids = {statement.get("Sid") for statement in trust.document.statements}
    keys = (key for key in _keys(decisions) if other_issuer(key) is None)
    return frozenset(key.audience for key in keys if sid_of(work.issuer, key) in sids)


def observed(aws_account: AwsAccount, role: RoleArn, trust: Plan) -> Refusal:
    """Return why a trust policy is not written in an AWS account that is only observed."""
    what = ", ".join(f"{change.kind} {change.sid}" for change in trust.changes)
    return Refusal(
        None,
        TrustReason.OBSERVED,
        f"AWSAccount {aws_account.name} has driftPolicy Observe, so nothing is written to the trust policy of "
        f"{role}; it differs: {what}",
    )


def _steps(
    work: RoleWork, facts: Facts, provided: frozenset[str], targets: tuple[Target, ...] | None, trust: Plan
) -> tuple[Step, ...]:
    steps: list[Step] = []
    if provided:
        steps.append(EnsureProvider(work.provider, tuple(sorted(provided)), work.aws_account.identity_context))
    wanted = None if targets is None else frozenset(map(str, targets))
    there = facts.account.source_targets.get(work.role, _UNREAD)
    if wanted is not None and (there is _UNREAD or not wanted <= (there or frozenset())):
        steps.append(WidenSourcePolicy(targets or ()))
    if not trust.is_empty:
        steps.append(WriteTrustPolicy())
    elif targets is not None and not steps and there != wanted and trust.blocked is None and not work.paused:
        steps.append(NarrowSourcePolicy(targets))
    return tuple(steps)


_UNREAD: Final = frozenset({"not read yet"})


def _keys(decisions: Iterable[BindingDecision]) -> list[WebIdentityKey | FederatedKey]:
    return [c.key for d in decisions for c in d.claims if isinstance(c.key, WebIdentityKey | FederatedKey)]


def _audiences(decisions: Iterable[BindingDecision]) -> set[str]:
    return {key.audience for key in _keys(decisions) if other_issuer(key) is None}


def _admits(decision: BindingDecision) -> bool:
    return bool(decision.claims) and not decision.stored.deleting


def _is_source(decision: BindingDecision, role: RoleArn) -> bool:
    binding = decision.stored.binding
    return binding is not None and binding.source is not None and binding.source.role == role


def _target_of(binding: RoleBinding) -> Target:
    """Return what the source role of a chain has to be allowed to assume."""
    return TaggedTarget(binding.role) if binding.method.uses_pod_identity_association else binding.role


def _admits_or_associates(decision: BindingDecision, role: RoleArn) -> bool:
    """Return whether the source role trusts a subject for a chain, which then needs its permission."""
    return _is_managed(decision, role) and (bool(decision.claims) or decision.cluster is not None)


def _is_managed(decision: BindingDecision, role: RoleArn) -> bool:
    source = decision.stored.binding.source if decision.stored.binding is not None else None
    return source is not None and source.role == role and source.manage_permission
