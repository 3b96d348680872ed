"""``trustbind revoke-sessions`` on a local AWS: it shows first, and writes what AWS's console would."""

from __future__ import annotations

from typing import Any, Final

import pytest
import yaml

from cli.apply.shell import Shell, account
from support.schemas import checked
from trustbind.identity.arns import RoleArn
from trustbind.policy.session_revocation import POLICY_NAME, revoked_before
from trustbind_cli.commands.revoke_sessions.run import _Revoked, _summary
from trustbind_cli.demo.fixtures import ACCOUNT_A, TARGET_ROLE

DONE, FAILED, WRONG, UNKNOWN = 0, 1, 2, 3
OWN: Final = f"arn:aws:iam::{ACCOUNT_A}:role/shop"


def revoke(shell: Shell, *arguments: str) -> Any:
    """Run ``trustbind revoke-sessions`` with the AWSAccount of account B."""
    file = shell.folder / "accounts.yaml"
    file.write_text(yaml.safe_dump(account()), encoding="utf-8")
    return shell.trustbind("revoke-sessions", "-f", str(file), *arguments)


def test_dry_run_first(shell: Shell) -> None:
    """Without --yes the policy is printed and nothing is written."""
    shell.role(OWN)
    done = revoke(shell, OWN)

    assert done.code == DONE, done.err
    assert f"{OWN}\n  would revoke all sessions that began before 20" in done.out
    assert f"inline policy {POLICY_NAME}:\n" in done.out
    assert '"aws:TokenIssueTime"' in done.out
    assert "nothing was written, add --yes" in done.err
    assert shell.inline_policies(OWN) == {}


def test_revoked(shell: Shell) -> None:
    """With --yes the policy is there; a later run moves its moment on."""
    shell.role(OWN)
    done = revoke(shell, OWN, "--yes")
    assert done.code == DONE, done.err
    assert "sessions of 1 role revoked; create pods anew" in done.err

    first = revoked_before(shell.inline_policies(OWN)[POLICY_NAME])
    again = checked("revoke-sessions", revoke(shell, OWN, "--yes", "-o", "json").out)
    second = revoked_before(shell.inline_policies(OWN)[POLICY_NAME])
    assert first is not None
    assert second is not None
    assert second > first
    assert again["roles"] == [
        {
            "roleArn": OWN,
            "revokedBefore": first.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "written": True,
            "problem": None,
        }
    ]


def test_policy_of_somebody_else(shell: Shell) -> None:
    """A policy of that name that says something else is not overwritten; other roles go on."""
    theirs = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    shell.role(OWN, inlinePolicies={POLICY_NAME: theirs})
    other = shell.role(f"{OWN}-2")
    done = revoke(shell, OWN, other, "--yes")

    assert done.code == FAILED
    assert "says something else than that sessions are revoked; rename or remove it" in done.err
    assert shell.inline_policies(OWN) == {POLICY_NAME: theirs}
    assert POLICY_NAME in shell.inline_policies(other)
    assert "sessions of 1 of 2 roles revoked; create pods anew" in done.err
    assert "1 of 2 roles read; nothing was written" in revoke(shell, OWN, other).err
    alone = revoke(shell, OWN, "--yes")
    assert alone.err.endswith("trustbind: no role could be read or written, so no sessions were revoked\n")


def test_summary_of_what_was_revoked_already() -> None:
    """Where a later run was first, nothing is written, and no pod has to be created anew."""
    done = [_Revoked(RoleArn.parse(OWN))]

    assert _summary(done, writes=True) == "sessions of 1 role were revoked already; nothing was written"


@pytest.mark.parametrize("arguments", [(), ("--yes",)])
def test_nobody(shell: Shell, arguments: tuple[str, ...]) -> None:
    """Without credentials it says so once, and that nothing could be seen."""
    done = shell.trustbind("revoke-sessions", OWN, f"{OWN}-2", *arguments, anonymous=True)

    assert (done.code, done.out) == (UNKNOWN, "")
    assert done.err == "trustbind: there are no AWS credentials: sign in, or set AWS_PROFILE or the AWS_* variables\n"


def test_role_of_another_account(shell: Shell) -> None:
    """A role of another AWS account is reached by its AWSAccount; without one it is refused."""
    refused = shell.trustbind("revoke-sessions", TARGET_ROLE)
    assert refused.code == WRONG
    assert "and the files hold no AWSAccount for it" in refused.err
    denied = revoke(shell, TARGET_ROLE)
    assert denied.code == FAILED
    assert "iam:GetRolePolicy" in denied.err, "the demo's manager role may not"


def test_wrong_roles(shell: Shell) -> None:
    """What is no role, not there, or service-linked, is answered in one sentence."""
    wrong = revoke(shell, "shop")
    assert (wrong.code, wrong.err.startswith("trustbind: ROLE: ")) == (WRONG, True)
    absent = revoke(shell, f"{OWN}-absent")
    assert absent.code == FAILED
    assert "cannot be found" in absent.err
    linked = revoke(shell, f"arn:aws:iam::{ACCOUNT_A}:role/aws-service-role/eks.amazonaws.com/x")
    assert (linked.code, "service-linked" in linked.err) == (WRONG, True)
