"""One run of ``trustbind apply``: plan, show, ask, write, report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.commands.apply import report as reports
from trustbind_cli.commands.apply.plan import Apply, RoleReport, to_do
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.files.manifests import Objects
from trustbind_cli.files.missing import missing_objects, pod_identity_problem
from trustbind_cli.options import OutputFormat

__all__ = ["run"]


def run(
    objects: Objects,
    issuer: Issuer,
    also: Iterable[RoleArn],
    aws: AwsAccess,
    *,
    confirm: Callable[[int], None],
    dry_run: bool,
    form: OutputFormat,
) -> int:
    """Return the exit code.

    Args:
        objects: of the files.
        issuer: the cluster's.
        also: roles that are brought in line though no binding may name them.
        aws: the way into AWS.
        confirm: called with the number of roles before they are written; raises when they must not be.
        dry_run: whether nothing is written.
        form: text, or data.

    Raises:
        InvalidValueError: a binding has a method with which there is nothing to do in IAM.
    """
    for binding in objects.bindings:
        if problem := pod_identity_problem(binding):
            raise InvalidValueError(problem)
    applying = Apply(objects, issuer, also, aws.sessions("trustbind-apply"))
    done: dict[RoleArn, RoleReport] = {}
    try:
        with asyncio.Runner() as runner:  # it catches Ctrl-C only while it runs, and not while the user is asked
            prepared = runner.run(applying.prepare())
            if form is OutputFormat.TEXT:
                for each in prepared:
                    reports.print_plan(each)
            todo = to_do(prepared)
            if todo and not dry_run:
                confirm(len(todo))
                done = {report.role: report for report in runner.run(applying.carry_out(prepared))}
    except KeyboardInterrupt:
        output.leave_calls()
        raise
    finally:
        applying.close()
    if form is not OutputFormat.TEXT:
        print(output.to_data([reports.as_json(each, done.get(each.role)) for each in prepared], form))
    elif not dry_run:
        reports.print_done(done.values())
    has_problem = reports.print_problems(prepared, done)
    refused = {refusal for each in prepared for refusal in reports.refusals_of(each)}
    missing = {refusal for each in missing_objects(objects).values() for refusal in each}
    if refused - missing or any(r.waiting for r in done.values()):
        return FAILED
    if has_problem:
        return UNKNOWN if not done and reports.is_unseen(prepared) else FAILED
    return UNKNOWN if refused else DONE
