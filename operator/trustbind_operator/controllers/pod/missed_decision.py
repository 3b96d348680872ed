"""Running pods that should have been injected and were not: the webhook was down, or the binding came later. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from trustbind.api import annotations
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import CONFIG_ANNOTATION
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.informer import Seen

__all__ = ["EvictionRounds", "Missed", "ScannedPod", "binding_of", "in_turns", "why_missed"]

REST_SECONDS: Final = 3600.0
"""After a controller's missed pods were evicted, their successors are left alone for so long, injected or not."""

LONGEST_REST_SECONDS: Final = 7 * 86400.0
"""The longest of the rests, each of which is twice the one before while evictions are in vain."""

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
class Missed:
    """A pod that should have been injected.

    Attributes:
        message: why, and what to do.
        is_evictable: whether the pod would be injected if it were created again as it is.
    """

    message: str
    is_evictable: bool


@dataclass(frozen=True, slots=True)
class _Round:
    pods: frozenset[str]
    until: float
    seconds: float


class EvictionRounds:
    """Keeps a controller's pods from being evicted over and over where their successors are missed as well.

    The webhook may not be asked there, by a rule that the operator does not know, or skip them for what is in the pod.
    So with the first eviction, those pods of the controller that are missed then may go, and their successors only
    after a rest, which is twice as long each time.

    Args:
        now: the time in seconds, of any origin.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rounds: dict[str, _Round] = {}

    def allow(self, pod: ScannedPod) -> bool:
        """Return whether a missed pod may be evicted: a controller would create it again, and has not in vain."""
        last = self._rounds.get(pod.controller)
        return bool(pod.controller) and (last is None or pod.metadata.uid in last.pods or last.until <= self._now())

    def evicted(self, pod: ScannedPod, missed: Iterable[ScannedPod]) -> None:
        """Take note of an eviction, and of all pods that were missed then."""
        last = self._rounds.get(pod.controller)
        if last is not None and (pod.metadata.uid in last.pods or self._now() < last.until):
            return
        pods = frozenset(other.metadata.uid for other in missed if other.controller == pod.controller)
        seconds = REST_SECONDS if last is None else min(2 * last.seconds, LONGEST_REST_SECONDS)
        self._rounds[pod.controller] = _Round(pods, self._now() + seconds, seconds)

    def forget(self) -> None:
        """Forget the controllers of which no pod was evicted for as long again as their rest was."""
        now = self._now()
        self._rounds = {
            controller: last for controller, last in self._rounds.items() if now < last.until + last.seconds
        }


def in_turns(pods: Iterable[ScannedPod], served: Mapping[str, int]) -> Iterator[ScannedPod]:
    """Yield missed pods in the order in which they may be evicted: one of each namespace, then a second one of each.

    Args:
        pods: in any order.
        served: when pods of a namespace were evicted last; those without come first, then the longest ago.
    """
    by_namespace: dict[str, deque[ScannedPod]] = {}
    for pod in pods:
        by_namespace.setdefault(pod.metadata.namespace, deque()).append(pod)
    turns = deque(sorted(by_namespace, key=lambda namespace: (served.get(namespace, 0), namespace)))
    while turns:
        namespace = turns.popleft()
        yield by_namespace[namespace].popleft()
        if by_namespace[namespace]:
            turns.append(namespace)


def binding_of(bindings: Iterable[StoredBinding]) -> str:
    """Return which live binding a service account has, by namespace and name: the oldest; empty for none.

    Args:
        bindings: those that name or select it, in any order.
    """
    live = (entry for entry in bindings if entry.binding is not None and not entry.deleting)
    oldest = min(live, key=lambda entry: entry.age_key, default=None)
    return "" if oldest is None else str(oldest.ref)


def why_missed(pod: ScannedPod, account: Seen | None, bound: str, keys: AnnotationKeys) -> Missed | None:
    """Return why the pod should have been injected; None when there is nothing to tell.

    Args:
        pod: a pod that runs.
        account: its service account.
        bound: the service account's binding; see `binding_of`.
        keys: of the annotations.
    """
    found = pod.metadata.annotations or {}
    if pod.metadata.deletion_timestamp or _MIRROR in found or annotations.is_opted_out(found) or account is None:
        return None
    if any(volume.name in _OURS for volume in pod.spec.volumes or ()):
        return None
    if any(v.name in _IDENTITIES for c in pod.spec.containers or () for v in c.env or ()):
        return None
    if annotations.is_opted_out(account.annotations):
        return None
    annotated = account.annotations.get(keys.role_arn, "").strip()
    is_role = RoleArn.or_none(annotated) is not None
    if not bound and not is_role:
        return None  # not annotated, or with something that nobody would inject
    what = f"is bound by RoleBinding {bound}" if bound else f"is annotated with {annotated}"
    message = f"its service account {pod.account} {what}, but it runs without AWS credentials; "
    if CONFIG_ANNOTATION in found:
        return Missed(
            f"{message}take off the pod's own annotation {CONFIG_ANNOTATION}, which is in the way", is_evictable=False
        )
    if annotated and not is_role:
        return Missed(
            f"{message}the service account's annotation {keys.role_arn} is not the ARN of a role and is in the way; "
            "correct it or take it off",
            is_evictable=False,
        )
    return Missed(f"{message}delete it, so that it is created again", is_evictable=True)
