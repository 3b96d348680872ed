"""What the chart renders, over a matrix of values, checked as strictly as it goes without a cluster."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped] # it publishes no types
import pytest
import yaml

from support.charts import CHART, DATA, NAMESPACE, Helm, settings_in, workloads
from support.kubeclient import CRDS, ROOT, load_manifests
from trustbind_operator import settings as operator_settings
from trustbind_webhook import settings as webhook_settings

Object = dict[str, Any]

VALUES = sorted((DATA / "values").glob("*.yaml"))
VERSIONS = [f"1.{minor}" for minor in range(28, 38)]

OTHERS = {"cert-manager.io/v1", "monitoring.coreos.com/v1"}
"""Kinds of other projects, whose schemas are not here."""


@pytest.fixture(params=VALUES, ids=lambda path: path.stem)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> list[Object]:
    """The objects that one file of values renders."""
    return helm.template("--values", request.param)


@functools.cache
def _our_schema(kind: str) -> Object:
    (definition,) = (d for d in load_manifests(CRDS) if d["spec"]["names"]["kind"] == kind)
    closed: Object = _closed(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return closed


def _closed(schema: Any) -> Any:
    """Return a schema that refuses unknown names, as strict field validation does."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    if closed.get("description") and "metadata" in closed.get("properties", {}):
        closed["properties"]["metadata"] = {"type": "object"}
    return closed


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_objects_are_valid_in_every_version(helm: Helm, values: Path) -> None:
    """Kubernetes 1.28 to 1.37 know every kind and every field of it; ours are as our definitions ask."""
    # Rendered for the first version and for the one where something is rendered differently, and so for all.
    for rendered_for, versions in (("1.28.0", VERSIONS[:2]), ("1.30.0", VERSIONS[2:])):
        for thing in helm.template("--values", values, "--kube-version", rendered_for):
            if thing["apiVersion"] == "trustbind.dev/v1alpha1":
                jsonschema.validate(thing, _our_schema(thing["kind"]))
            elif thing["apiVersion"] not in OTHERS:
                for version in versions:
                    kubernetes_validate.validate(thing, version, strict=True)


def test_pods_pass_restricted_pod_security(rendered: list[Object], request: pytest.FixtureRequest) -> None:
    """Every pod passes the "restricted" Pod Security Standard, and more than that.

    Except for the node's network where the user asks for it, which "baseline" refuses already.
    """
    wants_host = "eks-irsa" in request.node.name
    assert workloads(rendered)
    for name, pod in workloads(rendered):
        problems = _violations(pod)
        if wants_host and name == "trustbind-webhook":
            problems.remove("hostNetwork")
        assert problems == [], name
        assert pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["requests"], name
            assert "memory" in container["resources"]["limits"], name
            assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]), name  # noqa: S108 - a mount
        assert pod["securityContext"]["runAsUser"] == 65532, name


def _violations(pod: Mapping[str, Any]) -> list[str]:
    """Return what "restricted" refuses (Kubernetes documentation, "Pod Security Standards")."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    found += [f"volume {v['name']}" for v in pod.get("volumes", []) if not set(v) - {"name"} <= allowed]
    whole = pod.get("securityContext", {})
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        both = {**whole, **own}
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("allowPrivilegeEscalation")
        if own.get("privileged"):
            found.append("privileged")
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            found.append("capabilities")
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            found.append("runAsNonRoot")
        if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            found.append("seccompProfile")
        if both.get("procMount", "Default") != "Default":
            found.append("procMount")
        found += ["hostPort" for port in container.get("ports", []) if port.get("hostPort")]
    return found


def test_programs_take_the_settings(rendered: list[Object], tmp_path: Path) -> None:
    """Both settings files are read by the programs themselves, which refuse what they do not know."""
    loads: dict[str, Callable[[str], object]] = {
        "webhook": webhook_settings.load,
        "operator": operator_settings.load,
    }
    for half, text in settings_in(rendered).items():
        file = tmp_path / f"{half}.yaml"
        file.write_text(text)
        loads[half](str(file))


def test_labels_and_names(rendered: list[Object]) -> None:
    """Every object has the usual labels; selectors match the pods they are for, and nothing else's."""
    pods: dict[str, dict[str, str]] = {}
    for thing in rendered:
        labels = thing["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "trustbind"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert "helm.sh/chart" in labels
        if thing["kind"] == "Deployment":
            pods[thing["metadata"]["name"]] = thing["spec"]["template"]["metadata"]["labels"]
            assert thing["spec"]["selector"]["matchLabels"].items() <= pods[thing["metadata"]["name"]].items()
    for thing in rendered:
        if thing["kind"] == "Service":
            selected = [name for name, labels in pods.items() if thing["spec"]["selector"].items() <= labels.items()]
            assert selected == [thing["metadata"]["name"].removesuffix("-metrics")]


def test_own_namespace_is_always_excluded(rendered: list[Object]) -> None:
    """No webhook is asked about the release's own namespace, whatever else is selected."""
    for thing in rendered:
        for webhook in thing["webhooks"] if thing["kind"].endswith("WebhookConfiguration") else ():
            first = webhook["namespaceSelector"]["matchExpressions"][0]
            assert first["key"] == "kubernetes.io/metadata.name"
            assert (NAMESPACE in first["values"]) is (first["operator"] == "NotIn")


def _mutating(helm: Helm, *values: str) -> dict[str, tuple[str, dict[str, list[str]]]]:
    """Return the policy of each entry of the mutating configuration, and the names of namespaces by operator."""
    objects = helm.template(*(f"--set={value}" for value in values))
    (found,) = (o for o in objects if o["kind"] == "MutatingWebhookConfiguration")
    entries: dict[str, tuple[str, dict[str, list[str]]]] = {}
    for each in found["webhooks"]:
        first = each["namespaceSelector"]["matchExpressions"][0]
        entries[each["name"]] = each["failurePolicy"], {first["operator"]: first["values"]}
        assert [c["name"] for c in each["matchConditions"]] == ["is-no-mirror-pod"]
    return entries


def test_kube_system_never_waits(helm: Helm) -> None:
    """With Fail, kube-system and the namespaces of node agents are served, and start while no webhook answers."""
    assert _mutating(
        helm, "webhook.mutating.failurePolicy=Fail", "webhook.mutating.failOpenNamespaces={calico-system,kube-system}"
    ) == {
        "mutate.trustbind.dev": ("Fail", {"NotIn": ["kube-system", "calico-system", NAMESPACE]}),
        "mutate-fail-open.trustbind.dev": ("Ignore", {"In": ["kube-system", "calico-system"]}),
    }
    assert _mutating(helm, "webhook.mutating.excludedNamespaces={kube-system}") == {
        "mutate.trustbind.dev": ("Ignore", {"NotIn": [NAMESPACE, "kube-system"]})
    }


def _by_name(objects: list[Object], kind: str) -> dict[str, Object]:
    return {thing["metadata"]["name"]: thing for thing in objects if thing["kind"] == kind}


def test_rbac_is_that_of_the_manifests(helm: Helm) -> None:
    """Roles are those of manifests/rbac, with which the other tests run the halves; and those of certificates."""
    options = ("bindAnnotated.mode=Bind", "pods.evictMissed=true", "roleBindingSets.enabled=true")
    settings = (f"--set=operator.settings.{option}" for option in options)
    objects = helm.template(*settings, "--set=admissionPolicies.namespacePatterns=true")
    wanted = load_manifests(ROOT / "manifests" / "rbac")
    for kind in ("ClusterRole", "Role"):
        ours, theirs = _by_name(objects, kind), _by_name(wanted, kind)
        assert set(ours) - set(theirs) - {"trustbind-check"} == {"trustbind-webhook-certificates"}
        for name, role in theirs.items():
            assert ours[name]["rules"] == role["rules"], name


def test_options_have_rules_only_when_they_are_on(helm: Helm) -> None:
    """Creating and deleting bindings, and evicting pods, is nothing the operator may do by default."""
    for role in _by_name(helm.template(), "ClusterRole").values():
        for rule in role["rules"]:
            assert "pods/eviction" not in rule.get("resources", [])
            if rule.get("resources") == ["rolebindings"]:
                assert not {"create", "delete"} & set(rule["verbs"])


def test_role_binding_sets(helm: Helm) -> None:
    """The operator follows sets, and may make their bindings when that is on."""
    (rules,) = [
        role["rules"]
        for name, role in _by_name(
            helm.template("--set", "operator.settings.roleBindingSets.enabled=true"), "ClusterRole"
        ).items()
        if name.endswith("-binding-sets")
    ]
    assert rules == [{"apiGroups": ["trustbind.dev"], "resources": ["rolebindings"], "verbs": ["create", "delete"]}]
    followed = [
        rule["verbs"]
        for role in _by_name(helm.template(), "ClusterRole").values()
        for rule in role["rules"]
        if rule.get("resources") == ["rolebindingsets"]
    ]
    assert followed == [["list", "watch"]]


@pytest.mark.parametrize(("mode", "binds", "reports"), [("Disabled", 0, 0), ("Report", 0, 1), ("Bind", 1, 1)])
def test_annotated_service_accounts(helm: Helm, mode: str, binds: int, reports: int) -> None:
    """Report needs one ConfigMap, which is there and empty, and the right to patch that one; Bind more."""
    values = ("--set", f"operator.settings.bindAnnotated.mode={mode}")
    objects = helm.template(*values, "--set", "operator.settings.bindAnnotated.reportName=annotated")

    assert len([name for name in _by_name(objects, "ClusterRole") if name.endswith("-bind-annotated")]) == binds
    roles = [role for name, role in _by_name(objects, "Role").items() if name.endswith("-annotated-report")]
    assert len(roles) == reports
    for role in roles:
        assert role["metadata"]["namespace"] == NAMESPACE
        assert role["rules"] == [
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["annotated"], "verbs": ["patch"]}
        ]
    found = _by_name(objects, "ConfigMap").get("annotated")
    assert (found is not None) is bool(reports)
    assert found is None or (found["metadata"]["namespace"], found.get("data")) == (NAMESPACE, None)


def test_webhooks_are_those_of_the_manifests(helm: Helm) -> None:
    """By default both configurations are those of manifests/webhooks."""
    objects = helm.template()
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        (wanted,) = (m for m in load_manifests(ROOT / "manifests" / "webhooks") if m["kind"] == kind)
        (found,) = _by_name(objects, kind).values()
        assert found["webhooks"] == wanted["webhooks"]
        assert found["metadata"]["name"] == wanted["metadata"]["name"]


@pytest.mark.parametrize(("mode", "owns"), [("self", False), ("cert-manager", False), ("provided", True)])
def test_caBundle_is_left_to_whoever_writes_it(helm: Helm, mode: str, owns: bool) -> None:  # noqa: N802 - a field's name
    """Helm writes caBundle only where the user has given it, so that an upgrade never takes one away."""
    arguments = [] if mode == "self" else ["--values", str(DATA / "values" / f"{mode}.yaml")]
    for thing in helm.template(*arguments):
        if thing["kind"].endswith("WebhookConfiguration"):
            assert all(("caBundle" in webhook["clientConfig"]) is owns for webhook in thing["webhooks"])
            annotated = thing["metadata"].get("annotations", {}).get("cert-manager.io/inject-ca-from")
            assert annotated == (f"{NAMESPACE}/trustbind-webhook" if mode == "cert-manager" else None)


def test_a_changed_setting_restarts_its_half_alone(helm: Helm) -> None:
    """The checksum of a settings file is an annotation of the pods that read it."""
    before = _by_name(helm.template(), "Deployment")
    after = _by_name(helm.template("--set", "webhook.settings.log.level=debug"), "Deployment")
    assert before["trustbind-webhook"]["spec"]["template"] != after["trustbind-webhook"]["spec"]["template"]
    assert before["trustbind-operator"] == after["trustbind-operator"]


def test_pods_outlive_their_drain(helm: Helm) -> None:
    """The grace period is longer than the webhook takes to stop, also where that is set."""
    for arguments, least in (((), 15), (("--values", str(DATA / "values" / "settings.yaml")), 33)):
        pod = dict(workloads(helm.template(*arguments)))["trustbind-webhook"]
        assert pod["terminationGracePeriodSeconds"] > least


def test_grants_come_after_the_definitions_and_then_belong_to_the_release(helm: Helm) -> None:
    """Where the API server does not know the kinds yet they are a hook, else ordinary objects."""
    file = str(DATA / "values" / "grants-and-accounts.yaml")
    for arguments, is_hook in (
        (("--set", "crds.enabled=true"), True),
        (("--api-versions", "trustbind.dev/v1alpha1"), False),
        (("--is-upgrade",), False),
    ):
        objects = helm.template("--values", file, *arguments)
        ours = [thing for thing in objects if thing["apiVersion"].startswith("trustbind.dev/")]
        assert [thing["kind"] for thing in ours] == ["AWSAccount"] * 2 + ["RoleGrant"]
        for thing in ours:
            assert ("helm.sh/hook" in thing["metadata"].get("annotations", {})) is is_hook
            assert "name" not in thing["spec"]
        assert len([thing for thing in objects if thing["kind"] == "Job"]) == is_hook  # which waits for the kinds


@pytest.mark.parametrize("keep", [True, False])
def test_definitions_stay_if_asked(helm: Helm, keep: bool) -> None:
    """crds.keep tells Helm to leave the definitions when the release goes."""
    definitions = _by_name(helm.template("--set", f"crds.keep={str(keep).lower()}"), "CustomResourceDefinition")
    assert set(definitions) == {d["metadata"]["name"] for d in load_manifests(CRDS)}
    for definition in definitions.values():
        policy = definition["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)


def test_render_is_stable(helm: Helm) -> None:
    """Two renderings are the same: nothing is made up at that time, so GitOps tools see no change."""
    assert helm.template() == helm.template()


def test_install_manifest_is_not_stale(tools: dict[str, Path]) -> None:
    """manifests/install.yaml is what the chart renders, and is one whole kustomize base."""
    command = [sys.executable, str(ROOT / "tools" / "chart.py"), "render", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = subprocess.run(
        [tools["kubectl"], "kustomize", ROOT / "manifests"], capture_output=True, text=True, check=True
    )
    installed = list(yaml.safe_load_all((ROOT / "manifests" / "install.yaml").read_text()))
    assert len(list(yaml.safe_load_all(built.stdout))) == len([thing for thing in installed if thing])


def test_the_packaged_chart_is_whole(helm: Helm, tmp_path: Path) -> None:
    """What `helm package` makes renders the same as the folder."""
    helm.run("package", CHART, "--destination", tmp_path)
    (archive,) = tmp_path.glob("*.tgz")
    text = helm.run("template", "trustbind", archive, "--namespace", NAMESPACE)
    assert [thing for thing in yaml.safe_load_all(text) if thing] == helm.template()


def test_operator_leaves_alone_what_the_webhook_does(helm: Helm) -> None:
    """Pods of excluded namespaces are not looked through for missed ones."""
    objects = helm.template("--set", "webhook.mutating.excludedNamespaces={monitoring}")
    settings = yaml.safe_load(settings_in(objects)["operator"])
    assert settings["pods"]["excludedNamespaces"] == [NAMESPACE, "monitoring"]
    assert settings["pods"]["namespaceSelector"] == {}


def test_operator_knows_whom_the_webhook_serves(helm: Helm) -> None:
    """The operator has the namespaceSelector of the webhook's configuration."""
    objects = helm.template("--set", "webhook.mutating.namespaceSelector.matchLabels.team=a")
    settings = yaml.safe_load(settings_in(objects)["operator"])
    assert settings["pods"]["namespaceSelector"] == {"matchLabels": {"team": "a"}}


def test_configmap_of_roles(helm: Helm) -> None:
    """Where kOps' ConfigMap is read, the webhook may read it and no other; where it is not, there is no right."""
    setting = "webhook.settings.compatibility.configMapNamespace=kops"
    by_kind = {o["kind"]: o for o in helm.template("--set", setting) if o["metadata"]["name"].endswith("-roles")}
    assert by_kind["Role"]["metadata"]["namespace"] == "kops"
    (rule,) = by_kind["Role"]["rules"]
    assert (rule["resources"], rule["resourceNames"]) == (["configmaps"], ["pod-identity-webhook"])
    assert rule["verbs"] == ["list", "watch"]
    assert by_kind["RoleBinding"]["subjects"][0]["namespace"] == NAMESPACE
    assert not [o for o in helm.template() if o["metadata"]["name"].endswith("-roles")]
