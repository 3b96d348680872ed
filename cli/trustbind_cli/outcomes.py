"""What ``trustbind apply`` plans and what came of it, for people and as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trustbind.arns import RoleArn
from trustbind.errors import AwsError
from trustbind.plan import Refusal
from trustbind_cli import printing
from trustbind_cli.apply import Result, Step
from trustbind_operator.failures import account_failure

__all__ = ["as_json", "refusals_of", "show", "tell_problems"]


def refusals_of(step: Step | Result) -> tuple[Refusal, ...]:
    """Return what is refused in one role, by the plan or before it, and what is of no use yet."""
    return (*step.plan.refusals, *step.refusals, *step.hindrances) if isinstance(step, Step) else ()


def show(step: Step | Result) -> None:
    """Print what will be done in one role; nothing for a role that could not be read."""
    if not isinstance(step, Step):
        return
    printing.show_plan(step.plan, refused=bool(step.refusals))
    provider = step.provider
    if provider is not None and not provider.is_empty and step.account.manage_provider:
        verb = "create the OIDC provider" if provider.create else "add to the OIDC provider"
        printing.out.print(f"  {verb} {provider.provider}: client id {', '.join(provider.audiences)}")
    if step.permission_differs:
        listed = ", ".join(sorted(str(target) for target in step.targets or ()))
        printing.out.print(f"  allow it to assume (inline policy): {listed or 'nothing any more'}")
    for refusal in step.refusals:
        printing.out.print(f"  refused ({refusal.reason}): {refusal.message}")
    for hindrance in step.hindrances:
        printing.out.print(f"  not yet ({hindrance.reason}): {hindrance.message}")


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
            "refusals": [
                {"binding": str(r.binding) if r.binding else None, "reason": r.reason.value, "message": r.message}
                for r in refusals_of(step)
            ],
        }
    shown["written"] = result.written if result is not None else 0
    if result is not None and result.problem is not None:
        shown["problem"] = _sentence(result)
    return shown


def tell_problems(results: Iterable[Result]) -> bool:
    """Say what went wrong, and return whether anything did."""
    failed = [result for result in results if result.problem is not None]
    for result in failed:
        printing.note(f"trustbind: {result.role}: {_sentence(result)}")
    return bool(failed)


def _sentence(result: Result) -> str:
    problem = result.problem
    if isinstance(problem, AwsError) and problem.operation.startswith("sts:"):
        return account_failure(problem)[1]  # with what to check
    return problem.message if isinstance(problem, Refusal) else str(problem)
