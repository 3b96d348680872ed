"""IAM: who may call what, and the operations on roles and users that moto is too lenient about.

Everything else passes through to moto once the caller is allowed to do it. Source: IAM API reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from trustbind.identity.arns import RoleArn
from trustbind_localaws.protocol.query import AwsFailure, Call, Response, response_of
from trustbind_localaws.rules import trust_policy
from trustbind_localaws.services.authorization import require
from trustbind_localaws.state.credentials import Identity
from trustbind_localaws.state.moto_store import Role, unique_id
from trustbind_localaws.state.state import State

__all__ = ["Handler", "Iam", "provider_arn"]

Handler = Callable[[Call, Identity], Response]

_ROLE_NAME = re.compile(r"[\w+=,.@-]+", re.ASCII)
_MAX_NAME: Final = 64
_PATH = re.compile(r"/|/[!-~]+/", re.ASCII)
_MAX_PATH: Final = 512
_MAX_SESSION: Final = range(3600, 43201)
_MAX_INLINE: Final = 10_240
_MAX_PAGE: Final = 1000
_MAX_DOCUMENT: Final = 131_072
_PROTECTED: Final = frozenset(
    {
        "AttachRolePolicy",
        "DeleteRole",
        "DeleteRolePolicy",
        "DetachRolePolicy",
        "PutRolePolicy",
        "UpdateAssumeRolePolicy",
        "UpdateRole",
    }
)
"""Operations that only AWS itself may do on a service-linked role (IAM User Guide, "Service-linked roles")."""
_WITHOUT_ROLE: Final = frozenset({"AddRoleToInstanceProfile", "CreateRole", "RemoveRoleFromInstanceProfile"})
"""Operations with a RoleName that need not, or not first of all, be there."""


class Iam:
    """IAM's operations over one state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._handlers: Mapping[str, Handler] = {
            "CreateRole": self._create_role,
            "CreateUser": self._create_user,
            "DeleteRole": self._delete_role,
            "DeleteUser": self._delete_user,
            "GetAccountAuthorizationDetails": self._list_documents,
            "GetRole": self._get_role,
            "ListRoles": self._list_documents,
            "PutRolePolicy": self._put_role_policy,
            "UpdateAssumeRolePolicy": self._update_assume_role_policy,
            "UpdateRole": self._update_role,
        }

    def handle(self, call: Call, identity: Identity, further: Mapping[str, Handler]) -> Response:
        """Answer an IAM call.

        Args:
            call: the call.
            identity: who makes it.
            further: handlers of other modules, by operation.

        Raises:
            AwsFailure: it is refused.
        """
        self._authorize(call, identity)
        if "RoleName" in call.params and call.operation not in _WITHOUT_ROLE:
            self._role(call, identity)
        handler = further.get(call.operation) or self._handlers.get(call.operation)
        return handler(call, identity) if handler else self._state.storage.forward(call, identity.account)

    def _authorize(self, call: Call, identity: Identity) -> None:
        """Raise unless the caller's own policies allow the call."""
        target = _target(self._state, call, identity)
        require(self._state.callers, identity, f"iam:{call.operation}", target.arn, shown=target.shown)

    def _role(self, call: Call, identity: Identity) -> Role:
        name = call.required("RoleName")
        role = self._state.storage.role(identity.account, identity.partition, name)
        if role is None:
            raise AwsFailure("NoSuchEntity", f"The role with name {name} cannot be found.")
        if call.operation in _PROTECTED and role.path.startswith("/aws-service-role/"):
            raise AwsFailure(
                "UnmodifiableEntity",
                f"Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS",
            )
        return role

    def _put_role_policy(self, call: Call, identity: Identity) -> Response:
        """All inline policies of a role share one quota; white space does not count (IAM User Guide, "IAM quotas")."""
        role = self._role(call, identity)
        others = {name: text for name, text in role.policies.items() if name != call.required("PolicyName")}
        documents = [*others.values(), call.required("PolicyDocument")]
        if sum(len(re.sub(r"\s", "", document)) for document in documents) > _MAX_INLINE:
            raise AwsFailure(
                "LimitExceeded", f"Maximum policy size of {_MAX_INLINE} bytes exceeded for role {role.name}"
            )
        return self._state.storage.forward(call, identity.account)

    def _get_role(self, call: Call, identity: Identity) -> Response:
        role = self._role(call, identity)
        with self._state.storage.lock:
            self._state.visibility.read(role)
            return self._state.storage.forward(call, identity.account)

    def _list_documents(self, call: Call, identity: Identity) -> Response:
        text = call.params.get("MaxItems", str(_MAX_PAGE))
        if not text.isdecimal() or not 1 <= int(text) <= _MAX_PAGE:
            raise _constraint(text, "maxItems", f"Member must have value between 1 and {_MAX_PAGE}")
        self._state.visibility.settle()
        return self._state.storage.forward(call, identity.account)

    def _create_role(self, call: Call, identity: Identity) -> Response:
        name, path = call.required("RoleName"), call.params.get("Path", "/")
        if len(name) > _MAX_NAME or not _ROLE_NAME.fullmatch(name):
            raise _constraint(name, "roleName", "Member must satisfy regular expression pattern: [\\w+=,.@-]{1,64}")
        if len(path) > _MAX_PATH or not _PATH.fullmatch(path):
            raise _constraint(path, "path", "Member must satisfy regular expression pattern: (/)|(/[!-~]+/)")
        _check_max_session(call)
        document = self._checked_document(call, identity, "AssumeRolePolicyDocument")
        stored = replace(call, params={**call.params, "AssumeRolePolicyDocument": document})
        return self._state.storage.forward(stored, identity.account)

    def _update_role(self, call: Call, identity: Identity) -> Response:
        _check_max_session(call)
        role = self._role(call, identity)
        with self._state.storage.lock:  # moto would clear what the call leaves out
            kept = {"Description": role.description or "", "MaxSessionDuration": str(role.max_session_duration or 3600)}
            return self._state.storage.forward(replace(call, params={**kept, **call.params}), identity.account)

    def _update_assume_role_policy(self, call: Call, identity: Identity) -> Response:
        document = self._checked_document(call, identity, "PolicyDocument")
        self._state.run_hook(identity.account, call.required("RoleName"))
        with self._state.storage.lock:
            self._state.visibility.write(self._role(call, identity), document)
        return response_of(call)

    def _checked_document(self, call: Call, identity: Identity, parameter: str) -> str:
        text = call.required(parameter)
        if not 1 <= len(text) <= _MAX_DOCUMENT:
            raise _constraint("", parameter[0].lower() + parameter[1:], "Member must have length between 1 and 131072")
        storage = self._state.storage
        role = RoleArn(identity.partition, identity.account, "/", call.required("RoleName"))
        return trust_policy.check(text, role=role, quota=storage.quota(identity.account), exists=storage.exists)

    def _delete_role(self, call: Call, identity: Identity) -> Response:
        with self._state.storage.lock:
            role = self._role(call, identity)
            response = self._state.storage.forward(call, identity.account)
            if not response.code:
                self._state.visibility.forget_role(role.id)
                self._forget(role.arn, role.id)
            return response

    def _create_user(self, call: Call, identity: Identity) -> Response:
        with self._state.storage.lock:
            response = self._state.storage.forward(call, identity.account)
            user = self._state.storage.user(identity.account, identity.partition, call.param("UserName"))
            if response.code or user is None:
                return response
            made_up, user.id = user.id, unique_id("AIDA")  # moto's user ids have a form of their own
            return replace(response, body=response.body.replace(made_up.encode(), user.id.encode()))

    def _delete_user(self, call: Call, identity: Identity) -> Response:
        with self._state.storage.lock:
            user = self._state.storage.user(identity.account, identity.partition, call.param("UserName"))
            response = self._state.storage.forward(call, identity.account)
            if user is not None and not response.code:
                self._forget(user.arn, user.id)
            return response

    def _forget(self, arn: str, stale_id: str) -> None:
        self._state.storage.forget_principal(arn, stale_id)
        self._state.visibility.forget_principal(arn, stale_id)


@dataclass(frozen=True, slots=True)
class _Target:
    arn: str
    shown: str


def _target(state: State, call: Call, identity: Identity) -> _Target:
    """Return what a call acts on, as policies name it and as IAM's messages show it."""
    prefix = f"arn:{identity.partition}:iam::{identity.account}"
    if name := call.param("RoleName"):
        role = state.storage.role(identity.account, identity.partition, name)
        path = call.params.get("Path", "/") if call.operation == "CreateRole" else "/"
        return _Target(role.arn if role else f"{prefix}:role{path}{name}", f"role {name}")
    if name := call.param("UserName"):
        user = state.storage.user(identity.account, identity.partition, name)
        return _Target(user.arn if user else f"{prefix}:user/{name}", f"user {name}")
    if arn := call.param("OpenIDConnectProviderArn") or call.param("PolicyArn"):
        return _Target(arn, arn)
    if url := call.param("Url"):
        arn = provider_arn(identity, url)
        return _Target(arn, arn)
    return _Target("*", "*")


def provider_arn(identity: Identity, url: str) -> str:
    """Return the ARN that a provider with this URL has in the caller's account."""
    host_path = url.partition("://")[2]
    return f"arn:{identity.partition}:iam::{identity.account}:oidc-provider/{host_path}"


def _check_max_session(call: Call) -> None:
    text = call.params.get("MaxSessionDuration", "3600")
    if not text.isdecimal() or int(text) not in _MAX_SESSION:
        raise _constraint(text, "maxSessionDuration", "Member must have value between 3600 and 43200")


def _constraint(value: str, member: str, constraint: str) -> AwsFailure:
    return AwsFailure(
        "ValidationError",
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}",
    )
