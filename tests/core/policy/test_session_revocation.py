"""The policy that ends older sessions: as AWS's console writes it, and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from trustbind.policy.session_revocation import revocation_policy, revoked_before

MOMENT = datetime(2026, 11, 29, 18, 0, 0, 123456, tzinfo=UTC)
STATEMENT: dict[str, Any] = revocation_policy(MOMENT)["Statement"][0]


def test_policy() -> None:
    """Everything is denied to what was issued before; the time is UTC, to the millisecond."""
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=2)))

    assert revocation_policy(elsewhere) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Action": ["*"],
                "Resource": ["*"],
                "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-11-29T18:00:00.123Z"}},
            }
        ],
    }


def test_read_back() -> None:
    """The moment is read back, in the forms that IAM takes."""
    assert revoked_before(revocation_policy(MOMENT)) == MOMENT.replace(microsecond=123000)
    plain = {
        "Statement": {**STATEMENT, "Action": "*", "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-11-29"}}}
    }
    assert revoked_before(plain) == datetime(2026, 11, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    "statement",
    [
        {**STATEMENT, "Effect": "Allow"},
        {**STATEMENT, "Action": ["s3:*"]},
        {**STATEMENT, "Resource": "arn:aws:s3:::x"},
        {**STATEMENT, "Condition": {"DateLessThan": {"aws:CurrentTime": "2026-11-29T18:00:00Z"}}},
        {**STATEMENT, "Condition": {**STATEMENT["Condition"], "Bool": {"aws:SecureTransport": "true"}}},
        {**STATEMENT, "Condition": {"DateLessThan": {"aws:TokenIssueTime": "yesterday"}}},
        {**STATEMENT, "NotResource": "x"},
    ],
)
def test_another_policy(statement: dict[str, Any]) -> None:
    """A policy that says anything else is none."""
    assert revoked_before({"Statement": [statement]}) is None
    assert revoked_before({"Statement": [STATEMENT, statement]}) is None
