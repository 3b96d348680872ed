"""What the picture of who can assume a role shows."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trustbind.evaluation import StatementRef
from trustbind.graph.layout import GAP, HEIGHT, WIDTH, place
from trustbind.graph.model import MOST_SERVICE_ACCOUNTS, Graph, Grouping, NodeKind, graph_of, of_service_accounts
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.access import Access, Mechanism, Verdict
from trustbind.policy.trust_document import TrustDocument

BASE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
APP = RoleArn.parse("arn:aws:iam::444455556666:role/app")
STATEMENT: dict[str, Any] = {"Sid": "One", "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}
DOCUMENTS = {APP: TrustDocument((STATEMENT,))}


def of_account(name: str, role: RoleArn = APP, namespace: str = "shop", **members: Any) -> Access:
    """Return the answer for a service account."""
    subject = Subject(namespace, name)
    return replace(Access(role, str(subject), Mechanism.WEB_IDENTITY, Verdict.YES, subject), **members)


def of_other(principal: str, role: RoleArn = APP) -> Access:
    """Return the answer for another principal."""
    return Access(role, principal, Mechanism.ASSUME_ROLE, Verdict.YES)


def shown(graph: Graph) -> list[tuple[str, str]]:
    """Return the titles at both ends of each line."""
    titles = {node.key: node.title for node in graph.nodes}
    return [(titles[edge.source], titles[edge.target]) for edge in graph.edges]


def test_who_is_in_the_picture() -> None:
    """Everyone but those who cannot; a role is one box, whether it is assumed or assumes."""
    graph = graph_of(
        [
            of_account("reader", BASE),
            of_account("refused", verdict=Verdict.NO),
            Access(APP, "system:serviceaccount:jobs-*:runner", Mechanism.WEB_IDENTITY, Verdict.IF, is_pattern=True),
            of_other(str(BASE)),
            of_other("lambda.amazonaws.com"),
        ],
        DOCUMENTS,
    )

    assert [(node.kind, node.title, node.detail) for node in graph.nodes] == [
        (NodeKind.SERVICE_ACCOUNT, "reader", "shop"),
        (NodeKind.PATTERN, "jobs-*:runner", "every match"),
        (NodeKind.ROLE, "base", "111122223333"),
        (NodeKind.ROLE, "app", "444455556666"),
        (NodeKind.OTHER, "lambda.amazonaws.com", "AssumeRole"),
    ]
    assert shown(graph) == [
        ("reader", "base"),
        ("jobs-*:runner", "app"),
        ("base", "app"),
        ("lambda.amazonaws.com", "app"),
    ]
    assert [edge.is_certain for edge in graph.edges] == [True, False, True, True]


def test_way_over_a_source_role() -> None:
    """It is two lines; the second is there also where the trust policy does not name the source role."""
    over = of_account("reader", APP, through=BASE, verdict=Verdict.IF, conditions=("it depends",))
    graph = graph_of([of_account("reader", BASE), over], {})
    assert shown(graph) == [("reader", "base"), ("base", "app")]
    (reason,) = graph.edges[1].reasons
    assert (reason.principal, reason.verdict, reason.conditions) == (str(BASE), Verdict.IF, ("it depends",))

    named = graph_of([of_account("reader", BASE), over, of_other(str(BASE))], {})
    (reason,) = named.edges[1].reasons
    assert reason.verdict is Verdict.YES


def test_why() -> None:
    """A line has its statement and what it depends on."""
    answer = of_account(
        "reader", verdict=Verdict.UNKNOWN, statement=StatementRef(0, "One"), conditions=("a",), reason="not understood"
    )
    (edge,) = graph_of([answer, answer], DOCUMENTS).edges
    (reason,) = edge.reasons

    assert json.loads(reason.statement) == STATEMENT
    assert reason.conditions == ("a", "not understood")
    (without,) = graph_of([of_account("x", statement=StatementRef(7))], DOCUMENTS).edges
    assert without.reasons[0].statement == ""


def test_many_service_accounts_are_their_namespaces() -> None:
    """A namespace is one box, with the names of its service accounts and a reason for each."""
    many = [of_account(f"a-{n}", namespace=f"ns-{n % 2}") for n in range(MOST_SERVICE_ACCOUNTS + 1)]

    graph = graph_of(many, DOCUMENTS)
    assert [(node.title, node.detail) for node in graph.nodes[:2]] == [
        ("ns-1", "30 service accounts"),
        ("ns-0", "31 service accounts"),
    ]
    assert graph.nodes[1].members[:2] == ("a-0", "a-10")
    assert len(graph.edges[1].reasons) == 31
    assert len(graph_of(many, DOCUMENTS, Grouping.SERVICE_ACCOUNT).nodes) == MOST_SERVICE_ACCOUNTS + 2
    (one, _) = graph_of(many[:1], DOCUMENTS, Grouping.NAMESPACE).nodes
    assert one.detail == "1 service account"


def test_what_service_accounts_reach() -> None:
    """Also over other roles, with everyone who can assume those; nothing else."""
    far = RoleArn.parse("arn:aws:iam::999988887777:role/far")
    alien = RoleArn.parse("arn:aws:iam::999988887777:role/alien")
    graph = graph_of(
        [
            of_account("reader", BASE),
            of_other(str(BASE), APP),
            of_other(str(APP), far),
            of_other("ops", far),
            of_other("lambda.amazonaws.com", alien),
        ],
        {},
    )

    part = of_service_accounts(graph)
    assert {node.title for node in part.nodes} == {"reader", "base", "app", "far", "ops"}
    assert len(part.edges) == 4
    assert of_service_accounts(part) == part


ROLES = [RoleArn("aws", "444455556666", "/", f"r{number}") for number in range(5)]
ANSWERS = st.lists(
    st.one_of(
        st.builds(of_account, st.sampled_from("abc"), st.sampled_from(ROLES)),
        st.builds(of_other, st.sampled_from([str(role) for role in ROLES]), st.sampled_from(ROLES)),
    ),
    max_size=30,
)


@given(ANSWERS)
def test_layout(answers: list[Access]) -> None:
    """No two boxes overlap, all are in the picture, lines end at their boxes, and service accounts come first."""
    graph = graph_of(answers, {})
    layout = place(graph)

    boxes = {box.node.key: box for box in layout.places}
    assert list(boxes) == [node.key for node in graph.nodes]
    for box in layout.places:
        assert 0 <= box.x <= layout.width - WIDTH
        assert 0 <= box.y <= layout.height - HEIGHT
    columns: dict[float, list[float]] = {}
    for box in layout.places:
        columns.setdefault(box.x, []).append(box.y)
    for column in columns.values():
        assert all(other - one >= HEIGHT + GAP for one, other in itertools.pairwise(sorted(column)))
    for line in layout.lines:
        source, target = boxes[line.edge.source], boxes[line.edge.target]
        assert line.points[0] == (source.x + WIDTH, source.y + HEIGHT / 2)
        assert line.points[-1] == (target.x, target.y + HEIGHT / 2)
        if source.node.kind is NodeKind.SERVICE_ACCOUNT:
            assert source.x < target.x
    assert place(graph) == layout


def test_a_long_chain() -> None:
    """Each role of a chain has a column of its own; there is no limit to their number."""
    roles = [RoleArn("aws", "444455556666", "/", f"r{number:04}") for number in range(1500)]
    answers = [of_account("reader", roles[0])]
    answers += [of_other(str(one), other) for one, other in itertools.pairwise(roles)]

    assert len({box.x for box in place(graph_of(answers, {})).places}) == 1501
