"""The pods that workloads lead to; one file of tests/data/workloads for each case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trustbind.api.manifests import Manifest
from trustbind.errors import ManifestError
from trustbind_cli.files.manifests import DEFAULT_NAMESPACE, sort_out

CASES = sorted((Path(__file__).parents[2] / "data" / "workloads").glob("*.yaml"))


def case(path: Path) -> dict[str, Any]:
    """Return a case."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    """A workload leads to one pod, with the metadata that its controller would give it, and is named with it."""
    wanted = case(path)
    manifest = Manifest("x.yaml", 1, wanted["manifest"])
    if "error" in wanted:
        with pytest.raises(ManifestError) as caught:
            sort_out([manifest])
        assert str(caught.value) == f"x.yaml, document 1: {wanted['error']}"
        return

    objects = sort_out([manifest])

    if wanted["pod"] is None:
        assert objects.pods == []
        assert objects.ignored == [(manifest.describe(), "not used here")]
        return
    (pod,) = objects.pods
    assert pod.body["metadata"] == wanted["pod"]["metadata"]
    assert pod.body["spec"]["serviceAccountName"] == wanted["pod"]["account"]
    assert (pod.body["apiVersion"], pod.body["kind"]) == ("v1", "Pod")
    assert pod.described(manifest.namespace or DEFAULT_NAMESPACE) == wanted["described"]
    assert pod.field("spec.containers[0]") == f"{wanted['path']}.spec.containers[0]"
    assert objects.ignored == []


def test_cases_are_there() -> None:
    """The folder is not empty, and there is a case for each kind of Kubernetes itself."""
    kinds = {case(path)["manifest"]["kind"] for path in CASES}

    assert kinds >= {
        "CronJob",
        "DaemonSet",
        "Deployment",
        "Job",
        "PodTemplate",
        "ReplicaSet",
        "ReplicationController",
        "StatefulSet",
    }
