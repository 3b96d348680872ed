"""Habits of a command line: quick, quiet about what it does not need, and the same in every command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from support.commands import ROLE, Cli, account, binding, pod
from trustbind_cli.main import app

ISSUER = "https://oidc.example.com"
HEAVY = ("aiohttp", "boto3", "botocore", "cryptography", "fastapi", "kopf", "kubernetes", "starlette", "uvicorn")
SERVERS = ("cryptography", "fastapi", "httptools", "kopf", "prometheus_client", "starlette", "uvicorn", "uvloop")
GROUP = typer.main.get_command(app)
LOADED = """
import sys
from trustbind_cli.main import main
try:
    main()
except SystemExit as stop:
    code = stop.code
print("LOADED", code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""
WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from trustbind_cli.main import main
main()
"""


def run(
    *arguments: str, folder: Path, code: str = "", first: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own, or a program that does."""
    program = ["-c", code, *first] if code else ["-m", "trustbind_cli"]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=120,
        check=False,
    )


def loaded(*arguments: str, folder: Path) -> set[str]:
    """Return the top-level packages that a command has loaded when it ends with 0."""
    done = run(*arguments, folder=folder, code=LOADED)
    word, status, *names = done.stdout.splitlines()[-1].split()
    assert (word, status) == ("LOADED", "0"), done.stderr
    return set(names)


def files(folder: Path) -> None:
    """Write what the commands read."""
    objects = [account(), pod(), binding(namespace="default")]
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    (folder / "webhook.yaml").write_text("injection: {region: eu-west-1}\n", encoding="utf-8")
    provider = "arn:aws:iam::444455556666:oidc-provider/oidc.example.com"
    statement = {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": provider}}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    (folder / "trust.json").write_text(json.dumps(document), encoding="utf-8")


PREVIEW_POD = ("preview", "pod", "-f", "all.yaml")
PREVIEW_TRUST = ("preview", "trust", "-f", "all.yaml", "--issuer", ISSUER)
EVALUATE = ("evaluate", "--policy", "trust.json", "--role", ROLE, "--principal")
ALLOWED = (*EVALUATE, "arn:aws:iam::444455556666:oidc-provider/oidc.example.com")
DENIED = (*EVALUATE, "arn:aws:iam::444455556666:oidc-provider/oidc.example.org")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("evaluate", "--help"), ("preview", "trust", "--help")]
)
def test_help_loads_little(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """No server, no client library, and not even what typer needs for values of options."""
    assert loaded(*arguments, folder=tmp_path) & {*HEAVY, "pydantic"} == set()


@pytest.mark.parametrize("arguments", [PREVIEW_POD, PREVIEW_TRUST, ALLOWED, ("version", "-o", "json")])
def test_command_loads_what_it_uses(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A command on files loads neither AWS's nor Kubernetes' client."""
    files(tmp_path)

    assert loaded(*arguments, folder=tmp_path) & set(HEAVY) == set()


@pytest.mark.parametrize("name", GROUP.list_commands(None))  # type: ignore[attr-defined] # a group's method
def test_list_of_commands_says_what_their_help_says(name: str) -> None:
    """The list is written without loading the commands, so it has the first sentence of each one's help again."""
    command = GROUP.get_command(None, name)  # type: ignore[attr-defined] # as above

    first = " ".join(str(command.help).split()).partition(". ")[0].rstrip(".") + "."
    assert GROUP.entries[name].summary == first  # type: ignore[attr-defined] # as above
    assert command.name == name


def test_unknown_command_is_answered_with_a_similar_one(cli: Cli) -> None:
    """As kubectl and git do."""
    done = cli("evalute")

    assert done.code == 2
    assert "Did you mean 'evaluate'?" in done.err


@pytest.mark.parametrize(("arguments", "code"), [(ALLOWED, 0), (DENIED, 1)])
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_closed_pipe_changes_no_exit_code(tmp_path: Path, arguments: tuple[str, ...], code: int, closed: str) -> None:
    """Who pipes into ``head`` still learns the answer from the exit code."""
    files(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "trustbind_cli", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    ) as process:
        stream = getattr(process, closed)
        stream.close()
        assert process.wait(60) == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("arguments", "code"), [(ALLOWED, 1), (DENIED, 1), (("--help",), 1), (("version",), 1)])
def test_full_disk(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    """An answer that could not be written is one sentence and an exit code, and no trace."""
    files(tmp_path)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trustbind_cli", *arguments],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"]},
            timeout=120,
            check=False,
        )

    assert done.returncode == code
    assert done.stderr.endswith("trustbind: standard output cannot be written: No space left on device\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [(ALLOWED, 0), (DENIED, 1), (("evaluate",), 2)])
@pytest.mark.parametrize("closed", ["1", "2"])
def test_stream_that_is_closed_from_the_start(
    tmp_path: Path, arguments: tuple[str, ...], code: int, closed: str
) -> None:
    """What nobody wants goes nowhere, and not into the other stream; the exit code is the command's."""
    files(tmp_path)
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", sys.executable, "-m", "trustbind_cli", *arguments]
    done = subprocess.run(
        shell, cwd=tmp_path, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=120, check=False
    )

    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "trustbind evaluate:" not in done.stdout
    assert (done.stdout, done.stderr)[int(closed) - 1] == ""


def test_kubectl_plugin(tmp_path: Path) -> None:
    """``kubectl trustbind`` runs the program kubectl-trustbind, and help and errors name what was typed."""
    script = Path(sys.executable).with_name("kubectl-trustbind")

    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    wrong = subprocess.run([script, "evaluate"], capture_output=True, text=True, check=False, cwd=tmp_path)
    asked = subprocess.run([script, "apply"], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert shown.stdout.startswith("Usage: kubectl trustbind [OPTIONS] COMMAND")
    assert (wrong.returncode, asked.returncode) == (2, 2)
    assert "see 'kubectl trustbind apply --help'" in asked.stderr


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["ev"], ["evaluate"]),
        (["evaluate", "--prof"], ["--profile"]),
        (["doctor", "--from", "facts.json", "-o", "js"], ["json"]),
    ],
)
def test_completion_of_the_kubectl_plugin(tmp_path: Path, words: list[str], shown: list[str]) -> None:
    """Kubectl runs a second program, and takes a line for each completion and one for what it may do besides."""
    script = Path(sys.executable).with_name("kubectl_complete-trustbind")

    done = subprocess.run([script, *words], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.stdout.split() == [*shown, ":4"], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(cli: Cli, shell: str) -> None:
    """A script for each shell, which asks the program itself."""
    done = cli("completion", shell)

    assert done.code == 0
    assert "_TRUSTBIND_COMPLETE=complete_" + shell in done.out


def test_completion_of_commands_and_options(tmp_path: Path) -> None:
    """What the script asks at each press of the Tab key."""
    names = run(folder=tmp_path, _TRUSTBIND_COMPLETE="complete_bash", COMP_WORDS="trustbind ev", COMP_CWORD="1")
    option = run(
        folder=tmp_path, _TRUSTBIND_COMPLETE="complete_bash", COMP_WORDS="trustbind evaluate --prof", COMP_CWORD="2"
    )

    assert names.stdout.split() == ["evaluate"]
    assert option.stdout.split() == ["--profile"]


def test_no_color(tmp_path: Path) -> None:
    """At the end, where people write it, at the front, and from the environment."""
    files(tmp_path)
    diff = (*PREVIEW_TRUST, "--diff")
    colour = re.compile(r"\x1b\[3[0-9]m")

    assert colour.search(run(*diff, folder=tmp_path, FORCE_COLOR="1").stdout)
    for arguments in ((*diff, "--no-color"), ("--no-color", *diff)):
        done = run(*arguments, folder=tmp_path, FORCE_COLOR="1")
        assert done.returncode == 0
        assert "Trustbind" in done.stdout
        assert not colour.search(done.stdout)
    assert not colour.search(run(*diff, folder=tmp_path, FORCE_COLOR="1", NO_COLOR="1").stdout)


@pytest.mark.parametrize("name", ["webhook", "operator"])
def test_server_that_is_not_installed(tmp_path: Path, name: str) -> None:
    """``pip install trustbind`` brings no server, and the command says what to install."""
    done = run(name, folder=tmp_path, code=WITHOUT, first=(",".join(SERVERS),))

    assert done.returncode == 2
    assert done.stderr.endswith(f"pip install 'trustbind[{name}]'\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [PREVIEW_POD, (*PREVIEW_POD, "--webhook-config", "webhook.yaml"), PREVIEW_TRUST, ALLOWED]
)
def test_commands_without_the_servers(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Everything else works without the packages of the extras."""
    files(tmp_path)

    done = run(*arguments, folder=tmp_path, code=WITHOUT, first=(",".join(SERVERS),))

    assert (done.returncode, "ModuleNotFoundError" in done.stderr) == (0, False), done.stderr


def test_yaml_says_what_json_says(cli: Cli, tmp_path: Path) -> None:
    """``-o yaml`` wherever there is ``-o json``."""
    files(tmp_path)

    as_json, as_yaml = cli(*DENIED, "-o", "json"), cli(*DENIED, "-o", "yaml")

    assert (as_json.code, as_yaml.code) == (1, 1)
    assert json.loads(as_json.out) == yaml.safe_load(as_yaml.out)
    assert json.loads(as_json.out)["decision"] == "Deny"


def test_version_as_data(cli: Cli) -> None:
    """For scripts, and the same line as ``--version`` for people."""
    assert cli("version").out == cli("--version").out
    assert "trustbind " + json.loads(cli("version", "-o", "json").out)["version"] == cli("version").out.strip()


def test_profile_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``--profile`` reaches the AWS configuration, and what is wrong with it is one sentence."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    done = cli("evaluate", "--live", "--role", ROLE, "--principal", "ec2.amazonaws.com", "--profile", "nowhere")

    assert done.code == 3
    assert "the AWS configuration cannot be used: The config profile (nowhere) could not be found" in done.err
