"""The ValidatingAdmissionPolicy that keeps namespaces from matching the pattern of a RoleBindingSet without its labels.

The chart has it (``admissionPolicies.namespacePatterns``). Trust by a pattern is only as good as the policy, so the
operator reads it and compares what counts. The API server evaluates it for every set, and fails closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trustbind.api.label_selector import MAX_LABEL_CHARACTERS
from trustbind.api.role_binding_set import KIND
from trustbind.api.strict import API_VERSION

__all__ = ["OPERATIONS", "RESOURCES", "VALIDATION", "VARIABLES", "policy_problem"]

RESOURCES: Final = ("namespaces", "namespaces/status", "namespaces/finalize")
"""The subresources can change labels, too."""

OPERATIONS: Final = ("CREATE", "UPDATE")


def _kept(labels: str) -> str:
    """Return the expression of what `trustbind.api.label_selector.kept_labels` keeps."""
    size = f'size(variables.{labels}.map(k, k + variables.{labels}[k]).join(""))'
    return f"{size} <= {MAX_LABEL_CHARACTERS} ? variables.{labels} : {{}}"


VARIABLES: Final[Mapping[str, str]] = {
    "pattern": 'params.spec.?namespacePattern.orValue("*")',
    "isPattern": 'params.spec.?subjects.orValue("Exact") == "Pattern"',
    "head": 'variables.pattern.substring(0, variables.pattern.indexOf("*"))',
    "tail": 'variables.pattern.substring(variables.pattern.indexOf("*") + 1)',
    "matches": (
        "size(object.metadata.name) >= size(variables.head) + size(variables.tail)"
        " && object.metadata.name.startsWith(variables.head) && object.metadata.name.endsWith(variables.tail)"
    ),
    "wanted": "params.spec.namespaceSelector.matchLabels",
    "given": "object.metadata.?labels.orValue({})",
    "labels": _kept("given"),
    "isSelected": "variables.wanted.all(k, k in variables.labels && variables.labels[k] == variables.wanted[k])",
    "oldGiven": "oldObject.metadata.?labels.orValue({})",
    "oldLabels": _kept("oldGiven"),
    "wasSelected": "variables.wanted.all(k, k in variables.oldLabels && variables.oldLabels[k] == variables.wanted[k])",
}
"""Name to CEL expression. ``params`` is one RoleBindingSet."""

VALIDATION: Final = (
    "!variables.isPattern || !variables.matches || variables.isSelected"
    ' || (request.operation == "UPDATE" && !variables.wasSelected)'
)
"""A namespace that is a stray already can be changed: only what makes one is refused."""


def policy_problem(name: str, policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None) -> str:
    """Return why the policy does not keep strays out; empty when it does.

    Args:
        name: of the policy and of its binding.
        policy: the ValidatingAdmissionPolicy as it is stored; None: there is none.
        binding: the ValidatingAdmissionPolicyBinding, likewise.
    """
    advice = "set the chart's admissionPolicies.namespacePatterns: true"
    if policy is None or binding is None:
        kind = "ValidatingAdmissionPolicy" if policy is None else "ValidatingAdmissionPolicyBinding"
        return f"there is no {kind} {name}; {advice}"
    for kind, found in (("Policy", policy), ("PolicyBinding", binding)):
        if (found.get("metadata") or {}).get("deletionTimestamp"):
            return f"ValidatingAdmission{kind} {name} is being deleted; {advice}"
    spec, bound = policy.get("spec") or {}, binding.get("spec") or {}
    param = bound.get("paramRef") or {}
    checks = {
        "paramKind": spec.get("paramKind") == {"apiVersion": API_VERSION, "kind": KIND},
        "failurePolicy": spec.get("failurePolicy", "Fail") == "Fail",
        "matchConstraints": _covers_namespaces(spec.get("matchConstraints") or {}),
        "matchConditions": not spec.get("matchConditions"),
        "variables": {v.get("name"): v.get("expression") for v in spec.get("variables") or ()} == dict(VARIABLES),
        "validations": [v.get("expression") for v in spec.get("validations") or ()] == [VALIDATION],
    }
    of_binding = {
        "policyName": bound.get("policyName") == name,
        "paramRef": not param.get("name") and not param.get("namespace") and _is_everything(param.get("selector")),
        "matchResources": _narrows_nothing(bound.get("matchResources") or {}),
        "validationActions": "Deny" in (bound.get("validationActions") or ()),
    }
    for kind, fields in (("Policy", checks), ("PolicyBinding", of_binding)):
        if wrong := [field for field, holds in fields.items() if not holds]:
            return f"ValidatingAdmission{kind} {name} has another spec.{wrong[0]} than the chart's; {advice}"
    return ""


def _covers_namespaces(constraints: Mapping[str, Any]) -> bool:
    covered = {
        (resource, operation)
        for rule in constraints.get("resourceRules") or ()
        if "" in (rule.get("apiGroups") or ()) and "v1" in (rule.get("apiVersions") or ())
        if not rule.get("resourceNames") and rule.get("scope", "*") in {"*", "Cluster"}
        for resource in rule.get("resources") or ()
        for operation in rule.get("operations") or ()
    }
    wanted = {(resource, operation) for resource in RESOURCES for operation in OPERATIONS}
    return wanted <= covered and _excludes_nothing(constraints)


def _narrows_nothing(match: Mapping[str, Any]) -> bool:
    """Return whether a policy's binding leaves all of what the policy matches; without rules it does."""
    return _covers_namespaces(match) if match.get("resourceRules") else _excludes_nothing(match)


def _excludes_nothing(match: Mapping[str, Any]) -> bool:
    selectors = ("namespaceSelector", "objectSelector")
    no_rules = not match.get("excludeResourceRules")
    return no_rules and all(_is_everything(match.get(selector, {})) for selector in selectors)


def _is_everything(selector: Any) -> bool:
    """Return whether a label selector selects everything; None selects nothing."""
    return isinstance(selector, Mapping) and not any(selector.values())
