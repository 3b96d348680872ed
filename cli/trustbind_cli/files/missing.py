"""What the files tell too little about.

Trust that stands is never revoked because a file was left out, so the roles of such a binding are not written.
"""

from __future__ import annotations

import json
from dataclasses import replace

from trustbind.api.label_selector import LabelSelector
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant, authorize
from trustbind.api.webhook_scope import NAME_LABEL
from trustbind.identity.arns import RoleArn
from trustbind.policy.plan import Refusal
from trustbind.policy.pod_identity import STATEMENT
from trustbind.reasons import TrustReason
from trustbind_cli.files.manifests import Objects
from trustbind_cli.files.snapshot import namespace_labels, roles_of

__all__ = ["missing_objects", "pod_identity_problem"]


def missing_objects(objects: Objects) -> dict[RoleArn, tuple[Refusal, ...]]:
    """Return what the files do not hold and a binding needs, by each role that the binding names."""
    found: dict[RoleArn, tuple[Refusal, ...]] = {role: tuple(of) for role, of in objects.unresolved.items()}
    for binding in objects.bindings:
        if not binding.method.writes_trust_policy:
            continue
        refusal = _service_accounts(binding, objects) or _namespace(binding, objects)
        if refusal is not None:
            for role in roles_of(binding):
                found[role] = (*found.get(role, ()), refusal)
    return found


def pod_identity_problem(binding: RoleBinding) -> str:
    """Return why a binding with method PodIdentity is not written, and what to do; empty for other methods."""
    if binding.method.writes_trust_policy:
        return ""
    if binding.source is not None:
        return (
            f"RoleBinding {binding.ref} has method {binding.method} and spec.targetRoleArn, which needs the operator: "
            f"EKS makes the external id that {binding.role} has to ask for when the association is made"
        )
    return (
        f"RoleBinding {binding.ref} has method {binding.method}, for which there is nothing to do in IAM: create the "
        "association in EKS (aws eks create-pod-identity-association). trustbind does not change the trust policy of "
        f"{binding.role}, which needs this statement: {json.dumps(STATEMENT)}"
    )


def _service_accounts(binding: RoleBinding, objects: Objects) -> Refusal | None:
    """Refuse a selector that matches no service account: most likely they are not among the files."""
    namespace = binding.ref.namespace
    if binding.selector is None or binding.subjects(objects.labels_in(namespace)):
        return None
    return Refusal(
        binding.ref,
        TrustReason.NO_SUBJECTS,
        f"RoleBinding {binding.ref} selects service accounts and none in the files matches; add them with -f "
        f"(kubectl -n {namespace} get serviceaccounts -o yaml)",
    )


def _namespace(binding: RoleBinding, objects: Objects) -> Refusal | None:
    """Refuse a binding that a grant covers only if its namespace, which is not in the files, has certain labels."""
    namespace = binding.ref.namespace
    if not objects.grants or namespace in objects.namespaces:
        return None
    names = [subject.name for subject in binding.subjects(objects.labels_in(namespace))]
    certain = [g if _needs_no_labels(g) else replace(g, selector=None) for g in objects.grants]
    if authorize(binding, names, namespace_labels(objects, namespace), certain).is_granted:
        return None
    for grant in objects.grants:
        by_name = replace(grant, namespaces=(namespace,))
        if not _needs_no_labels(grant) and not by_name.uncovered(binding, names, {}):
            return Refusal(
                binding.ref,
                TrustReason.NOT_GRANTED,
                f"{binding.ref}: RoleGrant {grant.name} selects namespaces by label; add the Namespace with -f "
                f"(kubectl get namespace {namespace} -o yaml)",
            )
    return None


def _needs_no_labels(grant: RoleGrant) -> bool:
    """Return whether the name of a namespace is enough to tell whether the grant selects it."""
    selector = grant.selector or LabelSelector()
    return {key for key, _ in selector.labels} | {r.key for r in selector.requirements} <= {NAME_LABEL}
