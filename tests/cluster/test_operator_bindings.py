"""How bindings come to be of selectors and annotations, and how they end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import boto3
import botocore.exceptions
import pytest
import yaml
from botocore.config import Config

from support.halves import Operator, Start
from support.kube import ApiError
from support.processes import eventually
from support.world import API_VERSION, FOREIGN, SECONDS, Account, Binding, Team, World

pytestmark = pytest.mark.usefixtures("operator")


def trusted(account: Account, team: Team, *names: str, role: str = "app") -> None:
    """Wait until the role lets in exactly these service accounts of the team."""
    wanted = [f"{team.namespace}:{name}" for name in names]
    eventually(lambda: account.subjects(role) == wanted, f"{wanted} are let in", seconds=SECONDS)


# --- selectors ------------------------------------------------------------------------------------------------------


def test_a_selector_follows_service_accounts(world: World) -> None:
    """Accounts are let in when they come or get the label, and out when they go or lose it."""
    account, team = world.account(), world.team()
    team.grant(account)
    team.service_account("a", labels={"tier": "batch"})
    team.service_account("b", labels={"tier": "web"})
    binding = team.binding(account.role(), serviceAccountSelector={"matchLabels": {"tier": "batch"}})
    binding.ready()
    trusted(account, team, "a")
    team.service_account("b", labels={"tier": "batch"})
    trusted(account, team, "a", "b")
    c = team.service_account("c", labels={"tier": "batch"})
    trusted(account, team, "a", "b", "c")
    team.service_account("a", labels={"tier": "web"})
    trusted(account, team, "b", "c")
    world.api.delete(c)
    trusted(account, team, "b")
    eventually(
        lambda: binding.get()["status"]["subjects"] == [f"system:serviceaccount:{team.namespace}:b"],
        "the status shows whom",
        seconds=SECONDS,
    )
    binding.ready()
    assert account.foreign() == [FOREIGN]


# --- annotations ----------------------------------------------------------------------------------------------------


ROLE = "eks.amazonaws.com/role-arn"
ONE_TRY: Final = Config(retries={"total_max_attempts": 1})


def annotated(team: Team, **annotations: str | None) -> None:
    """Change annotations of service account ``web``; an underscore stands for a dash."""
    named = {f"eks.amazonaws.com/{key.replace('_', '-')}": value for key, value in annotations.items()}
    manifest = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": team.namespace}}
    team.world.merge(manifest, {"metadata": {"annotations": named}})


def bindings(team: Team) -> list[dict[str, Any]]:
    """Return the namespace's RoleBindings."""
    path = f"/apis/{API_VERSION}/namespaces/{team.namespace}/rolebindings"
    items: list[dict[str, Any]] = team.world.api.request("GET", path)["items"]
    return items


def test_annotating_an_account_is_all(world: World) -> None:
    """An annotated account gets a binding of its own, which follows the annotation and goes with it."""
    account, team = world.account(), world.team()
    team.grant(account)
    one, two = account.role("one"), account.role("two")
    team.service_account("web", annotations={ROLE: one})
    trusted(account, team, "web", role="one")
    (made,) = bindings(team)
    assert made["metadata"]["name"] == "annotated-web"
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("ServiceAccount", "web")
    binding = Binding(world, {"apiVersion": API_VERSION, "kind": "RoleBinding", "metadata": made["metadata"]})

    annotated(team, audience="vault.example.com", token_expiration="1200")
    eventually(lambda: binding.get()["spec"]["audience"] == "vault.example.com", "the audience", seconds=SECONDS)
    eventually(lambda: binding.get()["spec"].get("token") == {"expirationSeconds": 1200}, "the token", seconds=SECONDS)
    annotated(team, audience=None, token_expiration=None)
    eventually(lambda: "token" not in binding.get()["spec"], "the token's default", seconds=SECONDS)

    annotated(team, role_arn=two)
    trusted(account, team, "web", role="two")
    assert account.statements("one") == [FOREIGN]

    binding.delete()  # by hand, although the annotation is still there
    eventually(lambda: [b for b in bindings(team) if b["metadata"]["uid"] != made["metadata"]["uid"]], "a new one")
    trusted(account, team, "web", role="two")

    sa = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": team.namespace}}
    world.merge(sa, {"metadata": {"annotations": {"trustbind.dev/inject": "false"}}})
    eventually(lambda: not bindings(team), "it is opted out", seconds=SECONDS)
    world.merge(sa, {"metadata": {"annotations": {"trustbind.dev/inject": None}}})
    trusted(account, team, "web", role="two")
    annotated(team, role_arn=None)
    eventually(lambda: not bindings(team), "the annotation is gone", seconds=SECONDS)
    assert account.statements("two") == [FOREIGN]


@contextlib.contextmanager
def assuming(world: World, role: str, team: Team, name: str) -> Iterator[Callable[[], int]]:
    """Assume a role with a service account's token all the time; yield a count of the tries; none may fail."""
    token = world.api.token(team.namespace, name, "sts.amazonaws.com", 3600)
    anonymous = boto3.client("sts", region_name="us-east-1", endpoint_url=world.aws.url, config=ONE_TRY)
    over, tried, refused = threading.Event(), [0], list[str]()

    def assume() -> None:
        while not over.is_set():
            tried[0] += 1
            try:
                anonymous.assume_role_with_web_identity(
                    RoleArn=role, RoleSessionName="workload", WebIdentityToken=token
                )
            except botocore.exceptions.ClientError as error:
                refused.append(str(error))

    thread = threading.Thread(target=assume)
    thread.start()
    try:
        yield lambda: tried[0]
    finally:
        over.set()
        thread.join()
        anonymous.close()
    assert refused == []


@pytest.mark.parametrize("is_narrower", [False, True])
def test_own_binding_takes_over_without_a_moment_without_trust(world: World, is_narrower: bool) -> None:
    """It is Ready beside the generated one, which goes then; no request of a workload is refused meanwhile.

    Also where the user's binding has a condition of its own, and so another statement.
    """
    account, team = world.account(), world.team()
    team.grant(account)
    role = account.role()
    condition = {"operator": "StringLike", "key": "sts:RoleSessionName", "values": ["work*"]}
    team.service_account("web", annotations={ROLE: role})
    trusted(account, team, "web")
    Binding(world, team.binding_manifest(role, "annotated-web")).ready()
    statements = account.owned()
    with assuming(world, role, team, "web") as tried:
        own = team.binding(role, "web", serviceAccountNames=["web"], conditions=[condition] if is_narrower else None)
        own.ready()
        eventually(lambda: len(bindings(team)) == 1, "the generated one is gone", seconds=SECONDS)
        after = tried()
        eventually(lambda: tried() > after + 5, "the workload goes on", seconds=SECONDS)
    assert [binding["metadata"]["name"] for binding in bindings(team)] == ["web"]
    assert "ProfileConflict" not in {event["reason"] for event in own.events()}
    trusted(account, team, "web")
    assert (account.owned() == statements) is not is_narrower

    own.delete()
    own.gone()
    trusted(account, team, "web")
    assert [binding["metadata"]["name"] for binding in bindings(team)] == ["annotated-web"]


def test_own_binding_that_is_not_granted_takes_nothing(world: World) -> None:
    """The generated binding keeps the trust, and the user's says what it lacks."""
    account, team = world.account(), world.team()
    team.grant(account, audiences=["sts.amazonaws.com"])
    role = account.role()
    team.service_account("web", annotations={ROLE: role})
    trusted(account, team, "web")
    with assuming(world, role, team, "web") as tried:
        own = team.binding(role, "web", serviceAccountNames=["web"], audience="vault.example.com")
        own.refused("NotGranted")
        after = tried()
        eventually(lambda: tried() > after + 5, "the workload goes on", seconds=SECONDS)
    assert len(bindings(team)) == 2


def test_report_binds_nothing(world: World, start: Start) -> None:
    """With mode Report one ConfigMap says what mode Bind would bind and by which grant; nothing is made."""
    account, team, elsewhere = world.account(), world.team(), world.team()
    settings = {
        "MODE": "Report",
        "NAMESPACE_SELECTOR": f"{{matchLabels: {{kubernetes.io/metadata.name: {team.namespace}}}}}",
    }
    operator = start(**{f"TRUSTBIND_OPERATOR_BIND_ANNOTATED__{name}": value for name, value in settings.items()})
    role = account.role()
    team.service_account("web", annotations={ROLE: role})
    team.service_account("odd", annotations={ROLE: "web"})
    elsewhere.service_account("web", annotations={ROLE: role})

    def report(name: str) -> Any:
        path = "/api/v1/namespaces/trustbind-system/configmaps/trustbind-annotated"
        return yaml.safe_load((world.api.request("GET", path).get("data") or {}).get(name, ""))

    def states() -> dict[str, str]:
        return {entry["serviceAccount"]: entry["state"] for entry in report("service-accounts.yaml") or ()}

    web, odd = f"{team.namespace}/web", f"{team.namespace}/odd"
    eventually(lambda: states() == {web: "Refused", odd: "InvalidRoleArn"}, "the report", seconds=SECONDS)
    assert report("summary.yaml")["outOfScope"] >= 1
    team.grant(account)
    eventually(lambda: states().get(web) == "Granted", "the grant is seen", seconds=SECONDS)
    (entry,) = (each for each in report("service-accounts.yaml") if each["serviceAccount"] == web)
    assert entry["roleGrant"] == team.namespace
    own = team.binding(role, serviceAccountNames=["web"])
    own.ready()
    eventually(lambda: states().get(web) == "Bound", "the binding is seen", seconds=SECONDS)
    metric = 'trustbind_operator_annotated_service_accounts{state="Bound"} 1.0'
    eventually(lambda: metric in operator.get("/metrics")[1], "the numbers are shown", seconds=SECONDS)
    assert [binding["metadata"]["name"] for binding in bindings(team)] == ["app"]
    assert bindings(elsewhere) == []


def test_an_annotated_account_that_goes_takes_its_binding_along(world: World) -> None:
    """The garbage collector deletes the binding, and the binding's end revokes the trust."""
    account, team = world.account(), world.team()
    team.grant(account)
    manifest = team.service_account("web", annotations={ROLE: account.role()})
    trusted(account, team, "web")
    world.api.delete(manifest)
    eventually(lambda: not bindings(team), "the binding is gone", seconds=60)
    assert account.statements() == [FOREIGN]


def test_a_binding_of_that_name_that_a_user_made_stays(world: World) -> None:
    """What is not marked as made from an annotation is left alone, and an annotation needs a grant as well."""
    account, team = world.account(), world.team()
    role = account.role()
    own = team.binding(role, "annotated-web", profile="mine")
    team.service_account("web", annotations={ROLE: role})
    team.service_account("api", annotations={ROLE: role})
    made = Binding(world, team.binding_manifest(role, "annotated-api"))
    made.refused("NotGranted")
    assert own.get()["spec"]["profile"] == "mine"
    team.grant(account)
    made.ready()
    own.ready()


# --- the end --------------------------------------------------------------------------------------------------------


def in_order(world: World, **spec: Any) -> tuple[Account, Team, Binding]:
    """Return a binding that is Ready, with its account and namespace."""
    account, team = world.account(), world.team()
    team.grant(account)
    binding = team.binding(account.role(), **spec)
    binding.ready()
    return account, team, binding


@pytest.mark.parametrize(
    ("fault", "reason"), [("deny", "AccessDenied"), ("throttle", "Throttled"), ("unreachable", "AccountUnreachable")]
)
def test_a_binding_stays_until_its_trust_is_revoked(world: World, fault: str, reason: str) -> None:
    """While it cannot be revoked the finalizer stays, with a condition that says why; then it goes by itself."""
    account, _, binding = in_order(world)
    ours = account.owned()
    if fault == "unreachable":
        world.aws.unreachable(account.id)
    else:
        getattr(world.aws, fault)(account.id, ["UpdateAssumeRolePolicy", "GetRole"])
    binding.delete()
    condition = world.condition(binding.manifest, "False", reason)
    assert condition["message"].startswith("its trust could not be revoked, so it is kept: ")
    assert world.event(binding.manifest, reason)["type"] == "Warning"
    assert binding.get()["metadata"]["finalizers"] == ["trustbind.dev/trust"]
    world.aws.clear_faults()
    assert account.owned() == ours
    binding.gone()
    assert account.statements() == [FOREIGN]
    assert world.event(binding.manifest, "TrustRevoked")["type"] == "Normal"


def test_a_binding_goes_with_its_role(world: World) -> None:
    """Where there is no role any more there is nothing to revoke."""
    account, _, binding = in_order(world)
    account.iam.delete_role(RoleName="app")
    binding.delete()
    binding.gone()


def test_the_rest_stays_as_it_is(world: World) -> None:
    """A binding that goes takes its own accounts out of the statement, and others' stay."""
    account, team, binding = in_order(world, serviceAccountNames=["reader", "both"])
    other = team.binding(account.arn("app"), "other", serviceAccountNames=["both", "writer"], profile="other")
    other.ready()
    trusted(account, team, "both", "reader", "writer")
    binding.delete()
    binding.gone()
    trusted(account, team, "both", "writer")
    other.ready()


def _retained_after_a_survey(world: World, account: Account) -> tuple[int, list[Any]]:
    """Ask for a survey, and return what the AWSAccount says is retained."""
    annotation = {"trustbind.dev/reconcile-requested-at": str(time.monotonic())}
    world.merge(account.manifest, {"metadata": {"annotations": annotation}})
    status = world.api.get(account.manifest).get("status", {})
    return status.get("retainedSubjects", 0), status.get("retained", [])


def test_trust_that_is_to_be_retained(world: World) -> None:
    """With Retain the statement stays as good as before, in a statement of its own, until its grant goes."""
    account, team, binding = in_order(world, deletionPolicy="Retain")
    (ours,) = account.owned()
    binding.delete()
    binding.gone()
    assert world.event(binding.manifest, "TrustRetained")["type"] == "Normal"
    foreign, left = account.statements()
    assert foreign == FOREIGN
    assert left["Sid"] == ours["Sid"][:25] + "Retained" + ours["Sid"][25:]
    assert left["Condition"] == ours["Condition"]
    entry = {"roleArn": account.arn("app"), "subject": f"system:serviceaccount:{team.namespace}:reader"}
    eventually(lambda: _retained_after_a_survey(world, account) == (1, [entry]), "it is shown", seconds=SECONDS)
    team.grant(account, allowRetain=False)
    eventually(lambda: _retained_after_a_survey(world, account) == (0, []), "it is shown no more", seconds=SECONDS)
    assert account.statements() == [FOREIGN]


def test_a_binding_that_was_never_applied_goes_at_once(world: World) -> None:
    """Without trust there is nothing to revoke and nothing to wait for."""
    account, team = world.account(), world.team()
    binding = team.binding(account.role())
    binding.refused("NotGranted")
    binding.delete()
    binding.gone()
    assert account.calls("UpdateAssumeRolePolicy") == 0


def test_a_namespace_goes(world: World) -> None:
    """The bindings of a namespace that is deleted are revoked, and do not hold it up."""
    account, team, _ = in_order(world)
    team.binding(account.role("second"), "second", profile="second").ready()
    world.api.delete(team.manifest)
    world.gone(team.manifest, seconds=60)
    assert account.statements() == [FOREIGN]
    assert account.statements("second") == [FOREIGN]


def test_an_account_stays_while_bindings_need_it(world: World) -> None:
    """An AWSAccount that is deleted too early is held, says for what, and goes after its last binding."""
    account, _, binding = in_order(world)
    world.api.delete(account.manifest)
    condition = world.condition(account.manifest, "False", "Pending")
    assert str(binding.manifest["metadata"]["name"]) in condition["message"]
    assert "kept until its 1 binding" in condition["message"]
    binding.delete()
    binding.gone()
    world.gone(account.manifest)
    assert account.statements() == [FOREIGN]


def test_an_account_that_nobody_needs_goes_at_once(world: World) -> None:
    """Without a binding there is nothing to hold an AWSAccount for."""
    account = world.account()
    account.ready()
    world.api.delete(account.manifest)
    world.gone(account.manifest)


def _forced(binding: Binding) -> None:
    """Take the finalizer off by force, and delete the binding."""
    binding.world.merge(binding.manifest, {"metadata": {"finalizers": None}})
    with contextlib.suppress(ApiError):  # a binding that was being deleted is gone by now
        binding.delete()


def test_a_finalizer_that_is_removed_comes_back(world: World) -> None:
    """A living binding that loses its finalizer gets it again: without it, trust could be left over."""
    _, _, binding = in_order(world)
    world.merge(binding.manifest, {"metadata": {"finalizers": None}})
    eventually(lambda: binding.get()["metadata"].get("finalizers") == ["trustbind.dev/trust"], "the finalizer is back")


def test_a_binding_that_is_removed_by_force(world: World) -> None:
    """Whoever deletes a binding and takes its finalizer off leaves no trust behind."""
    account, _, binding = in_order(world)
    world.aws.deny(account.id, ["UpdateAssumeRolePolicy"])
    binding.delete()
    world.condition(binding.manifest, "False", "AccessDenied")
    _forced(binding)
    binding.gone()
    world.aws.clear_faults()
    eventually(lambda: account.statements() == [FOREIGN], "the statement is gone", seconds=SECONDS)


def test_a_binding_that_is_removed_while_nobody_looks(world: World, operator: Operator) -> None:
    """A statement of ours that no binding is about is found by a search of the account, and removed."""
    account, _, binding = in_order(world)
    operator.kill()
    _forced(binding)
    binding.gone()
    assert len(account.owned()) == 1
    operator.start()
    eventually(lambda: account.statements() == [FOREIGN], "the statement is gone", seconds=SECONDS)
