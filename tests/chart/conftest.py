"""The chart, rendered by both versions of Helm."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.charts import Helm, required_tools

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Helm, so that ``-m "not chart"`` leaves them out."""
    for item in items:
        if item.path.is_relative_to(HERE) and "tools" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.chart)


@pytest.fixture(scope="session")
def tools() -> dict[str, Path]:
    """Helm and kubectl; where they are not there, tests are skipped, or fail with TRUSTBIND_REQUIRE_CHART=1."""
    return required_tools()


@pytest.fixture(scope="session", params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, tools: dict[str, Path]) -> Helm:
    """One version of Helm after the other."""
    return Helm(tools[request.param])
