"""Telemetry that records what the controllers report, beside counting and logging it."""

from __future__ import annotations

import io

from trustbind.identity.arns import RoleArn
from trustbind_operator.metrics import Metrics, Telemetry
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log

__all__ = ["FakeTelemetry"]


class FakeTelemetry(Telemetry):
    """See the module.

    Attributes:
        metrics: what is counted.
        log: what is logged.
        commits: role, outcome, writes and bindings of each run of a role that did not fail.
        failures: role, reason and message of each run that failed.
        accounts: account id, reason and message of each look at an AWSAccount.
        surveys: account id, pages and reconciled roles of each survey.
        associations: role, cluster, writes and service accounts of each run over associations.
        crashes: keys whose work raised what nobody expected.
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.log = io.StringIO()
        super().__init__(self.metrics, logger(Log(), self.log))
        self.commits: list[tuple[RoleArn, str, int, int]] = []
        self.failures: list[tuple[RoleArn, str, str]] = []
        self.accounts: list[tuple[str, str, str]] = []
        self.surveys: list[tuple[str, int, int]] = []
        self.associations: list[tuple[RoleArn, str, int, int]] = []
        self.crashes: list[str] = []

    def committed(self, role: RoleArn, outcome: str, written: int, bindings: int) -> None:
        """Record it."""
        self.commits.append((role, outcome, written, bindings))
        super().committed(role, outcome, written, bindings)

    def associated(self, role: RoleArn, cluster: str, written: int, accounts: int) -> None:
        """Record it."""
        self.associations.append((role, cluster, written, accounts))
        super().associated(role, cluster, written, accounts)

    def failed(self, role: RoleArn, reason: str, message: str) -> None:
        """Record it."""
        self.failures.append((role, reason, message))
        super().failed(role, reason, message)

    def account(self, account_id: str, reason: str, message: str) -> None:
        """Record it."""
        self.accounts.append((account_id, reason, message))
        super().account(account_id, reason, message)

    def surveyed(self, account_id: str, pages: int, reconciled: int) -> None:
        """Record it."""
        self.surveys.append((account_id, pages, reconciled))
        super().surveyed(account_id, pages, reconciled)

    def crashed(self, key: str) -> None:
        """Record it."""
        self.crashes.append(key)
        super().crashed(key)
