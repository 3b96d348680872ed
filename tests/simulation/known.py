"""What was delivered to one operator, and whom that covers: asked of grants alone, past its own decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trustbind.api.role_binding import BindingRef, DeletionPolicy, RoleBinding
from trustbind.api.role_grant import arn_matches, authorize, consents
from trustbind.evaluation.wildcards import glob_covers, glob_matches
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import AssociationKey, ChainKey, StatementKey, sid_of

if TYPE_CHECKING:
    from simulation.cluster import Item, Key

__all__ = ["Cover", "Known", "cover_of"]

_KINDS = ("RoleBinding", "RoleGrant", "AWSAccount")

Identities = Mapping["Key", tuple[str, int]]


@dataclass(slots=True)
class Known:
    """The newest state of each object that was delivered.

    Attributes:
        items: by key.
        answers: objects as answers to the operator's own writes showed them, which may be newer than the last event.
        deleted_at: by uid, when the operator heard that an object is being deleted.
    """

    items: dict[Key, Item] = field(default_factory=dict)
    answers: dict[Key, Item] = field(default_factory=dict)
    deleted_at: dict[str, float] = field(default_factory=dict)

    def take(self, item: Item, *, is_gone: bool, now: float) -> None:
        """Take an event."""
        if item.is_deleting:
            self.deleted_at.setdefault(item.uid, now)
        known = self.items.get(item.key)
        if is_gone:
            if known is not None and known.uid == item.uid:
                del self.items[item.key]
                self.answers.pop(item.key, None)
        elif known is None or known.uid != item.uid or known.version <= item.version:
            self.items[item.key] = item

    def answered(self, item: Item) -> None:
        """Take the answer to a write of the operator's own."""
        self.answers[item.key] = item

    def identities(self) -> Identities:
        """Return which objects are known."""
        return {key: (item.uid, item.version) for key, item in self.items.items() if key[0] in _KINDS}

    def listed(self, before: Identities, found: Iterable[Item], now_at: float) -> None:
        """Take complete lists; what has changed since they were requested is newer than they are."""
        now = self.identities()
        listed = {item.key: item for item in found}
        for key in {*before, *listed}:
            if before.get(key) != now.get(key):
                continue
            if key in listed:
                self.take(listed[key], is_gone=False, now=now_at)
            else:
                self.items.pop(key, None)
                self.answers.pop(key, None)

    def of_kind(self, kind: str) -> list[Item]:
        """Return the objects of a kind."""
        return [item for key, item in sorted(self.items.items()) if key[0] == kind]

    def bindings(self) -> list[Item]:
        """Return the bindings, each in every state that the operator may go by."""
        result: list[Item] = []
        for item in self.of_kind("RoleBinding"):
            result.append(item)
            answer = self.answers.get(item.key)
            if answer is not None and answer.uid == item.uid and answer.version > item.version:
                result.append(answer)
        return result

    def grants(self, item: Item) -> bool:
        """Return whether a grant covers a binding as a whole."""
        binding = item.binding
        names = [s.name for s in binding.subjects(self.service_accounts(binding.ref.namespace))]
        return self.covers(binding, names)

    def covers(self, binding: RoleBinding, names: Iterable[str]) -> bool:
        """Return whether a grant covers a binding for these service accounts."""
        namespace = self.items.get(("Namespace", "", binding.ref.namespace))
        labels = namespace.labels if namespace is not None else {}
        return authorize(binding, names, labels, [i.grant for i in self.of_kind("RoleGrant")]).is_granted

    def covers_retained(self, role: RoleArn, key: StatementKey, issuer: str, name: str) -> bool:
        """Return whether a grant lets what a deleted binding left stay, by the rules of docs/bindings.md.

        Args:
            role: whose trust policy.
            key: of the statement.
            issuer: URL of the other issuer whose subject is meant; empty for a service account or a source role.
            name: the subject; empty for a source role.
        """
        for grant in (i.grant for i in self.of_kind("RoleGrant")):
            if not grant.allow_retain or not any(arn_matches(p, str(role)) for p in grant.role_arns):
                continue
            if isinstance(key, ChainKey | AssociationKey):
                method = "AssumeRole" if isinstance(key, ChainKey) else "PodIdentity"
                if method in grant.methods and any(arn_matches(p, str(key.source)) for p in grant.role_arns):
                    return True
            elif issuer:
                if any(
                    (e.issuer.url, e.audience) == (issuer, key.audience)
                    and any(glob_covers(pattern, name) for pattern in e.subjects)
                    for e in grant.federated
                ):
                    return True
            else:
                namespace, account = name.split(":")[2:]
                item = self.items.get(("Namespace", "", namespace))
                if (
                    item is not None
                    and grant.covers_namespace(namespace, item.labels)
                    and key.audience in grant.audiences
                    and {"WebIdentity", "AssumeRole"}.intersection(grant.methods)
                    and any(glob_matches(pattern, account) for pattern in grant.service_account_names)
                ):
                    return True
        return False

    def service_accounts(self, namespace: str) -> dict[str, Mapping[str, str]]:
        """Return the labels of a namespace's service accounts by name."""
        return {i.key[2]: i.labels for i in self.of_kind("ServiceAccount") if i.key[1] == namespace}


@dataclass(slots=True)
class Cover:
    """Whom the grants cover in one role's trust policy.

    Attributes:
        subjects: Sid to the subjects that may stand in the statement.
        keys: Sid to the statement's key.
        claimed: Sids of chain statements that some binding names, covered or not: a target role goes on trusting the
            source role until nobody comes through that.
        guarded: of the bindings that cover a Sid and subject, whether one has our finalizer.
        retained: subjects of bindings that are being deleted and leave their trust, as far as granted, by Sid.
    """

    subjects: dict[str, set[str]] = field(default_factory=dict)
    keys: dict[str, StatementKey] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    guarded: set[tuple[str, str]] = field(default_factory=set)
    retained: dict[str, set[str]] = field(default_factory=dict)

    def holders(self) -> set[tuple[str, str]]:
        """Return Sid and subject of everything covered."""
        return {(sid, subject) for sid, subjects in self.subjects.items() for subject in subjects}


def cover_of(known: Known, issuer: Issuer, role: RoleArn, tags: Mapping[str, str]) -> Cover:
    """Return whom the grants that are known cover in a role's trust policy.

    Args:
        known: what was delivered.
        issuer: the cluster's.
        role: whose trust policy.
        tags: of the role, for its consent.
    """
    cover = Cover()
    accounts = [i.account for i in known.of_kind("AWSAccount")]
    asks = any(a.account_id == role.account_id and a.require_role_consent for a in accounts)

    for item in known.bindings():
        binding = item.binding
        if role not in (binding.role, binding.source.role if binding.source is not None else None):
            continue
        subjects = binding.subjects(known.service_accounts(binding.ref.namespace))
        for claim in claims_on(role, binding, subjects):
            if isinstance(claim.key, ChainKey):
                cover.claimed.add(sid_of(issuer, claim.key))
        if item.is_deleting:
            if binding.deletion_policy is DeletionPolicy.RETAIN:
                _retain(cover, known, issuer, role, binding)
            continue
        if asks and not consents(tags, binding.ref.namespace):
            continue
        if not known.covers(binding, [s.name for s in subjects]):
            continue
        for claim in claims_on(role, binding, subjects):
            sid = sid_of(issuer, claim.key)
            cover.keys[sid] = claim.key
            held = {str(s) for s in claim.subjects} or {""}
            cover.subjects.setdefault(sid, set()).update(held)
            if "trustbind.dev/trust" in item.finalizers:
                cover.guarded.update((sid, name) for name in held)
    return cover


def _retain(cover: Cover, known: Known, issuer: Issuer, role: RoleArn, binding: RoleBinding) -> None:
    """Count what a binding may leave behind that is being deleted: each part of it that is granted."""
    subjects = binding.subjects(known.service_accounts(binding.ref.namespace))
    for part, names in _parts(binding, [s.name for s in subjects]):
        if known.covers(part, names):
            for claim in claims_on(role, part, [s for s in subjects if s.name in names]):
                sid = sid_of(issuer, claim.key)
                cover.keys[sid] = claim.key
                cover.retained.setdefault(sid, set()).update(str(s) for s in claim.subjects or ("",))


def covers_association(known: Known, role: str, namespace: str, service_account: str) -> bool:
    """Return whether a granted binding by EKS Pod Identity names the service account."""
    for item in known.bindings():
        binding = item.binding
        if item.is_deleting or not binding.method.uses_pod_identity_association:
            continue
        if str(binding.role) != role or binding.ref.namespace != namespace:
            continue
        names = [s.name for s in binding.subjects(known.service_accounts(namespace))]
        if service_account in names and known.covers(binding, names):
            return True
    return False


def _parts(binding: RoleBinding, names: list[str]) -> Iterable[tuple[RoleBinding, list[str]]]:
    """Yield each service account and each pattern of a binding alone."""
    plain = replace(binding, federated=())
    for name in names:
        yield plain, [name]
    for entry in binding.federated:
        for subject in entry.subjects:
            yield replace(plain, federated=(replace(entry, subjects=(subject,)),)), []


def refs_of(items: Iterable[Item]) -> set[BindingRef]:
    """Return namespaces and names of bindings."""
    return {item.ref for item in items}
