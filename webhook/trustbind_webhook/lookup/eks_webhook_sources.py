"""Two more sources of identities that the EKS pod identity webhook knows: a ConfigMap and a file. Pure.

- The ConfigMap ``pod-identity-webhook`` (kOps) gives roles to accounts that are not annotated.
- The file of identities (EKS) lists accounts that get container credentials.
- A role can be given by its name alone, where account and partition are set.

What they say becomes part of the service account that `trustbind_webhook.injection.decision` sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from trustbind.api.annotations import AnnotationKeys
from trustbind.errors import InvalidValueError
from trustbind_webhook.injection.decision import Account

__all__ = ["ANY_NAMESPACE", "Compatibility", "Entry", "Key", "composed", "config_of", "read_config", "read_identities"]

Key = tuple[str, str]
"""Namespace and name of a service account."""

ANY_NAMESPACE: Final = "*"


class Entry(msgspec.Struct, frozen=True):
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


_FIELDS: Final = {field.name.replace("_", ""): field for field in msgspec.structs.fields(Entry)}
"""Key, such as ``RoleARN``, in lower case to field."""

_WORDS: Final[Mapping[type, str]] = {str: "a text", bool: "true or false", int: "a whole number of seconds"}
_EXPECTED: Final = "not what the EKS pod identity webhook reads"
_MAX_SHOWN: Final = 60
"""Characters of a value that a message shows."""


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
            account = self._from_config_map(namespace, name, account, keys)
        if (namespace, name) in self.identities:
            account = replace(account or Account(namespace, name), pod_identity=True)
        if account is not None and self.account_id:
            role = account.annotations.get(keys.role_arn, "").strip()
            if role and "arn:" not in role:
                full = composed(role, self.account_id, self.partition)
                account = replace(account, annotations={**account.annotations, keys.role_arn: full})
        return account

    def _from_config_map(
        self, namespace: str, name: str, account: Account | None, keys: AnnotationKeys
    ) -> Account | None:
        """Return the account with what the ConfigMap says of it: the entry of its namespace, or of any."""
        for key in ((namespace, name), (ANY_NAMESPACE, name)):
            entry = self.entries.get(key)
            if entry is None:
                continue
            where = f"the ConfigMap's entry {'/'.join(key)}"
            if entry.role_arn:
                account = account or Account(namespace, name)
                said = {**account.annotations, **entry.annotations(keys)}
                return replace(account, annotations=said, role_from=f"{where}, RoleARN")
            return account and replace(account, findings=(f"{where} has no RoleARN, so it gives no role",))
        return account


def composed(role: str, account_id: str, partition: str) -> str:
    """Return the ARN of a role that is given by its name, with or without a path."""
    return f"arn:{partition}:iam::{account_id}:role/{role.lstrip('/')}"


def config_of(data: object) -> str:
    """Return the text of the ConfigMap's entries: the key ``config`` of its ``data``.

    Raises:
        InvalidValueError: there is none, or it is no text.
    """
    if not isinstance(data, Mapping) or "config" not in data:
        raise InvalidValueError("has no key config, where the entries are", field="data")
    text = data["config"]
    if not isinstance(text, str):
        raise InvalidValueError(f"{_EXPECTED}: a text of JSON is needed, as after 'config: |'", field="data.config")
    return text


def read_config(text: str) -> dict[Key, Entry]:
    """Return the entries in the ConfigMap's ``config``: a JSON object keyed by ``namespace/name``.

    Raises:
        InvalidValueError: it is not that; says what is wrong, and in which entry.
    """
    try:
        raw = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError as error:
        raise InvalidValueError(f"{_EXPECTED}: {error}", field="data.config") from None
    if not isinstance(raw, dict):
        raise InvalidValueError(f"{_EXPECTED}: expected an object, got {_shown(raw)}", field="data.config")
    entries: dict[Key, Entry] = {}
    for key, value in raw.items():
        namespace, slash, name = key.partition("/")
        if not slash or not namespace or not name or "/" in name:
            raise InvalidValueError(f"{key!r} is not namespace/name", field="data.config")
        try:
            entries[namespace, name] = _entry(value)
        except InvalidValueError as error:
            raise InvalidValueError(f"{key}: {error}", field="data.config") from None
    return entries


def _entry(value: object) -> Entry:
    """Return one entry; as in Go, the case of a key does not matter, null says nothing, and unknown keys are dropped.

    See the documentation of Go's package encoding/json, Unmarshal.
    """
    if value is None:
        return Entry()
    if not isinstance(value, dict):
        raise InvalidValueError(f"expected an object, got {_shown(value)}")
    found: dict[str, Any] = {}
    for key, inner in value.items():
        field = _FIELDS.get(key.casefold())
        if field is None or inner is None:
            continue
        if type(inner) is not type(field.default):
            raise InvalidValueError(f"expected {_WORDS[type(field.default)]}, got {_shown(inner)}", field=key)
        found[field.name] = inner
    return Entry(**found)


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


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
