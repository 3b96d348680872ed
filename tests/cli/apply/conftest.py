"""A local AWS for the module, and a user at a shell in the demo's world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.apply.shell import Shell
from trustbind_cli.demo.fixtures import ISSUER, world
from trustbind_localaws import LocalAws, TokenIssuer


@pytest.fixture(scope="module")
def jwks() -> dict[str, Any]:
    """Return the issuer's keys; made once, since that takes time."""
    return TokenIssuer(ISSUER).jwks()


@pytest.fixture(scope="module")
def server() -> Iterator[LocalAws]:
    """Return the module's local AWS."""
    with LocalAws() as running:
        yield running


@pytest.fixture
def shell(server: LocalAws, jwks: dict[str, Any], tmp_path: Path) -> Shell:
    """Return a shell in the beginning's world."""
    server.reset()
    server.clear_faults()
    return Shell(server, world(jwks), tmp_path)
