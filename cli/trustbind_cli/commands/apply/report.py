"""What ``trustbind apply`` plans and what it did, as text for a terminal and as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, TrustbindError
from trustbind.identity.arns import RoleArn
from trustbind.policy.plan import Refusal
from trustbind.reasons import TrustReason
from trustbind.reconcile.role_plan import EnsureProvider
from trustbind_cli import output, refusals
from trustbind_cli.aws_errors import is_of_the_caller, sentence
from trustbind_cli.commands.apply.plan import PlannedRole, Prepared, RoleReport, UnplannedRole
from trustbind_cli.findings import as_data, findings_of
from trustbind_cli.terminal import note

__all__ = ["as_json", "is_unseen", "print_done", "print_plan", "print_problems", "refusals_of"]


def refusals_of(prepared: Prepared) -> tuple[Refusal, ...]:
    """Return what is refused in one role, and what is of no use yet."""
    if isinstance(prepared, UnplannedRole):
        return prepared.refusals
    waiting = (Refusal(ref, TrustReason.PENDING, _waits(ref, other)) for ref, other in prepared.plan.waiting.items())
    return (*prepared.refusals, *prepared.hindrances, *waiting)


def print_plan(prepared: Prepared) -> None:
    """Print what will be done for one role; of a role that was not read, what the files alone refuse."""
    if isinstance(prepared, UnplannedRole):
        if prepared.refusals:
            output.show_refused(prepared.role, prepared.refusals)
        return
    plan = prepared.foreseen
    is_held = bool(prepared.refusals or plan.waiting or prepared.failures)
    output.show_plan(replace(plan.trust, refusals=()), refused=is_held, findings=findings_of(plan.trust))
    for step in plan.steps:
        if isinstance(step, EnsureProvider):
            is_new = prepared.facts.account.providers.get(step.provider) is None
            verb = "create the OIDC provider" if is_new else "add to the OIDC provider"
            output.out.print(f"  {verb} {step.provider}: client id {', '.join(step.audiences)}")
    if prepared.permission_differs:
        listed = ", ".join(sorted(str(target) for target in plan.targets or ()))
        output.out.print(f"  allow it to assume (inline policy): {listed or 'nothing any more'}")
    output.show_refusals(prepared.refusals)
    for hindrance in prepared.hindrances:
        output.out.print(f"  not yet ({hindrance.reason}): {hindrance.message}")
    for ref, other in plan.waiting.items():
        output.out.print(f"  not yet: {_waits(ref, other)}")


def as_json(prepared: Prepared, report: RoleReport | None) -> dict[str, Any]:
    """Return plan and report of one role as data."""
    shown: dict[str, Any] = {"roleArn": str(prepared.role)}
    if isinstance(prepared, PlannedRole):
        planned = prepared.foreseen.trust
        shown |= {
            "changes": [
                {"kind": c.kind.value, "sid": c.sid, "before": c.before, "after": c.after} for c in planned.changes
            ],
            "document": planned.document.to_json_object(),
            "size": planned.size,
            "limit": planned.limit,
            "findings": [as_data(finding) for finding in findings_of(planned)],
        }
    shown["refusals"] = refusals.as_data(refusals_of(prepared))
    if report is not None and report.waiting:
        shown["notYet"] = [_waits(ref, other) for ref, other in report.waiting.items()]
    shown["written"] = report.written if report is not None else 0
    if problems := _problems(prepared, report):
        shown["problem"] = "; ".join(map(_sentence, problems))
    return shown


def print_done(reports: Iterable[RoleReport]) -> None:
    """Say what was written, and which chains wait after all."""
    for report in reports:
        if report.is_done:
            note(f"{report.role}: written and read back" if report.written else f"{report.role}: done")
        for ref, other in report.waiting.items():
            note(f"{report.role}: not yet: {_waits(ref, other)}")


def print_problems(prepared: Iterable[Prepared], reports: Mapping[RoleArn, RoleReport]) -> bool:
    """Say what went wrong, and return whether anything did."""
    told = [
        _sentence(problem)
        if isinstance(problem, AwsError) and is_of_the_caller(problem)
        else f"{each.role}: {_sentence(problem)}"
        for each in prepared
        for problem in _problems(each, reports.get(each.role))
    ]
    for text in dict.fromkeys(told):  # what is true of the caller is said once, whatever the number of roles
        note(f"trustbind: {text}")
    return bool(told)


def is_unseen(prepared: Iterable[Prepared]) -> bool:
    """Return whether nothing went wrong but that the caller's credentials do not work."""
    problems = [problem for each in prepared for problem in _problems(each, None)]
    return all(isinstance(problem, AwsError) and is_of_the_caller(problem) for problem in problems)


def _problems(prepared: Prepared, report: RoleReport | None) -> tuple[TrustbindError | Refusal, ...]:
    if isinstance(prepared, UnplannedRole):
        return () if prepared.problem is None else (prepared.problem,)
    return (*prepared.failures, *(report.problems if report is not None else ()))


def _waits(ref: BindingRef, role: RoleArn) -> str:
    return f"{ref} waits for {role}"


def _sentence(problem: TrustbindError | Refusal) -> str:
    if isinstance(problem, AwsError):
        return sentence(problem)
    return problem.message if isinstance(problem, Refusal) else str(problem)
