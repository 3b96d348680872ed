"""``trustbind apply``: bindings from files into IAM, without a cluster, with the operator's own engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from trustbind.accounts import AwsAccount, DriftPolicy
from trustbind.arns import ProviderArn, RoleArn
from trustbind.bindings import Method, RoleBinding
from trustbind.claims import Claim
from trustbind.errors import AwsError, InvalidValueError, TrustbindError
from trustbind.grants import authorize, consents
from trustbind.identities import Issuer
from trustbind.plan import Desired, Plan, Refusal, plan
from trustbind.reasons import TrustReason
from trustbind.source_policies import policy_name, targets_of
from trustbind.statements import FederatedKey, WebIdentityKey
from trustbind_cli.inputs import Objects
from trustbind_cli.preview import desired_for
from trustbind_operator.iam import AccountAccess, AwsAccess, ManagerRole, RoleState
from trustbind_operator.permissions import SourcePermission
from trustbind_operator.providers import ProviderPlan, apply_provider, lacking_for, plan_provider, provided
from trustbind_operator.reconcile import DEFAULT_PATIENCE, Patience, commit

__all__ = ["Result", "Step", "carry_out", "steps"]


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
        targets: roles that this one should be allowed to assume, as a source of chains; None: it is the source of none.
        permission_differs: whether its inline policy has to be written for that.
        hindrances: what is not written, or of no use yet, since another issuer's provider is not as it should be.
    """

    account: AwsAccount
    access: AccountAccess
    desired: Desired
    state: RoleState
    limit: int
    plan: Plan
    provider: ProviderPlan | None
    refusals: tuple[Refusal, ...] = ()
    targets: frozenset[RoleArn] | None = None
    permission_differs: bool = False
    hindrances: tuple[Refusal, ...] = ()

    @property
    def role(self) -> RoleArn:
        """The role."""
        return self.desired.role

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be written."""
        provided = self.provider is None or self.provider.is_empty
        return self.plan.is_empty and provided and not self.permission_differs

    @property
    def is_stopped(self) -> bool:
        """Whether something keeps the whole role from being written."""
        return any(r.binding is None for r in self.refusals)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one role.

    Attributes:
        role: the role.
        written: how many documents were written.
        problem: what went wrong; None when nothing did.
    """

    role: RoleArn
    written: int = 0
    problem: TrustbindError | Refusal | None = None


def steps(objects: Objects, issuer: Issuer, aws: AwsAccess, also: Iterable[RoleArn] = ()) -> list[Step | Result]:
    """Return what has to be done for every role that a binding names, and for the roles in ``also``.

    A role whose account cannot be reached, or which cannot be read, comes back as a `Result` with the problem; it
    does not hold up the others.

    Raises:
        InvalidValueError: a binding uses a method with which there is nothing to do in IAM.
    """
    for binding in objects.bindings:
        if binding.method is Method.POD_IDENTITY:
            raise InvalidValueError(
                f"RoleBinding {binding.ref} has method {binding.method}, for which there is nothing to do in IAM; "
                "the association is EKS's (aws eks create-pod-identity-association)",
                field="spec.method",
            )
    allowed, refused = _authorized(objects)
    sources = {b.source.role for b in objects.bindings if b.source is not None}
    # Chains are granted from the far end: a source role lets nobody in before its targets let it in.
    roles = sorted({b.role for b in objects.bindings} | sources | set(also), key=lambda role: (role in sources, role))
    own = _OwnAccount(aws)
    prepared: list[Step | Result] = []
    for role in roles:
        try:
            prepared.append(_step(objects, role, issuer, aws, own, allowed, refused))
        except (AwsError, InvalidValueError) as error:
            prepared.append(Result(role, problem=error))
    return prepared


def carry_out(step: Step, *, patience: Patience = DEFAULT_PATIENCE) -> Result:
    """Do what a step says, and read it back."""
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
            return Result(step.role)
        done = commit(step.access, step.desired, limit=step.limit, patience=patience)
        if done.problem is None:
            permission.narrow()
    except AwsError as error:
        return Result(step.role, problem=error)
    return Result(step.role, done.written, done.problem)


class _OwnAccount:
    """The caller's own account id, asked once and only when somebody needs it."""

    def __init__(self, aws: AwsAccess) -> None:
        self._ask: Callable[[], str] = lambda: aws.direct().caller()[0]
        self._known: str | None = None

    def id(self) -> str:
        if self._known is None:
            self._known = self._ask()
        return self._known


def _authorized(objects: Objects) -> tuple[list[RoleBinding], dict[RoleArn, list[Refusal]]]:
    """Sort the bindings by the grants in the files; without any grant in the files, whoever applies decides."""
    if not objects.grants:
        return objects.bindings, {}
    allowed: list[RoleBinding] = []
    refused: dict[RoleArn, list[Refusal]] = {}
    for binding in objects.bindings:
        names = [s.name for s in binding.subjects(objects.labels_in(binding.ref.namespace))]
        answer = authorize(binding, names, objects.namespaces.get(binding.ref.namespace, {}), objects.grants)
        if answer.is_granted:
            allowed.append(binding)
        else:
            refusal = Refusal(binding.ref, TrustReason.NOT_GRANTED, f"{binding.ref}: {answer.message}")
            refused.setdefault(binding.role, []).append(refusal)
    return allowed, refused


def _step(
    objects: Objects,
    role: RoleArn,
    issuer: Issuer,
    aws: AwsAccess,
    own: _OwnAccount,
    allowed: list[RoleBinding],
    refused: dict[RoleArn, list[Refusal]],
) -> Step:
    account = objects.aws_accounts.get(role.account_id)
    if account is None:
        if own.id() != role.account_id:
            raise InvalidValueError(
                f"account {role.account_id} is not the one you are in ({own.id()}), and the files hold no AWSAccount "
                "for it; add one with spec.accountId and spec.managerRoleArn"
            )
        account = AwsAccount(role.account_id, role.account_id)
    access = (
        aws.direct()
        if account.manager_role is None
        else aws.assume(ManagerRole(account.manager_role, account.external_id))
    )
    state = access.read(role)
    refusals = list(refused.get(role, ()))
    consenting: list[RoleBinding] = []
    for binding in (b for b in allowed if role in {b.role, b.source.role if b.source else None}):
        if account.require_role_consent and not consents(state.tags, binding.ref.namespace):
            refusals.append(
                Refusal(
                    binding.ref,
                    TrustReason.NO_CONSENT,
                    f"{binding.ref}: {role} does not carry the tag trustbind.dev/namespaces with "
                    f"{binding.ref.namespace} in it, which AWSAccount {account.name} asks for",
                )
            )
        else:
            consenting.append(binding)
    wanted = desired_for(Objects(accounts=objects.accounts, bindings=consenting), role, issuer)
    hindrances, absent = _hindrances(access, role, wanted.claims)
    wanted = replace(wanted, claims=provided(wanted.claims, absent, state.document, issuer))
    limit = account.trust_policy_limit or access.trust_policy_limit()
    planned = plan(state.document, wanted, limit)
    # Only what the document will hold needs the provider; what is refused does not.
    held = [c for c in wanted.claims if c.binding in planned.applied]
    provider = _provider(access, role, issuer, {c.key.audience for c in held if isinstance(c.key, WebIdentityKey)})
    over = [b for b in consenting if b.source is not None and b.source.role == role]
    targets = frozenset(b.role for b in over if b.source and b.source.manage_permission) if over else None
    there = targets_of(access.role_policy(role, policy_name(issuer))) if targets is not None else None
    differs = targets is not None and (there is None or there != frozenset(str(target) for target in targets))
    if provider is not None and not provider.is_empty and not account.manage_provider:
        refusals.append(Refusal(None, TrustReason.PROVIDER_MISSING, provider.lacking()))
    if account.drift_policy is DriftPolicy.OBSERVE and not planned.is_empty:
        refusals.append(
            Refusal(
                None, TrustReason.OBSERVED, f"AWSAccount {account.name} has driftPolicy Observe: nothing is written"
            )
        )
    return Step(account, access, wanted, state, limit, planned, provider, tuple(refusals), targets, differs, hindrances)


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
