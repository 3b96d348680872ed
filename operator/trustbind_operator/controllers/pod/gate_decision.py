"""Pods that wait at the scheduling gate for their bindings: which may go, and what the others wait for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from typing import Any, Final

import msgspec

from trustbind.api.labels import GATE, WAITING_LABEL
from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT
from trustbind.reconcile.stored_binding import StoredBinding, is_ready, ready_condition

__all__ = ["Verdict", "Wait", "WaitingPod", "judge_wait", "release_patch", "wait_of"]


class _Gate(msgspec.Struct, frozen=True):
    name: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    service_account_name: str = ""
    scheduling_gates: list[_Gate] | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec


_decode = msgspec.json.Decoder(_Pod).decode


_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)

_SHOWN: Final = 3
"""Bindings that a message names; a service account can have hundreds, and each says why it is not Ready."""

_UNKNOWN: Final = timedelta(seconds=5)
"""For how long a pod waits for a binding that is not known here: the webhook, which held the pod, may have seen it
first. It may also be gone, or wait no more."""


@dataclass(frozen=True, slots=True)
class WaitingPod:
    """One pod with the label.

    Attributes:
        uid: of the pod.
        account: its service account.
        created: when it was created.
        gated: whether our gate is on it.
    """

    uid: str
    account: str
    created: datetime
    gated: bool

    @classmethod
    def read(cls, raw: bytes | msgspec.Raw) -> WaitingPod:
        """Return the pod in ``raw``.

        Raises:
            msgspec.DecodeError: it is not one.
        """
        pod = _decode(raw)
        gates = {gate.name for gate in pod.spec.scheduling_gates or ()}
        return cls(
            pod.metadata.uid,
            pod.spec.service_account_name or DEFAULT_SERVICE_ACCOUNT,
            datetime.fromisoformat(pod.metadata.creation_timestamp),
            GATE in gates and pod.metadata.deletion_timestamp is None,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a waiting pod.

    Attributes:
        release: whether the gate goes.
        timed_out: whether it has waited longer than it should.
        message: what it waits, or waited, for.
    """

    release: bool
    timed_out: bool
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    """What the pods of one service account wait for; the same for all of them.

    Attributes:
        pending: the bindings that are not Ready, and why not; empty when all are.
        since: when the last of those that are Ready became so; long ago when there is none.
    """

    pending: str
    since: datetime


def wait_of(bindings: Iterable[StoredBinding]) -> Wait:
    """Return what the pods of a service account wait for.

    Args:
        bindings: those that name or select it, in any order.
    """
    waited_for = _waited_for(bindings)
    pending = [entry for entry in waited_for if not is_ready(entry)]
    shown = [f"RoleBinding {e.ref}: {_why(e)}" for e in nsmallest(_SHOWN, pending, key=lambda e: e.age_key)]
    if len(pending) > _SHOWN:
        shown.append(f"{len(pending) - _SHOWN} more")
    return Wait("; ".join(shown), max(map(_since, waited_for), default=_LONG_AGO))


def judge_wait(pod: WaitingPod, wait: Wait, now: datetime, limit: timedelta, *, release_late: bool) -> Verdict:
    """Return what becomes of a pod.

    Args:
        pod: the pod.
        wait: what the pods of its service account wait for.
        now: the time, aware.
        limit: how long a pod may wait.
        release_late: whether it is let go after that, without credentials that work; else it goes on waiting.
    """
    # The webhook holds no pod whose bindings it knows to be Ready. So where all were Ready before the pod came, it
    # knows of one, or of a change to one, that is still on its way to here.
    is_known = bool(wait.pending) or wait.since >= pod.created
    if not is_known and now - pod.created < min(_UNKNOWN, limit):
        return Verdict(release=False, timed_out=False, message="it waits for a binding that is not known yet")
    if not wait.pending:
        return Verdict(release=True, timed_out=False, message="its bindings are Ready")
    if now - pod.created < limit:
        return Verdict(release=False, timed_out=False, message=f"it waits for {wait.pending}")
    seconds = round(limit.total_seconds())
    if release_late:
        message = f"it is let go without working credentials after {seconds} s of waiting for {wait.pending}"
    else:
        message = f"it has waited over {seconds} s for {wait.pending}"
    return Verdict(release=release_late, timed_out=True, message=message)


def release_patch() -> dict[str, Any]:
    """Return the strategic merge patch that takes our gate and label off a pod, whatever else is on it."""
    return {
        "metadata": {"labels": {WAITING_LABEL: None}},
        "spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]},
    }


def _waited_for(bindings: Iterable[StoredBinding]) -> list[StoredBinding]:
    """Return the bindings that pods wait for: where EKS's agent gives credentials, its oldest at most."""
    live = [(entry, entry.binding) for entry in bindings if entry.binding is not None and not entry.deleting]
    by_agent = [pair for pair in live if pair[1].method.uses_pod_identity_association]
    used = [min(by_agent, key=lambda pair: pair[1].age_key)] if by_agent else live
    return [entry for entry, binding in used if binding.wait_until_ready]


def _since(entry: StoredBinding) -> datetime:
    """Return when the binding became Ready, or not; long ago when that is not known."""
    text = (ready_condition(entry.status) or {}).get("lastTransitionTime")
    return datetime.fromisoformat(str(text)) if text else _LONG_AGO


def _why(entry: StoredBinding) -> str:
    ready: Mapping[str, Any] = ready_condition(entry.status) or {}
    if not ready:
        return "not looked at yet"
    return f"{ready.get('reason')}: {ready.get('message')}"
