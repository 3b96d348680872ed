"""What is to be made now, from values alone.

An authority is replaced in two steps, so that at every moment whoever is asked to trust a certificate does already:

1. A new authority is made and trusted beside the old one; it signs nothing.
2. Once everybody trusts it, and has for a while, it signs a new serving certificate. The old authority stays trusted
   until its own end: a replica may serve what it signed for a few seconds more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from trustbind_webhook.certificates.bundle import Authority, Material

__all__ = ["BACKDATED", "Plan", "Policy", "plan"]

BACKDATED: Final = timedelta(hours=1)
"""How long before its making a certificate begins to be valid: clocks of nodes and API servers differ."""


_WORTH_IT: Final = timedelta(seconds=1)
"""What a new certificate has to gain: certificates count in whole seconds."""


@dataclass(frozen=True, slots=True)
class Policy:
    """For what, and for how long.

    Attributes:
        names: DNS names that the API server calls.
        ca_validity: of an authority.
        serving_validity: of a serving certificate.
        renew_before: the end of a serving certificate.
        settle: for how long a new authority is trusted before it signs.
    """

    names: frozenset[str]
    ca_validity: timedelta
    serving_validity: timedelta
    renew_before: timedelta
    settle: timedelta


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made.

    Attributes:
        keep: the authorities that stay, newest first.
        new_authority: whether one is made, to come first.
        signer: index in ``keep`` of the one that signs a new serving certificate; None: the present one stays. With a
            new authority and none kept, that one signs.
        why: one sentence for the log; empty when there is nothing to do.
    """

    keep: tuple[Authority, ...]
    new_authority: bool = False
    signer: int | None = None
    why: str = ""

    @property
    def changes(self) -> bool:
        """Whether there is something to do."""
        return bool(self.why)


def plan(material: Material | None, policy: Policy, now: datetime, *, announced: bool) -> Plan:
    """Return what is to be made of ``material``.

    Args:
        material: what there is; None: nothing that can be used.
        policy: see `Policy`.
        now: the time.
        announced: whether every webhook configuration trusts the newest authority.
    """
    if material is None:
        return Plan((), new_authority=True, why="there is no certificate yet")
    live = tuple(authority for authority in material.authorities if authority.end > now)
    if not live:
        return Plan((), new_authority=True, why="the authority has ended")
    reasons = []
    if len(live) < len(material.authorities):
        reasons.append("an authority has ended")
    newest = live[0]
    new_authority = now + policy.serving_validity > newest.end
    if new_authority:
        reasons.append("a certificate of today's authority would outlive it")
    signer = None
    usable = _usable(live, policy, now, announced=announced)
    due = _due(material, policy, now, live[usable])
    if due or live[usable] is not material.signer:
        signer = usable
        reasons.append(due or "the new authority is trusted by now")
    return Plan(live, new_authority, signer, "; ".join(reasons))


def _usable(live: Sequence[Authority], policy: Policy, now: datetime, *, announced: bool) -> int:
    """Return the index of the newest authority that may sign."""
    made = live[0].certificate.not_valid_before_utc + BACKDATED
    is_settled = announced and now >= made + policy.settle
    return 0 if is_settled or len(live) == 1 else 1


def _due(material: Material, policy: Policy, now: datetime, signer: Authority) -> str:
    """Return why the serving certificate has to be replaced by one of ``signer``, or nothing."""
    end = material.serving.certificate.not_valid_after_utc
    # One that would end no later, since its authority does, would be replaced again at once.
    if now >= end - policy.renew_before and min(now + policy.serving_validity, signer.end) - end >= _WORTH_IT:
        return "the serving certificate ends soon"
    if not policy.names <= material.serving.names:
        return "the serving certificate is for other names"
    return ""
