"""The files of the guides, applied as they stand to a real API server with both halves: what the pages promise."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.guide_scene import WHOAMI, Guide
from support.halves import Operator, Webhook, webhook_registration
from support.kubeclient import ROOT, load_manifests
from support.processes import eventually
from support.world import FOREIGN, SECONDS, SYSTEM, World
from trustbind.identity.subjects import Issuer
from trustbind.policy.source_policy import policy_name

pytestmark = pytest.mark.usefixtures("operator", "webhook")

OURS, SHARED, PARTNER = "444455556666", "111122223333", "777788889999"
FEED = f"arn:aws:iam::{PARTNER}:role/feed"
BASE = f"arn:aws:iam::{SHARED}:role/workloads/base"


Opens = Callable[[str], Guide]


@pytest.fixture
def another_operator(operator: Operator, world: World) -> Iterator[Callable[..., Operator]]:
    """Return what starts an operator with other settings in the usual one's place."""
    started: list[Operator] = []

    def starts(**settings: str) -> Operator:
        operator.kill()
        other = Operator(world, {f"TRUSTBIND_OPERATOR_{name}": value for name, value in settings.items()})
        started.append(other)
        return other.start()

    yield starts
    for other in started:
        other.kill()
    operator.start()


@pytest.fixture
def open_guide(world: World, operator: Operator, tmp_path: Path) -> Iterator[Opens]:
    """Return what opens a page in an empty namespace ``team-a``; what it applies is removed."""
    opened: list[Guide] = []

    def opens(page: str) -> Guide:
        guide = Guide(world, page, tmp_path)
        opened.append(guide)
        guide.namespace()
        return guide

    yield opens
    if not operator.running:  # bindings go by its hand
        operator.start()
    for guide in opened:
        guide.clear()


def test_chain(open_guide: Opens) -> None:
    """chains.md: Ready with its message, the pod's program is the target role, and all goes from the near end."""
    guide = open_guide("chains.md")
    near, far = guide.account(SHARED), guide.account(PARTNER, chains=False)
    near.role("base", path="/workloads/")
    far.role("feed")
    guide.apply("platform.yaml", "feed.yaml", "pod.yaml")
    binding = guide.binding("partner-feed")

    message = binding.ready()["message"]

    page = guide.page.read_text(encoding="utf-8")
    assert message == f"{FEED} trusts {BASE}, which trusts 1 service account of this binding"
    assert message in page
    done = guide.program(guide.pod("pod.yaml"))
    assert done.stdout.split()[0] == f"arn:aws:sts::{PARTNER}:assumed-role/feed/team-a.reader.import-7", done.stderr
    name = policy_name(Issuer(guide.world.issuer))
    assert near.iam.list_role_policies(RoleName="base")["PolicyNames"] == [name]
    binding.delete()
    binding.gone()
    assert near.statements("base") == far.statements("feed") == [FOREIGN]
    assert near.iam.list_role_policies(RoleName="base")["PolicyNames"] == []
    guide.forget(near, "base")
    guide.forget(far, "feed")


def test_chain_half_way(open_guide: Opens) -> None:
    """chains.md: what lacks is told with the role's place in the chain, and the chain is finished once it is there."""
    guide = open_guide("chains.md")
    near, far = guide.account(SHARED, chains=False), guide.account(PARTNER, chains=False)
    far.role("feed")
    guide.apply("platform.yaml", "feed.yaml")
    binding = guide.binding("partner-feed")

    # Both roles say what lacks, and the one that ran last is shown.
    eventually(
        lambda: binding.refused("")["reason"] in {"PolicyRejected", "RoleNotFound"},
        "the source role is missed",
        seconds=SECONDS,
    )
    near.role("base", path="/workloads/")
    told = binding.refused("AccessDenied")["message"]

    assert told.startswith(f"source role {BASE}: iam:GetRolePolicy on {BASE}: ")
    assert "managePermission: false" in told
    assert near.statements("base") == [FOREIGN]
    assert len(far.owned("feed")) == 1
    binding.patch(source={"managePermission": False})
    binding.ready()
    binding.delete()
    binding.gone()
    assert near.statements("base") == far.statements("feed") == [FOREIGN]
    guide.forget(near, "base")
    guide.forget(far, "feed")


def test_source_made_again(open_guide: Opens) -> None:
    """chains.md: a source role that was deleted and created again is let in anew, without anybody's help."""
    guide = open_guide("chains.md")
    near, far = guide.account(SHARED), guide.account(PARTNER)
    near.role("base", path="/workloads/")
    far.role("feed")
    guide.apply("platform.yaml", "feed.yaml")
    guide.binding("partner-feed").ready()

    guide.forget(near, "base")
    (stale,) = far.owned("feed")
    assert stale["Principal"]["AWS"] != BASE
    near.role("base", path="/workloads/")

    eventually(lambda: near.subjects("base") == ["team-a:reader"], "the source lets in again", seconds=SECONDS)
    eventually(lambda: far.owned("feed")[0]["Principal"] == {"AWS": BASE}, "the name is back", seconds=SECONDS)
    guide.binding("partner-feed").ready()
    guide.forget(near, "base")
    guide.forget(far, "feed")


def test_several_roles(open_guide: Opens) -> None:
    """several-roles.md: a role and a region for each profile, and of two bindings of one profile the older one."""
    guide = open_guide("several-roles.md")
    account = guide.account(OURS)
    for role in ("s3-reader", "archive", "second"):
        account.role(role, path="/team-a/")
    guide.describe(OURS)
    guide.apply("bindings.yaml", "pod.yaml")
    guide.binding("s3-reader").ready()
    guide.binding("archive").ready()

    pod = guide.pod("pod.yaml")

    session = "team-a.reader.report-7"
    sts = f"arn:aws:sts::{OURS}:assumed-role"
    assert guide.program(pod).stdout.split() == [f"{sts}/s3-reader/{session}", "eu-central-1"]
    assert guide.program(pod, WHOAMI, "archive").stdout.split() == [f"{sts}/archive/{session}", "us-west-2"]
    assert guide.program(pod, AWS_PROFILE="archive").stdout.split() == [f"{sts}/archive/{session}", "us-west-2"]

    second = guide.like("archive", "second", roleArn=account.arn("second", "/team-a/"))
    message = second.refused("ProfileConflict")["message"]
    assert message in guide.page.read_text(encoding="utf-8")
    guide.binding("archive").ready()
    guide.forget(account, "s3-reader", "archive", "second")


def test_wait_until_ready(open_guide: Opens) -> None:
    """wait-until-ready.md: held and told, let go once the binding is ready, and then not held any more."""
    guide = open_guide("wait-until-ready.md")
    account = guide.account(OURS)
    account.role("migration", path="/team-a/")
    guide.describe(PARTNER, namespace="team-b")  # a grant, but none for this
    guide.apply("binding.yaml", "pod.yaml")
    binding = guide.binding("migration")
    binding.refused("NotGranted")

    pod = guide.pod("pod.yaml")

    page = guide.page.read_text(encoding="utf-8")
    assert guide.gates(pod) == ["trustbind.dev/trust"]
    assert guide.world.event(pod, "WaitingForTrust")["message"] in page
    assert guide.gates(pod) == ["trustbind.dev/trust"]
    guide.describe(OURS)
    binding.ready()
    eventually(lambda: guide.gates(pod) == [], "the gate is gone", seconds=SECONDS)
    assert "trustbind.dev/waiting" not in guide.world.api.get(pod)["metadata"].get("labels", {})
    assert guide.world.event(pod, "TrustReady")["message"] in page
    done = guide.program(pod)
    assert done.stdout.startswith(f"arn:aws:sts::{OURS}:assumed-role/migration/"), done.stderr

    def again() -> bool:
        guide.world.api.request("DELETE", f"{guide.world.api.path(pod)}?gracePeriodSeconds=0")
        return guide.gates(guide.pod("pod.yaml")) == []

    eventually(again, "a pod of a ready binding is not held", seconds=SECONDS)
    guide.forget(account, "migration")


@pytest.mark.parametrize("late", [True, False])
def test_wait_is_bounded(open_guide: Opens, another_operator: Callable[..., Operator], *, late: bool) -> None:
    """wait-until-ready.md: after the time a pod is let go or waits on, by setting, and is told in the page's words."""
    guide = open_guide("wait-until-ready.md")
    another_operator(PODS__MAX_WAIT_SECONDS="2", PODS__RELEASE_LATE=str(late))
    guide.apply("binding.yaml", "pod.yaml")
    pod = guide.pod("pod.yaml")

    event = guide.world.event(pod, "WaitedTooLong")

    said, _, _ = event["message"].partition(" RoleBinding")
    page = " ".join(guide.page.read_text(encoding="utf-8").split())
    assert said.replace(" 2 s", " 300 s") in page
    assert event["type"] == "Warning"
    if late:
        eventually(lambda: guide.gates(pod) == [], "the gate is gone", seconds=SECONDS)
    else:
        assert guide.gates(pod) == ["trustbind.dev/trust"]


def test_without_an_operator(open_guide: Opens, tmp_path: Path) -> None:
    """wait-until-ready.md: with gates switched off, a binding gives its pods their role and holds none of them."""
    guide = open_guide("wait-until-ready.md")
    (values,) = (v for v in guide.values() if not v["operator"].get("enabled", True))
    guide.apply("binding.yaml", "pod.yaml")
    webhook = Webhook(guide.world, tmp_path, **values["webhook"]["settings"])
    with webhook.process:
        paths = eventually(lambda: patched(webhook, "team-a", "migration"), "it knows the binding", seconds=SECONDS)

    assert any(path.startswith("/spec/containers/0/env") for path in paths)
    assert not any(path.startswith("/spec/schedulingGates") for path in paths)


def test_roles_from_a_config_map(open_guide: Opens, tmp_path: Path) -> None:
    """configmap.md: with the page's settings, pods get the roles of the page's ConfigMap, by ARN and by name."""
    guide = open_guide("configmap.md")
    guide.namespace("team-b")
    reads = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["pod-identity-webhook"]}]
    meta = {"name": "trustbind-webhook-roles", "namespace": "kube-system"}
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": meta}
    guide.put(rbac | {"kind": "Role", "rules": [rule | {"verbs": ["list", "watch"]} for rule in reads]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "trustbind-webhook-roles"}
    who = {"kind": "ServiceAccount", "name": "trustbind-webhook", "namespace": SYSTEM}
    guide.put(rbac | {"kind": "RoleBinding", "roleRef": role, "subjects": [who]})
    guide.apply("roles.yaml", "pods.yaml")
    (values,) = guide.values()
    webhook = Webhook(guide.world, tmp_path, **values["webhook"]["settings"])
    with webhook.process:
        reader, shipper = (added(webhook, *who) for who in (("team-a", "reader"), ("team-b", "log-shipper")))

    assert f'"value": "arn:aws:iam::{OURS}:role/team-a/s3-reader"' in reader
    assert '"audience": "amazonaws.com", "expirationSeconds": 3600' in reader
    assert f'"value": "arn:aws:iam::{OURS}:role/log-shipper"' in shipper
    assert '"audience": "amazonaws.com", "expirationSeconds": 86400' in shipper
    assert '"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"' in shipper


def patched(webhook: Webhook, namespace: str, account: str) -> list[str]:
    """Return where a webhook would change a pod."""
    return [operation["path"] for operation in json.loads(added(webhook, namespace, account))]


def added(webhook: Webhook, namespace: str, account: str) -> str:
    """Return how a webhook would change a pod, as JSON in the usual spelling."""
    answer: dict[str, Any] = webhook.review(namespace, account)
    return json.dumps(json.loads(base64.b64decode(answer["patch"])) if "patch" in answer else [])


def test_missed_pods(open_guide: Opens, operator: Operator) -> None:
    """missed-pods.md: each running pod that came before its binding is told of, in the page's words, and counted."""
    guide = open_guide("missed-pods.md")
    account = guide.account(OURS)
    account.role("s3-reader", path="/team-a/")
    missed = two_missed(guide)

    page = guide.page.read_text(encoding="utf-8")
    for pod in missed:
        event = guide.world.event(pod, "PodMissed")
        assert event["type"] == "Warning"
        assert event["message"] in page
    eventually(lambda: "trustbind_operator_missed_pods 2.0" in operator.get("/metrics")[1], "counted", seconds=SECONDS)
    assert len(operator.says("pod missed")) >= 2
    assert {pod["metadata"]["uid"] for pod in guide.pods()} == {pod["metadata"]["uid"] for pod in missed}
    guide.forget(account, "s3-reader")


def two_missed(guide: Guide) -> list[dict[str, Any]]:
    """Let the page's Deployment run before its binding comes; return its pods."""
    guide.describe(OURS)
    guide.apply("account.yaml", "deployment.yaml")
    pods = eventually(lambda: p if len(p := guide.pods()) == 2 else None, "two pods", seconds=SECONDS)
    for pod in pods:
        guide.runs(pod)
    guide.apply("binding.yaml")
    guide.binding("s3-reader").ready()
    return pods


def test_missed_pods_are_evicted(open_guide: Opens, another_operator: Callable[..., Operator]) -> None:
    """missed-pods.md: a missed pod goes when its budget lets it, and its successor has the role."""
    guide = open_guide("missed-pods.md")
    world = guide.world
    account = guide.account(OURS)
    account.role("s3-reader", path="/team-a/")
    guide.apply("budget.yaml")
    allow(guide, 0)
    world.api.apply(load_manifests(ROOT / "manifests" / "rbac" / "operator-evict-missed.yaml"))
    since = world.audited()
    another_operator(PODS__EVICT_MISSED="true")
    before = {pod["metadata"]["uid"] for pod in two_missed(guide)}

    def refused() -> bool:
        asked = world.audit("trustbind-operator", since)
        evictions = [e for e in asked if e.get("objectRef", {}).get("subresource") == "eviction"]
        return any(e["responseStatus"]["code"] == 429 for e in evictions)

    eventually(refused, "the budget holds", seconds=SECONDS)
    assert {pod["metadata"]["uid"] for pod in guide.pods()} == before
    allow(guide, 1)

    def successors() -> list[dict[str, Any]]:
        return [pod for pod in guide.pods() if pod["metadata"]["uid"] not in before]

    (successor,) = eventually(successors, "a successor", seconds=SECONDS)
    assert "aws-iam-token" in {volume["name"] for volume in successor["spec"]["volumes"]}
    assert len(before & {pod["metadata"]["uid"] for pod in guide.pods()}) == 1
    guide.forget(account, "s3-reader")


@pytest.fixture
def narrow_webhook(webhook: Webhook, world: World) -> Iterator[None]:
    """Let the webhook be asked about no pod, by a rule that the operator does not know."""
    usual = webhook_registration(webhook)
    (hook,) = usual["webhooks"]
    world.api.apply(usual | {"webhooks": [hook | {"objectSelector": {"matchLabels": {"example.com/asked": "yes"}}}]})
    yield
    world.api.apply(usual)


@pytest.mark.usefixtures("narrow_webhook")
def test_successors_are_left_alone(open_guide: Opens, another_operator: Callable[..., Operator]) -> None:
    """missed-pods.md: where the webhook is not asked, pods are evicted once, and their successors are told of."""
    guide = open_guide("missed-pods.md")
    world = guide.world
    account = guide.account(OURS)
    account.role("s3-reader", path="/team-a/")
    world.api.apply(load_manifests(ROOT / "manifests" / "rbac" / "operator-evict-missed.yaml"))
    another_operator(PODS__EVICT_MISSED="true")
    before = {pod["metadata"]["uid"] for pod in two_missed(guide)}

    def successors() -> list[dict[str, Any]]:
        found = [pod for pod in guide.pods() if pod["metadata"]["uid"] not in before]
        return found if len(found) == 2 else []

    made = eventually(successors, "two successors", seconds=SECONDS)
    since = world.audited()
    for pod in made:
        guide.runs(pod)
    for pod in made:
        assert "in place of one that was evicted" in world.event(pod, "PodMissed")["message"]

    def looks() -> list[dict[str, Any]]:
        asked = world.audit("trustbind-operator", since)
        return [
            e for e in asked if e["requestURI"].startswith("/api/v1/pods?") and "phase%3DRunning" in e["requestURI"]
        ]

    eventually(lambda: len(looks()) > 4, "more looks that find them", seconds=SECONDS)
    assert {pod["metadata"]["uid"] for pod in guide.pods()} == {pod["metadata"]["uid"] for pod in made}
    guide.forget(account, "s3-reader")


def allow(guide: Guide, disruptions: int) -> None:
    """Say what the disruption controller would say of the page's budget; it does not run here."""
    (budget,) = guide.objects("budget.yaml")
    status = {
        "observedGeneration": guide.world.api.get(budget)["metadata"]["generation"],
        "disruptionsAllowed": disruptions,
        "currentHealthy": 1 + disruptions,
        "desiredHealthy": 1,
        "expectedPods": 2,
    }
    path = f"{guide.world.api.path(budget)}/status"
    guide.world.api.request("PATCH", path, {"status": status}, content_type="application/merge-patch+json")
