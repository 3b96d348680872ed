"""`AWSAccount` objects as frozen values: how the operator reaches an account and what it may do there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from trustbind.api.identity_context import IdentityContext, RawIdentityContext, identity_context_of
from trustbind.api.strict import Metadata, Strict, converted, region_of
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn, account_of

__all__ = ["KIND", "AwsAccount", "DriftPolicy", "EksCluster"]

KIND: Final = "AWSAccount"

MAX_TRUST_POLICY_LIMIT: Final = 16384
"""Twice what AWS raises the quota to today; a larger figure is a typing error."""

_CLUSTER_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}", re.ASCII)  # EKS API reference, CreateCluster, name
_PATH_PREFIX = re.compile(r"/|/[!-~]{1,510}/", re.ASCII)  # IAM API reference, ListRoles, PathPrefix
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)  # STS API reference, AssumeRole, ExternalId


class DriftPolicy(StrEnum):
    """What happens when a trust policy is not as it should be."""

    REPAIR = "Repair"
    OBSERVE = "Observe"


@dataclass(frozen=True, slots=True)
class EksCluster:
    """This cluster, as EKS knows it.

    Attributes:
        name: in its account and region.
        region: such as ``eu-central-1``.
    """

    name: str
    region: str

    def arn(self, partition: str, account_id: str) -> str:
        """Return the cluster's ARN (Service Authorization Reference, "Amazon Elastic Kubernetes Service")."""
        return f"arn:{partition}:eks:{self.region}:{account_id}:cluster/{self.name}"


@dataclass(frozen=True, slots=True)
class AwsAccount:
    """One account.

    Attributes:
        name: of the object.
        account_id: 12 digits.
        manager_role: assumed in order to edit roles there; None: the operator's own identity does it.
        external_id: sent when the manager role is assumed; empty: none.
        manage_provider: whether to create and keep the cluster's OIDC provider there.
        identity_context: what that provider makes of claims; None: it is left as it is.
        trust_policy_limit: characters; None: asked of the account.
        drift_policy: see `DriftPolicy`.
        role_path_prefix: below which path surveys list roles; ``/``: all.
        require_role_consent: whether a role must carry the consent tag.
        eks: this cluster, when it lives in the account and its associations of EKS Pod Identity are kept; None: they
            are not.
        is_deleting: whether its deletion was asked for.
    """

    name: str
    account_id: str
    manager_role: RoleArn | None = None
    external_id: str = ""
    manage_provider: bool = True
    identity_context: IdentityContext | None = None
    trust_policy_limit: int | None = None
    drift_policy: DriftPolicy = DriftPolicy.REPAIR
    require_role_consent: bool = False
    role_path_prefix: str = "/"
    eks: EksCluster | None = None
    generation: int = 0
    created: str = ""
    is_deleting: bool = False

    @property
    def age_key(self) -> tuple[bool, bool, str, str]:
        """Sorts the objects of one account: the first is the one that counts, those that are going come last."""
        return (self.is_deleting, not self.created, self.created, self.name)

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> AwsAccount:
        """Return the account in ``manifest``.

        Raises:
            InvalidValueError: with the field and what must hold there.
        """
        raw = converted(manifest, _Manifest)
        spec = raw.spec
        if not raw.metadata.name:
            raise InvalidValueError("a name is required", field="metadata.name")
        account_id = account_of(spec.account_id, field="spec.accountId")
        manager = _manager(spec.manager_role_arn, account_id)
        if spec.external_id is not None and not _EXTERNAL_ID.fullmatch(spec.external_id):
            raise InvalidValueError(
                "an external id has 2 to 1224 letters, digits or characters of +=,.@:/_-", field="spec.externalId"
            )
        if spec.external_id is not None and manager is None:
            raise InvalidValueError("goes only with managerRoleArn", field="spec.externalId")
        return cls(
            name=raw.metadata.name,
            account_id=account_id,
            manager_role=manager,
            external_id=spec.external_id or "",
            manage_provider=spec.oidc_provider.manage if spec.oidc_provider else True,
            identity_context=_identity_context(spec.oidc_provider),
            trust_policy_limit=spec.trust_policy_limit,
            drift_policy=DriftPolicy(spec.drift_policy),
            require_role_consent=spec.require_role_consent,
            role_path_prefix=_path_prefix(spec.role_path_prefix),
            eks=_cluster(spec.eks),
            generation=raw.metadata.generation,
            created=raw.metadata.creation_timestamp or "",
            is_deleting=raw.metadata.deletion_timestamp is not None,
        )


def _manager(text: str | None, account_id: str) -> RoleArn | None:
    if text is None:
        return None
    try:
        manager = RoleArn.parse(text)
    except InvalidValueError as error:
        raise error.within("spec.managerRoleArn") from None
    if manager.account_id != account_id:
        raise InvalidValueError(
            f"is a role of account {manager.account_id}; it must be one of {account_id}", field="spec.managerRoleArn"
        )
    return manager


def _identity_context(raw: _Provider | None) -> IdentityContext | None:
    if raw is None:
        return None
    if raw.identity_context is not None and not raw.manage:
        raise InvalidValueError("needs spec.oidcProvider.manage: true", field="spec.oidcProvider.identityContext")
    return identity_context_of(raw.identity_context, field="spec.oidcProvider.identityContext")


def _cluster(raw: _Eks | None) -> EksCluster | None:
    if raw is None:
        return None
    if not _CLUSTER_NAME.fullmatch(raw.cluster_name):
        raise InvalidValueError(
            f"{raw.cluster_name!r} is not the name of an EKS cluster (at most 100 letters, digits or "
            "characters of _-, the first a letter or digit)",
            field="spec.eks.clusterName",
        )
    return EksCluster(raw.cluster_name, region_of(raw.region, field="spec.eks.region"))


def _path_prefix(text: str) -> str:
    if not _PATH_PREFIX.fullmatch(text):
        raise InvalidValueError(
            f"{text!r} is not a path of roles: it begins and ends with '/', and has at most 512 printable characters",
            field="spec.rolePathPrefix",
        )
    return text


class _Provider(Strict, frozen=True):
    manage: bool = True
    identity_context: RawIdentityContext | None = None


class _Eks(Strict, frozen=True):
    cluster_name: str
    region: str


class _Spec(Strict, frozen=True):
    account_id: str
    manager_role_arn: str | None = None
    external_id: str | None = None
    oidc_provider: _Provider | None = None
    trust_policy_limit: Annotated[int, Meta(ge=1, le=MAX_TRUST_POLICY_LIMIT)] | None = None
    drift_policy: Literal["Repair", "Observe"] = "Repair"
    require_role_consent: bool = False
    role_path_prefix: str = "/"
    eks: _Eks | None = None


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: Literal["AWSAccount"]
    metadata: Metadata
    spec: _Spec
