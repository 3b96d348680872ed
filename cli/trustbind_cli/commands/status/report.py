"""The status of trustbind for a person, and as data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from rich.text import Text

from trustbind.overview import (
    BindingGroup,
    Half,
    account_states,
    age,
    binding_groups,
    halves_of,
    last_change,
    near_limit,
)
from trustbind.times import time_of
from trustbind_cli.commands.status.collect import Collected
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.output import out

__all__ = ["as_data", "exit_code", "show"]

_SOON: Final = timedelta(days=7)
"""A certificate that ends so soon was not renewed: trustbind renews long before."""
_STALE: Final = timedelta(minutes=2)
"""A Lease that was not renewed for so long has no operator; it is renewed every few seconds."""
_PATIENCE: Final = timedelta(minutes=10)
"""The operator looks at a new RoleBinding within seconds; who waits longer waits for something."""
_NEAR: Final = 0.8
"""As the condition NearLimit has it."""
_SHOWN: Final = 5
_STYLES: Final = {"ok": "green", "broken": "red", "not visible": "yellow"}
_COMPONENTS: Final = ("operator", "webhook")

Row = tuple[str, str, str]
"""What it is about, how it is, and a sentence."""


def show(seen: Collected, now: datetime, *, wide: bool) -> None:
    """Print the status.

    Args:
        seen: what was collected.
        now: the time.
        wide: whether also to print what is well in full.
    """
    for about, state, text in _rows(seen, now, wide=wide):
        out.print(Text(f"{about:<13}{state:<12}{text}", style=_STYLES[state]))
    states = [state for _, state, _ in _rows(seen, now, wide=True)]
    out.print(Text(", ".join(f"{states.count(state)} {state}" for state in _STYLES)))


def exit_code(seen: Collected, now: datetime) -> int:
    """Return 1 where something is broken, 3 where what decides could not be seen, else 0."""
    if any(state == "broken" for _, state, _ in _rows(seen, now, wide=True)):
        return FAILED
    decide = (seen.deployments, seen.lease, seen.policies, seen.accounts, seen.bindings)
    return UNKNOWN if any(each is None for each in decide) else DONE


def _rows(seen: Collected, now: datetime, *, wide: bool) -> Iterator[Row]:
    if seen.version is not None:
        issuer = f", issuer {seen.issuer}" if seen.issuer is not None else ""
        yield "cluster", "ok", f"Kubernetes {seen.version}{issuer}"
    yield from _halves(seen, now)
    yield from _webhook(seen, now)
    yield from _accounts(seen, wide=wide)
    yield from _bindings(seen, now, wide=wide)
    yield from _capacity(seen, wide=wide)
    for text in seen.unseen:
        yield "", "not visible", text


def _halves(seen: Collected, now: datetime) -> Iterator[Row]:
    if seen.deployments is None:
        return
    halves = {half.component: half for half in halves_of(seen.deployments)}
    for component in _COMPONENTS:
        half = halves.get(component)
        if half is None:
            yield component, "broken", "there is no Deployment of it; see docs/install.md"
        else:
            yield component, "ok" if half.is_up else "broken", _described(half)
    versions = {half.version for half in halves.values() if half.version}
    if len(versions) > 1:
        yield "versions", "broken", f"the halves have versions {' and '.join(sorted(versions))}; finish the upgrade"
    lease = seen.lease
    if lease is not None:
        renewed = time_of(lease.renewed)
        if not lease.holder or renewed is None or now - renewed > _STALE:
            since = f"was renewed {age(renewed, now)} ago" if renewed is not None else "was never renewed"
            yield "operator", "broken", f"no operator works: its Lease {since}; see its log"
        else:
            yield "operator", "ok", f"{lease.holder} works, and renewed its Lease {age(renewed, now)} ago"


def _described(half: Half) -> str:
    version = half.version or half.image or "unknown version"
    todo = "" if half.is_up else "; see 'kubectl describe' of its pods"
    return f"{version}, {half.ready} of {half.wanted} replicas ready{todo}"


def _webhook(seen: Collected, now: datetime) -> Iterator[Row]:
    if seen.policies is not None:
        if not seen.policies:
            yield "webhook", "broken", "there is no MutatingWebhookConfiguration of it, so no pod gets a role"
        else:
            policies = ", ".join(f"{name} ({policy})" for name, policy in sorted(seen.policies.items()))
            yield "webhook", "ok", f"the API server calls {policies}"
    if seen.certificate is not None:
        left = seen.certificate - now
        if left < _SOON:
            when = f"{seen.certificate:%Y-%m-%dT%H:%M:%SZ}"
            yield "certificate", "broken", f"the webhook's authority ends at {when}; see the webhook's log"
        else:
            yield "certificate", "ok", f"the webhook's authority ends in {left.days}d"


def _accounts(seen: Collected, *, wide: bool) -> Iterator[Row]:
    states = account_states(seen.accounts or ())
    for state in states:
        if not state.is_ready:
            yield "AWS account", "broken", f"{state.name} ({state.account_id}) {state.reason}: {state.message}"
        elif wide:
            yield "AWS account", "ok", f"{state.name} ({state.account_id}) {state.reason}"
        if state.is_surveyed is False:
            told = f"{state.name} ({state.account_id}) cannot be surveyed, so drift is seen late"
            yield "AWS account", "broken", f"{told}; allow its manager role iam:ListRoles"
    if states and not wide:
        yield "AWS account", "ok", f"{sum(state.is_ready for state in states)} of {len(states)} are Ready"


def _bindings(seen: Collected, now: datetime, *, wide: bool) -> Iterator[Row]:
    if seen.bindings is None:
        return
    groups = binding_groups(seen.bindings)
    for group in groups:
        if group.is_new and not _waits_long(group, now):
            yield "RoleBinding", "ok", _group(group, now)
        elif not group.is_ready:
            yield "drift" if group.is_drift else "RoleBinding", "broken", _group(group, now)
        elif wide:
            yield "RoleBinding", "ok", _group(group, now)
    ready = sum(group.count for group in groups if group.is_ready)
    since, name = last_change(seen.bindings)
    at = time_of(since)
    last = f"; the last change was {name}, {age(at, now)} ago" if at is not None else ""
    yield "RoleBinding", "ok", f"{ready} of {len(seen.bindings)} are Ready{last}"


def _waits_long(group: BindingGroup, now: datetime) -> bool:
    since = time_of(group.since)
    return since is not None and now - since > _PATIENCE


def _group(group: BindingGroup, now: datetime) -> str:
    since = time_of(group.since)
    told = f" since {age(since, now)}" if since is not None else ""
    message = f": {group.message}" if group.message and not group.is_ready else ""
    return f"{group.count} {group.reason}{told}, such as {group.example}{message}"


def _capacity(seen: Collected, *, wide: bool) -> Iterator[Row]:
    if seen.capacity is None:
        for text in near_limit(seen.bindings or ()):
            yield "capacity", "broken", text
        return
    for number, each in enumerate(seen.capacity):
        is_near = each.share > _NEAR
        if is_near or wide or number < _SHOWN:
            todo = "; use another role, or raise the quota" if is_near else ""
            told = f"{each.role}: {each.size} of {each.limit} characters ({each.share:.0%}){todo}"
            yield "capacity", "broken" if is_near else "ok", told


def as_data(seen: Collected, now: datetime) -> dict[str, Any]:
    """Return the status as JSON has it; docs/schemas/status.json is its schema."""
    since, name = last_change(seen.bindings or ())
    return {
        "time": now.isoformat(timespec="seconds"),
        "cluster": {"version": seen.version, "issuer": seen.issuer},
        "halves": [
            {
                "component": half.component,
                "version": half.version,
                "image": half.image,
                "ready": half.ready,
                "wanted": half.wanted,
            }
            for half in halves_of(seen.deployments or ())
        ],
        "lease": None if seen.lease is None else {"holder": seen.lease.holder, "renewed": seen.lease.renewed},
        "webhook": {
            "failurePolicies": seen.policies,
            "authorityEnds": None if seen.certificate is None else seen.certificate.isoformat(timespec="seconds"),
        },
        "awsAccounts": [
            {
                "name": state.name,
                "accountId": state.account_id,
                "ready": state.is_ready,
                "reason": state.reason,
                "message": state.message,
                "surveyed": state.is_surveyed,
            }
            for state in account_states(seen.accounts or ())
        ],
        "roleBindings": [
            {
                "ready": group.is_ready,
                "reason": group.reason,
                "drift": group.is_drift,
                "count": group.count,
                "since": group.since,
                "example": group.example,
                "message": group.message,
            }
            for group in binding_groups(seen.bindings or ())
        ],
        "lastChange": {"time": since, "roleBinding": name} if since else None,
        "capacity": None
        if seen.capacity is None
        else [{"role": each.role, "size": each.size, "limit": each.limit} for each in seen.capacity],
        "checks": [
            {"about": about, "state": state, "message": text} for about, state, text in _rows(seen, now, wide=True)
        ],
    }
