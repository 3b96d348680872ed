"""Everything in this folder runs against a real kube-apiserver, one for each run of the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.halves import LEASE, Operator, Start, Webhook, webhook_registration
from support.kube import ApiServer, BinariesNotFoundError, find_binaries
from support.world import World
from trustbind_localaws import LocalAws

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that ``-m "not cluster"`` leaves all of them out."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A running API server with controllers and our CRDs.

    Where there is none to be had, tests are skipped; with TRUSTBIND_REQUIRE_CLUSTER=1 they fail.
    """
    binaries, problem = None, ""
    try:
        binaries = find_binaries(os.environ)
    except BinariesNotFoundError as error:
        problem = str(error)
    if binaries is None:
        if os.environ.get("TRUSTBIND_REQUIRE_CLUSTER") == "1":
            pytest.fail(problem, pytrace=False)
        pytest.skip(problem)
    with ApiServer(binaries, tmp_path_factory.mktemp("cluster"), controllers=True) as server:
        server.install_crds()
        yield server


@pytest.fixture(scope="session")
def shared_world(api_server: ApiServer) -> Iterator[World]:
    """The API server with one local AWS."""
    with LocalAws() as aws:
        yield World(api_server, aws)


@pytest.fixture(scope="session")
def shared_operator(shared_world: World) -> Iterator[Operator]:
    """The operator that all tests share; a test may end it."""
    operator = Operator(shared_world)
    yield operator
    operator.kill()


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The world; what a test makes there is removed afterwards."""
    yield shared_world
    shared_world.clear()


@pytest.fixture
def operator(shared_operator: Operator, world: World) -> Iterator[Operator]:
    """The operator, running; whatever surprised it fails the test, and so does its end."""
    if not shared_operator.running:
        shared_operator.start()
    before = len(shared_operator.output)
    yield shared_operator
    world.clear()
    assert not shared_operator.has_failed, "the operator has ended:\n" + "\n".join(shared_operator.output[-20:])
    surprises = [line for line in shared_operator.output[before:] if "unexpected" in line or "Traceback" in line]
    assert not surprises, "\n".join(surprises)


@pytest.fixture
def start(world: World, shared_operator: Operator) -> Iterator[Start]:
    """Start further operators in the place of the shared one; they end with the test."""
    if shared_operator.running:
        shared_operator.stop()
    started: list[Operator] = []

    def start(*, until: str = '"working"', **env: str) -> Operator:
        started.append(Operator(world, env))
        return started[-1].start(until=until)

    yield start
    for operator in started:
        operator.kill()
    world.merge(LEASE, {"spec": {"holderIdentity": None}})


@pytest.fixture(scope="session")
def webhook(shared_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """The webhook as a process under its own account, registered for pods of all namespaces but the system's."""
    webhook = Webhook(shared_world, tmp_path_factory.mktemp("webhook"))
    with webhook.process:
        registration = webhook_registration(webhook)
        shared_world.api.apply(registration)
        yield webhook
        shared_world.api.delete(registration)
