"""What an accounts file describes, created through the same API that everyone else uses.

The content, in JSON or YAML::

    issuers:
      - issuer: https://issuer.example/cluster
        jwks: {keys: [...]}
    accounts:
      "111122223333":
        trustPolicyQuota: 2048
        providers:
          - url: https://issuer.example/cluster
            clientIds: [sts.amazonaws.com]
        roles:
          - name: manager
            path: /
            maxSessionDuration: 3600
            trustPolicy: {...}
            inlinePolicies:
              edit: {...}

Only ``name`` and ``trustPolicy``, ``url``, ``issuer`` and ``jwks`` are needed. Roles are created in the order of the
file, so a role that another one names as a principal comes first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trustbind.identity.arns import account_of
from trustbind_localaws.http.dispatcher import Dispatcher
from trustbind_localaws.protocol.query import Call
from trustbind_localaws.state.state import State

__all__ = ["seed"]

_TOP = frozenset({"issuers", "accounts"})
_ACCOUNT = frozenset({"trustPolicyQuota", "providers", "roles"})
_PROVIDER = frozenset({"url", "clientIds"})
_ROLE = frozenset({"name", "path", "maxSessionDuration", "trustPolicy", "inlinePolicies"})
_ISSUER = frozenset({"issuer", "jwks"})


def seed(state: State, dispatcher: Dispatcher, content: Mapping[str, Any]) -> None:
    """Create everything that ``content`` describes.

    Raises:
        ValueError: a member is unknown, missing or malformed, or IAM refuses an entry; says which.
    """
    _known(content, _TOP, "the file")
    for number, entry in enumerate(content.get("issuers", ())):
        where = f"issuers[{number}]"
        _known(entry, _ISSUER, where, needed=_ISSUER)
        state.issuers.register(entry["issuer"], entry["jwks"])
    for account, described in content.get("accounts", {}).items():
        account_of(str(account), field="accounts")
        _known(described or {}, _ACCOUNT, f"accounts.{account}")
        _Account(state, dispatcher, str(account)).create(described or {})


class _Account:
    def __init__(self, state: State, dispatcher: Dispatcher, account: str) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._account = account

    def create(self, described: Mapping[str, Any]) -> None:
        if (quota := described.get("trustPolicyQuota")) is not None:
            self._state.storage.set_quota(self._account, int(quota))
        for number, provider in enumerate(described.get("providers", ())):
            where = f"accounts.{self._account}.providers[{number}]"
            _known(provider, _PROVIDER, where, needed=frozenset({"url"}))
            members = {
                f"ClientIDList.member.{index}": client_id
                for index, client_id in enumerate(provider.get("clientIds", ["sts.amazonaws.com"]), start=1)
            }
            self._call(where, "CreateOpenIDConnectProvider", Url=provider["url"], **members)
        for number, role in enumerate(described.get("roles", ())):
            where = f"accounts.{self._account}.roles[{number}]"
            _known(role, _ROLE, where, needed=frozenset({"name", "trustPolicy"}))
            self._create_role(where, role)

    def _create_role(self, where: str, role: Mapping[str, Any]) -> None:
        self._call(
            where,
            "CreateRole",
            RoleName=role["name"],
            Path=role.get("path", "/"),
            MaxSessionDuration=str(role.get("maxSessionDuration", 3600)),
            AssumeRolePolicyDocument=json.dumps(role["trustPolicy"]),
        )
        for name, document in role.get("inlinePolicies", {}).items():
            self._call(
                where,
                "PutRolePolicy",
                RoleName=role["name"],
                PolicyName=name,
                PolicyDocument=json.dumps(document),
            )

    def _call(self, where: str, operation: str, **params: str) -> None:
        form = {"Action": operation, "Version": "2010-05-08", **params}
        response = self._dispatcher.answer(Call("iam", operation, form, access_key=self._account))
        if response.code:
            raise ValueError(f"{where}: IAM refuses it: {response.body.decode()}")


def _known(entry: Any, members: frozenset[str], where: str, *, needed: frozenset[str] = frozenset()) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is not an object")  # noqa: TRY004 - one kind of error for a wrong file
    if unknown := set(entry) - members:
        raise ValueError(f"{where} has the unknown member {min(unknown)!r}; known are {', '.join(sorted(members))}")
    if missing := needed - set(entry):
        raise ValueError(f"{where} lacks the member {min(missing)!r}")
