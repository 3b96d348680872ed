"""``trustbind apply`` while AWS is busy, others write, or the user leaves."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final

import pytest

from cli.apply.shell import Shell, account, asked, binding, is_ours
from trustbind_cli.demo.fixtures import ACCOUNT_B, ISSUER, TARGET_ROLE
from trustbind_localaws.protocol.query import AwsFailure

READER: Final = ["system:serviceaccount:team-a:reader"]
DONE, FAILED, STOPPED = 0, 1, 130


def foreign(sid: str) -> dict[str, Any]:
    """Return a foreign statement."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


def reads_and_writes(shell: Shell) -> list[str]:
    """Return the calls about trust policies."""
    names = {"GetRole", "UpdateAssumeRolePolicy"}
    calls = [call for call in shell.aws.calls() if call.operation in names]
    return [f"{call.operation} {call.code}".rstrip() for call in calls]


def test_throttled_write(shell: Shell) -> None:
    """A throttled write goes back to the read."""
    shell.provider(ISSUER)
    shell.aws.throttle(ACCOUNT_B, ["UpdateAssumeRolePolicy"], count=2)

    done = shell.apply("--yes", objects=(binding("b"), account()))

    assert (done.code, done.err) == (DONE, f"{TARGET_ROLE}: written and read back\n")
    assert reads_and_writes(shell) == [
        "GetRole",  # the plan
        *("GetRole", "UpdateAssumeRolePolicy Throttling") * 2,
        *("GetRole", "UpdateAssumeRolePolicy"),
        "GetRole",  # read back
    ]
    assert shell.subjects() == READER


def test_written_between_the_tries(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign statement that is written before a throttled write is tried again stays."""
    shell.provider(ISSUER)
    before = shell.statements()
    faults = shell.aws._state.faults  # no public fault does something at a call's time
    check = faults.check

    def throttled_once(accounts: Sequence[str], operation: str, caller: str, service: str) -> None:
        if operation == "UpdateAssumeRolePolicy":
            monkeypatch.setattr(faults, "check", check)
            shell.edit(TARGET_ROLE, *before, foreign("Late"))
            raise AwsFailure("Throttling", "Rate exceeded")
        check(accounts, operation, caller, service)

    monkeypatch.setattr(faults, "check", throttled_once)
    done = shell.apply("--yes", objects=(binding("b"), account()))

    assert (done.code, done.err) == (DONE, f"{TARGET_ROLE}: written and read back\n")
    assert [s for s in shell.statements() if not is_ours(s)] == [*before, foreign("Late")]
    assert shell.subjects() == READER


def test_provider_that_cannot_be_made(shell: Shell) -> None:
    """Where the OIDC provider cannot be made, nobody new gets in, what stands stays, and others are revoked."""
    shell.apply("--yes", objects=(binding("b"), binding("gone", namespace="team-b"), account()))
    assert len(shell.subjects()) == 2
    shell.delete_provider()
    shell.aws.deny(ACCOUNT_B, ["CreateOpenIDConnectProvider"])
    objects = (binding("b"), binding("new", namespace="team-c"), account())

    done = shell.apply("--yes", objects=objects)

    assert done.code == FAILED
    assert "CreateOpenIDConnectProvider" in done.err
    assert shell.subjects() == READER


def test_provider_of_others(shell: Shell) -> None:
    """The same where the OIDC provider is not trustbind's to make."""
    by_hand = account(oidcProvider={"manage": False})
    shell.apply("--yes", objects=(binding("b"), account()))
    shell.delete_provider()

    done = shell.apply("--yes", objects=(binding("b"), binding("new", namespace="team-c"), by_hand))

    assert done.code == FAILED
    assert done.out.count("refused (ProviderMissing): ") == 2
    assert shell.subjects() == READER


def test_interrupted_question(shell: Shell) -> None:
    """Ctrl-C at the question writes nothing."""
    done, _ = shell.interrupt((binding("b"), account()), asked)

    assert (done.code, "Traceback" in done.err) == (STOPPED, False), done.err
    assert shell.writes() == []


def test_interrupted_call(shell: Shell) -> None:
    """Ctrl-C during a call that is not answered does not wait for its time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        calls: list[socket.socket] = []
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done, seconds = shell.interrupt((binding("b"), account()), lambda _: calls.append(silent.accept()[0]), url)
        for call in calls:
            call.close()

    assert done.code == STOPPED
    assert done.err == "trustbind: stopped; a call that was under way may still take effect\n"
    assert seconds < 3
