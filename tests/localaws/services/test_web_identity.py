"""AssumeRoleWithWebIdentity: the token is verified, then the role's trust policy is evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from trustbind_localaws import LocalAws, TokenIssuer

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]
SUBJECT = "system:serviceaccount:team-a:reader"
HOST_PATH = "issuer.example/cluster"
PROVIDER = f"arn:aws:iam::{B}:oidc-provider/{HOST_PATH}"
ROLE = f"arn:aws:iam::{B}:role/app/reader"
DENIED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"


def _trust(**condition: Any) -> dict[str, Any]:
    return {
        "Sid": "reader",
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition
        or {"StringEquals": {f"{HOST_PATH}:sub": SUBJECT, f"{HOST_PATH}:aud": "sts.amazonaws.com"}},
    }


@pytest.fixture
def role(aws: LocalAws, client: Client, make_role: Any, issuer: TokenIssuer) -> str:
    """Return a role that trusts one service account, with provider and keys in place."""
    aws.register_issuer(issuer.issuer_url, issuer.jwks())
    client("iam", B).create_open_id_connect_provider(Url=issuer.issuer_url, ClientIDList=["sts.amazonaws.com"])
    return str(make_role(B, "reader", _trust(), Path="/app/"))


@pytest.fixture
def assume(client: Client) -> Callable[..., Any]:
    """Return the call, by someone without AWS credentials worth the name: it is not signed."""

    def call(token: str, *, role_arn: str = ROLE, name: str = "pod-1", **settings: Any) -> Any:
        return client("sts", A).assume_role_with_web_identity(
            RoleArn=role_arn, RoleSessionName=name, WebIdentityToken=token, **settings
        )

    return call


@pytest.mark.usefixtures("role")
def test_trusted_account_gets_credentials(aws: LocalAws, client: Client, assume: Any, issuer: TokenIssuer) -> None:
    """The answer names subject, audience, provider and session; the credentials work in the role's account."""
    answer = assume(issuer.mint(SUBJECT, pod="reader-0"))
    assert answer["SubjectFromWebIdentityToken"] == SUBJECT
    assert answer["Audience"] == "sts.amazonaws.com"
    assert answer["Provider"] == PROVIDER
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{B}:assumed-role/reader/pod-1"
    assert answer["Credentials"]["AccessKeyId"].startswith("ASIA")
    lasts = answer["Credentials"]["Expiration"] - datetime.now(UTC)
    assert 3500 < lasts.total_seconds() <= 3600
    assert client("sts", answer["Credentials"]).get_caller_identity()["Account"] == B
    (decision,) = aws.decisions
    assert decision.allowed
    assert decision.statement == 'statement 1 (Sid "reader")'
    assert (decision.subject, decision.audience) == (SUBJECT, ("sts.amazonaws.com",))
    assert (decision.caller, decision.issuer) == (PROVIDER, issuer.issuer_url)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "ES256", "ES384", "ES512"])
@pytest.mark.usefixtures("role")
def test_algorithms_of_iam_are_taken(aws: LocalAws, assume: Any, issuer: TokenIssuer, algorithm: str) -> None:
    """RSA and ECDSA signatures verify; registering again replaces the keys."""
    other = TokenIssuer(issuer.issuer_url, algorithm)
    aws.register_issuer(other.issuer_url, other.jwks())
    assume(other.mint(SUBJECT))


@pytest.mark.usefixtures("role")
def test_other_algorithms_are_refused(assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """A token without a signature is none, whatever it claims."""
    head, body, _ = issuer.mint(SUBJECT).split(".")
    unsigned = "eyJhbGciOiJub25lIn0"
    assert head != unsigned
    with refused("InvalidIdentityToken", "none"):
        assume(f"{unsigned}.{body}.")


@pytest.mark.parametrize("token", ["x" * 20, "a.b.c.d"], ids=["no dots", "too many"])
@pytest.mark.usefixtures("role")
def test_text_that_is_no_token_is_refused(assume: Any, refused: Any, token: str) -> None:
    """InvalidIdentityToken for what is no JWT."""
    with refused("InvalidIdentityToken", "not a valid JWT", 400):
        assume(token)


@pytest.mark.usefixtures("role")
def test_token_length_is_limited(assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """More than 20,000 characters are a ValidationError."""
    with refused("ValidationError", "20000"):
        assume(issuer.mint(SUBJECT, padding="x" * 20_000))


@pytest.mark.parametrize("claim", ["sub", "aud", "exp", "iss"])
@pytest.mark.usefixtures("role")
def test_missing_claim_is_refused(assume: Any, issuer: TokenIssuer, refused: Any, claim: str) -> None:
    """A token lacks none of sub, aud, exp and iss."""
    without: dict[str, Any] = {claim: None}
    with refused("InvalidIdentityToken", claim):
        assume(issuer.mint(SUBJECT, **without))


@pytest.mark.usefixtures("role")
def test_wrong_key_and_wrong_kid_are_refused(aws: LocalAws, assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """A signature by another key under the right kid, or by the right key under another kid, does not verify."""
    with refused("InvalidIdentityToken", "signature"):
        assume(issuer.mint(SUBJECT, wrong_key=True))
    with refused("InvalidIdentityToken", "signature"):
        assume(issuer.mint(SUBJECT, kid="other"))
    assert [decision.reason for decision in aws.decisions] == [
        "the signature is not the key's",
        "no registered key has the token's kid",
    ]


def test_unknown_keys_are_refused(
    client: Client, make_role: Any, assume: Any, issuer: TokenIssuer, refused: Any
) -> None:
    """A provider whose keys cannot be had does not vouch for anyone."""
    client("iam", B).create_open_id_connect_provider(Url=issuer.issuer_url, ClientIDList=["sts.amazonaws.com"])
    make_role(B, "reader", _trust(), Path="/app/")
    with refused("InvalidIdentityToken", "Couldn't retrieve verification key"):
        assume(issuer.mint(SUBJECT))


@pytest.mark.usefixtures("role")
def test_expired_token_is_refused(aws: LocalAws, assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """ExpiredTokenException once exp is reached."""
    token = issuer.mint(SUBJECT, expires_in=600)
    assume(token)
    aws.advance(600)
    with refused("ExpiredTokenException", "Token expired", 400):
        assume(token)


@pytest.mark.usefixtures("role")
def test_token_of_the_future_is_refused(assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """A token is not valid before nbf."""
    with refused("InvalidIdentityToken", "not valid yet"):
        assume(issuer.mint(SUBJECT, nbf=int(datetime.now(UTC).timestamp()) + 60))


def test_provider_must_be_in_the_roles_account(
    aws: LocalAws, client: Client, make_role: Any, assume: Any, issuer: TokenIssuer, refused: Any
) -> None:
    """A provider in another account does not help."""
    aws.register_issuer(issuer.issuer_url, issuer.jwks())
    client("iam", A).create_open_id_connect_provider(Url=issuer.issuer_url, ClientIDList=["sts.amazonaws.com"])
    make_role(B, "reader", _trust(), Path="/app/")
    with refused(
        "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer.issuer_url}", 400
    ):
        assume(issuer.mint(SUBJECT))


@pytest.mark.usefixtures("role")
def test_audience_must_be_a_client_id(aws: LocalAws, assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """A token for someone else is refused before the trust policy is looked at."""
    with refused("InvalidIdentityToken", "Incorrect token audience", 400):
        assume(issuer.mint(SUBJECT, "https://kubernetes.default.svc"))
    assert "https://kubernetes.default.svc" in aws.decisions[-1].reason


@pytest.mark.usefixtures("role")
def test_other_subject_is_denied_without_a_reason(
    aws: LocalAws, assume: Any, issuer: TokenIssuer, refused: Any
) -> None:
    """AWS says no more than that it is not authorized; the decisions log says why."""
    with refused("AccessDenied", DENIED, 403):
        assume(issuer.mint("system:serviceaccount:team-a:writer"))
    (decision,) = aws.decisions
    assert (decision.allowed, decision.code) == (False, "AccessDenied")
    assert decision.nearest == 'statement 1 (Sid "reader")'
    assert "system:serviceaccount:team-a:writer" in decision.reason


@pytest.mark.usefixtures("role")
def test_role_that_is_not_there_is_denied(aws: LocalAws, assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """A missing role, also one with another path, looks like a role that does not trust the caller."""
    for missing in (f"arn:aws:iam::{B}:role/nobody", f"arn:aws:iam::{B}:role/reader"):
        with refused("AccessDenied", DENIED, 403):
            assume(issuer.mint(SUBJECT), role_arn=missing)
        assert "there is no role" in aws.decisions[-1].reason


def test_claims_reach_the_conditions(role: str, client: Client, assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """Conditions see amr, and the session's name as sts:RoleSessionName."""
    client("iam", B).update_assume_role_policy(
        RoleName=role.rpartition("/")[2],
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": _trust(
                    **{
                        "StringLike": {f"{HOST_PATH}:sub": "system:serviceaccount:team-a:*"},
                        "StringEquals": {"sts:RoleSessionName": "pod-1"},
                        "ForAnyValue:StringEquals": {f"{HOST_PATH}:amr": "authenticated"},
                    }
                ),
            }
        ),
    )
    token = issuer.mint(SUBJECT, amr=["authenticated", "mfa"])
    assume(token)
    with refused("AccessDenied"):
        assume(token, name="pod-2")
    with refused("AccessDenied"):
        assume(issuer.mint(SUBJECT))


@pytest.mark.usefixtures("role")
def test_authorized_party_is_the_audience(assume: Any, client: Client, issuer: TokenIssuer) -> None:
    """Where azp is set it is what ``aud`` is compared with."""
    client("iam", B).add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=PROVIDER, ClientID="vault")
    answer = assume(issuer.mint(SUBJECT, ["vault"], azp="sts.amazonaws.com"))
    assert answer["Audience"] == "sts.amazonaws.com"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "x"}, "'roleSessionName'"),
        ({"name": "x" * 65}, "'roleSessionName'"),
        ({"name": "a b"}, "'roleSessionName'"),
        ({"DurationSeconds": 899}, "'durationSeconds'"),
        ({"DurationSeconds": 43201}, "'durationSeconds'"),
        ({"DurationSeconds": 3601}, "exceeds the MaxSessionDuration set for this role"),
        ({"role_arn": "reader"}, "reader is invalid"),
    ],
)
@pytest.mark.usefixtures("role")
def test_parameters_are_checked(
    aws: LocalAws, assume: Any, issuer: TokenIssuer, refused: Any, settings: dict[str, Any], message: str
) -> None:
    """ValidationError for a session name, a duration or an ARN outside AWS's constraints."""
    with refused("ValidationError", message, 400):
        assume(issuer.mint(SUBJECT), **settings)
    assert message in aws.decisions[-1].reason


def test_longer_sessions_where_the_role_allows(role: str, client: Client, assume: Any, issuer: TokenIssuer) -> None:
    """The role's MaxSessionDuration is the limit."""
    client("iam", B).update_role(RoleName=role.rpartition("/")[2], MaxSessionDuration=43200)
    answer = assume(issuer.mint(SUBJECT), DurationSeconds=43200)
    lasts = answer["Credentials"]["Expiration"] - datetime.now(UTC)
    assert lasts.total_seconds() > 43_000


TAGS: dict[str, Any] = {
    "https://aws.amazon.com/tags": {"principal_tags": {"team": ["a"]}, "transitive_tag_keys": ["team"]}
}


def _write(client: Client, role: str, actions: list[str], **condition: Any) -> None:
    statement = _trust(**condition) | {"Action": actions}
    document = {"Version": "2012-10-17", "Statement": statement}
    client("iam", B).update_assume_role_policy(RoleName=role.rpartition("/")[2], PolicyDocument=json.dumps(document))


def test_session_tags_of_the_token(
    role: str, aws: LocalAws, client: Client, assume: Any, issuer: TokenIssuer, refused: Any
) -> None:
    """Tags in the token fill aws:RequestTag, and then sts:TagSession has to be allowed, too."""
    condition = {"StringEquals": {f"{HOST_PATH}:sub": SUBJECT, "aws:RequestTag/team": "a"}}
    _write(client, role, ["sts:AssumeRoleWithWebIdentity"], **condition)
    token = issuer.mint(SUBJECT, **TAGS)
    with refused("AccessDenied", DENIED):
        assume(token)
    assert "so sts:TagSession has to be allowed, too" in aws.decisions[-1].reason
    _write(client, role, ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"], **condition)
    assume(token)
    with refused("AccessDenied", DENIED):
        assume(issuer.mint(SUBJECT))


def test_roles_of_the_token(role: str, assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """A token that names roles is for these alone, whatever the trust policy says."""

    def token(roles: Any) -> str:
        claims: dict[str, Any] = {"https://aws.amazon.com/roles": roles}
        return issuer.mint(SUBJECT, **claims)

    assume(token([role, f"{role}-2"]))
    assume(token(role))
    with refused("InvalidIdentityToken", "not present in the roles claim", 400):
        assume(token([f"{role}-2"]))


def test_keys_that_aws_fills(role: str, client: Client, assume: Any, issuer: TokenIssuer, refused: Any) -> None:
    """Time, address, transport and the role's AWS account are in every request."""
    subject = {f"{HOST_PATH}:sub": SUBJECT}
    _write(
        client,
        role,
        ["sts:AssumeRoleWithWebIdentity"],
        StringEquals=subject | {"aws:ResourceAccount": B},
        Bool={"aws:SecureTransport": "true"},
        IpAddress={"aws:SourceIp": "127.0.0.0/8"},
        StringLike={"aws:UserAgent": "*Boto*"},
        DateGreaterThan={"aws:CurrentTime": "2026-01-01T00:00:00Z"},
    )
    assume(issuer.mint(SUBJECT))
    _write(
        client,
        role,
        ["sts:AssumeRoleWithWebIdentity"],
        StringEquals=subject,
        DateLessThan={"aws:CurrentTime": "2026-01-01T00:00:00Z"},
    )
    with refused("AccessDenied", DENIED):
        assume(issuer.mint(SUBJECT))
