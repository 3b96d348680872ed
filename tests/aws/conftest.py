"""A local AWS with an operator's and a target account, for the tests that go over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.target_account import OPERATOR, seed
from trustbind_localaws import LocalAws


@pytest.fixture(scope="module")
def server() -> Iterator[LocalAws]:
    """Return the module's local AWS."""
    with LocalAws() as running:
        yield running


@pytest.fixture
def aws(server: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """Return the local AWS with an operator's account and a target account, where the environment asks for retries."""
    server.reset()
    seed(server)
    server.reset_calls()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": OPERATOR,
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_MAX_ATTEMPTS": "5",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    return server
