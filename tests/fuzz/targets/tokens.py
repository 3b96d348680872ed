"""Tokens, wherever one is taken apart: by the command line, and by the local STS."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Final

from fuzz.checks import bounded, check_sentence
from trustbind.errors import InvalidValueError, ManifestError
from trustbind.evaluation import RequestContext, evaluate_call
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli.commands.evaluate.report import as_json, explain
from trustbind_cli.commands.evaluate.request import request_of, token_times
from trustbind_cli.files.manifests import claims_of
from trustbind_localaws.protocol.query import AwsFailure
from trustbind_localaws.tokens.issuer_keys import Issuers, read_token
from trustbind_localaws.tokens.service_account_token import TokenIssuer

__all__ = ["WORDS", "check"]

_URL: Final = "https://oidc.example.com/id/0123"
_PROVIDER: Final = "arn:aws:iam::444455556666:oidc-provider/oidc.example.com/id/0123"
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_HEADER: Final = b'{"alg":"ES256","typ":"JWT"}'
_POLICY: Final[dict[str, Any]] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": _PROVIDER},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {"oidc.example.com/id/0123:aud": "sts.amazonaws.com"},
                "StringLike": {"oidc.example.com/id/0123:sub": "system:serviceaccount:team-a:*"},
            },
        }
    ],
}
_DOCUMENT: Final = TrustDocument.parse(_POLICY)
_KEYS: Final = Issuers()
_ISSUER: Final = TokenIssuer(_URL, "ES256")
_KEYS.register(_URL, _ISSUER.jwks())

WORDS: Final = (
    *("alg", "none", "ES256", "RS256", "HS256", "kid", _ISSUER.kid, "iss", "sub", "aud", "exp", "nbf", "iat", "amr"),
    *("kubernetes.io", "namespace", "serviceaccount", "pod", "crit", "b64", "jku", "x5c", "zip", _URL),
    *("sts.amazonaws.com", "system:serviceaccount:team-a:reader", "http://", "https://", ".", "..", "=", "-_"),
)


def check(data: bytes) -> None:
    """Read the input as a whole token, as the claims of one, and as the header of one."""
    for token in (data, _packed(_HEADER, data), _packed(data, b'{"iss":"x","sub":"y","aud":"z","exp":1}')):
        try:
            text = token.decode("utf-8")
        except UnicodeDecodeError:
            continue  # refused before, with a sentence of its own
        _check_command_line(text, token)
        _check_local_sts(text, token)


def _check_command_line(text: str, data: bytes) -> None:
    try:
        claims = bounded(lambda: claims_of(text, "token.jwt"), data, a_byte=20)
        request = bounded(lambda: request_of(_DOCUMENT, claims=claims, now=_NOW), data, a_byte=40)
    except (ManifestError, InvalidValueError) as error:
        check_sentence(str(error))
        return
    context = RequestContext.of(request.context)
    assert all(isinstance(v, str) for values in context.values.values() for v in values)
    decision = bounded(lambda: evaluate_call(_POLICY, request), data, a_byte=400)
    if decision.allowed:
        assert context.get("oidc.example.com/id/0123:aud") == ("sts.amazonaws.com",)
        assert context.get("oidc.example.com/id/0123:sub")[0].startswith("system:serviceaccount:team-a:")
    assert explain(decision)
    assert as_json(request, decision)["decision"] == decision.answer
    for sentence in token_times(claims, _NOW):
        check_sentence(sentence)


def _check_local_sts(text: str, data: bytes) -> None:
    try:
        token = bounded(lambda: read_token(text), data, a_byte=100)
        _KEYS.verify(token, _NOW)
    except AwsFailure as error:
        check_sentence(str(error))
        return
    raise AssertionError("a token with a signature that nobody made is taken")


def _packed(header: bytes, claims: bytes) -> bytes:
    """Return a token of these parts, with a signature of zeros."""
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims, bytes(64)))
