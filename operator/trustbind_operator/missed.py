"""Running pods that should have been injected and were not: the webhook was down, or the binding came later. Pure."""

import msgspec

from trustbind import annotations
from trustbind.annotations import AnnotationKeys
from trustbind.arns import RoleArn
from trustbind.errors import InvalidValueError
from trustbind.identities import DEFAULT_SERVICE_ACCOUNT
from trustbind_operator.feeds import Seen
from trustbind_operator.registry import BindingEntry

__all__ = ["ScannedPod", "why_missed"]

_OURS = frozenset({"aws-iam-token", "eks-pod-identity-token"})
"""Volumes that say that somebody has seen to the pod: we, or AWS's own webhook."""

_IDENTITIES = frozenset(
    {
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_ACCESS_KEY_ID",
    }
)
"""Variables that say that the pod brings an identity itself."""

_MIRROR = "kubernetes.io/config.mirror"


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Container(msgspec.Struct, frozen=True):
    env: list[_Named] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    service_account_name: str = ""
    volumes: list[_Named] | None = None
    containers: list[_Container] | None = None


class _Owner(msgspec.Struct, frozen=True):
    controller: bool = False


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None


class ScannedPod(msgspec.Struct, frozen=True):
    """A pod as far as it matters here."""

    metadata: _Metadata
    spec: _Spec

    @property
    def account(self) -> str:
        """Name of its service account."""
        return self.spec.service_account_name or DEFAULT_SERVICE_ACCOUNT

    @property
    def has_controller(self) -> bool:
        """Whether something would create it again."""
        return any(owner.controller for owner in self.metadata.owner_references or ())


def why_missed(pod: ScannedPod, account: Seen | None, bindings: list[BindingEntry], keys: AnnotationKeys) -> str:
    """Return why the pod should have been injected; empty when there is nothing to tell.

    Args:
        pod: a pod that runs.
        account: its service account.
        bindings: of its namespace.
        keys: of the annotations.
    """
    found = pod.metadata.annotations or {}
    if pod.metadata.deletion_timestamp or _MIRROR in found or annotations.is_opted_out(found) or account is None:
        return ""
    if any(volume.name in _OURS for volume in pod.spec.volumes or ()):
        return ""
    if any(v.name in _IDENTITIES for c in pod.spec.containers or () for v in c.env or ()):
        return ""
    if annotations.is_opted_out(account.annotations):
        return ""
    bound = next(
        (
            entry
            for entry in bindings
            if entry.binding is not None and not entry.deleting and entry.binding.names(pod.account, account.labels)
        ),
        None,
    )
    advice = "it runs without AWS credentials; delete it, so that it is created again"
    if bound is not None:
        return f"its service account {pod.account} is bound by RoleBinding {bound.ref}, but {advice}"
    annotated = account.annotations.get(keys.role_arn, "").strip()
    try:
        RoleArn.parse(annotated)
    except InvalidValueError:
        return ""  # not annotated, or with something that nobody would inject
    return f"its service account {pod.account} is annotated with {annotated}, but {advice}"
