"""The inline policy that ends the sessions of a role: read, and written at once. Nothing else writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.policy.session_revocation import POLICY_NAME, revocation_policy, revoked_before
from trustbind.policy.trust_document import raw_policy
from trustbind_aws.client import AccountApi
from trustbind_aws.permits import ALWAYS, DecisionChangedError, WritePermit
from trustbind_aws.resources.trust_policy import DEFAULT_PACE

__all__ = ["apply", "observe"]


async def observe(api: AccountApi, role: RoleArn) -> datetime | None:
    """Return before when sessions of a role have been revoked already; None: never.

    Raises:
        NotFoundError: there is no such role.
        DecisionChangedError: the role has a policy of that name that says something else.
        AwsError: a call failed.
    """
    await api.role(role)
    text, _ = await api.role_policy(role, POLICY_NAME)
    return _moment(role, text)


async def apply(api: AccountApi, role: RoleArn, moment: datetime) -> bool:
    """Revoke the sessions of a role that began before a moment; return whether that was not so already.

    Raises:
        DecisionChangedError: see `observe`.
        AwsError: a call failed. After `UnreachableError` the write may have taken effect.
    """
    async with api.limiter.slot(2) as slot:
        text, read_at = await api.role_policy(role, POLICY_NAME, slot)
        before = _moment(role, text)
        if before is not None and before >= moment:
            return False
        document = json.dumps(revocation_policy(moment), separators=(",", ":"))
        permit = WritePermit(ALWAYS.deadline(), read_at, DEFAULT_PACE.most_read_age, DEFAULT_PACE.clock)
        await api.write_role_policy(role, POLICY_NAME, document, permit, slot)
    return True


def _moment(role: RoleArn, text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = revoked_before(_decoded(role, text))
    if moment is None:
        raise DecisionChangedError(
            f"{role} has an inline policy {POLICY_NAME} that says something else than that sessions are revoked; "
            "rename or remove it"
        )
    return moment


def _decoded(role: RoleArn, text: str) -> Mapping[str, Any]:
    try:
        policy = json.loads(raw_policy(text))
    except ValueError as error:
        raise AwsError(f"the inline policy {POLICY_NAME} of {role} cannot be read: {error}") from error
    return policy if isinstance(policy, Mapping) else {}
