"""What each container of a pod lacks of a delivery, and where the pod's own content stands in the way."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from trustbind.api.labels import CONFIG_ANNOTATION
from trustbind.identity import session_names
from trustbind_webhook.injection.credential_source import CONFIG_FILE, PROFILE, ROLE, SESSION, TOKEN, Delivery
from trustbind_webhook.injection.pod import Container, Pod, Volume

__all__ = ["Addition", "additions", "foreign_volume", "own_volume", "with_session_of_pod"]

_REGIONAL: Final = "AWS_STS_REGIONAL_ENDPOINTS"
_REGIONS: Final = ("AWS_DEFAULT_REGION", "AWS_REGION")
_remembered = lru_cache(maxsize=4096)(posixpath.normpath)
"""Cleaning a path takes longer than all the rest that is done about a mount, and pods have the same few."""

_MAX_REMEMBERED: Final = 256
"""Characters of a path that is remembered: a path may be as long as a review, and 4,096 of those fill any memory."""

_CONFIG_FIELD: Final = f"metadata.annotations['{CONFIG_ANNOTATION}']"


@dataclass(frozen=True, slots=True)
class Addition:
    """What one container gets on top of what it has.

    Attributes:
        path: JSON Pointer of the container, such as ``/spec/containers/0``.
        env: variables to append, in order.
        has_env: whether the container has a list of variables already.
        mount: whether to mount the token's volume.
        has_mounts: whether the container has a list of mounts already.
    """

    path: str
    env: tuple[tuple[str, str], ...]
    has_env: bool
    mount: bool
    has_mounts: bool


def _clean(path: str) -> str:
    return _remembered(path) if len(path) <= _MAX_REMEMBERED else posixpath.normpath(path)


def own_volume(pod: Pod, delivery: Delivery) -> Volume | None:
    """Return the pod's volume of our name; None when it has none."""
    return next((v for v in pod.spec.volumes or () if v.name == delivery.volume_name), None)


def foreign_volume(volume: Volume, delivery: Delivery) -> str:
    """Return what is wrong with a volume of our name; empty when it is what we, or AWS's webhook, would add.

    A token's expiration may differ: AWS's webhook on EKS may have come first, with another setting.
    """
    told = f"the pod has a volume named {delivery.volume_name} that "
    advice = "; rename it, or leave it out and let it be added"
    sources = (volume.projected.sources if volume.projected else None) or []
    tokens = [s.service_account_token for s in sources if s.service_account_token is not None]
    configs = [s.downward_api for s in sources if s.downward_api is not None]
    if not tokens or len(tokens) + len(configs) != len(sources):
        return f"{told}is not a projected service account token{advice}"
    if delivery.config and not configs:
        return (
            f"{told}holds a token but no AWS config file, which this account's bindings need. On EKS, AWS's own "
            "webhook adds such a volume for accounts annotated with eks.amazonaws.com/role-arn: leave that out, or "
            "use another prefix (injection.annotationPrefix)"
        )
    for wanted, found in zip(delivery.tokens, tokens, strict=False):
        if found.path != wanted.path:
            return f"{told}holds its token at {found.path!r}, not at {wanted.path!r}{advice}"
        if found.audience != wanted.audience:
            meant = repr(found.audience) if found.audience else "the API server"
            return f"{told}holds a token for {meant}, where the role needs one for {wanted.audience!r}{advice}"
    fields = [(i.path, i.field_ref.field_path if i.field_ref else "") for c in configs for i in c.items or ()]
    if len(tokens) != len(delivery.tokens) or fields != ([(CONFIG_FILE, _CONFIG_FIELD)] if delivery.config else []):
        return f"{told}holds other files than this account's bindings need{advice}"
    return ""


def with_session_of_pod(pod: Pod, delivery: Delivery, skipped: frozenset[str]) -> Delivery:
    """Return the delivery with the session name that a container of the pod has already, so that all share one.

    The API server calls the webhook again with another request uid where a later webhook adds a container (Kubernetes
    documentation, "Dynamic Admission Control", Reinvocation policy); a name that is made anew would be another one.

    Args:
        pod: the pod.
        delivery: what it should have.
        skipped: names of containers that the user wants left alone.
    """
    if not delivery.session:
        return delivery
    for container in (*(pod.spec.init_containers or ()), *(pod.spec.containers or ())):
        if not container.env or container.name in skipped:
            continue
        values = {variable.name: variable.value for variable in container.env}
        if (name := values.get(SESSION)) is None or not session_names.is_valid(name):
            continue
        if all(values.get(variable, value) == value for variable, value in delivery.identity):
            return replace(delivery, session=((SESSION, name),))
    return delivery


def additions(pod: Pod, delivery: Delivery, skipped: frozenset[str]) -> tuple[tuple[Addition, ...], tuple[str, ...]]:
    """Return what the pod's containers lack, and a sentence for each that has to be left alone.

    Args:
        pod: the pod.
        delivery: what it should have.
        skipped: names of containers that the user wants left alone.
    """
    result: list[Addition] = []
    findings: list[str] = []
    for kind, containers in (("initContainers", pod.spec.init_containers), ("containers", pod.spec.containers)):
        for index, container in enumerate(containers or ()):
            if container.name in skipped:
                continue
            if problem := _mount_problem(container, delivery) or _identity_problem(container, delivery):
                findings.append(problem)
                continue
            if problem := _other_identity(container, delivery):
                findings.append(problem)
            addition = _addition(container, f"/spec/{kind}/{index}", delivery)
            if addition is not None:
                result.append(addition)
    return tuple(result), tuple(findings)


def _mount_problem(container: Container, delivery: Delivery) -> str:
    """Return why our mount would not be ours in this container; empty when it can be added or is there."""
    name, mount_path = delivery.volume_name, delivery.mount_path
    for mount in container.volume_mounts or ():
        ours = mount.name == name
        same_path = _clean(mount.mount_path) == _clean(mount_path)
        if ours and (not same_path or mount.sub_path or mount.sub_path_expr):
            return (
                f"container {container.name} mounts {name} at {mount.mount_path!r}, not whole at "
                f"{mount_path!r}; it is left alone: take the mount out, or list the container in skip-containers"
            )
        if same_path and not ours:
            return (
                f"container {container.name} mounts the volume {mount.name!r} at {mount_path!r}, where the token "
                "would be; it is left alone: mount that volume elsewhere"
            )
    return ""


def _identity_problem(container: Container, delivery: Delivery) -> str:
    """Return why profiles would not reach this container's SDKs; empty when they would, or are not used."""
    if not delivery.config:
        return ""
    values = {variable.name: variable.value for variable in container.env or ()}
    wanted = dict(delivery.identity)
    foreign = sorted(n for n in delivery.exclusive if n in values and values[n] != wanted.get(n))
    if values.get(PROFILE) in delivery.selectable:  # a choice among ours
        foreign = [name for name in foreign if name != PROFILE]
    if not foreign:
        return ""
    told = f"container {container.name} sets {', '.join(foreign)} itself{_cause(foreign)}"
    told += ", so the profiles of its account's bindings are not given to it"
    if PROFILE in foreign:
        told += f"; a container may choose one of them in {PROFILE}: {', '.join(sorted(delivery.selectable))}"
    return told


def _other_identity(container: Container, delivery: Delivery) -> str:
    """Return why a container does not get the one role; empty when it does, or has it, or there is no such role."""
    if ROLE not in delivery.names or not container.env:
        return ""
    values = {variable.name: variable.value for variable in container.env}
    foreign = sorted(delivery.names & values.keys())
    if not foreign or all(values.get(name) == value for name, value in delivery.identity):
        return ""
    told = f"container {container.name} sets {', '.join(foreign)} itself{_cause(foreign)}"
    return f"{told}, so its account's role is not given to it"


def _cause(foreign: list[str]) -> str:
    if not {ROLE, TOKEN} <= set(foreign):
        return ""
    return " (on EKS perhaps by AWS's own webhook; annotate the account with another prefix, or not at all)"


def _addition(container: Container, path: str, delivery: Delivery) -> Addition | None:
    """Return what the container lacks; None when that is nothing."""
    values = {variable.name: variable.value for variable in container.env or ()}
    has_identity = not delivery.names.isdisjoint(values)
    has_region = "AWS_REGION" in values or "AWS_DEFAULT_REGION" in values
    has_regional = _REGIONAL in values
    ours = all(values.get(name) == value for name, value in delivery.identity)
    env: list[tuple[str, str]] = []
    if delivery.sts_regional and not has_regional:
        env.append((_REGIONAL, "regional"))
    if delivery.region and not has_region:
        env += [(name, delivery.region) for name in _REGIONS]
    if not has_identity:
        env += delivery.identity
    elif delivery.config:
        env += [(name, value) for name, value in delivery.identity if name not in values]
    # A session name beside somebody else's role would be a lie; beside our own pair it completes it.
    if not has_identity or ours:
        env += [(name, value) for name, value in delivery.session if name not in values]
    mount = all(m.name != delivery.volume_name for m in container.volume_mounts or ())
    if has_identity and not ours and has_region and has_regional and not delivery.config:
        return None  # the container brings everything itself, so it needs no token either
    if not env and not mount:
        return None
    return Addition(path, tuple(env), container.env is not None, mount, container.volume_mounts is not None)
