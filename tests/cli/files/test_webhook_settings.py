"""How ``trustbind preview pod --webhook-config`` takes the cluster's webhook into account.

One file of tests/data/webhook-config for each case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.commands import Cli, account, pod, written

CASES = sorted((Path(__file__).parents[2] / "data" / "webhook-config").glob("*.yaml"))


def in_shop(body: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return an object in the namespace shop."""
    body["metadata"] |= {"namespace": "shop", **metadata}
    return body


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(cli: Cli, path: Path) -> None:
    """See README.md beside the cases."""
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    objects = [in_shop(account()), in_shop(pod(), labels=case.get("pod", {}))]
    if "namespace" in case:
        metadata = {"name": "shop", "labels": case["namespace"]}
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    written("all.yaml", *objects)
    options = case.get("options", [])
    if "config" in case:
        options += ["--webhook-config", written("webhook.yaml", *case["config"])]

    done = cli("preview", "pod", "-f", "all.yaml", "--require-injected", *options)

    assert done.code == case.get("code", 0)
    for text in case.get("said", []):
        assert text in done.err
    assert case.get("said") or done.err == ""
    if done.code == 2:
        assert done.out == ""
        return
    container = yaml.safe_load(done.out)["spec"]["containers"][0]
    env = {each["name"]: each["value"] for each in container.get("env", [])}
    assert ("AWS_ROLE_ARN" in env) == ("env" in case)
    assert env.items() >= case.get("env", {}).items()


def test_cases_are_there() -> None:
    """The folder is not empty."""
    assert len(CASES) > 10
