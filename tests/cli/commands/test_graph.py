"""``trustbind graph`` on files, and its page in a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.commands import Cli, Outcome
from support.pages import DOCS
from support.pages import files as files_of
from support.schemas import checked

ISSUER: Final = "https://oidc.example.com/id/1"
BASE: Final = "arn:aws:iam::111122223333:role/base"
APP: Final = "arn:aws:iam::444455556666:role/app"
OPS: Final = "codebuild.amazonaws.com"
LAMBDA: Final = "arn:aws:iam::444455556666:role/function"

Json = dict[str, Any]


def web_identity(account_id: str, *subjects: str) -> Json:
    """Return a statement for service accounts."""
    host = ISSUER.removeprefix("https://")
    return {
        "Sid": "Ours",
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account_id}:oidc-provider/{host}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                f"{host}:aud": "sts.amazonaws.com",
                f"{host}:sub": [f"system:serviceaccount:{name}" for name in subjects],
            }
        },
    }


def by_aws(kind: str, name: str) -> Json:
    """Return a statement for another principal."""
    return {"Effect": "Allow", "Principal": {kind: name}, "Action": "sts:AssumeRole"}


@pytest.fixture(name="files")
def _files() -> list[str]:
    """Return the options for a chain, a role beside it, and one of a service of AWS."""
    roles = {
        BASE: [web_identity("111122223333", "shop:reader", "shop:writer")],
        APP: [by_aws("AWS", BASE), web_identity("444455556666", "web:front"), by_aws("Service", OPS)],
        LAMBDA: [by_aws("Service", "lambda.amazonaws.com")],
    }
    options: list[str] = []
    for number, (arn, statements) in enumerate(roles.items()):
        detail = {"Arn": arn, "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": statements}}
        Path(f"role-{number}.json").write_text(json.dumps({"RoleDetailList": [detail]}), encoding="utf-8")
        options += ["--account-details", f"role-{number}.json"]
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        for namespace, name in (("shop", "reader"), ("shop", "writer"), ("web", "front"))
    ]
    Path("objects.yaml").write_text(yaml.safe_dump_all(accounts), encoding="utf-8")
    return [*options, "-f", "objects.yaml", "--issuer", ISSUER]


def drawn(done: Outcome) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the titles, and those at both ends of each line."""
    data = checked("graph", done.out)
    titles = {node["key"]: node["title"] for node in data["nodes"]}
    return set(titles.values()), {(titles[edge["source"]], titles[edge["target"]]) for edge in data["edges"]}


def test_whole_picture(cli: Cli, files: list[str]) -> None:
    """Service accounts, their roles, the roles behind these, and who else can assume them; no role of others."""
    titles, lines = drawn(cli("graph", *files, "-o", "json"))

    assert titles == {"reader", "writer", "front", "base", OPS, "app"}
    assert lines == {
        ("reader", "base"),
        ("writer", "base"),
        ("front", "app"),
        ("base", "app"),
        (OPS, "app"),
    }
    assert "function" in drawn(cli("graph", *files, "--all-roles", "-o", "json"))[0]


def test_parts(cli: Cli, files: list[str]) -> None:
    """Of one role, with those who come over another; of one namespace; by namespace."""
    assert "reader" in drawn(cli("graph", APP, *files, "-o", "json"))[0]
    assert "app" not in drawn(cli("graph", BASE, *files, "-o", "json"))[0]
    assert drawn(cli("graph", LAMBDA, *files, "-o", "json"))[0] == {"lambda.amazonaws.com", "function"}
    assert drawn(cli("graph", "-n", "web", *files, "-o", "json"))[0] == {"front", "app", "base", OPS}
    assert {"shop", "web"} <= drawn(cli("graph", "--by", "namespace", *files, "-o", "json"))[0]


def test_forms(cli: Cli, files: list[str]) -> None:
    """Each form is one document on standard output, and the exit code says that all is in it."""
    for form, start in (
        ("mermaid", "flowchart LR\n"),
        ("svg", "<svg "),
        ("html", "<!doctype html>"),
        ("yaml", "nodes:"),
    ):
        done = cli("graph", *files, "-o", form)
        assert (done.code, done.out[: len(start)]) == (0, start), done.err
    as_yaml, as_json = (cli("graph", *files, "-o", form).out for form in ("yaml", "json"))
    assert yaml.safe_load(as_yaml) == json.loads(as_json)


def test_what_is_missing(cli: Cli, files: list[str]) -> None:
    """A role whose trust policy is not there is said, in the picture, too; what is not a role is refused."""
    done = cli("graph", f"{APP}-absent", *files)
    assert done.code == 3
    assert f"%% not seen: {APP}-absent: its trust policy was not found" in done.out
    assert "not seen" in done.err
    assert cli("graph", "app", *files).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--context", "other"], "--context: "),
        (["--kubeconfig", "other"], "--kubeconfig: "),
        ([APP, "--all-roles"], "--all-roles: has an effect only without ROLE"),
        (["-n", "web", "--all-roles"], "--all-roles: has an effect only without ROLE"),
    ],
)
def test_option_without_effect(cli: Cli, files: list[str], arguments: list[str], said: str) -> None:
    """It is refused, so that nobody takes the picture for another one."""
    done = cli("graph", *arguments, *files)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"trustbind: {said}")


DRIVER: Final = """
<script>
{
const said = {ready: document.documentElement.dataset.ready, };
const box = (text) =>
  [...document.querySelectorAll(".node")].find((n) => n.querySelector(".title").textContent === text);
const lit = (kind) => document.querySelectorAll("." + kind + ".hit").length;
const view = () => document.querySelector("svg").getAttribute("viewBox");
const fire = (target, type, init) => target.dispatchEvent(new PointerEvent(type, {bubbles: true, ...init}));
said.cut = [...document.querySelectorAll(".node")].filter((node) => {
  const width = node.querySelector("rect").getBBox().width - 24;
  return [...node.querySelectorAll("text")].some((text) => text.getComputedTextLength() > width);
}).length;
said.overflow = document.documentElement.scrollWidth - window.innerWidth;
box("reader").dispatchEvent(new MouseEvent("click", {bubbles: true}));
said.clicked = {nodes: lit("node"), lines: lit("line"), aside: document.querySelector("aside").textContent};
document.getElementById("picture").dispatchEvent(new MouseEvent("click", {bubbles: true}));
said.cleared = {nodes: lit("node"), hidden: document.querySelector("aside").hidden};
const search = document.getElementById("search");
search.value = "WEB";
search.dispatchEvent(new Event("input"));
said.found = {text: document.getElementById("found").textContent, nodes: lit("node")};
document.getElementById("whole").click();
said.whole = view();
document.getElementById("closer").click();
said.closer = view();
document.getElementById("whole").click();
fire(document.getElementById("picture"), "pointerdown", {clientX: 200, clientY: 200});
fire(window, "pointermove", {clientX: 260, clientY: 200});
fire(window, "pointerup", {});
said.moved = view();
const out = document.createElement("pre");
out.id = "said";
out.textContent = JSON.stringify(said);
document.body.append(out);
}
</script>
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """Return the browser, or skip."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.skip("no Chromium; set CHROMIUM=$(tools/chromium.sh)")
    return found


@pytest.mark.parametrize("width", [390, 1440])
def test_page_in_a_browser(cli: Cli, files: list[str], chromium: str, tmp_path: Path, width: int) -> None:
    """Clicked, searched, zoomed and moved; no text leaves its box, and the page is no wider than the window."""
    page = cli("graph", *files, "-o", "html").out
    Path("page.html").write_text(page.replace("</body>", f"{DRIVER}</body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    flags += [f"--window-size={width},900", "--dump-dom", Path("page.html").resolve().as_uri()]
    done = subprocess.run([chromium, *flags], capture_output=True, text=True, check=True, timeout=300)
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr
    said = json.loads(html.unescape(found[1]))

    assert (said["ready"], said["cut"]) == ("true", 0)
    assert said["overflow"] <= 0
    assert said["clicked"]["nodes"] == 3  # reader, base, app
    assert said["clicked"]["lines"] == 2
    assert f"can assume {BASE}" in said["clicked"]["aside"]
    assert '"Sid": "Ours"' in said["clicked"]["aside"]
    assert said["cleared"] == {"nodes": 0, "hidden": True}
    assert said["found"] == {"text": "1 found", "nodes": 1}
    whole, closer, moved = ([float(each) for each in said[name].split()] for name in ("whole", "closer", "moved"))
    assert whole[:2] == [0, 0]
    assert closer[2] < whole[2]
    assert moved[0] < 0
    assert moved[2] == whole[2]


def test_picture_of_the_guide(cli: Cli) -> None:
    """docs/images/graph.svg is what the command draws of the guide's files; to make it again, redirect it there."""
    for name, text in files_of(DOCS / "guides" / "graph.md").items():
        Path(name).write_text(text, encoding="utf-8")
    arguments = ["--account-details", "base.json", "--account-details", "app.json", "-f", "cluster.yaml"]
    done = cli("graph", *arguments, "--issuer", "https://oidc.example.com", "-o", "svg")

    assert done.out == (DOCS / "images" / "graph.svg").read_text(encoding="utf-8")
