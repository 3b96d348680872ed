"""``trustbind doctor`` against a real API server, both halves and a local AWS: real faults, one at a time."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from support.agents import EksAccount
from support.halves import Operator, Webhook
from support.processes import eventually
from support.world import FOREIGN, SECONDS, Account, Json, Team, World
from trustbind_cli.main import main

DENIED = "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
ANNOTATION = "eks.amazonaws.com/role-arn"
MOUNT = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
UNSEEN = frozenset({"TB117", "TB121", "TB122", "TB126", "TB137", "TB138", "TB142"})
"""What cannot be seen without --live, without rights in an organization, or by the local AWS."""


@dataclass(frozen=True)
class Answer:
    """What a run came to."""

    code: int
    data: Json
    said: str

    @property
    def cause(self) -> str:
        """Code of the link that is named."""
        return str((self.data["cause"] or {}).get("code", ""))

    def of(self, state: str) -> list[str]:
        """Return the codes of the links in a state."""
        return [each["code"] for each in self.data["checks"] if each["state"] == state]


@dataclass
class Workload:
    """A namespace, an AWS account and what was put into them."""

    world: World
    account: Account
    team: Team
    ask: Callable[..., Answer]

    def pod(self, name: str = "web", *, account: str = "reader", **spec: Any) -> Json:
        """Create a pod that runs, as far as a cluster without nodes can have one."""
        metadata = {"name": name, "namespace": self.team.namespace} | spec.pop("metadata", {})
        containers = [{"name": "main", "image": "example.com/web:1"} | spec.pop("container", {})]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"serviceAccountName": account, "containers": containers + spec.pop("more", [])} | spec,
        }
        created = self.world.api.create(body)
        path = f"{self.world.api.path(created)}/status"
        change = {"status": {"phase": "Running"}}
        self.world.api.request("PATCH", path, change, content_type="application/merge-patch+json")
        return created

    def annotated(self, role: str, name: str = "reader") -> None:
        """Give a service account a role by annotation."""
        self.team.service_account(name, annotations={ANNOTATION: role})

    def provider(self, *audiences: str) -> str:
        """Create the cluster's OIDC provider and return its ARN."""
        url = self.world.issuer
        created = self.account.iam.create_open_id_connect_provider(
            Url=url, ClientIDList=list(audiences or ["sts.amazonaws.com"])
        )
        return str(created["OpenIDConnectProviderArn"])

    def statement(self, name: str = "reader", **changes: Any) -> Json:
        """Return a statement that trusts a service account, with other elements where they are given."""
        host = self.world.issuer.removeprefix("https://")
        subject = f"system:serviceaccount:{self.team.namespace}:{name}"
        return {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{self.account.id}:oidc-provider/{host}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{host}:aud": "sts.amazonaws.com", f"{host}:sub": subject}},
        } | changes

    def trusted(self, *statements: Json, name: str = "app") -> None:
        """Annotate the service account with a role that has these statements, beside a provider."""
        self.provider()
        self.annotated(self.account.role(name, *statements))


@pytest.fixture
def ask(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Return a run of the command in this process: ``ask(account, namespace, "pod/web", ...)``."""

    def run(account: str, namespace: str, *arguments: str, user: str = "") -> Answer:
        kubeconfig = world.api.kubeconfig(user) if user else world.api.kubeconfig()
        monkeypatch.setenv("AWS_ENDPOINT_URL", world.aws.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", account)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unused")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        command = ["trustbind", "doctor", *arguments, "-n", namespace, "--kubeconfig", str(kubeconfig), "-o", "json"]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        assert printed.out, printed.err
        return Answer(int(stopped.value.code or 0), json.loads(printed.out), printed.err)

    return run


@pytest.fixture
def workload(world: World, ask: Callable[..., Answer], webhook: Webhook) -> Workload:
    """Return an AWS account that trustbind does not know, and a namespace with a service account."""
    assert webhook.process.running
    account, team = world.account(described=False, manager=False), world.team()
    team.service_account("reader")
    return Workload(world, account, team, lambda *a, **k: ask(account.id, team.namespace, *a, **k))


def test_healthy_workload(world: World, ask: Callable[..., Answer], webhook: Webhook, operator: Operator) -> None:
    """From a RoleBinding to credentials: every link that can be seen holds, and with --live STS gives credentials."""
    assert webhook.process.running
    assert operator.running
    account, team = world.account(), world.team()
    team.service_account("reader")
    team.grant(account)
    role = account.role("app", path="/team/")
    team.binding(role).ready()
    workload = Workload(world, account, team, lambda *a, **k: ask(account.id, team.namespace, *a, **k))
    world.api.wait(lambda: _injected(workload), message="the webhook knows of the binding")

    plain, live = workload.ask("pod/web", "--all"), workload.ask("pod/web", "--all", "--live")

    assert (plain.of("broken"), live.of("broken")) == ([], []), plain.data
    assert set(plain.of("not visible")) <= UNSEEN
    assert set(live.of("not visible")) <= {"TB137", "TB138"}, live.data
    assert {"TB105", "TB112", "TB124", "TB128", "TB129", "TB135"} <= set(plain.of("ok"))
    assert {"TB117", "TB118", "TB119", "TB120", "TB142"} <= set(live.of("ok"))
    assert (plain.code, live.code) == (0, 0)
    for name in ("serviceaccount/reader", "rolebinding/app", "web"):
        assert workload.ask(name).of("broken") == []

    just = workload.ask("pod/web", "--error", DENIED)
    assert just.cause in {"TB136", ""}  # the write is less than a minute ago, unless this machine is very slow

    operator.stop()  # it would write the statement again
    account.write("app", FOREIGN)
    drifted = workload.ask("pod/web", "--error", DENIED)
    assert drifted.cause == "TB135", drifted.data
    assert f"RoleBinding {team.namespace}/app is Ready" in drifted.data["cause"]["message"]


def _injected(workload: Workload) -> bool:
    """Create the pod again until it has its role."""
    api = workload.world.api
    pod = workload.pod()
    if any(volume["name"] == "aws-iam-token" for volume in pod["spec"].get("volumes", [])):
        return True
    api.delete(pod)
    return False


def not_granted(workload: Workload) -> None:
    """Bind without a grant, and wait until the operator says so."""
    role = workload.account.role("app")
    workload.world.describe(workload.account)
    workload.team.binding(role).refused("NotGranted")
    workload.pod()


def stale(workload: Workload) -> None:
    """Let a principal of the trust policy be deleted, so that the operator cannot write."""
    account, team = workload.account, workload.team
    other = account.role("other")
    trust = {"Effect": "Allow", "Principal": {"AWS": other}, "Action": "sts:AssumeRole"}
    role = account.role("app", trust)
    account.iam.delete_role(RoleName="other")
    workload.provider()
    workload.annotated(role)
    assert team.namespace
    workload.pod()


def older(workload: Workload) -> None:
    """Create the pod first, and annotate in a later second."""
    pod = workload.pod()
    workload.trusted(workload.statement())
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "reader", "namespace": workload.team.namespace},
    }

    def is_later() -> bool:
        workload.world.merge(account, {"metadata": {"annotations": {ANNOTATION: None}}})
        workload.annotated(workload.account.arn("app"))
        fields = workload.world.api.get(account)["metadata"]["managedFields"]
        return max(str(entry["time"]) for entry in fields) > str(pod["metadata"]["creationTimestamp"])

    workload.world.api.wait(is_later, message="the annotation is younger than the pod")


def restored(workload: Workload) -> None:
    """Opt a pod out at its creation and in afterwards, so that it lacks the volume for no visible reason."""
    workload.trusted(workload.statement())
    pod = workload.pod(metadata={"annotations": {"trustbind.dev/inject": "false"}})
    workload.world.merge(pod, {"metadata": {"annotations": {"trustbind.dev/inject": None}}})


def opted_out(workload: Workload) -> None:
    """Opt the pod out."""
    workload.trusted(workload.statement())
    workload.pod(metadata={"annotations": {"trustbind.dev/inject": "false"}})


def other_role(workload: Workload) -> None:
    """Annotate another role after the pod was created."""
    workload.trusted(workload.statement())
    workload.pod()
    workload.annotated(workload.account.role("next", workload.statement()))


def keys_of_a_secret(workload: Workload) -> None:
    """Give the container static keys by envFrom."""
    workload.trusted(workload.statement())
    data = {"stringData": {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very secret"}}
    workload.world.apply("v1", "Secret", "keys", workload.team.namespace, **data)
    workload.pod(container={"envFrom": [{"secretRef": {"name": "keys"}}]})


def second_webhook(workload: Workload) -> None:
    """Register the EKS webhook as well, and let the pod have what it would have added."""
    workload.trusted(workload.statement())
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    entry = {
        "name": "pod-identity-webhook.amazonaws.com",
        "clientConfig": {"url": "https://127.0.0.1:9/mutate"},
        "rules": [rule],
        "objectSelector": {"matchLabels": {"never": workload.team.namespace}},
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    name = f"pod-identity-webhook-{workload.team.namespace}"
    workload.world.apply("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", name, webhooks=[entry])
    workload.pod(container=_env(AWS_ROLE_ARN=workload.account.arn("legacy")))


def own_volume(audience: str, **more: Any) -> Json:
    """Return what a template with a token volume of its own has."""
    token = {"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": 3600}}
    projected = {"sources": [token]} | more
    return {"volumes": [{"name": "aws-iam-token", "projected": projected}]}


def root_token(workload: Workload) -> None:
    """Let only root read the token."""
    workload.trusted(workload.statement())
    sidecar = {"name": "sidecar", "image": "example.com/s:1", "securityContext": {"runAsUser": 0}}
    workload.pod(
        container={"securityContext": {"runAsUser": 1000}},
        more=[sidecar],
        **own_volume("sts.amazonaws.com", defaultMode=0o400),
    )


def other_audience(workload: Workload) -> None:
    """Let the template bring everything, with a token for another audience."""
    workload.trusted(workload.statement())
    role = workload.account.arn("app")
    container = _env(AWS_ROLE_ARN=role, AWS_WEB_IDENTITY_TOKEN_FILE=f"{MOUNT}/token")
    container["volumeMounts"] = [{"name": "aws-iam-token", "mountPath": MOUNT}]
    workload.pod(container=container, **own_volume("vault.example.com"))


def _env(**values: str) -> Json:
    return {"env": [{"name": name, "value": value} for name, value in values.items()]}


def trusting(**changes: Any) -> Callable[[Workload], None]:
    """Return a fault of the trust policy's statement."""

    def make(workload: Workload) -> None:
        workload.trusted(workload.statement(**changes))
        workload.pod()

    return make


def with_env(**values: str) -> Callable[[Workload], None]:
    """Return a fault of the container's variables."""

    def make(workload: Workload) -> None:
        workload.trusted(workload.statement())
        workload.pod(container=_env(**values))

    return make


def expired_condition(workload: Workload) -> None:
    """Add a condition that held until some years ago."""
    statement = workload.statement()
    statement["Condition"]["DateLessThan"] = {"aws:CurrentTime": "2020-01-01T00:00:00Z"}
    workload.trusted(statement)
    workload.pod()


def denied(workload: Workload) -> None:
    """Add a Deny."""
    workload.trusted(workload.statement(), workload.statement(Effect="Deny"))
    workload.pod()


def slash(workload: Workload) -> None:
    """Name a provider that differs from the issuer by a slash."""
    provider = workload.statement()["Principal"]["Federated"]
    workload.trusted(workload.statement(Principal={"Federated": f"{provider}/"}))
    workload.pod()


def no_provider(workload: Workload) -> None:
    """Annotate a role whose AWS account has no provider."""
    workload.annotated(workload.account.role("app", workload.statement()))
    workload.pod()


def other_client_id(workload: Workload) -> None:
    """Create the provider for another audience."""
    workload.provider("vault.example.com")
    workload.annotated(workload.account.role("app", workload.statement()))
    workload.pod()


def no_role(workload: Workload) -> None:
    """Annotate a role that does not exist."""
    workload.provider()
    workload.annotated(workload.account.arn("nowhere"))
    workload.pod()


def other_path(workload: Workload) -> None:
    """Forget the path of the role."""
    workload.provider()
    workload.account.role("app", workload.statement(), path="/team/")
    workload.annotated(workload.account.arn("app"))
    workload.pod()


def deleted_account(workload: Workload) -> None:
    """Delete the service account of a pod."""
    workload.trusted(workload.statement())
    workload.pod()
    metadata = {"name": "reader", "namespace": workload.team.namespace}
    workload.world.api.delete({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})


def quoted(workload: Workload) -> None:
    """Quote the ARN twice."""
    workload.annotated(f'"{workload.account.arn("app")}"')
    workload.pod()


FAULTS: dict[str, tuple[str, Callable[[Workload], object], str]] = {
    "no pod": ("TB102", lambda _: None, "there is no pod/web"),
    "service account default": ("TB103", lambda w: w.pod(account="default"), "service account default"),
    "service account deleted": ("TB104", deleted_account, "there is no service account"),
    "not granted": ("TB105", not_granted, "NotGranted"),
    "annotation in quotes": ("TB105", quoted, "take the quotes off"),
    "second webhook": ("TB108", second_webhook, "pod-identity-webhook"),
    "pod is older": ("TB109", older, "created before the annotation"),
    "opted out": (
        "TB110",
        opted_out,
        "trustbind.dev/inject: false",
    ),
    "no volume": ("TB111", restored, "has no volume aws-iam-token"),
    "another role since": ("TB112", other_role, "by the annotation it is"),
    "static keys of a Secret": ("TB113", keys_of_a_secret, "gets AWS_ACCESS_KEY_ID from Secret/keys"),
    "zone for a region": ("TB114", with_env(AWS_REGION="eu-central-1a"), "which is no AWS region"),
    "proxy": ("TB115", with_env(HTTPS_PROXY="http://"), "which is no address"),
    "token for root": ("TB116", root_token, "runs as user 1000"),
    "issuer but for a slash": ("TB118", slash, "differ by a slash"),
    "audience": ("TB119", other_audience, "vault.example.com"),
    "no provider": ("TB124", no_provider, "has no OIDC provider"),
    "client id": ("TB125", other_client_id, "does not list the audience"),
    "no role": ("TB128", no_role, "there is no role"),
    "path of the role": ("TB128", other_path, "the role of that name is"),
    "not trusted": ("TB129", trusting(Action="sts:AssumeRole"), "does not allow the exchange"),
    "Deny": ("TB130", denied, "denies the exchange"),
    "condition": ("TB131", expired_condition, "aws:CurrentTime"),
    "stale principal": ("TB132", stale, "TB214 StalePrincipal"),
    "session name": ("TB134", with_env(AWS_ROLE_SESSION_NAME="a b"), "which STS does not take"),
}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_first_and_alone(workload: Workload, name: str) -> None:
    """One fault is made, and doctor names that link, where it is, and no other one."""
    code, make, said = FAULTS[name]
    make(workload)

    answer = workload.ask("pod/web")

    assert answer.cause == code, (answer.data["cause"], answer.of("broken"), answer.said)
    assert answer.of("broken") == [code]
    assert said in answer.data["cause"]["message"]
    assert answer.data["cause"]["remedy"]
    assert answer.code == 1
    assert "very secret" not in json.dumps(answer.data)


def bound(world: World, ask: Callable[..., Answer], account: Account) -> Workload:
    """Return a namespace that is granted the roles of an AWS account, with a service account."""
    team = world.team()
    team.service_account("reader")
    team.grant(account)
    return Workload(world, account, team, lambda *a, **k: ask(account.id, team.namespace, *a, **k))


def test_chain(world: World, ask: Callable[..., Answer], webhook: Webhook, operator: Operator) -> None:
    """Source policy and target role are links of their own, and a deleted source policy is named."""
    assert webhook.process.running
    workload = bound(world, ask, account := world.account())
    source, target = account.role("base"), account.role("app")
    spec: Json = {"method": "AssumeRole", "source": {"roleArn": source}, "externalId": "team/4711"}
    workload.team.binding(target, **spec).ready()
    world.api.wait(lambda: _injected(workload), message="the webhook knows of the binding")

    healthy = workload.ask("pod/web", "--all")
    assert healthy.of("broken") == [], healthy.data
    assert "TB140" in healthy.of("ok"), healthy.data["checks"][39]

    operator.stop()  # it would write the policy again
    for name in account.iam.list_role_policies(RoleName="base")["PolicyNames"]:
        account.iam.delete_role_policy(RoleName="base", PolicyName=name)
    answer = workload.ask("pod/web")
    assert (answer.cause, answer.of("broken")) == ("TB140", ["TB140"]), answer.data
    assert f"no inline policy of source role {source}" in answer.data["cause"]["message"]


def test_session_that_is_too_long(
    world: World, ask: Callable[..., Answer], webhook: Webhook, operator: Operator
) -> None:
    """A binding may ask for more than the role's MaxSessionDuration, which is one hour here."""
    assert webhook.process.running
    assert operator.running
    workload = bound(world, ask, account := world.account())
    workload.team.binding(account.role("app"), session={"durationSeconds": 7200})
    world.api.wait(lambda: _injected(workload), message="the webhook knows of the binding")

    answer = eventually(
        lambda: found if (found := workload.ask("pod/web")).cause == "TB133" else None, "TB133", seconds=SECONDS
    )

    assert answer.of("broken") == ["TB133"], answer.data
    assert "a session of 7200 s is asked for" in answer.data["cause"]["message"]


def test_pod_identity(world: World, ask: Callable[..., Answer], webhook: Webhook, operator: Operator) -> None:
    """Without an agent nothing gives the credentials; with one, and an association, every link holds."""
    assert webhook.process.running
    assert operator.running
    eks = EksAccount.of(world)
    workload = bound(world, ask, eks.account)
    eks.grant(workload.team)
    eks.binding(workload.team, eks.role()).ready()
    world.api.wait(lambda: _has_agent(workload), message="the webhook knows of the binding")

    without = workload.ask("pod/web", "--region", "eu-central-1")
    assert (without.cause, without.of("broken")) == ("TB141", ["TB141"]), without.data
    assert "no EKS Pod Identity agent runs" in without.data["cause"]["message"]

    labels = {"app.kubernetes.io/name": "eks-pod-identity-agent"}
    system = Workload(world, eks.account, Team(world, "kube-system"), workload.ask)
    agent = system.pod(f"agent-{eks.account.id}", account="default", metadata={"labels": labels})
    try:
        healthy = workload.ask("pod/web", "--region", "eu-central-1", "--all")
        operator.stop()  # it would make the association again
        for made in eks.there().values():
            eks.client.delete_pod_identity_association(clusterName=eks.name, associationId=made["associationId"])
        missing = workload.ask("pod/web", "--region", "eu-central-1")
    finally:
        world.api.delete(agent)
    assert healthy.of("broken") == [], healthy.data
    assert "TB141" in healthy.of("ok")
    assert (missing.cause, missing.of("broken")) == ("TB141", ["TB141"]), missing.data
    assert "EKS has no Pod Identity association" in missing.data["cause"]["message"]


def _has_agent(workload: Workload) -> bool:
    """Create the pod again until it gets its credentials of the agent."""
    pod = workload.pod()
    if any(volume["name"] == "eks-pod-identity-token" for volume in pod["spec"].get("volumes", [])):
        return True
    workload.world.api.delete(pod)
    return False


def test_own_rights(workload: Workload) -> None:
    """Without the right to read pods nothing can be said, and that is what is said."""
    workload.pod()

    answer = workload.ask("pod/web", user=f"{workload.team.namespace}/reader")

    assert (answer.cause, answer.code) == ("TB101", 1)
    assert "get pods" in answer.data["cause"]["message"]


def test_namespace_without_the_webhook(world: World, ask: Callable[..., Answer], webhook: Webhook) -> None:
    """Pods of kube-system are out of the webhook's scope, as it is registered here."""
    assert webhook.process.running
    account = world.account(described=False, manager=False)
    name = f"reader-{account.id}"
    metadata = {"annotations": {ANNOTATION: account.role("app")}}
    world.apply("v1", "ServiceAccount", name, "kube-system", metadata=metadata)
    workload = Workload(
        world, account, Team(world, "kube-system"), lambda *a, **k: ask(account.id, "kube-system", *a, **k)
    )
    pod = workload.pod(name, account=name)

    answer = workload.ask(f"pod/{name}")
    world.api.delete(pod)

    assert (answer.cause, answer.of("broken")) == ("TB106", ["TB106"]), answer.data
    assert "kube-system" in answer.data["cause"]["message"]


def test_webhook_without_endpoints(workload: Workload) -> None:
    """A Service with nobody behind it explains a pod that was let through without its role."""
    workload.trusted(workload.statement())
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    entry = {
        "name": "mutate.trustbind.dev",
        "clientConfig": {"service": {"namespace": workload.team.namespace, "name": "nobody", "path": "/mutate"}},
        "rules": [rule],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": workload.team.namespace}},
    }
    name = f"a-{workload.team.namespace}"
    workload.world.apply("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", name, webhooks=[entry])
    pod = workload.pod(metadata={"annotations": {"trustbind.dev/inject": "false"}})
    workload.world.merge(pod, {"metadata": {"annotations": {"trustbind.dev/inject": None}}})

    answer = workload.ask("pod/web")

    assert (answer.cause, answer.of("broken")) == ("TB107", ["TB107"]), answer.data
    assert f"{workload.team.namespace}/nobody" in answer.data["cause"]["message"]


def test_issuer_that_is_not_public(workload: Workload) -> None:
    """With --live and without an exchange that worked, the issuer of this cluster cannot be read by AWS."""
    workload.trusted(workload.statement(Action="sts:AssumeRole"))
    workload.pod()

    answer = workload.ask("pod/web", "--live")

    assert answer.cause == "TB121", answer.data


def test_credentials_of_another_aws_account(workload: Workload, ask: Callable[..., Answer]) -> None:
    """The role cannot be seen then, so nothing is broken, and nothing is called fine."""
    workload.trusted(workload.statement())
    workload.pod()

    answer = ask("111122223333", workload.team.namespace, "pod/web", "--all")

    assert (answer.of("broken"), answer.code) == ([], 3)
    assert {"TB123", "TB124", "TB128", "TB129"} <= set(answer.of("not visible"))


def test_permissions_not_trust(workload: Workload) -> None:
    """A denied call of the role itself is no question of trust, and doctor says so first."""
    workload.trusted(workload.statement())
    workload.pod()
    caller = f"arn:aws:sts::{workload.account.id}:assumed-role/app/x"

    answer = workload.ask("pod/web", "--error", f"User: {caller} is not authorized to perform: s3:GetObject on x")

    assert (answer.cause, answer.of("broken")) == ("TB139", ["TB139"])
