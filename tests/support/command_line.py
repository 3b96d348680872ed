"""The command line against a world: as its administrator in the cluster, and as the operator's role in AWS."""

from __future__ import annotations

import os
import subprocess
import sys

from support.halves import operator_env
from support.world import World

__all__ = ["trustbind"]


def trustbind(world: World, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``trustbind`` and return its output.

    Args:
        world: the cluster, and AWS.
        arguments: of the command line.
        code: that it has to end with.
    """
    identity = {key: value for key, value in operator_env(world).items() if key.startswith("AWS_") and value}
    done = subprocess.run(
        [sys.executable, "-m", "trustbind_cli", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "KUBECONFIG": str(world.api.kubeconfig()),
            "AWS_EC2_METADATA_DISABLED": "true",
            **identity,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
