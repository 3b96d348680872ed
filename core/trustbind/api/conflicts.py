"""Rules about bindings and accounts that both halves apply, and the sentence that each gives.

The webhook says it when the object is written, as a warning; the operator says it later, as a condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from trustbind.api.annotated_binding import gives_way
from trustbind.api.aws_account import AwsAccount
from trustbind.api.label_selector import NOT_THERE
from trustbind.api.role_binding import RoleBinding
from trustbind.api.strict import API_VERSION
from trustbind.identity.arns import RoleArn, RoleName

__all__ = [
    "NO_SUBJECTS",
    "Rival",
    "conflict_with",
    "duplicate_account",
    "manager_role",
    "may_conflict",
    "profile_conflict",
    "profile_key",
    "unknown_account",
]

NO_SUBJECTS: Final = "spec.serviceAccountSelector matches no service account yet"

_POD_IDENTITY: Final = "by EKS Pod Identity"
"""Takes the place of a profile, and can be none (it has spaces): a service account has one role by EKS Pod Identity."""

_MAX_COMPARISONS: Final = 1000
"""How often `profile_conflict` compares a service account with a rival at most: some milliseconds."""


@dataclass(frozen=True, slots=True)
class Rival:
    """An older binding that has another one's profile.

    Attributes:
        binding: the older one.
        service_account: name of the first service account that both are for.
    """

    binding: RoleBinding
    service_account: str


def profile_key(binding: RoleBinding) -> str:
    """Return what only one binding can have for a service account: its profile, or its one role by EKS Pod Identity.

    EKS's agent gives an account one role, and pods get its credentials before those of any profile; so a binding by it
    has no rival but one of its kind, and can take the place of others at its own time.
    """
    return _POD_IDENTITY if binding.method.uses_pod_identity_association else binding.profile


def may_conflict(older: RoleBinding, binding: RoleBinding) -> bool:
    """Return whether an older live binding could claim the profile of ``binding`` for a service account of its.

    A generated binding is no rival of the user's own to which it gives way.
    """
    return (
        profile_key(older) == profile_key(binding)
        and not older.is_deleting
        and older.ref != binding.ref
        and older.age_key < binding.age_key
        and not gives_way(older, binding)
    )


def profile_conflict(
    binding: RoleBinding,
    names: Sequence[str],
    others: Iterable[RoleBinding],
    accounts: Mapping[str, Mapping[str, str]],
) -> str:
    """Return which older binding claims the profile of ``binding`` for one of its accounts; empty for none.

    For one binding, with nothing prepared. The work is bounded, so in a namespace of very many bindings a conflict can
    be missed here; `trustbind.api.profile_index` decides them all, and is what counts.

    Args:
        binding: the binding.
        names: of the service accounts that it names or selects, sorted.
        others: all bindings of its namespace, in any order; itself and those that are being deleted do not count.
        accounts: name to labels of the namespace's accounts, for bindings with a selector.
    """
    left = _MAX_COMPARISONS
    rivals = (other for other in others if may_conflict(other, binding))
    for rival in sorted(rivals, key=lambda r: (not r.created, r.created, r.ref.name)):
        for name in names:
            if rival.names(name, accounts.get(name, NOT_THERE)):
                return "" if gives_way(binding, rival) else conflict_with(binding, Rival(rival, name))
            left -= 1
            if not left:
                return ""
    return ""


def conflict_with(binding: RoleBinding, rival: Rival) -> str:
    """Return the sentence about a binding whose profile a rival has."""
    older, name = rival.binding, rival.service_account
    if older.profile != binding.profile:
        return (
            f"the older RoleBinding {older.ref} has service account {name} by PodIdentity already, "
            "and an account has one role that way; remove one of the two"
        )
    return (
        f"the older RoleBinding {older.ref} has profile {binding.profile} for service account "
        f"{name} already; give this one another spec.profile, or remove one of the two"
    )


def unknown_account(role: RoleArn) -> str:
    """Return the sentence about a role whose account no AWSAccount describes.

    It ends in the object to write, on one line that ``kubectl apply -f -`` takes.
    """
    return (
        f"no AWSAccount has accountId {role.account_id}; create one: "
        f"{{apiVersion: {API_VERSION}, kind: AWSAccount, "
        f'metadata: {{name: account-{role.account_id}}}, spec: {{accountId: "{role.account_id}", '
        f"managerRoleArn: arn:{role.partition}:iam::{role.account_id}:role/trustbind-manager}}}}"
    )


def duplicate_account(older: AwsAccount) -> str:
    """Return the sentence about an AWSAccount whose account ``older`` describes already."""
    return f"AWSAccount {older.name} is older and has the same accountId; remove one of the two"


def manager_role(role: RoleArn, account: AwsAccount | None) -> str:
    """Return why no binding may name a role that is an AWSAccount's manager role; empty when it is not."""
    if account is None or account.manager_role is None or RoleName.of(account.manager_role) != RoleName.of(role):
        return ""
    return f"{role} is the manager role of AWSAccount {account.name}, so no binding may name it"
