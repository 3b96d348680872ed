"""What the picture shows: principals and roles, and who can assume which role. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trustbind.identity.arns import RoleArn
from trustbind.policy.access import Access, Verdict
from trustbind.policy.trust_document import TrustDocument

__all__ = [
    "MOST_SERVICE_ACCOUNTS",
    "Edge",
    "Graph",
    "Grouping",
    "Node",
    "NodeKind",
    "Reason",
    "graph_of",
    "of_service_accounts",
]

MOST_SERVICE_ACCOUNTS: Final = 60
"""So many have a node of their own with `Grouping.AUTO`; a picture of more is a wall."""

_ARN_PARTS: Final = 6


class NodeKind(StrEnum):
    """What a node stands for."""

    SERVICE_ACCOUNT = "ServiceAccount"
    NAMESPACE = "Namespace"
    """All of its service accounts that can assume a role."""
    PATTERN = "Pattern"
    """Every service account that matches it and has no node of its own."""
    ROLE = "Role"
    OTHER = "Other"
    """Subjects of other issuers, AWS accounts, users, services, everyone."""


class Grouping(StrEnum):
    """What has a node of its own."""

    AUTO = "auto"
    """Service accounts, or where there are more than `MOST_SERVICE_ACCOUNTS`, namespaces."""
    SERVICE_ACCOUNT = "service-account"
    NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Node:
    """One box.

    Attributes:
        key: names it in the graph.
        kind: what it stands for.
        title: its name.
        detail: what the name is in: a namespace, an AWS account; may be empty.
        full: the whole name, as AWS or Kubernetes has it.
        members: the service accounts of a namespace.
    """

    key: str
    kind: NodeKind
    title: str
    detail: str
    full: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a principal can assume a role, or what it depends on.

    Attributes:
        principal: who, as the trust policy or the token has it.
        mechanism: how, as `trustbind.policy.access.Mechanism` has it.
        verdict: see `Verdict`.
        conditions: what the answer depends on, one sentence each.
        statement: the statement of the trust policy that decides, in JSON; empty where none does.
    """

    principal: str
    mechanism: str
    verdict: Verdict
    conditions: tuple[str, ...] = ()
    statement: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """One line.

    Attributes:
        source: key of the node that can assume the role.
        target: key of the role.
        reasons: at least one.
    """

    source: str
    target: str
    reasons: tuple[Reason, ...]

    @property
    def is_certain(self) -> bool:
        """Whether one of the reasons is a plain yes."""
        return any(reason.verdict is Verdict.YES for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole picture.

    Attributes:
        nodes: in the order of their kinds and names.
        edges: in the order of the nodes.
        unseen: what could not be seen, one sentence each.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    unseen: tuple[str, ...] = ()


def graph_of(
    answers: Iterable[Access],
    documents: Mapping[RoleArn, TrustDocument],
    grouping: Grouping = Grouping.AUTO,
    unseen: Iterable[str] = (),
) -> Graph:
    """Return the picture of answers.

    An answer over a source role is a way of two lines. The first has an answer of its own, and so has the second where
    the trust policy names the source role.

    Args:
        answers: of any roles, with those about source roles; those that say no are left out.
        documents: role to trust policy, for the statements.
        grouping: what has a node of its own.
        unseen: see `Graph`.
    """
    shown = [each for each in answers if each.verdict is not Verdict.NO]
    direct = [each for each in shown if each.through is None]
    if grouping is Grouping.AUTO:
        count = len({each.subject for each in direct if each.subject is not None})
        grouping = Grouping.NAMESPACE if count > MOST_SERVICE_ACCOUNTS else Grouping.SERVICE_ACCOUNT
    nodes: dict[str, Node] = {}
    members: dict[str, set[str]] = {}
    reasons: dict[tuple[str, str], dict[Reason, None]] = {}

    def add(source: Node, access: Access, principal: str) -> None:
        target = _role(access.role)
        nodes.setdefault(source.key, source)
        nodes.setdefault(target.key, target)
        reasons.setdefault((source.key, target.key), {})[_reason(access, principal, documents)] = None

    for each in direct:
        source = _principal(each, grouping)
        add(source, each, each.principal)
        if source.kind is NodeKind.NAMESPACE and each.subject is not None:
            members.setdefault(source.key, set()).add(each.subject.name)
    named = frozenset(reasons)
    for each in shown:
        if each.through is not None and (_role(each.through).key, _role(each.role).key) not in named:
            add(_role(each.through), each, str(each.through))
    order = list(NodeKind)
    ordered = sorted(
        (_with_members(node, members.get(key, set())) for key, node in nodes.items()),
        key=lambda node: (order.index(node.kind), node.detail, node.title, node.key),
    )
    place = {node.key: number for number, node in enumerate(ordered)}
    edges = [Edge(source, target, tuple(found)) for (source, target), found in reasons.items()]
    edges.sort(key=lambda edge: (place[edge.source], place[edge.target]))
    return Graph(tuple(ordered), tuple(edges), tuple(unseen))


def of_service_accounts(graph: Graph) -> Graph:
    """Return the part of a picture with the roles that a service account can assume, also over others.

    The other principals that can assume these roles are shown, too.
    """
    own = {NodeKind.SERVICE_ACCOUNT, NodeKind.NAMESPACE, NodeKind.PATTERN}
    after: dict[str, list[str]] = {}
    for edge in graph.edges:
        after.setdefault(edge.source, []).append(edge.target)
    waiting = [node.key for node in graph.nodes if node.kind in own]
    reached = set(waiting)
    while waiting:
        for target in after.get(waiting.pop(), ()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    edges = tuple(edge for edge in graph.edges if edge.target in reached)
    kept = reached | {edge.source for edge in edges}
    return Graph(tuple(node for node in graph.nodes if node.key in kept), edges, graph.unseen)


def _principal(access: Access, grouping: Grouping) -> Node:
    subject = access.subject
    if subject is not None and grouping is Grouping.NAMESPACE:
        return Node(f"namespace:{subject.namespace}", NodeKind.NAMESPACE, subject.namespace, "", subject.namespace)
    if subject is not None:
        full = str(subject)
        return Node(f"subject:{full}", NodeKind.SERVICE_ACCOUNT, subject.name, subject.namespace, full)
    if access.is_pattern:
        title = access.principal.removeprefix("system:serviceaccount:")
        return Node(f"pattern:{access.principal}", NodeKind.PATTERN, title, "every match", access.principal)
    role = RoleArn.or_none(access.principal)
    if role is not None:
        return _role(role)
    title, detail = access.principal, access.mechanism.value
    parts = access.principal.split(":", 5)
    if len(parts) == _ARN_PARTS and parts[0] == "arn":
        title, detail = parts[5], parts[4]
    return Node(f"other:{access.principal}", NodeKind.OTHER, title, detail, access.principal)


def _role(role: RoleArn) -> Node:
    return Node(f"role:{role}", NodeKind.ROLE, role.name, role.account_id, str(role))


def _with_members(node: Node, members: set[str]) -> Node:
    if node.kind is not NodeKind.NAMESPACE:
        return node
    count = f"{len(members)} service account{'' if len(members) == 1 else 's'}"
    return Node(node.key, node.kind, node.title, count, node.full, tuple(sorted(members)))


def _reason(access: Access, principal: str, documents: Mapping[RoleArn, TrustDocument]) -> Reason:
    document, ref = documents.get(access.role), access.statement
    statement = ""
    if document is not None and ref is not None and ref.index < len(document.statements):
        statement = json.dumps(dict(document.statements[ref.index]), indent=2, ensure_ascii=False)
    conditions = (*access.conditions, *access.remarks)
    if access.verdict is Verdict.UNKNOWN and access.reason:
        conditions = (*conditions, access.reason)
    return Reason(principal, access.mechanism.value, access.verdict, conditions, statement)
