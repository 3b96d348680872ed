"""The picture as text for Mermaid, as SVG and as a page: whatever names hold, they stay names."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trustbind.graph.mermaid import to_mermaid
from trustbind.graph.model import Edge, Graph, Node, NodeKind, Reason
from trustbind.graph.page import to_page
from trustbind.graph.svg import to_svg
from trustbind.policy.access import Verdict

HOSTILE = [
    "</title><script>alert(1)</script>",
    '"]; click n0 "javascript:alert(1)',
    "]]>",
    "a\x1b[31m\x00b\ud800\uffff",
    "`#35;*_",
]
SVG = "{http://www.w3.org/2000/svg}"


def picture(*titles: str, verdict: Verdict = Verdict.YES, unseen: tuple[str, ...] = ()) -> Graph:
    """Return a picture in which everyone of these titles can assume one role."""
    others = tuple(Node(f"o{n}", NodeKind.OTHER, title, title, title, (title,)) for n, title in enumerate(titles))
    role = Node("role", NodeKind.ROLE, "app", "444455556666", "arn:aws:iam::444455556666:role/app")
    reasons = {node.key: Reason(node.title, "AssumeRole", verdict, (node.title,), node.title) for node in others}
    return Graph((*others, role), tuple(Edge(key, "role", (reason,)) for key, reason in reasons.items()), unseen)


def data_of(page: str) -> dict[str, list[dict[str, object]]]:
    """Return what the page's script reads."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    data: dict[str, list[dict[str, object]]] = json.loads(text)
    return data


def test_mermaid() -> None:
    """Boxes, lines, and what could not be seen, as a comment."""
    assert to_mermaid(picture("ops", unseen=("one\ntwo",))) == (
        "flowchart LR\n"
        '  n0{{"ops<br/>ops"}}\n'
        '  n1["app<br/>444455556666"]\n'
        "  n0 -->|AssumeRole| n1\n"
        "  %% not seen: one two\n"
    )
    assert "-.->" in to_mermaid(picture("ops", verdict=Verdict.IF))
    assert "%% not seen: a\ufffd[31m\ufffdb\n" in to_mermaid(picture(unseen=("a\x1b[31m\x9bb",)))


@given(st.text(max_size=30))
def test_mermaid_of_any_name(title: str) -> None:
    """No name ends its label or its line."""
    lines = to_mermaid(picture(title)).split("\n")
    assert len(lines) == 5
    assert re.fullmatch(r'  n0\{\{"[^"\\`<>\n]*(<br/>[^"\\`<>\n]*)?"\}\}', lines[1])


@given(st.lists(st.text(max_size=60), max_size=4))
@example(HOSTILE)
def test_svg_of_any_names(titles: list[str]) -> None:
    """It is XML, with one box for each node, and no element but those that we draw."""
    root = ET.fromstring(to_svg(picture(*titles, unseen=tuple(titles))))  # noqa: S314 - our own text
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "style", "defs", "marker", "path", "rect", "g", "text")
    }
    assert len(root.findall(f"{SVG}g")) == len(titles) + 1
    assert len(root.findall(f"{SVG}path")) == len(titles)


def test_svg() -> None:
    """A box says its name, in full when one points at it; a line that depends on something is dashed."""
    long = "arn:aws:iam::444455556666:role/" + "x" * 40 + "-end"
    root = ET.fromstring(to_svg(picture(long, verdict=Verdict.IF)))  # noqa: S314 - our own text

    box = root.find(f"{SVG}g[@id='n0']")
    assert box is not None
    assert (box.findtext(f"{SVG}title") or "").splitlines()[0] == long
    texts = [element.text or "" for element in box.iter(f"{SVG}text")]
    assert texts[0].startswith("arn:aws:")
    assert texts[0].endswith("-end")
    assert len(texts[0]) == 32
    (line,) = root.findall(f"{SVG}path")
    assert line.get("class") == "line if"
    assert (line.get("data-from"), line.get("data-to")) == ("0", "1")


@pytest.mark.parametrize("title", HOSTILE)
def test_page_of_hostile_names(title: str) -> None:
    """A name ends no element, and the page may load nothing."""
    page = to_page(picture(title), "Title <&>")

    assert len(re.findall("<script", page)) == 2
    assert len(re.findall("</script>", page)) == 2
    assert "alert(1)</script>" not in page
    assert "<title>Title &lt;&amp;&gt;</title>" in page
    assert "default-src 'none'" in page
    assert data_of(page)["nodes"][0]["full"] == title
    assert not re.findall(r"""(?:src|href)=|@import|url\((?!#)|fetch\(|innerHTML""", page)


def test_page_has_all_that_the_picture_has() -> None:
    """The script finds each box and each line by its number."""
    page = to_page(picture("a", "b"), "t")
    data = data_of(page)

    assert [node["full"] for node in data["nodes"]] == ["a", "b", "arn:aws:iam::444455556666:role/app"]
    assert [(edge["from"], edge["to"]) for edge in data["edges"]] == [(0, 2), (1, 2)]
    assert data["edges"][0]["reasons"] == [
        {"principal": "a", "mechanism": "AssumeRole", "verdict": "yes", "conditions": ["a"], "statement": "a"}
    ]
