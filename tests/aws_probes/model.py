"""A probe as a value: calls of AWS, and what trustbind assumes that AWS answers.

Parameters may hold placeholders, so that one probe serves every AWS account:

- ``@{account}``, ``@{caller}``, ``@{run}``, ``@{issuer}``, ``@{cluster}``: see `aws_probes.lab.Place`.
- ``@{LABEL.Path.To.Value}``: a part of the answer to an earlier call of the same probe.
- ``{"$sized": ...}`` and ``{"$token": ...}``: see `aws_probes.placeholders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

__all__ = ["ANY", "Answer", "Call", "Difference", "Need", "Probe"]

ANY: Final = "@{any}"
"""In place of an assumed value or error code: whatever AWS says is recorded, and nothing is assumed."""


class Need(StrEnum):
    """What a probe needs beside credentials."""

    ISSUER = "issuer"
    """An OIDC issuer whose discovery document and keys AWS can fetch, and the private keys of it."""
    CLUSTER = "cluster"
    """The name of an EKS cluster in the caller's region."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of AWS.

    Attributes:
        label: names the call in its probe, and says for people what it shows.
        operation: such as ``iam:CreateRole``.
        parameters: of the call, with placeholders. A policy is an object here and JSON text on the wire.
        assumes: the error code that trustbind assumes; empty for success; `ANY` for no assumption.
        says: a part of AWS's error message that trustbind or the local AWS repeats; empty for none.
        shows: paths in the answer, with the values that trustbind assumes there. ``#`` is a list's length, ``?``
            whether a value is there. A policy is compared by its meaning.
        caller: label of the earlier call whose credentials are used; empty for the runner's own.
        settles: whether the call is repeated until it answers as assumed, since an earlier write takes time to show.
    """

    label: str
    operation: str
    parameters: Mapping[str, Any]
    assumes: str = ""
    says: str = ""
    shows: Mapping[str, Any] = field(default_factory=dict)
    caller: str = ""
    settles: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Calls that show whether an assumption holds.

    Attributes:
        name: of the probe, and of the file of its vector.
        fact: what is assumed, and where AWS documents it.
        calls: in their order.
        needs: see `Need`.
    """

    name: str
    fact: str
    calls: tuple[Call, ...]
    needs: frozenset[Need] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a call. Account ids, names of the run and unique ids are placeholders again.

    Attributes:
        code: AWS's error code; empty for success.
        message: AWS's error message.
        shows: the values at the paths of `Call.shows`; None where there is none.
        tries: how often the call was made until it answered as assumed, or for the last time.
        seconds: how long that took.
    """

    code: str = ""
    message: str = ""
    shows: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 1
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """A call that was answered otherwise than assumed."""

    probe: str
    label: str
    assumed: str
    answered: str

    def __str__(self) -> str:
        return f"{self.probe}, {self.label}: assumed {self.assumed}, answered {self.answered}"
