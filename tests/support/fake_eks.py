"""One cluster's associations in memory: `trustbind_aws.eks.AssociationStore`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from support.bodies import ISSUER
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, NotFoundError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import tags_of
from trustbind.policy.pod_identity_association import Association, Listed, Wish
from trustbind_aws.permits import WriteGuard, WritePermit

__all__ = ["WRITES", "FakeEks"]

WRITES: Final = ("create", "change", "tag", "untag", "delete")


class FakeEks:
    """See the module.

    Attributes:
        there: associations by service account.
        errors: by method's name, what its next calls raise, in order.
        calls: how often each method was called.
        meanwhile: by method's name, what happens right before its next calls, in order; an awaitable is awaited.
        pause: awaited before and after every call takes effect.
    """

    def __init__(self) -> None:
        self.there: dict[Subject, Association] = {}
        self.errors: dict[str, list[AwsError]] = {}
        self.calls: Counter[str] = Counter()
        self.meanwhile: dict[str, list[Callable[[], object]]] = {}
        self.pause: Callable[[], Awaitable[object]] = _at_once
        self._made = 0

    def has(
        self, subject: Subject, role: object, tags: Mapping[str, str] | None = None, *, of: str = ""
    ) -> Association:
        """Have an association of somebody else's, or with ``of``, one of ours for that binding."""
        self._made += 1
        number = f"a-{self._made:017}"
        arn = f"arn:aws:eks:eu-central-1:444455556666:podidentityassociation/blue/{number}"
        marked = tags_of(ISSUER, BindingRef(subject.namespace, of)) if of else {}
        made = Association(Listed(number, arn, subject.namespace, subject.name), str(role), {**(tags or {}), **marked})
        self.there[subject] = made
        return made

    @property
    def written(self) -> int:
        """How many calls changed something, or tried to."""
        return sum(self.calls[name] for name in WRITES)

    def roles(self) -> dict[str, str]:
        """Return the role of each account, as ``namespace/account``."""
        return {f"{s.namespace}/{s.name}": a.role for s, a in self.there.items()}

    async def _called(self, name: str, guard: WriteGuard | None = None) -> None:
        if guard is not None:
            WritePermit(guard.deadline()).check(name)
        await self.pause()
        self.calls[name] += 1
        if self.meanwhile.get(name):
            happened = self.meanwhile[name].pop(0)()
            if inspect.isawaitable(happened):
                await happened
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    async def listed(self, namespace: str = "") -> list[Listed]:
        """Return the associations of a namespace, or all."""
        await self._called("listed")
        found = [a.listed for a in self.there.values() if namespace in {"", a.listed.namespace}]
        await self.pause()
        return found

    async def described(self, listed: Listed) -> Association | None:
        """Return one whole."""
        await self._called("described")
        found = self._present(listed)
        await self.pause()
        return found

    async def create(
        self, subject: Subject, role: str, wish: Wish, tags: Mapping[str, str], guard: WriteGuard
    ) -> Association:
        """Make one."""
        await self._called("create", guard)
        if subject in self.there:
            raise AwsError("Association already exists", code="ResourceInUseException", operation="eks:Create")
        made = _as_wished(self.has(subject, role, tags), role, wish)
        self.there[subject] = made
        await self.pause()
        return made

    async def change(self, association: Association, role: str, wish: Wish, guard: WriteGuard) -> Association:
        """Let one name another role, or be otherwise."""
        await self._changed("change", association, guard, lambda known: _as_wished(known, role, wish))
        return self.there[association.subject]

    async def tag(self, association: Association, tags: Mapping[str, str], guard: WriteGuard) -> None:
        """Add tags."""
        await self._changed("tag", association, guard, lambda known: replace(known, tags={**known.tags, **tags}))

    async def untag(self, association: Association, keys: Iterable[str], guard: WriteGuard) -> None:
        """Remove tags."""
        gone = set(keys)
        await self._changed(
            "untag",
            association,
            guard,
            lambda known: replace(known, tags={k: v for k, v in known.tags.items() if k not in gone}),
        )

    async def delete(self, association: Association, guard: WriteGuard) -> None:
        """Delete one; one that is gone is deleted."""
        await self._called("delete", guard)
        if self._present(association.listed) is not None:
            del self.there[association.subject]
        await self.pause()

    async def _changed(
        self, name: str, association: Association, guard: WriteGuard, change: Callable[[Association], Association]
    ) -> None:
        await self._called(name, guard)
        known = self._present(association.listed)
        if known is None:
            raise NotFoundError("No association found", code="ResourceNotFoundException", operation=f"eks:{name}")
        self.there[association.subject] = change(known)
        await self.pause()

    def _present(self, listed: Listed) -> Association | None:
        return next((a for a in self.there.values() if a.listed.id == listed.id), None)


def _as_wished(known: Association, role: str, wish: Wish) -> Association:
    return replace(
        known,
        role=role,
        target=wish.target or known.target,
        external_id=known.external_id or (f"external-{known.listed.id}" if wish.target else ""),
        disable_session_tags=wish.disable_session_tags,
        policy=wish.policy or known.policy,
    )


async def _at_once() -> None:
    """Take no time."""
