"""Snapshots of the files, as the operator makes them of its cache; `trustbind.reconcile.decision` decides on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trustbind.api.aws_account import AwsAccount
from trustbind.api.profile_index import ProfileIndex
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.api.webhook_scope import NAME_LABEL
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.reconcile.rollout import NOT_STARTED, RoleProgress, Rollout
from trustbind.reconcile.shared_source import source_conflicts
from trustbind.reconcile.snapshot import BindingSnapshot, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_cli.files.manifests import Objects

__all__ = ["FileSnapshot", "namespace_labels", "roles_of"]

"""Every namespace has it (Kubernetes documentation, "Well-Known Labels, Annotations and Taints")."""


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """What the files say about every role.

    Attributes:
        around: see `Surroundings`. An AWS account that no AWSAccount of the files describes is entered with the
            caller's own credentials.
        bindings: those that have statements in trust policies, oldest first.
    """

    around: Surroundings
    bindings: tuple[StoredBinding, ...]
    _details: Mapping[BindingRef, BindingSnapshot]

    @classmethod
    def of(cls, objects: Objects, issuer: Issuer, also: Iterable[RoleArn] = ()) -> FileSnapshot:
        """Return the snapshot of the files.

        Args:
            objects: of the files.
            issuer: the cluster's.
            also: roles that are meant, though no binding may name them.
        """
        bindings = sorted((b for b in objects.bindings if b.method.writes_trust_policy), key=lambda b: b.age_key)
        ids = {role.account_id for role in also} | {role.account_id for b in bindings for role in roles_of(b)}
        around = Surroundings(
            issuer,
            tuple(objects.grants) or None,
            {account_id: AwsAccount(account_id, account_id) for account_id in ids} | objects.aws_accounts,
        )
        details = {s.stored.ref: s for s in _snapshots(objects, bindings)}
        for source in dict.fromkeys(b.source.role for b in bindings if b.source is not None):
            members = [s for s in details.values() if source in s.stored.roles]
            for ref, problem in source_conflicts(source, members, around).items():
                details[ref] = replace(details[ref], source_conflict=problem)
        return cls(around, tuple(s.stored for s in details.values()), details)

    def role(self, role: RoleArn, rollouts: Mapping[BindingRef, Rollout]) -> RoleSnapshot:
        """Return everything that the files say about one role.

        Args:
            role: which.
            rollouts: how far chains have come; one that is not in the mapping has not started.
        """
        return RoleSnapshot(
            role,
            self.around,
            tuple(
                replace(self._details[stored.ref], rollout=rollouts.get(stored.ref, NOT_STARTED))
                for stored in self.bindings
                if role in stored.roles
            ),
        )

    def opened(self) -> dict[BindingRef, Rollout]:
        """Return rollouts in which the target role of every chain trusts its source role."""
        return {
            stored.ref: Rollout({stored.binding.role: RoleProgress(stands=True)})
            for stored in self.bindings
            if stored.binding is not None and stored.is_chain
        }


def roles_of(binding: RoleBinding) -> tuple[RoleArn, ...]:
    """Return the target role, and the source role of a chain."""
    return (binding.role,) if binding.source is None else (binding.role, binding.source.role)


def namespace_labels(objects: Objects, namespace: str) -> dict[str, str]:
    """Return the labels of a namespace; where the files do not hold it, the one that every namespace has."""
    return {NAME_LABEL: namespace} | objects.namespaces.get(namespace, {})


def _snapshots(objects: Objects, bindings: Sequence[RoleBinding]) -> Iterable[BindingSnapshot]:
    """Yield each binding with its service accounts and its rival."""
    indexes: dict[str, ProfileIndex] = {}
    for binding in bindings:
        namespace = binding.ref.namespace
        if namespace not in indexes:
            indexes[namespace] = ProfileIndex(namespace)
            for name, labels in objects.labels_in(namespace).items():
                indexes[namespace].put_service_account(name, labels)
        indexes[namespace].put(binding)
    for binding in bindings:
        index = indexes[binding.ref.namespace]
        yield BindingSnapshot(
            StoredBinding.of_file(binding),
            index.subjects(binding),
            index.rival(binding.ref),
            namespace_labels(objects, binding.ref.namespace),
        )
