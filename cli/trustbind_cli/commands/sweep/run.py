"""One run of ``trustbind sweep``: find, show, and remove where that was asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from trustbind_aws.account_pool import AccountPool
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.commands.import_.exports import ExportedRole, without_repeats
from trustbind_cli.commands.sweep import report
from trustbind_cli.commands.sweep.found import Found
from trustbind_cli.commands.sweep.plan import Sweeping
from trustbind_cli.commands.sweep.readings import Readings
from trustbind_cli.commands.sweep.removal import Removal
from trustbind_cli.commands.sweep.wanted import Wanted
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.options import OutputFormat
from trustbind_cli.terminal import note

__all__ = ["run"]


def run(
    wanted: Wanted,
    read: Callable[[], Awaitable[Wanted]],
    roles: Iterable[ExportedRole],
    unseen: Iterable[str],
    aws: AwsAccess,
    *,
    retained: bool,
    asks_aws: bool,
    writes: bool,
    form: OutputFormat,
) -> int:
    """Return the exit code: 0 where nothing is left to remove, 1 where something is, 3 where not enough was seen.

    Args:
        wanted: see `Wanted`.
        read: reads it again before something is removed.
        roles: with their trust policies.
        unseen: what could not be listed, one sentence each.
        aws: the caller's way into AWS.
        retained: whether what deleted bindings left is swept, too.
        asks_aws: whether inline policies and associations are read in AWS.
        writes: whether what is found is removed.
        form: text for people, or data.
    """
    listed = list(without_repeats(roles))
    pool = AccountPool(aws.sessions("trustbind-sweep"), time.monotonic)
    try:
        with asyncio.Runner() as runner:
            found = runner.run(Sweeping(wanted, pool, retained=retained).prepare(listed, asks_aws=asks_aws))
            found.unseen[:0] = unseen
            if form is OutputFormat.TEXT:
                report.show(found)
            if writes and found.is_due:
                readings = Readings(wanted, read, time.monotonic)
                found = runner.run(Removal(wanted, readings, pool, retained=retained).carry_out(found))
    except KeyboardInterrupt:
        output.leave_calls()
        raise
    finally:
        pool.abandon()  # calls under way are not waited for
    if form is not OutputFormat.TEXT:
        print(output.to_data(report.as_data(found, wanted), form))
    for text in dict.fromkeys(report.problems(found)):
        note(text)
    note(f"trustbind: {report.summary(found, is_done=writes)}")
    return _exit_code(found, is_done=writes)


def _exit_code(found: Found, *, is_done: bool) -> int:
    is_blocked = any(each.refusal or each.problem for each in found.roles)
    is_left = found.is_due and not is_done
    if is_left or is_blocked or any(each.refusal or each.problem for each in found.associations):
        return FAILED
    return UNKNOWN if found.unseen else DONE
