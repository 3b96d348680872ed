"""One cluster's associations in memory, with `trustbind_aws.eks.EksAccess`'s methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from support.operator_world import ISSUER
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import tags_of
from trustbind.policy.pod_identity_association import Association, Listed

__all__ = ["WRITES", "FakeEks"]

WRITES: Final = ("create", "move", "tag", "untag", "delete")


class FakeEks:
    """See the module.

    Attributes:
        there: associations by service account.
        errors: by method's name, what its next calls raise, in order.
        calls: how often each method was called.
        meanwhile: by method's name, what happens right before its next calls, in order.
    """

    def __init__(self) -> None:
        self.there: dict[Subject, Association] = {}
        self.errors: dict[str, list[AwsError]] = {}
        self.calls: Counter[str] = Counter()
        self.meanwhile: dict[str, list[Callable[[], object]]] = {}
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

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.meanwhile.get(name):
            self.meanwhile[name].pop(0)()
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    def listed(self, namespace: str = "") -> list[Listed]:
        """Return the associations of a namespace, or all."""
        self._called("listed")
        return [a.listed for a in self.there.values() if namespace in {"", a.listed.namespace}]

    def described(self, listed: Listed) -> Association | None:
        """Return one whole."""
        self._called("described")
        return next((a for a in self.there.values() if a.listed == listed), None)

    def create(self, namespace: str, service_account: str, role: str, tags: Mapping[str, str]) -> None:
        """Make one."""
        self._called("create")
        subject = Subject(namespace, service_account)
        if subject in self.there:
            raise AwsError("Association already exists", code="ResourceInUseException", operation="eks:Create")
        self.has(subject, role, tags)

    def move(self, association: Association, role: str) -> None:
        """Let one name another role."""
        self._called("move")
        self.there[association.subject] = replace(self.there[association.subject], role=role)

    def tag(self, association: Association, tags: Mapping[str, str]) -> None:
        """Add tags."""
        self._called("tag")
        known = self.there[association.subject]
        self.there[association.subject] = replace(known, tags={**known.tags, **tags})

    def untag(self, association: Association, keys: Iterable[str]) -> None:
        """Take tags away."""
        self._called("untag")
        known = self.there[association.subject]
        kept = {key: value for key, value in known.tags.items() if key not in set(keys)}
        self.there[association.subject] = replace(known, tags=kept)

    def delete(self, association: Association) -> None:
        """Delete one."""
        self._called("delete")
        self.there.pop(association.subject, None)
