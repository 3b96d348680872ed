"""What IAM will do with the document that a plan leads to, for a person and as data."""

from __future__ import annotations

from typing import Any

from trustbind.policy.document_rules import Finding, Severity, findings
from trustbind.policy.plan import Plan

__all__ = ["as_data", "findings_of", "is_refused_by_iam", "sentence"]


def findings_of(planned: Plan) -> tuple[Finding, ...]:
    """Return what IAM refuses in the resulting document, and which of its statements never apply.

    What blocks the plan is one of its refusals already, and is not repeated. Risks are left out: most are of foreign
    statements, and no change is due to them.
    """
    if not planned.document.statements:  # nothing is there, and nothing is written
        return ()
    blocked = planned.blocked.message if planned.blocked is not None else ""
    found = findings(planned.document, planned.role, None if planned.is_empty else planned.limit)
    return tuple(f for f in found if f.severity is not Severity.RISKY and f.message not in blocked)


def is_refused_by_iam(planned: Plan) -> bool:
    """Return whether IAM would refuse what is to be written."""
    return not planned.is_empty and any(f.severity is Severity.REFUSED for f in findings_of(planned))


def sentence(finding: Finding) -> str:
    """Return a finding as the text of a warning."""
    return f"{finding.severity} ({finding.rule.code} {finding.rule.name}): {finding}"


def as_data(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON has it; statements are counted from 1."""
    where = finding.statement
    return {
        "code": finding.rule.code,
        "rule": finding.rule.name,
        "severity": finding.severity.value,
        "statement": None if where is None else where.index + 1,
        "sid": None if where is None else where.sid,
        "message": finding.message,
    }
