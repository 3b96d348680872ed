"""Which cluster and namespace a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.commands import Cli
from trustbind_cli import cluster_access
from trustbind_cli.cluster_access import ClusterAccess

CONFIG = """\
current-context: one
contexts: [{name: one, context: {cluster: c, user: u, namespace: shop}}, {name: two, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
"""


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a kubeconfig; this machine is a pod of namespace team-a as well."""
    file = tmp_path / "namespace"
    file.write_text("team-a", encoding="utf-8")
    monkeypatch.setattr(cluster_access, "_NAMESPACE_FILE", file)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    path = tmp_path / "config"
    path.write_text(CONFIG, encoding="utf-8")
    return str(path)


def test_namespace(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, else the context's, and in a pod without a kubeconfig the pod's own."""
    assert ClusterAccess(namespace="x").chosen_namespace() == "x"
    assert ClusterAccess().chosen_namespace() == "team-a"
    assert ClusterAccess(kubeconfig).chosen_namespace() == "shop"
    assert ClusterAccess(kubeconfig, "two").chosen_namespace() == "default"
    assert ClusterAccess(kubeconfig, "three").chosen_namespace() == "default"
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    assert ClusterAccess().chosen_namespace() == "shop"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.setenv("HOME", "/none")
    assert ClusterAccess().chosen_namespace() == "default"


@pytest.mark.parametrize("text", ["- a list", "{}", "a: [", "current-context: none\ncontexts: []\n"])
def test_broken_kubeconfig(cli: Cli, tmp_path: Path, text: str) -> None:
    """A command says so in one sentence: status cannot go on, doctor goes on without the cluster."""
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")

    status = cli("status", "--kubeconfig", str(path))
    doctor = cli("doctor", "pod/web", "--kubeconfig", str(path))

    assert (status.code, status.out, len(status.err.splitlines())) == (2, "", 1)
    assert status.err.startswith(f"trustbind: the kubeconfig {path} cannot be used: it ")
    assert (doctor.code, doctor.err) == (3, "")
    assert doctor.out.count(f"the kubeconfig {path} cannot be used: it ") == 1
