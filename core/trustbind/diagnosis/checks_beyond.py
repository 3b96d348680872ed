"""Checks 39 to 42: what comes after the trust policy, and the other ways to a role."""

from __future__ import annotations

from typing import Final

from trustbind.api.role_binding import MAX_CHAINED_SESSION_SECONDS
from trustbind.diagnosis.error_text import classify
from trustbind.diagnosis.model import Case, Check, Outcome, broken, fine, not_applicable, unknown, unseen
from trustbind.evaluation import Answer, Caller, PrincipalKind, Request, evaluate, evaluate_call, request_context
from trustbind.evaluation.effects import effects_of
from trustbind.evaluation.three_valued import Truth
from trustbind.policy.pod_identity import SERVICE

__all__ = ["CHECKS"]

_ASSUME: Final = "sts:AssumeRole"
_TAG: Final = "sts:TagSession"


def _permissions(case: Case) -> Outcome:
    error = case.error
    if error is None or not error.action:
        return not_applicable("no call of the workload itself was denied")
    role = case.wanted.role
    if role is None:
        return case.without_role
    web = case.wanted.web_role
    if error.caller and not any(error.is_session_of(each) for each in (role, web) if each is not None):
        return broken(
            f"the call was made as {error.caller_text}, and the service account's role is {role}: the SDK took other "
            "credentials, such as the node's",
            "see why the SDK does not use the token: its version, and the order in which it looks for credentials",
        )
    if error.action in {_ASSUME, _TAG}:
        return not_applicable("the next role of a chain has a check of its own")
    who = f"has the credentials of role {role}" if error.caller else "has credentials"
    permission = case.bundle.permission.value
    if permission is None:
        reason = case.bundle.permission.reason or "they were not looked for"
        return broken(
            f"the workload {who}, and its call of {error.action} is denied: permissions, not trust; the role's own "
            f"policies cannot be seen: {reason}",
            f"see whether a policy of the role allows {error.action}, and whether another policy denies it",
        )
    if permission.decision == "allowed":
        return broken(
            f"the policies of role {role} allow {error.action}, and the call is denied: a policy of the resource, of "
            "the organization, a permissions boundary or a session policy is in the way",
            "see the policy of the resource first",
        )
    return broken(
        f"the workload {who}, and the policies of role {role} do not allow {error.action} ({permission.decision}): "
        "permissions, not trust",
        f"allow {error.action} in a policy of the role",
    )


def _chain(case: Case) -> Outcome:
    if not case.wanted.is_chain or case.wanted.uses_agent:
        return not_applicable("the role is reached without a source role")
    source, target, binding = case.wanted.web_role, case.wanted.role, case.wanted.binding
    assert source is not None  # noqa: S101 - a chain has both
    assert target is not None  # noqa: S101 - as above
    assert binding is not None  # noqa: S101 - as above
    own = case.bundle.role.value
    if own is None:
        return unseen(f"the policies of source role {source}", case.bundle.role)
    caller = Caller(PrincipalKind.AWS, f"arn:{source.partition}:sts::{source.account_id}:assumed-role/{source.name}/x")
    known = {"sts:ExternalId": [binding.external_id]} if binding.external_id else {}
    known["aws:PrincipalArn"] = [str(source)]
    request = Request(caller, _ASSUME, request_context(caller, role=target, now=case.now, known=known), target)
    effects = effects_of(own.inline_policies, request)
    what = f"{_ASSUME} on {target}"
    if effects.deny is Truth.YES:
        return broken(f"an inline policy of source role {source} denies {what}", "change that Deny")
    if effects.allow is Truth.NO and own.attached_policies:
        return unknown(
            f"no inline policy of source role {source} allows {what}; whether an attached one does was not looked at: "
            f"{', '.join(own.attached_policies[:3])}"
        )
    if effects.allow is Truth.NO:
        return broken(
            f"no inline policy of source role {source} allows {what}",
            f"see the status of RoleBinding {binding.ref}; trustbind writes that policy",
        )
    fact = case.bundle.target_role
    if fact.is_absent:
        return broken(f"there is no target role {target}", "create it, or correct spec.roleArn")
    if fact.value is None:
        return unseen(f"target role {target}", fact)
    decision = evaluate(fact.value.trust_policy, request)
    if decision.answer is Answer.DENY:
        return broken(
            f"target role {target} does not trust source role {source}: {decision.reason.rstrip('.')}",
            f"see the status of RoleBinding {binding.ref}, or correct the trust policy of the target role",
        )
    seconds = binding.session_duration_seconds or MAX_CHAINED_SESSION_SECONDS
    if seconds > MAX_CHAINED_SESSION_SECONDS:
        return broken(
            f"a chained session of {seconds} s is asked for, and AWS gives {MAX_CHAINED_SESSION_SECONDS} s at most",
            "shorten spec.session.durationSeconds",
        )
    if effects.deny is not Truth.NO or effects.allow is not Truth.YES:
        keys = ", ".join(effects.open_keys) or "a part that is not understood"
        return unknown(f"whether the inline policies of source role {source} allow {what} depends on {keys}")
    if decision.answer is Answer.DEPENDS:
        names = ", ".join(dict.fromkeys(each.key for each in decision.depends))
        return unknown(f"target role {target} has a condition on {names}, whose value cannot be seen from here")
    return fine(f"target role {target} trusts source role {source}")


def _pod_identity(case: Case) -> Outcome:
    if not case.wanted.uses_agent:
        return not_applicable("the binding does not use EKS Pod Identity")
    if case.bundle.agent.value == 0 or case.bundle.agent.is_absent:
        return broken(
            "no EKS Pod Identity agent runs" + (f" on node {case.pod.node}" if case.pod and case.pod.node else ""),
            "install the add-on eks-pod-identity-agent",
        )
    fact = case.bundle.association
    if fact.is_absent:
        return broken(
            f"EKS has no Pod Identity association for service account {case.account}",
            "see the status of the RoleBinding; trustbind makes the association",
        )
    wanted = case.wanted.web_role
    if fact.value is not None and wanted is not None and fact.value.role != str(wanted):
        return broken(
            f"the Pod Identity association of service account {case.account} names {fact.value.role}, and the binding "
            f"{wanted}",
            "see the status of the RoleBinding; trustbind did not create the association",
        )
    if refused := _agent_refused(case):
        return broken(
            f"role {wanted} does not let {SERVICE} in: {refused}",
            f"allow {_ASSUME} and {_TAG} to {SERVICE} in the trust policy",
        )
    for what, each in (
        ("the agent", case.bundle.agent),
        ("the association", fact),
        ("the role's trust policy", case.bundle.role),
    ):
        if each.value is None:
            return unseen(what, each)
    return fine("agent, association and role are there")


def _agent_refused(case: Case) -> str:
    """Return why the role's trust policy does not let EKS Pod Identity in; empty when it may."""
    role, facts, binding = case.wanted.web_role, case.bundle.role.value, case.wanted.binding
    if role is None or facts is None:
        return ""
    caller = Caller(PrincipalKind.SERVICE, SERVICE)
    request = Request(caller, _ASSUME, request_context(caller, role=role, now=case.now), role)
    decision = evaluate_call(facts.trust_policy, request)
    if decision.answer is Answer.DENY:
        return decision.reason.rstrip(".")
    is_tagged = binding is None or not binding.disable_session_tags
    untagged = [each.message for each in decision.depends if each.key == "disableSessionTags"]
    return untagged[0] if untagged and is_tagged else ""


def _exchange(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable("the agent on the node makes the exchange")
    fact = case.bundle.exchange
    if fact.value is None:
        return unseen("a real exchange", fact)
    if not fact.value.error:
        return fine("STS gave credentials for a token of the service account; they were thrown away")
    return broken(
        f"STS refuses a token of the service account: {fact.value.error}",
        classify(fact.value.error).todo or "give this message to --error, to see which checks explain it",
    )


CHECKS: Final = (
    Check(
        39,
        "PermissionDenied",
        "The workload has the role's credentials, and the call is denied: permissions, not trust.",
        "Allow the action in a policy of the role.",
        _permissions,
    ),
    Check(
        40,
        "ChainBroken",
        "The source role may not assume the target role, or the target role does not trust it.",
        "See the status of the RoleBinding.",
        _chain,
    ),
    Check(
        41,
        "PodIdentityBroken",
        "The EKS Pod Identity agent, the association or one of both actions in the trust policy is missing.",
        "Install the agent; see the status of the RoleBinding.",
        _pod_identity,
    ),
    Check(42, "ExchangeRefused", "STS refused a real exchange.", "See the message.", _exchange),
)
