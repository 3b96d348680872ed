"""The values of a diagnosis: what a check answers, and what is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from trustbind.api.annotated_binding import is_generated
from trustbind.api.role_binding import RoleBinding
from trustbind.diagnosis.error_text import ErrorClass
from trustbind.diagnosis.facts import Bundle, Container, Fact, PodFacts, TokenVolume
from trustbind.identity.arns import RoleArn

__all__ = [
    "WEB_IDENTITY",
    "Case",
    "Check",
    "Outcome",
    "State",
    "Wanted",
    "broken",
    "fine",
    "not_applicable",
    "part",
    "unknown",
    "unseen",
]

WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"


class State(StrEnum):
    """What a check found."""

    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "not visible"
    NOT_APPLICABLE = "not applicable"
    NOT_LOOKED_AT = "not looked at"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found.

    Attributes:
        state: see `State`.
        what: what is so, and where; one sentence without its full stop.
        todo: what to do; empty where nothing is.
    """

    state: State
    what: str
    todo: str = ""


def fine(what: str) -> Outcome:
    """Return that a link holds."""
    return Outcome(State.OK, what)


def broken(what: str, todo: str) -> Outcome:
    """Return that a link is broken."""
    return Outcome(State.BROKEN, what, todo)


def unknown(what: str, todo: str = "") -> Outcome:
    """Return that it cannot be told whether a link holds."""
    return Outcome(State.UNKNOWN, what, todo)


def unseen(what: str, fact: Fact[Any]) -> Outcome:
    """Return that a fact could not be seen."""
    return unknown(f"{what} cannot be seen: {fact.reason or 'it was not looked for'}")


def part(value: object, key: str) -> Mapping[str, Any]:
    """Return an object within an object; an empty one where there is none, since anybody may edit a bundle."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def not_applicable(why: str) -> Outcome:
    """Return that a link is no part of this chain."""
    return Outcome(State.NOT_APPLICABLE, why)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the webhook gives to a pod of the service account.

    Attributes:
        role: the role that the pod ends up with; None where there is none.
        problem: why there is none; empty where there is one.
        hints: sentences about places where a role was meant.
        binding: that decided; None for an annotation alone.
        uses_agent: whether EKS Pod Identity gives the credentials.
        env: variables of a container.
        volume: name of the volume.
        mount_path: of the volume.
        token_path: of the token in the volume.
        audience: of the token.
        profiles: from which a container may choose by AWS_PROFILE.
    """

    role: RoleArn | None
    problem: str = ""
    hints: tuple[str, ...] = ()
    binding: RoleBinding | None = None
    uses_agent: bool = False
    env: tuple[tuple[str, str], ...] = ()
    volume: str = ""
    mount_path: str = ""
    token_path: str = "token"  # noqa: S105 - a file name
    audience: str = ""
    profiles: frozenset[str] = frozenset()

    @property
    def web_role(self) -> RoleArn | None:
        """The role for which the token, or the agent's call, is exchanged: of a chain the source role."""
        if self.binding is not None and self.binding.source is not None:
            return self.binding.source.role
        return self.role

    @property
    def is_annotated(self) -> bool:
        """Whether an annotation decided; the operator may keep a binding for it, whose trust need not be its own."""
        return self.binding is None or is_generated(self.binding)

    @property
    def source(self) -> str:
        """What decided, for messages."""
        return "the annotation" if self.is_annotated else f"RoleBinding {self.binding.ref if self.binding else ''}"

    @property
    def is_chain(self) -> bool:
        """Whether a source role comes first."""
        return self.binding is not None and self.binding.source is not None


@dataclass(frozen=True, slots=True)
class Case:
    """What the checks look at.

    Attributes:
        bundle: the facts.
        wanted: what a pod of the service account should have.
        error: the kind of error that is asked about; None where none was given.
        now: when the facts were collected.
        skipped: containers that the pod's annotation leaves out.
    """

    bundle: Bundle
    wanted: Wanted
    error: ErrorClass | None
    now: datetime
    skipped: frozenset[str] = field(default_factory=frozenset)

    @property
    def pod(self) -> PodFacts | None:
        """The pod, where there is one."""
        return self.bundle.pod.value

    @property
    def container(self) -> Container | None:
        """The container that is asked about."""
        return self.pod.container(self.bundle.target.container) if self.pod else None

    @property
    def account(self) -> str:
        """Namespace and name of the service account, for messages."""
        return f"{self.bundle.target.namespace}/{self.account_name}"

    @property
    def account_name(self) -> str:
        """Name of the service account."""
        if self.pod is not None:
            return self.pod.service_account
        known = self.bundle.service_account.value
        return known.name if known else self.bundle.target.name

    @property
    def ready_condition(self) -> Mapping[str, Any]:
        """The condition Ready of the binding that decided; empty where there is none."""
        ref = self.wanted.binding.ref.name if self.wanted.binding is not None else ""
        for body in self.bundle.bindings.value or ():
            if ref and part(body, "metadata").get("name") == ref:
                conditions = part(body, "status").get("conditions")
                listed = conditions if isinstance(conditions, list) else ()
                return next((c for c in listed if isinstance(c, Mapping) and c.get("type") == "Ready"), {})
        return {}

    @property
    def volume(self) -> TokenVolume | None:
        """The pod's volume with the token for AWS."""
        return next((v for v in self.pod.tokens if v.name == self.wanted.volume), None) if self.pod else None

    @property
    def is_exchanged(self) -> bool:
        """Whether STS took a token of the service account, which proves what AWS has to read for that."""
        return self.bundle.exchange.value is not None and not self.bundle.exchange.value.error

    @property
    def without_pod(self) -> Outcome:
        """What a check of the pod answers where there is none."""
        fact = self.bundle.pod
        return not_applicable("no pod is looked at") if fact.is_absent or fact.value else unseen("the pod", fact)

    @property
    def without_role(self) -> Outcome:
        """What a check of the role answers where none is known."""
        for what, fact in (
            (f"service account {self.account}", self.bundle.service_account),
            ("the RoleBindings of the namespace", self.bundle.bindings),
        ):
            if fact.value is None and not fact.is_absent:
                return unseen(f"the role, since {what}", fact)
        return not_applicable("the service account has no role")

    @property
    def is_injected(self) -> bool:
        """Whether the pod has what the webhook adds: the volume, and variables in the container."""
        container = self.container
        if container is None or self.volume is None:
            return False
        return any(container.value(name) is not None for name, _ in self.wanted.env)


@dataclass(frozen=True, slots=True)
class Check:
    """One link.

    Attributes:
        number: of the table in the documentation; its code is TB100 and the number.
        name: one word.
        what: what is wrong when it is broken, for the table of findings.
        remedy: what to do, for the table.
        look: the check.
    """

    number: int
    name: str
    what: str
    remedy: str
    look: Callable[[Case], Outcome]

    @property
    def code(self) -> str:
        """Its code in the table of findings."""
        return f"TB{100 + self.number}"
