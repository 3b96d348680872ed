"""Rules about bindings and accounts that both halves apply, and the sentence that each gives.

The webhook says it when the object is written, as a warning; the operator says it later, as a condition.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import RoleBinding
from trustbind.api.strict import API_VERSION
from trustbind.identity.arns import RoleArn, RoleName
from trustbind.identity.subjects import Subject

__all__ = [
    "NO_SUBJECTS",
    "duplicate_account",
    "manager_role",
    "may_conflict",
    "profile_conflict",
    "rival_conflict",
    "unknown_account",
]

NO_SUBJECTS: Final = "spec.serviceAccountSelector matches no service account yet"


def profile_conflict(
    binding: RoleBinding, others: Iterable[RoleBinding], accounts: Mapping[str, Mapping[str, str]]
) -> str:
    """Return which older binding claims the profile of ``binding`` for one of its accounts; empty for none.

    Of an account's bindings by EKS Pod Identity, the oldest counts whatever their profiles.

    Args:
        binding: the binding.
        others: all bindings of its namespace, in any order; itself and those that are being deleted do not count.
        accounts: name to labels of the namespace's accounts, for bindings with a selector.
    """
    rivals = ((other, other.subjects(accounts)) for other in others if may_conflict(other, binding))
    return rival_conflict(binding, binding.subjects(accounts), rivals)


def may_conflict(older: RoleBinding, binding: RoleBinding) -> bool:
    """Return whether an older live binding could claim the profile of ``binding`` for a service account of its."""
    return (
        _are_rivals(older, binding)
        and not older.is_deleting
        and older.ref != binding.ref
        and older.age_key < binding.age_key
    )


def rival_conflict(
    binding: RoleBinding,
    subjects: Collection[Subject],
    rivals: Iterable[tuple[RoleBinding, Collection[Subject]]],
) -> str:
    """Return which rival claims the profile of ``binding`` for one of its service accounts; empty for none.

    Args:
        binding: the binding.
        subjects: the service accounts that it names or selects.
        rivals: bindings that `may_conflict`, each with its service accounts, in any order.
    """
    named = set(subjects)
    for rival, theirs in sorted(rivals, key=lambda r: r[0].age_key):
        if shared := named.intersection(theirs):
            if rival.profile != binding.profile:
                return (
                    f"the older RoleBinding {rival.ref} has service account {min(shared).name} by PodIdentity already, "
                    "and an account has one role that way; remove one of the two"
                )
            return (
                f"the older RoleBinding {rival.ref} has profile {binding.profile} for service account "
                f"{min(shared).name} already; give this one another spec.profile, or remove one of the two"
            )
    return ""


def _are_rivals(one: RoleBinding, other: RoleBinding) -> bool:
    """Return whether two bindings cannot both count for one account.

    EKS's agent gives an account one role, and pods get its credentials before those of any profile; so a binding by it
    has no rival but one of its kind, and can take the place of others at its own time.
    """
    by_agent = [b.method.uses_pod_identity_association for b in (one, other)]
    return all(by_agent) or (not any(by_agent) and one.profile == other.profile)


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
