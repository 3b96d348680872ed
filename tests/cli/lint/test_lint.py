"""``trustbind lint`` on files: text, data, SARIF and exit codes; the hook for pre-commit and the GitHub Action."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.commands import ROLE, Cli, account, binding, written
from support.schemas import checked

ROOT: Final = Path(__file__).parents[3]
WHOLE: Final = {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole", "Sid": "Ops"}
GRANT: Final = {
    "apiVersion": "trustbind.dev/v1alpha1",
    "kind": "RoleGrant",
    "metadata": {"name": "g"},
    "spec": {
        "namespaces": {"names": ["shop"]},
        "serviceAccountNames": ["*"],
        "roleArns": ["arn:aws:iam::444455556666:role/other"],
        "methods": ["WebIdentity"],
    },
}


def roles(*statements: dict[str, Any]) -> str:
    """Write an export with one role and return the file's name."""
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    detail = {"RoleDetailList": [{"Arn": ROLE, "AssumeRolePolicyDocument": document}]}
    Path("roles.json").write_text(json.dumps(detail), encoding="utf-8")
    return "roles.json"


def test_text(cli: Cli) -> None:
    """One line for each finding, with file and line or statement; the counts are on standard error."""
    name = written("a b.yaml", account("other"), binding(namespace="shop"), GRANT)
    done = cli("lint", name, "--account-details", roles(WHOLE))

    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].startswith("a b.yaml:8: error TB244 NotGranted: RoleBinding shop/b: no RoleGrant covers")
    assert lines[1] == "a b.yaml:18: info TB243 GrantNotUsed: RoleGrant g: covers no RoleBinding; remove it"
    assert lines[2].startswith(f'roles.json: warning TB227 AccountWithoutCondition: {ROLE}: statement 1 (Sid "Ops")')
    assert done.err.splitlines()[-1] == "trustbind: 1 error, 1 warning, 1 info"


def test_data(cli: Cli) -> None:
    """JSON keeps to the schema, and YAML says the same."""
    arguments = ("lint", "-f", written("a.yaml", binding(namespace="shop"), GRANT), "--account-details", roles(WHOLE))
    found = checked("lint", cli(*arguments, "-o", "json").out)

    assert [(each["code"], each["source"], each["line"]) for each in found["findings"]] == [
        ("TB244", "a.yaml", 1),
        ("TB243", "a.yaml", 11),
        ("TB227", "roles.json", None),
    ]
    assert found["findings"][2]["statement"] == {"number": 1, "sid": "Ops"}
    assert yaml.safe_load(cli(*arguments, "-o", "yaml").out) == found


def test_sarif(cli: Cli) -> None:
    """Rules are listed once, and each result names its rule, its level and its line; a blank in a name is escaped."""
    name = written("a b.yaml", binding(namespace="shop"), GRANT)
    done = cli("lint", name, "--account-details", roles(WHOLE, WHOLE | {"Sid": "Two"}), "-o", "sarif")

    (run,) = json.loads(done.out)["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["TB227", "TB237", "TB243", "TB244"]
    assert [rules[each["ruleIndex"]]["id"] for each in run["results"]] == [each["ruleId"] for each in run["results"]]
    first, second, *_, last = run["results"]
    assert (first["level"], second["level"], last["level"]) == ("error", "note", "warning")
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b.yaml"},
        "region": {"startLine": 1},
    }
    assert last["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": ROLE}]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 0),
        (("--fail-on", "error"), 0),
        (("--fail-on", "warning"), 1),
        (("--fail-on", "info"), 1),
        (("--fail-on", "info", "--skip", "TB227"), 0),
        (("--fail-on", "info", "--skip", "TB240"), 1),
    ],
)
def test_exit_code(cli: Cli, arguments: tuple[str, ...], code: int) -> None:
    """The least severity that fails is chosen, and a code can be left out."""
    assert cli("lint", "--account-details", roles(WHOLE), *arguments).code == code


def test_nothing_found(cli: Cli) -> None:
    """Nothing is printed but the counts; other objects are no fault."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    done = cli("lint", written("a.yaml", account("checkout"), other))

    assert (done.code, done.out, done.err) == (0, "", "trustbind: 0 errors, 0 warnings, 0 info\n")


def test_own_statements(cli: Cli) -> None:
    """What a RoleBinding would write is looked at like any statement."""
    subjects = [{"issuer": "https://token.actions.githubusercontent.com", "subjects": ["repo:*:pull_request"]}]
    done = cli("lint", written("a.yaml", binding(namespace="shop", federatedSubjects=subjects)), "--fail-on", "warning")

    assert done.code == 1
    assert "TB230 WideSubject: RoleBinding shop/b: its statement for https://token.actions" in done.out
    assert "TB240 PullRequest: RoleBinding shop/b: its statement for" in done.out


def test_standard_input(cli: Cli) -> None:
    """What cannot be read again has no line."""
    done = cli("lint", "-f", "-", stdin=yaml.safe_dump_all([binding(namespace="shop"), GRANT]).encode())

    assert done.code == 1
    assert done.out.startswith("-: error TB244 NotGranted")


def test_unreadable_trust_policy(cli: Cli) -> None:
    """A trust policy that is none cannot be looked at, which is said."""
    detail = {"RoleDetailList": [{"Arn": ROLE, "AssumeRolePolicyDocument": {"Statement": 1}}]}
    Path("roles.json").write_text(json.dumps(detail), encoding="utf-8")
    done = cli("lint", "--account-details", "roles.json")

    assert done.code == 3
    assert f"not seen: roles.json: {ROLE}: Statement is a list" in done.err


def test_no_cluster_and_no_aws(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without files, a cluster and credentials, it says what it could not see."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = cli("lint", "--kubeconfig", "none")

    assert done.code == 3
    assert "not seen: the cluster: " in done.err
    assert "not seen: AWS: " in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--skip", "TB999"), "--skip: no finding has the code 'TB999'"),
        (("--issuer", "oidc"), "--issuer: "),
        (("none.yaml",), "none.yaml: cannot be read"),
        (("none.yaml", "--context", "c"), "--context: "),
        (("--trust", "x=y", "--region", "eu-west-1"), "--region: "),
    ],
)
def test_wrong_usage(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    """One sentence, and exit code 2."""
    done = cli("lint", *arguments)

    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1


def test_hook(cli: Cli) -> None:
    """The hook for pre-commit names a command that takes the names of files."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert (hook["id"], hook["entry"], hook["language"]) == ("trustbind-lint", "trustbind lint", "python")
    names = (written("a.yaml", binding(namespace="shop")), written("b.yaml", GRANT))

    done = cli(*hook["entry"].split()[1:], *names)
    assert (done.code, "TB244 NotGranted" in done.out) == (1, True)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"FILES": "deploy/\n", "FAIL_ON": "error"}, 1),
        ({"FILES": "deploy/", "FAIL_ON": "error", "SKIP": "TB244\n"}, 0),
        ({"FILES": "deploy/", "ACCOUNT_DETAILS": "roles.json", "FAIL_ON": "warning", "SKIP": "TB244"}, 1),
        ({"FILES": "$(touch hacked) deploy/", "FAIL_ON": "error"}, 2),
        ({"FAIL_ON": "error"}, 2),
    ],
)
def test_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, str], code: int) -> None:
    """The GitHub Action's script passes its inputs on as they are, and writes SARIF before it fails."""
    monkeypatch.chdir(tmp_path)
    bash = shutil.which("bash")
    assert bash is not None
    Path("deploy/app").mkdir(parents=True)
    written("deploy/app/a.yaml", binding(namespace="shop"), GRANT)
    roles(WHOLE)
    program = tmp_path / "temp" / "trustbind" / "bin" / "trustbind"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m trustbind_cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    step = next(each for each in action["runs"]["steps"] if each.get("id") == "lint")
    defaults = dict.fromkeys(step["env"], "")
    outside = {"RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_OUTPUT": str(tmp_path / "output")}

    done = subprocess.run(
        [bash, "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={**os.environ, **defaults, **inputs, **outside},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert not Path("hacked").exists()
    assert set(inputs) <= set(step["env"])
    if code != 2:
        assert json.loads((tmp_path / "temp" / "trustbind.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"
        assert (tmp_path / "output").read_text(encoding="utf-8").startswith("sarif=")
