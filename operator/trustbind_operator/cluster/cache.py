"""What the operator knows of the cluster: one typed cache for every kind, and snapshots of it.

Events fill it, on the event loop, and everything in it is an immutable value. Each change returns the roles that it may
concern. (kopf's own index takes quadratic time on a cluster-wide watch.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from trustbind.api.aws_account import AwsAccount
from trustbind.api.conflicts import may_conflict
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn, RoleName
from trustbind.identity.subjects import Issuer, Subject
from trustbind.reconcile.ranks import Ranks
from trustbind.reconcile.rollout import Rollout
from trustbind.reconcile.snapshot import BindingSnapshot, Resolved, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding, is_older, ready_condition

__all__ = ["ClusterCache", "Labels", "Objects", "StoredGrant"]

_POD_IDENTITY: Final = "by EKS Pod Identity"
"""Takes the place of a profile, and can be none (it has spaces): a service account has one role by EKS Pod Identity."""

Labels = Mapping[str, str]


class _Stored(Protocol):
    @property
    def uid(self) -> str: ...

    @property
    def version(self) -> str: ...


class _WithStatus(_Stored, Protocol):
    @property
    def status(self) -> Mapping[str, Any]: ...

    def with_status(self, status: Mapping[str, Any]) -> Self: ...


K = TypeVar("K")
V = TypeVar("V", bound=_Stored)
S = TypeVar("S", bound=_WithStatus)


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """One RoleGrant object; ``grant`` is None when it cannot be parsed, and then ``problem`` says why."""

    name: str
    uid: str
    version: str
    grant: RoleGrant | None
    problem: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> StoredGrant:
        """Return the object in ``body``."""
        metadata: Mapping[str, Any] = body.get("metadata") or {}
        grant, problem = None, ""
        try:
            grant = RoleGrant.parse(body)
        except InvalidValueError as error:
            problem = str(error)
        name, uid = str(metadata.get("name", "")), str(metadata.get("uid", ""))
        return cls(name, uid, str(metadata.get("resourceVersion", "")), grant, problem)


class Objects(dict[K, V], Generic[K, V]):
    """The objects of one kind by their key."""

    def is_old(self, key: K, item: V) -> bool:
        """Return whether a newer state of the same object is known: the answer to our own write outruns its event."""
        known = self.get(key)
        return known is not None and known.uid == item.uid and is_older(item.version, known.version)

    def identities(self) -> dict[K, tuple[str, str]]:
        """Return uid and resourceVersion of each object."""
        return {key: (item.uid, item.version) for key, item in self.items()}


class StatusObjects(Objects[K, S]):
    """The objects of one kind whose status we write.

    The answer to our status patch is newer than events that are still on their way, and what they bring counts: a
    deletion, another spec. So a patched object keeps its version, and an older event gets the patched status.
    """

    def __init__(self) -> None:
        super().__init__()
        self._patched: dict[K, tuple[str, str]] = {}
        """uid and resourceVersion of our last status patch of an object whose event has not come yet."""

    def patched(self, key: K, uid: str, status: Mapping[str, Any], version: str) -> bool:
        """Keep our own status patch; return whether it was of the object that is known, and the newest state."""
        known = self.get(key)
        if known is None or known.uid != uid or is_older(version, known.version):
            return False
        self[key] = known.with_status(status)
        self._patched[key] = uid, version
        return True

    def with_own_status(self, key: K, item: S) -> S:
        """Return the object of an event, with the status that we patched since it was sent."""
        known = self.get(key)
        uid, version = self._patched.get(key, ("", ""))
        if known is None or uid != item.uid or not is_older(item.version, version):
            self._patched.pop(key, None)
            return item
        return item.with_status(known.status)

    def drop(self, key: K) -> S | None:
        """Forget an object; return it."""
        self._patched.pop(key, None)
        return self.pop(key, None)


@dataclass(slots=True)
class ClusterCache:
    """See the module.

    Attributes:
        issuer: the cluster's.
        revision: grows with every change that a decision may depend on.
    """

    issuer: Issuer
    bindings: StatusObjects[BindingRef, StoredBinding] = field(default_factory=StatusObjects)
    aws_accounts: StatusObjects[str, StoredAwsAccount] = field(default_factory=StatusObjects)
    grants: Objects[str, StoredGrant] = field(default_factory=Objects)
    service_accounts: dict[str, dict[str, Labels]] = field(default_factory=dict)
    """Namespace to name to labels."""
    namespaces: dict[str, Labels] = field(default_factory=dict)
    revision: int = 0
    readiness: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of bindings by status and reason of their Ready condition."""
    _surroundings: Surroundings | None = None
    _own_role: RoleName | None = None
    _by_role: dict[RoleArn, set[BindingRef]] = field(default_factory=dict)
    _by_account: dict[str, set[BindingRef]] = field(default_factory=dict)
    _by_namespace: dict[str, set[BindingRef]] = field(default_factory=dict)
    _by_claim: dict[tuple[str, str, str], set[BindingRef]] = field(default_factory=dict)
    """Namespace, profile and service account to the bindings that claim the one for the other; an empty service account
    is a selector, which may select any. Bindings by EKS Pod Identity claim `_POD_IDENTITY` instead of a profile."""
    _account_revisions: dict[str, int] = field(default_factory=dict)
    """By namespace, grows with every change of a service account."""
    _resolved: dict[BindingRef, tuple[tuple[object, ...], tuple[Subject, ...]]] = field(default_factory=dict)
    _ranks: Ranks = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._ranks = Ranks(lambda ref: len(self.subjects(self.bindings[ref])))

    # --- bindings -------------------------------------------------------------------------------------------------

    def put_binding(self, stored: StoredBinding) -> frozenset[RoleArn]:
        """Keep a binding; return the roles that may be concerned."""
        before = self.bindings.get(stored.ref)
        roles = self._rivals_roles(stored)
        if before is not None:
            roles |= before.roles | self._rivals_roles(before)
            self._unlink(before)
        self.bindings[stored.ref] = stored
        self._link(stored)
        self.revision += 1
        return roles | stored.roles

    def restate(self, stored: StoredBinding, status: Mapping[str, Any], version: str) -> None:
        """Keep our own status patch on ``stored``; no decision about another binding depends on it."""
        known = self.bindings.get(stored.ref)
        if known is not None and self.bindings.patched(stored.ref, stored.uid, status, version):
            self._tally(known, -1)
            self._tally(self.bindings[stored.ref], 1)

    def drop_binding(self, ref: BindingRef) -> frozenset[RoleArn]:
        """Forget a binding; return the roles that may be concerned."""
        stored = self.bindings.drop(ref)
        if stored is None:
            return frozenset()
        self._unlink(stored)
        self._resolved.pop(ref, None)
        self.revision += 1
        return stored.roles | self._rivals_roles(stored)

    def of_role(self, role: RoleArn) -> list[StoredBinding]:
        """Return the bindings that name ``role``, oldest first."""
        return sorted((self.bindings[ref] for ref in self._by_role.get(role, ())), key=lambda s: s.age_key)

    def in_namespace(self, namespace: str) -> list[StoredBinding]:
        """Return the bindings of a namespace, oldest first."""
        found = (self.bindings[ref] for ref in self._by_namespace.get(namespace, ()))
        return sorted(found, key=lambda s: s.age_key)

    def in_account(self, account_id: str) -> list[StoredBinding]:
        """Return the bindings that name a role of an AWS account, unreadable ones included."""
        return [self.bindings[ref] for ref in sorted(self._by_account.get(account_id, ()))]

    def roles(self) -> list[RoleArn]:
        """Return every role that a binding names, sorted."""
        return sorted(self._by_role)

    def namespaces_of(self, role: RoleArn) -> frozenset[str]:
        """Return the namespaces of the bindings that name the role."""
        return frozenset(ref.namespace for ref in self._by_role.get(role, ()))

    def has_role(self, role: RoleArn) -> bool:
        """Return whether a binding names the role."""
        return role in self._by_role

    # --- everything else ------------------------------------------------------------------------------------------

    def put_aws_account(self, stored: StoredAwsAccount) -> None:
        """Keep an AWSAccount."""
        before = self.aws_accounts.get(stored.name)
        self.aws_accounts[stored.name] = stored
        if before is None or (before.account, before.age_key) != (stored.account, stored.age_key):
            self._changed_around()

    def drop_aws_account(self, name: str) -> None:
        """Forget an AWSAccount."""
        if self.aws_accounts.drop(name) is not None:
            self._changed_around()

    def put_own_role(self, role: RoleName | None) -> bool:
        """Keep the role that the operator runs as; return whether it is another one than before."""
        if role == self._own_role:
            return False
        self._own_role = role
        self._changed_around()
        return True

    def put_grant(self, stored: StoredGrant) -> None:
        """Keep a RoleGrant."""
        self.grants[stored.name] = stored
        self._changed_around()

    def drop_grant(self, name: str) -> None:
        """Forget a RoleGrant."""
        if self.grants.pop(name, None) is not None:
            self._changed_around()

    def put_service_account(self, namespace: str, name: str, labels: Labels | None) -> bool:
        """Keep a service account's labels, or with None, forget it; return whether anything changed."""
        names = self.service_accounts.setdefault(namespace, {})
        if names.get(name) == labels:
            return False
        if labels is None:
            names.pop(name, None)
        else:
            names[name] = labels
        self._account_revisions[namespace] = self._account_revisions.get(namespace, 0) + 1
        self._ranks.changed(namespace)
        self.revision += 1
        return True

    def put_namespace(self, name: str, labels: Labels | None) -> bool:
        """Keep a namespace's labels, or with None, forget it; return whether anything changed."""
        if self.namespaces.get(name) == labels:
            return False
        if labels is None:
            self.namespaces.pop(name, None)
        else:
            self.namespaces[name] = labels
        self.revision += 1
        return True

    # --- snapshots ------------------------------------------------------------------------------------------------

    @property
    def around(self) -> Surroundings:
        """What decides about every binding."""
        if self._surroundings is None:
            accounts: dict[str, AwsAccount] = {}
            for stored in sorted(self.aws_accounts.values(), key=lambda s: s.age_key):
                if stored.account is not None:  # one that cannot be parsed says so in its own condition
                    accounts.setdefault(stored.account.account_id, stored.account)
            grants = sorted((g.grant for g in self.grants.values() if g.grant is not None), key=lambda g: g.name)
            self._surroundings = Surroundings(self.issuer, tuple(grants), accounts, self._own_role)
        return self._surroundings

    def aws_account(self, account_id: str) -> AwsAccount | None:
        """Return how the AWS account is reached; of two objects the older counts, unless it is being deleted."""
        return self.around.aws_accounts.get(account_id)

    def snapshot(self, role: RoleArn, rollouts: Mapping[str, Rollout]) -> RoleSnapshot:
        """Return everything that the cluster says about one role, as one value.

        Args:
            role: which.
            rollouts: by the binding's uid, how far chains have come.
        """
        return RoleSnapshot(
            role, self.around, tuple(self.binding_snapshot(stored, rollouts) for stored in self.of_role(role))
        )

    def snapshot_of(self, stored: StoredBinding, role: RoleArn, rollouts: Mapping[str, Rollout]) -> RoleSnapshot:
        """Return what the cluster says about one role and one of its bindings alone."""
        return RoleSnapshot(role, self.around, (self.binding_snapshot(stored, rollouts),))

    def binding_snapshot(self, stored: StoredBinding, rollouts: Mapping[str, Rollout]) -> BindingSnapshot:
        """Return one binding and what decides about it."""
        binding = stored.binding
        rollout = rollouts.get(stored.uid) or Rollout.of(stored)
        if binding is None:
            return BindingSnapshot(stored, rollout=rollout)
        rivals = (self.bindings[ref] for ref in self._claimants(binding))
        return BindingSnapshot(
            stored,
            self.subjects(stored),
            tuple(
                Resolved(rival.binding, self.subjects(rival))
                for rival in rivals
                if rival.binding is not None and not rival.deleting and may_conflict(rival.binding, binding)
            ),
            self.namespaces.get(stored.ref.namespace, _NO_LABELS),
            rollout,
            self._ranks.of(stored, self.around.most_bindings),
        )

    def subjects(self, stored: StoredBinding) -> tuple[Subject, ...]:
        """Return the service accounts that a binding names or selects now; counted once for each change of either."""
        binding = stored.binding
        if binding is None:
            return ()
        revision = self._account_revisions.get(stored.ref.namespace, 0) if binding.selector is not None else 0
        key = (stored.uid, stored.generation, revision)
        known = self._resolved.get(stored.ref)
        if known is None or known[0] != key:
            known = key, binding.subjects(self.service_accounts.get(stored.ref.namespace, {}))
            if self.bindings.get(stored.ref) is stored:
                self._resolved[stored.ref] = known
        return known[1]

    def _changed_around(self) -> None:
        self._surroundings = None
        self.revision += 1

    def _link(self, stored: StoredBinding) -> None:
        for role in stored.roles:
            self._by_role.setdefault(role, set()).add(stored.ref)
            self._by_account.setdefault(role.account_id, set()).add(stored.ref)
        self._by_namespace.setdefault(stored.ref.namespace, set()).add(stored.ref)
        for claim in _claims(stored.binding):
            self._by_claim.setdefault(claim, set()).add(stored.ref)
        self._ranks.add(stored)
        self._tally(stored, 1)

    def _unlink(self, stored: StoredBinding) -> None:
        for role in stored.roles:
            _discard(self._by_role, role, stored.ref)
            _discard(self._by_account, role.account_id, stored.ref)
        _discard(self._by_namespace, stored.ref.namespace, stored.ref)
        for claim in _claims(stored.binding):
            _discard(self._by_claim, claim, stored.ref)
        self._ranks.remove(stored)
        self._tally(stored, -1)

    def _tally(self, stored: StoredBinding, by: int) -> None:
        ready = ready_condition(stored.status) or {}
        key = str(ready.get("status", "Unknown")), str(ready.get("reason", ""))
        self.readiness[key] += by
        if not self.readiness[key]:
            del self.readiness[key]

    def _claimants(self, binding: RoleBinding) -> set[BindingRef]:
        """Return the other bindings, of any age, that may claim ``binding``'s profile for a service account of its."""
        namespace, profile = binding.ref.namespace, _profile(binding)
        if binding.selector is not None:
            refs = {
                ref
                for ref in self._by_namespace.get(namespace, ())
                if (other := self.bindings[ref].binding) is not None and _profile(other) == profile
            }
        else:
            refs = set()
            for account in ("", *binding.service_account_names):
                refs |= self._by_claim.get((namespace, profile, account), set())
        refs.discard(binding.ref)
        return refs

    def _rivals_roles(self, stored: StoredBinding) -> frozenset[RoleArn]:
        """Return the roles of bindings that gain or lose a profile by this one."""
        if stored.binding is None:
            return frozenset()
        return frozenset(role for ref in self._claimants(stored.binding) for role in self.bindings[ref].roles)


_NO_LABELS: Final[Labels] = {}


def _claims(binding: RoleBinding | None) -> Iterable[tuple[str, str, str]]:
    if binding is None:
        return ()
    accounts = ("",) if binding.selector is not None else binding.service_account_names
    return [(binding.ref.namespace, _profile(binding), account) for account in accounts]


def _profile(binding: RoleBinding) -> str:
    return _POD_IDENTITY if binding.method.uses_pod_identity_association else binding.profile


def _discard(index: dict[Any, set[BindingRef]], key: Any, ref: BindingRef) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(ref)
        if not members:
            del index[key]
