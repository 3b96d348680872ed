"""What other writers do to trust policies, and how soon the operator sees it, on a real API server."""

from __future__ import annotations

import pytest

from support.halves import Operator, Start
from support.processes import eventually
from support.tellings import bound
from support.world import FOREIGN, SECONDS, Account, World

pytestmark = pytest.mark.cluster

TERRAFORM = {
    "Sid": "Terraform",
    "Effect": "Allow",
    "Principal": {"Service": "lambda.amazonaws.com"},
    "Action": "sts:AssumeRole",
}

UNHURRIED = {"TRUSTBIND_OPERATOR_PACE__RESYNC_SECONDS": "3600", "TRUSTBIND_OPERATOR_PACE__SURVEY_SECONDS": "3600"}
"""Only what is asked for runs, so that calls can be counted."""


def surveys(operator: Operator, account: Account) -> int:
    """Return how many surveys of an AWS account have ended."""
    line = f'trustbind_operator_surveys_total{{account="{account.id}"}} '
    found = [text for text in operator.get("/metrics")[1].splitlines() if text.startswith(line)]
    return int(float(found[0].removeprefix(line))) if found else 0


def request_survey(world: World, account: Account, value: str) -> None:
    """Ask for a survey by the annotation."""
    annotation = {"trustbind.dev/reconcile-requested-at": value}
    world.merge(account.manifest, {"metadata": {"annotations": annotation}})


def survey_now(world: World, operator: Operator, account: Account) -> None:
    """Ask for a survey, and wait until it has ended."""
    before = surveys(operator, account)
    request_survey(world, account, str(before))
    eventually(lambda: surveys(operator, account) > before, "a survey has ended", seconds=SECONDS)


def stale_reads(operator: Operator, account: Account) -> int:
    """Return how many writes in an AWS account were not sent, since their read was too old."""
    series = f'trustbind_operator_stale_reads_total{{account="{account.id}"}} '
    found = [line.removeprefix(series) for line in operator.get("/metrics")[1].splitlines() if line.startswith(series)]
    return int(float(found[0])) if found else 0


def test_roles_that_terraform_overwrites(world: World, operator: Operator, start: Start) -> None:
    """All are repaired by the end of the next survey, for one list and the repairs; a restart surveys first."""
    operator.stop()
    account, team = world.account(), world.team()
    team.grant(account)
    roles = [account.role(f"app-{n}") for n in range(30)]
    first = start(**UNHURRIED)
    # A survey that goes on is not the one that is asked for, and it has listed what is overwritten afterwards.
    eventually(lambda: surveys(first, account) == 1, "the first survey has ended", seconds=SECONDS)
    bindings = [team.binding(role, f"b{n}", profile=f"p{n}") for n, role in enumerate(roles)]
    for binding in bindings:
        binding.ready()
    survey_now(world, first, account)

    for n in range(20):
        account.write(f"app-{n}", TERRAFORM)
    world.aws.reset_calls()
    stale = stale_reads(first, account)
    survey_now(world, first, account)
    for n, binding in enumerate(bindings):
        assert account.subjects(f"app-{n}") == [f"{team.namespace}:reader"]
        assert account.foreign(f"app-{n}") == [TERRAFORM if n < 20 else FOREIGN]
        assert binding.get()["status"]["conditions"][0]["status"] == "True"
    assert account.calls("ListRoles") == 1
    assert account.calls("UpdateAssumeRolePolicy") == 20
    # The read that is planned on, and the read-back; on a busy machine, a read may be too old to be written on.
    assert account.calls("GetRole") == 20 * 2 + stale_reads(first, account) - stale

    assert first.stop() == 0
    account.write("app-25", TERRAFORM)
    world.aws.reset_calls()
    second = start(**UNHURRIED)
    eventually(lambda: surveys(second, account) == 1, "the first survey has ended", seconds=SECONDS)
    assert account.subjects("app-25") == [f"{team.namespace}:reader"]
    assert account.calls("UpdateAssumeRolePolicy") == 1
    assert second.stop() == 0


def test_a_repair_that_fails(world: World, operator: Operator, start: Start) -> None:
    """A binding whose access is gone is not Ready, however short the failure of the repair may be."""
    operator.stop()
    account = world.account()
    first = start(**UNHURRIED)
    binding = bound(world, account)
    binding.ready()
    account.write("app", TERRAFORM)
    world.aws.throttle(account.id, ["UpdateAssumeRolePolicy"])
    request_survey(world, account, "now")
    binding.refused("Throttled")
    assert account.statements() == [TERRAFORM]
    world.aws.clear_faults()
    binding.ready()
    assert first.stop() == 0


def test_a_reconcile_on_request(world: World, operator: Operator, start: Start) -> None:
    """The annotation on a binding reconciles its role at once."""
    operator.stop()
    account = world.account()
    first = start(**UNHURRIED)
    binding = bound(world, account)
    binding.ready()
    account.write("app", TERRAFORM)
    world.merge(binding.manifest, {"metadata": {"annotations": {"trustbind.dev/reconcile-requested-at": "now"}}})
    eventually(lambda: len(account.owned()) == 1, "the role is repaired", seconds=SECONDS)
    assert account.foreign() == [TERRAFORM]
    assert first.stop() == 0


def failed_writes(world: World, account: Account) -> int:
    """Return how many writes of a trust policy there were failed for the operator."""
    return sum(1 for call in world.aws.calls(account.id, "UpdateAssumeRolePolicy") if call.code)


@pytest.mark.parametrize("fault", ["throttled", "silent"])
def test_writes_that_fail_beside_a_foreign_writer(world: World, operator: Operator, fault: str) -> None:
    """A throttled or unanswered write goes back to the read, so that nothing of another writer is lost."""
    account, team = world.account(), world.team()
    team.grant(account)
    account.role()
    foreign = [FOREIGN]
    for n in range(3):
        world.aws.reset_calls()
        if fault == "throttled":
            world.aws.throttle(account.id, ["UpdateAssumeRolePolicy"], count=2)
        else:
            world.aws.silence(account.id, ["UpdateAssumeRolePolicy"], count=1)
        binding = team.binding(account.arn("app"), f"b{n}", profile=f"p{n}", serviceAccountNames=[f"reader-{n}"])
        eventually(lambda: failed_writes(world, account), "a write failed", seconds=SECONDS, every=0.005)
        world.aws.clear_faults()
        foreign.append(TERRAFORM | {"Sid": f"Other{n}"})
        account.write("app", *account.owned(), *foreign)  # another writer, between the failure and the next try
        binding.ready()
    eventually(lambda: len(account.subjects()) == 3, "what the other writer took away is back", seconds=SECONDS)
    assert account.foreign() == foreign
    assert sorted(account.subjects()) == sorted(f"{team.namespace}:reader-{n}" for n in range(3))
    assert operator.running
