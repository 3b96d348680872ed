"""``trustbind apply`` on chains: opened from the far end, and not at all where that end stays closed."""

from __future__ import annotations

import json
from typing import Any, Final

from cli.apply.shell import Shell, account, binding, grant, is_ours
from trustbind_cli.demo.fixtures import ACCOUNT_A, ACCOUNT_B, TARGET_ROLE

OWN_ROLE: Final = f"arn:aws:iam::{ACCOUNT_A}:role/own"
OVER: Final[dict[str, Any]] = {"method": "AssumeRole", "source": {"roleArn": OWN_ROLE}, "externalId": "a-1"}
READER: Final = ["system:serviceaccount:team-a:reader"]
DONE, FAILED = 0, 1


def policies(shell: Shell) -> list[str]:
    """Return the writes of the source role's permission so far."""
    return [call.operation for call in shell.aws.calls() if call.operation in {"PutRolePolicy", "DeleteRolePolicy"}]


def test_chain(shell: Shell) -> None:
    """A chain is written from its far end, with the source role's permission; without it both ends are closed."""
    shell.role(OWN_ROLE)
    over: dict[str, Any] = {"method": "AssumeRole", "source": {"roleArn": OWN_ROLE}, "externalId": "a-1"}

    planned = shell.apply("--dry-run", objects=(binding("b", **over), account()))
    assert f"allow it to assume (inline policy): {TARGET_ROLE}" in planned.out
    done = shell.apply("--yes", objects=(binding("b", **over), account()))

    assert done.code == DONE, done.err
    roles = [call.resource for call in shell.aws.calls(operation="UpdateAssumeRolePolicy")]
    assert roles == ["s3-reader", OWN_ROLE.rpartition("/")[2]]
    assert shell.subjects(OWN_ROLE) == ["system:serviceaccount:team-a:reader"]
    again = shell.apply("--dry-run", objects=(binding("b", **over), account()))
    assert again.out.count("nothing to do") == 2

    shell.apply("--yes", "--role-arn", OWN_ROLE, "--role-arn", TARGET_ROLE, objects=(account(),))
    assert shell.subjects(OWN_ROLE) == []
    assert not any(is_ours(s) for s in shell.statements())


def test_far_end_is_missing(shell: Shell) -> None:
    """A target role that cannot be read keeps the source role from being opened: trust and permission."""
    shell.role(OWN_ROLE)
    gone = f"arn:aws:iam::{ACCOUNT_B}:role/team-a/gone"

    done = shell.apply("--yes", objects=(binding("feed", gone, **OVER), account()))

    assert done.code == FAILED
    assert f"  not yet: team-a/feed waits for {gone}\n" in done.out
    assert "nothing is written" in done.out
    assert policies(shell) == []
    assert shell.writes() == []


def test_far_end_cannot_be_written(shell: Shell) -> None:
    """A target role whose write fails keeps the source role from being opened, though that was planned."""
    shell.role(OWN_ROLE)
    shell.aws.deny(ACCOUNT_B, ["UpdateAssumeRolePolicy"])

    done = shell.apply("--yes", objects=(binding("feed", **OVER), account()))

    assert done.code == FAILED
    assert f"{OWN_ROLE}: not yet: team-a/feed waits for {TARGET_ROLE}\n" in done.err
    assert f"{OWN_ROLE}: done" not in done.err
    assert policies(shell) == []
    assert shell.subjects(OWN_ROLE) == []

    shell.aws.clear_faults()
    assert shell.apply("--yes", objects=(binding("feed", **OVER), account())).code == DONE
    assert shell.subjects(OWN_ROLE) == READER


def test_others_of_the_source_role_go_on(shell: Shell) -> None:
    """What does not wait is written to the source role; data says what waits."""
    shell.role(OWN_ROLE)
    shell.aws.deny(ACCOUNT_B, ["UpdateAssumeRolePolicy"])
    plain = binding("plain", OWN_ROLE, namespace="team-b")

    done = shell.apply("--yes", "-o", "json", objects=(binding("feed", **OVER), plain, account()))

    source = next(entry for entry in json.loads(done.out) if entry["roleArn"] == OWN_ROLE)
    assert done.code == FAILED
    assert source["written"] == 1
    assert source["notYet"] == [f"team-a/feed waits for {TARGET_ROLE}"]
    assert shell.subjects(OWN_ROLE) == ["system:serviceaccount:team-b:reader"]
    assert policies(shell) == []


def test_far_end_is_full(shell: Shell) -> None:
    """Nor is the source role opened where the target role has no room; a chain that fits is."""
    shell.role(OWN_ROLE)
    small = account(trustPolicyLimit=200)

    done = shell.apply("--yes", objects=(binding("feed", **OVER), small))

    assert done.code == FAILED
    assert "refused (TrustPolicyFull): team-a/feed" in done.out
    assert f"not yet: team-a/feed waits for {TARGET_ROLE}" in done.out
    assert shell.writes() == []
    assert policies(shell) == []


def test_far_end_is_observed(shell: Shell) -> None:
    """Nor where the target role's account is only observed."""
    shell.role(OWN_ROLE)

    done = shell.apply("--yes", objects=(binding("feed", **OVER), account(driftPolicy="Observe")))

    assert done.code == FAILED
    assert f"not yet: team-a/feed waits for {TARGET_ROLE}" in done.out
    assert shell.writes() == []


def test_what_stands_stays(shell: Shell) -> None:
    """A far end that cannot be looked at for once takes nothing back at the source role."""
    shell.role(OWN_ROLE)
    objects = (binding("feed", **OVER), account())
    shell.apply("--yes", objects=objects)
    shell.aws.reset_calls()
    shell.aws.unreachable(ACCOUNT_B)

    done = shell.apply("--yes", objects=objects, env={"AWS_MAX_ATTEMPTS": "1"})

    shell.aws.clear_faults()
    assert done.code == FAILED
    assert "remove statement" not in done.out
    assert policies(shell) == []
    assert shell.subjects(OWN_ROLE) == READER


def test_no_consent_at_the_far_end(shell: Shell) -> None:
    """A chain that the target role refuses is refused at the source role, too, and told there."""
    shell.role(OWN_ROLE)

    done = shell.apply("--yes", objects=(binding("feed", **OVER), account(requireRoleConsent=True)))

    assert done.code == FAILED
    assert done.out.count("refused (NoRoleConsent): team-a/feed: ") == 2
    assert "nothing to do" not in done.out
    assert shell.writes() == []


def test_not_granted(shell: Shell) -> None:
    """A chain that no grant covers is refused at both roles, and told at both."""
    shell.role(OWN_ROLE)

    done = shell.apply("--yes", objects=(binding("feed", **OVER), account(), grant("team-a", TARGET_ROLE)))

    assert done.code == FAILED
    assert done.out.count("refused (NotGranted): team-a/feed: ") == 2
    assert "nothing to do" not in done.out
    assert shell.writes() == []


def test_chain_of_chains(shell: Shell) -> None:
    """Where the target of one chain is the source of another, the farthest end comes first."""
    far = shell.role(f"arn:aws:iam::{ACCOUNT_A}:role/zz-far")
    middle = shell.role(f"arn:aws:iam::{ACCOUNT_A}:role/mm-middle")
    near = shell.role(f"arn:aws:iam::{ACCOUNT_A}:role/aa-near")
    one = binding("one", middle, method="AssumeRole", source={"roleArn": near})
    two = binding("two", far, method="AssumeRole", source={"roleArn": middle}, profile="far")

    done = shell.apply("--yes", objects=(one, two))

    assert done.code == DONE, done.err
    roles = [call.resource for call in shell.aws.calls(operation="UpdateAssumeRolePolicy")]
    assert roles == ["zz-far", "mm-middle", "aa-near"]


def test_circle(shell: Shell) -> None:
    """Chains in a circle have no far end; both are open in the end, each source role after its target."""
    one = shell.role(f"arn:aws:iam::{ACCOUNT_A}:role/one")
    two = shell.role(f"arn:aws:iam::{ACCOUNT_A}:role/two")
    objects = (
        binding("there", two, method="AssumeRole", source={"roleArn": one}),
        binding("back", one, method="AssumeRole", source={"roleArn": two}, profile="back"),
    )

    done = shell.apply("--yes", objects=objects)

    assert (done.code, "not yet" in done.out + done.err) == (DONE, False), done
    assert (shell.subjects(one), shell.subjects(two)) == (READER, READER)
    assert (shell.source_targets(one), shell.source_targets(two)) == ([two], [one])
    assert shell.apply("--dry-run", objects=objects).out.count("nothing to do") == 2


def test_changed_chain_that_cannot_be_written(shell: Shell) -> None:
    """Where the far end cannot be changed, the source role keeps what stands, and lets nobody new in."""
    shell.role(OWN_ROLE)
    assert shell.apply("--yes", objects=(binding("feed", **OVER), account())).code == DONE
    shell.aws.deny(ACCOUNT_B, ["UpdateAssumeRolePolicy"])
    changed = binding("feed", **OVER | {"externalId": "a-2", "serviceAccountNames": ["reader", "writer"]})

    done = shell.apply("--yes", objects=(changed, account()))

    shell.aws.clear_faults()
    assert done.code == FAILED
    assert f"{OWN_ROLE}: not yet: team-a/feed waits for {TARGET_ROLE}\n" in done.err
    assert shell.subjects(OWN_ROLE) == READER
    assert shell.source_targets(OWN_ROLE) == [TARGET_ROLE]


def test_refused_chain(shell: Shell) -> None:
    """A chain whose grant is gone is revoked from the near end; what another chain has at the source role stays."""
    shell.role(OWN_ROLE)
    other = shell.role(f"arn:aws:iam::{ACCOUNT_B}:role/team-a/other")
    second = binding("second", other, **OVER, profile="second")
    alone = binding("writer", other, **OVER, serviceAccountNames=["writer"], profile="writer")
    shell.apply("--yes", objects=(binding("feed", **OVER), second, alone, account()))
    assert shell.subjects(OWN_ROLE) == [*READER, "system:serviceaccount:team-a:writer"]
    assert shell.source_targets(OWN_ROLE) == sorted([TARGET_ROLE, other])
    shell.aws.reset_calls()

    done = shell.apply(
        "--yes", objects=(binding("feed", **OVER), second, alone, account(), grant("team-a", OWN_ROLE, TARGET_ROLE))
    )

    roles = [call.resource for call in shell.aws.calls(operation="UpdateAssumeRolePolicy")]
    assert done.code == FAILED
    assert "not yet" not in done.out + done.err
    assert roles == ["own", "other"]
    assert shell.subjects(OWN_ROLE) == READER
    assert shell.source_targets(OWN_ROLE) == [TARGET_ROLE]
    assert not any(is_ours(s) for s in shell.statements(other))


def test_refused_chain_that_was_never_open(shell: Shell) -> None:
    """A refused chain gets nothing at its target role because another binding has its account at the source role."""
    shell.role(OWN_ROLE)
    before = shell.statements()
    plain = binding("plain", OWN_ROLE, profile="plain")

    done = shell.apply("--yes", objects=(binding("feed", **OVER), plain, account(), grant("team-a", OWN_ROLE)))

    assert done.code == FAILED
    assert shell.subjects(OWN_ROLE) == READER
    assert shell.statements() == before
    assert shell.source_targets(OWN_ROLE) == []
