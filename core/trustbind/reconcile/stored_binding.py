"""A RoleBinding as the API server stores it: the parsed spec, the metadata that decides, and the status."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from trustbind.api.annotations import kept
from trustbind.api.labels import BINDING_FINALIZER, RECONCILE_REQUESTED_AT
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.api.role_binding_set import owning_set
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject

__all__ = ["SHOWN_SUBJECTS", "StoredBinding", "is_older", "is_ready", "ready_condition"]

SHOWN_SUBJECTS: Final = 100
"""Subjects listed in a status; a selector can match thousands."""


@dataclass(frozen=True, slots=True)
class StoredBinding:
    """One RoleBinding object.

    Attributes:
        ref: namespace and name.
        uid: of the object.
        version: its resourceVersion.
        generation: of its spec.
        binding: the parsed spec; None when it cannot be parsed.
        problem: why it cannot be parsed; empty when it can.
        roles: the roles that it names; of an unreadable one, those that can be read.
        deleting: whether its deletion was requested.
        finalizers: all of them.
        requested_at: value of the annotation that asks for a reconcile now.
        status: as it is stored.
        set_uid: uid of the RoleBindingSet that it was made for and that owns it; empty for every other one.
    """

    ref: BindingRef
    uid: str
    version: str
    generation: int
    binding: RoleBinding | None
    problem: str
    roles: frozenset[RoleArn]
    deleting: bool
    finalizers: tuple[str, ...]
    requested_at: str
    status: Mapping[str, Any]
    set_uid: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> StoredBinding:
        """Return the object in ``body``; never raises for metadata of the API server, whatever the spec holds."""
        metadata: Mapping[str, Any] = body.get("metadata") or {}
        spec: Mapping[str, Any] = body.get("spec") or {}
        source = spec.get("source")
        binding, problem = None, ""
        try:
            binding = RoleBinding.parse(body)
        except InvalidValueError as error:
            problem = str(error)
        roles: set[RoleArn] = set()
        for text in (
            spec.get("roleArn"),
            source.get("roleArn") if isinstance(source, Mapping) else None,
            spec.get("targetRoleArn"),
        ):
            try:
                roles.add(RoleArn.parse(str(text)))
            except InvalidValueError:
                continue
        return cls(
            ref=BindingRef(metadata.get("namespace", ""), metadata.get("name", "")),
            uid=metadata.get("uid", ""),
            version=metadata.get("resourceVersion", ""),
            generation=int(metadata.get("generation", 0)),
            binding=binding,
            problem=problem,
            roles=frozenset(roles),
            deleting=bool(metadata.get("deletionTimestamp")),
            finalizers=tuple(metadata.get("finalizers") or ()),
            requested_at=kept(metadata.get("annotations") or {}, (RECONCILE_REQUESTED_AT,)).get(
                RECONCILE_REQUESTED_AT, ""
            ),
            status=_kept_status(body.get("status") or {}),
            set_uid=owning_set(metadata),
        )

    @classmethod
    def of_file(cls, binding: RoleBinding) -> StoredBinding:
        """Return a binding of a file, which no API server has stored."""
        roles = {binding.role} | ({binding.source.role} if binding.source is not None else set())
        return cls(
            ref=binding.ref,
            uid=str(binding.ref),
            version="",
            generation=0,
            binding=binding,
            problem="",
            roles=frozenset(roles),
            deleting=False,
            finalizers=(BINDING_FINALIZER,),
            requested_at="",
            status={},
        )

    @property
    def guarded(self) -> bool:
        """Whether it carries our finalizer."""
        return BINDING_FINALIZER in self.finalizers

    @property
    def is_chain(self) -> bool:
        """Whether it is a chain: of two roles, the target role trusts the source role."""
        return self.binding is not None and self.binding.source is not None

    @property
    def is_pod_identity(self) -> bool:
        """Whether EKS Pod Identity gives the credentials; then it has a statement only in the target of a chain."""
        return self.binding is not None and self.binding.method.uses_pod_identity_association

    def is_associated_with(self, role: RoleArn) -> bool:
        """Return whether its EKS Pod Identity associations name ``role``."""
        return self.is_pod_identity and self.binding is not None and self.binding.association_role == role

    @property
    def associations(self) -> tuple[Mapping[str, Any], ...]:
        """The EKS Pod Identity associations that the stored status lists."""
        listed = self.status.get("associations")
        return tuple(each for each in listed if isinstance(each, Mapping)) if isinstance(listed, list) else ()

    @property
    def statement_id(self) -> str:
        """The Sid that the stored status names; empty when it names none."""
        return str(self.status.get("statementId", ""))

    @property
    def was_applied(self) -> bool:
        """Whether the stored status says that AWS has something of it, of this generation or of an earlier one."""
        ready = ready_condition(self.status) or {}
        return ready.get("status") == "True" or bool(self.statement_id)

    @property
    def is_ready(self) -> bool:
        """Whether the stored status says that the present spec is Ready."""
        ready = ready_condition(self.status) or {}
        return ready.get("status") == "True" and self.status.get("observedGeneration") == self.generation

    def is_applied(self, issuer: Issuer, subjects: tuple[Subject, ...], statement_id: str) -> bool:
        """Return whether the stored status says that exactly this was applied; then a restart has nothing to do."""
        return (
            self.is_ready
            and self.status.get("issuer") == issuer.url
            and self.statement_id == statement_id
            and len(subjects) <= SHOWN_SUBJECTS
            and self.status.get("subjects") == [str(s) for s in subjects]
        )

    @property
    def is_respecified(self) -> bool:
        """Whether the stored status is about another spec than the present one; a new binding has no status.

        Kubernetes counts a deletion as a generation, too (apiserver, registry/generic/registry/store.go,
        markAsDeleting). A status of that generation is of a binding whose release was blocked.
        """
        generation = self.generation - 1 if self.deleting else self.generation
        return self.binding is None or self.status.get("observedGeneration", 1) != generation

    @property
    def age_key(self) -> tuple[bool, str, BindingRef]:
        """Sorts bindings oldest first; unreadable ones last."""
        return self.binding.age_key if self.binding is not None else (True, "", self.ref)

    def with_status(self, status: Mapping[str, Any]) -> StoredBinding:
        """Return the same object after our own status patch."""
        return replace(self, status=status)


def _kept_status(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stored status without what we never write, whose texts are shared between bindings.

    Bindings that select the same service accounts list the same subjects.
    """
    subjects = status.get("subjects")
    if not subjects:
        return status
    if not isinstance(subjects, list):  # we did not write it
        return {key: value for key, value in status.items() if key != "subjects"}
    # One more than are shown, so that it differs from what we would write.
    return {**status, "subjects": [sys.intern(str(text)) for text in subjects[: SHOWN_SUBJECTS + 1]]}


def ready_condition(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the ``Ready`` condition of a stored status; None when there is none."""
    conditions: Iterable[Mapping[str, Any]] = status.get("conditions") or ()
    return next((c for c in conditions if c.get("type") == "Ready"), None)


def is_ready(stored: StoredBinding) -> bool:
    """Return whether the stored status says that this generation of the spec is Ready."""
    ready = ready_condition(stored.status) or {}
    return ready.get("status") == "True" and ready.get("observedGeneration") == stored.generation


def is_older(version: str, other: str) -> bool:
    """Return whether one resourceVersion of an object is older than another of it.

    They are numbers that grow (Kubernetes documentation, "Resource versions"; promised since 1.35, and so for custom
    resources ever before). What is no number is never older.
    """
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)
