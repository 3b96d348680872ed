"""What has to hold once all faults have ended and some virtual minutes have passed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from simulation.cloud import CloudAccount
from simulation.cluster import ACCOUNT, BINDING, GRANT, NAMESPACE, SERVICE_ACCOUNT, Cluster, Item
from simulation.known import Known, cover_of, covers_association
from simulation.rules import holders_in
from trustbind.api.role_binding import BindingRef, DeletionPolicy
from trustbind.api.role_grant import consents
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import (
    FederatedKey,
    is_owned,
    is_retained,
    retained_key,
    sid_of,
    subjects_of,
)
from trustbind.policy.pod_identity import OWNER_TAG, owner_of
from trustbind.policy.source_policy import policy_name, targets_of
from trustbind.policy.trust_document import TrustDocument, stale_principals
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import decide, retention
from trustbind.reconcile.observation import AccountFacts, Facts, RoleObservation
from trustbind.reconcile.role_plan import NarrowSourcePolicy, RoleWork, plan_role
from trustbind.reconcile.rollout import RoleProgress, Rollout
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding, ready_condition
from trustbind_operator.cluster.cache import ClusterCache, StoredGrant

if TYPE_CHECKING:
    from simulation.world import World

__all__ = ["problems"]

_LASTING: Final = frozenset(
    {
        TrustReason.NOT_GRANTED,
        TrustReason.NO_CONSENT,
        TrustReason.SHARED_SOURCE,
        TrustReason.NO_SUBJECTS,
        TrustReason.PROFILE_CONFLICT,
        TrustReason.ACCOUNT_UNKNOWN,
        TrustReason.ROLE_NOT_FOUND,
        TrustReason.TRUST_POLICY_FULL,
        TrustReason.UNTRUSTED,
        TrustReason.ASSOCIATION_TAKEN,
        TrustReason.POLICY_REJECTED,
    }
)
"""Reasons for which a binding may stay without trust; each is checked below where that is possible."""


def problems(world: World) -> list[str]:
    """Return what is not as it is wanted."""
    found: list[str] = []
    for cluster in world.clusters:
        found += _of_cluster(world, cluster)
    return found


def _of_cluster(world: World, cluster: Cluster) -> list[str]:
    known = Known(dict(cluster.items))
    accounts = {i.account.account_id for i in cluster.of_kind(ACCOUNT)}
    found = [
        f"{i.ref} keeps its finalizer"
        for i in cluster.of_kind(BINDING)
        if i.is_deleting
        and not _has_no_room(i)
        and not any(_is_blocked(world, cluster, r) for r in StoredBinding.of(i.body).roles)
    ]
    cache = _cache(cluster)
    for role in world.roles:
        if role.account_id in accounts and world.exists(role) and not _is_blocked(world, cluster, role):
            found += _of_role(world, cluster, cache, known, role)
    for item in cluster.of_kind(BINDING):
        if not item.is_deleting:
            found += _of_binding(world, cluster, known, accounts, item)
    found += _shared_sources(cluster, known)
    for account_id in sorted(accounts):
        found += _associations(world, world.accounts[account_id], cluster, known, account_id)
    return [f"cluster {cluster.name}: {text}" for text in found]


def _cache(cluster: Cluster) -> ClusterCache:
    cache = ClusterCache(cluster.issuer)
    for item in cluster.of_kind(SERVICE_ACCOUNT):
        cache.put_service_account(item.key[1], item.key[2], item.labels)
    for item in cluster.of_kind(NAMESPACE):
        cache.put_namespace(item.key[2], item.labels)
    for item in cluster.of_kind(GRANT):
        cache.put_grant(StoredGrant.of(item.body))
    for item in cluster.of_kind(ACCOUNT):
        cache.put_aws_account(StoredAwsAccount.of(item.body))
    for item in cluster.of_kind(BINDING):
        cache.put_binding(StoredBinding.of(item.body))
    return cache


def _of_role(world: World, cluster: Cluster, cache: ClusterCache, known: Known, role: RoleArn) -> list[str]:
    account = cache.aws_account(role.account_id)
    assert account is not None
    there = world.role(role)
    assert there is not None
    issuer = cluster.issuer
    decisions = decide(cache.snapshot(role, _rollouts(world, cluster, cache)))
    work = RoleWork(
        role,
        issuer,
        account,
        tuple(d for d in decisions if not d.stored.is_associated_with(role)),
        tuple(d for d in decisions if d.stored.is_associated_with(role)),
        retention=retention(role, cache.around, cache.namespaces),
    )
    inline = there.inline.get(policy_name(issuer))
    targets = targets_of(None if inline is None else _decoded(inline))
    facts = AccountFacts(
        world.accounts[role.account_id].limit,
        {
            issuer.provider_for(role): _frozen(world, role, issuer.host_path),
            **{
                claim_issuer.provider_for(role): _frozen(world, role, claim_issuer.host_path)
                for claim_issuer in {e.issuer for b in known.bindings() for e in b.binding.federated}
            },
        },
        {role: targets},
    )
    planned = plan_role(work, Facts(facts), RoleObservation(there.document, 3600, there.tags))
    steps = list(planned.steps)
    if steps and isinstance(steps[0], NarrowSourcePolicy):
        # The permission of a retained chain stays until something else lets the source role be narrowed.
        left = [RoleArn.parse(each) for each in (targets or frozenset()) - set(map(str, steps[0].targets))]
        steps = [] if not cache.has_role(role) or _has_retained(world, issuer, (role, *left)) else steps
    if world.is_calm and (
        _is_full(cluster, role)
        or not cache.has_role(role)
        or _has_retained(world, issuer, (role,))
        or _was_brought_back(world)
    ):
        # Found by a survey, which a calm world has none of: room, what was left without an AWSAccount, that what
        # deleted bindings left is not granted any more, and what another cluster's write brought back.
        return []
    found = [f"{role.name} needs {type(step).__name__}" for step in steps]
    found += [f"{role.name}: {ref} has to record what it adopts" for ref in planned.adoption.to_record]
    if found:
        found += [f"{c.kind} {c.sid}" for c in planned.trust.changes]
    cover = cover_of(known, issuer, role, there.tags)
    waiting = {(sid, name) for sid, names in cover.retained.items() for name in names}
    extra = holders_in(there.document, issuer) - cover.holders() - waiting
    found += [f"{role.name} retains {name}" for name in sorted(_unallowed(known, issuer, role, there.document))]
    return found + [f"{role.name} admits {sid} {name}" for sid, name in sorted(extra)]


def _unallowed(known: Known, issuer: Issuer, role: RoleArn, document: TrustDocument) -> set[str]:
    """Return whom deleted bindings left in a role although no grant allows it any more."""
    found: set[str] = set()
    for statement in document.statements:
        if not is_retained(statement, issuer):
            continue
        key = retained_key(statement, issuer)
        whose = key.issuer if isinstance(key, FederatedKey) else issuer
        names = subjects_of(statement, whose, of_cluster=whose == issuer) or {""}
        url = whose.url if isinstance(key, FederatedKey) else ""
        found |= {n for n in names if key is None or not known.covers_retained(role, key, url, n)}
    return found


def _was_brought_back(world: World) -> bool:
    """Return whether a write of one cluster brought back a statement that another one had removed meanwhile."""
    return any(what.startswith("foreign statements restored") for what in world.schedule.counts)


def _has_no_room(item: Item) -> bool:
    """Return whether a deleted binding waits for room in which to leave its trust."""
    ready = ready_condition(item.status) or {}
    return (
        item.binding.deletion_policy is DeletionPolicy.RETAIN and ready.get("reason") == TrustReason.TRUST_POLICY_FULL
    )


def _is_full(cluster: Cluster, role: RoleArn) -> bool:
    """Return whether a binding of a role waits for room in its trust policy."""
    return any(
        (ready_condition(i.status) or {}).get("reason") == TrustReason.TRUST_POLICY_FULL
        for i in cluster.of_kind(BINDING)
        if role in StoredBinding.of(i.body).roles
    )


def _is_blocked(world: World, cluster: Cluster, role: RoleArn) -> bool:
    """Return whether IAM takes no trust policy of a role, since a foreign statement names a role that was deleted."""
    there = world.role(role)
    return there is not None and any(
        stale_principals(s) for s in there.document.statements if not is_owned(s, cluster.issuer)
    )


def _has_retained(world: World, issuer: Issuer, roles: Iterable[RoleArn]) -> bool:
    """Return whether one of the roles has a statement that a deleted binding left."""
    found = map(world.role, roles)
    return any(there is not None and any(is_retained(s, issuer) for s in there.document.statements) for there in found)


def _rollouts(world: World, cluster: Cluster, cache: ClusterCache) -> dict[str, Rollout]:
    """Return how far chains have come, from what is there."""
    rollouts: dict[str, Rollout] = {}
    for item in cluster.of_kind(BINDING):
        binding = item.binding
        if binding.source is None:
            continue
        subjects = binding.subjects(cache.service_accounts.get(binding.ref.namespace, {}))
        progress: dict[RoleArn, RoleProgress] = {}
        for role in (binding.role, binding.source.role):
            there = world.role(role)
            account = cache.aws_account(role.account_id)
            if there is None:
                progress[role] = RoleProgress(problem=(TrustReason.ROLE_NOT_FOUND, ""), is_missing=True)
                continue
            asks = account is not None and account.require_role_consent
            refused = asks and not consents(there.tags, binding.ref.namespace)
            held = holders_in(there.document, cluster.issuer)
            wanted = {
                (sid_of(cluster.issuer, claim.key), name)
                for claim in claims_on(role, binding, subjects)
                for name in [str(s) for s in claim.subjects] or [""]
            }
            refusal = (TrustReason.NO_CONSENT, "") if refused else None
            progress[role] = RoleProgress(bool(wanted) and wanted <= held, refusal)
        rollouts[item.uid] = Rollout(progress)
    return rollouts


def _of_binding(world: World, cluster: Cluster, known: Known, accounts: set[str], item: Item) -> list[str]:
    ready = ready_condition(item.status) or {}
    if item.status.get("observedGeneration") != item.metadata["generation"]:
        return [f"the status of {item.ref} is of another generation"]
    binding, reason = item.binding, str(ready.get("reason"))
    roles = [binding.role, *([binding.source.role] if binding.source is not None else [])]
    if ready.get("status") != "True":
        if reason == TrustReason.STALE_PRINCIPAL and any(_is_blocked(world, cluster, r) for r in roles):
            return []
        if reason not in _LASTING:
            return [f"{item.ref} is not Ready: {reason} {ready.get('message')}"]
        if reason == TrustReason.ROLE_NOT_FOUND and all(world.exists(r) for r in roles):
            return [f"{item.ref}: its roles exist"]
        if reason == TrustReason.ACCOUNT_UNKNOWN and all(r.account_id in accounts for r in roles):
            return [f"{item.ref}: its AWS accounts are known"]
        return _refusal(world, known, item, reason)
    if binding.method.uses_pod_identity_association:
        return []
    return [text for role in roles for text in _ready_in(world, cluster, known, accounts, item, role)]


def _ready_in(world: World, cluster: Cluster, known: Known, accounts: set[str], item: Item, role: RoleArn) -> list[str]:
    """Return what is wrong in one role about a binding that is Ready."""
    if role.account_id not in accounts:
        return [f"{item.ref} is Ready without an AWSAccount"]
    there = world.role(role)
    if there is None:
        return [f"{item.ref} is Ready without the role {role.name}"]
    held = holders_in(there.document, cluster.issuer)
    cover = cover_of(known, cluster.issuer, role, there.tags).holders()
    subjects = item.binding.subjects(known.service_accounts(item.ref.namespace))
    claimed = {
        (sid_of(cluster.issuer, claim.key), name)
        for claim in claims_on(role, item.binding, subjects)
        for name in [str(s) for s in claim.subjects] or [""]
    }
    return [
        *(f"{item.ref} is Ready, and {role.name} does not trust {sid} {name}" for sid, name in sorted(claimed - held)),
        *(f"{item.ref} is Ready, and {sid} {name} is not granted" for sid, name in sorted(claimed - cover)),
    ]


def _shared_sources(cluster: Cluster, known: Known) -> list[str]:
    """Return the namespaces that get a target role through a source role, and are not granted it.

    Each namespace with a Ready binding that names the source role is in it, and each Ready chain over it has a target.
    """
    ready = [i for i in cluster.of_kind(BINDING) if (ready_condition(i.status) or {}).get("status") == "True"]
    chains = [i.binding for i in ready if i.binding.source is not None]
    found: list[str] = []
    for chain in chains:
        assert chain.source is not None
        source = chain.source.role
        named = [i.binding for i in ready if source in (i.binding.role, i.binding.source and i.binding.source.role)]
        found += [
            f"{namespace} gets {chain.role.name} by {source.name}, as {chain.ref}, and is not granted it"
            for namespace in sorted({b.ref.namespace for b in named})
            if not known.covers(replace(chain, ref=BindingRef(namespace, "any")), [])
        ]
    return found


def _refusal(world: World, known: Known, item: Item, reason: str) -> list[str]:
    """Return what is wrong about a refusal that grants decide."""
    binding = item.binding
    granted = known.grants(item)
    if reason == TrustReason.SHARED_SOURCE:
        named = {role for role in (binding.role, binding.source and binding.source.role) if role is not None}
        others = (i.binding for i in known.bindings() if i.ref.namespace != item.ref.namespace)
        if granted and any(named & {b.role, b.source and b.source.role} for b in others):
            return []
        return [f"{item.ref} is refused as {reason}, and shares no role"]
    if reason == TrustReason.NOT_GRANTED and granted:
        return [f"{item.ref} is refused as {reason}, and is granted"]
    if reason != TrustReason.NOT_GRANTED and not granted and reason != TrustReason.PROFILE_CONFLICT:
        return [f"{item.ref} is refused as {reason}, and is not granted"]
    roles = [binding.role, *([binding.source.role] if binding.source is not None else [])]
    if reason == TrustReason.NO_CONSENT:
        found = [there for there in map(world.role, roles) if there is not None]
        if all(consents(there.tags, binding.ref.namespace) for there in found):
            return [f"{item.ref} is refused as {reason}, and its roles consent"]
    return []


def _associations(world: World, account: CloudAccount, cluster: Cluster, known: Known, account_id: str) -> list[str]:
    spec = next(i.account for i in cluster.of_kind(ACCOUNT) if i.account.account_id == account_id)
    if spec.eks is None:
        return []
    found: list[str] = []
    owner = owner_of(cluster.issuer)
    for each in account.associations.values():
        # In a calm world there is no survey, which finds those of an AWSAccount that had no cluster for a while.
        ours = each.tags.get(OWNER_TAG) == owner
        if (
            ours
            and not world.is_calm
            and not covers_association(known, each.role, each.namespace, each.service_account)
        ):
            found.append(f"association of {each.namespace}/{each.service_account} with {each.role} is not granted")
    for item in cluster.of_kind(BINDING):
        binding = item.binding
        ready = ready_condition(item.status) or {}
        if not binding.method.uses_pod_identity_association or ready.get("status") != "True":
            continue
        if binding.role.account_id != account_id:
            continue
        for subject in binding.subjects(known.service_accounts(binding.ref.namespace)):
            made = account.associations.get((subject.namespace, subject.name))
            # Another cluster's association with this role serves the binding. A survey sees that cluster delete it.
            theirs = account.deleted.get((subject.namespace, subject.name), owner) != owner
            if made is None and theirs and world.is_calm:
                continue
            if made is None or made.role != str(binding.role):
                found.append(f"{item.ref} is Ready without the association of {subject.name}")
    return found


def _frozen(world: World, role: RoleArn, host_path: str) -> frozenset[str] | None:
    listed = world.accounts[role.account_id].providers.get(host_path)
    return None if listed is None else frozenset(listed)


def _decoded(text: str) -> dict[str, object]:
    decoded: dict[str, object] = json.loads(text)
    return decoded
