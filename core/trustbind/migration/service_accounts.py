"""What the annotations of service accounts say, and how it differs from what trust policies say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.migration.findings import ImportFinding, ImportReason
from trustbind.migration.trust_reader import ReadRole

__all__ = ["ServiceAccounts", "differences"]


@dataclass(frozen=True, slots=True)
class ServiceAccounts:
    """The service accounts of the cluster, as far as they are known.

    Attributes:
        annotations: service account to the text of its role annotation; empty for one without.
        used: service accounts that pods run as.
    """

    annotations: Mapping[Subject, str]
    used: frozenset[Subject] = frozenset()

    def role_of(self, subject: Subject) -> RoleArn | None:
        """Return the role for which a service account is annotated; None for none, or an invalid annotation."""
        try:
            return RoleArn.parse(self.annotations.get(subject, "").strip())
        except InvalidValueError:
            return None

    def annotated(self) -> dict[RoleArn, list[Subject]]:
        """Return the service accounts that are annotated for each role, sorted."""
        found: dict[RoleArn, list[Subject]] = {}
        for subject in sorted(self.annotations):
            if (role := self.role_of(subject)) is not None:
                found.setdefault(role, []).append(subject)
        return found


def differences(
    accounts: ServiceAccounts, roles: Iterable[ReadRole], trusted: Mapping[Subject, Collection[RoleArn]]
) -> Iterator[ImportFinding]:
    """Yield where annotations and trust policies do not agree.

    Args:
        accounts: the service accounts.
        roles: the trust policies that were read.
        trusted: the roles of each service account that a binding gives it.
    """
    known = {read.role for read in roles}
    for subject, text in sorted(accounts.annotations.items()):
        if text.strip():
            yield from _annotated(accounts, subject, known, trusted.get(subject, ()))
    if not accounts.annotations:
        return
    for subject, uses in sorted(trusted.items()):
        annotated = accounts.role_of(subject)
        others = sorted(role for role in uses if role != annotated)
        if subject not in accounts.annotations:
            seen = "; a pod uses it" if subject in accounts.used else "; no object has that name"
            yield ImportFinding(
                ImportReason.NOT_IN_FILES,
                f"{', '.join(map(str, others))} trusts it, and the files have no such ServiceAccount{seen}",
                subject=str(subject),
            )
        elif others:
            yield ImportFinding(
                ImportReason.NOT_ANNOTATED,
                f"{', '.join(map(str, others))} trusts it, and it is not annotated for that; the binding gives its "
                "new pods the role",
                subject=str(subject),
            )


def _annotated(
    accounts: ServiceAccounts, subject: Subject, known: Collection[RoleArn], trusted: Collection[RoleArn]
) -> Iterator[ImportFinding]:
    role = accounts.role_of(subject)
    if role is None:
        text = accounts.annotations[subject]
        reason, message = ImportReason.INVALID_ANNOTATION, f"its annotation {text[:60]!r} is not the ARN of a role"
    elif role not in known:
        reason = ImportReason.ROLE_NOT_READ
        is_known = role.account_id in {other.account_id for other in known}
        why = (
            "whose trust policy was not read" if is_known else f"and no role of AWS account {role.account_id} was read"
        )
        message = f"it is annotated for {role}, {why}; add it, or correct the annotation"
    elif role not in trusted:
        reason = ImportReason.ANNOTATED_NOT_TRUSTED
        message = f"it is annotated for {role}, and no imported statement of its trust policy names it"
    else:
        return
    yield ImportFinding(reason, message, subject=str(subject))
