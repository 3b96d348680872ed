"""The RoleBinding that an annotated service account gets, so that annotating is all that a team does.

The operator creates it with ``bindAnnotated``; the command line counts it among the bindings of its files. It is owned
by the service account (Kubernetes deletes it with it), has a label that marks it as ours, and needs a grant.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from trustbind.api import annotations
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.label_selector import LabelSelector
from trustbind.api.labels import MANAGED_LABEL
from trustbind.api.role_binding import DEFAULT_PROFILE, KIND, Method, RoleBinding
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE

__all__ = [
    "AnnotatedScope",
    "Step",
    "binding_name",
    "gives_way",
    "is_generated",
    "may_take_over",
    "next_step",
    "takes_over",
    "wanted_binding",
]

_MAX_NAME: Final = 253


def binding_name(account: str) -> str:
    """Return the name of the account's binding, at most 253 characters."""
    name = f"annotated-{account}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 11].rstrip('-.')}-{hashlib.sha256(account.encode()).hexdigest()[:10]}"


def is_generated(binding: RoleBinding) -> bool:
    """Return whether a binding is one that the operator made of an annotation: by label, name and service account.

    A service account has one at most, since the name follows from it. A user who sets the label and the name gets a
    binding that gives way to others, and that the operator removes; nobody gains anything by it.
    """
    names = binding.service_account_names
    return (
        binding.is_marked
        and len(names) == 1
        and binding.ref.name == binding_name(names[0])
        and binding.method is Method.WEB_IDENTITY
        and binding.profile == DEFAULT_PROFILE
    )


def gives_way(generated: RoleBinding, binding: RoleBinding) -> bool:
    """Return whether a generated binding gives way to a user's own: the one gives the same role in the same way.

    The two are no conflict, so both have their trust until the user's is Ready and the operator removes the generated
    one. A user's binding for another role, or by a chain, is a conflict as ever: pods that run use the annotation's.
    """
    return is_generated(generated) and binding.role == generated.role and may_take_over(binding)


def takes_over(binding: RoleBinding, role: RoleArn, account: str, labels: Mapping[str, str]) -> bool:
    """Return whether a user's own binding stands in for the one that an annotation asks for.

    Args:
        binding: of the service account's namespace.
        role: that the annotation names.
        account: name of the service account.
        labels: its labels.
    """
    return (
        may_take_over(binding) and binding.role == role and not binding.is_deleting and binding.names(account, labels)
    )


def may_take_over(binding: RoleBinding) -> bool:
    """Return whether a binding is a user's own that gives its role as generated ones do, whatever role that is."""
    return binding.method is Method.WEB_IDENTITY and binding.profile == DEFAULT_PROFILE and not is_generated(binding)


@dataclass(frozen=True, slots=True)
class AnnotatedScope:
    """Which annotated service accounts are bound, or reported.

    Attributes:
        namespaces: by name.
        namespace_selector: by label; None for none. A namespace is in scope when it is named or selected; all are
            when there are neither names nor a selector.
        service_account_selector: further, by the label of the service account; None for all.
    """

    namespaces: frozenset[str] = frozenset()
    namespace_selector: LabelSelector | None = None
    service_account_selector: LabelSelector | None = None

    def covers(self, namespace: str, namespace_labels: Mapping[str, str], account_labels: Mapping[str, str]) -> bool:
        """Return whether a service account is in scope.

        Args:
            namespace: of the service account.
            namespace_labels: the labels of that.
            account_labels: the labels of the service account.
        """
        selector = self.namespace_selector
        is_named = namespace in self.namespaces or (selector is not None and selector.matches(namespace_labels))
        is_everywhere = not self.namespaces and selector is None
        own = self.service_account_selector
        return (is_everywhere or is_named) and (own is None or own.matches(account_labels))


class Step(StrEnum):
    """What is to be done about the binding of one service account."""

    NOTHING = "nothing"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


def next_step(wanted: RoleArn | None, found: RoleArn | None, *, in_scope: bool, successors: Collection[bool]) -> Step:
    """Return what to do next; after a deletion, ask again.

    A binding that is there goes with its annotation, and not because the scope became smaller: that is a setting of
    the whole cluster, and would revoke trust of many at once.

    Args:
        wanted: role that the annotation asks for; None when no binding is to be made.
        found: role of the generated binding that is there; None for none.
        in_scope: whether the scope covers the service account.
        successors: of each of the user's own bindings that stand in for it (`takes_over`), whether it is Ready.
    """
    if found is not None and found != wanted:
        return Step.DELETE  # nothing is wanted, or another role, which cannot be changed
    if wanted is None:
        return Step.NOTHING
    if found is None:
        return Step.CREATE if in_scope and not successors else Step.NOTHING
    # Until a successor has its trust, the generated one keeps it: the successor may never be granted.
    return Step.DELETE if any(successors) else Step.UPDATE


def wanted_binding(
    namespace: str, account: str, uid: str, found: Mapping[str, str], keys: AnnotationKeys
) -> dict[str, Any] | None:
    """Return the binding that the account's annotations ask for; None when they ask for none that can be made.

    Args:
        namespace: of the account.
        account: its name.
        uid: of the account, for the owner reference.
        found: its annotations.
        keys: under which prefix they are read.
    """
    role = found.get(keys.role_arn, "").strip()
    if not role or annotations.is_opted_out(found):
        return None
    try:
        RoleArn.parse(role)
    except InvalidValueError:
        return None  # the webhook tells, when a pod of the account comes
    spec: dict[str, Any] = {
        "roleArn": role,
        "serviceAccountNames": [account],
        "audience": annotations.audience(found, keys.audience)[0] or DEFAULT_AUDIENCE,
    }
    seconds, _ = annotations.token_expiration(found, keys.token_expiration)
    if seconds is not None:
        spec["token"] = {"expirationSeconds": seconds}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": binding_name(account),
            "namespace": namespace,
            "labels": {MANAGED_LABEL: "true"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ServiceAccount", "name": account, "uid": uid, "controller": True}
            ],
        },
        "spec": spec,
    }
