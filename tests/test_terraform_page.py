"""What docs/migrate/terraform.md says of Terraform itself, tried with Terraform: no provider is needed for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.pages import DOCS, Block, blocks

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None or shutil.which("git") is None, reason="no terraform")

MODULE = """
resource "terraform_data" "this" {
  count = 1
  input = "trust"
}
"""
OWN = """
resource "terraform_data" "s3_reader" {
  input = "another trust"
  lifecycle { ignore_changes = [input] }
}
moved {
  from = module.s3_reader.terraform_data.this[0]
  to   = terraform_data.s3_reader
}
"""


def _run(folder: Path, *command: str) -> tuple[int, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "CHECKPOINT_DISABLE": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _succeed(folder: Path, *command: str) -> str:
    code, text = _run(folder, *command)
    assert code == 0, text
    return text


@pytest.fixture(name="call")
def _call(tmp_path: Path) -> str:
    """Return the call of a module in a repository of its own, as a registry's module is one."""
    module = tmp_path / "module"
    module.mkdir()
    (module / "main.tf").write_text(MODULE, encoding="utf-8")
    _succeed(module, "git", "init", "-q")
    _succeed(module, "git", "add", ".")
    _succeed(module, "git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "x")
    return f'module "s3_reader" {{\n  source = "git::file://{module}"\n}}\n'


@pytest.fixture(name="root")
def _root(tmp_path: Path, call: str) -> Path:
    """Return a configuration whose module is applied."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "main.tf").write_text(call, encoding="utf-8")
    _succeed(root, "terraform", "init", "-no-color")
    _succeed(root, "terraform", "apply", "-auto-approve", "-no-color")
    return root


def test_out_of_a_module(root: Path) -> None:
    """With the call gone, the resource moves and nothing changes, not even what is ignored from then on."""
    (root / "main.tf").write_text(OWN, encoding="utf-8")
    _succeed(root, "terraform", "init", "-no-color")

    planned = _succeed(root, "terraform", "plan", "-no-color")
    assert "module.s3_reader.terraform_data.this[0] has moved to terraform_data.s3_reader" in planned
    assert "0 to add, 0 to change, 0 to destroy" in planned


def test_call_that_is_there(root: Path, call: str) -> None:
    """While the module is called, Terraform refuses to move the resource out of it."""
    (root / "main.tf").write_text(call + OWN, encoding="utf-8")

    code, text = _run(root, "terraform", "plan", "-no-color")
    assert code == 1
    assert "Moved object still exists" in text


def test_lifecycle_of_a_module(root: Path, call: str) -> None:
    """A module takes no lifecycle."""
    given = call.replace("}\n", "  lifecycle { ignore_changes = [input] }\n}\n")
    (root / "main.tf").write_text(given, encoding="utf-8")

    code, text = _run(root, "terraform", "plan", "-no-color")
    assert code == 1
    assert "Reserved block type name in module block" in text


@pytest.mark.parametrize(
    "block", [b for b in blocks(DOCS / "migrate" / "terraform.md") if b.language == "terraform"], ids=str
)
def test_form(block: Block, tmp_path: Path) -> None:
    """The page's own blocks are formatted as Terraform formats them, so they can be parsed."""
    (tmp_path / "main.tf").write_text(block.text, encoding="utf-8")

    _succeed(tmp_path, "terraform", "fmt", "-check", "-diff")
