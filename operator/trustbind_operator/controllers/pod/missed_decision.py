"""Running pods that should have been injected and were not: the webhook was down, or the binding came later. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from trustbind.api import annotations
from trustbind.api.annotations import AnnotationKeys
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.informer import Seen

__all__ = ["EvictionRounds", "ScannedPod", "why_missed"]

REST_SECONDS: Final = 3600.0
"""After a controller's missed pods were evicted, their successors are left alone for so long, injected or not."""

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
    uid: str = ""


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
    def controller(self) -> str:
        """Uid of what would create it again; empty when nothing would."""
        return next((owner.uid for owner in self.metadata.owner_references or () if owner.controller), "")


@dataclass(frozen=True, slots=True)
class _Round:
    pods: frozenset[str]
    until: float


class EvictionRounds:
    """Keeps a controller's pods from being evicted over and over where their successors are missed as well.

    The webhook may not be asked there, by a rule that the operator does not know. So with the first eviction, those
    pods of the controller that are missed then may go, and their successors only after a rest.

    Args:
        now: the time in seconds, of any origin.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rounds: dict[str, _Round] = {}

    def allow(self, pod: ScannedPod) -> bool:
        """Return whether a missed pod may be evicted: a controller would create it again, and has not in vain."""
        last = self._rounds.get(pod.controller)
        return bool(pod.controller) and (last is None or pod.metadata.uid in last.pods)

    def evicted(self, pod: ScannedPod, missed: Iterable[ScannedPod]) -> None:
        """Take note of an eviction, and of all pods that were missed then."""
        pods = frozenset(other.metadata.uid for other in missed if other.controller == pod.controller)
        self._rounds.setdefault(pod.controller, _Round(pods, self._now() + REST_SECONDS))

    def forget(self) -> None:
        """Forget the controllers whose rest is over."""
        now = self._now()
        self._rounds = {controller: last for controller, last in self._rounds.items() if now < last.until}


def why_missed(pod: ScannedPod, account: Seen | None, bindings: list[StoredBinding], keys: AnnotationKeys) -> str:
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
