"""What is swept, with the results, for a person and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from trustbind.errors import AwsError, TrustbindError
from trustbind.policy.plan import Refusal
from trustbind.policy.sweep import Swept
from trustbind_cli import output
from trustbind_cli.aws_errors import sentence
from trustbind_cli.commands.sweep.found import AssociationSweep, Found, RoleSweep
from trustbind_cli.commands.sweep.wanted import Wanted

__all__ = ["as_data", "problems", "show", "summary"]

_SHOWN: Final = 5
"""So many names of one statement are printed; data has all."""


def show(found: Found) -> None:
    """Print what goes, role by role."""
    for association in found.associations:
        listed = association.association.listed
        where = f"{listed.namespace}/{listed.service_account}"
        output.out.print(f"{listed.arn}\n  delete the EKS Pod Identity association of {where} (Unbound)")
        _show_refusal(association.refusal)
    for each in found.roles:
        if not each.is_due and not each.refusal:
            continue
        output.out.print(str(each.role))
        for swept in each.trust.swept:
            output.out.print(f"  {_line(swept)}")
        if each.targets:
            output.out.print(f"  take out of its inline policy (Unbound): {_names(sorted(each.targets))}")
        _show_refusal(each.refusal)


def _show_refusal(refusal: Refusal | None) -> None:
    if refusal is not None:
        output.out.print(f"  refused ({refusal.reason}): {refusal.message}")


def problems(found: Found) -> Iterator[str]:
    """Yield what a person should read besides: what stays, what could not be seen, what went wrong."""
    for each in found.roles:
        yield from (f"note: {text}" for text in each.trust.notes)
        yield from (f"kept: {each.role}: {text}" for text in each.kept)
        if each.trust.retained:
            names = _names(each.trust.retained)
            yield f"note: deleted bindings left trust in {each.role}: {names}; --retained removes it"
        if each.problem is not None:
            yield f"trustbind: {each.role}: {_sentence(each.problem)}"
    for association in found.associations:
        if association.kept:
            yield f"kept: {association.association.listed.arn}: {association.kept}"
        if association.problem is not None:
            yield f"trustbind: {association.association.listed.arn}: {_sentence(association.problem)}"
    for host in sorted(found.others):
        yield (
            f"note: the trustbind of another cluster wrote statements for https://{host}; if that cluster is gone, "
            f"remove them with --issuer https://{host} --cluster-gone"
        )
    yield from (f"not seen: {text}" for text in found.unseen)


def summary(found: Found, *, is_done: bool) -> str:
    """Return one line about all of it."""
    due = [each for each in found.roles if each.is_due]
    associations = [each for each in found.associations if not each.kept]
    done = sum(each.is_written for each in due) + sum(each.is_written for each in associations)
    statements = sum(len(each.trust.swept) for each in due)
    targets = sum(len(each.targets) for each in due)
    what = (
        f"{_count(statements, 'statement')}, {_count(targets, 'permission')} of source roles and "
        f"{_count(len(associations), 'association')} that nothing wants, in {_count(len(due), 'role')}; "
        f"{_count(found.read, 'role')} read"
    )
    if is_done:
        return f"{what}; {done} of {len(due) + len(associations)} done"
    return f"{what}; nothing was written{', add --yes to remove them' if found.may_write else ''}"


def as_data(found: Found, wanted: Wanted) -> dict[str, Any]:
    """Return all of it as JSON has it."""
    return {
        "issuer": wanted.issuer.url,
        "clusterGone": wanted.is_gone,
        "roles": [_role(each) for each in found.roles],
        "associations": [_association(each) for each in found.associations],
        "otherIssuers": [f"https://{host}" for host in sorted(found.others)],
        "notSeen": list(found.unseen),
        "rolesRead": found.read,
    }


def _role(each: RoleSweep) -> dict[str, Any]:
    return {
        "roleArn": str(each.role),
        "statements": [
            {"sid": s.sid, "reason": s.reason.value, "names": list(s.names), "whole": s.is_whole}
            for s in each.trust.swept
        ],
        "sourcePolicyTargets": sorted(each.targets),
        "retained": list(each.trust.retained),
        "notes": list(each.trust.notes),
        "kept": list(each.kept),
        "refused": _refused(each.refusal),
        "written": each.is_written,
        "problem": None if each.problem is None else _sentence(each.problem),
    }


def _association(each: AssociationSweep) -> dict[str, Any]:
    listed = each.association.listed
    return {
        "associationArn": listed.arn,
        "namespace": listed.namespace,
        "serviceAccount": listed.service_account,
        "roleArn": each.association.role,
        "kept": each.kept or None,
        "refused": _refused(each.refusal),
        "written": each.is_written,
        "problem": None if each.problem is None else _sentence(each.problem),
    }


def _refused(refusal: Refusal | None) -> dict[str, str] | None:
    return None if refusal is None else {"reason": refusal.reason.value, "message": refusal.message}


def _line(swept: Swept) -> str:
    verb = "remove statement" if swept.is_whole else "shorten statement"
    return f"{verb} {swept.sid} ({swept.reason}){f': {_names(swept.names)}' if swept.names else ''}"


def _names(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _sentence(problem: TrustbindError) -> str:
    return sentence(problem) if isinstance(problem, AwsError) else str(problem)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
