"""Evaluation of IAM role trust policies: may this caller take this action, and if not, what is in the way.

Reading order is data flow: ``model`` (the values), ``evaluate`` (document and statements), then the elements
``actions``, ``principals`` and ``conditions`` (with ``operators``, ``variables`` and ``globs`` under it). Everything
is pure: no I/O, no clock.

What is not understood never helps to allow: in an Allow statement it counts as not matching, in a Deny statement
as matching. ``truth`` holds the three-valued logic that makes this one rule instead of many.
"""

from trustbind.evaluation.evaluate import evaluate
from trustbind.evaluation.model import Caller, Decision, Failure, PrincipalKind, Request, StatementRef

__all__ = [
    "Caller",
    "Decision",
    "Failure",
    "PrincipalKind",
    "Request",
    "StatementRef",
    "evaluate",
]
