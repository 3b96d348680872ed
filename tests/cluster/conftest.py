"""Everything in this folder runs against a real kube-apiserver, one for each run of the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kube import ApiServer, BinariesNotFoundError, find_binaries

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
