"""Service accounts that go on using their roles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import botocore.exceptions

from support.processes import eventually
from support.world import SECONDS, Team, World

__all__ = ["used_all_the_time"]

AUDIENCE = "sts.amazonaws.com"


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
