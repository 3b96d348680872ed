"""Vectors again, against what is here: the local AWS with its evaluator, and the rules about trust policies."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from aws_probes.comparison import differences_of
from aws_probes.lab import PATH
from aws_probes.local import LocalLab
from aws_probes.model import Answer as Answered
from aws_probes.model import Call, Difference
from aws_probes.placeholders import filled
from aws_probes.vectors import Vector
from trustbind.errors import InvalidValueError
from trustbind.evaluation import Answer, Caller, Decision, PrincipalKind, Request, evaluate_call, request_context
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE
from trustbind.policy.document_rules import RULES, Severity, findings
from trustbind.policy.document_rules.model import MALFORMED
from trustbind.policy.trust_document import TrustDocument

__all__ = ["WEB_IDENTITY", "against_evaluator", "against_local_aws", "against_rules"]

WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"

_REFUSED: Final = tuple(rule for rule in RULES if rule.severity is Severity.REFUSED)
_JUDGED: Final = frozenset({"", MALFORMED, "LimitExceeded"})
"""Answers that say whether IAM takes a document; others are about something else."""
_PARAMETERS: Final = {"iam:CreateRole": "AssumeRolePolicyDocument", "iam:UpdateAssumeRolePolicy": "PolicyDocument"}
_STAND_INS: Final = {"account": "111122223333", "run": "run", "issuer": "issuer.example", "caller": "", "cluster": ""}
_SESSION = re.compile(r"arn:aws:sts::[0-9]{12}:assumed-role/([^/]+)/.+")
_ASKED: Final = ("RoleArn", "RoleSessionName")
_NOT_CLAIMS: Final = frozenset({"subject", "audience", "algorithm", "expires_in", "wrong_key"})
"""Members of a token's description that are no claims."""
_QUOTA: Final = "SummaryMap.AssumeRolePolicySizeQuota"


def against_local_aws(vector: Vector, lab: LocalLab) -> tuple[Difference, ...]:
    """Return each call of a vector to which the local AWS gives another code, or shows another value."""
    probe = vector.as_probe()
    return differences_of(probe, lab.run(probe))


def against_rules(vector: Vector) -> tuple[Difference, ...]:
    """Return each trust policy of a vector that IAM took and the rules refuse, or the other way round.

    Roles and users exist from the call that creates them to the one that deletes them. Documents that hold a part of
    an earlier answer are left to the local AWS.
    """
    found, existing, limit = [], set[str](), None
    for call, answer in zip(vector.probe.calls, vector.answers, strict=False):
        limit = answer.shows.get(_QUOTA, limit)
        parameter = _PARAMETERS.get(call.operation, "")
        if parameter and answer.code in _JUDGED:
            refusal = _refusal(call.parameters[parameter], existing, limit)
            if refusal is not None and bool(refusal) != bool(answer.code):
                found.append(Difference(vector.probe.name, call.label, answer.code or "success", refusal or "success"))
        _note(call, answer, existing)
    return tuple(found)


def against_evaluator(vector: Vector) -> tuple[Difference, ...]:
    """Return each exchange of a token whose answer the evaluator of ``trustbind evaluate`` contradicts.

    Looked at are calls that STS granted, or denied by the trust policy, and not those that it refused otherwise.
    Where the evaluator says that the answer depends on what it cannot know, nothing is contradicted.
    """
    found = []
    policies: dict[str, Any] = {}
    for call, answer in zip(vector.probe.calls, vector.answers, strict=False):
        if call.operation in _PARAMETERS and not answer.code:
            policies[str(call.parameters["RoleName"])] = call.parameters[_PARAMETERS[call.operation]]
        policy = policies.get(str(call.parameters.get("RoleArn", "")).rpartition("/")[2])
        if call.operation != WEB_IDENTITY or policy is None or answer.code not in {"", "AccessDenied"}:
            continue
        decision = _evaluated(policy, call)
        if decision.answer is not Answer.DEPENDS and decision.allowed != (not answer.code):
            found.append(
                Difference(
                    vector.probe.name, call.label, answer.code or "success", f"{decision.answer}: {decision.reason}"
                )
            )
    return tuple(found)


def _evaluated(policy: Any, call: Call) -> Decision:
    parameters = {name: filled(value, _known, _no_token) for name, value in call.parameters.items() if name in _ASKED}
    token = filled(call.parameters["WebIdentityToken"]["$token"], _known, _no_token)
    claims = {name: value for name, value in token.items() if name not in _NOT_CLAIMS}
    audience = token.get("audience", DEFAULT_AUDIENCE)
    claims |= {
        "iss": f"https://{_STAND_INS['issuer']}",
        "sub": token["subject"],
        "aud": [audience] if isinstance(audience, str) else audience,
    }
    role = RoleArn.parse(parameters["RoleArn"])
    caller = Caller(PrincipalKind.FEDERATED, str(ProviderArn(role.partition, role.account_id, _STAND_INS["issuer"])))
    known = {"sts:RoleSessionName": [parameters["RoleSessionName"]]}
    context = request_context(caller, claims=claims, role=role, known=known)
    document = json.loads(filled(policy, _known, _no_token, "PolicyDocument"))
    return evaluate_call(document, Request(caller, WEB_IDENTITY, context, role))


def _refusal(policy: Any, existing: set[str], limit: Any) -> str | None:
    """Return what the rules refuse, empty for nothing; None where the document cannot be known."""

    def lookup(name: str) -> Any:
        return limit if name.endswith(_QUOTA) and limit is not None else _STAND_INS[name]

    try:
        text = filled(policy, lookup, _no_token, "PolicyDocument")
    except KeyError:
        return None
    role = RoleArn("aws", _STAND_INS["account"], PATH, "subject")
    try:
        document = TrustDocument.parse(text)
    except InvalidValueError as error:
        return str(error)

    def exists(kind: str, name: str) -> bool:
        session = _SESSION.fullmatch(name)
        is_there = any(arn.endswith(f"/{session[1]}") for arn in existing) if session else name in existing
        return kind != "AWS" or ":federated-user/" in name or is_there

    known = findings(document, role, limit, exists=exists, rules=_REFUSED)
    return str(known[0]) if known else ""


def _note(call: Call, answer: Answered, existing: set[str]) -> None:
    """Remember what a call created, by its ARN and as the ARN of a session, or deleted."""
    kind = {"iam:CreateRole": "role", "iam:CreateUser": "user"}.get(call.operation)
    name = str(filled(call.parameters.get("RoleName", call.parameters.get("UserName", "")), _known, _no_token))
    if kind and not answer.code:
        existing.add(f"arn:aws:iam::{_STAND_INS['account']}:{kind}{call.parameters['Path']}{name}")
    if call.operation == "iam:DeleteRole" and not answer.code:
        existing -= {arn for arn in existing if arn.endswith(f"/{name}")}


def _known(name: str) -> str:
    return _STAND_INS[name]


def _no_token(**_settings: Any) -> str:
    raise KeyError("$token")
