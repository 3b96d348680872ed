"""The image that tools/image.sh has built, run as a cluster would run it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certs import Authority
from support.containers import Image, Mount, missing
from support.halves import operator_env
from support.kube import ApiServer, BinariesNotFoundError, find_binaries
from support.kubeclient import ROOT
from support.world import SYSTEM, World
from trustbind import __version__
from trustbind_localaws import LocalAws

pytestmark = pytest.mark.image

NAME = os.environ.get("IMAGE", "trustbind/trustbind:local")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image; without it tests are skipped, or fail with TRUSTBIND_REQUIRE_IMAGE=1."""
    problem = missing()
    if not problem:
        try:
            with Image(NAME) as found:
                yield found
                return
        except subprocess.CalledProcessError:
            problem = f"there is no image {NAME}; run tools/image.sh base, then tools/image.sh build"
    if os.environ.get("TRUSTBIND_REQUIRE_IMAGE") == "1":
        pytest.fail(problem, pytrace=False)
    pytest.skip(problem)


def test_what_the_image_says_of_itself(image: Image) -> None:
    """It runs as a number that is not root, starts the program, and has the usual labels."""
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["trustbind"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert {"title", "licenses", "revision"} <= {name.rpartition(".")[2] for name in config["Labels"]}


def test_nothing_superfluous_is_in_it(image: Image) -> None:
    """No installer, no descriptions of services that nobody calls; and nothing of it can be written by its user."""
    root = image.root / "opt" / "trustbind"
    assert not list(root.glob("bin/pip*"))
    data = next(root.glob("lib/python3*/site-packages/botocore/data"))
    assert {path.name for path in data.iterdir() if path.is_dir()} == {"iam", "sts"}
    assert all(
        path.stat().st_uid == 0 and not path.stat().st_mode & 0o022 for path in root.rglob("*") if path.is_file()
    )


def test_the_user_is_nobody(image: Image, tmp_path: Path) -> None:
    """Inside it cannot write but to /tmp, and has no capability."""
    code = (
        "import os, pathlib, sys\n"
        "pathlib.Path('/tmp/a').write_text('a')\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "refused = 0\n"
        "for place in ('/a', '/opt/trustbind/a', '/etc/a', '/var/tmp/a'):\n"
        "    try: pathlib.Path(place).write_text('a')\n"
        "    except OSError: refused += 1\n"
        "wanted = [line for line in status.splitlines() if line[:6] in ('CapEff', 'CapBnd', 'NoNewP')]\n"
        "print(os.getuid(), refused, wanted, file=sys.stderr)"
    )
    with image.process(tmp_path / "nobody", [], command=["python", "-c", code]) as process:
        said = process.line(lambda line: line.startswith("65532"))
        assert process.wait() == 0
    assert said.startswith("65532 4 ")
    assert "CapEff:\\t0000000000000000" in said
    assert "CapBnd:\\t0000000000000000" in said
    assert "NoNewPrivs:\\t1" in said


def test_the_webhook_serves(image: Image, tmp_path: Path) -> None:
    """With its files mounted it answers over TLS, and ends in order when it is asked to."""
    authority, files = Authority(), tmp_path / "files"
    files.mkdir()
    for path in authority.issue().write(files):
        path.chmod(0o644)
    (files / "settings.yaml").write_text(
        json.dumps(
            {
                "server": {"host": "127.0.0.1", "port": 0, "metricsPort": 0, "drainSeconds": 0}
                | {"certFile": "/files/tls.crt", "keyFile": "/files/tls.key"},
                "lookup": {"source": "files", "manifests": ["/examples"]},
            }
        )
    )
    mounts = [Mount(files, "/files"), Mount(ROOT / "manifests" / "examples", "/examples")]
    with image.process(tmp_path / "webhook", ["webhook", "--config", "/files/settings.yaml"], mounts=mounts) as process:
        port = json.loads(process.line(lambda line: '"listening"' in line))["port"]
        process.line(lambda line: '"ready"' in line)
        context = ssl.create_default_context(cadata=authority.pem.decode())
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=10) as answer:
            assert answer.status == 200
        process.signal()
        assert process.wait() == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An API server and a local AWS."""
    try:
        binaries = find_binaries(os.environ)
    except BinariesNotFoundError as error:
        pytest.skip(str(error))
    with ApiServer(binaries, tmp_path_factory.mktemp("cluster")) as server, LocalAws() as aws:
        server.install_crds()
        yield World(server, aws)


def test_the_operator_binds(image: Image, world: World, tmp_path: Path) -> None:
    """In the image, with the RBAC of the chart, it makes a role trust an account."""
    account = world.account()
    role = account.role()
    team = world.team()
    team.service_account()
    team.grant(account)
    binding = team.binding(role)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(world.api.kubeconfig(f"{SYSTEM}/trustbind-operator").read_bytes())
    kubeconfig.chmod(0o644)
    env = {**operator_env(world), "TRUSTBIND_OPERATOR_KUBERNETES__KUBECONFIG": "/kubeconfig"}
    with image.process(
        tmp_path / "operator", ["operator"], env=env, mounts=[Mount(kubeconfig, "/kubeconfig")]
    ) as process:
        process.line(lambda line: '"working"' in line, seconds=60)
        binding.ready()
        assert account.subjects() == [f"{team.namespace}:reader"]
        process.signal()
        assert process.wait() == 0, "\n".join(process.output)
