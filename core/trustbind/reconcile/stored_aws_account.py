"""An AWSAccount as the API server stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trustbind.api.aws_account import AwsAccount
from trustbind.api.labels import ACCOUNT_FINALIZER, RECONCILE_REQUESTED_AT, REVOCATION_ALLOWED_AT
from trustbind.errors import InvalidValueError
from trustbind.reconcile.stored_binding import ready_condition

__all__ = ["StoredAwsAccount"]


@dataclass(frozen=True, slots=True)
class StoredAwsAccount:
    """One AWSAccount object.

    Attributes:
        name: of the object.
        uid: of the object.
        version: its resourceVersion.
        generation: of its spec.
        account: the parsed spec; None when it cannot be parsed.
        problem: why it cannot be parsed; empty when it can.
        account_id: as the spec has it, checked or not.
        created: its creationTimestamp.
        deleting: whether its deletion was requested.
        finalizers: all of them.
        requested_at: value of the annotation that asks for a reconcile now.
        revocation_allowed_at: value of the annotation that allows what the brake on mass revocation holds back.
        status: as it is stored.
    """

    name: str
    uid: str
    version: str
    generation: int
    account: AwsAccount | None
    problem: str
    account_id: str
    created: str
    deleting: bool
    finalizers: tuple[str, ...]
    requested_at: str
    revocation_allowed_at: str
    status: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> StoredAwsAccount:
        """Return the object in ``body``; never raises for metadata of the API server, whatever the spec holds."""
        metadata: Mapping[str, Any] = body.get("metadata") or {}
        account, problem = None, ""
        try:
            account = AwsAccount.parse(body)
        except InvalidValueError as error:
            problem = str(error)
        return cls(
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            version=str(metadata.get("resourceVersion", "")),
            generation=int(metadata.get("generation", 0)),
            account=account,
            problem=problem,
            account_id=str((body.get("spec") or {}).get("accountId", "")),
            created=str(metadata.get("creationTimestamp", "")),
            deleting=bool(metadata.get("deletionTimestamp")),
            finalizers=tuple(metadata.get("finalizers") or ()),
            requested_at=str((metadata.get("annotations") or {}).get(RECONCILE_REQUESTED_AT, "")),
            revocation_allowed_at=str((metadata.get("annotations") or {}).get(REVOCATION_ALLOWED_AT, "")),
            status=body.get("status") or {},
        )

    @property
    def guarded(self) -> bool:
        """Whether it carries our finalizer."""
        return ACCOUNT_FINALIZER in self.finalizers

    @property
    def ready_status(self) -> str:
        """The status of its stored ``Ready`` condition; empty when there is none."""
        return str((ready_condition(self.status) or {}).get("status", ""))

    @property
    def age_key(self) -> tuple[bool, str, str]:
        """Sorts the objects of one AWS account: the first counts; one that is being deleted comes last."""
        return self.deleting, self.created, self.name

    def with_status(self, status: Mapping[str, Any]) -> StoredAwsAccount:
        """Return the same object after our own status patch."""
        return replace(self, status=status)
