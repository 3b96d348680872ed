"""A pod of one account reaches an EKS cluster in another: docs/guides/eks-other-account.md with the AWS CLI.

EKS's own API is not part of the local AWS; a server of this module answers DescribeCluster. What the Kubernetes API of
EKS does with a token is done here by hand: it sends the presigned request on to STS (aws-iam-authenticator, "API
Authorization from Outside a Cluster").
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from sdk.programs import PROGRAMS, AwsCli, Program
from sdk.roles import CHAIN, READER
from sdk.scene import Scene

CLUSTER = f"arn:aws:eks:eu-central-1:{READER.split(':')[4]}:cluster/blue"
SESSION = "arn:aws:sts::444455556666:assumed-role/s3-reader/prod.team-a.report-7"

pytestmark = [
    pytest.mark.sdk,
    pytest.mark.parametrize("program", [p for p in PROGRAMS if isinstance(p, AwsCli)], ids=["AwsCli"], indirect=True),
]


@pytest.fixture
def eks() -> Iterator[HTTPServer]:
    """Serve EKS's DescribeCluster, and keep who asked in ``asked``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["X-Amz-Security-Token"])
            cluster = {
                "name": "blue",
                "arn": CLUSTER,
                "status": "ACTIVE",
                "endpoint": "https://blue.eks.invalid",
                "certificateAuthority": {"data": base64.b64encode(b"authority").decode()},
            }
            body = json.dumps({"cluster": cluster}).encode()
            self.send_response(200 if self.path == "/clusters/blue" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

    asked: list[str] = []
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = asked  # type: ignore[attr-defined]  # a place that outlives each request's handler
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def aws(scene: Scene, home: Path, *arguments: str, **env: str) -> str:
    """Run the AWS CLI in the pod's container and return what it printed."""
    program: Program = scene.program
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(program.folder() / "venv" / "bin" / "aws"), *arguments],
        env={**scene.environment, **env, "AWS_ENDPOINT_URL": scene.aws.url, "PATH": os.defpath, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cluster_in_another_account(scene: Scene, eks: HTTPServer, tmp_path: Path) -> None:
    """The kubeconfig that the CLI writes leads to a token that says: the target role's session of this very pod."""
    scene.admit(CHAIN)
    home = tmp_path / "home"
    config = home / "kubeconfig"

    endpoint = f"http://127.0.0.1:{eks.server_port}"
    aws(
        scene,
        home,
        "eks",
        "update-kubeconfig",
        "--name",
        "blue",
        "--kubeconfig",
        str(config),
        AWS_ENDPOINT_URL_EKS=endpoint,
    )

    written = yaml.safe_load(config.read_text())
    assert written["current-context"] == CLUSTER
    assert written["clusters"][0]["cluster"]["server"] == "https://blue.eks.invalid"
    command = written["users"][0]["user"]["exec"]
    assert command["command"] == "aws"

    credential = json.loads(aws(scene, home, *command["args"]))
    token = credential["status"]["token"]
    assert token.startswith("k8s-aws-v1.")
    text = token.removeprefix("k8s-aws-v1.")
    url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    asked = urllib.request.Request(url, headers={"x-k8s-aws-id": "blue"})  # noqa: S310 - the local AWS
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - the same
        assert f"<Arn>{SESSION}</Arn>" in answer.read().decode()
    sessions = {parse_qs(urlsplit(url).query)["X-Amz-Security-Token"][0]}
    assert set(eks.asked) == sessions, "EKS was asked by the target role as well, and by nobody else"  # type: ignore[attr-defined]  # set by the fixture
