"""Admission policies and network policies of the chart: where they are rendered, and for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.charts import CHART, DATA, NAMESPACE, Helm
from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER, GATE, MANAGED_LABEL, REQUIRE, WAITING_LABEL
from trustbind.api.namespace_policy import policy_problem
from trustbind_webhook.injection.credential_source import VOLUME_NAME, ContainerCredentials

Object = dict[str, Any]

POLICY = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"
REQUIRE_ALL = ("--set", "admissionPolicies.require=true")


def policies(objects: list[Object]) -> dict[str, Object]:
    """Return the policies by name, after a look at their bindings."""
    found = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [o for o in objects if o["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert sorted(b["spec"]["policyName"] for b in bindings) == sorted(found)
    assert all(b["spec"]["validationActions"] == ["Deny"] for b in bindings)
    return found


def network_policies(objects: list[Object]) -> dict[str, Object]:
    """Return the NetworkPolicies by name."""
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == "NetworkPolicy"}


@pytest.mark.parametrize(
    ("arguments", "served"),
    [
        # A cluster that Helm asks: it has the kind, or it has not.
        (("--api-versions", "v1/Pod", "--api-versions", POLICY), True),
        (("--api-versions", "v1/Pod"), False),
        (("--api-versions", "v1/Pod", "--kube-version", "1.36.0"), False),
        # No cluster: its version says so.
        (("--kube-version", "1.30.0"), True),
        (("--kube-version", "1.37.1-eks-1"), True),
        (("--kube-version", "1.29.9"), False),
        (("--kube-version", "1.28.0"), False),
    ],
)
def test_policies_are_rendered_where_they_are_served(helm: Helm, arguments: tuple[str, ...], served: bool) -> None:
    """An API server that does not serve the kind gets none, and the rest of the chart all the same."""
    objects = helm.template(*REQUIRE_ALL, *arguments)
    assert bool(policies(objects)) is served
    assert "trustbind-operator" in {o["metadata"]["name"] for o in objects if o["kind"] == "ClusterRole"}


def test_every_policy_is_about_one_service_account(helm: Helm) -> None:
    """No request of anybody else is looked at; in another namespace, and by another name, it is that account."""
    values = ("--values", str(DATA / "values" / "own-accounts.yaml"))
    for arguments, operator, webhook in (
        ((), "trustbind-operator", "trustbind-webhook"),
        (values, "default", "my-webhook"),
    ):
        found = policies(helm.template(*arguments))
        accounts = {
            "operator": operator,
            "webhook": webhook,
            "check": f"{'tb' if arguments else 'trustbind'}-check-runner",
        }
        assert found
        for policy in found.values():
            component = policy["metadata"]["labels"]["app.kubernetes.io/component"]
            (condition,) = policy["spec"]["matchConditions"]
            user = f"system:serviceaccount:{NAMESPACE}:{accounts[component]}"
            assert condition["expression"] == f'request.userInfo.username == "{user}"'
            assert policy["spec"]["failurePolicy"] == "Fail"


def test_every_write_of_rbac_is_limited_or_known(helm: Helm) -> None:
    """Each right to write whole objects has a policy; those that have none can only write what their name says."""
    objects = helm.template("--set", "operator.settings.bindAnnotated.mode=Bind")
    limited = {
        (policy["metadata"]["labels"]["app.kubernetes.io/component"], resource, operation)
        for policy in policies(objects).values()
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for resource in rule["resources"]
        for operation in rule["operations"]
    }
    operations = {"create": "CREATE", "update": "UPDATE", "patch": "UPDATE", "delete": "DELETE"}
    written = {
        (role["metadata"]["labels"]["app.kubernetes.io/component"], resource, operations[verb])
        for role in objects
        if role["kind"] in {"Role", "ClusterRole"}
        for rule in role["rules"]
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
        if verb in operations
    }
    assert limited - written == set()
    assert written - limited == {
        # Subresources: the API server takes the status alone.
        ("operator", "awsaccounts/status", "UPDATE"),
        ("operator", "rolebindings/status", "UPDATE"),
        ("operator", "rolebindingsets/status", "UPDATE"),
        # One object each, by name.
        ("operator", "configmaps", "UPDATE"),
        ("operator", "leases", "UPDATE"),
        ("webhook", "secrets", "UPDATE"),
        # An Event changes nothing.
        ("operator", "events", "CREATE"),
    }


def test_policies_can_be_switched_off(helm: Helm) -> None:
    """Rights and require have a value each; require is off by default."""
    assert policies(helm.template("--set", "admissionPolicies.rights=false")) == {}
    assert set(policies(helm.template("--set", "admissionPolicies.rights=false", *REQUIRE_ALL))) == {
        "trustbind-require"
    }
    assert "trustbind-require" not in policies(helm.template())


def test_the_policy_of_patterns_is_the_one_that_the_operator_knows(helm: Helm) -> None:
    """It is off by default; its expressions and rules are those that the operator compares with."""
    name = "trustbind-namespace-patterns"
    assert name not in policies(helm.template())
    objects = helm.template("--set", "admissionPolicies.namespacePatterns=true")
    (policy,) = (o for o in objects if o["kind"] == "ValidatingAdmissionPolicy" and o["metadata"]["name"] == name)
    (binding,) = (
        o for o in objects if o["kind"] == "ValidatingAdmissionPolicyBinding" and o["metadata"]["name"] == name
    )
    assert policy_problem(name, with_defaults(policy), binding) == ""
    other = helm.template(
        "--set",
        "admissionPolicies.namespacePatterns=true",
        "--set",
        "operator.settings.roleBindingSets.namespacePolicy=mine",
    )
    rules = [
        rule["resourceNames"]
        for o in other
        if o["kind"] == "ClusterRole" and o["metadata"]["name"].endswith("-namespace-patterns")
        for rule in o["rules"]
    ]
    assert rules == [["mine"]]
    assert "mine" in policies(other)


def with_defaults(policy: Object) -> Object:
    """Return a policy with the defaults of the API server that its comparison looks at."""
    constraints = {"namespaceSelector": {}, "objectSelector": {}} | policy["spec"]["matchConstraints"]
    return policy | {"spec": policy["spec"] | {"matchConstraints": constraints}}


def test_a_half_that_is_off_has_no_policy(helm: Helm) -> None:
    """Policies come with the rights that they limit."""
    without_operator = policies(helm.template("--set", "operator.enabled=false"))
    assert {name.split("-")[1] for name in without_operator} == {"webhook", "check"}
    without_webhook = policies(helm.template("--set", "webhook.enabled=false"))
    assert {name.split("-")[1] for name in without_webhook} == {"operator"}
    file = str(DATA / "values" / "provided.yaml")
    given = policies(helm.template("--values", file))  # the webhook may only read its configurations then
    assert not [name for name in given if "webhook" in name]
    no_validating = policies(helm.template("--set", "webhook.validating.enabled=false"))
    assert "trustbind-webhook-validating" not in no_validating
    assert "trustbind-webhook-mutating" in no_validating


def test_policies_name_what_the_programs_use(helm: Helm) -> None:
    """Gate, labels, finalizers and volumes are those of the code."""
    found = policies(helm.template(*REQUIRE_ALL))
    wanted = {
        "trustbind-operator-pods": (GATE, WAITING_LABEL),
        "trustbind-operator-rolebindings": (BINDING_FINALIZER, MANAGED_LABEL),
        "trustbind-operator-awsaccounts": (ACCOUNT_FINALIZER,),
        "trustbind-require": (REQUIRE, VOLUME_NAME, ContainerCredentials().volume_name),
    }
    for name, words in wanted.items():
        assert all(f'"{word}"' in str(found[name]["spec"]) for word in words), name


def test_require_follows_the_settings(helm: Helm) -> None:
    """The volume of EKS Pod Identity has a name of its own; system namespaces are never held up."""
    objects = helm.template(*REQUIRE_ALL, "--set", "webhook.settings.podIdentity.volumeName=agent")
    assert '["aws-iam-token","agent"]' in str(policies(objects)["trustbind-require"]["spec"])
    (binding,) = (o for o in objects if o["kind"].endswith("Binding") and o["metadata"]["name"] == "trustbind-require")
    (excluded,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert excluded == {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["kube-system", NAMESPACE],
    }


def test_the_webhooks_port_is_open_to_the_api_server_alone(helm: Helm) -> None:
    """Where its addresses are said, nobody else connects but the pod of helm test; else everybody may."""
    by_default = network_policies(helm.template())
    assert set(by_default) == {"trustbind-webhook", "trustbind-operator"}
    (https, metrics) = by_default["trustbind-webhook"]["spec"]["ingress"]
    assert https == {"ports": [{"port": "https", "protocol": "TCP"}]}
    assert metrics["from"] == [{"namespaceSelector": {}}]

    said = network_policies(helm.template("--set", "networkPolicy.apiServerCidrs={10.0.0.0/24,fd00::/64}"))
    (https, _) = said["trustbind-webhook"]["spec"]["ingress"]
    *api_servers, check = https["from"]
    assert api_servers == [{"ipBlock": {"cidr": "10.0.0.0/24"}}, {"ipBlock": {"cidr": "fd00::/64"}}]
    assert check["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "check"
    assert said["trustbind-operator"] == by_default["trustbind-operator"]

    assert network_policies(helm.template("--set", "networkPolicy.enabled=false")) == {}


def test_notes_say_that_the_port_is_open(tools: dict[str, Path]) -> None:
    """Until the API server's addresses are said, the notes say how to say them."""
    helm = Helm(tools["helm4"])  # Helm 3 renders notes with a cluster only
    for values, is_said in (((), True), (("--set", "networkPolicy.apiServerCidrs={10.0.0.0/24}"), False)):
        notes = helm.run("install", "trustbind", CHART, "--dry-run=client", "-n", NAMESPACE, *values)
        assert ("networkPolicy.apiServerCidrs" in notes.partition("NOTES:")[2]) is is_said
