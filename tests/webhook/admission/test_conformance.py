"""What the EKS pod identity webhook made of many pods, and what we make of them.

Each file below ``data/conformance`` holds a pod, its account's annotations, the cluster's settings, and the pod that
AWS's webhook (built from its public source) turned it into. In ``same`` we have to agree; in ``differences`` we
disagree on purpose: the file says in what, and why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, decide
from trustbind_webhook.injection.json_patch import applied, patch
from trustbind_webhook.injection.pod import pod_of

DATA = Path(__file__).parents[2] / "data" / "conformance"
SESSION = "AWS_ROLE_SESSION_NAME"
SETTINGS = {
    "annotationPrefix": "annotation_prefix",
    "audience": "audience",
    "mountPath": "mount_path",
    "region": "region",
    "stsRegionalEndpoints": "sts_regional_endpoints",
    "tokenExpiration": "token_expiration_seconds",
}
ABSENT = "absent"


def read_cases(folder: str) -> list[Any]:
    """Return the cases of one folder."""
    return [
        pytest.param(json.loads(path.read_text(encoding="utf-8")), id=path.stem)
        for path in sorted((DATA / folder).glob("*.json"))
    ]


SAME = read_cases("same")
DIFFERENCES = read_cases("differences")


def ours(case: dict[str, Any]) -> dict[str, Any]:
    """Return the pod as we would have it stored."""
    pod = pod_of(case["pod"])
    annotations = case["annotations"]
    account = None if annotations is None else Account(case["namespace"], pod.account, annotations)
    settings = InjectionSettings(**{SETTINGS[key]: value for key, value in case["settings"].items()})
    outcome = decide(pod, account, (), settings, namespace=case["namespace"], unique="a-review")
    return applied(case["pod"], patch(outcome) if isinstance(outcome, Inject) else ())


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return path to value of all leaves, without what Go's encoding of a pod adds or leaves out: empty values."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{path}.{key}".lstrip(".")).items()}
    if isinstance(value, list):
        # The named improvement: a session name, which AWS's webhook does not give.
        kept = [v for v in value if not (isinstance(v, dict) and v.get("name") == SESSION)]
        return {k: v for index, inner in enumerate(kept) for k, v in flat(inner, f"{path}[{index}]").items()}
    return {} if value in ("", None) else {path: value}


def disagreement(case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return path to both values wherever the two pods differ."""
    theirs, mine = flat(case["eks"]), flat(ours(case))
    return {
        path: {"eks": theirs.get(path, ABSENT), "trustbind": mine.get(path, ABSENT)}
        for path in sorted(theirs.keys() | mine.keys())
        if theirs.get(path) != mine.get(path)
    }


@pytest.mark.parametrize("case", SAME)
def test_same(case: dict[str, Any]) -> None:
    """The pod comes out as from AWS's webhook, the session name apart."""
    assert disagreement(case) == {}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_difference(case: dict[str, Any]) -> None:
    """The pod differs from AWS's exactly as the file says, and the file says why."""
    assert case["reason"]
    assert case["differs"]
    assert disagreement(case) == case["differs"]


def test_enough() -> None:
    """The comparison stands on many cases, so that a lost data folder does not pass for agreement."""
    assert len(SAME) >= 100
    assert len(DIFFERENCES) >= 20


def test_every_difference_is_documented() -> None:
    """Each deliberate difference stands in the compatibility document under its file's name."""
    text = (Path(__file__).parents[3] / "docs" / "decisions" / "0003-compatibility.md").read_text(encoding="utf-8")
    missing = [path.stem for path in sorted((DATA / "differences").glob("*.json")) if f"`{path.stem}`" not in text]
    assert missing == []
