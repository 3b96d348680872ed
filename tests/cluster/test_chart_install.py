"""The chart's whole life in a real cluster: installed by Helm, under its own RBAC, renewed, upgraded and removed."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from support.certs import Authority
from support.charts import CHART, Helm, HelmError, required_tools
from support.installation import Installation, Load, Switchboard, dry_run, environment_of, free_port, injected, moments
from support.kube import ROOT, ApiError, ApiServer, BinariesNotFoundError, find_binaries
from support.kubeclient import CRDS
from support.processes import Process, eventually
from support.world import API_VERSION, FOREIGN, Binding, Team, World
from trustbind_localaws import LocalAws
from trustbind_webhook.certificates.bundle import certificates_in

DAY = 86400
SHORT = {
    # A new certificate every three seconds, a new authority every twelve.
    "caValidityDays": 24 / DAY,
    "servingValidityDays": 12 / DAY,
    "renewBeforeDays": 9 / DAY,
    "checkSeconds": 0.3,
    "settleSeconds": 1.5,
}


@pytest.fixture(scope="module")
def tools() -> dict[str, Path]:
    """Helm, or the tests are skipped; with TRUSTBIND_REQUIRE_CHART=1 they fail."""
    return required_tools()


@pytest.fixture(scope="module")
def empty_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An API server of its own: the chart brings the definitions, which belong to all of a cluster."""
    try:
        binaries = find_binaries(os.environ)
    except BinariesNotFoundError as error:
        if os.environ.get("TRUSTBIND_REQUIRE_CLUSTER") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with ApiServer(binaries, tmp_path_factory.mktemp("chart"), controllers=True) as server, LocalAws() as aws:
        yield World(server, aws)


@pytest.fixture(params=["helm4", "helm3"])
def installation(
    request: pytest.FixtureRequest, tools: dict[str, Path], empty_world: World, tmp_path: Path
) -> Iterator[Installation]:
    """A release that is not installed yet; what a test leaves of it is removed, and the definitions as well."""
    helm = Helm(tools[request.param], empty_world.api.kubeconfig())
    values = {
        "crds": {"keep": False},
        "webhook": {"mutating": {"failurePolicy": "Fail"}, "settings": {"certificates": {"checkSeconds": 0.3}}},
    }
    made = Installation(helm, empty_world, tmp_path, values)
    failed = ""
    try:
        yield made
        failed = made.failed()
    finally:
        made.close()
        empty_world.clear()
        with contextlib.suppress(HelmError):  # it may be gone already
            made.uninstall()
        made.wipe()
    assert not failed, "a process has ended:\n" + failed


def _ready(process: Process) -> None:
    process.line(lambda line: '"ready"' in line, seconds=60)


def _bound(team: Team, account: str = "reader") -> None:
    """Return once the webhook knows of the account's binding."""
    team.world.api.wait(lambda: injected(dry_run(team, account)), message="a pod is injected")


def _everything(installation: Installation) -> tuple[Team, Binding]:
    """Start both halves, and bind a role; return the team and its binding."""
    world = installation.world
    _ready(installation.webhook())
    installation.operator().line(lambda line: '"working"' in line, seconds=90)
    account = world.account()
    role = account.role()
    team = world.team()
    team.service_account()
    team.grant(account)
    binding = team.binding(role)
    binding.ready()
    assert account.subjects() == [f"{team.namespace}:reader"]
    _bound(team)
    return team, binding


def test_install_upgrade_uninstall(installation: Installation) -> None:
    """From nothing to a bound role and an injected pod; an upgrade keeps both; nothing is left after uninstalling."""
    installation.values["accounts"] = [{"name": "by-values", "accountId": "999988887777"}]
    installation.values["grants"] = [
        {"name": "by-values", "namespaces": {"names": ["team-x"]}, "roleArns": ["arn:aws:iam::999988887777:role/*"]}
    ]
    installation.install()
    assert installation.jobs == [f"{installation.name}-wait-for-crds"]
    api = installation.api
    api.wait(lambda: installation.get(API_VERSION, "RoleGrant", "by-values", ""), message="the grant of the values")
    assert installation.get(API_VERSION, "AWSAccount", "by-values", "")["spec"]["accountId"] == "999988887777"

    team, binding = _everything(installation)
    # What a pod would do with it.
    pod = dry_run(team, "reader")
    assert environment_of(pod)["AWS_ROLE_ARN"] == binding.get()["spec"]["roleArn"]
    bundles = [installation.ca_bundle(which) for which in ("Mutating", "Validating")]
    assert bundles[0]
    assert bundles[0] == bundles[1]
    before = binding.get()

    # Another timeout, and another setting: new pods would start; what they find is as it was.
    installation.upgrade({"webhook": {"mutating": {"timeoutSeconds": 7}, "settings": {"log": {"level": "debug"}}}})
    mutating, _ = installation.configuration()["webhooks"]
    assert mutating["timeoutSeconds"] == 7
    assert [installation.ca_bundle(which) for which in ("Mutating", "Validating")] == bundles
    assert injected(dry_run(team, "reader"))
    after = binding.get()
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    # What came as a hook is an ordinary part of the release by now, and goes with it.
    manifest = installation.helm.run("get", "manifest", installation.release, "-n", installation.namespace)
    assert "kind: RoleGrant" in manifest
    assert "kind: AWSAccount" in manifest

    # The order that NOTES.txt and README say, while the operator runs.
    binding.delete()
    binding.gone()
    api.request("DELETE", f"/apis/{API_VERSION}/awsaccounts")
    api.wait(lambda: not api.request("GET", f"/apis/{API_VERSION}/awsaccounts")["items"], message="no account is left")
    installation.uninstall()
    # The Secret goes with its owner, by the garbage collector, which pauses while definitions come and go.
    try:
        eventually(lambda: not installation.remains(), "nothing is left", seconds=240)
    except AssertionError as error:
        error.add_note(", ".join(installation.remains()))
        raise


def test_kinds_that_are_served_late(installation: Installation, tmp_path: Path) -> None:
    """Helm creates accounts and grants of the values once their kinds are served, however long that takes."""
    definitions = [d for path in sorted(CRDS.glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())]
    without = tmp_path / "chart"
    shutil.copytree(CHART, without, ignore=shutil.ignore_patterns("crds"))
    installation.chart = without
    installation.values["accounts"] = [{"name": "late", "accountId": "999988887777"}]
    late = threading.Timer(6, installation.api.apply, [definitions])
    late.start()
    installation.install()
    late.join()
    assert installation.jobs == [f"{installation.name}-wait-for-crds"]
    assert installation.get(API_VERSION, "AWSAccount", "late", "")["spec"]["accountId"] == "999988887777"


def test_definitions_stay_when_kept(installation: Installation) -> None:
    """With crds.keep, which is the default, bindings survive the release, and the next one takes them over."""
    installation.values["crds"]["keep"] = True
    installation.install()
    team = installation.world.team()
    manifest = team.binding_manifest("arn:aws:iam::444455556666:role/app")
    stored = installation.api.wait(lambda: installation.api.apply(manifest), message="the definitions are served")
    installation.uninstall()
    assert {name.partition("/")[0] for name in installation.remains()} <= {"CustomResourceDefinition", "Secret"}
    assert installation.api.get(manifest)["spec"] == stored["spec"]
    installation.install()
    assert installation.api.get(manifest)["spec"] == stored["spec"]
    installation.api.delete(manifest)
    installation.upgrade({"crds": {"keep": False}})


@pytest.mark.parametrize("installation", ["helm4"], indirect=True)
class TestCertificates:
    """Certificates that the webhook makes itself."""

    def test_rotation_under_load_loses_no_admission(self, installation: Installation) -> None:
        """Certificates and authorities change many times; every pod is admitted and injected, with policy Fail."""
        installation.values["webhook"]["settings"]["certificates"] = SHORT
        installation.install()
        webhook = installation.webhook()
        _ready(webhook)
        team = installation.world.team()
        annotation = {"eks.amazonaws.com/role-arn": "arn:aws:iam::444455556666:role/app"}
        team.service_account("reader", annotations=annotation)
        _bound(team)
        authorities: set[bytes] = set()
        serving: set[int] = set()
        refused: list[str] = []
        with Load(team, "reader") as load:
            # Besides, new connections: the API server keeps its own for as long as it can.
            for _ in moments(32, 0.1):
                bundle = installation.ca_bundle()
                authorities |= {c.fingerprint(c.signature_hash_algorithm) for c in certificates_in(bundle)}  # type: ignore[arg-type] # ECDSA has one
                try:
                    serving.add(_served(installation, bundle))
                except ssl.SSLError as error:
                    refused.append(str(error))
        assert load.lost == []
        assert refused == []
        assert load.asked > 100
        assert len(authorities) >= 3
        assert len(serving) >= 5
        assert webhook.running

    def test_two_replicas_share_one_authority(self, installation: Installation) -> None:
        """Whichever is first makes it; both serve the same, and caBundle is written once."""
        installation.install()
        other = {
            "TRUSTBIND_WEBHOOK_SERVER__PORT": str(free_port()),
            "TRUSTBIND_WEBHOOK_SERVER__METRICS_PORT": str(free_port()),
        }
        first, second = installation.webhook("a"), installation.webhook("b", other)
        _ready(first)
        _ready(second)
        one = _served(installation, installation.ca_bundle())
        assert one == _served(installation, installation.ca_bundle(), int(other["TRUSTBIND_WEBHOOK_SERVER__PORT"]))
        made = [line for line in (*first.output, *second.output) if '"certificates made"' in line]
        assert len(made) == 1

    def test_a_stale_bundle_is_repaired(self, installation: Installation) -> None:
        """Whoever overwrites caBundle is undone in a moment; it is logged and counted."""
        installation.install()
        webhook = installation.webhook()
        _ready(webhook)
        right = installation.ca_bundle()
        for which, wrong in (("Mutating", ""), ("Validating", base64.b64encode(_foreign()).decode())):
            configuration = installation.configuration(which)
            configuration["webhooks"][0]["clientConfig"]["caBundle"] = wrong
            installation.api.request("PUT", installation.api.path(configuration), configuration)
            installation.api.wait(
                lambda which=which: installation.ca_bundle(which) == right,  # type: ignore[misc] # bound at once
                message=f"the {which} bundle is repaired",
            )
        webhook.line(lambda line: '"caBundle written"' in line and '"stale"' in line)
        metrics = installation.metrics()
        assert 'trustbind_webhook_ca_bundle_repairs_total{configuration="validating"} 2.0' in metrics
        assert 'trustbind_webhook_ca_bundle_in_order{configuration="mutating"} 1.0' in metrics

    @pytest.mark.parametrize("harm", ["deleted", "emptied"])
    def test_a_lost_secret_is_written_again(self, installation: Installation, harm: str) -> None:
        """From what the running replica holds: nothing changes for whoever trusts it."""
        installation.install()
        _ready(installation.webhook())
        before = installation.secret()
        owner = before["metadata"]["ownerReferences"]
        assert [reference["kind"] for reference in owner] == ["MutatingWebhookConfiguration"]
        if harm == "deleted":
            installation.api.delete(before)
        else:
            changed = {**before, "data": {**before["data"], "ca.key": ""}}
            installation.api.request("PUT", installation.api.path(before), changed)
        installation.api.wait(
            lambda: installation.secret()["data"] == before["data"], message="the Secret is as it was"
        )

    def test_a_webhook_without_its_rules_says_so(self, installation: Installation) -> None:
        """Where it may not read the Secret it does not start, and names what it was refused."""
        installation.install()
        role = installation.get(
            "rbac.authorization.k8s.io/v1", "RoleBinding", f"{installation.name}-webhook-certificates"
        )
        installation.api.delete(role)
        webhook = installation.webhook()
        line = webhook.line(lambda line: "certificate not looked after" in line)
        assert "secrets" in line
        assert "forbidden" in line


@pytest.mark.parametrize("installation", ["helm4"], indirect=True)
def test_a_rollout_loses_no_admission(installation: Installation) -> None:
    """Replicas are replaced one by one under load, and routing follows a second late; every pod is injected."""
    installation.values["webhook"]["settings"]["server"]["drainSeconds"] = 2
    installation.install()
    service = Switchboard(installation.port)
    team = installation.world.team()
    team.service_account("reader", annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::444455556666:role/app"})

    def start(replica: str) -> tuple[int, Process]:
        port = free_port()
        env = {
            "TRUSTBIND_WEBHOOK_SERVER__PORT": str(port),
            "TRUSTBIND_WEBHOOK_SERVER__METRICS_PORT": str(free_port()),
        }
        process = installation.webhook(replica, env)
        _ready(process)
        service.endpoints.append(port)
        return port, process

    try:
        running = [start("a"), start("b")]
        _bound(team)
        with Load(team, "reader") as load:
            for replica in ("c", "d", "e", "f"):
                running.append(start(replica))
                port, old = running.pop(0)
                old.signal()
                time.sleep(1)  # what a cluster takes to tell every node that an endpoint is going
                service.endpoints.remove(port)
                assert old.wait(seconds=30) == 0, "\n".join(old.output)
    finally:
        installation.close()
        service.close()
    assert load.lost == []
    assert load.asked > 100


@pytest.mark.parametrize("installation", ["helm4"], indirect=True)
def test_a_stale_bundle_of_somebody_elses_is_told(installation: Installation) -> None:
    """With a certificate of one's own, a caBundle that was forgotten at its renewal is logged and shown."""
    old, new = Authority(), Authority()
    bundle = base64.b64encode(old.pem).decode()
    installation.values["certificates"] = {"mode": "provided", "provided": {"secretName": "mine", "caBundle": bundle}}
    installation.values["webhook"]["settings"]["server"]["reloadSeconds"] = 0.2
    installation.install()
    name = f"{installation.name}-webhook.{installation.namespace}.svc"
    old.issue(name).write(installation.files("a"))
    webhook = installation.webhook("a")
    _ready(webhook)
    gauge = 'trustbind_webhook_ca_bundle_in_order{configuration="mutating"}'
    eventually(lambda: f"{gauge} 1.0" in installation.metrics(), "the certificate is trusted")
    new.issue(name).write(installation.files("a"))
    line = webhook.line(lambda line: '"the API server may not trust the certificate"' in line)
    assert "caBundle is stale" in line
    eventually(lambda: f"{gauge} 0.0" in installation.metrics(), "it is shown")


def _served(installation: Installation, bundle: bytes, port: int = 0) -> int:
    """Connect as an API server would; return the certificate's serial number.

    Raises:
        ssl.SSLError: ``bundle`` does not trust it, or it is for another name.
    """
    context = ssl.create_default_context(cadata=bundle.decode())
    name = f"{installation.name}-webhook.{installation.namespace}.svc"
    with (
        socket.create_connection(("127.0.0.1", port or installation.port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=name) as connection,
    ):
        certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def _foreign() -> bytes:
    return Authority().pem


@pytest.mark.parametrize("installation", ["helm4"], indirect=True)
def test_helm_test_checks_an_injection_and_a_binding(installation: Installation) -> None:
    """The script of `helm test`, with the rights that its hooks give it, says what works and what does not."""
    installation.install()
    api = installation.api
    hooks = list(
        yaml.safe_load_all(installation.helm.run("get", "hooks", installation.release, "-n", installation.namespace))
    )
    pod = next(hook for hook in hooks if hook["kind"] == "Pod")
    for hook in hooks:
        if hook["kind"] != "Pod":
            api.apply(hook)
    (container,) = pod["spec"]["containers"]
    env = {
        **{e["name"]: e["value"] for e in container["env"]},
        **installation.pod_env(pod["spec"]["serviceAccountName"]),
        "WEBHOOK_URL": f"https://127.0.0.1:{installation.port}",
        "CHECK_SECONDS": "10",
    }

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(CHART / "files" / "check.py")]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    _ready(installation.webhook())
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["ok: the webhook is ready", "ok: a pod is injected", "ok: a binding is taken"]

    # By dry runs only: a pod that would run is refused.
    token = api.token(installation.namespace, pod["spec"]["serviceAccountName"])
    path = f"/api/v1/namespaces/{env['CHECK_NAMESPACE']}/pods"
    with pytest.raises(ApiError, match="may only create objects by a dry run"):
        api.request("POST", path, _pod("default"), token=token)

    api.delete(installation.configuration())
    env["CHECK_SECONDS"] = "0"
    failed = check()
    assert failed.returncode == 1
    assert failed.stdout.splitlines()[-1].startswith("the pod is not injected")
    for hook in hooks:
        if hook["kind"] != "Pod":
            api.delete(hook)


def _pod(account: str, annotations: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-", "annotations": dict(annotations or {})},
        "spec": {
            "serviceAccountName": account,
            "containers": [{"name": "main", "image": "example.com/web:1"}],
            **spec,
        },
    }


REQUIRED = {"trustbind.dev/require": "true"}


class TestRequire:
    """Pods that must not start without a token, while a webhook answers and while none does."""

    def _created(self, team: Team, pod: dict[str, Any], **headers: str) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{team.namespace}/pods?dryRun=All"
        created: dict[str, Any] = team.world.api.request("POST", path, pod, headers=headers)
        return created

    def _refusal(self, team: Team, pod: dict[str, Any], **headers: str) -> str:
        """Return what the API server says, which may be "" for as long as it has not read the policy."""
        try:
            self._created(team, pod, **headers)
        except ApiError as error:
            return error.message if error.status == 403 else f"not by the policy: {error}"
        return ""

    def _installed(self, installation: Installation) -> Team:
        """Install with the policy, and return a namespace with an annotated service account."""
        installation.values["admissionPolicies"] = {"require": True}
        installation.values["webhook"]["mutating"]["failurePolicy"] = "Ignore"
        installation.install()
        team = installation.world.team()
        team.service_account("reader", annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::444455556666:role/app"})
        team.service_account("plain")
        eventually(lambda: self._refusal(team, _pod("reader", REQUIRED)), "the policy is in effect", seconds=90)
        return team

    @pytest.mark.parametrize("installation", ["helm4"], indirect=True)
    def test_while_no_webhook_answers(self, installation: Installation) -> None:
        """A pod that requires its token is refused, in a sentence that says what to do; others start."""
        team = self._installed(installation)
        message = self._refusal(team, _pod("reader", REQUIRED))
        assert (
            " requires an AWS role, by annotation trustbind.dev/require of the pod, but it has no token: "
            "no trustbind webhook answered, or service account reader has no RoleBinding and no role annotation, "
            "or injection is off here; correct that and create the pod again"
        ) in message
        assert not injected(self._created(team, _pod("reader")))
        self._created(team, _pod("reader", {"trustbind.dev/require": "false"}))
        # A volume of the name is no token.
        empty = [{"name": "aws-iam-token", "emptyDir": {}}]
        assert self._refusal(team, _pod("reader", REQUIRED, volumes=empty))

    @pytest.mark.parametrize("installation", ["helm4"], indirect=True)
    def test_a_namespace_requires_it_of_all_its_pods(self, installation: Installation) -> None:
        """An annotated namespace: new pods are refused; those that run are left alone, and so are static pods."""
        team = self._installed(installation)
        api = installation.api
        running = api.create(_pod("plain") | {"metadata": {"name": "running", "namespace": team.namespace}})
        installation.world.merge(team.manifest, {"metadata": {"annotations": REQUIRED}})
        eventually(lambda: self._refusal(team, _pod("plain")), "the annotation is seen", seconds=90)
        assert "of the namespace" in self._refusal(team, _pod("plain", {"trustbind.dev/require": "false"}))

        installation.world.merge(running, {"metadata": {"labels": {"changed": "yes"}, "annotations": REQUIRED}})
        debugger = {"ephemeralContainers": [{"name": "debug", "image": "example.com/debug:1"}]}
        path = api.path(running, subresource="ephemeralcontainers")
        api.request("PATCH", path, {"spec": debugger}, content_type="application/strategic-merge-patch+json")

        mirror = _pod("", {"kubernetes.io/config.mirror": "x"}, nodeName="one", automountServiceAccountToken=False)
        del mirror["spec"]["serviceAccountName"]
        assert "of the namespace" in self._refusal(team, mirror)  # a user's pod cannot pass as one
        node = {"kind": "Group", "name": "system:nodes", "apiGroup": "rbac.authorization.k8s.io"}
        everything = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
        version = "rbac.authorization.k8s.io/v1"
        installation.world.apply(version, "RoleBinding", "nodes", team.namespace, roleRef=everything, subjects=[node])
        kubelet = {"Impersonate-User": "system:node:one", "Impersonate-Group": "system:nodes"}
        self._created(team, mirror, **kubelet)

        # The cluster and trustbind itself do not depend on it.
        for namespace in ("kube-system", installation.namespace):
            self._created(Team(installation.world, namespace), _pod("default", REQUIRED))

    @pytest.mark.parametrize("installation", ["helm4"], indirect=True)
    def test_while_the_webhook_answers(self, installation: Installation) -> None:
        """A pod with its token starts; one whose service account has no role is refused."""
        team = self._installed(installation)
        _ready(installation.webhook())
        _bound(team)
        assert injected(self._created(team, _pod("reader", REQUIRED)))
        assert "service account plain has no RoleBinding" in self._refusal(team, _pod("plain", REQUIRED))
        assert self._refusal(team, _pod("reader", {**REQUIRED, "trustbind.dev/inject": "false"}))


def test_nothing_is_asked_of_pods_in_system_namespaces(installation: Installation) -> None:
    """With failurePolicy Fail and no webhook running, kube-system and the release's own namespace still get pods.

    Pods of kube-system are injected while it runs.
    """
    installation.install()
    for namespace in ("kube-system", installation.namespace):
        dry_run(Team(installation.world, namespace), "default")
    team = installation.world.team()
    team.service_account("default")
    eventually(lambda: _is_refused(team), "the API server knows of the webhook")
    system = Team(installation.world, "kube-system")
    account = installation.world.account()
    annotation = {"eks.amazonaws.com/role-arn": account.arn("load-balancers")}
    system.service_account("load-balancers", annotations=annotation)
    assert not injected(dry_run(system, "load-balancers"))
    _ready(installation.webhook())
    eventually(lambda: injected(dry_run(system, "load-balancers")), "pods of kube-system are injected", seconds=90)
    assert not injected(dry_run(Team(installation.world, installation.namespace), "default"))


def _is_refused(team: Team) -> bool:
    try:
        dry_run(team, "default")
    except ApiError as error:
        return "mutate.trustbind.dev" in error.message
    return False


@pytest.mark.parametrize("installation", ["helm4"], indirect=True)
@pytest.mark.parametrize("trust", ["Retain", "Revoke"])
def test_uninstalled_with_its_trust(installation: Installation, trust: str) -> None:
    """20 bindings, whose grants are the chart's and go with it: their trust is as the one setting asks."""
    world = installation.world
    account, team = world.account(described=False), world.team()
    names = [f"app-{number:02}" for number in range(20)]
    roles = {name: account.role(name) for name in names}
    installation.values["grants"] = [{
        "name": "everything",
        "namespaces": {"names": [team.namespace]},
        "roleArns": [f"arn:aws:iam::{account.id}:role/*"],
    }]  # fmt: skip
    installation.install()
    world.describe(account)
    operator = installation.operator()
    operator.line(lambda line: '"working"' in line, seconds=60)
    made = [team.binding(roles[name], name, serviceAccountNames=[name], profile=name) for name in names]
    for binding in made:
        binding.ready()

    installation.stop(operator)
    installation.upgrade({"operator": {"settings": {"uninstall": {"trust": trust}}}})
    operator = installation.operator()
    operator.line(lambda line: '"working"' in line, seconds=60)
    for binding in made:
        binding.delete()
    for binding in made:
        binding.gone()
    installation.uninstall()
    installation.stop(operator)

    wanted = {name: [f"{team.namespace}:{name}"] if trust == "Retain" else [] for name in names}
    assert {name: account.subjects(name) for name in names} == wanted
    assert all(account.foreign(name) == [FOREIGN] for name in names)


def test_the_plain_manifests_apply(tools: dict[str, Path], empty_world: World) -> None:
    """Without Helm: kubectl applies the kustomize base twice, the second time changing nothing, and removes it."""

    # It comes last: it takes away what World has put into the namespace of the same name.
    def kubectl(*arguments: str) -> list[str]:
        flags = ("--kubeconfig", str(empty_world.api.kubeconfig()), "-k", str(ROOT / "manifests"))
        command: list[str] = [str(tools["kubectl"]), *arguments, *flags]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    # The tests' own accounts and rules have the same names, and other managers.
    applied = kubectl("apply", "--server-side", "--force-conflicts")
    try:
        assert all(line.endswith("serverside-applied") for line in applied)
        assert not [line for line in kubectl("diff", "--server-side", "--force-conflicts") if line.strip()]
    finally:
        kubectl("delete", "--wait=false")
        empty_world.api.wait(lambda: _is_gone(empty_world), message="the definitions are gone")


def _is_gone(world: World) -> bool:
    items = world.api.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
    return not [item for item in items if item["metadata"]["name"].endswith(".trustbind.dev")]
