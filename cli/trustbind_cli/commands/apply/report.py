"""What ``trustbind apply`` plans and what came of it, for people and as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, TrustbindError
from trustbind.identity.arns import RoleArn
from trustbind.policy.plan import Refusal
from trustbind.reasons import TrustReason
from trustbind_cli import output
from trustbind_cli.aws_errors import is_of_the_caller, sentence
from trustbind_cli.commands.apply.plan import Result, Step

__all__ = ["as_json", "refusals_of", "show", "tell_done", "tell_problems"]


def refusals_of(step: Step | Result) -> tuple[Refusal, ...]:
    """Return what is refused in one role, by the plan or before it, and what is of no use yet."""
    if isinstance(step, Result):
        return step.refusals
    waiting = (Refusal(ref, TrustReason.PENDING, _waits(ref, target)) for ref, target in step.waiting.items())
    return (*step.plan.refusals, *step.refusals, *step.hindrances, *waiting)


def show(step: Step | Result) -> None:
    """Print what will be done in one role; of a role that was not read, what the files alone refuse."""
    if isinstance(step, Result):
        if step.refusals:
            output.show_refused(step.role, step.refusals)
        return
    output.show_plan(step.plan, refused=bool(step.refusals or step.waiting))
    provider = step.provider
    if provider is not None and not provider.is_empty and step.account.manage_provider:
        verb = "create the OIDC provider" if provider.create else "add to the OIDC provider"
        output.out.print(f"  {verb} {provider.provider}: client id {', '.join(provider.audiences)}")
    if step.permission_differs:
        listed = ", ".join(sorted(str(target) for target in step.targets or ()))
        output.out.print(f"  allow it to assume (inline policy): {listed or 'nothing any more'}")
    for refusal in step.refusals:
        output.out.print(f"  refused ({refusal.reason}): {refusal.message}")
    for hindrance in step.hindrances:
        output.out.print(f"  not yet ({hindrance.reason}): {hindrance.message}")
    for ref, target in step.waiting.items():
        output.out.print(f"  not yet: {_waits(ref, target)}")


def as_json(step: Step | Result, results: Mapping[RoleArn, Result]) -> dict[str, Any]:
    """Return plan and result of one role as data."""
    result = results.get(step.role)
    shown: dict[str, Any] = {"roleArn": str(step.role)}
    if isinstance(step, Step):
        planned = step.plan
        shown |= {
            "changes": [
                {"kind": c.kind.value, "sid": c.sid, "before": c.before, "after": c.after} for c in planned.changes
            ],
            "document": planned.document.to_json_object(),
            "size": planned.size,
            "limit": planned.limit,
        }
    shown["refusals"] = [
        {"binding": str(r.binding) if r.binding else None, "reason": r.reason.value, "message": r.message}
        for r in refusals_of(step)
    ]
    if result is not None and result.waiting:
        shown["notYet"] = [_waits(ref, target) for ref, target in result.waiting.items()]
    shown["written"] = result.written if result is not None else 0
    if result is not None and result.problem is not None:
        shown["problem"] = _sentence(result.problem)
    return shown


def tell_done(results: Iterable[Result]) -> None:
    """Say what was written, and which chains were not opened after all."""
    for result in results:
        if result.is_done:
            output.note(f"{result.role}: written and read back" if result.written else f"{result.role}: done")
        for ref, target in result.waiting.items():
            output.note(f"{result.role}: not yet: {_waits(ref, target)}")


def tell_problems(results: Iterable[Result]) -> bool:
    """Say what went wrong, and return whether anything did."""
    failed = [result for result in results if result.problem is not None]
    told = [
        _sentence(result.problem)
        if isinstance(result.problem, AwsError) and is_of_the_caller(result.problem)
        else f"{result.role}: {_sentence(result.problem)}"
        for result in failed
    ]
    for text in dict.fromkeys(told):  # what is true of the caller is said once, whatever the number of roles
        output.note(f"trustbind: {text}")
    return bool(failed)


def _waits(ref: BindingRef, target: RoleArn) -> str:
    return f"{ref} waits for {target}"


def _sentence(problem: TrustbindError | Refusal | None) -> str:
    if isinstance(problem, AwsError):
        return sentence(problem)
    return problem.message if isinstance(problem, Refusal) else str(problem)
