"""RoleBindingSets on a real API server: one binding for each namespace with the labels, which the set owns."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from support.halves import Start
from support.kube import ApiError
from support.processes import eventually
from support.world import API_VERSION, FOREIGN, SECONDS, Account, Binding, Team, World

Json = dict[str, Any]


@pytest.fixture
def label() -> str:
    """A label that no other test has."""
    return f"example.com/{secrets.token_hex(4)}"


def teams(world: World, account: Account, label: str, count: int = 2) -> list[Team]:
    """Create namespaces that have the label, and a grant for each."""
    found = [world.team(**{label: "true"}) for _ in range(count)]
    for team in found:
        team.grant(account)
    return found


def relabel(team: Team, label: str, value: str | None) -> None:
    """Change a label of a namespace; None takes it off."""
    team.world.merge(team.manifest, {"metadata": {"labels": {label: value}}})


def trusted(account: Account, *members: Team, role: str = "app") -> None:
    """Wait until the role trusts ``reader`` of exactly these namespaces."""
    wanted = sorted(f"{team.namespace}:reader" for team in members)
    eventually(lambda: sorted(account.subjects(role)) == wanted, f"{wanted} are trusted", seconds=SECONDS)


def member(team: Team, wanted: Binding) -> Binding:
    """Return the set's binding in a namespace."""
    name = f"set-{wanted.manifest['metadata']['name']}"
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": team.namespace},
    }
    return Binding(team.world, manifest)


@pytest.mark.usefixtures("operator")
def test_namespaces_come_and_go(world: World, label: str) -> None:
    """Trust follows the labels of namespaces; the set says how its bindings are."""
    account = world.account()
    one, two = teams(world, account, label)
    wanted = world.set(account.role(), {label: "true"})

    world.condition(wanted.manifest, "True", "BindingsReady")
    trusted(account, one, two)
    assert wanted.get()["status"]["summary"] == "2/2"
    (owner,) = member(one, wanted).get()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("RoleBindingSet", wanted.get()["metadata"]["uid"])

    (three,) = teams(world, account, label, 1)
    trusted(account, one, two, three)
    relabel(one, label, "false")
    trusted(account, two, three)
    member(one, wanted).gone()
    relabel(one, label, "true")
    trusted(account, one, two, three)
    world.api.delete(two.manifest)
    trusted(account, one, three)
    eventually(lambda: wanted.get()["status"]["summary"] == "2/2", "the set counts again", seconds=SECONDS)
    world.event(wanted.manifest, "BindingsReady")
    assert account.foreign() == [FOREIGN]


@pytest.mark.usefixtures("operator")
def test_set_is_deleted(world: World, label: str) -> None:
    """Kubernetes deletes its bindings with it, whose finalizers revoke the trust; a set of that name begins anew."""
    account = world.account()
    one, two = teams(world, account, label)
    role = account.role()
    wanted = world.set(role, {label: "true"}, "again")
    trusted(account, one, two)

    wanted.delete()
    for team in (one, two):
        member(team, wanted).gone()
    assert account.statements() == [FOREIGN]

    again = world.set(role, {label: "true"}, "again")
    trusted(account, one, two)
    world.condition(again.manifest, "True", "BindingsReady")


@pytest.mark.usefixtures("operator")
def test_template_changes(world: World, label: str) -> None:
    """Every binding follows, also a field that goes; what a team changes in one is put right."""
    account = world.account()
    one, two = teams(world, account, label)
    wanted = world.set(account.role(), {label: "true"}, session={"name": "{namespace}", "durationSeconds": 1800})
    world.condition(wanted.manifest, "True", "BindingsReady")

    wanted.patch(template={"session": {"durationSeconds": None}, "region": "eu-central-1"})

    def spec(team: Team) -> Json:
        found: Json = member(team, wanted).get()["spec"]
        return found

    def follow() -> bool:
        return all(
            (found := spec(team))["session"] == {"name": "{namespace}"} and found.get("region") == "eu-central-1"
            for team in (one, two)
        )

    eventually(follow, "they follow", seconds=SECONDS)
    member(one, wanted).patch(region=None, serviceAccountNames=["reader", "writer"])
    eventually(lambda: spec(one) == spec(two), "it is put right", seconds=SECONDS)
    world.condition(wanted.manifest, "True", "BindingsReady")
    trusted(account, one, two)


@pytest.mark.usefixtures("operator")
def test_what_a_grant_does_not_cover(world: World, label: str) -> None:
    """A label alone gives no namespace the role: its binding needs a grant, and the set names the namespace."""
    account = world.account()
    (one,) = teams(world, account, label, 1)
    stranger = world.team(**{label: "true"})
    wanted = world.set(account.role(), {label: "true"})

    member(stranger, wanted).refused("NotGranted")
    trusted(account, one)
    condition = world.condition(wanted.manifest, "False", "BindingsNotReady")
    eventually(
        lambda: (
            f"in {stranger.namespace} (NotGranted)"
            in world.condition(wanted.manifest, "False", "BindingsNotReady")["message"]
        ),
        "the set names it",
        seconds=SECONDS,
    )
    assert condition


@pytest.mark.usefixtures("operator")
def test_binding_of_a_team_with_that_name(world: World, label: str) -> None:
    """It is neither changed nor deleted, whatever its labels say; the set names the namespace."""
    account = world.account()
    one, two = teams(world, account, label)
    role, other = account.role(), account.role("other")
    own = one.binding(other, "set-mine")
    two_labels = {"trustbind.dev/set": "mine"}
    manifest = two.binding_manifest(other, "set-mine")
    manifest["metadata"]["labels"] = two_labels
    world.api.apply(manifest)
    before = [own.get()["spec"], world.api.get(manifest)["spec"]]

    wanted = world.set(role, {label: "true"}, "mine")

    world.condition(wanted.manifest, "False", "NameTaken")
    wanted.delete()
    wanted.gone()
    own.ready()
    assert [own.get()["spec"], world.api.get(manifest)["spec"]] == before
    assert account.statements() == [FOREIGN]

    wanted = world.set(role, {label: "true"}, "mine")
    own.delete()
    world.api.delete(manifest)
    world.condition(wanted.manifest, "True", "BindingsReady")
    trusted(account, one, two)


def test_switched_off(world: World, start: Start, label: str) -> None:
    """The set says that it has no effect, and which setting is off."""
    start(TRUSTBIND_OPERATOR_ROLE_BINDING_SETS__ENABLED="false")
    account = world.account()
    (team,) = teams(world, account, label, 1)
    wanted = world.set(account.role(), {label: "true"})

    condition = world.condition(wanted.manifest, "False", "SetsDisabled")

    assert "roleBindingSets.enabled: true" in condition["message"]
    with pytest.raises(ApiError):
        member(team, wanted).get()
