"""The operator's surroundings in memory: objects, a cluster, an AWS and an observer, which note what is done."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

from trustbind.api.aws_account import AwsAccount
from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER
from trustbind.api.role_binding import BindingRef
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import AwsError, NotFoundError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.account_pool import Accounts
from trustbind_aws.client import AwsAccess, ManagerRole, RoleState
from trustbind_aws.resources.trust_policy import Patience
from trustbind_operator.cluster.cache import BindingEntry, Registry
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.controllers.context import Context

__all__ = [
    "ACCOUNT",
    "ISSUER",
    "OPS",
    "OTHER_ROLE",
    "ROLE",
    "Doors",
    "FakeAws",
    "FakeCluster",
    "Notes",
    "World",
    "account_body",
    "binding_body",
    "grant_body",
]

ACCOUNT: Final = "444455556666"
ROLE: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/app")
OTHER_ROLE: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/other")
ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
OPS: Final = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}

_API_VERSION: Final = "trustbind.dev/v1alpha1"
_CREATED: Final = "2026-01-01T00:00:00Z"


def binding_body(
    name: str = "b",
    namespace: str = "team-a",
    *,
    created: str = _CREATED,
    status: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a RoleBinding as the API server has it."""
    body = {
        "apiVersion": _API_VERSION,
        "kind": "RoleBinding",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": created,
            **(metadata or {}),
        },
        "spec": {"roleArn": str(ROLE), **spec},
    }
    if "serviceAccountNames" not in spec and "serviceAccountSelector" not in spec:
        body["spec"]["serviceAccountNames"] = ["app"]  # type: ignore[index] # the dictionary above
    if status is not None:
        body["status"] = dict(status)
    return body


def account_body(
    name: str = "prod", account_id: str = ACCOUNT, *, metadata: Mapping[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """Return an AWSAccount as the API server has it."""
    return {
        "apiVersion": _API_VERSION,
        "kind": "AWSAccount",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": _CREATED,
            **(metadata or {}),
        },
        "spec": {"accountId": account_id, "managerRoleArn": f"arn:aws:iam::{account_id}:role/manager", **spec},
    }


def grant_body(name: str = "all", version: str = "1", **spec: Any) -> dict[str, Any]:
    """Return a RoleGrant as the API server has it: by default over everything."""
    spec = {"namespaces": {"selector": {}}, "roleArns": ["arn:aws:iam::*:role/*"]} | spec
    return {
        "apiVersion": _API_VERSION,
        "kind": "RoleGrant",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version},
        "spec": spec,
    }


class FakeCluster:
    """`trustbind_operator.controllers.context.Cluster` over dictionaries.

    Attributes:
        objects: RoleBindings and AWSAccounts by kind and reference.
        writes: what was written, as (what, name).
        events: what was posted, as (kind, name, transition).
        before_guard: called before a finalizer is put on a binding; what a test lets happen meanwhile.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.events: list[tuple[str, str, Transition]] = []
        self.before_guard: list[Any] = []

    def put(self, body: dict[str, Any]) -> dict[str, Any]:
        """Store an object, and return it as a watch would show it."""
        self.objects[_key(body)] = body
        return copy.deepcopy(body)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object; a binding's name is ``namespace/name``."""
        return self.objects.get((kind, name))

    async def guard(self, entry: BindingEntry) -> Mapping[str, Any] | None:
        """Add our finalizer."""
        if self.before_guard:
            self.before_guard.pop(0)()
        return self._finalizer("RoleBinding", str(entry.ref), entry.uid, BINDING_FINALIZER, on=True)

    async def release(self, entry: BindingEntry) -> Mapping[str, Any] | None:
        """Take our finalizer off; what is being deleted is gone then."""
        return self._finalizer("RoleBinding", str(entry.ref), entry.uid, BINDING_FINALIZER, on=False)

    async def binding_status(self, entry: BindingEntry, status: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Store a status."""
        return self._status("RoleBinding", str(entry.ref), entry.uid, status)

    async def account_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Store a status."""
        return self._status("AWSAccount", body["metadata"]["name"], body["metadata"]["uid"], status)

    async def guard_account(self, body: Mapping[str, Any], *, on: bool) -> Mapping[str, Any] | None:
        """Add our finalizer, or take it off."""
        return self._finalizer(
            "AWSAccount", body["metadata"]["name"], body["metadata"]["uid"], ACCOUNT_FINALIZER, on=on
        )

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Note an Event."""
        self.events.append((kind, str(metadata["name"]), transition))

    def _finalizer(self, kind: str, name: str, uid: str, finalizer: str, *, on: bool) -> Mapping[str, Any] | None:
        body = self.objects.get((kind, name))
        if body is None or body["metadata"]["uid"] != uid or (on and body["metadata"].get("deletionTimestamp")):
            return None
        self.writes.append(("guard" if on else "release", name))
        listed = [f for f in body["metadata"].get("finalizers", ()) if f != finalizer]
        body["metadata"]["finalizers"] = [*listed, *([finalizer] if on else [])]
        if body["metadata"].get("deletionTimestamp") and not body["metadata"]["finalizers"]:
            del self.objects[(kind, name)]
        return self._changed(body)

    def _status(self, kind: str, name: str, uid: str, status: Mapping[str, Any]) -> Mapping[str, Any] | None:
        body = self.objects.get((kind, name))
        if body is None or body["metadata"]["uid"] != uid:
            return None
        self.writes.append(("status", name))
        body["status"] = copy.deepcopy(dict(status))
        return self._changed(body)

    @staticmethod
    def _changed(body: dict[str, Any]) -> dict[str, Any]:
        body["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)
        return copy.deepcopy(body)


def _key(body: Mapping[str, Any]) -> tuple[str, str]:
    metadata = body["metadata"]
    name = "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)
    return str(body["kind"]), name


class FakeAws:
    """One account's IAM in memory, with `trustbind_aws.client.AccountAccess`'s methods.

    Attributes:
        roles: trust document by role.
        tags: of every role.
        provider: the client ids of the cluster's OIDC provider; None: there is none.
        others: the client ids of other issuers' providers, by the issuer's host and path.
        errors: by method's name, what its next calls raise, in order.
        always: by method's name, what all its calls raise.
        calls: how often each method was called.
        account_id: where the credentials lead.
    """

    def __init__(self, account_id: str = ACCOUNT) -> None:
        self.account_id = account_id
        self.roles: dict[RoleArn, TrustDocument] = {}
        self.policies: dict[tuple[RoleArn, str], Mapping[str, Any]] = {}
        self.tags: dict[str, str] = {}
        self.provider: set[str] | None = None
        self.others: dict[str, set[str]] = {}
        self.limit = 2048
        self.errors: dict[str, list[AwsError]] = {}
        self.always: dict[str, AwsError] = {}
        self.calls: Counter[str] = Counter()

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        if name in self.always:
            raise self.always[name]

    def caller(self) -> tuple[str, str]:
        """Return who this is."""
        self._called("caller")
        return self.account_id, f"arn:aws:sts::{self.account_id}:assumed-role/manager/test"

    def role_policy(self, role: RoleArn, name: str) -> Mapping[str, Any] | None:
        """Return an inline policy."""
        self._called("role_policy")
        return self.policies.get((role, name))

    def write_role_policy(self, role: RoleArn, name: str, policy: Mapping[str, Any] | None) -> None:
        """Replace or remove an inline policy."""
        self._called("write_role_policy")
        if policy is None:
            self.policies.pop((role, name), None)
        else:
            self.policies[role, name] = policy

    def read(self, role: RoleArn) -> RoleState:
        """Return the role."""
        self._called("read")
        if role not in self.roles:
            raise NotFoundError("no such role", code="NoSuchEntity", operation=f"iam:GetRole on {role}")
        return RoleState(self.roles[role], 3600, dict(self.tags))

    def write(self, role: RoleArn, document: TrustDocument) -> None:
        """Replace the role's trust policy."""
        self._called("write")
        self.roles[role] = TrustDocument.parse(document.to_json())

    def trust_policy_limit(self, *, anew: bool = False) -> int:  # noqa: ARG002 - nothing is remembered here
        """Return the quota."""
        self._called("trust_policy_limit")
        return self.limit

    def roles_with(self, sid_prefix: str) -> list[RoleArn]:
        """Return roles with such a Sid."""
        self._called("roles_with")
        return sorted(
            role
            for role, document in self.roles.items()
            if any(str(s.get("Sid", "")).startswith(sid_prefix) for s in document.statements)
        )

    def provider_audiences(self, provider: ProviderArn) -> frozenset[str] | None:
        """Return the provider's client ids."""
        self._called("provider_audiences")
        listed = self.provider if provider.host_path == ISSUER.host_path else self.others.get(provider.host_path)
        return None if listed is None else frozenset(listed)

    def create_provider(self, issuer: Issuer, audiences: frozenset[str]) -> None:  # noqa: ARG002 - only the cluster's
        """Create it."""
        self._called("create_provider")
        self.provider = set(audiences)

    def add_audience(self, provider: ProviderArn, audience: str) -> None:  # noqa: ARG002 - as above
        """Add a client id."""
        self._called("add_audience")
        assert self.provider is not None
        self.provider.add(audience)


class Doors:
    """Stands for `AwsAccess`: leads into `FakeAws` accounts.

    Attributes:
        closed: raised instead of letting anybody in, by account.
        assumed: manager roles that were asked for.
        forgotten: manager roles whose sessions were dropped.
    """

    def __init__(self, *accounts: FakeAws) -> None:
        self.accounts = {account.account_id: account for account in accounts}
        self.closed: dict[str, AwsError] = {}
        self.assumed: list[ManagerRole] = []
        self.forgotten: list[ManagerRole] = []
        self.own: FakeAws | None = None

    def direct(self) -> FakeAws:
        """Return access as the caller's own identity."""
        assert self.own is not None
        return self.own

    def assume(self, manager: ManagerRole) -> FakeAws:
        """Return access as the manager role."""
        self.assumed.append(manager)
        if manager.role.account_id in self.closed:
            raise self.closed[manager.role.account_id]
        return self.accounts[manager.role.account_id]

    def forget(self, manager: ManagerRole) -> None:
        """Drop a session."""
        self.forgotten.append(manager)


@dataclass
class Notes:
    """`trustbind_operator.controllers.context.Observer` that keeps what it is told."""

    commits: list[tuple[RoleArn, str, int, int]] = field(default_factory=list)
    failures: list[tuple[RoleArn, str, str]] = field(default_factory=list)
    accounts: list[tuple[str, str, str]] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    associations: list[tuple[RoleArn, str, int, int]] = field(default_factory=list)

    def committed(self, role: RoleArn, outcome: str, written: int, bindings: int) -> None:
        """Note it."""
        self.commits.append((role, outcome, written, bindings))

    def associated(self, role: RoleArn, cluster: str, written: int, accounts: int) -> None:
        """Note it."""
        self.associations.append((role, cluster, written, accounts))

    def failed(self, role: RoleArn, reason: str, message: str) -> None:
        """Note it."""
        self.failures.append((role, reason, message))

    def account(self, account_id: str, reason: str, message: str) -> None:
        """Note it."""
        self.accounts.append((account_id, reason, message))

    def crashed(self, key: str) -> None:
        """Note it."""
        self.crashes.append(key)


class World:
    """A cluster with one account, a grant over everything and one role, and what the operator needs to work there.

    Attributes:
        seconds: the monotonic clock.
        today: the time.
    """

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.today = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.registry = Registry()
        self.cluster = FakeCluster()
        self.aws = FakeAws()
        self.aws.provider = {"sts.amazonaws.com"}
        self.aws.roles[ROLE] = TrustDocument((OPS,))
        self.doors = Doors(self.aws)
        self.notes = Notes()
        self.accounts = Accounts(cast("AwsAccess", self.doors), ISSUER, lambda: self.seconds)
        self.context = Context(
            registry=self.registry,
            cluster=self.cluster,
            accounts=self.accounts,
            issuer=ISSUER,
            observer=self.notes,
            patience=Patience((0.0,), (0.0,), lambda _: None, lambda: 0.0),
            now=lambda: self.today,
        )
        self.registry.grants["all"] = RoleGrant.parse(grant_body())

    def has_account(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Store an AWSAccount, and let the operator know it."""
        shown = self.cluster.put(body or account_body())
        self.registry.put_aws_account(shown)
        return shown

    def has_binding(self, body: dict[str, Any] | None = None) -> BindingEntry:
        """Store a RoleBinding, and let the operator know it."""
        entry = BindingEntry.of(self.cluster.put(body or binding_body()))
        self.registry.put_binding(entry)
        return entry

    def delete(self, name: str = "b", namespace: str = "team-a") -> None:
        """Ask for a binding's deletion, and let the operator know it."""
        body = self.cluster.objects[("RoleBinding", f"{namespace}/{name}")]
        body["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
        body["metadata"]["generation"] += 1
        self.registry.put_binding(BindingEntry.of(copy.deepcopy(body)))

    def change(self, name: str = "b", namespace: str = "team-a", **spec: Any) -> None:
        """Change a binding's spec, and let the operator know it."""
        body = self.cluster.objects[("RoleBinding", f"{namespace}/{name}")]
        body["spec"] |= spec
        body["metadata"]["generation"] += 1
        self.registry.put_binding(BindingEntry.of(copy.deepcopy(body)))

    def stored(self, name: str = "b", namespace: str = "team-a") -> Mapping[str, Any]:
        """Return a binding's stored status."""
        status: Mapping[str, Any] = self.cluster.objects[("RoleBinding", f"{namespace}/{name}")].get("status", {})
        return status

    def ready(self, name: str = "b", namespace: str = "team-a") -> tuple[str, str, str]:
        """Return status, reason and message of a binding's stored ``Ready`` condition; empty texts without one."""
        return _ready(self.stored(name, namespace))

    def account_ready(self, name: str = "prod") -> tuple[str, str, str]:
        """Return the same of an AWSAccount."""
        return _ready(self.cluster.objects[("AWSAccount", name)].get("status", {}))

    def known(self, name: str = "b", namespace: str = "team-a") -> BindingEntry:
        """Return what the operator knows of a binding."""
        return self.registry.bindings[BindingRef(namespace, name)]

    def account(self) -> AwsAccount:
        """Return the AWSAccount as the operator knows it."""
        found = self.registry.aws_account(ACCOUNT)
        assert found is not None
        return found

    def sids(self, role: RoleArn = ROLE) -> list[str]:
        """Return the Sids of a role's trust policy."""
        return [str(s.get("Sid")) for s in self.aws.roles[role].statements]


def _ready(status: Mapping[str, Any]) -> tuple[str, str, str]:
    found: Mapping[str, str] = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")
