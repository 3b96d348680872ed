"""docs/security.md says which rights the chart gives, on which values they depend, and which policy narrows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from support.charts import DATA, NAMESPACE, Helm
from support.kubeclient import ROOT

Object = dict[str, Any]

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

EVERYTHING = {
    "admissionPolicies.namespacePatterns": "true",
    "operator.settings.bindAnnotated.mode": "Bind",
    "operator.settings.lease.enabled": "true",
    "operator.settings.pods.evictMissed": "true",
    "operator.settings.roleBindingSets.enabled": "true",
    "tests.enabled": "true",
    "webhook.settings.compatibility.configMapNamespace": "kops",
    "webhook.validating.enabled": "true",
}
OFF = dict.fromkeys(EVERYTHING, "false") | {
    "operator.settings.bindAnnotated.mode": "Disabled",
    "webhook.settings.compatibility.configMapNamespace": "",
}
EITHER = ("operator.settings.bindAnnotated.mode", "operator.settings.roleBindingSets.enabled")
"""Each of the two gives the same right."""
MODE = "certificates.mode: self"

WHO = {"operator": "operator", "webhook": "webhook", "check": "helm test"}
WHERE = {
    "": "cluster",
    NAMESPACE: "the release's namespace",
    "kops": "that namespace",
    "default": "`tests.namespace`",
}
OPERATIONS = {"create": "CREATE", "update": "UPDATE", "patch": "UPDATE", "delete": "DELETE"}


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource."""

    who: str
    where: str
    resource: str
    name: str
    verb: str


def rights_in(objects: list[Object]) -> set[Right]:
    """Return what the Roles and ClusterRoles grant."""
    return {
        Right(
            WHO[role["metadata"]["labels"]["app.kubernetes.io/component"]],
            WHERE[role["metadata"].get("namespace", "")],
            resource,
            name,
            verb,
        )
        for role in objects
        if role["kind"] in {"Role", "ClusterRole"}
        for rule in role["rules"]
        for resource in resources_of(rule)
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def resources_of(rule: Object) -> list[str]:
    """Return the resources of a rule, with their groups, and its paths."""
    groups = rule.get("apiGroups", [])
    named = [f"{r}.{group}" if group else r for group in groups for r in rule.get("resources", [])]
    return [*named, *rule.get("nonResourceURLs", [])]


def policies_in(objects: list[Object]) -> dict[tuple[str, str, str], str]:
    """Return the names of policies by service account, resource and operation."""
    return {
        (WHO[policy["metadata"]["labels"]["app.kubernetes.io/component"]], resource, operation): policy["metadata"][
            "name"
        ]
        for policy in objects
        if policy["kind"] == "ValidatingAdmissionPolicy"
        if "app.kubernetes.io/component" in policy["metadata"]["labels"]  # those that limit a half
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for resource in resources_of(rule)
        for operation in rule["operations"]
    }


def rendered(helm: Helm, *without: str) -> list[Object]:
    """Return the chart with every option that adds rights but these."""
    values = EVERYTHING | {option: OFF[option] for option in without if option in OFF}
    provided = ("--values", str(DATA / "values" / "provided.yaml")) if MODE in without else ()
    return helm.template(*provided, *(f"--set={name}={value}" for name, value in values.items()))


def rows() -> list[list[str]]:
    """Return the cells of the page's table of rights."""
    (table,) = re.findall(r"^\| who \| depends on \|.*\n\|[ |-]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_page_says_every_right(helm: Helm) -> None:
    """The table and the chart's rules are the same: no right is missing, none is left over, none depends on more."""
    everything = rendered(helm)
    rights = rights_in(everything)
    kept = {option: rights_in(rendered(helm, option)) for option in (*EVERYTHING, MODE)}
    policies = policies_in(everything)
    by_either = rights - rights_in(rendered(helm, *EITHER))

    def options(right: Right) -> frozenset[str]:
        found = frozenset(option for option, others in kept.items() if right not in others)
        return found.union(EITHER) if right in by_either and not found.intersection(EITHER) else found

    wanted = {
        (
            right,
            options(right),
            policies.get((right.who, right.resource, OPERATIONS.get(right.verb, "")), ""),
        )
        for right in rights
    }
    said = [
        (
            Right(who, where, resource.strip("`"), name.strip("`"), verb),
            frozenset(re.findall(r"`([^`]+)`", options)),
            policy.strip("`"),
        )
        for who, options, where, resource, name, verbs, policy in rows()
        for verb in verbs.split(", ")
    ]
    assert len(said) == len(set(said)), "a right is there twice"
    assert sorted(wanted - set(said), key=str) == [], "missing in docs/security.md"
    assert sorted(set(said) - wanted, key=str) == [], "not in the chart"
