"""A kubeconfig that cannot be used: one sentence that names the file and the fault, and no secret."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from trustbind_runtime.kubernetes.client import ApiServer, NoClusterError
from trustbind_runtime.kubernetes.kubeconfig import namespace_of

SECRET = "Zq7secretXw9"


def config(
    cluster: Mapping[str, Any] | None = None, user: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Return a kubeconfig with one context, and other parts where they are given."""
    server = {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": server if cluster is None else cluster}],
        "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
    } | more


def tls(**more: str) -> dict[str, Any]:
    """Return a cluster whose certificate is verified."""
    return {"server": "https://127.0.0.1:1"} | {key.replace("_", "-"): value for key, value in more.items()}


BROKEN: dict[str, tuple[Any, str]] = {
    "no YAML": (f"a: [b\npassword: {SECRET}", "it is not YAML (line 2)"),
    "text": (SECRET, "it does not have the form of a kubeconfig"),
    "list": ([SECRET], "it does not have the form of a kubeconfig"),
    "empty": ("", "it does not have the form of a kubeconfig"),
    "deep": ("[" * 5000, "it "),
    "no UTF-8": (b"\xff\xfe\x00", "it is not text in UTF-8"),
    "no object": ({}, "it "),
    "no current context": (config() | {"current-context": ""}, "it has no current context"),
    "contexts": (config(contexts=5), "it does not have the form of a kubeconfig"),
    "other context": (config() | {"current-context": "two"}, "it has no context 'two'; see 'kubectl config get-"),
    "no cluster": (config(clusters=[]), "it has no cluster 'c'"),
    "server": (config({"server": 5}), "it does not have the form of a kubeconfig"),
    "no name": (config(users=[{"user": {"token": SECRET}}]), "it does not have the form of a kubeconfig"),
    "authority": (config(tls(certificate_authority="/none/ca.crt")), "there is no file /none/ca.crt, which it names"),
    "authority data": (config(tls(certificate_authority_data="!!!")), "a certificate or key of the cluster"),
    "no authority": (config(tls(certificate_authority_data="aGVsbG8=")), "a certificate or key of the cluster"),
    "client": (config(user={"client-certificate": "/none/c", "client-key": "/none/k"}), "there is no file /none/c"),
    "oidc": (
        config(user={"auth-provider": {"name": "oidc", "config": {"id-token": SECRET}}}),
        "oidc: JWT tokens should contain 3 period-delimited parts",
    ),
}


def written(path: Path, content: Any) -> str:
    """Write a kubeconfig and return its name."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("how", ["option", "environment"])
def test_broken_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str) -> None:
    """Whatever is wrong with it, and however it is named."""
    content, said = BROKEN[name]
    path = written(tmp_path / "config", content)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", path)

    with pytest.raises(NoClusterError) as caught:
        asyncio.run(ApiServer.connect(path if how == "option" else ""))

    assert said in str(caught.value)
    assert caught.value.is_absent is any(word in str(caught.value) for word in ("no context", "no current context"))
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    if "of the cluster" not in said:
        assert path in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("folder", "it is a directory; name a file"), ("gone", "there is no such file")],
)
def test_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    said: str,
) -> None:
    """A directory, or nothing; the client logs nothing of its own beside it."""
    (tmp_path / "folder").mkdir()
    path = str(tmp_path / name)
    for option, environment in ((path, ""), ("", path)):
        monkeypatch.setenv("KUBECONFIG", environment)
        with pytest.raises(NoClusterError, match=said) as caught:
            asyncio.run(ApiServer.connect(option, prefers_kubeconfig=True))
        assert caught.value.is_absent is (name == "gone")
        with pytest.raises(NoClusterError, match=said):
            namespace_of(option, None)
    assert caplog.messages == []


def test_namespace_of_a_context(tmp_path: Path) -> None:
    """Of the context that is named, else of the current one; a context that is not there has none."""
    other = {"name": "two", "context": {"cluster": "c", "user": "u"}}
    path = written(tmp_path / "config", config(contexts=[*config()["contexts"], other]))

    assert (namespace_of(path, None), namespace_of(path, "two")) == ("shop", "")
    with pytest.raises(NoClusterError, match="it has no context 'three'"):
        namespace_of(path, "three")
