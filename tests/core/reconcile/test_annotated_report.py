"""What the report says of annotated service accounts, and how much of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from support.bodies import OTHER_ROLE, ROLE, binding_body, grant_body
from support.scenario_world import World
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import INJECT, MANAGED_LABEL
from trustbind.reconcile.annotated_report import (
    MAX_CHARACTERS,
    AnnotatedAccount,
    AnnotatedState,
    ReportEntry,
    entry_of,
    report_data,
)
from trustbind.reconcile.snapshot import Rank
from trustbind.reconcile.stored_binding import StoredBinding

KEYS = AnnotationKeys.under("eks.amazonaws.com")
READY = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "TrustApplied"}]}
MARKED = {"labels": {MANAGED_LABEL: "true"}}

Step = Callable[[World], object]


def entry(*steps: Step, annotations: Mapping[str, str] | None = None, rank: Rank = Rank()) -> ReportEntry | None:  # noqa: B008 - a frozen value
    """Return the entry of team-a/app, in a world where all is granted, after these steps."""
    world = World()
    world.has_account()
    for step in steps:
        step(world)
    found = {KEYS.role_arn: str(ROLE)} if annotations is None else annotations
    account = AnnotatedAccount("team-a", "app", "uid-1", {"tier": "web"}, found, {})
    return entry_of(account, KEYS, world.cache.naming("team-a", "app"), world.cache.around, rank)


def has(**body: Any) -> Step:
    """Return a step that puts a binding there."""
    return lambda world: world.cache.put_binding(StoredBinding.of(binding_body(**body)))


def without_grants(world: World) -> None:
    """Take all grants away."""
    world.has_grants()


def with_other_grant(world: World) -> None:
    """Leave a grant for another role."""
    world.has_grants(grant_body("narrow", roleArns=[str(OTHER_ROLE)]))


def without_account(world: World) -> None:
    """Take the AWSAccount away."""
    world.cache.drop_aws_account("prod")


@pytest.mark.parametrize(
    ("steps", "state", "reason", "says"),
    [
        ([], AnnotatedState.GRANTED, "", "all"),
        ([without_grants], AnnotatedState.REFUSED, "NotGranted", "no RoleGrant exists"),
        ([with_other_grant], AnnotatedState.REFUSED, "NotGranted", "the nearest, narrow, does not cover"),
        ([without_account], AnnotatedState.REFUSED, "AccountUnknown", "no AWSAccount has accountId"),
        ([has(name="mine", status=READY)], AnnotatedState.BOUND, "", "team-a/mine"),
        ([has(name="mine")], AnnotatedState.NOT_READY, "", "team-a/mine"),
        ([has(name="a"), has(name="b", status=READY)], AnnotatedState.BOUND, "", "team-a/b"),
        ([has(name="annotated-app", metadata=MARKED, status=READY)], AnnotatedState.BOUND, "", "team-a/annotated-app"),
        (
            [has(name="mine", serviceAccountNames=None, serviceAccountSelector={}, status=READY)],
            AnnotatedState.GRANTED,
            "",
            "all",
        ),
        ([has(name="mine", serviceAccountNames=["other"], status=READY)], AnnotatedState.GRANTED, "", "all"),
        ([has(name="mine", profile="second", status=READY)], AnnotatedState.GRANTED, "", "all"),
        (
            [has(name="mine", roleArn=str(OTHER_ROLE), status=READY)],
            AnnotatedState.REFUSED,
            "ProfileConflict",
            "the older RoleBinding team-a/mine has profile default",
        ),
    ],
)
def test_entry(steps: list[Step], state: AnnotatedState, reason: str, says: str) -> None:
    """The state is what the operator would decide, and the detail is the binding, the grant, or the sentence."""
    found = entry(*steps)

    assert found is not None
    assert (found.namespace, found.name, found.role) == ("team-a", "app", str(ROLE))
    assert (found.state, found.reason) == (state, reason)
    assert says in found.detail


@pytest.mark.parametrize(
    "annotations", [{}, {KEYS.role_arn: " "}, {KEYS.role_arn: str(ROLE), INJECT: "false"}, {KEYS.audience: "a"}]
)
def test_no_entry(annotations: dict[str, str]) -> None:
    """A service account that asks for nothing, or opts out, is not reported."""
    assert entry(annotations=annotations) is None


def test_invalid_role() -> None:
    """It says which annotation it is, and shows a bounded part of its value."""
    found = entry(annotations={KEYS.role_arn: "x" * 5000})

    assert found is not None
    assert found.state is AnnotatedState.INVALID
    assert found.role == "x" * 300
    assert KEYS.role_arn in found.detail


def test_too_many() -> None:
    """Where the namespace would have more bindings than its grants allow, it is refused."""
    found = entry(
        lambda w: w.has_grants(grant_body("few", roleArns=["arn:aws:iam::*:role/*"], maxBindings=3)), rank=Rank(3, 3)
    )

    assert found is not None
    assert (found.state, found.reason) == (AnnotatedState.REFUSED, "TooManyBindings")


def test_data() -> None:
    """Both parts are YAML, sorted, and the same for the same entries in another order."""
    entries = [
        ReportEntry("b", "x", str(ROLE), AnnotatedState.REFUSED, "NotGranted", 'no "grant": {none}\nat all'),
        ReportEntry("a", "y", str(ROLE), AnnotatedState.GRANTED, "", "all"),
        ReportEntry("a", "x", "true", AnnotatedState.BOUND, "", "a/annotated-x"),
    ]

    data = report_data(entries, "Report", 7)

    assert data == report_data(entries[::-1], "Report", 7)
    assert yaml.safe_load(data["summary.yaml"]) == {
        "mode": "Report",
        "Bound": 1,
        "NotReady": 0,
        "Granted": 1,
        "Refused": 1,
        "InvalidRoleArn": 0,
        "outOfScope": 7,
        "leftOut": 0,
    }
    assert yaml.safe_load(data["service-accounts.yaml"]) == [
        {"serviceAccount": "a/x", "role": "true", "state": "Bound", "roleBinding": "a/annotated-x"},
        {"serviceAccount": "a/y", "role": str(ROLE), "state": "Granted", "roleGrant": "all"},
        {
            "serviceAccount": "b/x",
            "role": str(ROLE),
            "state": "Refused",
            "reason": "NotGranted",
            "message": 'no "grant": {none}\nat all',
        },
    ]


def test_no_entries() -> None:
    """An empty report is one, too."""
    data = report_data([], "Bind", 0)

    assert yaml.safe_load(data["service-accounts.yaml"]) is None
    assert yaml.safe_load(data["summary.yaml"])["mode"] == "Bind"


def test_bounds() -> None:
    """A namespace with very many does not push another one's out, and what is left out is counted."""
    many = [ReportEntry("a", f"x{n:05}", str(ROLE), AnnotatedState.GRANTED, "", "g" * 300) for n in range(5000)]
    few = [ReportEntry("z", f"y{n}", str(ROLE), AnnotatedState.GRANTED, "", "all") for n in range(20)]

    data = report_data([*many, *few], "Report", 0)

    text = data["service-accounts.yaml"]
    shown = [line["serviceAccount"] for line in yaml.load(text, yaml.CSafeLoader)]
    assert MAX_CHARACTERS - 1000 < len(text) <= MAX_CHARACTERS
    assert len(text.encode()) < 1024 * 1024
    assert [name for name in shown if name.startswith("z/")] == [f"z/{e.name}" for e in sorted(few)]
    assert shown == sorted(shown)
    assert yaml.safe_load(data["summary.yaml"])["leftOut"] == 5020 - len(shown)
