"""Service accounts that go on using their roles, and others who go on editing them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import boto3
import botocore.exceptions

from support.processes import eventually
from support.world import FOREIGN, SECONDS, Account, Team, World

__all__ = ["Colleague", "used_all_the_time"]

AUDIENCE = "sts.amazonaws.com"

_BREATH = 0.01
"""Seconds between two calls, so that these threads leave some CPU to what they test."""


@contextmanager
def used_all_the_time(world: World, team: Team, uses: dict[str, str]) -> Iterator[list[str]]:
    """Let service accounts assume their roles over and over; yield what was refused.

    Args:
        world: the cluster and AWS.
        team: whose service accounts.
        uses: name of a service account to the ARN of its role.
    """
    sts = boto3.client("sts", region_name="us-east-1", endpoint_url=world.aws.url)
    tokens = {name: world.api.token(team.namespace, name, AUDIENCE, 3600) for name in uses}
    refused: list[str] = []
    rounds: list[int] = []
    is_over = threading.Event()

    def use() -> None:
        while not is_over.is_set():
            for name, role in uses.items():
                try:
                    sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=name, WebIdentityToken=tokens[name])
                except botocore.exceptions.ClientError as error:
                    refused.append(f"{name}: {error}")
                is_over.wait(_BREATH)
            rounds.append(len(uses))

    thread = threading.Thread(target=use)
    thread.start()
    try:
        eventually(lambda: rounds, "every service account used its role once", seconds=SECONDS)
        yield refused
        done = len(rounds)
        eventually(lambda: len(rounds) > done + 1, "every one used it once more", seconds=SECONDS)
    finally:
        is_over.set()
        thread.join()


class Colleague:
    """A person who edits a statement of their own in every role: reads, changes, writes and looks whether it held."""

    def __init__(self, account: Account, roles: list[str]) -> None:
        self._account = account
        self._roles = roles
        self._wanted = dict.fromkeys(roles, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.edits = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        chance = random.Random(4711)  # noqa: S311 - to be repeatable
        while not self._over.is_set():
            role = chance.choice(self._roles)
            self._wanted[role] += 1
            self.edits += 1
            while not self._holds(role):
                self._edit(role)
            self._over.wait(_BREATH)

    def statement(self, role: str) -> dict[str, Any]:
        """Return their statement as they want it."""
        number = str(self._wanted[role])
        return FOREIGN | {"Sid": "Colleague", "Condition": {"StringEquals": {"aws:PrincipalTag/n": number}}}

    def _edit(self, role: str) -> None:
        others = [s for s in self._account.statements(role) if s.get("Sid") != "Colleague"]
        self._account.write(role, *others, self.statement(role))

    def _holds(self, role: str) -> bool:
        return self.statement(role) in self._account.statements(role)

    def settle(self) -> bool:
        """Look once more at everything, correct what was lost, and return whether nothing was."""
        lost = [role for role in self._roles if self._wanted[role] and not self._holds(role)]
        for role in lost:
            self._edit(role)
        return not lost
