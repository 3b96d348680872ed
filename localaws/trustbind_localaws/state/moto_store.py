"""The one place that touches moto: it stores IAM's entities, one moto backend per account and partition.

The backends are this object's own, not moto's process-wide ones, so several `LocalAws` can live in one process and
``mock_aws`` beside them changes nothing. moto finds the account through the header ``x-moto-account-id``, which
is set here; moto's access control stays off, since permissions are judged in front of it.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

from moto.core.request import Request
from moto.iam.models import IAMBackend, OpenIDConnectProvider, Role, User
from moto.iam.responses import IamResponse
from moto.utilities.utils import get_partition

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind_localaws.protocol.query import AwsFailure, Call, Response
from trustbind_localaws.rules.trust_policy import replace_principal

__all__ = ["DEFAULT_QUOTA", "OpenIDConnectProvider", "Role", "Storage", "User", "partition_of", "unique_id"]

DEFAULT_QUOTA: Final = 2048
"""Characters of a trust policy (IAM User Guide, "IAM and AWS STS quotas")."""

_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_USER = re.compile(r"arn:(aws[a-z0-9-]*):iam::([0-9]{12}):user/(?:[^\s]*/)?([\w+=,.@-]+)", re.ASCII)
_SESSION = re.compile(r"arn:(aws[a-z0-9-]*):sts::([0-9]{12}):assumed-role/([\w+=,.@-]+)/[^/]+", re.ASCII)
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def unique_id(prefix: str, length: int = 17) -> str:
    """Return an id of IAM's form: ``AROA``, ``AIDA``, ``ASIA`` and so on, then letters and digits."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def partition_of(region: str) -> str:
    """Return the partition of a region, such as ``aws-cn`` for ``cn-north-1``."""
    return str(get_partition(region))


class Storage:
    """IAM's entities in all accounts.

    Attributes:
        lock: held during every change and every call that moto answers.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._backends: dict[tuple[str, str], IAMBackend] = {}
        self._quotas: dict[str, int] = {}
        self._responses = _responses_for(self)

    def backend(self, account: str, partition: str) -> IAMBackend:
        """Return moto's store for an account, made when it is first asked for."""
        with self.lock:
            found = self._backends.get((account, partition))
            if found is None:
                found = self._backends[account, partition] = IAMBackend(partition, account)
                self._apply_quota(found)
            return found

    def quota(self, account: str) -> int:
        """Return how many characters a trust policy may have in this account."""
        return self._quotas.get(account, DEFAULT_QUOTA)

    def set_quota(self, account: str, characters: int) -> None:
        """Set how many characters a trust policy may have; what is stored already stays."""
        with self.lock:
            self._quotas[account] = characters
            for backend in self._backends.values():
                self._apply_quota(backend)

    def role(self, account: str, partition: str, name: str) -> Role | None:
        """Return a role by its name."""
        backend = self._backends.get((account, partition))
        if backend is None:
            return None
        with self.lock:
            return next((role for role in backend.roles.values() if role.name == name), None)

    def role_at(self, arn: RoleArn) -> Role | None:
        """Return a role by its ARN; the path must be right too."""
        role = self.role(arn.account_id, arn.partition, arn.name)
        return role if role is not None and role.arn == str(arn) else None

    def role_by_id(self, account: str, partition: str, role_id: str) -> Role | None:
        """Return a role by its unique id."""
        backend = self._backends.get((account, partition))
        return backend.roles.get(role_id) if backend else None

    def user(self, account: str, partition: str, name: str) -> User | None:
        """Return a user by its name."""
        backend = self._backends.get((account, partition))
        return backend.users.get(name) if backend else None

    def user_of_key(self, access_key: str) -> User | None:
        """Return the user who owns a long-term access key."""
        with self.lock:
            for backend in self._backends.values():
                for user in backend.users.values():
                    if any(key.access_key_id == access_key and key.status == "Active" for key in user.access_keys):
                        return user
        return None

    def provider(self, account: str, partition: str, arn: str) -> OpenIDConnectProvider | None:
        """Return an OIDC provider by its ARN."""
        backend = self._backends.get((account, partition))
        return backend.open_id_providers.get(arn) if backend else None

    def exists(self, arn: str) -> bool:
        """Return whether the role, the user or a session's role with this ARN is there, in whatever account."""
        if match := _SESSION.fullmatch(arn):
            return self.role(match[2], match[1], match[3]) is not None
        if match := _USER.fullmatch(arn):
            user = self.user(match[2], match[1], match[3])
            return user is not None and user.arn == arn
        try:
            return self.role_at(RoleArn.parse(arn)) is not None
        except InvalidValueError:
            return False

    def policies_of(self, entity: Role | User) -> list[str]:
        """Return the identity policies of a role or user, inline and managed, as JSON."""
        with self.lock:
            return [_text(policy) for policy in entity.policies.values()] + [
                version.document
                for policy in entity.managed_policies.values()
                for version in policy.versions
                if version.version_id == policy.default_version_id
            ]

    def roles(self) -> Iterator[Role]:
        """Return every role of every account."""
        with self.lock:
            return iter([role for backend in self._backends.values() for role in backend.roles.values()])

    def forget_principal(self, arn: str, stale_id: str) -> None:
        """Show ``stale_id`` in every trust policy that names ``arn``, which has been deleted."""
        with self.lock:
            for role in self.roles():
                if arn in role.assume_role_policy_document:
                    role.assume_role_policy_document = replace_principal(
                        role.assume_role_policy_document, arn, stale_id
                    )

    def forward(self, call: Call, account: str) -> Response:
        """Return moto's answer to an IAM call.

        Raises:
            AwsFailure: moto does not have the operation.
        """
        authorization = f"AWS4-HMAC-SHA256 Credential={call.access_key}/20260101/{call.region}/iam/aws4_request, "
        request = Request.from_primitives(
            "POST",
            "http://iam.amazonaws.com/",
            {
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "Authorization": authorization,
                "x-moto-account-id": account,
            },
            urlencode(call.params),
        )
        with self.lock:
            try:
                status, _, body = self._responses.dispatch(request)
            except NotImplementedError:
                raise AwsFailure(
                    "InvalidAction", f"The action {call.operation} is not part of this local AWS."
                ) from None
        raw = body.encode() if isinstance(body, str) else body
        code = _CODE.search(raw) if int(status) >= 400 else None  # noqa: PLR2004 - HTTP's errors
        return Response(int(status), raw, code=code[1].decode() if code else "")

    def _apply_quota(self, backend: IAMBackend) -> None:
        # moto has no setter for what GetAccountSummary reports.
        backend.account_summary._assume_role_policy_size_quota = self.quota(backend.account_id)  # noqa: SLF001 - see above


def _responses_for(storage: Storage) -> type[IamResponse]:
    class Responses(IamResponse):
        """moto's IAM, over the backends of one storage."""

        @property
        def backend(self) -> IAMBackend:
            return storage.backend(self.current_account, self.partition)

        def get_current_account(self) -> str:
            return str(self.headers["x-moto-account-id"])  # moto would prefer an environment variable

    return Responses


def _text(policy: Any) -> str:
    return policy if isinstance(policy, str) else json.dumps(policy)
