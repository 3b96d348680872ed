"""``trustbind evaluate`` on one case a file, most of them made from public reports.

A case has ``files`` (name to content), perhaps the claims of a ``token`` (written to token.jwt), ``arguments``, the
``exit`` code, and what the output ``contains`` and ``lacks``; ``source`` says where the right answer comes from.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from support.commands import Cli

DATA = Path(__file__).parents[2] / "data" / "evaluate"
FIELDS = {"source", "files", "token", "arguments", "exit", "contains", "lacks"}


def token_of(claims: dict[str, Any]) -> str:
    """Return a JWT with these claims and a signature that is none."""
    encoded = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{encoded}.c2ln"


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.stem)
def test_case(cli: Cli, path: Path) -> None:
    """Exit code and output are the expected ones, and no part of the token is shown."""
    case = json.loads(path.read_text(encoding="utf-8"))
    assert case.keys() <= FIELDS
    assert case["source"]
    assert case["contains"]
    for name, content in case["files"].items():
        Path(name).write_text(json.dumps(content), encoding="utf-8")
    token = token_of(case.get("token", {}))
    Path("token.jwt").write_text(token, encoding="utf-8")

    done = cli("evaluate", *case["arguments"])

    printed = done.out + done.err
    assert done.code == case["exit"], printed
    for text in case["contains"]:
        assert text in printed
    for text in case.get("lacks", []):
        assert text not in printed
    assert token.split(".")[1] not in printed
