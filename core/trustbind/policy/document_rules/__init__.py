"""What IAM will do with a trust policy: one list of rules over the whole document, whoever wrote its statements.

`findings` applies them. ``form`` and ``principals`` have what IAM refuses, ``dead`` what it takes and never applies,
``risky`` what applies to others than its author probably wants. A behaviour of AWS that is documented nowhere, and
that no report shows, is not called refused.

To add a rule, write a function in one of these modules, put it into the module's ``RULES``, and add its documents to
tests/data/rules; then run ``make generate``, which writes docs/reference/findings.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import dead, form, principals, risky
from trustbind.policy.document_rules.model import Exists, Finding, Rule, Scene, Severity
from trustbind.policy.document_rules.statement import read_statements
from trustbind.policy.trust_document import TrustDocument

__all__ = ["RULES", "STORED", "Exists", "Finding", "Rule", "Severity", "findings", "is_permissions_policy"]

RULES: Final[tuple[Rule, ...]] = (*form.RULES, *principals.RULES, *dead.RULES, *risky.RULES)
"""Every rule; those that IAM enforces first, in the order in which they are asked."""

STORED: Final = tuple(rule for rule in RULES if rule.severity is Severity.REFUSED and rule.may_be_stored)
"""The rules that a document which IAM stores may break; it passed all others when it was written."""


def findings(
    document: TrustDocument,
    role: RoleArn,
    limit: int | None = None,
    *,
    exists: Exists | None = None,
    rules: Iterable[Rule] = RULES,
) -> tuple[Finding, ...]:
    """Return every place where a trust policy breaks a rule, in the order of the rules, then of the statements.

    Whether a dead statement would be risky is not said: it applies to nobody.

    Args:
        document: the whole trust policy.
        role: whose it is, or will be.
        limit: characters that the AWS account allows; None where that is not known.
        exists: None where it is not known which principals exist.
        rules: which.
    """
    scene = Scene(document, role, limit, exists, read_statements(document))
    found = [
        Finding(rule, ref, found.message, found.aws_message, found.aws_code)
        for rule in rules
        for ref, found in rule.look(scene)
    ]
    dead = {finding.statement for finding in found if finding.severity is Severity.DEAD}
    return tuple(f for f in found if f.severity is not Severity.RISKY or f.statement not in dead)


def is_permissions_policy(document: TrustDocument) -> bool:
    """Return whether a document is what an identity may do, and not whom a role trusts.

    Source: IAM User Guide, "Identity-based policies and resource-based policies": a permissions policy has resources
    and no principals, a trust policy has principals and no resources.
    """
    statements = document.statements
    return bool(statements) and all(
        "Principal" not in s and "NotPrincipal" not in s and ("Resource" in s or "NotResource" in s) for s in statements
    )
