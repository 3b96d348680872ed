"""Whether a caller's own policies let it do something; root may do everything in its account."""

from __future__ import annotations

from collections.abc import Mapping

from trustbind_localaws.protocol.query import AwsFailure
from trustbind_localaws.rules.identity_policy import Verdict, judge
from trustbind_localaws.state.credentials import Callers, Identity

__all__ = ["require"]


def require(
    callers: Callers,
    identity: Identity,
    action: str,
    resource: str,
    *,
    shown: str = "",
    context: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Let a call through.

    Args:
        callers: who knows the policies.
        identity: who calls.
        action: such as ``iam:GetRole``.
        resource: the ARN acted on, as policies name it.
        shown: the same as messages show it; empty: the ARN.
        context: condition keys whose value is known.

    Raises:
        AwsFailure: the caller's own policies do not allow it.
    """
    if identity.is_root:
        return
    verdict = judge(callers.policies_of(identity), action, resource, context)
    if verdict is Verdict.ALLOW:
        return
    because = (
        "with an explicit deny in an identity-based policy"
        if verdict is Verdict.DENY
        else f"because no identity-based policy allows the {action} action"
    )
    raise AwsFailure(
        "AccessDenied",
        f"User: {identity.arn} is not authorized to perform: {action} on resource: {shown or resource} {because}",
    )
