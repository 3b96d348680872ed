"""One commit for all bindings of a role, several clusters on the same roles, and an operator that is killed."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.clients import Colleague
from support.clusters import clusters
from support.halves import Start
from support.kube import ApiError
from support.processes import eventually
from support.world import API_VERSION, FOREIGN, SECONDS, Binding, Team, World
from trustbind.api.labels import REVOCATION_ALLOWED_AT

COMMIT_WINDOW = 0.2
"""The operator's default, in seconds."""


def all_ready(team: Team, count: int, seconds: float = 60) -> None:
    """Wait until the namespace has this many bindings, each Ready as it is now."""
    path = f"/apis/{API_VERSION}/namespaces/{team.namespace}/rolebindings"

    def ready() -> bool:
        items = team.world.api.request("GET", path)["items"]
        return len(items) == count and all(_is_ready(item) for item in items)

    eventually(ready, f"{count} bindings are Ready", seconds=seconds, every=0.1)


def _is_ready(item: dict[str, Any]) -> bool:
    return any(
        (c["type"], c["status"], c["observedGeneration"]) == ("Ready", "True", item["metadata"]["generation"])
        for c in item.get("status", {}).get("conditions", [])
    )


@pytest.mark.usefixtures("operator")
def test_many_bindings_share_a_commit(world: World) -> None:
    """300 bindings of one role take as many writes as commit windows have passed, not 300."""
    account, team = world.account(described=False), world.team()
    world.aws.set_quota(account.id, 16384)
    world.describe(account)
    team.grant(account)
    role = account.role()
    account.ready()
    world.aws.reset_calls()
    started = time.monotonic()

    def create(number: int) -> None:
        team.binding(role, f"b{number:03}", serviceAccountNames=[f"a{number:03}"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(300)))
    all_ready(team, 300)
    windows = math.ceil((time.monotonic() - started) / COMMIT_WINDOW)
    reads, writes = account.calls("GetRole"), account.calls("UpdateAssumeRolePolicy")
    assert 1 <= writes <= min(windows + 2, 60), f"{writes} writes in {windows} windows"
    assert reads <= 2 * (windows + 2), f"{reads} reads in {windows} windows"
    (statement,) = account.owned()
    assert len(account.subjects()) == 300
    assert account.foreign() == [FOREIGN]

    world.aws.reset_calls()
    started = time.monotonic()
    path = f"/apis/{API_VERSION}/namespaces/{team.namespace}/rolebindings"
    world.api.request("DELETE", path)
    world.condition(account.manifest, "True", "MassRevocation", type_="RevocationPaused")
    assert len(account.subjects()) >= 240  # a fifth may go at once

    def gone() -> bool:
        """Allow what is to go now, as often as more comes; return whether all are gone."""
        now = str(time.monotonic())
        world.merge(account.manifest, {"metadata": {"annotations": {REVOCATION_ALLOWED_AT: now}}})
        return not world.api.request("GET", path)["items"]

    eventually(gone, "all are gone", seconds=60, every=1.0)
    windows = math.ceil((time.monotonic() - started) / COMMIT_WINDOW)
    assert account.calls("UpdateAssumeRolePolicy") <= min(windows + 2, 60)
    assert account.statements() == [FOREIGN]
    assert statement["Sid"].startswith(world.sid_prefix)


# --- several clusters -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("operator")
def test_three_clusters_and_a_colleague(world: World, tmp_path: Path) -> None:
    """Three operators and somebody else write the same 20 roles; once it is calm nothing is lost."""
    account = world.account(described=False)
    world.aws.set_quota(account.id, 4096)
    world.describe(account)
    names = [f"app-{n:02}" for n in range(20)]
    roles = [account.role(name) for name in names]
    with clusters(world, tmp_path, 2) as worlds:
        shared = [account, *(w.share(account) for w in worlds[1:])]
        teams = [w.team() for w in worlds]
        for team, known in zip(teams, shared, strict=True):
            team.grant(known)

        def bind(team: Team, name: str) -> None:
            for role in roles:
                suffix = role.rpartition("/")[2]
                team.binding(role, f"{name}-{suffix}", serviceAccountNames=[name], profile=suffix)

        with Colleague(account, names) as colleague, ThreadPoolExecutor(3) as pool:
            for name in ("reader", "writer"):
                list(pool.map(bind, teams, [name] * 3))
            for team in teams:
                all_ready(team, 40, seconds=90)
        assert colleague.edits > 20

        def calm() -> bool:
            return colleague.settle() and all(
                known.subjects(name) == [f"{team.namespace}:reader", f"{team.namespace}:writer"]
                for team, known in zip(teams, shared, strict=True)
                for name in names
            )

        eventually(calm, "nothing is lost", seconds=60, every=0.5)
        for team in teams:
            all_ready(team, 40)
        for name in names:
            statements = account.statements(name)
            sids = sorted(s["Sid"] for s in statements if not s["Sid"].startswith("Trustbind"))
            assert sids in (["Colleague", "Ops"], ["Ops"])
            assert len(statements) == 3 + len(sids)


# --- an operator that is killed -------------------------------------------------------------------------------------


class Changes:
    """Creates, changes and deletes bindings at random, and knows what should come of it."""

    def __init__(self, team: Team, roles: list[str], chance: random.Random) -> None:
        self._team = team
        self._roles = roles
        self._chance = chance
        self._serial = 0
        self.live: dict[str, tuple[Binding, str, list[str]]] = {}

    def one(self) -> None:
        """Make one change."""
        kinds: list[Callable[[], None]] = [self._create, self._create]
        if self.live:
            kinds += [self._update, self._delete]
        self._chance.choice(kinds)()

    def _accounts(self) -> list[str]:
        return [f"a{self._serial}-{n}" for n in range(self._chance.randint(1, 3))]

    def _create(self) -> None:
        self._serial += 1
        role, name, accounts = self._chance.choice(self._roles), f"b{self._serial}", self._accounts()
        self.live[name] = (self._team.binding(role, name, serviceAccountNames=accounts), role, accounts)

    def _update(self) -> None:
        self._serial += 1
        name = self._chance.choice(sorted(self.live))
        binding, role, _ = self.live[name]
        accounts = self._accounts()
        binding.patch(serviceAccountNames=accounts)
        self.live[name] = (binding, role, accounts)

    def _delete(self) -> None:
        binding, *_ = self.live.pop(self._chance.choice(sorted(self.live)))
        binding.delete()

    def subjects(self, role: str) -> list[str]:
        """Return whom a role should let in."""
        names = {name for _, where, accounts in self.live.values() if where == role for name in accounts}
        return sorted(f"{self._team.namespace}:{name}" for name in names)


def test_an_operator_that_is_killed_again_and_again(world: World, start: Start) -> None:
    """SIGKILL at random moments of 200 changes: it converges, no finalizer hangs, no statement is lost or left."""
    operator = start(
        TRUSTBIND_OPERATOR_REVOCATION__MAX_SHARE="1",  # half of the changes revoke
        TRUSTBIND_OPERATOR_LEASE__DURATION_SECONDS="10",  # for which each start waits
        TRUSTBIND_OPERATOR_LEASE__RENEW_DEADLINE_SECONDS="6",
    )
    account, team = world.account(described=False), world.team()
    world.aws.set_quota(account.id, 8192)
    world.describe(account)
    team.grant(account)
    names = [f"app-{n}" for n in range(8)]
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
    changes = Changes(team, [account.role(name) for name in names], chance)
    moments = set(chance.sample(range(20, 200), 6))
    for number in range(200):
        changes.one()
        if number in moments:
            operator.kill()
        elif number - 3 in moments and not operator.running:
            operator.start()
    if not operator.running:
        operator.start()
    try:
        all_ready(team, len(changes.live))
        for name in names:
            assert account.subjects(name) == changes.subjects(account.arn(name))
            assert account.foreign(name) == [FOREIGN]
        for binding, *_ in changes.live.values():
            binding.delete()
        eventually(lambda: not _left(team), "all are gone", seconds=SECONDS)
        assert all(account.statements(name) == [FOREIGN] for name in names)
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise


def _left(team: Team) -> list[Any]:
    items: list[Any] = team.world.api.request("GET", f"/apis/{API_VERSION}/namespaces/{team.namespace}/rolebindings")[
        "items"
    ]
    return items


# --- many roles of an account that throttles ------------------------------------------------------------------------


@pytest.mark.usefixtures("operator")
def test_fifty_roles_of_an_account_that_throttles(world: World) -> None:
    """IAM answers a few calls a second: it takes longer, is told, holds nobody else up, and ends well."""
    busy, quiet = world.account(), world.account()
    team = world.team()
    team.grant(busy, quiet)
    busy.ready()
    roles = [busy.role(f"app-{n:02}") for n in range(50)]
    other = quiet.role()
    world.aws.throttle(busy.id, ["GetRole", "UpdateAssumeRolePolicy"], rate=25)
    for number, role in enumerate(roles):
        team.binding(role, f"b{number:02}", profile=f"p{number}")
    team.binding(other, "other", profile="other").ready()
    all_ready(team, 51)
    with contextlib.suppress(ApiError):
        world.api.delete(team.manifest)
