"""Evaluation of IAM role trust policies: may this caller take this action, and if not, what is in the way.

Reading order is data flow: ``model`` (the values), ``policy`` (document and statements), then the elements
``actions``, ``principals`` and ``conditions`` (with ``operators``, ``variables`` and ``wildcards`` under it). Names
of operators are in ``trustbind.policy.condition_operators``. Everything is pure: no I/O, no clock.

What is not understood never helps to allow: in an Allow statement it counts as not matching, in a Deny statement
as matching. ``three_valued`` holds the three-valued logic that makes this one rule instead of many.
"""

from trustbind.evaluation.model import Caller, Decision, Failure, PrincipalKind, Request, StatementRef
from trustbind.evaluation.policy import evaluate

__all__ = [
    "Caller",
    "Decision",
    "Failure",
    "PrincipalKind",
    "Request",
    "StatementRef",
    "evaluate",
]
