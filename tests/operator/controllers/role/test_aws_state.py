"""Whether a role has to be read, from what this process, statuses and surveys know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import ACCOUNT, ISSUER, OTHER_ROLE, ROLE, binding_body
from support.scenario_role import RoleScenario
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.reconcile.role_plan import RoleWork
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.controllers.role.aws_state import AwsState

GUARDED = {"metadata": {"finalizers": [BINDING_FINALIZER]}}


@pytest.fixture
def scene() -> Iterator[RoleScenario]:
    """Return a scene."""
    made = RoleScenario()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("fields", "status", "is_surveyed", "expected"),
    [
        ({}, {}, False, False),
        ({}, {"statementId": "Trustbind0"}, True, True),
        (GUARDED, {}, False, True),
        (GUARDED, {}, True, False),  # a user can set a finalizer, and a survey would find what was left
    ],
)
def test_what_a_binding_may_have_left(
    scene: RoleScenario, fields: dict[str, Any], status: dict[str, Any], is_surveyed: bool, expected: bool
) -> None:
    """A status is evidence; a finalizer alone is one only where no survey looks."""
    state = AwsState(scene.controller.progress, lambda _role: is_surveyed)

    stored = StoredBinding.of(binding_body(**fields) | {"status": status})

    assert state.may_have_left(stored) is expected


def test_claims_of_this_process(scene: RoleScenario) -> None:
    """What was granted once may have been written, until the binding is gone."""
    state = AwsState(scene.controller.progress, lambda _role: True)
    scene.has_binding()
    (decision,) = scene.controller._decisions(ROLE)
    assert not state.may_have_left(decision.stored)

    state.decided(decision)
    assert state.may_have_left(decision.stored)

    state.forget(decision.stored.uid)
    assert not state.may_have_left(decision.stored)


@pytest.mark.parametrize(
    ("fields", "manages", "expected"), [(GUARDED, True, True), (GUARDED, False, False), ({}, True, False)]
)
def test_permission_of_an_earlier_process(
    scene: RoleScenario, fields: dict[str, Any], manages: bool, expected: bool
) -> None:
    """A chain's source role is read once after a restart, since no survey lists its permission."""
    source = {"roleArn": str(OTHER_ROLE), "managePermission": manages}
    scene.has_binding(binding_body(**fields, method="AssumeRole", source=source))
    scene.has_grants()
    state = AwsState(scene.controller.progress, lambda _role: True)
    account = scene.cache.aws_account(ACCOUNT)
    assert account is not None
    work = RoleWork(OTHER_ROLE, ISSUER, account, tuple(scene.controller._decisions(OTHER_ROLE)))
    assert not state.concerns_aws(work, ())

    state.begin(scene.cache.bindings.values())
    assert state.concerns_aws(work, ()) is expected
    state.mended(OTHER_ROLE)  # a pause of revocation leaves the permission
    assert state.concerns_aws(work, ()) is expected
    state.narrowed(OTHER_ROLE)
    assert not state.concerns_aws(work, ())


def test_what_runs_and_surveys_found(scene: RoleScenario) -> None:
    """A role that concerns AWS no more is not missing any more; a survey's word goes with a run that mended it."""
    state = AwsState(scene.controller.progress, lambda _role: True)

    state.missing(ROLE)
    state.drifted([ROLE])
    assert (state.is_missing(ROLE), state.is_drifted(ROLE), state.lacks_provider(ROLE)) == (True, True, False)

    state.unread(ROLE)
    state.mended(ROLE)
    assert (state.is_missing(ROLE), state.is_drifted(ROLE)) == (False, False)
