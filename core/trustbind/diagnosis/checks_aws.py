"""Checks 23 to 38: the role's AWS account knows the issuer, and the role's trust policy allows the exchange."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from trustbind.diagnosis.checks_token import request_claims
from trustbind.diagnosis.facts import DeniedPolicy, Fact
from trustbind.diagnosis.model import WEB_IDENTITY, Case, Check, Outcome, broken, fine, not_applicable, unknown, unseen
from trustbind.errors import InvalidValueError
from trustbind.evaluation import (
    Answer,
    Caller,
    Decision,
    Failure,
    PrincipalKind,
    Request,
    evaluate_call,
    request_context,
)
from trustbind.evaluation.effects import effects_of
from trustbind.evaluation.three_valued import Truth
from trustbind.identity import session_names
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import RULES, Severity, findings
from trustbind.policy.pod_identity import SERVICE
from trustbind.policy.trust_document import TrustDocument
from trustbind.times import time_of

__all__ = ["CHECKS", "decide_trust"]

_SETTLES: Final = timedelta(minutes=1)
"""IAM is eventually consistent (IAM User Guide, "Troubleshoot IAM")."""
_DEFAULT_SESSION: Final = 3600
_WELL_KNOWN: Final = frozenset({"aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"})
"""Claims of a service-account token (Kubernetes documentation, "Managing Service Accounts")."""
_BY_AGENT: Final = "EKS Pod Identity needs no OIDC provider"


def decide_trust(case: Case) -> Decision | None:
    """Return what the trust policy says to the exchange of the pod's token.

    None where role or issuer are not known, and where no token is exchanged.
    """
    facts, request = case.bundle.role.value, _web_request(case)
    return None if facts is None or request is None else evaluate_call(facts.trust_policy, request)


def _web_request(case: Case) -> Request | None:
    """Return the exchange of the pod's token; None where role or issuer are not known, and where none is exchanged."""
    role, claims = case.wanted.web_role, request_claims(case)
    if role is None or claims is None or case.wanted.uses_agent:
        return None
    host = str(claims.get("iss", "")).removeprefix("https://")
    caller = Caller(PrincipalKind.FEDERATED, f"arn:{role.partition}:iam::{role.account_id}:oidc-provider/{host}")
    return Request(caller, WEB_IDENTITY, request_context(caller, claims=claims, role=role, now=case.now), role)


def _account(case: Case) -> Outcome:
    role = case.wanted.role
    if role is None and not case.wanted.uses_agent:
        return case.without_role
    caller = case.bundle.caller.value
    if caller is None:
        return unseen("AWS", case.bundle.caller)
    web = case.wanted.web_role
    if web is not None and caller.account != web.account_id:
        return unknown(
            f"your credentials are for AWS account {caller.account}, and role {web} is in {web.account_id}",
            "use --profile with credentials of that AWS account",
        )
    return fine(f"AWS account {caller.account} answers")


def _provider(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    role, issuer = case.wanted.web_role, case.bundle.issuer.value
    if role is None:
        return case.without_role
    fact = case.bundle.provider
    if fact.is_absent:
        return broken(
            f"AWS account {role.account_id} has no OIDC provider for the cluster's issuer {issuer}",
            "create it (docs/cross-account.md), or let trustbind do so: spec.oidcProvider of the AWSAccount",
        )
    if fact.value is None:
        return unseen("the OIDC provider", fact)
    return fine(f"the provider {fact.value.arn} is there")


def _client_id(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    provider = case.bundle.provider.value
    if not case.wanted.audience:
        return case.without_role
    if provider is None:
        return unseen("the client ids of the OIDC provider", case.bundle.provider)
    if case.wanted.audience not in provider.audiences:
        return broken(
            f"{provider.arn} does not list the audience {case.wanted.audience}; it lists "
            f"{', '.join(provider.audiences) or 'none'}",
            "add it as a client id of the provider",
        )
    return fine(f"the provider lists the audience {case.wanted.audience}")


def _thumbprint(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    provider, public = case.bundle.provider.value, case.bundle.public.value
    if provider is None:
        return unseen("the thumbprints of the OIDC provider", case.bundle.provider)
    issuer = case.bundle.issuer.value or ""
    if case.is_exchanged:
        return fine("AWS trusts the issuer's certificate: STS took a token")
    if issuer.startswith("https://oidc.eks."):
        return not_applicable("the issuer is EKS's own, whose certificate AWS trusts")
    if public is None:
        return unseen("the issuer's certificate", case.bundle.public)
    if not public.is_trusted and not provider.thumbprints:
        return broken(
            f"the certificate of {issuer} has no public authority, and {provider.arn} has no thumbprint",
            "give the provider the thumbprint of the top certificate, or use a public authority",
        )
    return fine("the issuer's certificate needs no thumbprint" if public.is_trusted else "a thumbprint is there")


def _context_claims(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    provider = case.bundle.provider.value
    if provider is None:
        return unseen("the identity context of the OIDC provider", case.bundle.provider)
    claims = case.bundle.claims.value
    present = frozenset(claims) if claims is not None else _WELL_KNOWN
    missing = [c for c in provider.context_claims if c.lstrip("/").partition("/")[0] not in present]
    if missing and claims is None:
        return unknown(
            f"the identity context of {provider.arn} reads the claim {missing[0]}; whether the token has it cannot be "
            f"seen: {case.bundle.claims.reason or 'it was not looked for'}"
        )
    if missing:
        return broken(
            f"the identity context of {provider.arn} reads the claim {missing[0]}, which the token does not have",
            "correct spec.oidcProvider.identityContext of the AWSAccount, or the provider",
        )
    return fine("the provider reads no claim that is missing")


def _role(case: Case) -> Outcome:
    role = case.wanted.web_role
    if role is None:
        return case.without_role
    return _exists(role, case.bundle.role, f"see the name and path of the role in AWS account {role.account_id}")


def _exists(role: RoleArn, fact: Fact[Any], todo: str) -> Outcome:
    if fact.is_absent:
        return broken(f"there is no role {role}", todo)
    if fact.value is None:
        return unseen(f"role {role}", fact)
    if fact.value.arn != str(role):
        return broken(
            f"there is no role {role}; the role of that name is {fact.value.arn}",
            "write the ARN with its path in the RoleBinding or the annotation",
        )
    return fine(f"role {role} exists")


def _unreadable_trust(case: Case) -> Outcome | None:
    if case.wanted.web_role is None:
        return case.without_role
    if case.wanted.uses_agent:
        return not_applicable("for EKS Pod Identity another check looks at the trust policy")
    if case.bundle.role.value is None:
        return unseen("the trust policy", case.bundle.role)
    if decide_trust(case) is None:
        return unseen("the issuer, which the trust policy names", case.bundle.issuer)
    return None


def _allows(case: Case) -> Outcome:
    if (early := _unreadable_trust(case)) is not None:
        return early
    decision = decide_trust(case)
    assert decision is not None  # noqa: S101 - asked above
    if decision.answer is Answer.DENY and decision.statement is None and not _only_further(decision, case):
        return broken(
            f"the trust policy of {case.wanted.web_role} does not allow the exchange: "
            f"{_reason(decision)}{_changed(case)}",
            _todo(case),
        )
    return fine("a statement of the trust policy is for this provider, audience and subject")


def _reason(decision: Decision) -> str:
    return " ".join(decision.reason.split()).rstrip(".")


def _todo(case: Case) -> str:
    condition = case.ready_condition
    if case.wanted.binding is not None and condition.get("status") == "False":
        message = str(condition.get("message", "")).rstrip(".")
        return f"RoleBinding {case.wanted.binding.ref} is not Ready ({condition.get('reason')}): {message}"
    if case.wanted.binding is not None:
        return f"see the status of RoleBinding {case.wanted.binding.ref}, or correct the trust policy"
    return "correct the trust policy, or bind the service account with a RoleBinding"


def _changed(case: Case) -> str:
    change = case.bundle.change.value
    return f" (last written at {change.at} by {change.author})" if change is not None else ""


def _only_further(decision: Decision, case: Case) -> bool:
    """Return whether everything that failed is a condition on another key than the token's audience and subject."""
    issuer = str((request_claims(case) or {}).get("iss", "")).removeprefix("https://").lower()
    own = {f"{issuer}:aud", f"{issuer}:sub"}
    return bool(decision.failures) and all(_is_further(each, own) for each in decision.failures)


def _is_further(failure: Failure, own: set[str]) -> bool:
    return failure.element == "Condition" and failure.key.lower() not in own and failure.key.lower().startswith("aws:")


def _denies(case: Case) -> Outcome:
    if (early := _unreadable_trust(case)) is not None:
        return early
    decision = decide_trust(case)
    assert decision is not None  # noqa: S101 - asked above
    if decision.answer is Answer.DENY and decision.statement is not None:
        return broken(
            f"{decision.statement} of the trust policy of {case.wanted.web_role} denies the exchange: "
            f"{_reason(decision)}",
            "change that Deny, or the workload that it is meant for",
        )
    return fine("no Deny of the trust policy is about the exchange")


def _further(case: Case) -> Outcome:
    if (early := _unreadable_trust(case)) is not None:
        return early
    decision = decide_trust(case)
    assert decision is not None  # noqa: S101 - asked above
    if decision.answer is Answer.DENY and decision.statement is None and _only_further(decision, case):
        return broken(
            f"the trust policy of {case.wanted.web_role} has a condition that is not met: "
            f"{decision.failures[0].message}",
            "change the condition, or call in the way that it wants",
        )
    if decision.answer is Answer.DEPENDS:
        names = ", ".join(dict.fromkeys(each.key for each in decision.depends))
        return unknown(
            f"the trust policy has a condition on {names}, whose value cannot be seen from here",
            "evaluate it: trustbind evaluate --live --role ARN --context KEY=VALUE",
        )
    return fine("no further condition stands in the way")


def _document(case: Case) -> Outcome:
    role, facts = case.wanted.web_role, case.bundle.role.value
    if role is None:
        return case.without_role
    if facts is None:
        return unseen("the trust policy", case.bundle.role)
    try:
        document = TrustDocument.parse(facts.trust_policy, stored=True)
    except InvalidValueError as error:
        return broken(f"the trust policy of {role} cannot be read: {error}", "correct it")
    refused = [
        f
        for f in findings(document, role, rules=[rule for rule in RULES if rule.may_be_stored])
        if f.severity is Severity.REFUSED
    ]
    decision = decide_trust(case)
    if refused and decision is not None and decision.answer is Answer.DENY and decision.statement is None:
        return broken(
            f"IAM takes no write of the trust policy of {role}: {refused[0]} ({refused[0].rule.code} "
            f"{refused[0].rule.name})",
            "correct that statement; trustbind writes its own as soon as IAM takes the document",
        )
    return fine("IAM takes the trust policy as it is")


def _duration(case: Case) -> Outcome:
    role, binding = case.bundle.role.value, case.wanted.binding
    if case.wanted.web_role is None:
        return case.without_role
    if case.wanted.is_chain:
        return not_applicable("a chain's session has a check of its own")
    if role is None:
        return unseen("the role's MaxSessionDuration", case.bundle.role)
    wanted = (binding.session_duration_seconds if binding else None) or _DEFAULT_SESSION
    if wanted > role.max_session_seconds:
        return broken(
            f"a session of {wanted} s is asked for, and the MaxSessionDuration of {role.arn} is "
            f"{role.max_session_seconds} s",
            "shorten spec.session.durationSeconds, or raise the role's MaxSessionDuration",
        )
    return fine(f"the role allows sessions of {role.max_session_seconds} s")


def _session_name(case: Case) -> Outcome:
    container = case.container
    if container is None:
        return case.without_pod
    name = container.value("AWS_ROLE_SESSION_NAME")
    if name is None:
        return fine("the SDK makes a session name")
    if not session_names.is_valid(name):
        return broken(
            f"container {container.name} has AWS_ROLE_SESSION_NAME={name!r}, which STS does not take",
            "use 2 to 64 letters, digits or characters of +=,.@_-",
        )
    return fine("STS takes the session name")


def _applied(case: Case) -> tuple[bool, str]:
    """Return whether the binding's status says that the trust policy holds it, and since when."""
    condition = case.ready_condition
    return condition.get("status") == "True", str(condition.get("lastTransitionTime", ""))


def _drift(case: Case) -> Outcome:
    if case.wanted.binding is None:
        return not_applicable("no RoleBinding writes the trust policy")
    if case.bundle.role.value is None:
        return unseen("the trust policy", case.bundle.role)
    applied, since = _applied(case)
    decision = decide_trust(case)
    if applied and decision is not None and decision.answer is Answer.DENY and decision.statement is None:
        who = _changed(case) or f"; who wrote it cannot be seen: {case.bundle.change.reason or 'it was not looked for'}"
        return broken(
            f"RoleBinding {case.wanted.binding.ref} is Ready since {since}, and its statement is no longer in the "
            f"trust policy of {case.wanted.web_role}{who}",
            "find the other writer (docs/reference/drift.md); trustbind writes it again at its next survey",
        )
    return fine("the trust policy holds what the RoleBinding asks for" if applied else "no drift is known")


def _fresh(case: Case) -> Outcome:
    if case.wanted.web_role is None:
        return case.without_role
    change = case.bundle.change.value
    _, since = _applied(case)
    at = max(filter(None, (time_of(change.at) if change else None, time_of(since))), default=None)
    if at is None:
        return fine("no change of the last minute is known")
    decision = decide_trust(case)
    allows = decision is not None and decision.answer is not Answer.DENY
    if allows and timedelta(0) <= case.now - at < _SETTLES and case.error is not None:
        return broken(
            f"the trust policy was written at {at:%Y-%m-%dT%H:%M:%SZ}, less than a minute ago",
            "try again: IAM needs some seconds everywhere; spec.waitUntilReady makes pods wait for it",
        )
    return fine("the last change is older than a minute, or no error is asked about")


def _organization(case: Case) -> Outcome:
    return _policies(case, case.bundle.organization, "the policies of the organization (SCP, RCP)")


def _endpoints(case: Case) -> Outcome:
    return _policies(case, case.bundle.endpoints, "the policies of VPC endpoints for STS")


def _policies(case: Case, fact: Fact[list[DeniedPolicy]], what: str) -> Outcome:
    if case.wanted.web_role is None:
        return case.without_role
    if fact.value is None:
        return unseen(what, fact)
    request = _agent_request(case) if case.wanted.uses_agent else _web_request(case)
    if request is None:
        return unseen("the issuer, whose tokens the policies are about", case.bundle.issuer)
    action = request.action
    open_ones: list[Outcome] = []
    for policy in fact.value:
        name = f"{policy.kind} {policy.name}"
        effects = effects_of((policy.document,), request)
        if effects.deny is Truth.YES:
            return broken(f"{name} denies {action}", "ask the owner of the policy for an exception")
        has_to_allow = policy.kind == "VPC endpoint policy"
        if has_to_allow and effects.allow is Truth.NO:
            return broken(f"{name} does not allow {action}", "allow it in the endpoint's policy")
        if effects.deny is not Truth.NO or (has_to_allow and effects.allow is not Truth.YES):
            keys = ", ".join(effects.open_keys) or "a part that is not understood"
            open_ones.append(unknown(f"whether {name} denies {action} depends on {keys}", f"see {name}"))
    return open_ones[0] if open_ones else fine(f"{what} do not deny it")


def _agent_request(case: Case) -> Request:
    role, caller = case.wanted.web_role, Caller(PrincipalKind.SERVICE, SERVICE)
    return Request(caller, "sts:AssumeRole", request_context(caller, role=role, now=case.now), role)


CHECKS: Final = (
    Check(23, "OtherAccount", "AWS cannot be asked, or not about the role's AWS account.", "Use --profile.", _account),
    Check(24, "NoProvider", "The role's AWS account has no OIDC provider for the issuer.", "Create it.", _provider),
    Check(
        25,
        "AudienceNotListed",
        "The audience is no client id of the OIDC provider.",
        "Add it to the provider.",
        _client_id,
    ),
    Check(
        26,
        "NoThumbprint",
        "The issuer's certificate has no public authority, and the provider has no thumbprint.",
        "Give the provider a thumbprint, or use a public authority.",
        _thumbprint,
    ),
    Check(
        27,
        "ClaimMissing",
        "The provider's identity context reads a claim that the token does not have.",
        "Correct the identity context.",
        _context_claims,
    ),
    Check(28, "NoRole", "The role does not exist, or has another path.", "Correct the ARN.", _role),
    Check(
        29,
        "NotTrusted",
        "No statement of the trust policy allows the exchange for this provider, action, audience and subject.",
        "See the status of the RoleBinding, or correct the trust policy.",
        _allows,
    ),
    Check(30, "ExplicitDeny", "A Deny of the trust policy is about the exchange.", "Change that Deny.", _denies),
    Check(
        31,
        "ConditionNotMet",
        "A further condition of the trust policy is not met.",
        "Change the condition, or the way of the call.",
        _further,
    ),
    Check(
        32,
        "PolicyNotWritable",
        "IAM takes no write of the trust policy, because of a deleted principal or a missing claim.",
        "Correct that statement.",
        _document,
    ),
    Check(
        33,
        "SessionTooLong",
        "The session that is asked for is longer than the role's MaxSessionDuration.",
        "Shorten it, or raise the role's value.",
        _duration,
    ),
    Check(34, "InvalidSessionName", "STS does not take the session name.", "Use 2 to 64 characters.", _session_name),
    Check(
        35,
        "Drift",
        "Another writer took the RoleBinding's statement out of the trust policy.",
        "Find the other writer.",
        _drift,
    ),
    Check(36, "JustWritten", "The trust policy was written less than a minute ago.", "Try again in a minute.", _fresh),
    Check(
        37,
        "OrganizationDenies",
        "A policy of the organization (SCP or RCP) denies the exchange.",
        "Ask the owner of the policy.",
        _organization,
    ),
    Check(
        38,
        "EndpointDenies",
        "The policy of a VPC endpoint for STS does not allow the exchange.",
        "Allow it in the endpoint's policy, or use another region.",
        _endpoints,
    ),
)
