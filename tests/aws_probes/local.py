"""Probes against the local AWS: each in an empty one, at once, with every need met."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import boto3

from aws_probes.issuer import Issuer
from aws_probes.lab import Clients, Lab, Pace, Place
from aws_probes.model import Answer, Probe
from trustbind_localaws import LocalAws

__all__ = ["ACCOUNT", "REGION", "LocalLab"]

ACCOUNT: Final = "111122223333"
REGION: Final = "eu-west-1"
_RUN: Final = "local0run"
_CLUSTER: Final = "trustbind-probe-cluster"


class LocalLab:
    """Runs probes against a local AWS that is emptied before each; make one with `LocalLab.started`."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self._issuer = Issuer(f"https://trustbind-probe-{_RUN}.s3.{REGION}.amazonaws.com")
        session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="any", region_name=REGION)
        self._clients = Clients(session, Pace(1e9, _standing, _no_sleep), aws.url)

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[LocalLab]:
        """Return one, for as long as its local AWS runs."""
        with LocalAws() as aws:
            yield cls(aws)

    def run(self, probe: Probe) -> tuple[Answer, ...]:
        """Return the answers to a probe's calls."""
        self._aws.reset()
        self._aws.register_issuer(self._issuer.url, self._issuer.jwks())
        self._aws.create_cluster(ACCOUNT, REGION, _CLUSTER)
        place = Place(ACCOUNT, "", _RUN, self._issuer.host_path, _CLUSTER)
        return Lab(self._clients, place, self._issuer, _standing, _no_sleep, patience=0.0).run(probe)


def _standing() -> float:
    return 0.0


def _no_sleep(_seconds: float) -> None:
    """Do not wait: the local AWS shows a write at once."""
