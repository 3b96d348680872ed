"""The issuer that an API server publishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.kubernetes.test_client import play, says
from trustbind_runtime.kubernetes.client import ApiError, ApiServer
from trustbind_runtime.kubernetes.discovery import read_issuer


def test_published(tmp_path: Path) -> None:
    """It is returned as it is written; what else the document says does not matter."""

    async def scene(api: ApiServer) -> None:
        assert await read_issuer(api) == "https://oidc.example.com/id/1"

    play(tmp_path, says(200, {"issuer": "https://oidc.example.com/id/1", "jwks_uri": 5}), scene)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"issuer": null}', '{"issuer": 5}', "<html>"])
def test_answer_without_an_issuer(tmp_path: Path, body: str) -> None:
    """An answer that names none is an error with the status of an answer: the API server was reached."""

    async def scene(api: ApiServer) -> None:
        with pytest.raises(ApiError, match="does not say what the cluster's issuer is") as caught:
            await read_issuer(api)
        assert caught.value.status == 200

    play(tmp_path, says(200, body), scene)


def test_refused(tmp_path: Path) -> None:
    """A refusal has its own status."""

    async def scene(api: ApiServer) -> None:
        with pytest.raises(ApiError) as caught:
            await read_issuer(api)
        assert caught.value.status == 403

    play(tmp_path, says(403, {"message": "no"}), scene)
