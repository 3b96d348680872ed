"""Whom statements of a trust policy trust, as the names in them."""

from __future__ import annotations

from collections.abc import Mapping

from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import external_ids_of, is_owned, is_retained
from trustbind.policy.trust_document import Statement, TrustDocument

__all__ = ["foreign_subjects", "names_of", "retained_names"]


def names_of(statement: Statement) -> set[str]:
    """Return the subjects of a statement, or the external ids of associations; of one without any, its principals."""
    names: set[str] = set(external_ids_of(statement))
    if names:
        return names
    blocks = [block for block in (statement.get("Condition") or {}).values() if isinstance(block, Mapping)]
    for wanted in (":sub", "aws:PrincipalArn"):
        for value in (v for block in blocks for k, v in block.items() if str(k).endswith(wanted)):
            names.update(map(str, value if isinstance(value, list) else [value]))
        if names:
            return names
    principal = statement.get("Principal")
    for value in principal.values() if isinstance(principal, Mapping) else [principal]:
        names.update(map(str, value if isinstance(value, list) else [value]))
    return names


def retained_names(document: TrustDocument, issuer: Issuer) -> tuple[str, ...]:
    """Return whom deleted bindings left in a document, sorted: subjects, patterns of subjects, and source roles.

    Args:
        document: a trust policy.
        issuer: the cluster's.
    """
    left = (s for s in document.statements if is_retained(s, issuer) and is_owned(s, issuer))
    return tuple(sorted({name for statement in left for name in names_of(statement)}))


def foreign_subjects(document: TrustDocument, issuer: Issuer) -> tuple[str, ...]:
    """Return the subjects of the cluster that foreign statements trust, sorted.

    Args:
        document: a trust policy.
        issuer: the cluster's.

    Returns:
        Subjects and patterns of subjects as the statements have them; for one that names no subject, ``*``.
    """
    names: set[str] = set()
    for statement in document.statements:
        if statement.get("Effect") == "Allow" and not is_owned(statement, issuer) and _is_for(statement, issuer):
            blocks = [b for b in (statement.get("Condition") or {}).values() if isinstance(b, Mapping)]
            values = [v for b in blocks for k, v in b.items() if str(k).casefold() == issuer.subject_key.casefold()]
            names.update(str(v) for value in values for v in (value if isinstance(value, list) else [value]))
            if not values:
                names.add("*")
    return tuple(sorted(names))


def _is_for(statement: Statement, issuer: Issuer) -> bool:
    """Return whether a statement names the issuer's OIDC provider."""
    principal = statement.get("Principal")
    named = principal.get("Federated", []) if isinstance(principal, Mapping) else []
    ending = f":oidc-provider/{issuer.host_path}".casefold()
    return any(str(name).casefold().endswith(ending) for name in (named if isinstance(named, list) else [named]))
