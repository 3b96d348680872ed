"""One run of ``trustbind graph``: read, ask for each role, draw."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trustbind.graph.mermaid import to_mermaid
from trustbind.graph.model import Graph, Grouping, graph_of, of_service_accounts
from trustbind.graph.page import to_page
from trustbind.graph.svg import to_svg
from trustbind.identity.arns import RoleArn
from trustbind.policy.access import Access
from trustbind_cli import output
from trustbind_cli.commands.graph.command import GraphOutput
from trustbind_cli.commands.who_can.answer import by_role
from trustbind_cli.commands.who_can.reading import Asked, read
from trustbind_cli.commands.who_can.scene import Scene
from trustbind_cli.exit_codes import DONE, UNKNOWN
from trustbind_cli.terminal import note

__all__ = ["Wanted", "run"]

_TITLE = "Who can assume which role"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is drawn, and how.

    Attributes:
        namespace: only the service accounts of this one; None: of all.
        grouping: what has a box of its own.
        every_role: whether roles are shown that no service account can assume.
        form: of the output.
    """

    namespace: str | None
    grouping: Grouping
    every_role: bool
    form: GraphOutput


def run(asked: Asked, wanted: Wanted) -> int:
    """Print the picture and return the exit code: 0 all is in it, 3 something could not be seen.

    Args:
        asked: where everything is read, and the roles; none: all.
        wanted: see `Wanted`.
    """
    scene = read(asked)
    if scene is None:
        return UNKNOWN
    for role in asked.roles:
        if role not in scene.documents:
            scene.miss(f"{role}: its trust policy was not found")
    roles = [role for role in asked.roles if role in scene.documents] if asked.roles else sorted(scene.documents)
    answers = [each for each in _answers(scene, roles) if _is_shown(each, wanted.namespace)]
    picture = graph_of(answers, scene.documents, wanted.grouping, scene.unseen)
    if wanted.namespace is not None or not (asked.roles or wanted.every_role):
        picture = of_service_accounts(picture)
    print(_drawn(picture, wanted.form), end="")
    for text in picture.unseen:
        note(f"not seen: {text}")
    return UNKNOWN if picture.unseen else DONE


def _answers(scene: Scene, roles: list[RoleArn]) -> list[Access]:
    """Return the answers for roles, and for the roles that lead to them."""
    found: list[Access] = []
    known = set(roles)
    waiting = list(reversed(roles))
    while waiting:
        for row in by_role(scene, waiting.pop()):
            found.append(row.access)
            before = row.access.through or RoleArn.or_none(row.access.principal)
            if before is not None and before in scene.documents and before not in known:
                known.add(before)
                waiting.append(before)
    return found


def _is_shown(access: Access, namespace: str | None) -> bool:
    return namespace is None or access.subject is None or access.subject.namespace == namespace


def _drawn(picture: Graph, form: GraphOutput) -> str:
    match form:
        case GraphOutput.MERMAID:
            return to_mermaid(picture)
        case GraphOutput.SVG:
            return to_svg(picture)
        case GraphOutput.HTML:
            return to_page(picture, _TITLE)
        case _:
            return f"{output.to_data(_as_data(picture), form)}\n"


def _as_data(picture: Graph) -> dict[str, Any]:
    """Return the picture as JSON has it; docs/reference/graph.schema.json says what is in it."""
    return {
        "nodes": [asdict(node) | {"kind": node.kind.value, "members": list(node.members)} for node in picture.nodes],
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "reasons": [
                    {
                        "principal": reason.principal,
                        "mechanism": reason.mechanism,
                        "verdict": reason.verdict.value,
                        "conditions": list(reason.conditions),
                        "statement": reason.statement or None,
                    }
                    for reason in edge.reasons
                ],
            }
            for edge in picture.edges
        ],
        "notSeen": list(picture.unseen),
    }
