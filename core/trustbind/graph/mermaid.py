"""A picture as text for Mermaid, which GitHub, GitLab and many wikis draw. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trustbind.graph.model import Graph, Node, NodeKind

__all__ = ["to_mermaid"]

_PLAIN: Final = frozenset(" .:/@-,+=")
"""Characters that stand for themselves, with letters and digits."""

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_SHAPES: Final = {
    NodeKind.SERVICE_ACCOUNT: ("(", ")"),
    NodeKind.NAMESPACE: ("(", ")"),
    NodeKind.PATTERN: ("([", "])"),
    NodeKind.ROLE: ("[", "]"),
    NodeKind.OTHER: ("{{", "}}"),
}


def to_mermaid(graph: Graph) -> str:
    """Return a flowchart; a dashed line depends on conditions."""
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    yield "flowchart LR"
    numbers = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        start, end = _SHAPES[node.kind]
        yield f'  {numbers[node.key]}{start}"{_label(node)}"{end}'
    for edge in graph.edges:
        arrow = "-->" if edge.is_certain else "-.->"
        how = ", ".join(dict.fromkeys(reason.mechanism for reason in edge.reasons))
        yield f"  {numbers[edge.source]} {arrow}|{how}| {numbers[edge.target]}"
    for sentence in graph.unseen:
        text = " ".join(sentence.split())  # a terminal obeys control characters, and a line break ends the comment
        yield f"  %% not seen: {''.join(c if c.isprintable() else _REPLACEMENT for c in text)}"


def _label(node: Node) -> str:
    parts = [node.title, node.detail] if node.detail else [node.title]
    return "<br/>".join(map(_escaped, parts))


def _escaped(text: str) -> str:
    """Return a text as a label has it: what may mean something to Mermaid, Markdown or HTML is an entity code."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in text)
