"""``trustbind doctor`` on files, and what it says without a cluster."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from support.commands import Cli
from support.diagnosis import AGENT, CHAIN, HEALTHY, absent, changed, hidden
from trustbind.diagnosis.facts import Bundle
from trustbind_cli.cluster_access import ClusterAccess

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "doctor.json").read_text(encoding="utf-8"))
DENIED = "An error occurred (AccessDenied): Not authorized to perform sts:AssumeRoleWithWebIdentity"


def written(bundle: Any, name: str = "facts.json") -> str:
    """Write facts and return the file's name."""
    Path(name).write_text(json.dumps(bundle), encoding="utf-8")
    return name


def test_healthy_workload(cli: Cli) -> None:
    """A line for each link, one line of summary, and exit code 0."""
    done = cli("doctor", "--from", written(HEALTHY))

    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0] == "ok          TB101 the API server answers, and you may read what is needed"
    assert lines[-1] == "pod/web-0 of namespace shop: 39 ok, 0 broken, 0 not visible"


def test_broken_link(cli: Cli) -> None:
    """What, where, what to do, and where to read more; the rest was not looked at."""
    bundle = changed(HEALTHY, lambda b: b.update(provider=absent()))

    done = cli("doctor", "--from", written(bundle), "--error", DENIED)

    assert done.code == 1
    assert done.out.splitlines()[0].startswith("The error is TrustDenied: STS took the token")
    assert done.out.splitlines()[-4:] == [
        (
            "TB124 NoProvider: AWS account 111122223333 has no OIDC provider for the cluster's issuer "
            "https://oidc.example.com/cluster."
        ),
        "Do: Create it (docs/cross-account.md), or let trustbind do so: spec.oidcProvider of the AWSAccount.",
        "More: docs/reference/findings.md#tb124-noprovider",
        "pod/web-0 of namespace shop: 23 ok, 1 broken, 0 not visible, 18 not looked at (--all)",
    ]
    assert "TB128" not in done.out


def test_error_of_the_file(cli: Cli) -> None:
    """A bundle keeps the error that it was collected for; an option wins."""
    bundle = HEALTHY | {"error": "Unable to locate credentials"}

    assert cli("doctor", "--from", written(bundle)).out.startswith("The error is NoCredentials: ")
    assert cli("doctor", "--from", written(bundle), "--error", DENIED).out.startswith("The error is TrustDenied: ")


def test_same_reason_is_told_once(cli: Cli) -> None:
    """What hides several links is said at the first."""
    bundle = changed(HEALTHY, lambda b: b.update(provider=hidden("AWS is far away"), role=hidden("AWS is far away")))

    done = cli("doctor", "--from", written(bundle))

    assert (done.code, done.out.count("AWS is far away")) == (3, 1)
    assert "not visible TB128 role arn:aws:iam::111122223333:role/shop/checkout cannot be seen: see TB124" in done.out


def as_it_is(_bundle: Any) -> None:
    """Change nothing."""


def bare(bundle: Any) -> None:
    """Take from the pod what the webhook adds."""
    bundle["pod"] = absent()
    bundle["target"].update(kind="ServiceAccount", name="checkout")


def annotated(bundle: Any) -> None:
    """Give the service account its role by annotation."""
    role = bundle["role"]["value"]["arn"]
    bundle["serviceAccount"]["value"]["annotations"] = {"eks.amazonaws.com/role-arn": role}


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("webhooks", as_it_is, 0),  # the pod shows that it was called
        ("webhooks", bare, 3),
        ("bindings", as_it_is, 3),
        ("bindings", annotated, 3),
        ("serviceAccount", as_it_is, 3),
        ("pod", as_it_is, 3),
        ("role", as_it_is, 3),
        ("organization", as_it_is, 0),
        ("claims", as_it_is, 0),
    ],
)
def test_exit_code_where_something_is_hidden(cli: Cli, name: str, change: Any, code: int) -> None:
    """It is 3 where what decides could not be seen, and 0 where only rarer faults are looked for by it."""
    bundle = changed(HEALTHY, lambda b: (change(b), b.update({name: hidden()})))

    done = cli("doctor", "--from", written(bundle))

    assert (done.code, " 0 broken" in done.out) == (code, True), done.out


@pytest.mark.parametrize("form", ["text", "json", "yaml"])
def test_text_from_the_cluster_moves_no_terminal(cli: Cli, form: str) -> None:
    """A message in a status is shown, and the terminal obeys nothing in it."""
    message = "no\x1b[2J\x9b31m\x07\x7f\x85grant"
    condition = {"type": "Ready", "status": "False", "reason": "NotGranted", "message": message}
    bundle = changed(HEALTHY, lambda b: b["bindings"]["value"][0]["status"].update(conditions=[condition]))

    done = cli("doctor", "--from", written(bundle), "-o", form)

    assert [char for char in done.out if char != "\n" and unicodedata.category(char) == "Cc"] == []
    assert "grant" in done.out
    if form == "json":
        assert message in json.loads(done.out)["cause"]["message"]


def test_wide_shows_every_link(cli: Cli) -> None:
    """Also those that are no part of this chain."""
    short, wide = cli("doctor", "--from", written(HEALTHY)), cli("doctor", "--from", written(HEALTHY), "-o", "wide")

    assert ("TB141" in short.out, "TB141" in wide.out) == (False, True)


@pytest.mark.parametrize("bundle", [HEALTHY, CHAIN, AGENT, changed(HEALTHY, lambda b: b.update(role=absent()))])
def test_data_follows_its_schema(cli: Cli, bundle: Any) -> None:
    """As JSON and as YAML, whatever came out."""
    as_json = cli("doctor", "--from", written(bundle), "-o", "json", "--error", DENIED)
    as_yaml = cli("doctor", "--from", written(bundle), "-o", "yaml", "--error", DENIED)

    data = json.loads(as_json.out)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(data, SCHEMA)
    assert yaml.safe_load(as_yaml.out) == data


def test_standard_input(cli: Cli) -> None:
    """A file can be piped."""
    assert cli("doctor", "--from", "-", stdin=json.dumps(HEALTHY).encode()).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name one object, such as pod/web-0, or give facts with --from"),
        (("pod/a", "--from", "facts.json"), "name one object, such as pod/web-0, or give facts with --from"),
        (("--from", "gone.json"), "gone.json: cannot be read: No such file or directory"),
        (("--from", "facts.json", "--live"), "--from: facts of a file are only looked at; leave out --collect and"),
        (("--from", "facts.json", "-c", "app"), "-c: has no effect with --from; the file has the facts; leave it out"),
        (("--from", "facts.json", "-n", "shop"), "-n: has no effect with --from"),
        (("--from", "facts.json", "--context", "x"), "--context: has no effect with --from"),
        (("--from", "facts.json", "--kubeconfig", "x"), "--kubeconfig: has no effect with --from"),
        (("--from", "facts.json", "--profile", "x"), "--profile: has no effect with --from"),
        (("--from", "facts.json", "--region", "x"), "--region: has no effect with --from"),
        (("pod/a", "--collect", "facts.json"), "--collect: facts.json exists, and nothing is written over it"),
        (("pod/a", "--collect", "none/facts.json"), "--collect: none/facts.json cannot be written: there is no direc"),
        (("--from", "bad.json"), "bad.json: is not what 'trustbind doctor --collect' writes"),
        (("--from", "cut.json"), "cut.json: is not what 'trustbind doctor --collect' writes"),
        (("--from", "later.json"), "later.json: has format 2, and this trustbind reads 1; collect it again"),
        (("--from", "deep.json"), "deep.json: is nested more than 100 deep; collect it again"),
        (("--from", "deeper.json"), "deeper.json: is nested more than 100 deep; collect it again"),
        (("--from", "time.json"), "--from: time 'noon' is no time; collect it again"),
        (("service/web", "-n", "shop"), "'service/web' names nothing that can be asked about; write pod/NAME"),
        (("pod/Web", "-n", "shop"), "'pod/Web' names nothing that can be asked about"),
        (("pod/web", "-n", "no such"), "-n: 'no such' is no name of a namespace"),
    ],
)
def test_bad_input(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    """One sentence, exit code 2, and no data."""
    written(HEALTHY)
    Path("bad.json").write_text('{"target": {"kind": "Node"}}', encoding="utf-8")
    Path("cut.json").write_bytes(json.dumps(HEALTHY).encode()[:200] + b"\xff")
    for name, depth in (("deep.json", 200), ("deeper.json", 100_000)):
        nested = "[" * depth + "]" * depth
        Path(name).write_text(json.dumps(HEALTHY | {"more": "HERE"}).replace('"HERE"', nested), encoding="utf-8")
    written(HEALTHY | {"format": 2}, "later.json")
    written(HEALTHY | {"time": "noon"}, "time.json")

    done = cli("doctor", *arguments)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"trustbind: {said}")
    assert len(done.err.splitlines()) == 1


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let there be neither a cluster nor AWS credentials."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
        "KUBERNETES_SERVICE_HOST",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nowhere")
def test_without_a_cluster(cli: Cli) -> None:
    """Nothing is claimed, each reason is printed once, and the exit code is 3."""
    done = cli("doctor", "pod/web", "-n", "shop")

    assert done.code == 3
    assert done.out.count("there is no API server to ask") == 1
    assert done.out.count("there are no AWS credentials") == 1
    assert done.out.splitlines()[-1].startswith("pod/web of namespace shop: 0 ok, 0 broken, ")


def links(done: Any) -> list[str]:
    """Return state and code of each link that is printed, and the summary."""
    return [" ".join(line.split()[:3]) for line in done.out.splitlines()]


def test_target_is_checked_first(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read for a file that cannot be written."""

    async def connect(_self: ClusterAccess) -> None:
        pytest.fail("the cluster was asked")

    monkeypatch.setattr(ClusterAccess, "connect", connect)
    Path("facts.json").symlink_to("nowhere.json")

    assert cli("doctor", "pod/web", "-n", "shop", "--collect", "facts.json").code == 2
    assert cli("doctor", "pod/web", "-n", "shop", "--collect", "facts.json/facts.json").code == 2


@pytest.mark.usefixtures("nowhere")
def test_collected_facts(cli: Cli) -> None:
    """What is written can be read, and comes to the same; nothing is written over it."""
    collected = cli("doctor", "pod/web", "-n", "shop", "--error", DENIED, "--collect", "facts.json")
    direct, read = cli("doctor", "pod/web", "-n", "shop", "--error", DENIED), cli("doctor", "--from", "facts.json")
    again = cli("doctor", "pod/web", "-n", "shop", "--collect", "facts.json")

    assert (collected.code, collected.out) == (0, "")
    assert collected.err.startswith("trustbind: facts.json is written; look at it with: trustbind doctor --from")
    assert "there is no way to an API server" in read.out
    assert links(read) == links(direct)
    assert (again.code, again.err) == (2, "trustbind: --collect: facts.json exists, and nothing is written over it\n")
    assert msgspec.json.decode(Path("facts.json").read_bytes(), type=Bundle).error == (
        "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
    )
