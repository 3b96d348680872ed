"""Several clusters on one AWS."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from support.halves import Operator
from support.kube import ApiServer, find_binaries
from support.world import World

__all__ = ["clusters"]


@contextlib.contextmanager
def clusters(first: World, directory: Path, count: int) -> Iterator[list[World]]:
    """Start further clusters on the first one's AWS, each with its own issuer and operator."""
    with contextlib.ExitStack() as stack:
        worlds = [first]
        for number in range(count):
            server = stack.enter_context(ApiServer(find_binaries(os.environ), directory / str(number)))
            server.install_crds()
            worlds.append(World(server, first.aws, operator_role=first.operator_role))
            operator = Operator(worlds[-1]).start()
            stack.callback(operator.kill)
        yield worlds
