"""What the operator knows of the cluster: one typed cache for every kind, and snapshots of it.

Events fill it, on the event loop, and everything in it is an immutable value. Each change returns the roles that it may
concern. (kopf's own index takes quadratic time on a cluster-wide watch.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from trustbind.api.aws_account import AwsAccount
from trustbind.api.profile_index import ProfileIndex
from trustbind.api.role_binding import BindingRef, DeletionPolicy
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn, RoleName
from trustbind.identity.subjects import Issuer, Subject
from trustbind.reconcile.binding_set import SetPattern
from trustbind.reconcile.ranks import Ranks
from trustbind.reconcile.rollout import Rollout
from trustbind.reconcile.shared_source import source_conflicts
from trustbind.reconcile.snapshot import BindingSnapshot, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding, is_older, ready_condition
from trustbind_operator.cluster.set_patterns import SetPatterns

__all__ = ["ClusterCache", "Labels", "Objects", "StoredGrant"]

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
class Readiness:
    """How many RoleBindings are Ready, and why the others are not.

    Attributes:
        counts: number of bindings by status and reason of their Ready condition.
        unready: the reason of each binding that is not Ready; empty for one that has no condition yet.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    unready: dict[BindingRef, str] = field(default_factory=dict)

    def tally(self, stored: StoredBinding, by: int) -> None:
        """Count a binding (``by`` is 1), or count it no more, as it was then (-1)."""
        ready = ready_condition(stored.status) or {}
        key = str(ready.get("status", "Unknown")), str(ready.get("reason", ""))
        self.counts[key] += by
        if not self.counts[key]:
            del self.counts[key]
        if by > 0 and key[0] != "True":
            self.unready[stored.ref] = key[1]
        else:
            self.unready.pop(stored.ref, None)


@dataclass(slots=True)
class ClusterCache:
    """See the module.

    Attributes:
        issuer: the cluster's.
        leaving: see `Surroundings`.
        revision: grows with every change that a decision may depend on.
    """

    issuer: Issuer
    leaving: DeletionPolicy | None = None
    bindings: StatusObjects[BindingRef, StoredBinding] = field(default_factory=StatusObjects)
    aws_accounts: StatusObjects[str, StoredAwsAccount] = field(default_factory=StatusObjects)
    grants: Objects[str, StoredGrant] = field(default_factory=Objects)
    service_accounts: dict[str, dict[str, Labels]] = field(default_factory=dict)
    """Namespace to name to labels."""
    namespaces: dict[str, Labels] = field(default_factory=dict)
    revision: int = 0
    readiness: Readiness = field(default_factory=Readiness)
    _surroundings: Surroundings | None = None
    _own_role: RoleName | None = None
    _by_role: dict[RoleArn, set[BindingRef]] = field(default_factory=dict)
    _by_account: dict[str, set[BindingRef]] = field(default_factory=dict)
    _by_namespace: dict[str, set[BindingRef]] = field(default_factory=dict)
    _indexes: dict[str, ProfileIndex] = field(default_factory=dict, compare=False)
    """By namespace that has bindings."""
    _versions: Counter[str] = field(default_factory=Counter, compare=False)
    """By namespace, grows with every change that `version` is about."""
    _sources: Counter[RoleArn] = field(default_factory=Counter)
    """Number of chains by source role."""
    _source_conflicts: dict[RoleArn, tuple[int, Mapping[BindingRef, str]]] = field(default_factory=dict, compare=False)
    """By source role, the revision that they were found at, and what `source_conflicts` returned."""
    ranks: Ranks = field(init=False, compare=False)
    """How many older bindings a binding has in its namespace."""
    patterns: SetPatterns = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.patterns = SetPatterns(self.issuer)
        self.ranks = Ranks(lambda ref: len(self.subjects(self.bindings[ref])))

    # --- bindings -------------------------------------------------------------------------------------------------

    def put_binding(self, stored: StoredBinding) -> frozenset[RoleArn]:
        """Keep a binding; return the roles that may be concerned."""
        before = self.bindings.get(stored.ref)
        roles = stored.roles
        if before is not None:
            roles |= before.roles
            self._unlink(before)
        self.bindings[stored.ref] = stored
        self._link(stored)
        self.ranks.replace(before, stored)
        index = self._index(stored.ref.namespace)
        concerned = index.put(stored.binding) if stored.binding is not None else index.drop(stored.ref)
        self._changed(stored.ref.namespace)
        return roles.union(*(self.bindings[ref].roles for ref in concerned))

    def restate(self, stored: StoredBinding, status: Mapping[str, Any], version: str) -> None:
        """Keep our own status patch on ``stored``; no decision about another binding depends on it."""
        known = self.bindings.get(stored.ref)
        if known is not None and self.bindings.patched(stored.ref, stored.uid, status, version):
            self._versions[stored.ref.namespace] += 1
            self.readiness.tally(known, -1)
            self.readiness.tally(self.bindings[stored.ref], 1)

    def drop_binding(self, ref: BindingRef) -> frozenset[RoleArn]:
        """Forget a binding; return the roles that may be concerned."""
        stored = self.bindings.drop(ref)
        if stored is None:
            return frozenset()
        self._unlink(stored)
        self.ranks.remove(stored)
        concerned = self._index(ref.namespace).drop(ref)
        if ref.namespace not in self._by_namespace:
            self._indexes.pop(ref.namespace, None)
        self._changed(ref.namespace)
        return stored.roles.union(*(self.bindings[other].roles for other in concerned))

    def of_role(self, role: RoleArn) -> list[StoredBinding]:
        """Return the bindings that name ``role``, oldest first."""
        return sorted((self.bindings[ref] for ref in self._by_role.get(role, ())), key=lambda s: s.age_key)

    def in_namespace(self, namespace: str) -> list[StoredBinding]:
        """Return the bindings of a namespace, oldest first."""
        found = (self.bindings[ref] for ref in self._by_namespace.get(namespace, ()))
        return sorted(found, key=lambda s: s.age_key)

    def refs_in(self, namespace: str) -> list[BindingRef]:
        """Return which bindings a namespace has, in no order."""
        return list(self._by_namespace.get(namespace, ()))

    def bound_namespaces(self) -> list[str]:
        """Return the namespaces that have bindings."""
        return list(self._by_namespace)

    def naming(self, namespace: str, service_account: str) -> list[StoredBinding]:
        """Return the bindings that can be parsed and that name or select a service account, in no order."""
        index = self._indexes.get(namespace)
        return [] if index is None else [self.bindings[ref] for ref in index.of(service_account)]

    def version(self, namespace: str) -> int:
        """Return a number that grows with every change of a namespace's bindings, statuses and selected accounts."""
        return self._versions[namespace]

    def in_account(self, account_id: str) -> list[StoredBinding]:
        """Return the bindings that name a role of an AWS account, unreadable ones included."""
        refs = sorted(self._by_account.get(account_id, ()), key=lambda ref: (ref.namespace, ref.name))
        return [self.bindings[ref] for ref in refs]

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
        """Keep a service account's labels, or with None, forget it; return whether a selector of a binding notices."""
        names = self.service_accounts.setdefault(namespace, {})
        if names.get(name) == labels:
            return False
        if labels is None:
            names.pop(name, None)
        else:
            names[name] = labels
        index = self._indexes.get(namespace)
        is_noticed = index is not None and index.put_service_account(name, labels)
        if is_noticed:
            self.ranks.changed(namespace)
            self._changed(namespace)
        return is_noticed

    def put_namespace(self, name: str, labels: Labels | None) -> bool:
        """Keep a namespace's labels, or with None, forget it; return whether anything changed."""
        if self.namespaces.get(name) == labels:
            return False
        if labels is None:
            self.namespaces.pop(name, None)
        else:
            self.namespaces[name] = labels
        self._changed(name)
        return True

    # --- snapshots ------------------------------------------------------------------------------------------------

    @property
    def around(self) -> Surroundings:
        """What decides about every binding."""
        if self._surroundings is None:
            accounts = _by_id(self.aws_accounts.values())
            grants = sorted((g.grant for g in self.grants.values() if g.grant is not None), key=lambda g: g.name)
            self._surroundings = Surroundings(self.issuer, tuple(grants), accounts, self._own_role, self.leaving)
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
        rollout = rollouts.get(stored.uid) or Rollout.of(stored)
        if stored.binding is None:
            return BindingSnapshot(stored, rollout=rollout)
        shared = (self._shared(r).get(stored.ref, "") for r in stored.roles if r in self._sources)
        return replace(
            self._member(stored),
            rollout=rollout,
            rank=self.ranks.of(stored, self.around.most_bindings),
            source_conflict=next(filter(None, shared), ""),
        )

    def put_pattern(self, uid: str, pattern: SetPattern | None) -> bool:
        """Keep what is known of the pattern of a RoleBindingSet, or with None, forget it; return whether it changed."""
        is_changed = self.patterns.put(uid, pattern)
        self.revision += is_changed
        return is_changed

    def sharing(self, stored: StoredBinding) -> frozenset[str]:
        """Return the other namespaces whose bindings name a source role that this binding names, or named."""
        own = stored.binding.source.role if stored.binding is not None and stored.binding.source is not None else None
        shared = (role for role in stored.roles if role == own or role in self._sources)
        return frozenset(ref.namespace for role in shared for ref in self._by_role.get(role, ())) - {
            stored.ref.namespace
        }

    def _shared(self, role: RoleArn) -> Mapping[BindingRef, str]:
        """Return the bindings that may not share a source role, each with the reason."""
        known = self._source_conflicts.get(role)
        if known is None or known[0] != self.revision:
            known = self._source_conflicts[role] = self.revision, self._find_shared(role)
        return known[1]

    def _find_shared(self, role: RoleArn) -> Mapping[BindingRef, str]:
        there = self._by_role[role]
        by_pattern = any(self.patterns.get(self.bindings[ref].set_uid) for ref in there)
        if len({ref.namespace for ref in there}) == 1 and not by_pattern:
            return {}
        members = [self._member(stored) for stored in self.of_role(role) if stored.binding is not None]
        return source_conflicts(role, members, self.around)

    def _member(self, stored: StoredBinding) -> BindingSnapshot:
        index, labels = self._index(stored.ref.namespace), self.namespaces.get(stored.ref.namespace, _NO_LABELS)
        snapshot = BindingSnapshot(stored, self.subjects(stored), index.rival(stored.ref), labels)
        return self.patterns.applied(snapshot) if stored.set_uid else snapshot

    def subjects(self, stored: StoredBinding) -> tuple[Subject, ...]:
        """Return the service accounts that a binding names or selects now; they are computed once for each change."""
        if stored.binding is None:
            return ()
        return self._index(stored.ref.namespace).subjects(stored.binding)

    def _index(self, namespace: str) -> ProfileIndex:
        index = self._indexes.get(namespace)
        if index is None:
            index = ProfileIndex(namespace)
            for name, labels in self.service_accounts.get(namespace, {}).items():
                index.put_service_account(name, labels)
            if namespace in self._by_namespace:
                self._indexes[namespace] = index
        return index

    def _changed(self, namespace: str) -> None:
        self.revision += 1
        self._versions[namespace] += 1

    def _changed_around(self) -> None:
        self._surroundings = None
        self.revision += 1

    def _link(self, stored: StoredBinding) -> None:
        for role in stored.roles:
            self._by_role.setdefault(role, set()).add(stored.ref)
            self._by_account.setdefault(role.account_id, set()).add(stored.ref)
        self._by_namespace.setdefault(stored.ref.namespace, set()).add(stored.ref)
        if stored.binding is not None and stored.binding.source is not None:
            self._sources[stored.binding.source.role] += 1
        self.readiness.tally(stored, 1)

    def _unlink(self, stored: StoredBinding) -> None:
        for role in stored.roles:
            _discard(self._by_role, role, stored.ref)
            _discard(self._by_account, role.account_id, stored.ref)
        _discard(self._by_namespace, stored.ref.namespace, stored.ref)
        if stored.binding is not None and stored.binding.source is not None:
            source = stored.binding.source.role
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]
                self._source_conflicts.pop(source, None)
        self.readiness.tally(stored, -1)


_NO_LABELS: Final[Labels] = {}


def _by_id(stored: Iterable[StoredAwsAccount]) -> dict[str, AwsAccount]:
    """Return account id to AWSAccount; of two objects the older counts."""
    accounts: dict[str, AwsAccount] = {}
    for each in sorted(stored, key=lambda s: s.age_key):
        if each.account is not None:  # one that cannot be parsed says so in its own condition
            accounts.setdefault(each.account.account_id, each.account)
    return accounts


def _discard(index: dict[Any, set[BindingRef]], key: Any, ref: BindingRef) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(ref)
        if not members:
            del index[key]
