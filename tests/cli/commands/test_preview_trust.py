"""``trustbind preview trust``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from support.commands import ROLE, Cli, account, binding, written

ISSUER = "https://oidc.example.com/id/1"
PROVIDER = "arn:aws:iam::444455556666:oidc-provider/oidc.example.com/id/1"
BASE = "arn:aws:iam::111122223333:role/base"
OPS = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
ARGUMENTS = ("preview", "trust", "-f", "b.yaml", "--role-arn", ROLE, "--issuer", ISSUER)


def current(*statements: dict[str, Any], name: str = "current.json") -> str:
    """Write a trust document and return its file's name."""
    Path(name).write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}), encoding="utf-8")
    return name


def test_from_nothing(cli: Cli) -> None:
    """The document that one binding leads to, from an empty one."""
    written("b.yaml", binding(namespace="shop"))

    done = cli(*ARGUMENTS)

    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    (statement,) = document["Statement"]
    assert document["Version"] == "2012-10-17"
    assert statement["Principal"] == {"Federated": PROVIDER}
    assert statement["Condition"] == {
        "StringEquals": {
            "oidc.example.com/id/1:aud": "sts.amazonaws.com",
            "oidc.example.com/id/1:sub": ["system:serviceaccount:shop:checkout"],
        }
    }


def test_default_namespace(cli: Cli) -> None:
    """A binding without a namespace is in default."""
    written("b.yaml", binding())

    assert "system:serviceaccount:default:checkout" in cli(*ARGUMENTS).out


def test_current_is_kept(cli: Cli) -> None:
    """What others wrote stays, in front."""
    written("b.yaml", binding())

    done = cli(*ARGUMENTS, "--current", current(OPS))

    first, second = json.loads(done.out)["Statement"]
    assert first == OPS
    assert second["Sid"].startswith("Trustbind")


@pytest.mark.parametrize("encoded", [True, False])
def test_current_from_the_aws_cli(cli: Cli, encoded: bool) -> None:
    """The output of ``aws iam get-role`` will do as it is, its document decoded or not."""
    document: Any = {"Version": "2012-10-17", "Statement": [OPS]}
    role = {"RoleName": "checkout", "AssumeRolePolicyDocument": quote(json.dumps(document)) if encoded else document}
    Path("role.json").write_text(json.dumps({"Role": role}), encoding="utf-8")
    written("b.yaml", binding("b", "shop"))

    done = cli(*ARGUMENTS, "--current", "role.json")

    assert json.loads(done.out)["Statement"][0] == OPS


def test_current_from_standard_input(cli: Cli) -> None:
    """The current document may come from standard input."""
    written("b.yaml", binding())

    done = cli(*ARGUMENTS, "--current", "-", stdin=json.dumps({"Statement": OPS}).encode())

    assert json.loads(done.out)["Statement"][0] == OPS


def test_applied_again(cli: Cli) -> None:
    """The printed document, taken as the current one, is printed unchanged."""
    written("b.yaml", binding(), binding("c", audience="x", profile="x"))
    first = cli(*ARGUMENTS, "--current", current(OPS)).out
    Path("then.json").write_text(first, encoding="utf-8")

    assert cli(*ARGUMENTS, "--current", "then.json").out == first
    assert "nothing to do" in cli(*ARGUMENTS, "--current", "then.json", "--diff").out


def test_selector_needs_the_accounts(cli: Cli) -> None:
    """A selector selects among the accounts of the files, by their labels."""
    selected, other = account("one"), account("two")
    selected["metadata"]["labels"] = {"aws": "yes"}
    wish = binding()
    wish["spec"] = {"roleArn": ROLE, "serviceAccountSelector": {"matchLabels": {"aws": "yes"}}}
    written("b.yaml", wish, selected, other)

    out = cli(*ARGUMENTS).out

    assert "system:serviceaccount:default:one" in out
    assert "two" not in out


def test_both_ends_of_a_chain(cli: Cli) -> None:
    """For the source role the accounts are let in, for the target role the source role."""
    written("b.yaml", binding(method="AssumeRole", source={"roleArn": BASE}, externalId="ab"))

    target = json.loads(cli(*ARGUMENTS).out)["Statement"]
    source = json.loads(cli("preview", "trust", "-f", "b.yaml", "--role-arn", BASE, "--issuer", ISSUER).out)

    assert target[0]["Principal"] == {"AWS": BASE}
    assert target[0]["Condition"] == {"StringEquals": {"sts:ExternalId": "ab"}}
    assert "system:serviceaccount:default:checkout" in json.dumps(source)


def test_role_that_no_binding_names(cli: Cli) -> None:
    """It is said when no binding is about the role, which is easily mistyped; what it owned is removed."""
    written("b.yaml", binding(roleArn="arn:aws:iam::444455556666:role/other"))

    done = cli(*ARGUMENTS, "--current", current(OPS))

    assert done.code == 1
    assert f"no RoleBinding in the files names {ROLE}" in done.err
    assert "no metadata.namespace, so default is taken: RoleBinding b" in done.err
    assert json.loads(done.out)["Statement"] == [OPS]


def test_diff(cli: Cli) -> None:
    """A readable difference instead: what happens to which statement, the lines, and the size."""
    written("b.yaml", binding())

    done = cli(*ARGUMENTS, "--current", current(OPS), "--diff")

    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == ROLE
    assert lines[1].startswith("  add statement Trustbind")
    assert "--- trust policy (now)" in lines
    assert any(line.startswith("+") and "sts:AssumeRoleWithWebIdentity" in line for line in lines)
    assert not any(line.startswith("-") and "Ops" in line for line in lines)
    assert any("of 2048 characters" in line for line in lines)


def test_yaml(cli: Cli) -> None:
    """The document can be printed as YAML."""
    written("b.yaml", binding())

    as_yaml, as_json = cli(*ARGUMENTS, "-o", "yaml").out, cli(*ARGUMENTS, "-o", "json").out

    assert yaml.safe_load(as_yaml) == json.loads(as_json)


@pytest.mark.parametrize("diff", [[], ["--diff"]])
def test_too_large(cli: Cli, diff: list[str]) -> None:
    """Exit code 3 and a sentence with binding, sizes and what to do, when it does not fit."""
    written("b.yaml", binding("large", serviceAccountNames=[f"account-number-{i}" for i in range(50)]))

    done = cli(*ARGUMENTS, "--current", current(OPS), *diff)

    assert done.code == 1
    said = done.out if diff else done.err
    assert "refused (TrustPolicyFull): default/large: with it the trust policy" in said
    assert "the AWS account allows 2048" in said
    assert diff or json.loads(done.out)["Statement"] == [OPS]


def test_limit(cli: Cli) -> None:
    """The limit can be given, in characters."""
    written("b.yaml", binding("large", serviceAccountNames=[f"account-number-{i}" for i in range(50)]))

    assert cli(*ARGUMENTS, "--limit", "4096").code == 0
    assert cli(*ARGUMENTS, "--limit", "100").code == 1


def test_stale_principal(cli: Cli) -> None:
    """Exit code 3 and the statement's name, when IAM would refuse any write."""
    written("b.yaml", binding())

    done = cli(*ARGUMENTS, "--current", current(OPS | {"Principal": {"AWS": "AROAEXAMPLEID1234567A"}}))

    assert done.code == 1
    assert 'refused (StalePrincipal): statement 1 (Sid "Ops")' in done.err


GITHUB = "token.actions.githubusercontent.com"
UNSCOPED = {
    "Sid": "Deploy",
    "Effect": "Allow",
    "Principal": {"Federated": f"arn:aws:iam::444455556666:oidc-provider/{GITHUB}"},
    "Action": "sts:AssumeRoleWithWebIdentity",
}


def test_foreign_statement_that_iam_refuses_by_now(cli: Cli) -> None:
    """Exit code 3; the sentence names the statement and the condition that it lacks, once."""
    written("b.yaml", binding())

    done = cli(*ARGUMENTS, "--current", current(OPS, UNSCOPED))

    assert done.code == 1
    assert 'refused (ForeignStatementRefused): statement 2 (Sid "Deploy")' in done.err
    assert done.err.count(f'add a condition on "{GITHUB}:sub"') == 1


@pytest.mark.parametrize("diff", [[], ["--diff"]])
def test_document_that_iam_refuses(cli: Cli, diff: list[str]) -> None:
    """Exit code 3 and a warning that names rule, statement and what to do, where there is something to write."""
    written("b.yaml", binding())
    odd = OPS | {"Principal": {"AWS": "arn:aws:sts::111122223333:role/ci"}}

    done = cli(*ARGUMENTS, "--current", current(odd), *diff)

    assert done.code == 1
    said = done.out if diff else done.err
    assert (
        'warning: refused (TB215 InvalidPrincipal): statement 1 (Sid "Ops") names "arn:aws:sts::111122223333:role/ci"'
        in said
    )
    assert "write arn:aws:iam::111122223333:role/ci" in said


def test_statement_that_never_applies(cli: Cli) -> None:
    """A warning, and exit code 0, since IAM takes it."""
    written("b.yaml", binding("b", "shop"))
    dead = UNSCOPED | {"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/1"}}

    done = cli(*ARGUMENTS, "--current", current(OPS, dead))

    assert done.code == 0
    assert done.err.startswith(
        'warning: dead (TB219 ProviderOfOtherAccount): statement 2 (Sid "Deploy") names an OIDC provider'
    )
    assert done.err.count("warning") == 1


@pytest.mark.parametrize(("version", "code"), [("2008-10-17", 1), ("2012-10-17", 0)])
def test_policy_variable_in_a_document_of_the_old_version(cli: Cli, version: str, code: int) -> None:
    """IAM takes it as text there, so nobody would get the role."""
    wanted = {"operator": "StringLike", "key": "sts:RoleSessionName", "values": ["${aws:RequestTag/team}-*"]}
    written("b.yaml", binding(conditions=[wanted]))
    Path("current.json").write_text(json.dumps({"Version": version, "Statement": [OPS]}), encoding="utf-8")

    done = cli(*ARGUMENTS, "--current", "current.json")

    assert done.code == code
    assert ("write 2012-10-17" in done.err) is (code == 1)


def test_permissions_policy(cli: Cli) -> None:
    """It is refused, and the sentence says what it is and where the trust policy is found."""
    written("b.yaml", binding())

    done = cli(*ARGUMENTS, "--current", current({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}))

    assert done.code == 2
    assert "current.json: not a trust policy: it is a permissions policy" in done.err
    assert "AssumeRolePolicyDocument" in done.err


def test_no_emoji(cli: Cli) -> None:
    """What stands between two colons stays what it is."""
    entry = {"issuer": "https://token.actions.githubusercontent.com", "subjects": ["repo:fire:x", "*:bank:y"]}
    written("b.yaml", binding(federatedSubjects=[entry]))

    done = cli(*ARGUMENTS, "--diff")

    assert "repo:fire:x" in done.out
    assert "*:bank:y" in done.out


@pytest.mark.parametrize(("arn", "code"), [(ROLE, 0), (f"{ROLE}-2", 2)])
def test_current_of_another_role(cli: Cli, arn: str, code: int) -> None:
    """What ``aws iam get-role`` printed of another role is refused."""
    role = {"Arn": arn, "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [OPS]}}
    Path("role.json").write_text(json.dumps({"Role": role}), encoding="utf-8")
    written("b.yaml", binding("b", "shop"))

    done = cli(*ARGUMENTS, "--current", "role.json")

    assert done.code == code
    assert done.err == (f"trustbind: role.json: it holds the role {arn}, and --role-arn is {ROLE}\n" if code else "")
