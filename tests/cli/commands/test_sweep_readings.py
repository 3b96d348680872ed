"""What is wanted is read again while a sweep writes."""

from __future__ import annotations

import asyncio

import pytest

from support.trust import ISSUER, OTHER, ROLE
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.identity.subjects import Subject
from trustbind_cli.commands.sweep.readings import MAX_READING_AGE, Readings, UnreadError
from trustbind_cli.commands.sweep.wanted import Wanted


def wanting(name: str) -> Wanted:
    """Return that one binding is wanted."""
    binding = RoleBinding(BindingRef("team-a", name), ROLE)
    return Wanted(ISSUER, ((binding, (Subject("team-a", name),)),), service_accounts=frozenset())


def test_read_again_once_it_is_old() -> None:
    """It is read before the first write, and again only once it is old; what any reading wanted is wanted."""
    now = 0.0
    comes = iter([wanting("b"), wanting("c")])

    async def read() -> Wanted:
        return next(comes)

    async def scene() -> None:
        nonlocal now
        readings = Readings(wanting("a"), read, lambda: now)
        assert _names(await readings.wanted()) == ["a", "b"]
        now = MAX_READING_AGE
        assert _names(await readings.wanted()) == ["a", "b"]
        now = MAX_READING_AGE + 1
        assert _names(await readings.wanted()) == ["a", "b", "c"]

    asyncio.run(scene())


def test_another_issuer() -> None:
    """A reading of another cluster is none."""

    async def read() -> Wanted:
        return Wanted(OTHER)

    with pytest.raises(UnreadError, match="by now"):
        asyncio.run(Readings(wanting("a"), read, lambda: 0.0).wanted())


def _names(wanted: Wanted) -> list[str]:
    return [binding.ref.name for binding, _ in wanted.bindings]
