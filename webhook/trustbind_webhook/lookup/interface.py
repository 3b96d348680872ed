"""What the webhook asks of the cluster: an account, the bindings that may be for it, and what validation needs.

``cluster`` answers from a list and watch of the API server, ``files`` from manifests. Nothing else in the webhook
knows where the answer comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trustbind.api.role_binding import RoleBinding
from trustbind.errors import TrustbindError
from trustbind_webhook.injection.decision import Account
from trustbind_webhook.validation.rules import Knowledge

__all__ = ["Live", "Lookup", "LookupFailedError", "LookupStartError"]


class LookupFailedError(TrustbindError):
    """Something could not be read in time; ``str()`` of it says what and why, as the beginning of a sentence."""


class LookupStartError(TrustbindError):
    """There is nothing to look things up in: no way to the API server, or no usable manifest."""


@dataclass(frozen=True, slots=True)
class Live:
    """What was found while a cache may be old.

    Attributes:
        account: None when there is none.
        bindings: those of the namespace that may be for the account, in any order.
        problem: why these are from the cache after all; empty: they were read a moment ago.
    """

    account: Account | None
    bindings: Sequence[RoleBinding]
    problem: str = ""


class Lookup(Protocol):
    """Where accounts and bindings come from."""

    @property
    def synced(self) -> bool:
        """Whether everything that was there at the start is known."""

    async def wait_synced(self) -> None:
        """Return once it is."""

    async def start(self) -> None:
        """Begin to fill.

        Raises:
            LookupStartError: it never will.
        """

    async def stop(self) -> None:
        """Stop and let go of every connection and task."""

    async def account(self, namespace: str, name: str) -> Account | None:
        """Return the account, or None when there is none of that name.

        Raises:
            LookupFailedError: neither is known, and finding out failed or took too long.
        """

    def bindings(self, namespace: str, account: str) -> Sequence[RoleBinding]:
        """Return the namespace's bindings that name the account or may select it, in any order."""

    @property
    def behind(self) -> str:
        """Why `account` and `bindings` may be old, as the beginning of a sentence; empty: they are not."""

    async def live(self, namespace: str, name: str) -> Live:
        """Return account and bindings past the caches; to be asked while something is `behind`."""

    def knowledge(self, namespace: str) -> Knowledge:
        """Return what is known now for validating an object of ``namespace``, or with none, one of the cluster."""
