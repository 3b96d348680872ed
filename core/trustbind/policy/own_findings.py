"""What IAM will do with the statements of one binding, before any role is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim, claims_on
from trustbind.policy.document_rules import RULES, STORED, Severity, findings
from trustbind.policy.document_rules.risky import wide_subject
from trustbind.policy.owned_statement import ChainKey, FederatedKey, build, other_issuer
from trustbind.policy.trust_document import TrustDocument

__all__ = ["check_claims", "own_documents", "own_warnings"]

_DEAD_OR_RISKY: Final = tuple(r for r in RULES if r.severity is not Severity.REFUSED and r is not wide_subject)
"""`trustbind.api.federated_subjects.too_wide` says the rest, with the field."""


def check_claims(binding: RoleBinding, issuer: Issuer) -> None:
    """Check that IAM takes the binding's statements.

    Args:
        binding: the binding; its conditions may stand in its statements.
        issuer: the cluster's.

    Raises:
        InvalidValueError: one for another issuer lacks a condition that IAM asks for.
    """
    for claim in _claims(binding):
        if isinstance(claim.key, FederatedKey):
            statement = build(issuer, binding.role, claim.key, claim.subjects)
            if found := findings(TrustDocument((statement,)), binding.role, rules=STORED):
                raise InvalidValueError(f"IAM refuses the statement for {claim.key.issuer}, which {found[0].message}")


def own_warnings(
    binding: RoleBinding, issuer: Issuer, severities: Iterable[Severity] = (Severity.DEAD, Severity.RISKY)
) -> list[str]:
    """Return a sentence about each statement of the binding that never applies, or that has a risk, with its code.

    Args:
        binding: the binding; its conditions may stand in its statements.
        issuer: the cluster's.
        severities: of what is told.
    """
    wanted = frozenset(severities)
    told: dict[str, None] = {}
    for name, document in own_documents(binding, issuer):
        for finding in findings(document, binding.role, rules=_DEAD_OR_RISKY):
            if finding.severity in wanted:
                verb = " never applies: it " if finding.severity is Severity.DEAD else " "
                told[f"the statement for {name}{verb}{finding.message} ({finding.rule.code})"] = None
    return list(told)


def own_documents(binding: RoleBinding, issuer: Issuer) -> Iterator[tuple[str, TrustDocument]]:
    """Yield each statement of a binding as a document, with for whom it is; those that cannot be built are left out.

    Args:
        binding: the binding; its conditions may stand in its statements.
        issuer: the cluster's.
    """
    for claim in _claims(binding):
        try:
            statement = build(issuer, binding.role, claim.key, claim.subjects)
        except InvalidValueError:  # the plan refuses its binding
            continue
        yield _named(claim), TrustDocument((statement,))


def _claims(binding: RoleBinding) -> tuple[Claim, ...]:
    """Return what the binding claims in its role, for some service account; conditions stand nowhere else."""
    return claims_on(binding.role, binding, (Subject(binding.ref.namespace, "any"),))


def _named(claim: Claim) -> str:
    match claim.key:
        case FederatedKey() if (other := other_issuer(claim.key)) is not None:
            return str(other)
        case ChainKey():
            return str(claim.key.source)
        case _:
            return "service accounts"
