"""How many functions one binding passes on its way from the event to the request to AWS.

The pure functions of the core are left out, which are called from the middle of the path: they are deep on purpose.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from support.bodies import ROLE, binding_body
from support.scenario_manager import ManagerScenario
from trustbind_operator.controllers.pace import Pace

ROOT = Path(__file__).parents[2]
HALVES = ("operator/", "aws/")
SHORT = 3


class Trace:
    """Notes the functions of the operator and of the AWS side that are entered until the request is sent."""

    def __init__(self) -> None:
        self.entered: set[tuple[str, int]] = set()
        self.is_over = False

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> None:
        """Take an event of `sys.setprofile`."""
        if event != "call" or self.is_over:
            return
        path = frame.f_code.co_filename
        if not path.startswith(str(ROOT)):
            return
        name = path[len(str(ROOT)) + 1 :]
        if name.startswith(HALVES):
            self.entered.add((name, frame.f_code.co_firstlineno))
        elif frame.f_code.co_name == "write_trust_policy":  # of the fake
            self.is_over = True

    def long_functions(self) -> set[tuple[str, str]]:
        """Return file and name of what has more than three lines of code, lambdas aside."""
        found = set()
        for name in {file for file, _ in self.entered}:
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                    if (name, first) in self.entered and _lines(node) > SHORT:
                        found.add((name, node.name))
        return found


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines the body has without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a started operator with one binding in order."""
    made = ManagerScenario()
    made.pace = Pace(survey=1e6)
    made.has_account()
    made.has_binding()
    made.start()
    yield made
    made.close()


def test_from_the_event_to_the_request(scene: ManagerScenario) -> None:
    """A second binding of a role passes at most 45 functions in at most 13 modules before its write.

    It was 40 in 10 before namespaces took turns and before mass revocation had a brake. Those add steps to each write,
    and none of them only passes a call on: the budget of calls by namespace, the books of the brake (the decision is
    counted before it is carried out), the namespaces that share a source role, and whether a role is read. Three
    modules are of that: the books of the brake, what an AWSAccount is due for, and what is known of roles in AWS.
    """
    trace = Trace()
    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        scene.create(binding_body("second", serviceAccountNames=["second"]), 30.0)
    finally:
        sys.setprofile(before)

    functions = trace.long_functions()
    assert trace.is_over
    assert "second" in scene.admitted(ROLE)
    assert {"binding_seen", "reconcile", "apply"} <= {name for _, name in functions}
    assert len(functions) <= 45, sorted(functions)
    assert len({file for file, _ in functions}) <= 13, sorted({file for file, _ in functions})
