"""A statement that a rule calls dead is one by which the evaluator allows nobody."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from trustbind.evaluation import Caller, PrincipalKind, Request, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import Severity, findings
from trustbind.policy.trust_document import TrustDocument

ROLE: Final = RoleArn.parse("arn:aws:iam::111122223333:role/app")
HOSTS: Final = ("oidc.example.com/a", "oidc.example.com/b", "gitlab.com")
ACTIONS: Final = ("sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithSAML", "sts:TagSession")
VALUES: Final = ("x", "5", "${aws:username}", "tomorrow", "2030-01-01", "true", "arn:aws:iam::111122223333:role/ci")
OPERATORS: Final = (
    "StringEquals",
    "StringNotEquals",
    "StringLikeIfExists",
    "ForAllValues:StringEquals",
    "ForAnyValue:StringLike",
    "ForAnyValue:StringNotEquals",
    "Null",
    "Bool",
    "NumericLessThan",
    "NumericNotEquals",
    "DateGreaterThan",
    "ArnLike",
)


def _provider(host: str, account: str = ROLE.account_id) -> str:
    return f"arn:aws:iam::{account}:oidc-provider/{host}"


keys = st.sampled_from(
    [
        *(f"{host}:{claim}" for host in HOSTS for claim in ("sub", "aud")),
        f"{_provider(HOSTS[0])}:sub",
        f"https://{HOSTS[0]}:sub",
        "aws:username",
        "aws:CurrentTime",
        "sts:RoleSessionName",
    ]
)
values = st.lists(st.sampled_from(VALUES), min_size=1, max_size=2, unique=True)
conditions = st.dictionaries(
    st.sampled_from(OPERATORS), st.dictionaries(keys, values, min_size=1, max_size=2), max_size=2
)
federated = st.lists(
    st.sampled_from([*map(_provider, HOSTS), _provider(HOSTS[0], "444455556666"), HOSTS[0], "accounts.google.com"]),
    min_size=1,
    max_size=2,
    unique=True,
)
principals = st.one_of(
    st.fixed_dictionaries({"Federated": federated}),
    st.just({"AWS": "arn:aws:iam::444455556666:role/ci"}),
    st.just({"Service": "ec2.amazonaws.com"}),
    st.just({"Federated": _provider(HOSTS[0]), "AWS": "444455556666"}),
)
statements = st.fixed_dictionaries(
    {
        "Effect": st.just("Allow"),
        "Principal": principals,
        "Action": st.lists(st.sampled_from([*ACTIONS, "sts:*", "sts:AssumeRoleWith*"]), min_size=1, max_size=2),
        "Condition": conditions,
    }
)
versions = st.sampled_from(["2012-10-17", "2008-10-17", None])
text = st.sampled_from(["x", "5", "y", "true", "2031-01-01T00:00:00Z", "arn:aws:iam::111122223333:role/ci"])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Return a request as STS makes it: a token's issuer is looked up in the role's account, and has its own claims."""
    common = {name: (draw(text),) for name in ("aws:CurrentTime", "sts:RoleSessionName")}
    host = draw(st.sampled_from([*HOSTS, "accounts.google.com", ""]))
    if host:
        name = host if host == "accounts.google.com" else _provider(host)
        claims = {f"{host}:{claim}": (draw(text),) for claim in ("sub", "aud")}
        action = draw(st.sampled_from(["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]))
        return Request(Caller(PrincipalKind.FEDERATED, name), action, common | claims)
    caller = draw(st.sampled_from(["arn:aws:sts::444455556666:assumed-role/ci/s1", "ec2.amazonaws.com"]))
    action = draw(st.sampled_from(["sts:AssumeRole", "sts:TagSession"]))
    return Request(Caller.parse(caller), action, common | {"aws:username": (draw(text),)})


@given(statements, versions, st.lists(requests(), min_size=1, max_size=4))
def test_dead_statement_allows_nobody(statement: dict[str, Any], version: str | None, asked: list[Request]) -> None:
    """No request meets it, whatever it sends."""
    document = TrustDocument((statement,), version)
    dead = [str(f) for f in findings(document, ROLE) if f.severity is Severity.DEAD]

    allowed = [request for request in asked if evaluate(document.to_json_object(), request).allowed]

    assert not (dead and allowed)
