"""The pages in docs/: commands run, files are what is said of them, links lead somewhere.

A comment in front of a block says what it is:

    <!-- run -->              a ``sh`` block that is run; with ``: exit 1`` it ends with that code
    <!-- not run: reason -->  a ``sh`` block that is not
    <!-- output -->           lines that the block before it prints, in this order; ``...`` stands for any lines
    <!-- file: name -->       a file that the blocks behind it find in their folder
    <!-- values -->           values of the chart: every key is one of charts/trustbind/values.yaml

The blocks of one page run in one shell, in a folder of their own, with nothing but the environment's programs on PATH.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.pages import BLOCK, DOCS, Block, blocks
from trustbind.api.manifests import read
from trustbind_cli.files.manifests import sort_out

ROOT: Final = DOCS.parent
PAGES: Final = sorted(path for path in DOCS.rglob("*.md") if "decisions" not in path.parts)
NEEDED: Final = {
    "bindings.md",
    "cross-account.md",
    "day-two.md",
    "gitops.md",
    "guides/chains.md",
    "guides/configmap.md",
    "guides/eks-other-account.md",
    "guides/graph.md",
    "guides/lint.md",
    "guides/missed-pods.md",
    "guides/other-identity-providers.md",
    "guides/pod-identity.md",
    "guides/sessions.md",
    "guides/several-roles.md",
    "guides/sweep.md",
    "guides/wait-until-ready.md",
    "guides/who-can.md",
    "index.md",
    "install.md",
    "migrate.md",
    "migrate/ack.md",
    "migrate/blue-green.md",
    "migrate/crossplane.md",
    "migrate/eks-webhook.md",
    "migrate/eksctl.md",
    "migrate/kops.md",
    "migrate/kube2iam.md",
    "migrate/terraform.md",
    "security.md",
    "troubleshooting.md",
    "tutorial.md",
    "upgrade.md",
}
SECONDS: Final = 120

_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def _every() -> Iterator[Block]:
    for page in PAGES:
        yield from blocks(page)


def _named(page: Path) -> str:
    return str(page.relative_to(DOCS))


def test_pages_are_there() -> None:
    """Every guide is there, so that the tests below look at something."""
    assert {_named(page) for page in PAGES} >= NEEDED


def test_navigation() -> None:
    """The site leads to every page, and to nothing else."""

    def pages(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values() if isinstance(entry, dict) else entry:
                yield from pages(below)

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(pages(site["nav"])) == sorted(_named(page) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_marks(page: Path) -> None:
    """Every block of commands says whether it is run, and if not, why; marks stand where they mean something."""
    for block in blocks(page):
        if block.language == "sh":
            assert re.fullmatch(r"run(: exit \d+)?|not run: \S.*", block.mark), f"{block}: {block.mark!r}"
        elif block.mark:
            assert re.fullmatch(r"output|values|file: [\w./-]+", block.mark), f"{block}: {block.mark!r}"


def _runs(page: Path) -> bool:
    return any(block.mark.startswith("run") for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if _runs(page)], ids=_named)
def test_commands(page: Path, tmp_path: Path) -> None:
    """The blocks that are run end as they should, and print what the page says."""
    folder, printed = tmp_path / "folder", tmp_path / "printed"
    folder.mkdir()
    printed.mkdir()
    script, expected, last = ["set -eu"], list[tuple[Block, Path]](), printed
    for block in blocks(page):
        if block.file:
            file = folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.mark == "output":
            expected.append((block, last))
        elif block.mark.startswith("run"):
            last = printed / str(block.line)
            code = block.mark.partition("exit ")[2] or "0"
            script += [
                f"echo {shlex.quote(str(block))} >&2",
                "status=0",
                "{",
                block.text.rstrip(),
                f"}} >{shlex.quote(str(last))} 2>&1 " + ("" if code == "0" else "|| status=$?"),
                f"test $status -eq {code}",
            ]
    _run("\n".join(script) + "\n", folder, printed)
    for block, path in expected:
        _assert_printed(block, path.read_text(encoding="utf-8"))


def _run(script: str, folder: Path, printed: Path) -> None:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    log = printed / "log"
    with log.open("w", encoding="utf-8") as errors:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", script],
            cwd=folder,
            env={"PATH": programs, "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"},
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = shell.wait(SECONDS)
        finally:  # what the page left running ends with it
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    outputs = {path.name: path.read_text(encoding="utf-8") for path in printed.iterdir()}
    assert code == 0, "\n".join(f"--- {name}\n{text}" for name, text in sorted(outputs.items()))


def _assert_printed(block: Block, printed: str) -> None:
    """Look for each run of lines between ``...``, in order; white space at the ends of lines does not count."""
    rest = "\n".join(line.rstrip() for line in printed.splitlines())
    for part in re.split(r"^\.\.\.$\n?", block.text, flags=re.MULTILINE):
        wanted = "\n".join(line.rstrip() for line in part.splitlines())
        if not wanted:
            continue
        _, found, rest = rest.partition(wanted)
        assert found == wanted, f"{block}: not printed:\n{wanted}\n--- printed:\n{printed}"


@pytest.mark.parametrize("block", [b for b in _every() if b.language == "yaml"], ids=str)
def test_yaml(block: Block) -> None:
    """YAML can be read; objects of ours keep the rules; values are the chart's."""
    documents = [each for each in yaml.safe_load_all(block.text) if each is not None]
    if block.mark == "values":
        known = yaml.safe_load((ROOT / "charts" / "trustbind" / "values.yaml").read_text(encoding="utf-8"))
        for document in documents:
            _assert_known(document, known, "")
            for kind, key in (("AWSAccount", "accounts"), ("RoleGrant", "grants")):
                for entry in document.get(key, ()):
                    _check(kind, entry)
    elif documents and all(isinstance(each, dict) and "kind" in each for each in documents):
        sort_out(read(block.text, str(block)))


def _assert_known(given: Any, known: Any, where: str) -> None:
    """An empty mapping or list among the values takes anything."""
    if not isinstance(given, dict) or not known:
        return
    assert isinstance(known, dict), f"{where} is no mapping"
    for key, value in given.items():
        assert key in known, f"{where}.{key} is not a value of the chart"
        _assert_known(value, known[key], f"{where}.{key}")


def _check(kind: str, entry: dict[str, Any]) -> None:
    spec = {key: value for key, value in entry.items() if key != "name"}
    manifest = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": entry["name"]},
        "spec": spec,
    }
    sort_out(read(yaml.safe_dump(manifest), "values"))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site's generator makes them."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", text, re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return found


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=_named)
def test_links(page: Path) -> None:
    """Links lead to a page of docs/ and a heading in it; nothing outside, since the site has no more."""
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text(encoding="utf-8")))
    for target in _LINK.findall(text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.is_file(), f"{_named(page)}: {target} leads nowhere"
        assert other.is_relative_to(DOCS), f"{_named(page)}: {target} leads out of docs/"
        assert not anchor or anchor in _anchors(other), f"{_named(page)}: {target}: no such heading"
