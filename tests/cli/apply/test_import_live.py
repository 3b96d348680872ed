"""``trustbind import --live`` against the local AWS."""

from __future__ import annotations

from typing import Any

import yaml

from cli.apply.shell import Shell, account
from support.commands import written
from trustbind_cli.demo.fixtures import ACCOUNT_B, ISSUER, TARGET_ROLE

HOST = ISSUER.removeprefix("https://")


def trusting(subject: str) -> dict[str, Any]:
    """Return a statement that trusts one service account."""
    return {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT_B}:oidc-provider/{HOST}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com", f"{HOST}:sub": subject}},
    }


def test_roles_of_aws_accounts_are_listed(shell: Shell) -> None:
    """The roles of the own AWS account and of those with a manager role are read, and nothing is written."""
    shell.allow_listing()
    shell.provider(ISSUER)
    shell.add(trusting("system:serviceaccount:team-a:reader"))
    file = written(str(shell.folder / "accounts.yaml"), account())

    done = shell.trustbind("import", "--live", "--issuer", ISSUER, "-f", file)

    bindings = [each for each in yaml.safe_load_all(done.out) if each["kind"] == "RoleBinding"]
    assert [(b["metadata"]["namespace"], b["spec"]["roleArn"]) for b in bindings] == [("team-a", TARGET_ROLE)], done
    assert done.code == 0
    assert "AWSAccount" not in done.out  # the files have it
    assert shell.writes() == []


def test_right_is_missing(shell: Shell) -> None:
    """Where roles may not be listed, AWS's answer names the action."""
    file = written(str(shell.folder / "accounts.yaml"), account())

    done = shell.trustbind("import", "--live", "--issuer", ISSUER, "-f", file)

    assert (done.code, done.out) == (1, "")
    assert "iam:ListRoles" in done.err
    assert len(done.err.splitlines()) == 1


def test_without_credentials(shell: Shell) -> None:
    """One sentence says that there are no credentials."""
    done = shell.trustbind("import", "--live", "--issuer", ISSUER, anonymous=True)

    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        "trustbind: there are no AWS credentials: sign in, or set AWS_PROFILE or the AWS_* variables"
    ]
