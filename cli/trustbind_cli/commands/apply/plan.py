"""``trustbind apply``: bindings from files into IAM, without a cluster, with the operator's own engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.api.role_grant import CONSENT_TAG, consents
from trustbind.errors import AwsError, InvalidValueError, TrustbindError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import FederatedKey, WebIdentityKey, is_owned, sid_of, subjects_of
from trustbind.policy.plan import Desired, Plan, Refusal, plan, withheld
from trustbind.policy.source_policy import policy_name, targets_of
from trustbind.reasons import TrustReason
from trustbind_aws.client import AccountAccess, AwsAccess, ManagerRole, RoleState
from trustbind_aws.resources.oidc_provider import ProviderPlan, apply_provider, lacking_for, plan_provider, provided
from trustbind_aws.resources.source_policy import SourcePermission
from trustbind_aws.resources.trust_policy import DEFAULT_PATIENCE, Patience, commit
from trustbind_cli.aws_errors import is_of_the_caller, own_account
from trustbind_cli.commands.preview import desired_for
from trustbind_cli.files.decision import Verdicts, by_agent, judge, roles_of
from trustbind_cli.files.manifests import Objects

__all__ = ["Result", "Step", "carry_out", "hold", "steps", "to_do"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done for one role.

    Attributes:
        account: how its account is reached.
        access: the way in.
        desired: what is wanted there.
        state: the role as it was read.
        plan: what will be written.
        provider: what the account's OIDC provider lacks; None when nobody needs it.
        refusals: what is not done, and why, besides the plan's own.
        chains: the bindings that go over this role to another one.
        allowed: which roles its inline policy allows it to assume now; None: that policy is not as we write it.
        hindrances: what is not written, or of no use yet, since another issuer's provider is not as it should be.
        waiting: the chains that are not opened yet, each with the target role that is not ready for it.
    """

    account: AwsAccount
    access: AccountAccess
    desired: Desired
    state: RoleState
    limit: int
    plan: Plan
    provider: ProviderPlan | None
    refusals: tuple[Refusal, ...] = ()
    chains: tuple[RoleBinding, ...] = ()
    allowed: frozenset[str] | None = frozenset()
    hindrances: tuple[Refusal, ...] = ()
    waiting: Mapping[BindingRef, RoleArn] = field(default_factory=dict)

    @property
    def role(self) -> RoleArn:
        """The role."""
        return self.desired.role

    @property
    def targets(self) -> frozenset[RoleArn] | None:
        """Roles that this one should be allowed to assume; None: it is the source of no chain.

        A target that a chain waits for is not added, and not taken away.
        """
        if not self.chains:
            return None
        return frozenset(
            chain.role
            for chain in self.chains
            if chain.source is not None
            and chain.source.manage_permission
            and (chain.ref not in self.waiting or str(chain.role) in (self.allowed or ()))
        )

    @property
    def permission_differs(self) -> bool:
        """Whether its inline policy has to be written."""
        return self.targets is not None and self.allowed != frozenset(map(str, self.targets))

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be written."""
        provided = self.provider is None or self.provider.is_empty
        return self.plan.is_empty and provided and not self.permission_differs

    @property
    def is_stopped(self) -> bool:
        """Whether something keeps the whole role from being written."""
        return self._stop is not None

    def holds(self, ref: BindingRef) -> bool:
        """Return whether the role's trust policy has, or will have, everything of a binding."""
        stop = self._stop
        planned = self.plan if stop is None else withheld(self.plan, self.desired, stop)
        return ref in planned.applied

    @property
    def _stop(self) -> Refusal | None:
        return self.plan.blocked or next((r for r in self.refusals if r.binding is None), None)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one role.

    Attributes:
        role: the role.
        written: how many documents were written.
        problem: what went wrong; None when nothing did.
        refusals: what the files refuse, of a role that was not looked at in AWS.
        applied: the bindings of which the trust policy holds everything.
        waiting: the chains that were not opened, each with the target role that was not written for it.
    """

    role: RoleArn
    written: int = 0
    problem: TrustbindError | Refusal | None = None
    refusals: tuple[Refusal, ...] = ()
    applied: frozenset[BindingRef] = frozenset()
    waiting: Mapping[BindingRef, RoleArn] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether everything that was planned for the role is done."""
        return self.problem is None and not self.refusals and not self.waiting

    def holds(self, ref: BindingRef) -> bool:
        """Return whether the role's trust policy has everything of a binding."""
        return ref in self.applied


Outcome = Step | Result


def steps(objects: Objects, issuer: Issuer, aws: AwsAccess, also: Iterable[RoleArn] = ()) -> list[Outcome]:
    """Return what has to be done for every role that a binding names, and for the roles in ``also``.

    A role whose account cannot be reached, or which cannot be read, comes back as a `Result` with the problem; it
    does not hold up the others, but for the source roles of chains to it. A role about which the files do not tell
    enough comes back as a `Result` with the refusals, and is not even looked at. Where the caller's own credentials
    are no good, AWS is asked once, and not for every role again.

    Raises:
        InvalidValueError: a binding uses a method with which there is nothing to do in IAM.
    """
    for binding in objects.bindings:
        if sentence := by_agent(binding):
            raise InvalidValueError(sentence)
    verdicts = judge(objects)
    planner = _Planner(objects, issuer, aws, verdicts)
    prepared: dict[RoleArn, Outcome] = {}
    for_all: AwsError | None = None
    for role in _from_the_far_end(objects.bindings, also):
        refused = verdicts.refused.get(role, ())
        if unclear := verdicts.unclear.get(role, ()):
            prepared[role] = Result(role, refusals=(*refused, *unclear))
            continue
        try:
            prepared[role] = planner.step(role, prepared) if for_all is None else Result(role, 0, for_all, refused)
        except (AwsError, InvalidValueError) as error:
            for_all = error if isinstance(error, AwsError) and is_of_the_caller(error) else None
            prepared[role] = Result(role, problem=error, refusals=refused)
    return list(prepared.values())


def to_do(prepared: Iterable[Outcome]) -> list[Step]:
    """Return the steps that have to be carried out."""
    return [s for s in prepared if isinstance(s, Step) and not s.is_empty and not s.is_stopped]


def carry_out(prepared: Sequence[Outcome], *, patience: Patience = DEFAULT_PATIENCE) -> dict[RoleArn, Result]:
    """Do what the steps say, in their order, and read it back.

    A chain of which the target role could not be written is not opened at its source role.
    """
    results: dict[RoleArn, Result] = {}
    for step in to_do(prepared):
        closed = _closed(step.chains, results)
        held = hold(step, closed)
        done = _carry_out(held, patience)
        results[step.role] = replace(done, waiting=closed)
    return results


def hold(step: Step, waiting: Mapping[BindingRef, RoleArn]) -> Step:
    """Return the step without what would open these chains; what of them stands already stays.

    Args:
        step: of a source role.
        waiting: the chains, each with the target role that is not ready.
    """
    if not waiting:
        return step
    claims: list[Claim] = []
    for claim in step.desired.claims:
        claims += [claim] if claim.binding not in waiting else _standing(step, claim)
    desired = replace(step.desired, claims=tuple(claims))
    planned = plan(step.state.document, desired, step.limit)
    provider = step.provider
    if provider is not None:
        needed = _audiences(desired, planned)
        audiences = tuple(audience for audience in provider.audiences if audience in needed)
        provider = replace(provider, audiences=audiences) if needed else None
    return replace(step, desired=desired, plan=planned, provider=provider, waiting={**step.waiting, **waiting})


def _carry_out(step: Step, patience: Patience) -> Result:
    if step.is_empty:
        return Result(step.role, applied=frozenset(step.plan.applied))
    try:
        if step.provider is not None:
            apply_provider(step.access, step.provider, step.desired.issuer, manage=step.account.manage_provider)
        permission = SourcePermission(step.access, step.role, step.desired.issuer, step.targets)
        if left_out := permission.widen():
            listed = ", ".join(sorted(map(str, left_out)))
            message = f"the inline policies of {step.role} have no room for {listed}; use a second source role"
            return Result(step.role, problem=Refusal(None, TrustReason.SOURCE_POLICY_FULL, message))
        if step.plan.is_empty:
            permission.narrow()
            return Result(step.role, applied=frozenset(step.plan.applied))
        done = commit(step.access, step.desired, limit=step.limit, patience=patience)
        if done.problem is None:
            permission.narrow()
    except AwsError as error:
        return Result(step.role, problem=error)
    applied = frozenset(done.plan.applied) if done.problem is None else frozenset()
    return Result(step.role, done.written, done.problem, applied=applied)


def _standing(step: Step, claim: Claim) -> list[Claim]:
    """Return what of a claim the role's trust policy has already."""
    issuer = step.desired.issuer
    sid = sid_of(issuer, claim.key)
    there = {
        subject
        for statement in step.state.document.statements
        if is_owned(statement, issuer) and statement["Sid"] == sid
        for subject in subjects_of(statement, issuer)
    }
    subjects = tuple(subject for subject in claim.subjects if str(subject) in there)
    return [replace(claim, subjects=subjects)] if subjects else []


def _closed(chains: Iterable[RoleBinding], outcomes: Mapping[RoleArn, Outcome]) -> dict[BindingRef, RoleArn]:
    """Return the chains whose target role does not let the source role in, each with that role."""
    return {
        chain.ref: chain.role
        for chain in chains
        if chain.role in outcomes and not outcomes[chain.role].holds(chain.ref)
    }


def _from_the_far_end(bindings: Iterable[RoleBinding], also: Iterable[RoleArn]) -> list[RoleArn]:
    """Return the roles, targets before the source roles that lead to them: nobody is let in before the far end is open.

    Chains in a circle have no far end; there the order is by name.
    """
    targets: dict[RoleArn, set[RoleArn]] = {role: set() for role in also}
    for binding in bindings:
        for role in roles_of(binding):
            targets.setdefault(role, set())
        if binding.source is not None:
            targets[binding.source.role].add(binding.role)
    ordered: list[RoleArn] = []
    left = sorted(targets)
    while left:
        ready = [role for role in left if not targets[role].intersection(left)] or left[:1]
        ordered += ready
        left = [role for role in left if role not in ready]
    return ordered


class _Planner:
    """Plans for one role after another, each from what AWS has."""

    def __init__(self, objects: Objects, issuer: Issuer, aws: AwsAccess, verdicts: Verdicts) -> None:
        self._objects = objects
        self._issuer = issuer
        self._aws = aws
        self._verdicts = verdicts
        self._own = ""

    def step(self, role: RoleArn, before: Mapping[RoleArn, Outcome]) -> Step:
        """Return the step for a role; ``before`` has those for the target roles of its chains."""
        self._own = self._own or own_account(self._aws)
        issuer = self._issuer
        account = self._account(role)
        access = self._access(account)
        state = access.read(role)
        refusals = list(self._verdicts.refused.get(role, ()))
        wanting: list[RoleBinding] = []
        for binding in (b for b in self._verdicts.allowed if role in roles_of(b)):
            if refusal := _no_consent(binding, role, account, state) or _refused_at(before.get(binding.role), binding):
                refusals.append(refusal)
            else:
                wanting.append(binding)
        wanted = desired_for(wanting, self._objects, role, issuer)
        hindrances, absent = _hindrances(access, role, wanted.claims)
        wanted = replace(wanted, claims=provided(wanted.claims, absent, state.document, issuer))
        limit = account.trust_policy_limit or access.trust_policy_limit()
        planned = plan(state.document, wanted, limit)
        chains = tuple(b for b in wanting if b.source is not None and b.source.role == role)
        allowed = targets_of(access.role_policy(role, policy_name(issuer))) if chains else frozenset()
        # Only what the document will hold needs the provider; what is refused does not.
        provider = _provider(access, role, issuer, _audiences(wanted, planned))
        step = Step(account, access, wanted, state, limit, planned, provider, (), chains, allowed, hindrances)
        step = hold(step, _closed(chains, before))
        return replace(step, refusals=(*refusals, *_stops(step)))

    def _account(self, role: RoleArn) -> AwsAccount:
        account = self._objects.aws_accounts.get(role.account_id)
        if account is not None:
            return account
        if self._own != role.account_id:
            raise InvalidValueError(
                f"account {role.account_id} is not the one you are in ({self._own}), and the files hold no "
                "AWSAccount for it; add one with spec.accountId and spec.managerRoleArn"
            )
        return AwsAccount(role.account_id, role.account_id)

    def _access(self, account: AwsAccount) -> AccountAccess:
        if account.manager_role is None:
            return self._aws.direct()
        return self._aws.assume(ManagerRole(account.manager_role, account.external_id))


def _stops(step: Step) -> list[Refusal]:
    """Return what keeps the whole role from being written."""
    found: list[Refusal] = []
    provider, account = step.provider, step.account
    if provider is not None and not provider.is_empty and not account.manage_provider:
        found.append(Refusal(None, TrustReason.PROVIDER_MISSING, provider.lacking()))
    if account.drift_policy is DriftPolicy.OBSERVE and not step.plan.is_empty:
        message = f"AWSAccount {account.name} has driftPolicy Observe: nothing is written"
        found.append(Refusal(None, TrustReason.OBSERVED, message))
    return found


def _no_consent(binding: RoleBinding, role: RoleArn, account: AwsAccount, state: RoleState) -> Refusal | None:
    namespace = binding.ref.namespace
    if not account.require_role_consent or consents(state.tags, namespace):
        return None
    return Refusal(
        binding.ref,
        TrustReason.NO_CONSENT,
        f"{binding.ref}: {role} does not carry the tag {CONSENT_TAG} with {namespace} in it, which "
        f"AWSAccount {account.name} asks for",
    )


def _refused_at(target: Outcome | None, binding: RoleBinding) -> Refusal | None:
    """Return why the target role of a chain does not want it; then the source role does not either."""
    refusals = target.refusals if isinstance(target, Step) else ()
    return next((refusal for refusal in refusals if refusal.binding == binding.ref), None)


def _audiences(desired: Desired, planned: Plan) -> set[str]:
    held = [claim for claim in desired.claims if claim.binding in planned.applied]
    return {claim.key.audience for claim in held if isinstance(claim.key, WebIdentityKey)}


def _provider(access: AccountAccess, role: RoleArn, issuer: Issuer, audiences: set[str]) -> ProviderPlan | None:
    if not audiences:
        return None
    arn: ProviderArn = issuer.provider_for(role)
    return plan_provider(arn, access.provider_audiences(arn), audiences)


def _hindrances(
    access: AccountAccess, role: RoleArn, claims: Iterable[Claim]
) -> tuple[tuple[Refusal, ...], frozenset[Issuer]]:
    """Return what other issuers' providers lack, which are not ours to make, and the issuers that have none."""
    found: list[Refusal] = []
    absent: set[Issuer] = set()
    for claim in claims:
        if isinstance(claim.key, FederatedKey):
            arn = claim.key.issuer.provider_for(role)
            present = access.provider_audiences(arn)
            if present is None:
                absent.add(claim.key.issuer)
            if problem := lacking_for(arn, present, claim.key.audience):
                found.append(Refusal(claim.binding, TrustReason.PROVIDER_MISSING, f"{claim.binding}: {problem}"))
    return tuple(found), frozenset(absent)
