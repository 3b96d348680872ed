"""What becomes, or would become, of annotated service accounts: one entry each, and the text that people read.

A cluster has thousands of service accounts and a ConfigMap holds a megabyte, so the text is bounded: namespaces take
turns, and what does not fit is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from trustbind.api.annotated_binding import is_generated, takes_over, wanted_binding
from trustbind.api.annotations import AnnotationKeys, is_opted_out
from trustbind.api.conflicts import Rival, profile_key
from trustbind.api.role_binding import RoleBinding
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.reconcile.decision import decide_binding
from trustbind.reconcile.snapshot import BindingSnapshot, Rank, Surroundings
from trustbind.reconcile.stored_binding import StoredBinding, is_ready

__all__ = ["AnnotatedAccount", "AnnotatedState", "ReportEntry", "entry_of", "report_data"]

MAX_CHARACTERS: Final = 400_000
"""Of the list: a ConfigMap holds 1 MiB (Kubernetes documentation, "ConfigMaps"), and a character up to four bytes."""

_MAX_DETAIL: Final = 300
"""Characters of a sentence in an entry."""


class AnnotatedState(StrEnum):
    """What becomes of an annotated service account."""

    BOUND = "Bound"
    """A RoleBinding gives it the role of the annotation, and is Ready."""
    NOT_READY = "NotReady"
    """A RoleBinding gives it the role of the annotation, and is not Ready; its own status says why."""
    GRANTED = "Granted"
    """No RoleBinding gives it the role; the one that mode Bind makes is granted."""
    REFUSED = "Refused"
    """No RoleBinding gives it the role; the one that mode Bind makes would get nothing, for a reason that is said."""
    INVALID = "InvalidRoleArn"
    """The annotation is not the ARN of a role."""


@dataclass(frozen=True, slots=True)
class AnnotatedAccount:
    """An annotated service account.

    Attributes:
        namespace: of the service account.
        name: of the service account.
        uid: of the service account.
        labels: of the service account.
        annotations: those that decide.
        namespace_labels: of its namespace.
    """

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    namespace_labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, order=True)
class ReportEntry:
    """What becomes of one service account.

    Attributes:
        namespace: of the service account.
        name: of the service account.
        role: as the annotation has it.
        state: see `AnnotatedState`.
        reason: of a refusal; empty otherwise.
        detail: the RoleBinding, the RoleGrant, or why there is none.
    """

    namespace: str
    name: str
    role: str
    state: AnnotatedState
    reason: str = ""
    detail: str = ""

    def line(self) -> str:
        """Return the entry as one line of YAML."""
        what = {
            AnnotatedState.BOUND: "roleBinding",
            AnnotatedState.NOT_READY: "roleBinding",
            AnnotatedState.GRANTED: "roleGrant",
        }.get(self.state, "message")
        shown = {
            "serviceAccount": f"{self.namespace}/{self.name}",
            "role": self.role,
            "state": str(self.state),
            **({"reason": self.reason} if self.reason else {}),
            **({what: self.detail} if self.detail else {}),
        }
        return f"- {json.dumps(shown, ensure_ascii=False)}\n"


def entry_of(
    account: AnnotatedAccount,
    keys: AnnotationKeys,
    bindings: Iterable[StoredBinding],
    around: Surroundings,
    rank: Rank,
) -> ReportEntry | None:
    """Return what becomes of a service account; None for one that has no annotation, or opts out.

    Args:
        account: the service account.
        keys: of the annotations.
        bindings: those that name or select it and can be parsed, in any order.
        around: see `Surroundings`.
        rank: of a binding that would come last in the namespace.
    """
    annotated = account.annotations.get(keys.role_arn, "").strip()
    if not annotated or is_opted_out(account.annotations):
        return None

    def entry(state: AnnotatedState, reason: str = "", detail: str = "") -> ReportEntry:
        shown = detail if len(detail) <= _MAX_DETAIL else f"{detail[: _MAX_DETAIL - 3]}..."
        return ReportEntry(account.namespace, account.name, annotated[:_MAX_DETAIL], state, reason, shown)

    body = wanted_binding(account.namespace, account.name, account.uid, account.annotations, keys)
    if body is None:
        return entry(AnnotatedState.INVALID, detail=f"annotation {keys.role_arn} is not the ARN of an IAM role")
    wanted = StoredBinding.of(body)
    if wanted.binding is None:
        return entry(AnnotatedState.INVALID, detail=wanted.problem)
    role = wanted.binding.role
    live = sorted((s for s in bindings if s.binding is not None and not s.deleting), key=lambda s: s.age_key)
    found = [s for s in live if s.binding is not None and _gives(s.binding, role, account)]
    if found:
        best = next(filter(is_ready, found), found[0])
        state = AnnotatedState.BOUND if is_ready(best) else AnnotatedState.NOT_READY
        return entry(state, detail=str(best.ref))
    snapshot = BindingSnapshot(
        wanted,
        (Subject(account.namespace, account.name),),
        _rival(wanted.binding, live, account.name),
        account.namespace_labels,
        rank=rank,
    )
    decision = decide_binding(snapshot, around, role)
    if decision.reason is not None:
        return entry(AnnotatedState.REFUSED, str(decision.reason), decision.message)
    return entry(AnnotatedState.GRANTED, detail=decision.message.removeprefix("granted by RoleGrant "))


def report_data(entries: Iterable[ReportEntry], mode: str, out_of_scope: int) -> dict[str, str]:
    """Return the data of the report's ConfigMap; the same for the same entries, in whatever order.

    Args:
        entries: of all service accounts in scope.
        mode: the setting ``bindAnnotated.mode``.
        out_of_scope: how many annotated service accounts the scope leaves out.
    """
    listed = sorted(entries)
    counts = Counter(str(entry.state) for entry in listed)
    shown = _bounded(listed)
    summary: dict[str, Any] = {
        "mode": mode,
        **{str(state): counts[str(state)] for state in AnnotatedState},
        "outOfScope": out_of_scope,
        "leftOut": len(listed) - len(shown),
    }
    return {
        "summary.yaml": "".join(f"{name}: {value}\n" for name, value in summary.items()),
        "service-accounts.yaml": "".join(shown),
    }


def _bounded(entries: list[ReportEntry]) -> list[str]:
    """Return the lines that fit, in their order: of each namespace the first, then of each the second, and so on."""
    place = Counter[str]()
    turns: list[tuple[int, int, str]] = []
    for number, entry in enumerate(entries):
        turns.append((place[entry.namespace], number, entry.line()))
        place[entry.namespace] += 1
    left = MAX_CHARACTERS
    kept: list[tuple[int, str]] = []
    for _, number, line in sorted(turns):
        left -= len(line)
        if left < 0:
            break
        kept.append((number, line))
    return [line for _, line in sorted(kept)]


def _gives(binding: RoleBinding, role: RoleArn, account: AnnotatedAccount) -> bool:
    is_own = takes_over(binding, role, account.name, account.labels)
    return is_own or (is_generated(binding) and binding.role == role)


def _rival(wanted: RoleBinding, live: Iterable[StoredBinding], name: str) -> Rival | None:
    """Return the oldest binding that has the profile of one that is yet to be made."""
    return next(
        (
            Rival(stored.binding, name)
            for stored in live
            if stored.binding is not None
            and profile_key(stored.binding) == profile_key(wanted)
            and not is_generated(stored.binding)
        ),
        None,
    )
