"""A whole call that asks for a role: several actions, where it has session tags or a source identity.

Sources: IAM User Guide, "Pass session tags in AWS STS" (sts:TagSession) and "Monitor and control actions taken with
assumed roles" (sts:SetSourceIdentity); EKS User Guide, "Create IAM role with trust policy required by EKS Pod
Identity".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from trustbind.evaluation.model import Answer, Decision, Dependence, PrincipalKind, Request
from trustbind.evaluation.policy import evaluate
from trustbind.evaluation.request_context import KeyState, RequestContext

__all__ = ["evaluate_call"]

_CALLS: Final = frozenset({"sts:assumerole", "sts:assumerolewithwebidentity", "sts:assumerolewithsaml"})
_TAG_SESSION: Final = "sts:TagSession"
_SET_SOURCE_IDENTITY: Final = "sts:SetSourceIdentity"
_POD_IDENTITY: Final = "pods.eks.amazonaws.com"
_ORDER: Final = (Answer.DENY, Answer.DEPENDS, Answer.ALLOW)


def evaluate_call(document: Mapping[str, Any], request: Request) -> Decision:
    """Return what a role's trust policy says to a call, of which the request's action is one action.

    Args:
        document: as of `evaluate`.
        request: as of `evaluate`; with an action that is no call, such as ``sts:TagSession``, this is `evaluate`.

    Returns:
        The least favourable decision of the call's actions.
    """
    context = RequestContext.of(request.context)
    request = replace(request, context=context)
    decision = evaluate(document, request)
    if request.action.lower() not in _CALLS:
        return decision
    for action, because in _further_actions(context):
        if decision.answer is Answer.DENY:
            return decision
        other = evaluate(document, replace(request, action=action))
        decision = _both(decision, other, f"{because}, so {action} has to be allowed, too")
    if decision.answer is not Answer.DENY and _has_optional_tags(request, context):
        other = evaluate(document, replace(request, action=_TAG_SESSION))
        decision = _without_tags(decision, other) if other.answer is Answer.DENY else _both(decision, other, "")
    return decision


def _further_actions(context: RequestContext) -> Iterator[tuple[str, str]]:
    if context.has_tags() in {KeyState.GIVEN, KeyState.FILLED}:
        yield _TAG_SESSION, "the call has session tags"
    if context.state("sts:SourceIdentity") in {KeyState.GIVEN, KeyState.FILLED}:
        yield _SET_SOURCE_IDENTITY, "the call has a source identity"


def _both(first: Decision, second: Decision, why: str) -> Decision:
    if second.answer is Answer.ALLOW:
        return first
    if second.answer is Answer.DENY:
        return replace(second, reason=f"{second.reason} {why[:1].upper()}{why[1:]}.", remarks=first.remarks)
    depends = tuple(dict.fromkeys((*first.depends, *second.depends)))
    return replace(min(first, second, key=lambda each: _ORDER.index(each.answer)), depends=depends)


def _has_optional_tags(request: Request, context: RequestContext) -> bool:
    """Return whether EKS sends session tags unless the association switches them off, which is not known."""
    caller = request.caller
    is_pod_identity = caller.kind is PrincipalKind.SERVICE and caller.identifier == _POD_IDENTITY
    return is_pod_identity and context.has_tags() is KeyState.POSSIBLE


def _without_tags(decision: Decision, tagging: Decision) -> Decision:
    """Return the decision where it holds only for an association without session tags."""
    problem = "no statement allows" if tagging.statement is None else f"{tagging.statement} denies"
    message = f"EKS also needs {_TAG_SESSION}, which {problem}, unless the association has disableSessionTags"
    dependence = Dependence("disableSessionTags", "", message)
    reason = (
        f"{decision.reason} EKS also needs {_TAG_SESSION}, which {problem}; without it the answer depends on "
        "disableSessionTags of the association."
    )
    return replace(decision, answer=Answer.DEPENDS, reason=reason, depends=(*decision.depends, dependence))
