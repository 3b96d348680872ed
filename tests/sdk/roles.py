"""Bindings as a team writes them, for roles of two accounts."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["BASE", "CHAIN", "PLAIN", "READER", "REPORTS", "REPORTS_ROLE"]

ACCOUNT_A: Final = "111122223333"
ACCOUNT_B: Final = "444455556666"

READER: Final = f"arn:aws:iam::{ACCOUNT_B}:role/team-a/s3-reader"
BASE: Final = f"arn:aws:iam::{ACCOUNT_A}:role/workload-base"
REPORTS_ROLE: Final = f"arn:aws:iam::{ACCOUNT_A}:role/reports"

PLAIN: Final[dict[str, Any]] = {"roleArn": READER}

CHAIN: Final[dict[str, Any]] = {
    "roleArn": READER,
    "method": "AssumeRole",
    "source": {"roleArn": BASE},
    "externalId": "cluster/4711",
    "session": {"name": "{cluster}.{namespace}.{pod}", "durationSeconds": 1800},
}
"""Through a role of account A into a role of account B."""

REPORTS: Final[dict[str, Any]] = {
    "roleArn": REPORTS_ROLE,
    "audience": "reports.example",
    "profile": "reports",
    "region": "us-west-2",
}
"""A further role, with a token of another audience and in another region."""
