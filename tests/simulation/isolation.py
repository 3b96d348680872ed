"""One seed's world with and without a hostile tenant: what may differ for the honest ones, and what may not.

Rules:
- The honest tenants end with the same bindings, statuses, access, permissions and associations.
- The hostile tenant reaches no role that it was not granted; in the end, none that it is not granted any more, apart
  from what it was granted and retained.
- Where nothing fails, the honest tenants wait at most twice as long. While revocation is paused in an AWS account, for
  whichever reason, a deletion there waits for an administrator, and is not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any, Final, NoReturn

from simulation.cloud import CloudAccount, parsed
from simulation.cluster import ACCOUNT, BINDING, GRANT, NAMESPACE, Cluster, Item, Key
from simulation.operators import PAUSES
from simulation.reach import entered_by, reached_by
from simulation.schedule import BrokenRuleError
from simulation.settled import problems
from simulation.tenants import (
    AUDIENCES,
    EXTERNAL_IDS,
    HONEST,
    HOSTILE,
    Change,
    Roles,
    honest_script,
    hostile_script,
    is_valid,
)
from simulation.world import OTHER_ISSUER, World
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Subject
from trustbind.policy.owned_statement import is_owned
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument, statement_text
from trustbind.reconcile.stored_binding import ready_condition

__all__ = ["TenantWorld", "TenantsError", "has_tenants", "played"]

_EVERY: Final = 16
"""One seed of so many is played with tenants, too. The two worlds of such a pair take as long as three others."""

_SECONDS: Final = 25.0
_BUDGET: Final = (15.0, 100)
"""Calls a second and at once for each AWS account: the operator's defaults."""

_LIMIT: Final = 16384
"""Characters of a trust policy: so many that the hostile tenant cannot fill a shared one with what it writes here. Who
is granted a shared role can fill it; docs/security.md says so."""

_FOREIGN: Final[Mapping[str, Any]] = {
    "Sid": "Foreign",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::999999990000:root"},
    "Action": "sts:AssumeRole",
}
_MOST_SLOWER: Final = 2.0
_ROUND: Final = 1.0
"""Seconds for each change that count for nothing: the windows in which an operator collects changes."""


def has_tenants(seed: int) -> bool:
    """Return whether the world of a seed is played with tenants, too."""
    return seed % _EVERY == _EVERY // 2


def played(seed: int) -> Counter[str]:
    """Play a seed's world without and with the hostile tenant; return what happened in both.

    Raises:
        BrokenRuleError: a rule is broken.
    """
    without, beside = TenantWorld(seed, is_hostile=False), TenantWorld(seed, is_hostile=True)
    for world in (without, beside):
        try:
            world.run()
        except AssertionError as error:
            raise _in_world(error, world) from error
    try:
        _compare(without, beside)
    except BrokenRuleError as error:
        raise _in_world(error, beside) from error
    counts = without.schedule.counts + beside.schedule.counts
    counts["worlds with a hostile tenant"] += 1
    return counts


class TenantsError(BrokenRuleError):
    """A rule about tenants, or any rule in a world with tenants, does not hold.

    Attributes:
        world: where.
    """

    def __init__(self, rule: str, problem: str, world: TenantWorld) -> None:
        super().__init__(rule, problem)
        self.world = world


class TenantWorld(World):
    """A world of one cluster in which tenants follow their scripts, and nobody else writes trust policies.

    Args:
        seed: decides everything.
        is_hostile: whether the hostile tenant does anything.
    """

    def __init__(self, seed: int, *, is_hostile: bool) -> None:
        super().__init__(seed)
        self.is_hostile = is_hostile
        users = Random(f"users {seed}")  # noqa: S311 - a seed decides the world
        self.is_calm = users.random() < 0.5
        if self.is_calm:
            self.budget = users.choice(((1000.0, 1000), _BUDGET))
            self._pauses = self._crashes = 0.0
            self.faults = type(self.faults)(latency=self.faults.latency)
        self.clusters = self.clusters[:1]
        self.tenant_roles = _roles(list(self.accounts))
        self.roles = self.tenant_roles.all
        for account in self.accounts.values():
            account.limit = _LIMIT
        self.observer = Observer(self)
        self._grants = _grants(users, self.tenant_roles)
        self._script = honest_script(users, self.tenant_roles, _SECONDS)
        if is_hostile:
            hostile = Random(f"hostile {seed}")  # noqa: S311 - as above
            self._script += hostile_script(hostile, self.tenant_roles, self.clusters[0].issuer, _SECONDS)
        self._script.sort(key=lambda change: change.at)
        self.granted: set[RoleArn] = set()
        """Roles that the hostile tenant was ever granted."""
        self._checked: dict[RoleArn, str] = {}

    def _populate(self) -> None:
        (cluster,) = self.clusters
        cluster.watchers.append(self.observer)  # type: ignore[arg-type] # it only receives
        for account in self.accounts.values():
            account.providers[OTHER_ISSUER.host_path] = {DEFAULT_AUDIENCE}
        for role in self.roles:
            self.accounts[role.account_id].create_role(role, _document(), {})
        for namespace in (*HONEST, HOSTILE):
            cluster.create((NAMESPACE, "", namespace), {}, {"team": namespace})
        for account_id in self.accounts:
            cluster.create((ACCOUNT, "", f"acct-{account_id[0]}"), _account_spec(account_id))
        self._grant_honest(cluster)
        self._grant_hostile(cluster, self._grants[0])

    async def _live(self) -> None:
        self._populate()
        (cluster,) = self.clusters
        for _ in range(1 if self.is_calm else 2):
            self._start_operator(cluster)
        narrowed_at = self._grants[1]
        events: list[tuple[float, Change | None]] = [(change.at, change) for change in self._script]
        events += [(narrowed_at, None)] if narrowed_at is not None else []
        for at, change in sorted(events, key=lambda event: event[0]):
            await self._sleep(max(0.0, at - self.now()))
            if change is None:
                self._grant_hostile(cluster, self._grants[2])
            else:
                self._apply(cluster, change)
            self._disturb()
            self.check_reach(self.granted)
        await self._settle()
        self._check_reach_in_the_end()

    def _disturb(self) -> None:
        if not self.is_calm:
            chance = self.rng.random()
            if chance < self._pauses * 0.1:
                self._pause()
            elif chance < (self._pauses + self._crashes) * 0.1:
                self._crash()

    def _apply(self, cluster: Cluster, change: Change) -> None:
        item = cluster.items.get(change.key)
        who = "hostile" if change.key[1] == HOSTILE else "honest"
        self.schedule.add(
            who, f"{'deletes' if change.is_deletion else 'writes'} {change.key}: {change.spec or change.labels}"
        )
        self.schedule.count(f"changes of {who} tenants")
        if change.is_deletion:
            cluster.delete(change.key)
        elif item is None:
            cluster.create(change.key, change.spec or {}, change.labels)
        elif item.is_deleting:
            return  # the API server refuses a second object of that name
        elif change.spec is None:
            cluster.change(change.key, labels=change.labels)
        elif is_valid(spec := {**change.spec, "roleArn": item.body["spec"]["roleArn"]}):  # which is immutable
            cluster.change(change.key, spec)

    def _grant_honest(self, cluster: Cluster) -> None:
        roles = [*self.tenant_roles.honest, self.tenant_roles.shared]
        cluster.create((GRANT, "", "g-honest"), _grant_spec(HONEST, [str(role) for role in roles]))

    def _grant_hostile(self, cluster: Cluster, roles: tuple[RoleArn, ...]) -> None:
        """Grant these roles to the hostile tenant, and no others."""
        key = (GRANT, "", "g-hostile")
        self.granted.update(roles)
        self.schedule.add("admin", f"grants {HOSTILE} {[r.name for r in roles]}")
        if not roles:
            cluster.delete(key)
            return
        spec = _grant_spec((HOSTILE,), [str(role) for role in roles])
        if key in cluster.items:
            cluster.change(key, spec)
        else:
            cluster.create(key, spec)

    # --- what is looked at --------------------------------------------------------------------------------------------

    def texts(self) -> dict[RoleArn, str]:
        """Return the trust policy of each role."""
        return {role.arn: role.text for a in self.accounts.values() for role in a.roles.values()}

    def check_reach(self, allowed: set[RoleArn]) -> None:
        """Check that the hostile tenant reaches these roles at most."""
        texts = self.texts()
        if texts == self._checked:
            return
        self._checked = dict(texts)
        (cluster,) = self.clusters
        subjects = {Subject(HOSTILE, name) for name in ("s0", "s1", "s2", "s3", "e0", "e1", "admin", "nobody", "none")}
        reached = reached_by(texts, cluster.issuer, sorted(subjects), AUDIENCES, EXTERNAL_IDS)
        if extra := reached - allowed:
            self.schedule.fail("T2 trust within grants", f"{HOSTILE} reaches {sorted(map(str, extra))}")

    def _check_reach_in_the_end(self) -> None:
        self.check_reach(self.granted)
        narrowed = self._grants[2] if self._grants[1] is not None else self._grants[0]
        self.check_reach(set(narrowed))

    def settled_problems(self) -> list[str]:
        """Return what is not as it is wanted, apart from what the hostile tenant's own bindings say."""
        return [text for text in problems(self) if f" {HOSTILE}/" not in text]

    def outcome(self) -> dict[str, Any]:
        """Return how it ended for the honest tenants."""
        (cluster,) = self.clusters
        texts = self.texts()
        return {
            "bindings": {str(item.ref): _status_of(item) for item in _honest_bindings(cluster)},
            "access": {
                str(subject): sorted(r.name for r in entered_by(texts, cluster.issuer, subject, DEFAULT_AUDIENCE))
                for subject in (Subject(namespace, f"s{i}") for namespace in HONEST for i in range(4))
            },
            "foreign": {r.name: _foreign_of(texts[r], cluster) for r in self.roles},
            "trust": {r.name: sorted(_owned_of(texts[r], cluster)) for r in self.tenant_roles.honest},
            "permissions": {
                r.name: dict(self.accounts[r.account_id].roles[r.name].inline) for r in self.tenant_roles.honest
            },
            "associations": sorted(_associations(account) for account in self.accounts.values()),
        }


class Observer:
    """Notes when each honest binding is written, Ready and gone; stands for a watch that is never late.

    Args:
        world: whose.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[tuple[Key, int], float] = {}
        self.ready: dict[tuple[Key, int], float] = {}
        """Seconds from a generation of a binding to its being Ready."""
        self.gone: dict[Key, float] = {}
        """Seconds from the request for a deletion to the end."""

    def receive(self, item: Item, *, is_gone: bool) -> None:
        """Take an event."""
        if item.key[0] != BINDING or item.key[1] not in HONEST:
            return
        at, generation = self._world.now(), int(item.metadata["generation"])
        since = self._since.setdefault((item.key, generation), at)
        if is_gone:
            self.gone[item.key] = at - since
            return
        ready = ready_condition(item.status) or {}
        if ready.get("status") == "True" and item.status.get("observedGeneration") == generation:
            self.ready.setdefault((item.key, generation), at - since)


def _compare(without: TenantWorld, beside: TenantWorld) -> None:
    one, other = without.outcome(), beside.outcome()
    for what in one:
        if one[what] != other[what]:
            parts = (
                [k for k in one[what] if one[what][k] != other[what].get(k)] if isinstance(one[what], dict) else [""]
            )
            text = "; ".join(f"{p}: {_part(one[what], p)} became {_part(other[what], p)}" for p in parts)
            _fail(beside, "T1 outcomes are the same", f"{what}: {text}")
    if without.is_calm:
        for what, alone, both in (
            ("Ready", without.observer.ready, beside.observer.ready),
            ("released", without.observer.gone, beside.observer.gone),
        ):
            # A pause of revocation holds for a whole AWS account, whichever namespace began it (docs/security.md).
            if what == "Ready" or not any(world.schedule.counts[PAUSES] for world in (without, beside)):
                _compare_latency(beside, what, alone, both)


def _compare_latency(world: TenantWorld, what: str, alone: Mapping[Any, float], both: Mapping[Any, float]) -> None:
    common = sorted(alone.keys() & both.keys())
    before, after = sum(alone[k] for k in common), sum(both[k] for k in common)
    world.schedule.count(f"virtual ms until {what}, alone", round(1000 * before))
    world.schedule.count(f"virtual ms until {what}, beside the hostile tenant", round(1000 * after))
    if after > _MOST_SLOWER * before + _ROUND * len(common):
        slowest = max(common, key=lambda k: both[k] - alone[k])
        text = f"{slowest} {alone[slowest]:.1f} s became {both[slowest]:.1f} s"
        _fail(world, "T3 latency within twice", f"{what}: {before:.1f} s became {after:.1f} s; {text}")


def _fail(world: TenantWorld, rule: str, problem: str) -> NoReturn:
    world.schedule.fail(rule, problem)


def _in_world(error: AssertionError, world: TenantWorld) -> TenantsError:
    rule = getattr(error, "rule", type(error).__name__)
    who = "with" if world.is_hostile else "without"
    return TenantsError(rule, f"{who} the hostile tenant: {str(error).removeprefix(f'{rule}: ')}", world)


def _part(value: Any, part: Any) -> Any:
    return value.get(part) if isinstance(value, dict) else value


def _roles(account_ids: list[str]) -> Roles:
    first, last = account_ids[0], account_ids[-1]
    return Roles(
        tuple(RoleArn("aws", account, "/", f"r{i}") for i, account in enumerate((first, last, first))),
        (RoleArn("aws", first, "/", "evil-0"), RoleArn("aws", last, "/", "evil-1")),
        RoleArn("aws", first, "/", "shared"),
    )


def _grants(rng: Random, roles: Roles) -> tuple[tuple[RoleArn, ...], float | None, tuple[RoleArn, ...]]:
    """Return what the hostile tenant is granted, when that changes, and what it is granted then."""
    choices = ((), roles.hostile, (*roles.hostile, roles.shared), (roles.shared,))
    narrowed_at = rng.uniform(0.3, 0.9) * _SECONDS if rng.random() < 0.6 else None
    return rng.choice(choices[1:] if rng.random() < 0.85 else choices[:1]), narrowed_at, rng.choice(choices)


def _grant_spec(namespaces: tuple[str, ...], roles: list[str]) -> dict[str, Any]:
    return {
        "namespaces": {"names": list(namespaces)},
        "roleArns": roles,
        "serviceAccountNames": ["*"],
        "methods": ["WebIdentity", "AssumeRole", "PodIdentity"],
    }


def _account_spec(account_id: str) -> dict[str, Any]:
    return {
        "accountId": account_id,
        "managerRoleArn": f"arn:aws:iam::{account_id}:role/manager",
        "eks": {"clusterName": "prod", "region": "eu-central-1"},
    }


def _document() -> str:
    return TrustDocument((dict(_FOREIGN), dict(STATEMENT))).to_json()


def _honest_bindings(cluster: Cluster) -> list[Item]:
    return [item for item in cluster.of_kind(BINDING) if item.key[1] in HONEST]


def _status_of(item: Item) -> tuple[Any, ...]:
    ready = ready_condition(item.status) or {}
    return (
        item.metadata["generation"],
        item.is_deleting,
        ready.get("status"),
        ready.get("reason"),
        tuple(item.status.get("subjects", ())),
    )


def _foreign_of(text: str, cluster: Cluster) -> list[str]:
    statements = parsed(text).statements
    return [statement_text(s) for s in statements if not is_owned(s, cluster.issuer)]


def _owned_of(text: str, cluster: Cluster) -> list[str]:
    return [statement_text(s) for s in parsed(text).statements if is_owned(s, cluster.issuer)]


def _associations(account: CloudAccount) -> tuple[Any, ...]:
    return tuple(
        sorted((a.namespace, a.service_account, a.role) for a in account.associations.values() if a.namespace in HONEST)
    )
