"""What people get wrong: one sentence on standard error that names file, document and field; never a trace."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.commands import ROLE, Cli, account, binding, pod, written

ISSUER = "https://oidc.example.com/id/1"
TRUST = ("preview", "trust", "-f", "b.yaml", "--role-arn", ROLE, "--issuer", ISSUER)
EVALUATE = ("evaluate", "--policy", "t.json", "--principal", "ec2.amazonaws.com", "--action", "sts:AssumeRole")
APPLY = ("apply", "-f", "b.yaml", "--issuer", ISSUER, "--dry-run")


def check(cli: Cli, arguments: tuple[str, ...], said: tuple[str, ...], *, stdin: bytes = b"") -> None:
    """Assert that the command fails with one sentence that says all of this, and prints no data."""
    done = cli(*arguments, stdin=stdin)

    assert (done.code, done.out) == (2, ""), done
    lines = [line for line in done.err.splitlines() if not line.startswith("no metadata.namespace")]
    assert len(lines) == 1, done.err
    assert all(text in lines[0] for text in said), lines[0]
    assert "Traceback" not in done.err


def invalid_pod(**fields: Any) -> dict[str, Any]:
    """Return a pod with members of its metadata or spec replaced."""
    body = pod()
    body["metadata"] |= fields.pop("metadata", {})
    body["spec"] |= fields
    return body


# What is wrong with any file of manifests, whichever command reads it: its bytes, and what is said.
FILES: dict[str, tuple[bytes | None, tuple[str, ...]]] = {
    "missing": (None, ("b.yaml: cannot be read: No such file",)),
    "not text": (b"\xff\xfe\x00", ("b.yaml: is not UTF-8 text (byte 0)",)),
    "not YAML": (b"a: [1\nb: 2\n", ("b.yaml, document 1: line 2", "not YAML")),
    "tab": (b"a:\n\tb: 1\n", ("b.yaml, document 1: line 2", "not YAML: a tab; indent with spaces")),
    "not YAML in the second document": (b"---\n---\n{", ("b.yaml, document",)),
    "a text": (b"hello\n", ("b.yaml, document 1: it is a text, where a Kubernetes object",)),
    "a list": (b"- a\n", ("b.yaml, document 1: it is a list",)),
    "no kind": (b"apiVersion: v1\n", ("b.yaml, document 1: kind: required",)),
    "no apiVersion": (b"kind: Pod\n", ("b.yaml, document 1: Pod: apiVersion: required",)),
    "a key twice": (b"apiVersion: v1\nkind: Pod\nkind: Pod\n", ("line 3: the key 'kind' stands twice",)),
    "a key that is a number": (b"apiVersion: v1\nkind: Pod\n1: x\n", ("line 3: the key '1' is a number",)),
    "an unknown tag": (b"a: !!python/object:os.system x\n", ("b.yaml, document 1: line 1", "is not a type")),
    "metadata is a list": (b"apiVersion: v1\nkind: Pod\nmetadata: []\n", ("Pod: metadata: it is a list",)),
    "name is a number": (b"apiVersion: v1\nkind: Pod\nmetadata: {name: 1}\n", ("metadata.name: it is a number",)),
    "items is an object": (b"apiVersion: v1\nkind: List\nitems: {}\n", ("items: it is a mapping",)),
    "an item is a text": (b"apiVersion: v1\nkind: List\nitems: [x]\n", ("document 1: items[0]: it is a text",)),
    "an unknown kind of ours": (
        b"---\napiVersion: trustbind.dev/v1alpha1\nkind: Binding\nmetadata: {name: x}\n",
        ("b.yaml, document 1: Binding x: kind: there is no Binding in trustbind.dev",),
    ),
    "a template": (
        b"apiVersion: v1\nkind: Pod\nmetadata: {{ .Values.x }}\n",
        ("b.yaml: line 3: {{ .Values.x }} is a template expression that was not rendered; pipe what Helm makes of it",),
    ),
    "a template with a block": (
        b"{{- if .Values.on }}\napiVersion: v1\nkind: Pod\n{{- end }}\n",
        ("b.yaml: line 1: {{- if .Values.on }} is a template expression",),
    ),
    "a template that is YAML": (
        b'apiVersion: v1\nkind: Pod\nmetadata:\n  name: "{{ .Release.Name }}-x"\n',
        ("b.yaml: line 4: {{ .Release.Name }} is a template expression",),
    ),
    "an alias in itself": (b"a: &a [*a]\n", ("b.yaml, document 1", "alias within itself")),
    "too deep": (b"[" * 5000, ("b.yaml, document", "nested deeper than 100 levels")),
    "a long number": (b"a: " + b"1" * 5000, ("b.yaml, document 1: line 1: '1111", "has 5000 digits")),
    "a long number in base 16": (b"a:\n  0x" + b"f" * 5000, ("b.yaml, document 1: line 2: '0xffff", "has 5002 digits")),
    "a key with a line break": (b'apiVersion: v1\nkind: Pod\nmetadata: {"a\\nb": 1}\n', ("no field `a\\nb`",)),
}
READERS = {"preview pod": ("preview", "pod", "-f", "b.yaml"), "preview trust": TRUST, "apply": APPLY}


@pytest.mark.parametrize("command", list(READERS))
@pytest.mark.parametrize("what", list(FILES))
def test_file(cli: Cli, command: str, what: str) -> None:
    """A file of manifests that cannot be used is named with document and line or field."""
    content, said = FILES[what]
    if content is not None:
        Path("b.yaml").write_bytes(content)

    check(cli, READERS[command], said)


MANIFESTS: dict[str, tuple[list[Any], tuple[str, ...]]] = {
    "role": ([account(), binding("x", "shop", roleArn="x")], ("b.yaml, document 2: RoleBinding shop/x: spec.roleArn",)),
    "unknown field": ([binding("x", role="y")], ("document 1: RoleBinding x: spec: there is no field `role`",)),
    "field beside spec": (
        [binding() | {"waitUntilReady": True}],
        ("RoleBinding b: there is no field waitUntilReady beside spec; did you mean spec.waitUntilReady?",),
    ),
    "misspelt namespace": (
        [binding() | {"metadata": {"name": "b", "namepace": "billing"}}],
        ("RoleBinding b: metadata: there is no field `namepace`; did you mean namespace?",),
    ),
    "misspelt labels of an account": (
        [account() | {"metadata": {"name": "x", "label": {"tier": "batch"}}}],
        ("ServiceAccount x: metadata: there is no field `label`; did you mean labels?",),
    ),
    "binding's name": ([binding("My_Binding")], ("RoleBinding My_Binding: metadata.name: 'My_Binding' is not a name",)),
    "binding's namespace": (
        [binding(namespace="team.a")],
        ("RoleBinding team.a/b: metadata.namespace: 'team.a' is not a namespace name",),
    ),
    "another version": (
        [binding() | {"apiVersion": "trustbind.dev/v2"}],
        ("RoleBinding b: apiVersion: 'trustbind.dev/v2' is not trustbind.dev/v1alpha1",),
    ),
    "twice": ([binding(), binding("c"), binding()], ("document 3: RoleBinding b: stands twice", "document 1")),
    "account's name": ([account("Checkout")], ("ServiceAccount Checkout: metadata.name: 'Checkout' is not",)),
    "account without a name": ([{"apiVersion": "v1", "kind": "ServiceAccount"}], ("ServiceAccount without a name",)),
    "annotation is a number": (
        [account() | {"metadata": {"name": "x", "annotations": {"a": 5}}}],
        ("ServiceAccount x: metadata.annotations.a: expected a text; put 5 in quotes",),
    ),
    "annotations is a list": (
        [account() | {"metadata": {"name": "x", "annotations": []}}],
        ("ServiceAccount x: metadata.annotations: expected a mapping of texts",),
    ),
    "label is a boolean": (
        [account() | {"metadata": {"name": "x", "labels": {"a": True}}}],
        ("ServiceAccount x: metadata.labels.a: expected a text; put true in quotes",),
    ),
    "aws account": (
        [{"apiVersion": "trustbind.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "p"}, "spec": {}}],
        ("AWSAccount p: spec: a required field is missing: `accountId`",),
    ),
    "grant": (
        [{"apiVersion": "trustbind.dev/v1alpha1", "kind": "RoleGrant", "metadata": {"name": "g"}, "spec": {}}],
        ("RoleGrant g: spec: a required field is missing: `namespaces`",),
    ),
}


@pytest.mark.parametrize("command", list(READERS))
@pytest.mark.parametrize("what", list(MANIFESTS))
def test_manifest(cli: Cli, command: str, what: str) -> None:
    """An object that breaks a rule is named with file, document, kind, name and field."""
    objects, said = MANIFESTS[what]
    written("b.yaml", *objects)

    check(cli, READERS[command], said)


PODS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "containers is an object": (invalid_pod(containers={}), ("Pod web-0: spec.containers: ",)),
    "container without a name": (invalid_pod(containers=[{}]), ("spec.containers[0]: ", "`name`")),
    "env is a text": (invalid_pod(containers=[{"name": "a", "env": "x"}]), ("spec.containers[0].env: ",)),
    "variable's value is a number": (
        invalid_pod(containers=[{"name": "a", "env": [{"name": "A", "value": 5}]}]),
        ("spec.containers[0].env[0].value: ",),
    ),
    "volumes is a text": (invalid_pod(volumes="x"), ("spec.volumes: ",)),
    "account is a number": (invalid_pod(serviceAccountName=5), ("spec.serviceAccountName: ",)),
    "annotation is a number": (invalid_pod(metadata={"annotations": {"a": 5}}), ("metadata.annotations.a: ", "quotes")),
    "node selector is a list": (invalid_pod(nodeSelector=[]), ("spec.nodeSelector: ",)),
    "spec is missing": ({k: v for k, v in pod().items() if k != "spec"}, ("Pod web-0: ", "`spec`")),
}


@pytest.mark.parametrize("what", list(PODS))
def test_pod(cli: Cli, what: str) -> None:
    """A pod that cannot be understood is named with file, document and field, in plain words."""
    body, said = PODS[what]
    written("b.yaml", account(), body)

    check(cli, ("preview", "pod", "-f", "b.yaml"), ("b.yaml, document 2: Pod web-0", *said))


USAGE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no file": (("preview", "pod"), ("-f: give files or folders with -f, or a kustomization with -k",)),
    "no pod": (
        ("preview", "pod", "-f", "good.yaml"),
        ("good.yaml: there is no Pod, and no workload with a pod template, in it",),
    ),
    "a URL": (
        ("preview", "pod", "-f", "https://example.com/pod.yaml"),
        ("-f: https://example.com/pod.yaml is a URL, and trustbind reads files only; pipe it: curl -fsSL https://",),
    ),
    "a URL of a kustomization": (
        ("preview", "pod", "-k", "https://github.com/example/app"),
        ("-k: https://github.com/example/app is a URL, and trustbind reads folders only",),
    ),
    "unknown option": (("preview", "pod", "-f", "good.yaml", "--nope"), ("No such option", "--nope")),
    "unknown output": (("preview", "pod", "-f", "good.yaml", "-o", "xml"), ("'xml' is not one of", "'-o'")),
    "expiration": (("preview", "pod", "-f", "good.yaml", "--token-expiration", "1h"), ("'--token-expiration'",)),
    "prefix with a slash": (
        ("preview", "pod", "-f", "good.yaml", "--annotation-prefix", "x/"),
        ("--annotation-prefix: 'x/' is not a prefix",),
    ),
    "prefix empty": (("preview", "pod", "-f", "good.yaml", "--annotation-prefix", ""), ("--annotation-prefix: ",)),
    "mount path": (("preview", "pod", "-f", "good.yaml", "--token-mount-path", "aws"), ("--token-mount-path: 'aws'",)),
    "standard input twice": (("preview", "pod", "-f", "-", "-f", "-"), ("standard input can be read only once",)),
    "a folder without manifests": (
        ("preview", "pod", "-f", "empty"),
        ("empty: the folder holds no .yaml, .yml, .json file",),
    ),
    "trust: no role": (
        ("preview", "trust", "-f", "good.yaml", "--issuer", ISSUER),
        (
            "there is no RoleBinding in the files, and no --role-arn is given",
            "; ServiceAccount checkout is annotated with a role, and counted as bound with --bind-annotated only",
        ),
    ),
    "trust: current of no role": (
        ("preview", "trust", "-f", "b.yaml", "--issuer", ISSUER, "--current", "t.json"),
        ("--current: it is the trust policy of one role; add --role-arn",),
    ),
    "trust: no issuer": (("preview", "trust", "-f", "good.yaml", "--role-arn", ROLE), ("Missing option '--issuer'",)),
    "trust: role": (
        ("preview", "trust", "-f", "good.yaml", "--role-arn", "x", "--issuer", ISSUER),
        ("--role-arn: 'x' is not an ARN",),
    ),
    "trust: issuer": (
        ("preview", "trust", "-f", "good.yaml", "--role-arn", ROLE, "--issuer", "oidc.example.com"),
        ("--issuer: 'oidc.example.com' is not an issuer URL",),
    ),
    "trust: limit": ((*TRUST, "--limit", "0"), ("'--limit'",)),
    "trust: output": ((*TRUST, "-o", "patch"), ("'patch' is not one of",)),
    "evaluate: no policy": (("evaluate", "--principal", "x", "--action", "y:z"), ("--policy: give the trust policy",)),
    "evaluate: principal": (
        ("evaluate", "--policy", "t.json", "--principal", "x y", "--action", "sts:AssumeRole"),
        ("--principal: ",),
    ),
    "evaluate: action": (
        ("evaluate", "--policy", "t.json", "--principal", "ec2.amazonaws.com", "--action", "AssumeRole"),
        ("--action: 'AssumeRole' is not an action",),
    ),
    "evaluate: action with a space": (
        ("evaluate", "--policy", "t.json", "--principal", "ec2.amazonaws.com", "--action", "sts: AssumeRole"),
        ("--action: ",),
    ),
    "evaluate: context": ((*EVALUATE, "--context", "aws:x"), ("--context: 'aws:x' is not KEY=VALUE",)),
    "evaluate: context without a key": ((*EVALUATE, "--context", "=x"), ("--context: '=x' is not KEY=VALUE",)),
    "evaluate: token is missing": ((*EVALUATE, "--token", "gone.jwt"), ("gone.jwt: cannot be read",)),
    "evaluate: output": ((*EVALUATE, "-o", "toml"), ("'toml' is not one of",)),
    "apply: no binding": (
        ("apply", "-f", "good.yaml", "--issuer", ISSUER),
        ("there is no RoleBinding in the files, and no --role-arn is given",),
    ),
    "apply: role": (("apply", "-f", "b.yaml", "--issuer", ISSUER, "--role-arn", "x"), ("--role-arn: 'x'",)),
    "apply: issuer": (("apply", "-f", "b.yaml", "--issuer", "http://x"), ("--issuer: ",)),
    "no such command": (("prevew",), ("No such command 'prevew'", "see 'trustbind --help'")),
    "an argument too many": (("preview", "pod", "-f", "good.yaml", "more"), ("unexpected extra argument",)),
}


@pytest.mark.parametrize("what", list(USAGE))
def test_usage(cli: Cli, what: str) -> None:
    """Options that are wrong are named, and where help is."""
    written("good.yaml", account())
    written("b.yaml", binding())
    Path("empty").mkdir()
    Path("t.json").write_text('{"Statement": []}', encoding="utf-8")
    arguments, said = USAGE[what]

    check(cli, arguments, said)


POLICIES: dict[str, tuple[bytes | None, tuple[str, ...]]] = {
    "missing": (None, ("t.json: cannot be read",)),
    "empty": (b"", ("t.json: not JSON",)),
    "not JSON": (b"{'a': 1}", ("t.json: not JSON", "line 1")),
    "YAML": (b"Version: x\n", ("t.json: not JSON",)),
    "not text": (b"\xff", ("t.json: is not UTF-8 text",)),
    "a list": (b"[]", ("t.json: a trust policy is a JSON object, not a list",)),
    "a key twice": (b'{"Version": "x", "Version": "y"}', ("t.json: the key 'Version' stands twice",)),
    "statement is a text": (b'{"Statement": "x"}', ("t.json: Statement is a list of statements, not a text",)),
    "a statement is a text": (b'{"Statement": [{}, "x"]}', ("t.json: statement 2 is a text, not an object",)),
    "version is a number": (b'{"Version": 2012, "Statement": []}', ("t.json: Version is a text",)),
    "sid is a number": (b'{"Statement": [{"Sid": 1}]}', ("t.json: statement 1: Sid is a number",)),
    "too deep": (b'{"Statement": ' + b"[" * 100_000, ("t.json: not",)),
    "a role's document is a list": (b'{"Role": {"AssumeRolePolicyDocument": []}}', ("t.json: a trust policy is",)),
    "no trust policy": (b'{"Hello": "world"}', ("t.json: not a trust policy: it has 'Hello', and no Statement",)),
}


@pytest.mark.parametrize("command", ["evaluate", "preview trust"])
@pytest.mark.parametrize("what", list(POLICIES))
def test_policy(cli: Cli, command: str, what: str) -> None:
    """A trust policy that cannot be used is named with its file and what is wrong in it."""
    content, said = POLICIES[what]
    if content is not None:
        Path("t.json").write_bytes(content)
    written("b.yaml", binding())

    check(cli, EVALUATE if command == "evaluate" else (*TRUST, "--current", "t.json"), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "three parts"),
        (b"abc", "three parts"),
        (b"a.b", "three parts"),
        (b"a.!!!.c", "second part is not base64url of a JSON object"),
        (b"a.e30x.c", "second part is not base64url of a JSON object"),
        (b"a.W10.c", "second part is not base64url of a JSON object"),
        (b"a.e30.c", "no issuer"),
        ("a.é.c".encode(), "second part is not base64url of a JSON object"),
        (b"a." + b"W" * 9 + b".c", "second part is not base64url of a JSON object"),
        (b"\xff.\xff.\xff", "is not UTF-8 text"),
        (b"a." + base64.urlsafe_b64encode(b'{"exp":' + b"1" * 5000 + b"}") + b".c", "not base64url of a JSON object"),
    ],
)
def test_token(cli: Cli, content: bytes, said: str) -> None:
    """A file that is no JWT is named."""
    Path("t.json").write_text('{"Statement": []}', encoding="utf-8")
    Path("token.jwt").write_bytes(content)

    check(cli, (*EVALUATE, "--token", "token.jwt"), ("token", said))


def test_standard_input_is_named(cli: Cli) -> None:
    """What is wrong in standard input is said to stand there."""
    check(
        cli, ("preview", "pod", "-f", "-"), ("standard input, document 2: kind",), stdin=b"---\n---\napiVersion: v1\n"
    )
    check(cli, (*EVALUATE[:2], "-", *EVALUATE[3:]), ("standard input: not JSON",), stdin=b"x")


def test_groups_without_a_command(cli: Cli) -> None:
    """A group without a command shows its help, as it is."""
    for arguments in ((), ("preview",)):
        done = cli(*arguments)
        assert done.err.startswith("Usage: trustbind") or done.out.startswith("Usage: trustbind")
        assert "--help'" not in done.err


@pytest.mark.parametrize(
    "command", [(), ("preview",), ("preview", "pod"), ("preview", "trust"), ("evaluate",), ("apply",), ("webhook",)]
)
def test_help(cli: Cli, command: tuple[str, ...]) -> None:
    """Every command has help, and every command that does something an example."""
    done = cli(*command, "--help")

    assert (done.code, done.err) == (0, "")
    assert command in {(), ("preview",)} or f"Example: trustbind {' '.join(command)} " in " ".join(done.out.split())


def test_version(cli: Cli) -> None:
    """The version is one line."""
    assert cli("--version").out.startswith("trustbind 0.")


def run(*arguments: str, folder: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "trustbind_cli", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
        timeout=30,
        check=False,
    )


def test_real_processes(tmp_path: Path) -> None:
    """As processes of their own: data on standard output, sentences on standard error, and the exit codes."""
    everything = yaml.safe_dump_all([account(), pod(), binding(namespace="default")]).encode()
    trust = ("preview", "trust", "-f", "-", "--role-arn", ROLE, "--issuer", ISSUER)

    good = run("preview", "pod", "-f", "-", "-o", "json", folder=tmp_path, stdin=everything)
    full = run(*trust, "--limit", "10", folder=tmp_path, stdin=everything)
    bad = run("preview", "pod", "-f", "gone.yaml", folder=tmp_path)
    (tmp_path / "t.json").write_text('{"Statement": []}', encoding="utf-8")
    denied = run(*EVALUATE, folder=tmp_path)

    assert (good.returncode, good.stderr) == (0, b"")
    assert json.loads(good.stdout)[0]["metadata"] == {"name": "web-0"}
    assert full.returncode == 1
    assert full.stderr.startswith(b"trustbind: refused (TrustPolicyFull)")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert bad.stderr == b"trustbind: gone.yaml: cannot be read: No such file or directory\n"
    assert denied.returncode == 1
    assert denied.stdout.startswith(b"Deny\n")


@pytest.mark.parametrize("pods", [1, 300])
def test_reader_that_goes_away(tmp_path: Path, pods: int) -> None:
    """A reader that has seen enough (``| head``) ends the command without a word."""
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([pod(f"p{i}") for i in range(pods)]), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "trustbind_cli", "preview", "pod", "-f", "all.yaml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert b"BrokenPipe" not in process.stderr.read()
