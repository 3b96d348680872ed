"""The table of findings: one code and one name for each thing that a command can find.

``TB1xx`` is of ``doctor``, ``TB2xx`` is about trust policies and our objects, ``TB3xx`` about what CloudTrail recorded.
A code is never given to another finding. To add a group, add its kinds to `FINDINGS`; ``make generate`` writes
docs/reference/findings.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trustbind.diagnosis.chain import CHECKS
from trustbind.diagnosis.model import Check
from trustbind.finding_kinds import PAGE, FindingKind, FindingSeverity
from trustbind.linting.kinds import KINDS
from trustbind.policy.document_rules import RULES, Rule
from trustbind.policy.document_rules import Severity as RuleSeverity

__all__ = ["BY_CODE", "FINDINGS", "PAGE", "FindingKind", "FindingSeverity", "kind_of_rule"]

_OF_RULE: Final[Mapping[RuleSeverity, FindingSeverity]] = {
    RuleSeverity.REFUSED: FindingSeverity.ERROR,
    RuleSeverity.DEAD: FindingSeverity.ERROR,
    RuleSeverity.RISKY: FindingSeverity.WARNING,
}


def kind_of_rule(rule: Rule) -> FindingKind:
    """Return the finding that a rule about trust policies makes."""
    return FindingKind(rule.code, rule.name, _OF_RULE[rule.severity], rule.meaning, rule.remedy, rule.source)


def _kind_of_check(check: Check) -> FindingKind:
    return FindingKind(check.code, check.name, FindingSeverity.ERROR, check.what, check.remedy)


FINDINGS: Final[tuple[FindingKind, ...]] = (*map(_kind_of_check, CHECKS), *map(kind_of_rule, RULES), *KINDS)
"""Every finding, by code."""

BY_CODE: Final[Mapping[str, FindingKind]] = {kind.code: kind for kind in FINDINGS}
"""Code to finding."""
