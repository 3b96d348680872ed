"""Which files ``-f``, ``-R`` and ``-k`` name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from support.commands import ROLE, Cli, account, binding, pod, written
from trustbind.errors import ManifestError
from trustbind_cli.files.sources import files_of

KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [all.yaml]\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with manifests and what lies beside them."""
    monkeypatch.chdir(tmp_path)
    for name in ("app/b.yaml", "app/a.yml", "app/c.json", "app/README.md", "app/.hidden.yaml", "app/sub/d.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    (tmp_path / "app" / ".git").mkdir()
    (tmp_path / "app" / ".git" / "e.yaml").write_text("", encoding="utf-8")
    (tmp_path / "app" / "again").symlink_to(tmp_path / "app")
    return tmp_path


def test_folder(tree: Path) -> None:
    """The manifests of a folder, sorted, without those of folders within it."""
    assert tree.exists()

    assert list(files_of(["app"], recursive=False)) == ["app/a.yml", "app/b.yaml", "app/c.json"]


def test_recursive(tree: Path) -> None:
    """Folders within it count with -R; hidden ones and links to folders do not, so that nothing is read twice."""
    assert tree.exists()

    assert list(files_of(["app"], recursive=True)) == ["app/a.yml", "app/b.yaml", "app/c.json", "app/sub/d.yaml"]


def test_names_are_kept_in_order(tree: Path) -> None:
    """Files come as they are named, whatever they are called, and standard input among them."""
    assert tree.exists()

    assert list(files_of(["app/README.md", "-", "gone", "app/sub"], recursive=False)) == [
        "app/README.md",
        "-",
        "gone",
        "app/sub/d.yaml",
    ]


def test_manifests_are_deeper(tree: Path) -> None:
    """A folder whose folders hold the manifests: the sentence names the option."""
    (tree / "top").mkdir()
    (tree / "app").rename(tree / "top" / "app")

    with pytest.raises(ManifestError, match=r"top: the folder holds no .*; its subfolders do, so add -R"):
        list(files_of(["top"], recursive=False))


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_kustomization_in_a_folder(tree: Path, name: str) -> None:
    """Its files are not what is applied, so they are not read one by one."""
    (tree / "app" / "sub" / name).write_text(KUSTOMIZATION, encoding="utf-8")

    assert list(files_of(["app"], recursive=False))
    with pytest.raises(ManifestError, match=r"app/sub: is a kustomization, .* give it with -k app/sub$"):
        list(files_of(["app"], recursive=True))


def test_chart(tree: Path) -> None:
    """The folder of a chart has templates, not manifests; so has each file of it, which names the chart."""
    (tree / "app" / "Chart.yaml").write_text("name: app\n", encoding="utf-8")

    with pytest.raises(
        ManifestError, match=r"app: is a Helm chart, .*: helm template NAME app \| trustbind \.\.\. -f -$"
    ):
        list(files_of(["app"], recursive=False))


def test_template_of_a_chart(cli: Cli) -> None:
    """A template that is given alone names its chart."""
    Path("app/templates").mkdir(parents=True)
    Path("app/Chart.yaml").write_text("name: app\n", encoding="utf-8")
    Path("app/templates/pod.yaml").write_text("kind: {{ .Values.kind }}\n", encoding="utf-8")

    done = cli("preview", "pod", "-f", "app/templates")

    assert done.code == 2
    assert done.err == (
        "trustbind: app/templates/pod.yaml: line 1: {{ .Values.kind }} is a template expression that was not rendered; "
        "pipe what Helm makes of it: helm template NAME app | trustbind ... -f -\n"
    )


def test_expressions_of_others(cli: Cli) -> None:
    """Such expressions in objects that are not used here, and other double braces, are nobody's templates."""
    release = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "r"}}
    written(
        "all.yaml",
        account(),
        pod(containers=[{"name": "app", "args": ["--format={{.Name}} {{ range .Items }}"]}]),
        release | {"spec": {"values": {"name": "{{ .Release.Name }}"}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "{{ .Values.x }}"}},
    )

    done = cli("preview", "pod", "-f", "all.yaml")

    assert done.code == 0
    assert ROLE in done.out


def program(folder: Path, name: str, script: str) -> None:
    """Put a program on the only path."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the only folder in which programs are looked for."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize(
    ("programs", "call"),
    [
        (["kubectl"], "kubectl kustomize app"),
        (["kustomize"], "kustomize build app"),
        (["kubectl", "kustomize"], "kubectl kustomize app"),
    ],
)
def test_kustomize(cli: Cli, path: Path, programs: list[str], call: str) -> None:
    """What the program prints counts as the file of manifests, beside other files; kubectl comes first."""
    Path("app").mkdir()
    (Path("app") / "out.yaml").write_text(yaml.safe_dump_all([pod()]), encoding="utf-8")
    for name in programs:
        program(path, name, f'echo "{name} $@" > called; while read -r line; do echo "$line"; done < app/flat.json')
    (Path("app") / "flat.json").write_text(
        yaml.safe_dump(pod(), default_flow_style=True, width=10000), encoding="utf-8"
    )

    done = cli("preview", "pod", "-k", "app", "-f", written("account.yaml", account()))

    assert (done.code, done.err) == (0, "")
    assert ROLE in done.out
    assert Path("called").read_text(encoding="utf-8") == f"{call}\n"


def test_kustomize_refuses(cli: Cli, path: Path) -> None:
    """What the program says is the sentence, and nothing else is printed."""
    program(path, "kubectl", "echo 'error: no such resource' >&2; exit 1")

    done = cli("preview", "trust", "-k", "app", "--issuer", "https://oidc.example.com")

    assert (done.code, done.out) == (2, "")
    assert done.err == "trustbind: app: 'kubectl kustomize' fails: no such resource\n"


def test_no_kustomize(cli: Cli, path: Path) -> None:
    """Without the programs, the sentence says what else can be done."""
    assert not path.exists()

    done = cli("preview", "pod", "-k", "app")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "trustbind: -k: neither kubectl nor kustomize is installed; install one of them, or give the output of "
        "'kustomize build app' with -f\n"
    )


def test_folder_that_cannot_be_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with the reason."""
    Path("app").mkdir()

    def refuse(_self: Path) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir", refuse)

    assert cli("preview", "pod", "-f", "app").err == "trustbind: app: cannot be read: Permission denied\n"


def test_whole_folder(cli: Cli) -> None:
    """A folder with workloads, service accounts and bindings is all that a preview needs."""
    Path("app/shop").mkdir(parents=True)
    written(
        "app/deployment.yaml",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"template": {"spec": pod()["spec"]}},
        },
    )
    written("app/shop/list.yaml", {"apiVersion": "v1", "kind": "List", "items": [binding(), account("other")]})

    pods = cli("preview", "pod", "-f", "app", "-R")
    trust = cli("preview", "trust", "-f", "app", "-R", "--issuer", "https://oidc.example.com", "--role-arn", ROLE)

    assert (pods.code, trust.code) == (0, 0)
    assert ROLE in pods.out
    assert "generateName: web-" in pods.out
    assert "system:serviceaccount:default:checkout" in trust.out
