"""What the files alone say of each binding, before AWS is asked.

What the files refuse is not written, and where it stands it goes. What they are too few for is another matter: trust
that stands is never taken back because somebody left a file out, so the roles of such a binding are not written at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from trustbind.api.federated_subjects import too_wide
from trustbind.api.label_selector import LabelSelector
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant, authorize
from trustbind.identity.arns import RoleArn
from trustbind.policy.plan import Refusal
from trustbind.policy.pod_identity import STATEMENT
from trustbind.reasons import TrustReason
from trustbind_cli.files.manifests import Objects

__all__ = ["Verdicts", "by_agent", "dangers", "judge", "roles_of", "unnamed"]

_NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""Every namespace has it (Kubernetes documentation, "Well-Known Labels, Annotations and Taints")."""

_LISTED: Final = 3
"""So many roles are named in a sentence."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is made of the bindings of the files.

    Attributes:
        allowed: those that may have what they ask for, as far as the files tell.
        refused: what is not written, by each role that the binding is about.
        unclear: what the files do not tell, likewise; such a role is not written at all.
    """

    allowed: tuple[RoleBinding, ...]
    refused: Mapping[RoleArn, tuple[Refusal, ...]]
    unclear: Mapping[RoleArn, tuple[Refusal, ...]]


def judge(objects: Objects) -> Verdicts:
    """Return what the files say of their bindings; without any grant in them, whoever applies decides."""
    allowed: list[RoleBinding] = []
    refused: dict[RoleArn, tuple[Refusal, ...]] = {}
    unclear: dict[RoleArn, tuple[Refusal, ...]] = {}
    for binding in objects.bindings:
        if not binding.method.writes_trust_policy:
            continue  # nothing in a trust policy is ours then; see `by_agent`
        if refusal := _unselected(binding, objects) or _unlabelled(binding, objects):
            kept = unclear
        elif refusal := _not_granted(binding, objects):
            kept = refused
        else:
            allowed.append(binding)
            continue
        for role in roles_of(binding):
            kept[role] = (*kept.get(role, ()), refusal)
    return Verdicts(tuple(allowed), refused, unclear)


def roles_of(binding: RoleBinding) -> tuple[RoleArn, ...]:
    """Return the target role, and the source role of a chain."""
    return (binding.role,) if binding.source is None else (binding.role, binding.source.role)


def by_agent(binding: RoleBinding) -> str:
    """Return the sentence about a binding by EKS Pod Identity; empty for every other."""
    if binding.method.writes_trust_policy:
        return ""
    return (
        f"RoleBinding {binding.ref} has method {binding.method}, for which there is nothing to do in IAM: the "
        "association is EKS's (aws eks create-pod-identity-association), and trustbind leaves the trust policy of "
        f"{binding.role} alone, which needs this statement: {json.dumps(STATEMENT)}"
    )


def dangers(bindings: Iterable[RoleBinding]) -> list[str]:
    """Return what is dangerous about bindings that are allowed all the same; the webhook warns of it, too."""
    return [f"{b.ref}: spec.federatedSubjects: {danger}" for b in bindings for danger in too_wide(b.federated)]


def unnamed(objects: Objects, role: RoleArn) -> str:
    """Return the sentence about a role that no binding names, which is easily mistyped; empty when one does."""
    named = sorted({each for binding in objects.bindings for each in roles_of(binding)})
    if role in named:
        return ""
    if not named:
        return f"no RoleBinding in the files names {role}: there is none in them"
    more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    return f"no RoleBinding in the files names {role}; they name {', '.join(map(str, named[:_LISTED]))}{more}"


def _unselected(binding: RoleBinding, objects: Objects) -> Refusal | None:
    """Say that a selector selects nobody: most likely the accounts are not among the files."""
    namespace = binding.ref.namespace
    if binding.selector is None or binding.subjects(objects.labels_in(namespace)):
        return None
    return Refusal(
        binding.ref,
        TrustReason.NO_SUBJECTS,
        f"RoleBinding {binding.ref} selects service accounts and none in the files matches; add them with -f "
        f"(kubectl -n {namespace} get serviceaccounts -o yaml)",
    )


def _unlabelled(binding: RoleBinding, objects: Objects) -> Refusal | None:
    """Say that a grant might cover the binding, if the files told the labels of its namespace."""
    namespace = binding.ref.namespace
    if namespace in objects.namespaces or _not_granted(binding, objects) is None:
        return None
    names = [subject.name for subject in binding.subjects(objects.labels_in(namespace))]
    for grant in objects.grants:
        by_name = replace(grant, namespaces=(namespace,))
        if not _is_told_without_labels(grant) and not by_name.uncovered(binding, names, {}):
            return Refusal(
                binding.ref,
                TrustReason.NOT_GRANTED,
                f"{binding.ref}: RoleGrant {grant.name} selects namespaces by label; add the Namespace with -f "
                f"(kubectl get namespace {namespace} -o yaml)",
            )
    return None


def _not_granted(binding: RoleBinding, objects: Objects) -> Refusal | None:
    if not objects.grants:
        return None
    namespace = binding.ref.namespace
    labels = {_NAME_LABEL: namespace} | objects.namespaces.get(namespace, {})
    grants: list[RoleGrant] = [
        grant if namespace in objects.namespaces or _is_told_without_labels(grant) else replace(grant, selector=None)
        for grant in objects.grants
    ]
    names = [subject.name for subject in binding.subjects(objects.labels_in(namespace))]
    answer = authorize(binding, names, labels, grants)
    if answer.is_granted:
        return None
    return Refusal(binding.ref, TrustReason.NOT_GRANTED, f"{binding.ref}: {answer.message}")


def _is_told_without_labels(grant: RoleGrant) -> bool:
    """Return whether the name of a namespace is enough to tell whether the grant selects it."""
    selector = grant.selector or LabelSelector()
    return {key for key, _ in selector.labels} | {r.key for r in selector.requirements} <= {_NAME_LABEL}
