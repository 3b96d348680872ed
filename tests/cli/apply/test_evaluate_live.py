"""``trustbind evaluate --live`` against the local AWS."""

from __future__ import annotations

from cli.apply.shell import Shell
from trustbind_cli.demo.fixtures import ACCOUNT_A, OPERATOR_ROLE, TARGET_ROLE


def test_role_is_read_in_aws(shell: Shell) -> None:
    """The trust policy is read with the user's own credentials, and nothing is written."""
    root = f"arn:aws:iam::{ACCOUNT_A}:root"

    allowed = shell.trustbind("evaluate", "--live", "--role", OPERATOR_ROLE, "--principal", root)
    denied = shell.trustbind("evaluate", "--live", "--role", OPERATOR_ROLE, "--principal", "ec2.amazonaws.com")

    assert (allowed.code, allowed.out.splitlines()[0]) == (0, "Allow"), allowed
    assert (denied.code, denied.out.splitlines()[0]) == (1, "Deny"), denied
    assert shell.writes() == []


def test_role_that_is_absent(shell: Shell) -> None:
    """A role that does not exist gives no session: exit code 1, and a sentence."""
    done = shell.trustbind("evaluate", "--live", "--role", f"{OPERATOR_ROLE}-2", "--principal", "ec2.amazonaws.com")

    assert (done.code, done.out) == (1, "")
    assert "NoSuchEntity" in done.err
    assert len(done.err.splitlines()) == 1


def test_role_that_cannot_be_seen(shell: Shell) -> None:
    """Without credentials, or with those of another AWS account, the answer is not known: exit code 3."""
    elsewhere = shell.trustbind("evaluate", "--live", "--role", TARGET_ROLE, "--principal", "ec2.amazonaws.com")
    anonymous = shell.trustbind(
        "evaluate", "--live", "--role", OPERATOR_ROLE, "--principal", "ec2.amazonaws.com", anonymous=True
    )

    assert (elsewhere.code, elsewhere.out) == (3, "")
    assert f"your credentials are for AWS account {ACCOUNT_A}, and {TARGET_ROLE} is in" in elsewhere.err
    assert (anonymous.code, anonymous.out) == (3, "")
    assert "there are no AWS credentials: sign in, or set AWS_PROFILE" in anonymous.err
