"""Trust policies without trustbind: what it wrote becomes plain statements that another tool can own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import is_owned, placeholder_sid
from trustbind.policy.trust_document import Statement, TrustDocument

__all__ = ["without_owner"]

_FOR_TOKENS: Final = "ServiceAccounts"
_FOR_ROLES: Final = "SourceRole"


def without_owner(document: TrustDocument, issuer: Issuer) -> TrustDocument | None:
    """Return the document in which no statement is trustbind's by its Sid; None where none is.

    Every request is answered as before: a Sid decides nothing. What others wrote stays as it is written. So does the
    placeholder that stands alone in a policy without any trust, under another name: IAM takes no empty policy.

    Args:
        document: a trust policy.
        issuer: the cluster's.
    """
    taken = {str(s.get("Sid", "")) for s in document.statements}
    if not any(is_owned(s, issuer) for s in document.statements):
        return None
    statements: list[Statement] = []
    for statement in document.statements:
        if not is_owned(statement, issuer):
            statements.append(statement)
            continue
        sid = _free(_name(statement, issuer), taken)
        taken.add(sid)
        statements.append({**statement, "Sid": sid})
    return document.with_statements(statements)


def _name(statement: Statement, issuer: Issuer) -> str:
    if statement.get("Sid") == placeholder_sid(issuer):
        return "Nobody"
    principal = statement.get("Principal")
    return _FOR_ROLES if isinstance(principal, dict) and "AWS" in principal else _FOR_TOKENS


def _free(name: str, taken: Collection[str]) -> str:
    """Return the name, or with a number where another statement has it."""
    number = 1
    while (found := name if number == 1 else f"{name}{number}") in taken:
        number += 1
    return found
