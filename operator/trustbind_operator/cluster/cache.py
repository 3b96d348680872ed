"""What the operator knows of the cluster: bindings by role, accounts, grants, service accounts, namespaces.

A dictionary fed by the handlers. (kopf's own index takes quadratic time on a cluster-wide watch.) Every change
returns the roles that it may concern, so that nothing else has to be looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trustbind.api.aws_account import AwsAccount
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn

__all__ = ["BindingEntry", "Registry", "is_older"]

_AGENT: Final = "by agent"
"""Stands for a profile, and can be none (it has a space): an account has one role by EKS Pod Identity."""

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BindingEntry:
    """One binding as the API server has it.

    Attributes:
        ref: namespace and name.
        uid: of the object.
        version: its resourceVersion.
        binding: parsed; None when it cannot be.
        problem: why it cannot be parsed; empty when it can.
        roles: the roles that it is about; for an unreadable one, as far as can be told.
        deleting: whether its deletion was asked for.
        finalizers: all of them.
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
    finalizers: tuple[str, ...]
    status: Mapping[str, Any]

    @property
    def guarded(self) -> bool:
        """Whether it carries our finalizer."""
        return BINDING_FINALIZER in self.finalizers

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
            finalizers=tuple(metadata.get("finalizers") or ()),
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
    _by_claim: dict[tuple[str, str, str], set[BindingRef]] = field(default_factory=dict)
    """Namespace, profile and service account to the bindings that claim one for the other; an empty account stands for
    a selector, which may select any. Bindings by EKS Pod Identity claim `_AGENT` instead of a profile."""

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

    def is_old(self, entry: BindingEntry) -> bool:
        """Return whether a newer state of the same object is known: the answer to our own write outruns its event."""
        known = self.bindings.get(entry.ref)
        return known is not None and known.uid == entry.uid and is_older(entry.version, known.version)

    def restate(self, entry: BindingEntry, status: Mapping[str, Any], version: str) -> None:
        """Take note of our own status patch on ``entry``; nothing that a role depends on changes by it."""
        known = self.bindings.get(entry.ref)
        if known is not None and known.uid == entry.uid and not is_older(version, known.version):
            self.bindings[entry.ref] = known.with_status(status, version)

    def drop_binding(self, ref: BindingRef) -> frozenset[RoleArn]:
        """Forget a binding; return the roles that may be concerned."""
        entry = self.bindings.pop(ref, None)
        if entry is None:
            return frozenset()
        self._unlink(entry)
        return entry.roles | self._rivals_roles(entry)

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
        found = [
            entry.binding
            for entry in (self.bindings[ref] for ref in self._claimants(binding))
            if entry.binding is not None and not entry.deleting and entry.binding.age_key < binding.age_key
        ]
        return sorted(found, key=lambda other: other.age_key)

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
        """Return how the account is reached; of two objects for one account the older counts, unless it is going."""
        return self._parsed_accounts.get(account_id)

    def accounts_of(self, namespace: str) -> Mapping[str, Labels]:
        """Return name to labels of the namespace's service accounts."""
        return self.service_accounts.get(namespace, {})

    def _reparse_accounts(self) -> None:
        parsed: dict[str, AwsAccount] = {}
        for body in sorted(self.aws_accounts.values(), key=_precedence):
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
        for claim in _claims(entry.binding):
            self._by_claim.setdefault(claim, set()).add(entry.ref)

    def _unlink(self, entry: BindingEntry) -> None:
        for role in entry.roles:
            _discard(self._by_role, role, entry.ref)
        _discard(self._by_namespace, entry.ref.namespace, entry.ref)
        for claim in _claims(entry.binding):
            _discard(self._by_claim, claim, entry.ref)

    def _claimants(self, binding: RoleBinding) -> set[BindingRef]:
        """Return the other bindings, of any age, that may claim ``binding``'s profile for one of its accounts."""
        namespace, profiles = binding.ref.namespace, set(_profiles(binding))
        if binding.selector is not None:
            refs = {
                ref
                for ref in self._by_namespace.get(namespace, ())
                if (b := self.bindings[ref].binding) is not None and not profiles.isdisjoint(_profiles(b))
            }
        else:
            refs = set()
            for profile in profiles:
                for account in ("", *binding.service_account_names):
                    refs |= self._by_claim.get((namespace, profile, account), set())
        refs.discard(binding.ref)
        return refs

    def _rivals_roles(self, entry: BindingEntry) -> frozenset[RoleArn]:
        """Return the roles of bindings that gain or lose a profile by this one."""
        if entry.binding is None:
            return frozenset()
        return frozenset(role for ref in self._claimants(entry.binding) for role in self.bindings[ref].roles)


def is_older(version: str, other: str) -> bool:
    """Return whether one resourceVersion of an object is older than another of it.

    They are numbers that grow (Kubernetes documentation, "Resource versions"; promised since 1.35, and so for custom
    resources ever before). What is no number is never older.
    """
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)


def _claims(binding: RoleBinding | None) -> Iterable[tuple[str, str, str]]:
    if binding is None:
        return ()
    accounts = ("",) if binding.selector is not None else binding.service_account_names
    return [(binding.ref.namespace, profile, account) for profile in _profiles(binding) for account in accounts]


def _profiles(binding: RoleBinding) -> tuple[str, ...]:
    return (_AGENT,) if binding.method.uses_pod_identity_association else (binding.profile,)


def _discard(index: dict[Any, set[BindingRef]], key: Any, ref: BindingRef) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(ref)
        if not members:
            del index[key]


def _age(entry: BindingEntry) -> tuple[bool, str, BindingRef]:
    return entry.binding.age_key if entry.binding is not None else (True, "", entry.ref)


def _precedence(body: Mapping[str, Any]) -> tuple[bool, str, str]:
    metadata: Mapping[str, Any] = body.get("metadata") or {}
    going = bool(metadata.get("deletionTimestamp"))
    return going, str(metadata.get("creationTimestamp", "")), str(metadata.get("name", ""))
