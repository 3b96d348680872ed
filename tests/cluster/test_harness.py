"""What the other tests of this folder rely on."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jwt
import pytest

from support.kube import ApiError, ApiServer, BinariesNotFoundError, find_binaries


def test_tokens_are_as_on_a_cluster_in_aws(api_server: ApiServer) -> None:
    """A token names issuer, subject and audience, and is verified with the published keys."""
    namespace = api_server.namespace("tokens")
    token = api_server.token(namespace, "default", "sts.amazonaws.com", 600)
    key = jwt.PyJWKSet.from_dict(api_server.jwks()).keys[0]
    claims = jwt.decode(token, key, ["RS256"], audience="sts.amazonaws.com", issuer=api_server.issuer)
    assert claims["sub"] == f"system:serviceaccount:{namespace}:default"
    assert claims["exp"] - claims["iat"] == 600
    discovered = api_server.request("GET", "/.well-known/openid-configuration")
    assert discovered["issuer"] == api_server.issuer


def test_a_token_for_aws_is_none_for_the_api_server(api_server: ApiServer) -> None:
    """What the webhook puts into pods opens nothing in the cluster."""
    namespace = api_server.namespace("tokens")
    path = f"/apis/trustbind.dev/v1alpha1/namespaces/{namespace}/rolebindings"
    with pytest.raises(ApiError, match="403 Forbidden"):  # known, without rights
        api_server.request("GET", path, token=api_server.token(namespace, "default"))
    with pytest.raises(ApiError, match="401 Unauthorized"):
        api_server.request("GET", path, token=api_server.token(namespace, "default", "sts.amazonaws.com", 600))


def test_accounts_have_the_rights_that_they_were_given(api_server: ApiServer) -> None:
    """A service account may nothing that no role says, and the API server's word for it is shown."""
    namespace = api_server.namespace("rights")
    config = json.loads(api_server.kubeconfig(f"{namespace}/default").read_text())
    token = config["users"][0]["user"]["token"]
    path = f"/apis/trustbind.dev/v1alpha1/namespaces/{namespace}/rolebindings"
    with pytest.raises(
        ApiError, match=f'403 Forbidden: .*User "system:serviceaccount:{namespace}:default" cannot list'
    ):
        api_server.request("GET", path, token=token)
    assert api_server.request("GET", path)["items"] == []
    with pytest.raises(ApiError, match="401 Unauthorized"):
        api_server.request("GET", path, token="nobody's")


def test_deployments_make_pods(api_server: ApiServer) -> None:
    """Controllers run: a Deployment comes to a pod, with the account's token mounted by admission."""
    namespace = api_server.namespace("pods")
    labels = {"app": "worker"}
    api_server.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "worker", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "example.com/worker:1"}]},
                },
            },
        }
    )

    def pods() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = api_server.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        return items

    (pod,) = api_server.wait(pods, message="a pod of the deployment")
    assert pod["metadata"]["generateName"].startswith("worker-")
    assert pod["spec"]["serviceAccountName"] == "default"


def test_namespaces_go(api_server: ApiServer) -> None:
    """A deleted namespace ends, with what is in it."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api_server.namespace("going")}}
    api_server.delete(manifest)

    def is_gone() -> bool:
        try:
            api_server.get(manifest)
        except ApiError as error:
            return error.status == 404
        return False

    assert api_server.wait(is_gone, message="the namespace is gone")


def test_waiting_ends_with_what_was_last_seen(api_server: ApiServer) -> None:
    """A wait that is in vain tells what it waited for, and the API server's last answer."""
    path = "/api/v1/namespaces/default/configmaps/nowhere"
    with pytest.raises(TimeoutError, match=r"a map; last: .*404 NotFound: configmaps \"nowhere\" not found"):
        api_server.wait(lambda: api_server.request("GET", path), timeout=0, message="a map")


def test_a_failed_start_tells_why_and_leaves_nothing(api_server: ApiServer, tmp_path: Path) -> None:
    """Where a program ends at once, its log is shown, and what was started before it is stopped."""
    broken = tmp_path / "kube-apiserver"
    broken.write_text("#!/bin/sh\necho no such flag >&2\nexit 3\n")
    broken.chmod(0o755)
    assert api_server.url, "there are programs to be found"
    server = ApiServer(dataclasses.replace(find_binaries(os.environ), kube_apiserver=broken), tmp_path / "server")
    with pytest.raises(RuntimeError, match=r"kube-apiserver ended with status 3; its log ends in:\nno such flag"):
        server.start()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "server" / "etcd.pid").read_text()), 0)


def test_missing_programs_are_told_in_one_line(tmp_path: Path) -> None:
    """Whoever has no API server learns where it was looked for, and what to do."""
    if Path("/usr/local/kubebuilder/bin/kube-apiserver").exists():
        pytest.skip("there is one in a place that cannot be changed")
    environment = {"KUBEBUILDER_ASSETS": str(tmp_path / "assets"), "TRUSTBIND_CACHE": str(tmp_path / "cache")}
    with pytest.raises(BinariesNotFoundError) as caught:
        find_binaries(environment)
    message = str(caught.value)
    assert message.count("\n") == 0
    assert str(tmp_path / "assets") in message
    assert str(tmp_path / "cache") in message
    assert "make kube-apiserver" in message
