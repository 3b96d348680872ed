"""Who calls: from an access key to an identity. Signatures are not verified; keys and session tokens are.

Three kinds of access key work:

- a 12-digit account id: the root of that account, with any secret; for setting the stage;
- ``ASIA...`` with its session token: a session that AssumeRole or AssumeRoleWithWebIdentity gave out here;
- ``AKIA...``: a user's key, from CreateAccessKey.
"""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from trustbind.identity.arns import RoleArn
from trustbind_localaws.protocol.query import AwsFailure, Call
from trustbind_localaws.state.clock import Clock
from trustbind_localaws.state.moto_store import Role, Storage, partition_of, unique_id

__all__ = ["Callers", "Identity", "Session"]

_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """Temporary credentials of a role.

    Attributes:
        role_id: the role's unique id; the session dies with it.
        expires: when the credentials stop working.
    """

    access_key: str
    secret: str
    token: str
    role: RoleArn
    role_id: str
    name: str
    expires: datetime

    @property
    def arn(self) -> str:
        """ARN of the session, as GetCallerIdentity shows it: the role's path is gone."""
        return f"arn:{self.role.partition}:sts::{self.role.account_id}:assumed-role/{self.role.name}/{self.name}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller.

    Attributes:
        account: 12 digits.
        arn: what GetCallerIdentity shows.
        principal_arn: what ``aws:PrincipalArn`` holds; for a session, the role's ARN.
        user_id: IAM's unique id; with the session's name for a session.
        kind: ``aws:PrincipalType``: ``Account``, ``User`` or ``AssumedRole``.
        partition: of the ARN.
        entity_id: the unique id of the role, or the name of the user, whose policies count; empty for root.
    """

    account: str
    arn: str
    principal_arn: str
    user_id: str
    kind: str
    partition: str
    entity_id: str = ""

    @property
    def is_root(self) -> bool:
        """Whether this is an account's root, who may do everything in the account."""
        return self.kind == "Account"

    @property
    def is_session(self) -> bool:
        """Whether this is a role session."""
        return self.kind == "AssumedRole"


class Callers:
    """Gives out sessions and recognises callers."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open_session(self, role: Role, name: str, seconds: int) -> Session:
        """Return new credentials of a role."""
        session = Session(
            access_key=unique_id("ASIA", 16),
            secret=secrets.token_urlsafe(30),
            token="IQoJb3JpZ2luX2Vj" + secrets.token_urlsafe(240),
            role=RoleArn.parse(role.arn),
            role_id=role.id,
            name=name,
            expires=(self._clock.now() + timedelta(seconds=seconds)).replace(microsecond=0),
        )
        with self._lock:
            self._sessions[session.access_key] = session
        return session

    def identify(self, call: Call) -> Identity:
        """Return who makes this call.

        Raises:
            AwsFailure: the key or the token is unknown, or has expired (API references of IAM and STS, "Common
                Errors").
        """
        if not call.access_key:
            raise AwsFailure("MissingAuthenticationToken", "Request is missing Authentication Token")
        with self._lock:
            session = self._sessions.get(call.access_key)
        if session is not None:
            return self._of_session(session, call.token)
        if call.token:
            raise _unknown_token()
        partition = partition_of(call.region)
        if _ACCOUNT.fullmatch(call.access_key):
            arn = f"arn:{partition}:iam::{call.access_key}:root"
            return Identity(call.access_key, arn, arn, call.access_key, "Account", partition)
        user = self._storage.user_of_key(call.access_key)
        if user is None:
            raise _unknown_token()
        partition = user.arn.split(":")[1]
        return Identity(user.account_id, user.arn, user.arn, user.id, "User", partition, user.name)

    def policies_of(self, identity: Identity) -> list[str]:
        """Return the caller's own policies as JSON; none for root."""
        entity = (
            self._storage.role_by_id(identity.account, identity.partition, identity.entity_id)
            if identity.is_session
            else self._storage.user(identity.account, identity.partition, identity.entity_id)
        )
        return self._storage.policies_of(entity) if entity is not None else []

    def _of_session(self, session: Session, token: str) -> Identity:
        role = session.role
        if token != session.token:
            raise _unknown_token()
        if self._clock.now() >= session.expires:
            raise AwsFailure("ExpiredToken", "The security token included in the request is expired")
        if self._storage.role_by_id(role.account_id, role.partition, session.role_id) is None:
            raise _unknown_token()
        return Identity(
            role.account_id,
            session.arn,
            str(role),
            f"{session.role_id}:{session.name}",
            "AssumedRole",
            role.partition,
            session.role_id,
        )


def _unknown_token() -> AwsFailure:
    return AwsFailure("InvalidClientTokenId", "The security token included in the request is invalid")
