"""``trustbind evaluate`` and the local STS give the same answer to the same document and token.

The pairs are drawn by seed, so a failure can be played again. The local AWS is asked in this process, by its own calls.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import pytest

from trustbind.evaluation import Answer, evaluate_call
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli.commands.evaluate.request import request_of
from trustbind_localaws import TokenIssuer
from trustbind_localaws.http.dispatcher import Dispatcher
from trustbind_localaws.protocol.query import Call
from trustbind_localaws.state.state import State

PAIRS: Final = 1000
SEEDS: Final = 10
ACCOUNT: Final = "444455556666"
ROLE: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/app")
NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)
GITHUB: Final = "token.actions.githubusercontent.com"
HOSTS: Final = ("oidc.example.com/id/1", GITHUB)
WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
SESSION: Final = "pod-1"
AGENT: Final = "Boto3/1.44"
KNOWN: Final = {
    "aws:RequestedRegion": ["us-east-1"],
    "aws:SecureTransport": ["true"],
    "aws:SourceIp": ["127.0.0.1"],
    "aws:UserAgent": [AGENT],
    "sts:RoleSessionName": [SESSION],
}
"""What the local STS knows of a call besides the token and the time."""

SUBJECTS: Final = ("system:serviceaccount:team-a:reader", "repo:example-org/shop:ref:refs/heads/main")
TEXTS: Final = (
    *(*SUBJECTS, "system:serviceaccount:team-a:*", "repo:example-org/*", "sts.amazonaws.com", "vault", "client", "*"),
    *("a", "b", "team", SESSION, "ann", "true", "false", "production", "mfa", "${aws:RequestTag/team}", "us-east-1"),
    *(
        "127.0.0.0/8",
        "203.0.113.0/24",
        "2026-01-01T00:00:00Z",
        "2035-01-01T00:00:00Z",
        ACCOUNT,
        "arn:aws:iam::*:role/*",
    ),
)
GENERAL: Final = (
    *("aws:RequestTag/team", "aws:TagKeys", "sts:SourceIdentity", "sts:RoleAuthorizedByIdp", "sts:RoleSessionName"),
    *(
        "aws:CurrentTime",
        "aws:SourceIp",
        "aws:SecureTransport",
        "aws:PrincipalOrgID",
        "sts:ExternalId",
        "aws:SourceVpc",
    ),
    *("aws:ResourceAccount", "aws:RequestedRegion", "aws:userid"),
)
CLAIMS: Final = ("sub", "aud", "oaud", "amr", "email", "environment", "groups")
OPERATORS: Final = (
    *("StringEquals", "StringLike", "StringEquals", "StringLike", "StringNotEquals", "StringNotLike"),
    *("StringEqualsIgnoreCase", "StringEqualsIfExists", "ForAnyValue:StringEquals", "ForAllValues:StringLike", "Null"),
    *("Bool", "IpAddress", "NotIpAddress", "DateLessThan", "DateGreaterThan", "ArnLike", "NumericLessThan"),
)
FITTING: Final[Mapping[str, tuple[str, ...]]] = {
    "Bool": ("aws:SecureTransport", "sts:RoleAuthorizedByIdp"),
    "IpAddress": ("aws:SourceIp",),
    "NotIpAddress": ("aws:SourceIp",),
    "DateLessThan": ("aws:CurrentTime",),
    "DateGreaterThan": ("aws:CurrentTime",),
}
"""Keys whose values an operator can read; others are drawn now and then."""


class Local:
    """A local AWS in this process, with one role and the providers of two issuers."""

    def __init__(self) -> None:
        self.state = State(lambda: NOW)
        self.dispatcher = Dispatcher(self.state)
        self.issuers = {host: TokenIssuer(f"https://{host}", "ES256") for host in HOSTS}
        for host, issuer in self.issuers.items():
            self.state.issuers.register(issuer.issuer_url, issuer.jwks())
            clients = {f"ClientIDList.member.{n}": v for n, v in enumerate(("sts.amazonaws.com", "vault"), 1)}
            assert self.iam("CreateOpenIDConnectProvider", Url=f"https://{host}", **clients) == ""
        deny = {"Effect": "Deny", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        assert self.iam("CreateRole", RoleName=ROLE.name, AssumeRolePolicyDocument=document) == ""

    def iam(self, operation: str, **params: str) -> str:
        """Return the error code of a call by the AWS account's root; empty for none."""
        form = {"Action": operation, "Version": "2010-05-08"} | params
        return self.dispatcher.answer(Call("iam", operation, form, ACCOUNT)).code

    def assume(self, token: str) -> str:
        """Return the error code of the exchange of a token."""
        params = {"RoleArn": str(ROLE), "RoleSessionName": SESSION, "WebIdentityToken": token}
        return self.dispatcher.answer(
            Call("sts", "AssumeRoleWithWebIdentity", params, headers={"user-agent": AGENT})
        ).code


@pytest.fixture(scope="module")
def local() -> Local:
    """Return the local AWS of all seeds."""
    return Local()


def drawn_condition(random: Random, host: str) -> dict[str, Any]:
    """Return a condition block; keys are mostly of the statement's own issuer."""
    block: dict[str, Any] = {}
    for _ in range(random.choice((0, 1, 1, 2))):
        operator = random.choice(OPERATORS)
        prefix = host if random.random() < 0.9 else random.choice(HOSTS)
        keys = [*GENERAL, *(f"{prefix}:{claim}" for claim in CLAIMS)]
        fitting = FITTING.get(operator)
        key = random.choice(fitting) if fitting and random.random() < 0.8 else random.choice(keys)
        values = random.sample(TEXTS, random.choice((1, 1, 2)))
        if operator == "Null":
            values = [random.choice(("true", "false"))]
        block.setdefault(operator, {})[key] = values if len(values) > 1 or random.random() < 0.5 else values[0]
    if random.random() < 0.6:
        block.setdefault("StringLike", {})[f"{host}:sub"] = list(random.sample(SUBJECTS, 2))
    return block


def drawn_document(random: Random) -> dict[str, Any]:
    """Return a trust policy of one to three statements."""
    statements = []
    for _ in range(random.choice((1, 1, 2, 3))):
        host = random.choice(HOSTS)
        principal: Any = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"}
        if random.random() < 0.1:
            principal = random.choice(
                ({"AWS": "*"}, {"AWS": ACCOUNT}, {"Federated": f"arn:aws:iam::111122223333:oidc-provider/{host}"})
            )
        actions = [WEB_IDENTITY, *(a for a in ("sts:TagSession", "sts:SetSourceIdentity") if random.random() < 0.6)]
        statement = {
            "Effect": "Allow" if random.random() < 0.85 else "Deny",
            "Principal": principal,
            "Action": actions if random.random() < 0.9 else "sts:*",
        }
        condition = drawn_condition(random, host)
        statements.append(statement | ({"Condition": condition} if condition else {}))
    return {"Version": random.choice(("2012-10-17", "2012-10-17", "2008-10-17")), "Statement": statements}


def drawn_claims(random: Random) -> dict[str, Any]:
    """Return further claims of a token; None leaves one out."""
    maybe: dict[str, Any] = {
        "azp": "client",
        "amr": ["pwd", "mfa"],
        "email": "ann",
        "environment": "production",
        "groups": ["a"],
        "https://aws.amazon.com/tags": {"principal_tags": {"team": ["a"]}, "transitive_tag_keys": ["team"]},
        "https://aws.amazon.com/tags/principal_tags/team": "b",
        "https://aws.amazon.com/source_identity": "ann",
        "https://aws.amazon.com/roles": [str(ROLE) if random.random() < 0.8 else f"{ROLE}-2"],
    }
    return {name: value for name, value in maybe.items() if random.random() < 0.2}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_same_answers(local: Local, seed: int) -> None:
    """Both allow, or neither does; what is certain without the call's own values stays so with them."""
    random = Random(seed)  # noqa: S311 - it draws tests
    seen: Counter[str] = Counter()
    for _ in range(PAIRS):
        if seen.total() == PAIRS // SEEDS:
            break
        value = drawn_document(random)
        if local.iam("UpdateAssumeRolePolicy", RoleName=ROLE.name, PolicyDocument=json.dumps(value)):
            continue  # IAM refuses it, such as a statement for GitHub without its subject
        claims = drawn_claims(random)
        audience = random.choice(("sts.amazonaws.com", "vault"))
        subject, host = random.choice(SUBJECTS), random.choice(HOSTS)
        token = local.issuers[host].mint(subject, audience, now=NOW, **claims)
        document = TrustDocument.parse(value)
        body = {"iss": f"https://{host}", "sub": subject, "aud": [audience], "exp": NOW.timestamp() + 60} | claims

        code = local.assume(token)
        whole = request_of(document, role=ROLE, claims=body, known=KNOWN, now=NOW)
        told = evaluate_call(value, whole)
        untold = evaluate_call(value, request_of(document, role=ROLE, claims=body))

        assert code in {"", "AccessDenied", "InvalidIdentityToken"}
        if told.answer is not Answer.DEPENDS:  # the local AWS takes keys that may be there as absent
            assert told.allowed == (code == ""), (value, body, told)
        if untold.answer is not Answer.DEPENDS:
            assert untold.allowed == (code == ""), (value, body, untold)
        seen[f"{told.answer} {code}"] += 1
    assert seen.total() == PAIRS // SEEDS
    assert seen["Allow "] >= 5
    assert seen["Deny AccessDenied"] >= 10
