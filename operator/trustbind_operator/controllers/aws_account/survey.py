"""Find drift: one survey of an AWS account compares all that bindings need there with what is there.

``iam:ListRoles`` shows every role's trust policy, 1,000 a page (IAM API reference, ListRoles). So one call finds which
roles differ, and only those are read, planned and written. Documents are compared as text, by digest; only one that
changed is decoded and planned on. A list shows neither tags, inline policies, providers nor associations, so those have
a call of their own: one for each provider in use, for each source role, for each cluster, and for each role whose
consent is required.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_grant import CONSENT_TAG
from trustbind.errors import AccessDeniedError, AwsError, InvalidValueError, NotFoundError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import RETAINED, FederatedKey, WebIdentityKey, owner_prefix
from trustbind.policy.plan import revoked_names
from trustbind.policy.retention import KEEP_NONE, Retention
from trustbind.policy.trust_document import TrustDocument
from trustbind.policy.trusted_names import retained_names
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.observation import Facts, RoleObservation
from trustbind.reconcile.role_plan import RoleWork, plan_role
from trustbind_aws.account_pool import AccountPool, Entered
from trustbind_aws.client import NO_PERMISSION, ListedRole
from trustbind_aws.resources import oidc_provider, source_policy
from trustbind_operator.cluster.conditions import Condition, ConditionType

__all__ = ["Findings", "Survey", "SurveyedRoles"]


_SLICE: Final = 20
"""Roles that are looked at until the event loop has its turn."""


class SurveyedRoles(Protocol):
    """What the cluster wants of the roles of an AWS account."""

    def roles_in(self, account_id: str) -> list[RoleArn]:
        """Return the roles that bindings name there."""

    def decisions_for(self, role: RoleArn) -> tuple[BindingDecision, ...]:
        """Return the decisions for a role's bindings."""

    def retention(self, role: RoleArn) -> Retention:
        """Return which of what deleted bindings left in a role may stay."""

    def is_missing(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that there is none."""

    def lacks_provider(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that an OIDC provider is missing or incomplete."""

    def pause(self, account_id: str) -> str:
        """Return why nothing may be revoked in an AWS account now; empty when it may."""

    def naming_as_target(self, role: RoleArn) -> frozenset[RoleArn]:
        """Return the roles whose associations name ``role`` as their target, although their bindings do not."""


@dataclass(slots=True)
class Findings:
    """What one survey found.

    Attributes:
        drifted: roles that are known not to be as the cluster wants them.
        unseen: roles that this survey cannot tell about, so that each has to be read alone.
        ours: roles with statements of ours that bindings name.
        strays: roles with statements of ours that no binding names, and that have to go.
        revoked: by role, whom its run will not trust any more; while revocation is paused, of no role.
        retained: by role, whom deleted bindings left there; sorted.
        fill: by role whose trust policy was planned on, the share of the limit that it takes.
        pages: calls of ListRoles.
        condition: what the AWSAccount has to show; None: nothing.
    """

    drifted: set[RoleArn] = field(default_factory=set)
    unseen: set[RoleArn] = field(default_factory=set)
    ours: set[RoleArn] = field(default_factory=set)
    strays: set[RoleArn] = field(default_factory=set)
    revoked: dict[RoleArn, frozenset[str]] = field(default_factory=dict)
    retained: dict[RoleArn, tuple[str, ...]] = field(default_factory=dict)
    fill: dict[RoleArn, float] = field(default_factory=dict)
    pages: int = 0
    condition: Condition | None = None


class Survey:
    """See the module. One instance serves all AWS accounts; no two surveys of one overlap.

    Args:
        pool: the AWS accounts.
        issuer: the cluster's.
        wanted: see `SurveyedRoles`.
    """

    def __init__(self, pool: AccountPool, issuer: Issuer, wanted: SurveyedRoles) -> None:
        self._pool = pool
        self._issuer = issuer
        self._wanted = wanted
        self._in_order: dict[RoleArn, bytes] = {}
        """Digest of each role's trust policy that was found as it is wanted, with what was wanted then."""
        self._retained: dict[RoleArn, tuple[str, ...]] = {}
        """Whom deleted bindings left in each role, as its trust policy was decoded last."""
        self._absent: set[RoleArn] = set()
        self._listed: dict[str, str] = {}
        """By AWS account id, the path below which its last survey listed roles."""
        self._consents: dict[RoleArn, frozenset[tuple[str, str]]] = {}
        """Tags of roles whose consent is required, as they were seen."""

    def lists(self, role: RoleArn) -> bool:
        """Return whether surveys list the role once it exists, so that nothing else has to look for it."""
        prefix = self._listed.get(role.account_id)
        return prefix is not None and role.path.startswith(prefix)

    async def run(self, account: AwsAccount) -> Findings:
        """Survey one AWS account.

        Raises:
            AwsError: it cannot be entered, or a call failed.
        """
        entered = await self._pool.enter(account)
        roles = self._wanted.roles_in(account.account_id)
        decisions: dict[RoleArn, tuple[BindingDecision, ...]] = {}
        for number, role in enumerate(roles):
            await _turn(number)
            decisions[role] = self._wanted.decisions_for(role)
        findings = Findings()
        await self._providers(entered, decisions, findings)  # first: what a trust policy has to be depends on them
        try:
            await self._trust_policies(entered, account, decisions, findings)
        except AccessDeniedError as error:
            if error.code not in NO_PERMISSION:
                raise
            findings.condition = _denied(error)
            if self._listed.pop(account.account_id, None) is not None:  # from now on they are looked for by their runs
                findings.unseen.update(role for role in roles if self._wanted.is_missing(role))
        await self._source_policies(entered, decisions, findings)
        if account.require_role_consent:
            await self._tags(entered, decisions, findings)
        return findings

    async def _trust_policies(
        self,
        entered: Entered,
        account: AwsAccount,
        decisions: dict[RoleArn, tuple[BindingDecision, ...]],
        findings: Findings,
    ) -> None:
        prefix = owner_prefix(self._issuer)
        by_arn = {str(role): role for role in decisions}
        listed: set[RoleArn] = set()
        async for page in entered.api.roles(account.role_path_prefix):
            findings.pages += 1
            for number, raw in enumerate(page):
                await _turn(number)
                role, is_ours = by_arn.get(raw.arn), prefix in raw.policy  # encoding leaves a Sid as it is
                if role is None and is_ours:
                    role = RoleArn.or_none(raw.arn)
                if role is None:
                    continue
                listed.add(role)
                if is_ours and role in decisions:
                    findings.ours.add(role)
                if not self._is_in_order(entered, account, role, decisions.get(role, ()), raw, findings):
                    (findings.drifted if role in decisions else findings.strays).add(role)
        self._listed[account.account_id] = account.role_path_prefix
        outside = {role for role in decisions if not role.path.startswith(account.role_path_prefix)}
        missing = {role for role in decisions if self._wanted.is_missing(role)}
        findings.unseen |= outside - missing  # a run that finds no role is repeated ever less often
        absent = decisions.keys() - listed - outside
        findings.drifted |= absent - self._absent - missing
        findings.drifted |= ((self._absent | missing) & listed) & decisions.keys()
        self._absent = {r for r in self._absent if r.account_id != account.account_id} | absent
        self._in_order = {
            role: seen
            for role, seen in self._in_order.items()
            if role.account_id != account.account_id or role in listed
        }
        for role in [r for r in self._retained if r.account_id == account.account_id]:
            if role in listed:
                findings.retained[role] = self._retained[role]
            else:
                del self._retained[role]
        if outside:
            findings.condition = _outside(account, outside)

    def _is_in_order(
        self,
        entered: Entered,
        account: AwsAccount,
        role: RoleArn,
        decisions: tuple[BindingDecision, ...],
        raw: ListedRole,
        findings: Findings,
    ) -> bool:
        """Return whether a listed trust policy is as it is wanted; the same text for the same wish is not decoded."""
        by_trust = tuple(d for d in decisions if not d.stored.is_associated_with(role))
        associations = tuple(d for d in decisions if d.stored.is_associated_with(role))
        kept = self._wanted.retention(role) if RETAINED in raw.policy else KEEP_NONE  # encoding leaves a Sid as it is
        named = self._wanted.naming_as_target(role)
        digest = _digest(raw.policy, by_trust, entered.facts.limit, kept, named)
        if self._in_order.get(role) == digest:
            return True
        self._retained.pop(role, None)
        try:
            document = TrustDocument.parse(raw.policy, stored=True)
        except InvalidValueError:
            return False  # the role's own run says what is wrong with it
        if left := retained_names(document, self._issuer):
            self._retained[role] = left
        # Consent is looked at with the tags; here it counts as given, so that nothing of that is found twice.
        paused = self._wanted.pause(account.account_id)
        work = RoleWork(role, self._issuer, account, by_trust, associations, paused=paused, retention=kept, kept=named)
        tags = _consenting(by_trust, self._retained.get(role, ()))
        planned = plan_role(work, Facts(entered.facts), RoleObservation(document, tags=tags))
        findings.fill[role] = planned.trust.fill
        if paused and planned.trust.is_empty:
            return True  # until the pause ends, which lets every role run
        if names := revoked_names(planned.trust):
            findings.revoked[role] = names
        if not planned.trust.is_empty or planned.trust.pending or planned.adoption.to_record:
            return False
        refused = {refusal.binding for refusal in planned.trust.refusals}
        if any(d.stored.is_ready and d.stored.ref in refused for d in by_trust):
            return False  # its statement was lost, and has no room any more
        self._in_order[role] = digest
        return True

    async def _providers(
        self, entered: Entered, decisions: dict[RoleArn, tuple[BindingDecision, ...]], findings: Findings
    ) -> None:
        users: dict[ProviderArn, dict[str, set[RoleArn]]] = {}
        for role, each in decisions.items():
            for key in (c.key for d in each for c in d.claims):
                if isinstance(key, WebIdentityKey | FederatedKey):
                    issuer = key.issuer if isinstance(key, FederatedKey) else self._issuer
                    users.setdefault(issuer.provider_for(role), {}).setdefault(key.audience, set()).add(role)
        complete: set[RoleArn] = set()
        lacking: set[RoleArn] = set()
        for provider, by_audience in sorted(users.items()):
            before = entered.facts
            try:
                await oidc_provider.refresh(entered, provider)
            except AccessDeniedError as error:
                if error.code not in NO_PERMISSION:
                    raise
                findings.unseen.update(*by_audience.values())  # their own runs say what is missing
                lacking.update(*by_audience.values())
                continue
            for audience, roles in by_audience.items():
                was_listed = before.lists(provider, audience) or provider not in before.providers
                if entered.facts.lists(provider, audience) != was_listed:
                    findings.drifted |= roles
                (complete if entered.facts.lists(provider, audience) else lacking).update(roles)
        findings.drifted.update(role for role in complete - lacking if self._wanted.lacks_provider(role))

    async def _source_policies(
        self, entered: Entered, decisions: dict[RoleArn, tuple[BindingDecision, ...]], findings: Findings
    ) -> None:
        for role, each in decisions.items():
            if not any(_is_managed_source(d, role) for d in each):
                continue
            before = entered.facts.source_targets
            try:
                targets = await source_policy.read_targets(entered, role, self._issuer)
            except NotFoundError:
                continue  # there is no such role; its own run says so
            except AccessDeniedError as error:
                if error.code not in NO_PERMISSION:
                    raise
                findings.unseen.add(role)  # its own run says what is missing
                continue
            if role not in before:
                findings.unseen.add(role)
            elif targets != before[role]:
                findings.drifted.add(role)

    async def _tags(
        self, entered: Entered, decisions: dict[RoleArn, tuple[BindingDecision, ...]], findings: Findings
    ) -> None:
        bound = {role for role, each in decisions.items() if any(d.reason is None and _is_kept(d) for d in each)}
        for role in sorted(bound.union(findings.retained) - self._absent):
            try:
                tags = frozenset((await entered.api.role_tags(role)).items())
            except AccessDeniedError as error:
                if error.code not in NO_PERMISSION:
                    raise
                return  # ListRoleTags is not allowed: consent is seen at each role's own run
            except NotFoundError:
                continue
            before = self._consents.get(role)
            if before != tags and role not in decisions:
                findings.strays.add(role)
            elif before is None:
                findings.unseen.add(role)
            elif before != tags:
                findings.drifted.add(role)
            self._consents[role] = tags


async def _turn(number: int) -> None:
    """Let the event loop have its turn after some roles; of many in one AWS account, each costs up to a millisecond."""
    if number % _SLICE == _SLICE - 1:
        await asyncio.sleep(0)


def _digest(
    policy: str, decisions: Iterable[BindingDecision], limit: int | None, kept: Retention, named: frozenset[RoleArn]
) -> bytes:
    grants = [(grant.grant, sorted(grant.namespaces)) for grant in kept.grants or ()]  # a set has no order of its own
    wishes = ((d.stored.uid, d.reason, d.claims, d.retains, d.adopts, d.restorable) for d in decisions)
    wanted = repr([limit, grants, sorted(named), *wishes])
    return hashlib.blake2b(f"{policy}\n{wanted}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _consenting(decisions: Iterable[BindingDecision], retained: Iterable[str]) -> dict[str, str]:
    namespaces = {d.stored.ref.namespace for d in decisions}
    for name in retained:
        with contextlib.suppress(InvalidValueError):
            namespaces.add(Subject.parse(name).namespace)
    return {CONSENT_TAG: " ".join(namespaces)}


def _is_managed_source(decision: BindingDecision, role: RoleArn) -> bool:
    binding = decision.stored.binding
    source = binding.source if binding is not None else None
    is_used = bool(decision.claims) or decision.cluster is not None
    return source is not None and source.role == role and source.manage_permission and is_used


def _is_kept(decision: BindingDecision) -> bool:
    return decision.retains or not decision.stored.deleting


def _denied(error: AwsError) -> Condition:
    message = (
        f"{error}; until the manager role may call iam:ListRoles, drift is found by reading each role alone, every "
        "pace.resyncSeconds"
    )
    return Condition(ConditionType.SURVEYED, status=False, reason=TrustReason.SURVEY_DENIED, message=message)


def _outside(account: AwsAccount, roles: set[RoleArn]) -> Condition:
    count = len(roles)
    message = (
        f"{count} bound role{'' if count == 1 else 's'} (such as {min(roles)}) {'is' if count == 1 else 'are'} not "
        f"below spec.rolePathPrefix {account.role_path_prefix}, so each is read alone; widen the prefix to save calls"
    )
    return Condition(ConditionType.SURVEYED, status=True, reason=TrustReason.ROLES_OUTSIDE_PATH, message=message)
