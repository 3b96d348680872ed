"""RoleBindings as the API server has them."""

from __future__ import annotations

from typing import Any

import pytest

from support.bodies import binding_body
from trustbind.reconcile.stored_binding import SHOWN_SUBJECTS, StoredBinding


@pytest.mark.parametrize("subjects", [1.5, "text", {"a": 1}, True])
def test_a_status_that_we_did_not_write(subjects: Any) -> None:
    """Whatever a status holds where subjects are listed, the object is read, and nothing below meets it."""
    stored = StoredBinding.of(binding_body() | {"status": {"statementId": "x", "subjects": subjects}})
    assert stored.status == {"statementId": "x"}


def test_more_subjects_than_are_shown() -> None:
    """One more is kept, so that the status differs from what we would write."""
    stored = StoredBinding.of(binding_body() | {"status": {"subjects": [str(n) for n in range(1000)]}})
    assert len(stored.status["subjects"]) == SHOWN_SUBJECTS + 1
