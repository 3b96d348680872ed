"""What the operator knows of the cluster: bindings by role, accounts, grants, service accounts, namespaces.

A dictionary fed by the handlers. (kopf's own index takes quadratic time on a cluster-wide watch.) Every change
returns the roles that it may concern, so that nothing else has to be looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trustbind.accounts import AwsAccount
from trustbind.arns import RoleArn
from trustbind.bindings import BindingRef, RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.grants import RoleGrant

__all__ = ["FINALIZER", "BindingEntry", "Registry"]

FINALIZER: Final = "trustbind.dev/trust"
"""Keeps a binding until its trust is revoked."""

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BindingEntry:
    """One binding as the API server has it.

    Attributes:
        ref: namespace and name.
        uid: of the object.
        version: its resourceVersion, to be compared for equality only.
        binding: parsed; None when it cannot be.
        problem: why it cannot be parsed; empty when it can.
        roles: the roles that it is about; for an unreadable one, as far as can be told.
        deleting: whether its deletion was asked for.
        guarded: whether it carries our finalizer.
        status: as it is stored.
    """

    ref: BindingRef
    uid: str
    version: str
    generation: int
    binding: RoleBinding | None
    problem: str
    roles: frozenset[RoleArn]
    deleting: bool
    guarded: bool
    status: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> BindingEntry:
        """Return the entry for an object from the API server; never raises for one that the schema let through."""
        metadata: Mapping[str, Any] = body.get("metadata") or {}
        spec: Mapping[str, Any] = body.get("spec") or {}
        binding, problem = None, ""
        try:
            binding = RoleBinding.parse(body)
        except InvalidValueError as error:
            problem = str(error)
        roles: set[RoleArn] = set()
        for text in (spec.get("roleArn"), (spec.get("source") or {}).get("roleArn")):
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
            guarded=FINALIZER in (metadata.get("finalizers") or ()),
            status=body.get("status") or {},
        )

    def with_status(self, status: Mapping[str, Any], version: str) -> BindingEntry:
        """Return the same entry after our own status patch."""
        return replace(self, status=status, version=version)


@dataclass(slots=True)
class Registry:
    """See the module."""

    bindings: dict[BindingRef, BindingEntry] = field(default_factory=dict)
    aws_accounts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """AWSAccount objects by name, as they are stored."""
    grants: dict[str, RoleGrant] = field(default_factory=dict)
    service_accounts: dict[str, dict[str, Labels]] = field(default_factory=dict)
    """Namespace to name to labels."""
    namespaces: dict[str, Labels] = field(default_factory=dict)
    _parsed_accounts: dict[str, AwsAccount] = field(default_factory=dict)
    _by_role: dict[RoleArn, set[BindingRef]] = field(default_factory=dict)
    _by_namespace: dict[str, set[BindingRef]] = field(default_factory=dict)

    # --- bindings -------------------------------------------------------------------------------------------------

    def put_binding(self, entry: BindingEntry) -> frozenset[RoleArn]:
        """Take in a binding; return the roles that may be concerned."""
        before = self.bindings.get(entry.ref)
        roles = self._rivals_roles(entry)
        if before is not None:
            roles |= before.roles | self._rivals_roles(before)
            self._unlink(before)
        self.bindings[entry.ref] = entry
        self._link(entry)
        return roles | entry.roles

    def drop_binding(self, ref: BindingRef) -> frozenset[RoleArn]:
        """Forget a binding; return the roles that may be concerned."""
        entry = self.bindings.pop(ref, None)
        if entry is None:
            return frozenset()
        self._unlink(entry)
        return entry.roles | self._rivals_roles(entry)

    def replace_bindings(self, entries: Iterable[BindingEntry]) -> frozenset[RoleArn]:
        """Take in a complete list; return the roles of whatever differs from what was known."""
        listed = {entry.ref: entry for entry in entries}
        roles: frozenset[RoleArn] = frozenset()
        for ref in [ref for ref in self.bindings if ref not in listed]:
            roles |= self.drop_binding(ref)
        for entry in listed.values():
            known = self.bindings.get(entry.ref)
            if known is None or (known.uid, known.version) != (entry.uid, entry.version):
                roles |= self.put_binding(entry)
        return roles

    def of_role(self, role: RoleArn) -> list[BindingEntry]:
        """Return the bindings that are about ``role``, oldest first."""
        entries = [self.bindings[ref] for ref in self._by_role.get(role, ())]
        return sorted(entries, key=_age)

    def in_namespace(self, namespace: str) -> list[BindingEntry]:
        """Return the bindings of a namespace, oldest first."""
        return sorted((self.bindings[ref] for ref in self._by_namespace.get(namespace, ())), key=_age)

    def roles(self) -> list[RoleArn]:
        """Return every role that a binding is about, sorted."""
        return sorted(self._by_role)

    def rivals(self, binding: RoleBinding) -> list[RoleBinding]:
        """Return the older live bindings that may claim ``binding``'s profile for one of its accounts."""
        return [
            entry.binding
            for entry in self.in_namespace(binding.ref.namespace)
            if entry.binding is not None
            and not entry.deleting
            and entry.ref != binding.ref
            and entry.binding.profile == binding.profile
            and entry.binding.age_key < binding.age_key
        ]

    # --- everything else ------------------------------------------------------------------------------------------

    def put_aws_account(self, body: Mapping[str, Any]) -> None:
        """Take in an AWSAccount."""
        self.aws_accounts[body["metadata"]["name"]] = body
        self._reparse_accounts()

    def drop_aws_account(self, name: str) -> None:
        """Forget an AWSAccount."""
        self.aws_accounts.pop(name, None)
        self._reparse_accounts()

    def aws_account(self, account_id: str) -> AwsAccount | None:
        """Return how the account is reached; of two objects for one account the older counts."""
        return self._parsed_accounts.get(account_id)

    def accounts_of(self, namespace: str) -> Mapping[str, Labels]:
        """Return name to labels of the namespace's service accounts."""
        return self.service_accounts.get(namespace, {})

    def _reparse_accounts(self) -> None:
        parsed: dict[str, AwsAccount] = {}
        for body in sorted(self.aws_accounts.values(), key=_object_age):
            try:
                account = AwsAccount.parse(body)
            except InvalidValueError:
                continue  # its own condition says so
            parsed.setdefault(account.account_id, account)
        self._parsed_accounts = parsed

    def _link(self, entry: BindingEntry) -> None:
        for role in entry.roles:
            self._by_role.setdefault(role, set()).add(entry.ref)
        self._by_namespace.setdefault(entry.ref.namespace, set()).add(entry.ref)

    def _unlink(self, entry: BindingEntry) -> None:
        for role in entry.roles:
            _discard(self._by_role, role, entry.ref)
        _discard(self._by_namespace, entry.ref.namespace, entry.ref)

    def _rivals_roles(self, entry: BindingEntry) -> frozenset[RoleArn]:
        """Return the roles of bindings that gain or lose a profile by this one."""
        if entry.binding is None:
            return frozenset()
        return frozenset(
            role
            for other in (self.bindings[ref] for ref in self._by_namespace.get(entry.ref.namespace, ()))
            if other.ref != entry.ref
            and other.binding is not None
            and other.binding.profile == entry.binding.profile
            and _may_overlap(other.binding, entry.binding)
            for role in other.roles
        )


def _may_overlap(one: RoleBinding, other: RoleBinding) -> bool:
    if one.selector is not None or other.selector is not None:
        return True
    return not set(one.service_account_names).isdisjoint(other.service_account_names)


def _discard(index: dict[Any, set[BindingRef]], key: Any, ref: BindingRef) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(ref)
        if not members:
            del index[key]


def _age(entry: BindingEntry) -> tuple[bool, str, BindingRef]:
    return entry.binding.age_key if entry.binding is not None else (True, "", entry.ref)


def _object_age(body: Mapping[str, Any]) -> tuple[str, str]:
    metadata: Mapping[str, Any] = body.get("metadata") or {}
    return str(metadata.get("creationTimestamp", "")), str(metadata.get("name", ""))
