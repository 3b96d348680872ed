"""Whether the policy that patterns need is there as the operator knows it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from support.bodies import policy_objects
from trustbind.api.namespace_policy import policy_problem

Object = dict[str, Any]
ADVICE = "; set the chart's admissionPolicies.namespacePatterns: true"


def test_as_it_should_be() -> None:
    """What the chart creates, with the API server's defaults, is enough; so are further rules."""
    policy, binding = policy_objects("p")
    assert policy_problem("p", policy, binding) == ""
    policy["spec"]["matchConstraints"]["resourceRules"].append(
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    )
    binding["spec"]["validationActions"] = ["Audit", "Deny"]
    assert policy_problem("p", policy, binding) == ""


@pytest.mark.parametrize(("which", "kind"), [(0, "ValidatingAdmissionPolicy"), (1, "ValidatingAdmissionPolicyBinding")])
def test_on_its_way_out(which: int, kind: str) -> None:
    """One that is being deleted is as good as gone, whatever finalizer holds it."""
    objects = copy.deepcopy(policy_objects("p"))
    objects[which]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert policy_problem("p", *objects) == f"{kind} p is being deleted{ADVICE}"


def test_binding_that_says_the_same_rules() -> None:
    """A binding may repeat what the policy matches."""
    policy, binding = copy.deepcopy(policy_objects("p"))
    binding["spec"]["matchResources"] = policy["spec"]["matchConstraints"]
    assert policy_problem("p", policy, binding) == ""


@pytest.mark.parametrize("missing", [0, 1])
def test_missing(missing: int) -> None:
    """Both objects are needed."""
    objects: list[Object | None] = list(policy_objects("p"))
    objects[missing] = None
    kind = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")[missing]
    assert policy_problem("p", *objects) == f"there is no {kind} p{ADVICE}"


def rule(spec: Object) -> Object:
    """Return the rule about namespaces."""
    found: Object = spec["matchConstraints"]["resourceRules"][0]
    return found


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("failurePolicy", lambda s: s.update(failurePolicy="Ignore")),
        ("paramKind", lambda s: s.pop("paramKind")),
        ("paramKind", lambda s: s.update(paramKind={"apiVersion": "v1", "kind": "ConfigMap"})),
        ("matchConditions", lambda s: s.update(matchConditions=[{"name": "n", "expression": "false"}])),
        ("matchConstraints", lambda s: rule(s).update(operations=["CREATE"])),
        ("matchConstraints", lambda s: rule(s).update(resources=["namespaces"])),
        ("matchConstraints", lambda s: rule(s).update(resourceNames=["a"])),
        ("matchConstraints", lambda s: rule(s).update(scope="Namespaced")),
        ("matchConstraints", lambda s: s["matchConstraints"].update(objectSelector={"matchLabels": {"a": "b"}})),
        ("matchConstraints", lambda s: s["matchConstraints"].update(excludeResourceRules=[rule(s)])),
        ("variables", lambda s: s["variables"][5].update(expression="{}")),
        ("validations", lambda s: s["validations"][0].update(expression="true")),
        ("validations", lambda s: s["validations"].append({"expression": "true"})),
    ],
)
def test_policy_that_was_changed(field: str, change: Callable[[Object], None]) -> None:
    """Whatever lets a stray through is seen."""
    policy, binding = copy.deepcopy(policy_objects("p"))
    change(policy["spec"])

    assert policy_problem("p", policy, binding) == (
        f"ValidatingAdmissionPolicy p has another spec.{field} than the chart's{ADVICE}"
    )


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("policyName", lambda s: s.update(policyName="other")),
        ("paramRef", lambda s: s["paramRef"].update(selector={"matchLabels": {"a": "b"}})),
        ("paramRef", lambda s: s.update(paramRef={"name": "one"})),
        ("paramRef", lambda s: s.pop("paramRef")),
        ("matchResources", lambda s: s.update(matchResources={"namespaceSelector": {"matchLabels": {"a": "b"}}})),
        ("matchResources", lambda s: s.update(matchResources={"resourceRules": [{"resources": ["pods"]}]})),
        ("validationActions", lambda s: s.update(validationActions=["Warn"])),
    ],
)
def test_binding_that_was_changed(field: str, change: Callable[[Object], None]) -> None:
    """A binding can take a policy's effect away as well."""
    policy, binding = copy.deepcopy(policy_objects("p"))
    change(binding["spec"])

    assert policy_problem("p", policy, binding) == (
        f"ValidatingAdmissionPolicyBinding p has another spec.{field} than the chart's{ADVICE}"
    )
