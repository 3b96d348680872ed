"""One world: clusters with their operators, AWS accounts, users, other writers and faults, all decided by a seed."""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from simulation.cloud import CloudAccount, CloudRole, Faults, with_stale_principal
from simulation.cluster import ACCOUNT, BINDING, GRANT, NAMESPACE, SERVICE_ACCOUNT, Cluster
from simulation.operators import Operator
from simulation.processes import SimulationLoop
from simulation.rules import Rules
from simulation.schedule import BrokenRuleError, Schedule
from simulation.settled import problems
from trustbind.api.labels import REVOCATION_ALLOWED_AT
from trustbind.api.role_grant import CONSENT_TAG
from trustbind.backoff import Backoff
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.pace import Pace
from trustbind_operator.leader_election import LeaseLostError
from trustbind_runtime.kubernetes.client import ApiError

__all__ = ["World", "run_world"]

ACCOUNT_IDS: Final = ("111111111111", "222222222222")
NAMESPACES: Final = ("blue", "green")
NAMES: Final = ("s0", "s1", "s2", "s3")
OTHER_ISSUER: Final = Issuer.parse("https://token.actions.githubusercontent.com")
_ISSUERS: Final = (
    Issuer.parse("https://oidc.eks.eu-central-1.amazonaws.com/id/AAAA"),
    Issuer.parse("https://oidc.eks.eu-central-1.amazonaws.com/id/BBBB"),
)
_ADOPTING: Final = 0.3
"""Share of the worlds in which bindings take over hand-written statements."""
_CLUSTER: Final = {"clusterName": "prod", "region": "eu-central-1"}


class World:
    """See the module.

    Args:
        seed: decides everything.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a seed decides the world
        self.seed = seed
        self.loop = SimulationLoop()
        self.schedule = Schedule(self.now)
        self.rules = Rules(self)
        rng = self.rng
        self.is_calm = rng.random() < 0.2
        self.faults = Faults(latency=rng.choice((0.02, 0.05, 0.1)))
        self.pace = Pace(retry=Backoff(2.0, 30.0), survey=600.0 if self.is_calm else 60.0, resync=900.0)
        self.budget = (1000.0, 1000) if self.is_calm else rng.choice(((1000.0, 1000), (15.0, 100), (4.0, 4), (2.0, 2)))
        self._pauses = 0.0
        self._crashes = 0.0
        self._actions = rng.randint(20, 45)
        self._spread = rng.choice((25.0, 60.0)) if not self.is_calm else 40.0
        if not self.is_calm:
            self._choose_faults()
        self.accounts = {
            account_id: CloudAccount(self, account_id, rng.choice((2048, 2048, 1400)))
            for account_id in ACCOUNT_IDS[: rng.choice((1, 1, 2))]
        }
        self.roles = [
            RoleArn("aws", rng.choice(list(self.accounts)), "/", f"r{i}") for i in range(rng.choice((2, 2, 3, 4)))
        ]
        self.clusters = [Cluster(self, "A", _ISSUERS[0])]
        if rng.random() < 0.4:
            self.clusters.append(Cluster(self, "B", _ISSUERS[1]))
        self.operators: list[Operator] = []
        self.is_over = False
        # Of its own, so that a world without adoption is the same as if there were none.
        self._adoption = random.Random(f"adoption {seed}")  # noqa: S311 - a seed decides the world
        self.adopts = self._adoption.random() < _ADOPTING
        self._made = 0
        self._sids = 0

    def _choose_faults(self) -> None:
        rng, faults = self.rng, self.faults
        faults.throttled = rng.choice((0.0, 0.05, 0.2))
        faults.failed = rng.choice((0.0, 0.0, 0.05))
        faults.silent = rng.choice((0.0, 0.03, 0.1))
        faults.stale = rng.choice((0.0, 0.2, 0.5))
        faults.paused_in_send = rng.choice((0.0, 0.02, 0.06))
        faults.kubernetes = rng.choice((0.0, 0.0, 0.05))
        faults.watch = rng.choice((0.0, 0.0, 0.3))
        self._pauses = rng.choice((0.0, 0.1, 0.3))
        self._crashes = rng.choice((0.0, 0.05, 0.15))

    # --- what ports ask -----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the virtual time."""
        return self.loop.time()

    def leg(self) -> float:
        """Return the time of one leg of a call."""
        seconds = self.faults.latency * (0.2 + self.rng.random())
        if not self.is_calm and self.rng.random() < 0.03:
            seconds += self.rng.random() * 2.0
        return seconds

    def exists(self, role: RoleArn) -> bool:
        """Return whether a role exists; roles of other AWS accounts do."""
        return role.account_id not in self.accounts or self.role(role) is not None

    def role(self, role: RoleArn) -> CloudRole | None:
        """Return the role with exactly this ARN; a name is there once, under one path."""
        account = self.accounts.get(role.account_id)
        found = account.roles.get(role.name) if account is not None else None
        return found if found is not None and found.arn == role else None

    def crashed(self, operator: Operator, key: str, error: Exception) -> None:
        """A controller met an exception that it does not expect; a failed write to Kubernetes is none."""
        if isinstance(error, ApiError) and "simulated" in error.problem:
            self.schedule.add(operator.name, f"{key}: {error}")
            return
        if self.schedule.broken is None:
            self.schedule.fail("no unexpected error", f"{operator.name} at {key}: {error!r}")

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the world to its end.

        Raises:
            AssertionError: a rule is broken.
        """
        random.seed(self.seed)  # some pauses of the code under test are random by the module's own generator
        self.loop.set_exception_handler(self._unhandled)
        try:
            self.loop.run_until_complete(self._live())
        finally:
            self._end()
        if self.schedule.broken is not None:
            raise self.schedule.broken

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised, or nobody asked for a task's exception."""
        error = context.get("exception")
        if self.schedule.broken is None and not isinstance(
            error, BrokenRuleError | AwsError | ApiError | LeaseLostError
        ):
            self.schedule.broken = BrokenRuleError("no unexpected error", f"{context.get('message')}: {error!r}")

    async def _live(self) -> None:
        rng = self.rng
        self._populate()
        for cluster in self.clusters:
            for _ in range(2 if cluster.name == "A" and not self.is_calm else 1):
                self._start_operator(cluster)
        for _ in range(self._actions):
            await self._sleep(rng.expovariate(self._actions / self._spread))
            self._act()
        await self._settle()

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.schedule.broken is not None:
            raise self.schedule.broken

    async def _settle(self) -> None:
        """Let all faults end, wait, and look whether all is as it is wanted."""
        self.schedule.add("world", "all faults end")
        self.faults = Faults(latency=self.faults.latency)
        for item in [i for c in self.clusters for i in c.of_kind(ACCOUNT)]:
            cluster = next(c for c in self.clusters if c.items.get(item.key) is item)
            cluster.change(item.key, {**item.body["spec"], "driftPolicy": "Repair"})
        found: list[str] = []
        for wait in (12.0,) if self.is_calm else (100.0, 60.0, 60.0):
            for _ in range(10):
                self._allow_revocation()
                await self._sleep(wait / 10)
            found = self.settled_problems()
            if not found:
                self.schedule.count(f"settled after {wait:.0f} s more")
                return
        self.schedule.fail("all is as wanted in the end", "; ".join(found))

    def _allow_revocation(self) -> None:
        """Do what an administrator does where revocation is paused."""
        for cluster in self.clusters:
            for item in cluster.of_kind(ACCOUNT):
                if any(c["type"] == "RevocationPaused" for c in item.status.get("conditions") or ()):
                    cluster.annotate(item.key, REVOCATION_ALLOWED_AT, f"{self.now():.0f}")

    def settled_problems(self) -> list[str]:
        """Return what is not as it is wanted."""
        return problems(self)

    def _end(self) -> None:
        """Let every task end, so that nothing of this world goes on in the next one."""
        self.is_over = True
        self.loop.set_exception_handler(lambda _loop, _context: None)
        for operator in self.operators:
            operator.process.revive()
        self.loop.run_until_complete(self._cancel_all())
        self.loop.close()

    async def _cancel_all(self) -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1.0)

    # --- operators ----------------------------------------------------------------------------------------------------

    def _start_operator(self, cluster: Cluster) -> None:
        self._made += 1
        operator = Operator(self, cluster, f"{cluster.name}{self._made}")
        self.operators.append(operator)
        self.schedule.add(operator.name, "starts")
        operator.start()
        assert operator.running is not None
        operator.running.add_done_callback(lambda task: self._ended(operator, task), context=contextvars.Context())

    def _ended(self, operator: Operator, task: asyncio.Task[None]) -> None:
        if not operator.process.is_alive or self.is_over:
            return
        error = None if task.cancelled() else task.exception()
        self.schedule.add(operator.name, f"ends: {error!r}" if error else "ends")
        operator.process.kill()
        self._restart_later(operator.cluster)

    def _restart_later(self, cluster: Cluster) -> None:
        self.loop.call_later(self.rng.uniform(0.5, 8.0), self._start_operator, cluster, context=contextvars.Context())

    def _any_operator(self) -> Operator | None:
        alive = [o for o in self.operators if o.process.is_alive]
        return self.rng.choice(alive) if alive else None

    def _crash(self) -> None:
        operator = self._any_operator()
        if operator is None:
            return
        self.schedule.add(operator.name, "is killed")
        self.schedule.count("crashes")
        operator.process.kill()
        if operator in operator.cluster.watchers:
            operator.cluster.watchers.remove(operator)
        self._restart_later(operator.cluster)

    def _stop(self) -> None:
        operator = self._any_operator()
        if operator is None:
            return
        self.schedule.add(operator.name, "is asked to end")
        if operator.running is not None:
            self.loop.call_soon(operator.running.cancel, context=operator.process.context)

    def _pause(self) -> None:
        operator = self._any_operator()
        if operator is None:
            return
        seconds = self.rng.choice((0.3, 1.0, 4.0, 9.0, 20.0, 45.0))
        self.schedule.add(operator.name, f"is paused for {seconds} s")
        self.schedule.count("pauses")
        operator.process.pause(seconds)

    # --- what is there ------------------------------------------------------------------------------------------------

    def _populate(self) -> None:
        rng = self.rng
        for account in self.accounts.values():
            account.providers[OTHER_ISSUER.host_path] = {"sts.amazonaws.com"}
        for role in self.roles:
            self._create_role(role)
        for cluster in self.clusters:
            for namespace in NAMESPACES:
                cluster.create((NAMESPACE, "", namespace), {}, {"team": rng.choice(("x", "y"))})
                for name in NAMES:
                    if rng.random() < 0.8:
                        self._put_service_account(cluster, namespace, name)
            for account_id in self.accounts:
                cluster.create((ACCOUNT, "", f"acct-{account_id[0]}"), self._account_spec(account_id))
            for number in range(rng.choice((1, 2))):
                cluster.create((GRANT, "", f"g{number}"), self._grant_spec())
            for number in range(rng.randint(1, 4)):
                cluster.create((BINDING, rng.choice(NAMESPACES), f"b{number}"), self._binding_spec())

    def _create_role(self, role: RoleArn) -> None:
        statements = [self._statement(role) for _ in range(self.rng.randint(1, 2))]
        if self.rng.random() < 0.7:
            statements.append(dict(STATEMENT))
        tags = {CONSENT_TAG: " ".join(n for n in NAMESPACES if self.rng.random() < 0.7)}
        text = TrustDocument(tuple(statements)).to_json()
        self.accounts[role.account_id].create_role(role, text, tags)

    def _statement(self, role: RoleArn) -> dict[str, Any]:
        """Return another foreign statement for a role; where bindings adopt, often one for a cluster's tokens."""
        self._sids += 1
        if self.adopts and self._adoption.random() < 0.5:
            return self._hand_written(role)
        return {
            "Sid": f"Foreign{self._sids}",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::99999999{self._sids:04d}:root"},
            "Action": "sts:AssumeRole",
        }

    def _hand_written(self, role: RoleArn) -> dict[str, Any]:
        """Return a statement as people write it for service accounts of a cluster."""
        rng = self._adoption
        issuer = rng.choice(self.clusters).issuer
        namespace = rng.choice(NAMESPACES)
        names = [f"system:serviceaccount:{namespace}:{name}" for name in rng.sample(NAMES, rng.choice((1, 1, 2, 3)))]
        block: dict[str, Any] = {issuer.subject_key: names[0] if len(names) == 1 else names}
        if rng.random() < 0.7:
            block[issuer.audience_key] = rng.choice(("sts.amazonaws.com", "sts.amazonaws.com", "other.example.com"))
        if rng.random() < 0.1:
            block["aws:SourceVpc"] = "vpc-1"
        return {
            "Sid": f"Foreign{self._sids}",
            "Effect": "Allow",
            "Principal": {"Federated": str(issuer.provider_for(role))},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {rng.choice(("StringEquals", "StringEquals", "StringLike")): block},
        }

    def _account_spec(self, account_id: str) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "accountId": account_id,
            "managerRoleArn": f"arn:aws:iam::{account_id}:role/manager",
            "requireRoleConsent": self.rng.random() < 0.15,
        }
        if self.rng.random() < 0.6:
            spec["eks"] = _CLUSTER
        return spec

    def _grant_spec(self) -> dict[str, Any]:
        rng = self.rng
        namespaces: dict[str, Any] = (
            {"selector": {"matchLabels": {"team": rng.choice(("x", "y"))}}}
            if rng.random() < 0.2
            else {"names": list(rng.choice((NAMESPACES, NAMESPACES, NAMESPACES[:1], NAMESPACES[1:])))}
        )
        roles = [str(r) for r in self.roles if rng.random() < 0.7] if rng.random() < 0.4 else ["arn:aws:iam::*:role/*"]
        spec: dict[str, Any] = {
            "namespaces": namespaces,
            "roleArns": roles or ["arn:aws:iam::*:role/r0"],
            "serviceAccountNames": ["*"] if rng.random() < 0.6 else rng.sample(NAMES, 3),
            "methods": ["WebIdentity", "AssumeRole", "PodIdentity"],
            "audiences": ["sts.amazonaws.com", "other.example.com"],
            "allowRetain": True,
        }
        if self.adopts:
            spec["allowAdopt"] = self._adoption.random() < 0.9
        if rng.random() < 0.7:
            subjects = ["repo:org/*"] if rng.random() < 0.7 else ["repo:org/a:*"]
            spec["federatedSubjects"] = [{"issuer": OTHER_ISSUER.url, "subjects": subjects}]
        return spec

    def _binding_spec(self, former: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return a spec; of a binding that is changed, with the role that it has."""
        rng = self.rng
        role = str(former["roleArn"]) if former is not None else str(rng.choice(self.roles))
        others = [r for r in self.roles if str(r) != role]
        method = rng.choices(("WebIdentity", "AssumeRole", "PodIdentity"), (6, 3, 2))[0]
        if former is not None and rng.random() < 0.8:
            method = str(former["method"])
        spec: dict[str, Any] = {
            "roleArn": role,
            "method": method,
            "deletionPolicy": "Retain" if rng.random() < 0.25 else "Revoke",
            "profile": rng.choice(("default", "p1", "p2", "p3")),
        }
        if rng.random() < 0.3:
            spec["serviceAccountSelector"] = {"matchLabels": {"app": rng.choice(("x", "y"))}}
        else:
            spec["serviceAccountNames"] = sorted(rng.sample(NAMES, rng.choice((1, 1, 2, 3))))
        if method == "AssumeRole":
            source = former["source"] if former is not None and "source" in former and rng.random() < 0.8 else None
            spec["source"] = source or {
                "roleArn": str(rng.choice(others)),
                "managePermission": rng.random() < 0.8,
                "trustedAs": rng.choice(("Role", "AccountRoot")),
            }
            if rng.random() < 0.2:
                spec["externalId"] = rng.choice(("id-1", "id-2"))
        elif rng.random() < 0.1:
            spec["audience"] = "other.example.com"
        if method != "PodIdentity" and rng.random() < 0.15:
            spec["conditions"] = [{"operator": "StringEquals", "key": "aws:SourceVpc", "values": ["vpc-1"]}]
        if method == "WebIdentity" and rng.random() < 0.2:
            subjects = rng.sample(("repo:org/a:x", "repo:org/a:y", "repo:org/b:*"), 2)
            spec["federatedSubjects"] = [{"issuer": OTHER_ISSUER.url, "subjects": subjects}]
        if self.adopts and method == "WebIdentity" and self._adoption.random() < 0.7:
            spec["adopt"] = "Equivalent"
            if self._adoption.random() < 0.5:
                spec["deletionPolicy"] = "Restore"
        return spec

    def _put_service_account(self, cluster: Cluster, namespace: str, name: str) -> None:
        labels = {"app": self.rng.choice(("x", "y"))} if self.rng.random() < 0.7 else {}
        key = (SERVICE_ACCOUNT, namespace, name)
        if key in cluster.items:
            cluster.change(key, labels=labels)
        else:
            cluster.create(key, {}, labels)

    # --- what happens -------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        rng = self.rng
        cluster = rng.choice(self.clusters)
        acts: list[tuple[Callable[[Cluster], None], float]] = [
            (self._change_grant, 3.0),
            (self._create_binding, 4.0),
            (self._change_binding, 3.0),
            (self._delete_binding, 3.0),
            (self._change_service_account, 1.5),
            (self._change_namespace, 0.3),
            (self._change_account, 0.7),
        ]
        if not self.is_calm:
            acts += [
                (lambda _: self._write_foreign(), 4.0),
                (lambda _: self._change_role(), 0.8),
                (lambda _: self._pause(), 14.0 * self._pauses),
                (lambda _: self._crash(), 14.0 * self._crashes),
                (lambda _: self._stop(), 5.0 * self._crashes),
            ]
        act = rng.choices([a for a, _ in acts], [w for _, w in acts])[0]
        act(cluster)

    def _change_grant(self, cluster: Cluster) -> None:
        key = (GRANT, "", f"g{self.rng.randint(0, 2)}")
        if key not in cluster.items:
            cluster.create(key, self._grant_spec())
        elif self.rng.random() < 0.3:
            cluster.delete(key)
        else:
            cluster.change(key, self._grant_spec())
        self.schedule.add(f"user {cluster.name}", f"changes {key}")

    def _create_binding(self, cluster: Cluster) -> None:
        key = (BINDING, self.rng.choice(NAMESPACES), f"b{self.rng.randint(0, 7)}")
        if key not in cluster.items:
            spec = self._binding_spec()
            cluster.create(key, spec)
            self.schedule.add(f"user {cluster.name}", f"creates {key}: {json.dumps(spec)}")

    def _change_binding(self, cluster: Cluster) -> None:
        items = [i for i in cluster.of_kind(BINDING) if not i.is_deleting]
        if items:
            item = self.rng.choice(items)
            spec = self._binding_spec(item.body["spec"])
            cluster.change(item.key, spec)
            self.schedule.add(f"user {cluster.name}", f"changes {item.key}: {json.dumps(spec)}")

    def _delete_binding(self, cluster: Cluster) -> None:
        items = [i for i in cluster.of_kind(BINDING) if not i.is_deleting]
        if items:
            key = self.rng.choice(items).key
            self.schedule.add(f"user {cluster.name}", f"deletes {key}")
            cluster.delete(key)

    def _change_service_account(self, cluster: Cluster) -> None:
        namespace, name = self.rng.choice(NAMESPACES), self.rng.choice(NAMES)
        key = (SERVICE_ACCOUNT, namespace, name)
        self.schedule.add(f"user {cluster.name}", f"changes {key}")
        if key in cluster.items and self.rng.random() < 0.25:
            cluster.delete(key)
        else:
            self._put_service_account(cluster, namespace, name)

    def _change_namespace(self, cluster: Cluster) -> None:
        key = (NAMESPACE, "", self.rng.choice(NAMESPACES))
        self.schedule.add(f"user {cluster.name}", f"changes {key}")
        cluster.change(key, labels={"team": self.rng.choice(("x", "y"))})

    def _change_account(self, cluster: Cluster) -> None:
        rng = self.rng
        account_id = rng.choice(list(self.accounts))
        key = (ACCOUNT, "", f"acct-{account_id[0]}")
        item = cluster.items.get(key)
        self.schedule.add(f"user {cluster.name}", f"changes {key}")
        if item is None:
            cluster.create(key, self._account_spec(account_id))
        elif rng.random() < 0.3:
            cluster.delete(key)
        else:
            spec = dict(item.body["spec"])
            match rng.randint(0, 2):
                case 0:
                    spec["requireRoleConsent"] = not spec["requireRoleConsent"]
                case 1:
                    spec["driftPolicy"] = "Observe" if spec.get("driftPolicy") != "Observe" else "Repair"
                case _:
                    if spec.pop("eks", None) is None:
                        spec["eks"] = _CLUSTER
            cluster.change(key, spec)

    def _change_role(self) -> None:
        rng = self.rng
        arn = rng.choice(self.roles)
        account = self.accounts[arn.account_id]
        role = account.roles.get(arn.name)
        if role is None:
            self.schedule.add("user of AWS", f"creates {arn.name}")
            self._create_role(arn)
        elif rng.random() < 0.5:
            role.tags = {CONSENT_TAG: " ".join(n for n in NAMESPACES if rng.random() < 0.7)}
            self.schedule.add("user of AWS", f"tags {arn.name}: {role.tags}")
        else:
            self.schedule.add("user of AWS", f"deletes {arn.name}")
            del account.roles[arn.name]
            for other in [r for a in self.accounts.values() for r in a.roles.values()]:
                text = with_stale_principal(other.text, arn, role.unique_id)
                if text != other.text:
                    other.put(text, self.now())
            if rng.random() < 0.8:
                self.loop.call_later(rng.uniform(1.0, 30.0), self._create_again, arn)

    def _create_again(self, arn: RoleArn) -> None:
        if arn.name not in self.accounts[arn.account_id].roles:
            self.schedule.add("user of AWS", f"creates {arn.name} again")
            self._create_role(arn)

    # --- other writers ------------------------------------------------------------------------------------------------

    def _write_foreign(self) -> None:
        arn = self.rng.choice(self.roles)
        role = self.accounts[arn.account_id].roles.get(arn.name)
        if role is None:
            return
        rng = self.rng
        at = self.now() - (rng.random() * 4.0 if rng.random() < self.faults.stale else 0.0)
        read = TrustDocument.parse(role.shown(at), stored=True)
        style = rng.choices(("add", "remove", "keep", "overwrite"), (4, 2, 2, 1))[0]
        self.schedule.add("other writer", f"reads {arn.name} to {style}")
        self.loop.call_later(
            rng.choice((0.05, 0.3, 1.0, 5.0)) * (0.5 + rng.random()), self._foreign_write, role, read, style
        )

    def _foreign_write(self, role: CloudRole, read: TrustDocument, style: str) -> None:
        account = self.accounts[role.arn.account_id]
        if account.roles.get(role.arn.name) is not role:
            return
        statements = list(read.statements)
        foreign = [s for s in statements if str(s.get("Sid", "")).startswith("Foreign")]
        if style == "add":
            statements.append(self._statement(role.arn))
        elif style == "remove" and foreign and len(statements) > 1:
            statements.remove(self.rng.choice(foreign))
        elif style == "overwrite":
            statements = [s for s in statements if not str(s.get("Sid", "")).startswith("Trustbind")] or statements
        text = read.with_statements(statements).to_json()
        try:
            account.put(role, text, "UpdateAssumeRolePolicy")
        except AwsError as error:
            self.schedule.add("other writer", f"is refused in {role.arn.name}: {error}")
            return
        self.schedule.count("foreign writes")
        self.schedule.add("other writer", f"writes {role.arn.name}: {style}")


def run_world(seed: int) -> World:
    """Run the world of a seed; `World.schedule` says what happened.

    Raises:
        AssertionError: a rule is broken.
    """
    world = World(seed)
    world.run()
    return world
