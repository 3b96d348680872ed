"""Every test of this folder runs with each SDK in turn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk.programs import PROGRAMS, Program
from sdk.scene import ISSUER, Scene
from trustbind_localaws import LocalAws, TokenIssuer


@pytest.fixture(scope="session")
def issuer() -> TokenIssuer:
    """Return the cluster's token issuer; one for all tests, since making RSA keys takes time."""
    return TokenIssuer(ISSUER)


@pytest.fixture(scope="session")
def server() -> Iterator[LocalAws]:
    """Return the local AWS of all tests."""
    with LocalAws() as running:
        yield running


@pytest.fixture(
    params=[
        pytest.param(program, id=type(program).__name__, marks=pytest.mark.sdk if program.prepared else ())
        for program in PROGRAMS
    ]
)
def program(request: pytest.FixtureRequest) -> Program:
    """Return each program in turn.

    One that is not installed is skipped; with TRUSTBIND_REQUIRE_SDKS=1 it fails.
    """
    found: Program = request.param
    if problem := found.problem():
        if os.environ.get("TRUSTBIND_REQUIRE_SDKS") == "1":
            pytest.fail(problem, pytrace=False)
        pytest.skip(problem)
    return found


@pytest.fixture
def scene(server: LocalAws, issuer: TokenIssuer, tmp_path: Path, program: Program) -> Scene:
    """Return an empty AWS, and a pod to be admitted."""
    server.reset()
    server.register_issuer(ISSUER, issuer.jwks())
    return Scene(server, issuer, tmp_path, program)
