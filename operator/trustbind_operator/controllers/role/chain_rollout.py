"""Chains (method AssumeRole): one binding, two roles, in an order that never opens a way before its far end is ready.

A chain is granted from the far end: the target role lets the source role in, then the source role may assume the target
(an inline policy), then the source role lets the service accounts in. It is revoked from the near end: the service
accounts first, the target last. Each role has its own commit, so what stands where is remembered here, and each role's
work does the step that is possible now and wakes the other.

After a restart nothing is remembered: a binding whose status names a statement is taken to stand in both roles. The
next look corrects that when it is granted, and when it is revoked the near end is looked at first in any case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import sid_of
from trustbind.policy.plan import Refusal
from trustbind.reasons import TrustReason
from trustbind_operator.cluster.cache import BindingEntry
from trustbind_operator.cluster.conditions import BindingOutcome
from trustbind_operator.controllers.binding.decision import Verdict

__all__ = ["ChainBook", "is_chained", "managed_targets", "without_permission"]

Accounts = Mapping[str, Mapping[str, str]]


def is_chained(entry: BindingEntry) -> bool:
    """Return whether the binding is a chain."""
    return entry.binding is not None and entry.binding.method.has_source_role


def managed_targets(role: RoleArn, verdicts: list[Verdict]) -> tuple[RoleArn, ...] | None:
    """Return the roles that ``role`` should be allowed to assume, as the source of chains that let somebody in.

    In the order of the verdicts.

    None when it is the source of none, and its policies are nobody's business here. Without any verdict, what a binding
    left behind whose finalizer was removed by force has to go.
    """
    if verdicts and not any(_is_source(v.entry, role) for v in verdicts):
        return None
    managed = (v.entry.binding for v in verdicts if v.claims and _is_managed(v, role))
    return tuple(dict.fromkeys(binding.role for binding in managed if binding is not None))


def without_permission(
    role: RoleArn, verdicts: Iterable[Verdict], left_out: Collection[RoleArn]
) -> tuple[list[Verdict], tuple[Refusal, ...]]:
    """Return the verdicts without new claims of chains whose target the source role cannot be allowed to assume.

    Who stands already stays: what is not permitted is told, and not made worse.

    Args:
        role: the source role.
        verdicts: on its bindings.
        left_out: the targets for which its inline policy has no room.
    """
    result: list[Verdict] = []
    refusals: list[Refusal] = []
    for verdict in verdicts:
        entry, binding = verdict.entry, verdict.entry.binding
        if binding is None or binding.role not in left_out or not verdict.claims or not _is_managed(verdict, role):
            result.append(verdict)
            continue
        message = (
            f"the inline policies of {role} have no room for {binding.role} in their 10,240 characters; remove a chain "
            "over it or another inline policy of it, use a second source role, or set spec.source.managePermission: "
            "false and allow it by a managed policy"
        )
        refusals.append(Refusal(entry.ref, TrustReason.SOURCE_POLICY_FULL, message))
        result.append(verdict if entry.status.get("statementId") else replace(verdict, claims=()))
    return result, tuple(refusals)


def _is_managed(verdict: Verdict, role: RoleArn) -> bool:
    source = verdict.entry.binding.source if verdict.entry.binding is not None else None
    return source is not None and source.role == role and source.manage_permission


@dataclass(slots=True)
class _Page:
    """What is remembered of one binding.

    Attributes:
        standing: roles in whose trust policy its claims stand, as far as known.
        outcomes: what came of it in each role last.
        refused: verdicts of a role itself (consent), which the other role has to heed.
    """

    standing: set[RoleArn] = field(default_factory=set)
    outcomes: dict[RoleArn, BindingOutcome] = field(default_factory=dict)
    refused: dict[RoleArn, Verdict] = field(default_factory=dict)


class ChainBook:
    """What is remembered of all chains, by the binding's uid."""

    def __init__(self) -> None:
        self._pages: dict[str, _Page] = {}
        self.wake: set[RoleArn] = set()
        """Roles whose next step has become possible."""

    def forget(self, uid: str) -> None:
        """Drop a binding that is gone."""
        self._pages.pop(uid, None)

    def step(self, verdict: Verdict, role: RoleArn, accounts: Accounts) -> Verdict:
        """Return the verdict with the claims that are right for ``role`` now.

        Args:
            verdict: on the binding as a whole.
            role: in whose trust policy.
            accounts: name to labels of the accounts in the binding's namespace.
        """
        entry = verdict.entry
        binding = entry.binding
        if binding is None or not is_chained(entry):
            return verdict
        page = self._page(entry)
        other = _other(entry, role)
        if verdict.reason is None and (refusal := page.refused.get(other)) is not None:
            verdict = replace(refusal, entry=entry)
        if verdict.retains:
            return replace(verdict, claims=claims_on(role, binding, accounts))
        going = verdict.reason is not None or entry.deleting
        if going:
            # The far end stays until nobody comes through the near one any more.
            stays = role == binding.role and other in page.standing
            return replace(verdict, claims=claims_on(role, binding, accounts) if stays else ())
        ready = role == binding.role or binding.role in page.standing
        return replace(verdict, claims=claims_on(role, binding, accounts) if ready else ())

    def stands(self, verdict: Verdict, role: RoleArn) -> bool:
        """Return whether the binding's claims stand in ``role``'s trust policy, as far as is known."""
        return is_chained(verdict.entry) and role in self._page(verdict.entry).standing

    def asked(self, before: Verdict, after: Verdict, role: RoleArn) -> None:
        """Take note of what the role itself said (consent); the other role has to know."""
        if not is_chained(after.entry):
            return
        page = self._page(after.entry)
        if before.reason is None and after.reason is not None:
            if role not in page.refused:
                self.wake.add(_other(after.entry, role))
            page.refused[role] = after
        elif after.reason is None and page.refused.pop(role, None) is not None:
            self.wake.add(_other(after.entry, role))

    def concluded(
        self, verdict: Verdict, role: RoleArn, outcome: BindingOutcome, *, stands: bool, issuer: Issuer
    ) -> BindingOutcome:
        """Take note of what came of one role, and return what came of the chain.

        Args:
            verdict: as `step` gave it.
            role: which role.
            outcome: of this role alone.
            stands: whether the binding's claims stand there now.
            issuer: the cluster's.
        """
        entry = verdict.entry
        binding = entry.binding
        if binding is None or not is_chained(entry):
            return outcome
        page = self._page(entry)
        other = _other(entry, role)
        if stands != (role in page.standing):
            (page.standing.add if stands else page.standing.discard)(role)
            self.wake.add(other)
        failed = outcome.reason is not None and outcome.reason not in _SETTLED and outcome.reason != verdict.reason
        page.outcomes[role] = outcome
        if failed:
            return replace(outcome, message=f"{_name(entry, role)}: {outcome.message}", may_linger=bool(page.standing))
        theirs = page.outcomes.get(other)
        if theirs is not None and theirs.reason not in {None, *_SETTLED, verdict.reason}:
            text = f"{_name(entry, other)}: {theirs.message}"
            return replace(outcome, reason=theirs.reason, message=text, may_linger=bool(page.standing))
        if entry.deleting or verdict.reason is not None:
            if not page.standing or verdict.retains:
                return outcome
            left = " and ".join(_name(entry, r) for r in sorted(page.standing, key=lambda r: r == binding.role))
            text = f"{verdict.message}; its trust is being revoked, next in the {left}"
            return replace(outcome, reason=TrustReason.PENDING, message=text, may_linger=True)
        both = {binding.role, other if role == binding.role else role}
        if page.standing >= both:
            return self._whole(verdict, outcome, issuer)
        text = f"{_name(entry, binding.role)} trusts the source role; the source role is next"
        return replace(outcome, reason=TrustReason.PENDING, message=text, statement_id="", may_linger=True)

    def _whole(self, verdict: Verdict, outcome: BindingOutcome, issuer: Issuer) -> BindingOutcome:
        binding = verdict.entry.binding
        assert binding is not None  # noqa: S101 - the caller has looked; this is for the type checker
        assert binding.source is not None  # noqa: S101 - a chain has a source; this is for the type checker
        (claim,) = claims_on(binding.role, binding, {})
        count = len(verdict.subjects)
        return replace(
            outcome,
            reason=None,
            statement_id=sid_of(issuer, claim.key),
            message=f"{binding.role} trusts {binding.source.role}, which trusts {count} service "
            f"account{'' if count == 1 else 's'} of this binding",
        )

    def _page(self, entry: BindingEntry) -> _Page:
        page = self._pages.get(entry.uid)
        if page is None:
            page = _Page(set(entry.roles) if entry.status.get("statementId") else set())
            self._pages[entry.uid] = page
        return page


_SETTLED = frozenset({TrustReason.REVOKED, TrustReason.RETAINED, TrustReason.PENDING})


def _other(entry: BindingEntry, role: RoleArn) -> RoleArn:
    binding = entry.binding
    if binding is None or binding.source is None:
        return role
    return binding.source.role if role == binding.role else binding.role


def _is_source(entry: BindingEntry, role: RoleArn) -> bool:
    binding = entry.binding
    return binding is not None and binding.source is not None and binding.source.role == role


def _name(entry: BindingEntry, role: RoleArn) -> str:
    target = entry.binding is not None and role == entry.binding.role
    return f"{'target' if target else 'source'} role {role}"
