"""The objects of an import, as manifests hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from trustbind.api import aws_account, role_binding, role_grant
from trustbind.api.aws_account import DriftPolicy
from trustbind.api.role_binding import DEFAULT_PROFILE, EQUIVALENT, Method
from trustbind.api.role_grant import DEFAULT_MAX_BINDINGS, DEFAULT_MAX_SUBJECTS
from trustbind.api.strict import API_VERSION
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE
from trustbind.migration.profiles import ImportedBinding

__all__ = ["accounts_of", "binding_of", "grants_of"]

_MAX_ENTRIES: Final = 100
"""Service accounts, and role ARNs, of one grant."""
_MAX_AUDIENCES: Final = 20
_MAX_NAMES: Final = 4096
"""Characters of all service account names of one grant."""
_MAX_ARNS: Final = 8192
"""Characters of all role ARNs of one grant."""


def binding_of(binding: ImportedBinding, *, adopts: bool = False) -> dict[str, Any]:
    """Return a RoleBinding; fields that have their default are left out.

    Args:
        binding: what it says.
        adopts: whether it takes over the statements that it is made of.
    """
    use = binding.use
    spec: dict[str, Any] = {"roleArn": str(use.role), "serviceAccountNames": list(binding.service_accounts)}
    if use.source is not None:
        spec["method"] = Method.ASSUME_ROLE.value
        # What the source role may do is as it is: the import adds no permission.
        spec["source"] = {"roleArn": str(use.source), "managePermission": False}
        if use.external_id:
            spec["externalId"] = use.external_id
    if use.audience != DEFAULT_AUDIENCE:
        spec["audience"] = use.audience
    if use.conditions:
        spec["conditions"] = [
            {"operator": c.operator, "key": c.key, "values": list(c.values)} for c in sorted(use.conditions)
        ]
    if adopts and use.source is None:
        spec["adopt"] = EQUIVALENT
    if binding.profile != DEFAULT_PROFILE:
        spec["profile"] = binding.profile
    return _object(role_binding.KIND, {"name": binding.name, "namespace": binding.namespace}, spec)


def grants_of(
    bindings: Iterable[ImportedBinding], taken: Iterable[str], *, adopts: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield grants that cover the bindings: one for each namespace, several where one would be too large.

    Args:
        bindings: sorted by namespace.
        taken: names of other grants.
        adopts: see `binding_of`.
    """
    names = set(taken)
    by_namespace: dict[str, list[ImportedBinding]] = {}
    for binding in bindings:
        by_namespace.setdefault(binding.namespace, []).append(binding)
    for namespace, members in by_namespace.items():
        for part in _parts(members):
            number = 1
            while (name := f"imported-{namespace}" + (f"-{number}" if number > 1 else "")) in names:
                number += 1
            names.add(name)
            yield _grant(name, part, members, adopts=adopts)


def accounts_of(roles: Iterable[RoleArn], known: Iterable[str], manager_role: str) -> Iterator[dict[str, Any]]:
    """Yield an AWSAccount for each account of the roles, with drift observed only: nothing is written at first.

    Args:
        roles: the roles of the bindings.
        known: account ids that have an AWSAccount.
        manager_role: name of the role that the operator assumes in each of them; empty: none.
    """
    partitions = {role.account_id: role.partition for role in roles}
    for account_id in sorted(partitions.keys() - set(known)):
        spec = {"accountId": account_id, "driftPolicy": DriftPolicy.OBSERVE.value}
        if manager_role:
            spec["managerRoleArn"] = f"arn:{partitions[account_id]}:iam::{account_id}:role/{manager_role}"
        yield _object(aws_account.KIND, {"name": f"account-{account_id}"}, spec)


def _parts(members: list[ImportedBinding]) -> Iterator[list[ImportedBinding]]:
    """Yield the bindings of a namespace in lists that one grant has room for."""
    part: list[ImportedBinding] = []
    for binding in members:
        if part and not _fits([*part, binding]):
            yield part
            part = []
        part.append(binding)
    if part:
        yield part


def _fits(part: list[ImportedBinding]) -> bool:
    names, arns, audiences = _names(part), _arns(part), {binding.use.audience for binding in part}
    return (
        len(names) <= _MAX_ENTRIES
        and len(arns) <= _MAX_ENTRIES
        and len(audiences) <= _MAX_AUDIENCES
        and sum(map(len, names)) <= _MAX_NAMES
        and sum(map(len, arns)) <= _MAX_ARNS
    )


def _grant(name: str, part: list[ImportedBinding], members: list[ImportedBinding], *, adopts: bool) -> dict[str, Any]:
    methods = {Method.WEB_IDENTITY if b.use.source is None else Method.ASSUME_ROLE for b in part}
    spec: dict[str, Any] = {
        "namespaces": {"names": [part[0].namespace]},
        "roleArns": _arns(part),
        "serviceAccountNames": _names(part),
        "methods": [method.value for method in Method if method in methods],
    }
    if (audiences := sorted({b.use.audience for b in part})) != [DEFAULT_AUDIENCE]:
        spec["audiences"] = audiences
    if adopts and any(b.use.source is None for b in part):
        spec["allowAdopt"] = True
    subjects = sum(len(binding.service_accounts) for binding in members)
    if len(members) > DEFAULT_MAX_BINDINGS:
        spec["maxBindings"] = len(members)
    if subjects > DEFAULT_MAX_SUBJECTS:
        spec["maxSubjects"] = subjects
    return _object(role_grant.KIND, {"name": name}, spec)


def _names(part: Iterable[ImportedBinding]) -> list[str]:
    return sorted({name for binding in part for name in binding.service_accounts})


def _arns(part: Iterable[ImportedBinding]) -> list[str]:
    return sorted({str(role) for b in part for role in (b.use.role, b.use.source) if role is not None})


def _object(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
