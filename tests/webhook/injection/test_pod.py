"""The deciding part of a pod."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trustbind_webhook.injection.pod import pod_of


def pod(**spec: Any) -> dict[str, Any]:
    """Return a pod's manifest."""
    return {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "app"}]} | spec}


@pytest.mark.parametrize(
    ("spec", "account"),
    [
        ({}, "default"),
        ({"serviceAccountName": ""}, "default"),
        ({"serviceAccountName": None}, "default"),
        ({"serviceAccountName": "a"}, "a"),
        ({"serviceAccount": "b"}, "b"),
        ({"serviceAccountName": "a", "serviceAccount": "b"}, "a"),
        ({"serviceAccountName": "", "serviceAccount": "b"}, "b"),
    ],
)
def test_account(spec: dict[str, Any], account: str) -> None:
    """The account is the one that the pod names, by either field, or default."""
    assert pod_of(pod(**spec)).account == account


@pytest.mark.parametrize(
    ("spec", "windows"),
    [
        ({}, False),
        ({"os": {"name": "windows"}}, True),
        ({"os": {"name": "linux"}}, False),
        ({"os": {"name": ""}, "nodeSelector": {"kubernetes.io/os": "windows"}}, True),
        ({"os": None}, False),
        ({"nodeSelector": None}, False),
        ({"nodeSelector": {}}, False),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, True),
        ({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}, True),
        ({"nodeSelector": {"kubernetes.io/os": "Windows"}}, False),
        ({"nodeSelector": {"os": "windows"}}, False),
        ({"os": {"name": "linux"}, "nodeSelector": {"kubernetes.io/os": "windows"}}, False),
    ],
)
def test_windows(spec: dict[str, Any], windows: bool) -> None:
    """A Windows pod is told by spec.os, or where that is silent by either spelling of the node selector."""
    assert pod_of(pod(**spec)).is_windows is windows


def test_annotations() -> None:
    """A pod without annotations has none."""
    assert pod_of({"metadata": {}, "spec": {}}).annotations == {}
    assert pod_of({"metadata": {"annotations": None}, "spec": {}}).annotations == {}
    assert pod_of({"metadata": {"annotations": {"a": "b"}}, "spec": {}}).annotations == {"a": "b"}


@pytest.mark.parametrize("manifest", [{}, {"metadata": {}}, {"spec": {}}, pod(containers="x"), pod(os="windows")])
def test_not_a_pod(manifest: dict[str, Any]) -> None:
    """What is not shaped like a pod is refused."""
    with pytest.raises(msgspec.ValidationError):
        pod_of(manifest)
