"""``trustbind preview trust``: the trust policy that the bindings of the files lead to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from trustbind.api.federated_subjects import too_wide
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.document_rules import Severity
from trustbind.policy.own_findings import own_warnings
from trustbind.policy.plan import Plan, Refusal, plan, withheld
from trustbind.policy.trust_document import EMPTY, TrustDocument
from trustbind.reconcile.adoption import AdoptionPlan, adoption
from trustbind.reconcile.decision import BindingDecision, decide, desired_of
from trustbind_cli import output, refusals
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.files.manifests import Objects
from trustbind_cli.files.missing import missing_objects, pod_identity_problem
from trustbind_cli.files.snapshot import FileSnapshot, roles_of
from trustbind_cli.findings import as_data, findings_of, is_refused_by_iam, sentence
from trustbind_cli.refusals import refusals_of
from trustbind_cli.terminal import note

__all__ = ["TrustPreview", "preview_trust", "roles_in", "show"]

_LISTED: Final = 3
"""So many roles are named in a sentence."""


@dataclass(frozen=True, slots=True)
class TrustPreview:
    """What the files lead to.

    Attributes:
        plan: how the trust policy would change, with what is refused.
        warnings: about bindings that are allowed and dangerous; the webhook warns of them, too.
        problems: sentences about bindings and roles that have nothing to preview.
        missing: the refusals of the plan that come of objects that the files do not hold.
    """

    plan: Plan
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    missing: tuple[Refusal, ...] = ()

    @property
    def exit_code(self) -> int:
        """`FAILED` when something is not as the files ask, `UNKNOWN` when the files do not tell enough."""
        kept_out = set(self.plan.refusals).difference(self.missing)
        if kept_out or self.problems or is_refused_by_iam(self.plan):
            return FAILED
        return UNKNOWN if self.missing else DONE

    def as_data(self) -> dict[str, Any]:
        """Return it as data, for a list of roles."""
        return {
            "roleArn": str(self.plan.role),
            "document": self.plan.document.to_json_object(),
            "size": self.plan.size,
            "limit": self.plan.limit,
            "refusals": refusals.as_data(self.plan.refusals),
            "findings": [as_data(finding) for finding in findings_of(self.plan)],
            "warnings": list(self.warnings),
            "problems": list(self.problems),
        }


def preview_trust(
    objects: Objects, role: RoleArn, issuer: Issuer, current: TrustDocument | None, limit: int
) -> TrustPreview:
    """Return how the role's trust policy would change once everything is written.

    Args:
        objects: of the files.
        role: which.
        issuer: the cluster's.
        current: the trust policy now; None: an empty one.
        limit: characters that the AWS account allows.
    """
    snapshot = FileSnapshot.of(objects, issuer)
    missing = missing_objects(objects).get(role, ())
    asked = {refusal.binding for refusal in missing}
    decisions = [d for d in decide(snapshot.role(role, snapshot.opened())) if d.stored.ref not in asked]
    desired = desired_of(role, issuer, decisions)
    adopted = _adoption(role, issuer, decisions, current or EMPTY)
    desired = replace(desired, replaced=adopted.replaced)
    planned = plan(current or EMPTY, desired, limit)
    planned = replace(planned, refusals=(*refusals_of(decisions), *planned.refusals))
    for refusal in missing:
        planned = withheld(planned, desired, refusal)
    about = [binding for binding in objects.bindings if role in roles_of(binding)]
    problems = (*map(pod_identity_problem, about), _unnamed(objects, role))
    stay = (f"{ref}: {state.difference}" for ref, state in adopted.states.items() if state.difference)
    warnings = (*_warnings(about, issuer), *stay)
    return TrustPreview(planned, warnings, tuple(filter(None, problems)), tuple(missing))


def _adoption(
    role: RoleArn, issuer: Issuer, decisions: Iterable[BindingDecision], current: TrustDocument
) -> AdoptionPlan:
    """Return what would be adopted, as far as it can be told without the audiences that OIDC providers accept."""
    adopting = [decision for decision in decisions if decision.adopts]
    claims = (claim for decision in adopting for claim in decision.claims)
    statuses: dict[BindingRef, dict[str, Any]] = {decision.stored.ref: {} for decision in adopting}
    return adoption(role, current, issuer, claims, statuses, lambda _issuer: None, needs_record=False)


def roles_in(objects: Objects) -> list[RoleArn]:
    """Return the roles that the bindings of the files name, sorted, source roles of chains included."""
    return sorted({role for binding in objects.bindings for role in roles_of(binding)})


def show(preview: TrustPreview, *, heading: bool, as_yaml: bool, diff: bool) -> None:
    """Print one role's document, or how it changes; what is refused goes to standard error.

    Args:
        preview: of the role.
        heading: whether the role's ARN is printed above the document.
        as_yaml: whether the document is printed as YAML.
        diff: whether the change is printed instead, for a person.
    """
    for warning in preview.warnings:
        note(f"warning: {warning}")
    found = findings_of(preview.plan)
    if diff:
        output.show_plan(preview.plan, refused=bool(preview.problems), findings=found)
    else:
        if heading:
            print(preview.plan.role)
        document = preview.plan.document.to_json_object()
        print(output.to_yaml(document).rstrip() if as_yaml else output.to_json(document))
        for finding in found:
            note(f"warning: {sentence(finding)}")
        for refusal in preview.plan.refusals:
            note(f"trustbind: refused ({refusal.reason}): {refusal.message}")
    for problem in preview.problems:
        note(f"trustbind: {problem}")


def _warnings(bindings: Iterable[RoleBinding], issuer: Issuer) -> list[str]:
    """Return what is risky about bindings; statements that never apply are findings about the document."""
    found: list[str] = []
    for binding in bindings:
        found += [f"{binding.ref}: spec.federatedSubjects: {danger}" for danger in too_wide(binding.federated)]
        found += [f"{binding.ref}: {warning}" for warning in own_warnings(binding, issuer, [Severity.RISKY])]
    return found


def _unnamed(objects: Objects, role: RoleArn) -> str:
    """Return the sentence about a role that no binding names, which is easily mistyped; empty when one does."""
    named = roles_in(objects)
    if role in named:
        return ""
    if not named:
        return f"no RoleBinding in the files names {role}: there is none in them"
    more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    return f"no RoleBinding in the files names {role}; they name {', '.join(map(str, named[:_LISTED]))}{more}"
