"""Findings between objects: RoleBindings, RoleGrants, and annotated service accounts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant, arn_matches, authorize
from trustbind.evaluation.wildcards import glob_matches
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.linting import kinds
from trustbind.linting.kinds import Lint
from trustbind.policy import access
from trustbind.policy.access import Verdict
from trustbind.policy.trust_document import TrustDocument

__all__ = ["Bound", "lint_annotated", "lint_binding", "lint_grant"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A binding and what is known around it.

    Attributes:
        binding: the binding.
        accounts: name to labels of the service accounts of its namespace that are known.
        labels: of its namespace.
    """

    binding: RoleBinding
    accounts: Mapping[str, Mapping[str, str]]
    labels: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The service accounts that it names or selects."""
        return tuple(subject.name for subject in self.binding.subjects(self.accounts))


def lint_binding(bound: Bound, grants: Sequence[RoleGrant] | None, *, knows_accounts: bool) -> Iterator[Lint]:
    """Yield why nobody can use a binding.

    Args:
        bound: the binding.
        grants: all of them; None where they are not known.
        knows_accounts: whether the known service accounts are all of its namespace.
    """
    if grants is not None:
        answer = authorize(bound.binding, bound.names, bound.labels, grants)
        if not answer.is_granted:
            yield Lint(kinds.NOT_GRANTED, answer.message)
    if not knows_accounts:
        return
    absent = [name for name in bound.names if name not in bound.accounts]
    if absent:
        verb = "does" if len(absent) == 1 else "do"
        yield Lint(kinds.NO_SERVICE_ACCOUNT, f"names {', '.join(sorted(absent))}, which {verb} not exist")
    if bound.binding.selector is not None and not bound.names:
        yield Lint(kinds.NO_SERVICE_ACCOUNT, "selects no service account that exists")


def lint_grant(grant: RoleGrant, bindings: Iterable[Bound]) -> Iterator[Lint]:
    """Yield what a grant allows and no binding uses."""
    covered = [b for b in bindings if not grant.uncovered(b.binding, b.names, b.labels)]
    if not covered:
        yield Lint(kinds.GRANT_NOT_USED, "covers no RoleBinding; remove it")
        return
    roles = {str(b.binding.role) for b in covered}
    roles |= {str(b.binding.source.role) for b in covered if b.binding.source is not None}
    names = {name for b in covered for name in b.names}
    namespaces = {b.binding.ref.namespace for b in covered}
    methods = {b.binding.method for b in covered}
    unused = {
        "roleArns": [p for p in grant.role_arns if not any(arn_matches(p, role) for role in roles)],
        "serviceAccountNames": [p for p in grant.service_account_names if not any(glob_matches(p, n) for n in names)],
        "namespaces.names": [name for name in grant.namespaces if name not in namespaces],
        "methods": [method.value for method in grant.methods if method not in methods],
    }
    for field, entries in unused.items():
        if entries:
            yield Lint(kinds.GRANT_NOT_USED, f"spec.{field}: no RoleBinding uses {', '.join(entries)}; remove it")


def lint_annotated(
    subject: Subject, role: RoleArn, document: TrustDocument, issuer: Issuer, audience: str
) -> Iterator[Lint]:
    """Yield why the trust policy of a role does not allow a service account that is annotated with it.

    Args:
        subject: the service account.
        role: of its annotation.
        document: the role's trust policy.
        issuer: the cluster's.
        audience: of the token that its pods get.
    """
    found = access.service_account(role, document, issuer, subject, [audience])
    if found.verdict is Verdict.NO:
        reason = found.reason.rstrip(".")
        yield Lint(kinds.ANNOTATED_WITHOUT_TRUST, f"is annotated with {role}, which does not allow it: {reason}")
