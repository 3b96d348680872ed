"""Evaluation of IAM role trust policies: may this caller take this action, and if not, what is in the way.

Reading order is data flow: ``model`` (the values), ``request_context`` with ``token_claims`` (which condition keys a
request has), ``calls`` (the actions of one call), ``policy`` (document and statements), then the elements ``actions``,
``principals`` and ``conditions`` (with ``operators``, ``variables`` and ``wildcards`` under it). Names of operators are
in ``trustbind.policy.condition_operators``. Everything is pure: no I/O, no clock.

What is not understood never helps to allow: in an Allow statement it counts as not matching, in a Deny statement
as matching. What depends on a value that is not known makes the answer Depends. ``three_valued`` holds the logic that
makes this one rule instead of many.
"""

from trustbind.evaluation.calls import evaluate_call
from trustbind.evaluation.model import (
    Answer,
    Caller,
    Decision,
    Dependence,
    Failure,
    PrincipalKind,
    Request,
    StatementRef,
)
from trustbind.evaluation.policy import evaluate
from trustbind.evaluation.request_context import KeyState, RequestContext, request_context

__all__ = [
    "Answer",
    "Caller",
    "Decision",
    "Dependence",
    "Failure",
    "KeyState",
    "PrincipalKind",
    "Request",
    "RequestContext",
    "StatementRef",
    "evaluate",
    "evaluate_call",
    "request_context",
]
