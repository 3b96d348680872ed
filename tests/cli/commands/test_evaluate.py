"""``trustbind evaluate``."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from support.commands import Cli

HOST = "oidc.example.com/id/1"
PROVIDER = f"arn:aws:iam::444455556666:oidc-provider/{HOST}"
SUBJECT = "system:serviceaccount:shop:checkout"
POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Web",
            "Effect": "Allow",
            "Principal": {"Federated": PROVIDER},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com", f"{HOST}:sub": SUBJECT}},
        }
    ],
}
CALL = (
    *("evaluate", "--policy", "trust.json", "--principal", PROVIDER),
    *("--action", "sts:AssumeRoleWithWebIdentity"),
)
GOOD = ("--context", f"{HOST}:aud=sts.amazonaws.com", "--context", f"{HOST}:sub={SUBJECT}")


@pytest.fixture(autouse=True)
def _policy(cli: Cli) -> None:  # noqa: ARG001 - it has changed the folder
    """Write the policy into the current folder."""
    Path("trust.json").write_text(json.dumps(POLICY), encoding="utf-8")


def token(**claims: Any) -> str:
    """Write a JWT with these claims and return its file's name."""
    values = {"iss": f"https://{HOST}", "aud": ["sts.amazonaws.com"], "sub": SUBJECT, "exp": 4102444800} | claims
    parts = [{"alg": "RS256"}, {k: v for k, v in values.items() if v is not None}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    Path("token.jwt").write_text(".".join([*encoded, "c2ln"]) + "\n", encoding="utf-8")
    return "token.jwt"


def test_allow(cli: Cli) -> None:
    """Allow comes first, then why; exit code 0."""
    done = cli(*CALL, *GOOD)

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "Allow"
    assert "Web" in done.out


def test_deny(cli: Cli) -> None:
    """Deny comes first, then the nearest statement and the first condition that failed; exit code 1."""
    done = cli(*CALL, "--context", f"{HOST}:aud=sts.amazonaws.com", "--context", f"{HOST}:sub=other")

    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[0] == "Deny"
    assert f"{HOST}:sub" in done.out


def test_without_token_and_context(cli: Cli) -> None:
    """What AWS fills and nobody gave makes the answer Depends, with what the policy expects; exit code 3."""
    done = cli(*CALL)

    assert (done.code, done.err) == (3, "")
    filled = "and AWS fills that key with a value that is not known here"
    assert done.out.splitlines() == [
        "Depends",
        done.out.splitlines()[1],
        f'depends on {HOST}:aud: StringEquals {HOST}:aud expects "sts.amazonaws.com", {filled}',
        f'depends on {HOST}:sub: StringEquals {HOST}:sub expects "{SUBJECT}", {filled}',
    ]
    assert f"may allow {CALL[6]} by {PROVIDER}; the answer depends on {HOST}:aud and {HOST}:sub." in done.out


def test_json(cli: Cli) -> None:
    """As data: decision, reason, statement; on Deny the nearest one and what failed; on Depends what it depends on."""
    allowed = json.loads(cli(*CALL, *GOOD, "-o", "json").out)
    denied = json.loads(cli(*CALL, *GOOD[:2], "--context", f"{HOST}:sub=x", "-o", "json").out)
    depends = json.loads(cli(*CALL, *GOOD[:2], "-o", "json").out)

    assert (allowed["decision"], allowed["statement"]) == ("Allow", {"index": 0, "sid": "Web"})
    assert (denied["decision"], denied["nearest"]) == ("Deny", {"index": 0, "sid": "Web"})
    assert denied["failure"]["key"] == f"{HOST}:sub"
    assert denied["failure"]["operator"] == "StringEquals"
    assert denied["failures"] == [denied["failure"]]
    assert (depends["decision"], depends["statement"]) == ("Depends", {"index": 0, "sid": "Web"})
    assert [each["key"] for each in depends["dependsOn"]] == [f"{HOST}:sub"]


def test_token(cli: Cli) -> None:
    """The token's claims fill the context, and that nobody verified it is said."""
    done = cli(*CALL, "--token", token())

    assert (done.code, done.out.splitlines()[0]) == (0, "Allow")
    assert done.err == (
        "note: the token's signature was not verified; only its claims were read\n"
        "note: the token expires at 2100-01-01T00:00:00Z\n"
    )
    assert cli(*CALL, "--token", token(aud="sts.amazonaws.com")).code == 0
    assert cli(*CALL, "--token", token(sub="system:serviceaccount:shop:other")).code == 1
    assert cli(*CALL, "--token", token(iss="https://oidc.example.com/id/2")).code == 1
    assert cli(*CALL, "--token", token(aud=None)).code == 1
    assert "has no claim exp, and STS refuses it" in cli(*CALL, "--token", token(exp=None)).err
    assert "claim exp is no time" in cli(*CALL, "--token", token(exp="tomorrow")).err
    assert "claim exp is no time" in cli(*CALL, "--token", token(exp=10**30)).err


def test_context_beats_the_token(cli: Cli) -> None:
    """What is given by hand counts before what the token says, whatever the case of the key."""
    name = token(sub="system:serviceaccount:shop:other")

    assert cli(*CALL, "--token", name, "--context", f"{HOST.upper()}:SUB={SUBJECT}").code == 0


def test_repeated_key(cli: Cli) -> None:
    """A key that is given twice has two values."""
    policy = json.loads(json.dumps(POLICY))
    policy["Statement"][0]["Action"] = ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]
    policy["Statement"][0]["Condition"] = {"ForAnyValue:StringEquals": {"aws:TagKeys": "b"}}
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    assert cli(*CALL, "--context", "aws:TagKeys=a", "--context", "aws:TagKeys=b").code == 0
    assert cli(*CALL, "--context", "aws:TagKeys=a").code == 1


def test_value_with_equals_sign(cli: Cli) -> None:
    """Only the first equals sign separates; values may be empty or have more of them."""
    policy = json.loads(json.dumps(POLICY))
    policy["Statement"][0]["Condition"] = {"StringEquals": {"sts:ExternalId": "a=b=", "aws:x": ""}}
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    assert cli(*CALL, "--context", "sts:ExternalId=a=b=", "--context", "aws:x=").code == 0


@pytest.mark.parametrize(
    ("principal", "statement", "code"),
    [
        ("arn:aws:iam::111122223333:role/a", {"AWS": "111122223333"}, 0),
        ("111122223333", {"AWS": "arn:aws:iam::111122223333:root"}, 0),
        ("arn:aws:sts::111122223333:assumed-role/a/s", {"AWS": "arn:aws:iam::111122223333:role/a"}, 0),
        ("ec2.amazonaws.com", {"Service": "ec2.amazonaws.com"}, 0),
        ("arn:aws:iam::111122223333:user/a", {"AWS": "arn:aws:iam::111122223333:role/a"}, 1),
    ],
)
def test_principals(cli: Cli, principal: str, statement: dict[str, str], code: int) -> None:
    """A caller may be a role, user, account, session, provider or service."""
    policy = {"Statement": {"Effect": "Allow", "Principal": statement, "Action": "sts:AssumeRole"}}
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    done = cli("evaluate", "--policy", "trust.json", "--principal", principal, "--action", "sts:AssumeRole")

    assert done.code == code


def test_not_understood(cli: Cli) -> None:
    """What is not understood is denied, and said."""
    policy = json.loads(json.dumps(POLICY))
    policy["Statement"][0]["Condition"] = {"StringMatches": {"aws:x": "y"}}
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    done = cli(*CALL, "--context", "aws:x=y")

    assert done.code == 1
    assert "StringMatches" in done.out
    assert "not understood" in done.out


def test_policy_from_standard_input_or_the_aws_cli(cli: Cli) -> None:
    """The policy may come from standard input, and from ``aws iam get-role``."""
    arguments = [a if a != "trust.json" else "-" for a in CALL]

    assert cli(*arguments, *GOOD, stdin=json.dumps(POLICY).encode()).code == 0
    role = {"Role": {"AssumeRolePolicyDocument": POLICY}}
    assert cli(*arguments, *GOOD, stdin=json.dumps(role).encode()).code == 0


SOURCE = "arn:aws:iam::111122223333:role/base/feed"
ROOT = {"AWS": "arn:aws:iam::111122223333:root"}
ASSUME = ("evaluate", "--policy", "root.json", "--action", "sts:AssumeRole")


def via_root(key: str = "aws:PrincipalArn", value: str = SOURCE, **statement: Any) -> None:
    """Write what ``trustedAs: AccountRoot`` becomes: trust in an account, with a condition on who it is."""
    allow = {"Effect": "Allow", "Principal": ROOT, "Action": "sts:AssumeRole"} | statement
    allow["Condition"] = {"StringEquals": {key: value}}
    Path("root.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [allow]}), encoding="utf-8")


@pytest.mark.parametrize(
    ("principal", "key", "value", "code"),
    [
        (SOURCE, "aws:PrincipalArn", SOURCE, 0),
        (SOURCE, "aws:principalarn", SOURCE, 0),
        (f"{SOURCE}-2", "aws:PrincipalArn", SOURCE, 1),
        ("arn:aws:iam::111122223333:user/ann", "aws:PrincipalArn", "arn:aws:iam::111122223333:user/ann", 0),
        (SOURCE, "aws:PrincipalAccount", "111122223333", 0),
        ("111122223333", "aws:PrincipalAccount", "111122223333", 0),
        ("111122223333", "aws:PrincipalArn", SOURCE, 3),
        ("arn:aws:sts::111122223333:assumed-role/feed/s", "aws:PrincipalAccount", "111122223333", 0),
    ],
)
def test_keys_of_the_caller(cli: Cli, principal: str, key: str, value: str, code: int) -> None:
    """AWS fills these keys from who calls, and so does this."""
    via_root(key, value)

    done = cli(*ASSUME, "--principal", principal)

    assert (done.code, done.out.splitlines()[0]) == (code, {0: "Allow", 1: "Deny", 3: "Depends"}[code])


def test_keys_that_are_given_count(cli: Cli) -> None:
    """What is given by hand beats what the principal tells, whatever the case of the key."""
    via_root()

    assert cli(*ASSUME, "--principal", f"{SOURCE}-2", "--context", f"AWS:principalARN={SOURCE}").code == 0
    assert cli(*ASSUME, "--principal", SOURCE, "--context", "aws:PrincipalArn=other").code == 1


def test_path_of_a_session(cli: Cli) -> None:
    """The ARN of a session has lost the path of its role, so that has to be given."""
    via_root()
    session = ("--principal", "arn:aws:sts::111122223333:assumed-role/feed/s")

    without, given = cli(*ASSUME, *session), cli(*ASSUME, *session, "--context", f"aws:PrincipalArn={SOURCE}")

    assert (without.code, without.err) == (3, "")
    assert f'depends on aws:PrincipalArn: StringEquals aws:PrincipalArn expects "{SOURCE}"' in without.out
    assert (given.code, given.err) == (0, "")


def test_callers_own_policy(cli: Cli) -> None:
    """Trust in an AWS account leaves the rest to the caller's own policies, and that is said."""
    via_root()

    done = cli(*ASSUME, "--principal", SOURCE)
    data = json.loads(cli(*ASSUME, "--principal", SOURCE, "-o", "json").out)

    assert "remark: the statement trusts AWS account 111122223333 as a whole" in done.out
    assert "the caller needs an identity policy that allows sts:AssumeRole on the role" in data["remarks"][0]


def test_clock(cli: Cli) -> None:
    """A condition on the time is answered by this machine's clock, which is said, or by a time that is given."""
    policy = json.loads(json.dumps(POLICY))
    policy["Statement"][0]["Condition"]["DateGreaterThan"] = {"aws:CurrentTime": "2026-01-01T00:00:00Z"}
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    now, then = cli(*CALL, *GOOD), cli(*CALL, *GOOD, "--context", "aws:CurrentTime=2025-01-01T00:00:00Z")

    assert now.code == 0
    assert now.err == (
        "note: aws:CurrentTime is this machine's clock; give --context aws:CurrentTime=TIME for another time\n"
    )
    assert (then.code, then.err) == (1, "")


LONE = "\\ud800"
"""A lone surrogate as JSON escapes it."""


@pytest.mark.parametrize("output", ["text", "json"])
def test_lone_surrogate(cli: Cli, output: str) -> None:
    """One in a policy or in a token is shown as its escape; no encoding has bytes for it."""
    text = json.dumps(POLICY).replace(SUBJECT, LONE).replace('"Web"', f'"{LONE}"')
    Path("trust.json").write_text(text, encoding="utf-8")

    done = cli(*CALL, "--token", token(sub="x\ud800"), "--output", output)

    assert done.code == 1
    assert LONE in done.out
    if output == "json":
        assert json.loads(done.out)["nearest"]["sid"] == "\ud800"


def test_long_number(cli: Cli) -> None:
    """A number of 5,000 digits is one that no comparison takes, and is shown in part."""
    policy = json.dumps(POLICY).replace('"StringEquals"', '"NumericLessThan": {"a:b": 1}, "StringEquals"')
    Path("trust.json").write_text(policy.replace("1}", "1" * 5000 + "}"), encoding="utf-8")

    done = cli(*CALL, *GOOD, "--context", "a:b=1")

    assert done.code == 1
    assert "is not a number" in done.out
    assert max(map(len, done.out.splitlines())) < 1000


def test_token_alone(cli: Cli) -> None:
    """Who calls and what follows from the token and the trust policy; as data they are named."""
    done = cli("evaluate", "--policy", "trust.json", "--token", token(), "--output", "json")

    data = json.loads(done.out)
    assert (done.code, data["decision"]) == (0, "Allow")
    assert (data["principal"], data["action"]) == (PROVIDER, "sts:AssumeRoleWithWebIdentity")
    assert "role" not in data


@pytest.mark.parametrize(
    ("issuer", "principal"),
    [
        (f"https://{HOST}", PROVIDER),
        ("https://accounts.google.com", "accounts.google.com"),
        ("https://oidc.other.example", "arn:aws:iam::444455556666:oidc-provider/oidc.other.example"),
    ],
)
def test_principal_of_the_token(cli: Cli, issuer: str, principal: str) -> None:
    """The provider is that of the issuer, in the AWS account whose providers the trust policy names."""
    done = cli("evaluate", "--policy", "trust.json", "--token", token(iss=issuer), "--output", "json")

    assert json.loads(done.out)["principal"] == principal


def test_role_says_the_account(cli: Cli) -> None:
    """With --role, or the output of get-role, the provider is looked for in the role's AWS account."""
    role = "arn:aws-cn:iam::111122223333:role/app"
    Path("role.json").write_text(json.dumps({"Role": {"Arn": role, "AssumeRolePolicyDocument": POLICY}}))

    for arguments in (("--policy", "role.json"), ("--policy", "trust.json", "--role", role)):
        done = cli("evaluate", *arguments, "--token", token(), "--output", "json")

        data = json.loads(done.out)
        assert (done.code, data["role"]) == (1, role)
        assert data["principal"] == f"arn:aws-cn:iam::111122223333:oidc-provider/{HOST}"
        assert [finding["rule"] for finding in data["findings"]] == ["ProviderOfOtherAccount"]


def test_account_that_is_not_known(cli: Cli) -> None:
    """Where nothing tells the AWS account, a word stands for it."""
    policy = {"Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:*"}}
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    done = cli("evaluate", "--policy", "trust.json", "--token", token())

    assert done.code == 1
    assert f'the caller is the federated provider "arn:aws:iam::ACCOUNT:oidc-provider/{HOST}"' in done.out


def test_several_accounts(cli: Cli) -> None:
    """Where the trust policy names providers of several AWS accounts, the role has to be said."""
    policy = json.loads(json.dumps(POLICY))
    policy["Statement"][0]["Principal"]["Federated"] = [PROVIDER, PROVIDER.replace("444455556666", "111122223333")]
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    done = cli("evaluate", "--policy", "trust.json", "--token", token())

    assert (done.code, done.out) == (2, "")
    assert "of AWS accounts 444455556666 and 111122223333; give --role" in done.err


@pytest.mark.parametrize(
    ("principal", "action"),
    [
        ({"AWS": "111122223333"}, "sts:AssumeRole"),
        ({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole"),
        ({"Federated": "arn:aws:iam::111122223333:saml-provider/corp"}, "sts:AssumeRoleWithSAML"),
        ({"Federated": "cognito-identity.amazonaws.com"}, "sts:AssumeRoleWithWebIdentity"),
    ],
)
def test_principal_of_the_document(cli: Cli, principal: dict[str, str], action: str) -> None:
    """Without a token it is the one that the trust policy allows, and the action is the one that it can call."""
    policy = {"Statement": {"Effect": "Allow", "Principal": principal, "Action": action}}
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    done = cli("evaluate", "--policy", "trust.json", "--output", "json")

    data = json.loads(done.out)
    assert (done.code, data["principal"], data["action"]) == (0, *principal.values(), action)


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "--policy", "trust.json", "--token", "TOKEN"),
        ("evaluate", "--policy", "TOKEN"),
        ("evaluate", "--policy", "trust.json", "--principal", "TOKEN"),
        ("evaluate", "--policy", "trust.json", "--action", "TOKEN"),
        ("evaluate", "--policy", "trust.json", "--role", "TOKEN"),
        ("evaluate", "--policy", "trust.json", "--context", "TOKEN"),
        ("evaluate", "--policy", "trust.json", "TOKEN"),
        ("evaluate", "--policy", "trust.json", "--output", "TOKEN"),
        ("preview", "trust", "--issuer", "TOKEN", "-f", "TOKEN"),
        ("preview", "pod", "-f", "TOKEN"),
    ],
)
def test_token_is_never_shown(cli: Cli, arguments: tuple[str, ...]) -> None:
    """A token in the wrong place is recognised, and no part of it is printed."""
    text = Path(token()).read_text(encoding="utf-8").strip()

    done = cli(*(text if each == "TOKEN" else each for each in arguments))

    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    for part in text.split("."):
        assert part not in done.out + done.err
        assert part[:20] not in done.out + done.err or len(part) < 20


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--policy: give the trust policy, or --live with --role"),
        (("--live",), "--live: say which role is to be read with --role"),
        (("--live", "--policy", "trust.json"), "--live: the trust policy is either in a file or read in AWS"),
        (("--policy", "-", "--token", "-"), "standard input can be read only once"),
        (("--policy", "trust.json", "--role", "app"), "--role: 'app' is not an ARN"),
    ],
)
def test_options_that_do_not_fit(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    """One sentence, and exit code 2."""
    done = cli("evaluate", *arguments)

    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_findings(cli: Cli) -> None:
    """What the rules say of the deciding statement is in the answer; of other statements it is not."""
    policy = json.loads(json.dumps(POLICY))
    del policy["Statement"][0]["Condition"]["StringEquals"][f"{HOST}:aud"]
    other = {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
    policy["Statement"].append(other)
    Path("trust.json").write_text(json.dumps(policy), encoding="utf-8")

    done = cli("evaluate", "--policy", "trust.json", "--token", token())
    data = json.loads(cli("evaluate", "--policy", "trust.json", "--token", token(), "-o", "json").out)

    assert "risky (TB229 OidcWithoutAudience): statement 1" in done.out
    assert "AccountWithoutCondition" not in done.out
    assert [(each["rule"], each["statement"]) for each in data["findings"]] == [("OidcWithoutAudience", 1)]
