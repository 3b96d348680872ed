"""The repository's own rules: where things are, who imports whom."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Folder by package, as the distribution is built.
PACKAGES = {
    Path(path).name: str(Path(path).parent)
    for path in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]["packages"]
}


def modules() -> list[str]:
    """Return the names of all our modules."""
    found = []
    for name, folder in PACKAGES.items():
        found.append(name)
        found += [m.name for m in pkgutil.walk_packages([str(ROOT / folder / name)], f"{name}.")]
    return sorted(found)


def test_packages_are_found() -> None:
    """The distribution has the core, both halves and the command line, so that the tests below look at something."""
    assert (
        PACKAGES.items()
        >= {
            "trustbind": "core",
            "trustbind_webhook": "webhook",
            "trustbind_operator": "operator",
            "trustbind_cli": "cli",
        }.items()
    )


def test_operator_is_a_plain_folder() -> None:
    """A folder ``operator`` with an __init__.py would shadow Python's own module for whoever starts in the root."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    for folder in set(PACKAGES.values()):
        assert [path.name for path in (ROOT / folder).glob("*.py")] == []


def test_standard_operator_from_the_root() -> None:
    """A process started in the repository's root gets Python's own operator module."""
    done = subprocess.run(
        [sys.executable, "-c", "import operator; operator.itemgetter; print(operator.__file__)"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert str(ROOT / "operator") not in done.stdout


def test_import_contracts() -> None:
    """Nobody imports what .importlinter forbids: the core is pure, the halves do not know each other."""
    beside = Path(sys.executable).with_name("lint-imports")
    tool = str(beside) if beside.exists() else shutil.which("lint-imports")
    assert tool is not None, "import-linter is not installed"

    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", modules())
def test_public_names(name: str) -> None:
    """A module that says what is public has all of it, and names it once."""
    if name.endswith(".__main__"):
        return
    module = importlib.import_module(name)

    public = getattr(module, "__all__", ())

    assert [n for n in public if not hasattr(module, n)] == []
    assert len(set(public)) == len(public)


def test_every_package_is_typed() -> None:
    """Each package tells type checkers that it has types."""
    assert [name for name, folder in PACKAGES.items() if not (ROOT / folder / name / "py.typed").exists()] == []


def test_core_reads_no_environment() -> None:
    """Nothing but the settings reads the environment: not the core, not the decisions."""
    readers = [
        path.name
        for path in sorted((ROOT / "core").rglob("*.py"))
        if "os.environ" in (text := path.read_text(encoding="utf-8")) or "getenv" in text
    ]

    assert readers == []


def test_keys_have_one_home() -> None:
    """Labels, annotations, finalizers and gates are constants of one module; tags in AWS are with their rules."""
    homes = {"labels.py", "role_grant.py", "pod_identity.py"}
    key = re.compile(r"trustbind\.dev/(?!v1)[a-z-]*")
    elsewhere = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for name, folder in PACKAGES.items()
        for path in sorted((ROOT / folder / name).rglob("*.py"))
        if path.name not in homes
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and key.fullmatch(node.value)
    ]

    assert elsewhere == []


def test_modules_beside_the_operators_packages() -> None:
    """What starts, configures, measures and elects stands there; all else is in a package with a subject."""
    folder = ROOT / "operator" / "trustbind_operator"

    assert {path.stem for path in folder.glob("*.py")} == {"__init__", "app", "settings", "metrics", "leader_election"}


def code_lines(node: ast.ClassDef, text: list[str]) -> int:
    """Return how many lines of a class have code: neither blank nor part of a docstring."""
    docs = {
        line
        for each in ast.walk(node)
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and isinstance(each.value.value, str)
        for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)
    }
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return sum(1 for line in lines if line not in docs and text[line - 1].strip())


def test_size_of_classes() -> None:
    """No class has more than 220 lines of code: one that grows has a second subject."""
    sizes = {}
    for folder in sorted(set(PACKAGES.values())):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef):
                    sizes[f"{path.relative_to(ROOT)}: {node.name}"] = code_lines(node, text.splitlines())

    assert len(sizes) > 100
    assert {name: size for name, size in sizes.items() if size > 220} == {}


def test_services_in_the_image() -> None:
    """The image keeps botocore's description of each AWS service that a client is made for."""
    spec = importlib.util.spec_from_file_location("image_trim", ROOT / "tools" / "image-trim.py")
    assert spec is not None
    assert spec.loader is not None
    trim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trim)
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "aws").rglob("*.py")]

    called = {service for source in sources for service in re.findall(r"\.client\(\s*\"([a-z-]+)\"", source)}

    assert called >= {"iam", "sts", "eks"}
    assert called <= trim.SERVICES
