"""Two more sources of identities that the EKS pod identity webhook knows: a ConfigMap and a file. Pure.

- The ConfigMap ``pod-identity-webhook`` (kOps) gives roles to accounts that are not annotated.
- The file of identities (EKS) lists accounts that get container credentials.
- A role can be given by its name alone, where account and partition are set.

What they say becomes part of the account as `trustbind_webhook.decision` sees it, so nothing there has to know them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from trustbind.annotations import AnnotationKeys
from trustbind.errors import InvalidValueError
from trustbind_webhook.decision import Account

__all__ = ["ANY_NAMESPACE", "Compatibility", "Entry", "Key", "composed", "read_config", "read_identities"]

Key = tuple[str, str]
"""Namespace and name of a service account."""

ANY_NAMESPACE: Final = "*"


class Entry(
    msgspec.Struct,
    frozen=True,
    rename={
        "role_arn": "RoleARN",
        "audience": "Audience",
        "use_regional_sts": "UseRegionalSTS",
        "token_expiration": "TokenExpiration",
    },
):
    """What the ConfigMap says of one account."""

    role_arn: str = ""
    audience: str = ""
    use_regional_sts: bool = False
    token_expiration: int = 0

    def annotations(self, keys: AnnotationKeys) -> dict[str, str]:
        """Return the annotations that say the same."""
        said = {keys.role_arn: self.role_arn}
        if self.audience:
            said[keys.audience] = self.audience
        if self.use_regional_sts:
            said[keys.sts_regional_endpoints] = "true"
        if self.token_expiration:
            said[keys.token_expiration] = str(self.token_expiration)
        return said


class _Identity(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str
    service_account: str


class _Identities(msgspec.Struct, frozen=True):
    identities: list[_Identity] | None = None


@dataclass(frozen=True, slots=True)
class Compatibility:
    """What the two sources say now.

    Attributes:
        entries: of the ConfigMap.
        identities: of the file.
        account_id: of roles that are given by name alone; empty: they are not.
        partition: of such roles.
    """

    entries: Mapping[Key, Entry] = field(default_factory=dict)
    identities: frozenset[Key] = frozenset()
    account_id: str = ""
    partition: str = "aws"

    def applied(self, namespace: str, name: str, account: Account | None, keys: AnnotationKeys) -> Account | None:
        """Return the account with what the sources say of it.

        An annotation beats the ConfigMap. An account that only the ConfigMap or the file names counts as there.
        """
        if not account or not account.annotations.get(keys.role_arn, "").strip():
            entry = self.entries.get((namespace, name)) or self.entries.get((ANY_NAMESPACE, name))
            if entry is not None and entry.role_arn:
                account = account or Account(namespace, name)
                account = replace(account, annotations={**account.annotations, **entry.annotations(keys)})
        if (namespace, name) in self.identities:
            account = replace(account or Account(namespace, name), pod_identity=True)
        if account is not None and self.account_id:
            role = account.annotations.get(keys.role_arn, "").strip()
            if role and "arn:" not in role:
                full = composed(role, self.account_id, self.partition)
                account = replace(account, annotations={**account.annotations, keys.role_arn: full})
        return account


def composed(role: str, account_id: str, partition: str) -> str:
    """Return the ARN of a role that is given by its name, with or without a path."""
    return f"arn:{partition}:iam::{account_id}:role/{role.lstrip('/')}"


def read_config(text: str) -> dict[Key, Entry]:
    """Return the entries in the ConfigMap's ``config``: a JSON object keyed by ``namespace/name``.

    Raises:
        InvalidValueError: it is not that; says what is wrong.
    """
    try:
        raw = msgspec.json.decode(text or "{}", type=dict[str, Entry])
    except msgspec.DecodeError as error:
        raise InvalidValueError(f"not what the EKS pod identity webhook reads: {error}", field="data.config") from None
    entries: dict[Key, Entry] = {}
    for key, entry in raw.items():
        namespace, slash, name = key.partition("/")
        if not slash or not namespace or not name or "/" in name:
            raise InvalidValueError(f"{key!r} is not namespace/name", field="data.config")
        entries[namespace, name] = entry
    return entries


def read_identities(text: str) -> frozenset[Key]:
    """Return the accounts in the file of identities; an empty file lists none.

    Raises:
        InvalidValueError: it is not what EKS writes.
    """
    if not text.strip():
        return frozenset()
    try:
        raw = msgspec.json.decode(text, type=_Identities)
    except msgspec.DecodeError as error:
        raise InvalidValueError(f"not a file of identities: {error}") from None
    return frozenset((i.namespace, i.service_account) for i in raw.identities or ())
