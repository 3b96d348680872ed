"""STS: AssumeRole, AssumeRoleWithWebIdentity and GetCallerIdentity.

The target role's trust policy is evaluated as it is visible at that moment. Sources: STS API reference; IAM User
Guide, "Cross-account policy evaluation logic", "Methods to assume a role" (role chaining) and "Available keys for
AWS OIDC federation".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.evaluation import (
    Caller,
    Decision,
    PrincipalKind,
    Request,
    RequestContext,
    evaluate,
    evaluate_call,
    request_context,
)
from trustbind.evaluation.token_claims import names_role
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind_localaws.protocol.query import AwsFailure, Call, Response, response_of, timestamp
from trustbind_localaws.rules.identity_policy import Verdict, judge
from trustbind_localaws.rules.trust_policy import statements_of
from trustbind_localaws.state.credentials import Identity, Session
from trustbind_localaws.state.moto_store import Role
from trustbind_localaws.state.state import State
from trustbind_localaws.tokens.issuer_keys import WebToken, read_token

__all__ = ["Sts", "sent_with"]

_SESSION_NAME = re.compile(r"[\w+=,.@-]*", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]*", re.ASCII)
_NAME_LENGTH: Final = (2, 64)
_EXTERNAL_ID_LENGTH: Final = (2, 1224)
_DURATION: Final = (900, 43_200)
_DEFAULT_DURATION: Final = 3600
_CHAINED_DURATION: Final = 3600
_NOT_NAMED: Final = "The target role ARN is not present in the roles claim of the identity token"
"""Seen at AWS in a public test of July 2026."""


class Sts:
    """STS's operations over one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def get_caller_identity(self, call: Call, identity: Identity) -> Response:
        """Return who calls; needs no permission."""
        return response_of(call, {"UserId": identity.user_id, "Account": identity.account, "Arn": identity.arn})

    def assume_role(self, call: Call, identity: Identity) -> Response:
        """Return credentials of a role that trusts the caller.

        Raises:
            AwsFailure: a parameter is wrong, or the caller may not.
        """
        return _granted(call, self.session(call, identity), {})

    def session(self, call: Call, identity: Identity) -> Session:
        """Return a session of a role that trusts the caller; see `assume_role`."""
        arn_text, session_name = call.required("RoleArn"), call.required("RoleSessionName")
        with self._state.journal.deciding(
            operation=call.operation, role_arn=arn_text, caller=identity.arn, session_name=session_name
        ) as facts:
            arn = _role_arn(arn_text)
            _check_session_name(session_name)
            _check_external_id(call)
            seconds = _duration(call)
            if identity.is_session and seconds > _CHAINED_DURATION:
                raise AwsFailure(
                    "ValidationError",
                    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
                )
            refusal = f"User: {identity.arn} is not authorized to perform: sts:AssumeRole on resource: {arn_text}"
            role = self._state.storage.role_at(arn)
            if role is None:
                raise AwsFailure("AccessDenied", refusal, why=f"there is no role {arn_text}")
            self._judge_own_policies(call, identity, role, facts, refusal)
            _check_max(role, seconds)
            return self._state.callers.open_session(role, session_name, seconds)

    def assume_role_with_web_identity(self, call: Call) -> Response:
        """Return credentials of a role that trusts the token.

        Raises:
            AwsFailure: a parameter or the token is wrong, or the role does not trust it.
        """
        arn_text, session_name = call.required("RoleArn"), call.required("RoleSessionName")
        with self._state.journal.deciding(
            operation=call.operation, role_arn=arn_text, caller="", session_name=session_name
        ) as facts:
            arn = _role_arn(arn_text)
            _check_session_name(session_name)
            seconds = _duration(call)
            token = read_token(call.required("WebIdentityToken"))
            facts |= {"subject": token.subject, "audience": token.audience, "issuer": token.issuer}
            provider = self._trusted_provider(arn, token)
            facts["caller"] = str(provider)
            if not names_role(token.claims, arn_text):
                raise AwsFailure("InvalidIdentityToken", _NOT_NAMED)
            refusal = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            role = self._state.storage.role_at(arn)
            if role is None:
                raise AwsFailure("AccessDenied", refusal, why=f"there is no role {arn_text}")
            caller = Caller(PrincipalKind.FEDERATED, str(provider))
            context = request_context(
                caller,
                claims=token.claims,
                role=arn,
                now=self._state.clock.now(),
                known=sent_with(call, session_name),
                is_whole=True,
            )
            document = json.loads(self._state.visibility.read(role))
            decision = evaluate_call(document, Request(caller, "sts:AssumeRoleWithWebIdentity", context, arn))
            _settle(decision, facts, refusal)
            _check_max(role, seconds)
            extra = {
                "SubjectFromWebIdentityToken": token.subject,
                "Provider": str(provider),
                "Audience": context.get(f"{provider.host_path}:aud")[0],
            }
            return _granted(call, self._state.callers.open_session(role, session_name, seconds), extra)

    def _trusted_provider(self, role: RoleArn, token: WebToken) -> ProviderArn:
        """Return the provider in the role's account that vouches for a token, after all checks of the token."""
        arn = ProviderArn(role.partition, role.account_id, token.issuer.removeprefix("https://"))
        provider = self._state.storage.provider(role.account_id, role.partition, str(arn))
        if provider is None or not token.issuer.startswith("https://"):
            raise AwsFailure(
                "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {token.issuer}"
            )
        self._state.issuers.verify(token, self._state.clock.now())
        if not set(token.audience) & set(provider.client_id_list):
            raise AwsFailure(
                "InvalidIdentityToken",
                "Incorrect token audience",
                why=f"the token is for {', '.join(token.audience)}; the provider {arn} takes "
                f"{', '.join(provider.client_id_list) or 'no audience'}",
            )
        return arn

    def _judge_own_policies(
        self, call: Call, identity: Identity, role: Role, facts: dict[str, Any], refusal: str
    ) -> None:
        """Raise unless the role trusts the caller and, where that is needed, the caller's own policies agree."""
        actions = ["sts:AssumeRole"]
        if _session_tags(call):
            actions.append("sts:TagSession")
        if call.param("SourceIdentity"):
            actions.append("sts:SetSourceIdentity")
        document = json.loads(self._state.visibility.read(role))
        caller = Caller(PrincipalKind.AWS, identity.arn)
        target = RoleArn.parse(role.arn)
        context = _role_context(call, identity, caller, target, self._state.clock.now())
        policies = self._state.callers.policies_of(identity)
        for action in actions:
            request = Request(caller, action, context, target)
            decision = evaluate(document, request)
            _settle(decision, facts, refusal.replace("sts:AssumeRole", action))
            if identity.is_root:
                continue  # root's own permissions have no limit
            verdict = judge(policies, action, role.arn)
            named = role.account_id == identity.account and evaluate(_without_accounts(document), request).allowed
            if verdict is Verdict.DENY or (verdict is Verdict.SILENT and not named):
                facts["reason"] = f"{decision.reason} But the caller's own policies " + (
                    "deny it." if verdict is Verdict.DENY else "do not allow it, which is needed here."
                )
                raise AwsFailure("AccessDenied", refusal.replace("sts:AssumeRole", action))


def _granted(call: Call, session: Session, extra: Mapping[str, str]) -> Response:
    credentials = {
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "SessionToken": session.token,
        "Expiration": timestamp(session.expires),
    }
    user = {"AssumedRoleId": f"{session.role_id}:{session.name}", "Arn": session.arn}
    return response_of(call, {"Credentials": credentials, "AssumedRoleUser": user, **extra})


def _settle(decision: Decision, facts: dict[str, Any], refusal: str) -> None:
    """Note a decision, and raise unless it allows."""
    facts |= {
        "reason": decision.reason,
        "statement": str(decision.statement or ""),
        "nearest": str(decision.nearest or ""),
        "unknown": decision.unknown,
    }
    if not decision.allowed:
        raise AwsFailure("AccessDenied", refusal)


def sent_with(call: Call, session_name: str) -> dict[str, Sequence[str]]:
    """Return the keys that AWS fills from a call: from its connection, which at AWS is HTTPS, and its headers."""
    return {
        "aws:RequestedRegion": [call.region],
        "aws:SecureTransport": ["true"],
        "aws:SourceIp": ["127.0.0.1"],
        "aws:UserAgent": [call.headers.get("user-agent", "")],
        "sts:RoleSessionName": [session_name],
    }


def _role_context(call: Call, identity: Identity, caller: Caller, role: RoleArn, now: datetime) -> RequestContext:
    known = sent_with(call, call.param("RoleSessionName")) | {
        "aws:PrincipalAccount": [identity.account],
        "aws:PrincipalArn": [identity.principal_arn],
        "aws:PrincipalType": [identity.kind],
        "aws:userid": [identity.user_id],
    }
    for key, parameter in (("sts:ExternalId", "ExternalId"), ("sts:SourceIdentity", "SourceIdentity")):
        if value := call.param(parameter):
            known[key] = [value]
    tags = _session_tags(call)
    known |= {f"aws:RequestTag/{key}": [value] for key, value in tags.items()}
    if tags:
        known["aws:TagKeys"] = list(tags)
    if transitive := call.members("TransitiveTagKeys"):
        known["sts:TransitiveTagKeys"] = transitive
    return request_context(caller, role=role, now=now, known=known, is_whole=True)


def _session_tags(call: Call) -> dict[str, str]:
    tags: dict[str, str] = {}
    number = 1
    while key := call.param(f"Tags.member.{number}.Key"):
        tags[key] = call.param(f"Tags.member.{number}.Value")
        number += 1
    return tags


def _without_accounts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without the statements that allow a whole account.

    Trust in an account only hands the decision to that account's own policies; trust in a role or user named as
    such is enough within the account.
    """
    kept = []
    for statement in statements_of(document):
        principal = statement.get("Principal")
        if statement.get("Effect") == "Allow" and isinstance(principal, dict) and "AWS" in principal:
            listed = principal["AWS"] if isinstance(principal["AWS"], list) else [principal["AWS"]]
            named = [name for name in listed if not name.endswith(":root")]
            if not named:
                continue
            kept.append({**statement, "Principal": {**principal, "AWS": named}})
        else:
            kept.append(statement)
    return {**document, "Statement": kept}


def _role_arn(text: str) -> RoleArn:
    try:
        return RoleArn.parse(text)
    except InvalidValueError:
        raise AwsFailure("ValidationError", f"{text} is invalid") from None


def _check_session_name(name: str) -> None:
    _check_text(name, "roleSessionName", _NAME_LENGTH, _SESSION_NAME, "[\\w+=,.@-]*")


def _check_external_id(call: Call) -> None:
    if "ExternalId" in call.params:
        _check_text(call.param("ExternalId"), "externalId", _EXTERNAL_ID_LENGTH, _EXTERNAL_ID, "[\\w+=,.@:\\/-]*")


def _check_text(value: str, member: str, length: tuple[int, int], pattern: re.Pattern[str], shown: str) -> None:
    shortest, longest = length
    if len(value) < shortest:
        raise _constraint(value, member, f"Member must have length greater than or equal to {shortest}")
    if len(value) > longest:
        raise _constraint(value, member, f"Member must have length less than or equal to {longest}")
    if not pattern.fullmatch(value):
        raise _constraint(value, member, f"Member must satisfy regular expression pattern: {shown}")


def _duration(call: Call) -> int:
    text = call.params.get("DurationSeconds", str(_DEFAULT_DURATION))
    seconds = int(text) if text.isdecimal() else 0
    shortest, longest = _DURATION
    if seconds < shortest:
        raise _constraint(text, "durationSeconds", f"Member must have value greater than or equal to {shortest}")
    if seconds > longest:
        raise _constraint(text, "durationSeconds", f"Member must have value less than or equal to {longest}")
    return seconds


def _check_max(role: Role, seconds: int) -> None:
    if seconds > int(role.max_session_duration or _DEFAULT_DURATION):
        raise AwsFailure(
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )


def _constraint(value: str, member: str, constraint: str) -> AwsFailure:
    return AwsFailure(
        "ValidationError",
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}",
    )
