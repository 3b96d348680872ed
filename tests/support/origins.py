"""Trust policies as other tools write them: the files of tests/data/origins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from trustbind.identity.subjects import DEFAULT_AUDIENCE

__all__ = ["ORIGINS", "Origin"]

_DATA: Final = Path(__file__).parents[1] / "data" / "origins"


@dataclass(frozen=True)
class Origin:
    """What one tool writes.

    Attributes:
        name: of its file.
        page: of docs/migrate.
        audience: that the OIDC provider of the tool accepts.
        stays: indexes of the statements that no binding takes over.
        works: whether a service account can assume the role before anything is moved.
    """

    name: str
    page: str
    audience: str
    stays: frozenset[int]
    works: bool
    _statements: str

    def statements(self, account: str, host: str, namespace: str, name: str, node: str = "") -> list[dict[str, Any]]:
        """Return the statements of the trust policy of one role.

        Args:
            account: id of the AWS account.
            host: host and path of the issuer.
            namespace: of the service account.
            name: of the service account.
            node: ARN of the role of the nodes, or of an agent.
        """
        text = self._statements
        for placeholder, value in (
            ("ACCOUNT", account),
            ("HOST", host),
            ("NAMESPACE", namespace),
            ("NAME", name),
            ("NODE", node or f"arn:aws:iam::{account}:role/kubernetes-worker-role"),
        ):
            text = text.replace(placeholder, value)
        found: list[dict[str, Any]] = json.loads(text)
        return found


def _read(path: Path) -> Origin:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Origin(
        path.stem,
        case["page"],
        case.get("audience", DEFAULT_AUDIENCE),
        frozenset(case.get("stays", ())),
        case["works"],
        json.dumps(case["statements"]),
    )


ORIGINS: Final = {path.stem: _read(path) for path in sorted(_DATA.glob("*.yaml"))}
