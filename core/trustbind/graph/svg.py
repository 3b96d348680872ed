"""A picture as SVG: one file without scripts or fonts of its own, readable in light and dark. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Final

from trustbind.graph.layout import HEIGHT, WIDTH, Layout, Line, Place, place
from trustbind.graph.model import Graph, NodeKind

__all__ = ["to_svg"]

_TITLE_CHARACTERS: Final = 32
"""That fit into a box, by the width of a wide character of the font."""
_DETAIL_CHARACTERS: Final = 38
_NOTE_HEIGHT: Final = 18
_NOT_IN_XML: Final = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")

_STYLE: Final = """
svg{--ink:#1b1f24;--soft:#57606a;--line:#8c959f;--paper:#ffffff;--account:#ddf4ff;--role:#fff1d6;--pattern:#f3e8ff;
--other:#eaeef2;--edge:#8c959f;font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){svg{--ink:#e6edf3;--soft:#9da7b1;--line:#6e7681;--paper:#0d1117;--account:#0c2d4a;
--role:#3d2e0a;--pattern:#33204f;--other:#21262d;--edge:#6e7681}}
.paper{fill:var(--paper)}.box{stroke:var(--line);stroke-width:1}.title{fill:var(--ink);font-size:13px}
.detail,.note{fill:var(--soft);font-size:11px}.line{fill:none;stroke:var(--edge);stroke-width:1.4}
.if{stroke-dasharray:5 4}.head{fill:var(--edge)}.ServiceAccount,.Namespace{fill:var(--account)}.Role{fill:var(--role)}
.Pattern{fill:var(--pattern)}.Other{fill:var(--other)}
"""

_ROUND: Final[Mapping[NodeKind, int]] = {
    NodeKind.SERVICE_ACCOUNT: 10,
    NodeKind.NAMESPACE: 10,
    NodeKind.PATTERN: 22,
    NodeKind.ROLE: 2,
    NodeKind.OTHER: 6,
}


def to_svg(graph: Graph) -> str:
    """Return the picture.

    A dashed line depends on conditions. A box and a line say in full what they are when one points at them.
    """
    return "\n".join(_lines(graph, place(graph))) + "\n"


def _lines(graph: Graph, layout: Layout) -> Iterator[str]:
    notes = [f"not seen: {sentence}" for sentence in graph.unseen]
    width, height = round(layout.width), round(layout.height + _NOTE_HEIGHT * len(notes))
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="trustbind-title">'
    )
    yield f'<title id="trustbind-title">{_count(graph)}</title>'
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="trustbind-head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>'
    )
    yield f'<rect class="paper" width="{width}" height="{height}"/>'
    numbers = {node.key: number for number, node in enumerate(graph.nodes)}
    for number, line in enumerate(layout.lines):
        yield _line(line, number, numbers)
    for box in layout.places:
        yield _box(box, numbers[box.node.key])
    for number, note in enumerate(notes):
        yield f'<text class="note" x="20" y="{round(layout.height) + _NOTE_HEIGHT * number + 6}">{_text(note)}</text>'
    yield "</svg>"


def _count(graph: Graph) -> str:
    roles = sum(node.kind is NodeKind.ROLE for node in graph.nodes)
    others = len(graph.nodes) - roles
    return f"Who can assume a role: {others} principals, {roles} roles, {len(graph.edges)} ways"


def _line(line: Line, number: int, numbers: Mapping[str, int]) -> str:
    (x, y), *rest = line.points
    path = f"M{_number(x)} {_number(y)}"
    for to_x, to_y in rest:
        middle = (x + to_x) / 2
        path += f"C{_number(middle)} {_number(y)} {_number(middle)} {_number(to_y)} {_number(to_x)} {_number(to_y)}"
        x, y = to_x, to_y
    edge = line.edge
    kind = "line" if edge.is_certain else "line if"
    said = "\n".join(f"{r.principal}: {r.mechanism}, {r.verdict.value}" for r in edge.reasons)
    return (
        f'<path class="{kind}" id="e{number}" data-from="{numbers[edge.source]}" data-to="{numbers[edge.target]}" '
        f'd="{path}" marker-end="url(#trustbind-head)"><title>{_text(said)}</title></path>'
    )


def _box(box: Place, number: int) -> str:
    node, x, y = box.node, box.x, box.y
    middle = y + HEIGHT / 2
    title_y = middle + 4 if not node.detail else middle - 3
    title = _text(_short(node.title, _TITLE_CHARACTERS))
    detail = _text(_short(node.detail, _DETAIL_CHARACTERS))
    full = "\n".join((node.full, *node.members))
    return (
        f'<g class="node" id="n{number}"><title>{_text(full)}</title>'
        f'<rect class="box {node.kind.value}" x="{_number(x)}" y="{_number(y)}" width="{WIDTH}" height="{HEIGHT}" '
        f'rx="{_ROUND[node.kind]}"/>'
        f'<text class="title" x="{_number(x + 12)}" y="{_number(title_y)}">{title}</text>'
        f'<text class="detail" x="{_number(x + 12)}" y="{_number(middle + 13)}">{detail}</text></g>'
    )


def _short(text: str, most: int) -> str:
    """Return the text, without its middle where it does not fit: names differ at both ends."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def _text(text: str) -> str:
    """Return a text for XML, without the characters that it cannot have (XML 1.0, section 2.2)."""
    return escape(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
