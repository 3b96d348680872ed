"""Where each node of a picture is drawn: in columns, from those who come first to the last role of a chain. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from trustbind.graph.model import Edge, Graph, Node

__all__ = ["GAP", "HEIGHT", "MARGIN", "WIDTH", "Layout", "Line", "Place", "place"]

WIDTH: Final = 250
"""Of a box, in pixels of the picture, as all lengths here."""
HEIGHT: Final = 44
GAP: Final = 14
MARGIN: Final = 20

_COLUMN: Final = WIDTH + 130
_LANE: Final = 16
"""Height of the place that a line takes in a column which it only passes."""
_SWEEPS: Final = 4

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Place:
    """A box.

    Attributes:
        node: what it stands for.
        x: its left side.
        y: its upper side.
    """

    node: Node
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """The way of a line.

    Attributes:
        edge: what it stands for.
        points: from the right side of a box to the left side of another, over the places between them.
    """

    edge: Edge
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture, drawn.

    Attributes:
        places: the boxes.
        lines: the lines.
        width: of the picture.
        height: of the picture.
    """

    places: tuple[Place, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass(slots=True)
class _Slot:
    """A place in a column: of a node, or of a line that passes."""

    node: Node | None
    y: float = 0.0

    @property
    def height(self) -> float:
        return _LANE if self.node is None else HEIGHT


def place(graph: Graph) -> Layout:
    """Return where everything is; the same graph gives the same picture.

    Layers, lanes for lines that pass one, and the order within a layer by the mean of the neighbours: the method of
    Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981).
    """
    column = _columns(graph)
    columns: list[list[_Slot]] = [[] for _ in range(max(column.values(), default=0) + 1)]
    slots = {node.key: _Slot(node) for node in graph.nodes}
    for node in graph.nodes:
        columns[column[node.key]].append(slots[node.key])
    ways: list[tuple[Edge, list[_Slot]]] = []
    for edge in graph.edges:
        first, last = column[edge.source], column[edge.target]
        lanes = [_Slot(None) for _ in range(first + 1, last)]
        for number, lane in enumerate(lanes, first + 1):
            columns[number].append(lane)
        ways.append((edge, [slots[edge.source], *lanes, slots[edge.target]]))
    _order(columns, [way for _, way in ways])
    height = max((_height(each) for each in columns), default=0.0)
    for each in columns:
        _stack(each, (height - _height(each)) / 2)
    x_of = {id(slot): MARGIN + number * _COLUMN for number, each in enumerate(columns) for slot in each}
    places = [Place(node, x_of[id(slots[node.key])], slots[node.key].y) for node in graph.nodes]
    lines = [Line(edge, tuple(_points(way, x_of))) for edge, way in ways]
    width = 2 * MARGIN + (len(columns) - 1) * _COLUMN + WIDTH
    return Layout(tuple(places), tuple(lines), width, height + 2 * MARGIN)


def _columns(graph: Graph) -> dict[str, int]:
    """Return the column of each node: one more than the last of those who can assume it.

    Roles that can assume each other have no order; a line back to a role under way counts for nothing.
    """
    before: dict[str, list[str]] = {node.key: [] for node in graph.nodes}
    for edge in graph.edges:
        if edge.source != edge.target:
            before[edge.target].append(edge.source)
    found: dict[str, int] = {}
    for start in before:
        _visit(start, before, found)
    return found


def _visit(start: str, before: Mapping[str, list[str]], found: dict[str, int]) -> None:
    """Find the column of a node and of all before it, without recursion: a chain can be as long as there are roles."""
    if start in found:
        return
    under_way = {start}
    stack = [(start, iter(before[start]))]
    best = {start: 0}
    while stack:
        key, rest = stack[-1]
        for other in rest:
            if other in found:
                best[key] = max(best[key], found[other] + 1)
            elif other not in under_way:
                under_way.add(other)
                best[other] = 0
                stack.append((other, iter(before[other])))
                break
        else:
            stack.pop()
            under_way.discard(key)
            found[key] = best[key]
            if stack:
                above = stack[-1][0]
                best[above] = max(best[above], found[key] + 1)


def _order(columns: list[list[_Slot]], ways: Iterable[list[_Slot]]) -> None:
    """Bring the slots of each column into an order in which few lines cross."""
    left: dict[int, list[_Slot]] = {}
    right: dict[int, list[_Slot]] = {}
    for way in ways:
        for one, other in itertools.pairwise(way):
            right.setdefault(id(one), []).append(other)
            left.setdefault(id(other), []).append(one)
    for each in columns:
        _stack(each, 0.0)
    for sweep in range(_SWEEPS):
        is_forward = sweep % 2 == 0
        for each in columns if is_forward else reversed(columns):
            neighbours = left if is_forward else right
            each.sort(key=lambda slot: _mean(neighbours.get(id(slot), ()), slot.y))
            _stack(each, 0.0)


def _mean(slots: Iterable[_Slot], otherwise: float) -> float:
    middles = [slot.y + slot.height / 2 for slot in slots]
    return sum(middles) / len(middles) if middles else otherwise


def _height(column: list[_Slot]) -> float:
    return sum(slot.height + GAP for slot in column) - GAP if column else 0.0


def _stack(column: list[_Slot], top: float) -> None:
    y = MARGIN + top
    for slot in column:
        slot.y = y
        y += slot.height + GAP


def _points(way: list[_Slot], x_of: Mapping[int, float]) -> Iterable[Point]:
    for number, slot in enumerate(way):
        x, y = x_of[id(slot)], slot.y + slot.height / 2
        if number > 0:
            yield x, y
        if number < len(way) - 1:
            yield x + WIDTH, y
