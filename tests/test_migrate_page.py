"""The figures in docs/migrate.md are those of the settings."""

from __future__ import annotations

from typing import Final

import pytest
import yaml

from support.pages import DOCS
from trustbind.api.annotations import DEFAULT_EXPIRATION_SECONDS
from trustbind_aws.resources.trust_policy import DEFAULT_PACE
from trustbind_operator.settings import Aws, Pace, Revocation

_CHART: Final = yaml.safe_load((DOCS.parent / "charts/trustbind/values.yaml").read_text(encoding="utf-8"))
_PACE: Final = Pace()
_AWS: Final = Aws()
_PAGE: Final = (DOCS / "migrate.md").read_text(encoding="utf-8")
_LINES: Final = [line.split(" | ") for line in _PAGE.splitlines() if line.startswith("| ")]


def _row(step: str) -> str:
    (found,) = [" | ".join(cells) for cells in _LINES if step in cells[0]]
    return found


@pytest.mark.parametrize(
    ("step", "figures"),
    [
        ("a new pod is injected", [f"{_CHART['webhook']['mutating']['timeoutSeconds']} s"]),
        ("a change of a binding", [f"{_PACE.commit_window_seconds:g} s"]),
        ("200 roles", [f"{_AWS.burst} calls", f"{_AWS.calls_per_second:g} a second"]),
        (
            "other writer's change",
            [f"{_PACE.survey_seconds * 1.1:.0f} s", f"{_PACE.resync_seconds * 1.2 / 60:.0f} minutes"],
        ),
        ("a failed call", [f"{_PACE.retry_seconds:g} s", f"{_PACE.max_retry_seconds / 60:g} minutes"]),
        ("the write shows", [f"{sum(DEFAULT_PACE.visible):.0f} s"]),
        ("a pod's token", [f"{DEFAULT_EXPIRATION_SECONDS // 3600} h"]),
    ],
)
def test_figures(step: str, figures: list[str]) -> None:
    """Each figure is the default of the setting that the row names."""
    row = _row(step)

    assert [figure for figure in figures if figure not in row] == []


def test_time_for_200_roles() -> None:
    """At three calls for each role it is under a minute, and the brake is at a fifth."""
    assert (200 * 3 - _AWS.burst) / _AWS.calls_per_second < 60
    assert Revocation().max_share == 1 / 5
