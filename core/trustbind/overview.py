"""How trustbind is doing in a cluster: counts and ages of what its objects say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from trustbind.reasons import TrustReason

__all__ = [
    "NO_STATUS",
    "AccountState",
    "BindingGroup",
    "Capacity",
    "Half",
    "account_states",
    "age",
    "binding_groups",
    "halves_of",
    "last_change",
    "near_limit",
]

Json = Mapping[str, Any]

_DRIFT: Final = frozenset({TrustReason.OBSERVED, TrustReason.TRUST_CONTENDED})
NO_STATUS: Final = "NoStatus"
"""Stands for the reason of an object that the operator has not looked at."""


@dataclass(frozen=True, slots=True)
class Half:
    """The webhook or the operator.

    Attributes:
        component: ``webhook`` or ``operator``.
        version: by its label; empty where it has none.
        image: of its container.
        ready: replicas that are ready.
        wanted: replicas that there should be.
    """

    component: str
    version: str
    image: str
    ready: int
    wanted: int

    @property
    def is_up(self) -> bool:
        """Whether all replicas are ready, and there is one."""
        return self.ready >= self.wanted > 0


@dataclass(frozen=True, slots=True)
class BindingGroup:
    """RoleBindings that stand alike.

    Attributes:
        is_ready: whether they are Ready.
        reason: of the condition Ready; ``NoStatus`` where the operator has not looked at them.
        count: how many.
        since: when the first of them came to be so, RFC 3339; empty where that is not known.
        example: namespace and name of that one.
        message: of that one.
    """

    is_ready: bool
    reason: str
    count: int
    since: str
    example: str
    message: str

    @property
    def is_new(self) -> bool:
        """Whether the operator has not come to an answer yet."""
        return not self.is_ready and self.reason in {TrustReason.PENDING, NO_STATUS}

    @property
    def is_drift(self) -> bool:
        """Whether another writer changes what they ask for."""
        return self.reason in _DRIFT


@dataclass(frozen=True, slots=True)
class AccountState:
    """An AWSAccount.

    Attributes:
        name: of the object.
        account_id: of the AWS account.
        is_ready: whether it is Ready.
        reason: of the condition Ready.
        message: of it.
        is_surveyed: whether surveys can list its roles; None where nothing is said.
    """

    name: str
    account_id: str
    is_ready: bool
    reason: str
    message: str
    is_surveyed: bool | None


@dataclass(frozen=True, slots=True)
class Capacity:
    """How full a role's trust policy is.

    Attributes:
        role: its ARN.
        size: in characters that count.
        limit: of the AWS account.
    """

    role: str
    size: int
    limit: int

    @property
    def share(self) -> float:
        """Size by limit."""
        return self.size / self.limit


def halves_of(deployments: Iterable[Json]) -> tuple[Half, ...]:
    """Return the halves among Deployments with trustbind's labels, the operator first."""
    found = []
    for body in deployments:
        metadata, spec, status = (body.get(key) or {} for key in ("metadata", "spec", "status"))
        labels = metadata.get("labels") or {}
        containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or [{}]
        found.append(
            Half(
                str(labels.get("app.kubernetes.io/component", metadata.get("name", ""))),
                str(labels.get("app.kubernetes.io/version", "")),
                str(containers[0].get("image", "")),
                int(status.get("readyReplicas") or 0),
                int(spec.get("replicas", 1)),
            )
        )
    return tuple(sorted(found, key=lambda half: half.component))


def binding_groups(bindings: Iterable[Json]) -> tuple[BindingGroup, ...]:
    """Return RoleBindings by readiness and reason: those that are not Ready first, the largest group first."""
    groups: dict[tuple[bool, str], list[tuple[str, str, str]]] = {}
    for body in bindings:
        condition = _condition(body, "Ready")
        key = (condition.get("status") == "True", str(condition.get("reason") or NO_STATUS))
        since = str(condition.get("lastTransitionTime") or (body.get("metadata") or {}).get("creationTimestamp", ""))
        groups.setdefault(key, []).append((since, _name(body), str(condition.get("message", ""))))
    found = [
        BindingGroup(is_ready, reason, len(members), *min(members)) for (is_ready, reason), members in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: (group.is_ready, -group.count, group.reason)))


def account_states(accounts: Iterable[Json]) -> tuple[AccountState, ...]:
    """Return AWSAccounts by name, those that are not Ready first."""
    found = []
    for body in accounts:
        ready, surveyed = _condition(body, "Ready"), _condition(body, "Surveyed")
        found.append(
            AccountState(
                str((body.get("metadata") or {}).get("name", "")),
                str((body.get("spec") or {}).get("accountId", "")),
                ready.get("status") == "True",
                str(ready.get("reason") or NO_STATUS),
                str(ready.get("message", "")),
                surveyed.get("status") == "True" if surveyed else None,
            )
        )
    return tuple(sorted(found, key=lambda state: (state.is_ready, state.name)))


def near_limit(bindings: Iterable[Json]) -> tuple[str, ...]:
    """Return what the conditions NearLimit say, once for each role."""
    told: dict[str, str] = {}
    for body in bindings:
        condition = _condition(body, "NearLimit")
        if condition.get("status") == "True":
            role = str((body.get("spec") or {}).get("roleArn", ""))
            told.setdefault(role, f"{role}: {condition.get('message', '')}")
    return tuple(told.values())


def last_change(bindings: Iterable[Json]) -> tuple[str, str]:
    """Return when the Ready condition of a RoleBinding changed last, RFC 3339, and of which; empty for none."""
    return max(
        ((str(_condition(body, "Ready").get("lastTransitionTime", "")), _name(body)) for body in bindings),
        default=("", ""),
    )


def age(since: datetime, now: datetime) -> str:
    """Return how long ago something was as kubectl writes it: ``45s``, ``12m``, ``7h``, ``3d``."""
    seconds = max(0, round((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _condition(body: Json, kind: str) -> Json:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _name(body: Json) -> str:
    metadata = body.get("metadata") or {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
