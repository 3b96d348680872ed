"""Checks 11 to 16: the container has the token and the variables, and nothing wins over them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from trustbind.diagnosis.facts import SET, Container
from trustbind.diagnosis.model import Case, Check, Outcome, broken, fine, not_applicable, unknown

__all__ = ["CHECKS"]

_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_OTHERS: Final = ("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
_AGENT: Final = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,3}-[0-9]{1,2}", re.ASCII)
_PARTITIONS: Final = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("us-iso-", "aws-iso"), ("us-isob-", "aws-iso-b"))
_OTHERS_READ: Final = 0o004
_DEFAULT_MODE: Final = 0o644
_RESTART: Final = "restart the pod; where that does not help, see the webhook's log for the pod"


def _volume(case: Case) -> Outcome:
    if case.pod is None or case.container is None:
        return case.without_pod
    wanted, pod, container = case.wanted, case.pod, case.container
    if not wanted.volume:
        return case.without_role
    if case.volume is None:
        return broken(f"pod {pod.name} has no volume {wanted.volume} with a token", _RESTART)
    mount = next((m for m in container.volume_mounts if m.name == wanted.volume), None)
    if mount is None:
        return broken(f"container {container.name} does not mount the volume {wanted.volume}", _RESTART)
    if posixpath.normpath(mount.mount_path) != posixpath.normpath(wanted.mount_path) or mount.sub_path:
        return broken(
            f"container {container.name} mounts {wanted.volume} at {mount.mount_path}, and the variables name "
            f"{wanted.mount_path}",
            "take the mount out of the pod's template, so that the webhook adds its own",
        )
    return fine(f"volume {wanted.volume} is mounted at {mount.mount_path}")


def _env(case: Case) -> Outcome:
    if case.pod is None or case.container is None:
        return case.without_pod
    container = case.container
    if not case.wanted.env:
        return case.without_role
    for name, value in case.wanted.env:
        found = container.value(name)
        if found is None:
            return broken(f"container {container.name} has no variable {name}", _RESTART)
        if found != value and not (name == "AWS_PROFILE" and found in case.wanted.profiles):
            return broken(
                f"container {container.name} has {name}={found}, and by {case.wanted.source} it is {value}",
                f"restart the pod; where its template sets {name}, take it out there",
            )
    return fine(f"container {container.name} names the role and the token")


def _beaten(case: Case) -> Outcome:
    container = case.container
    if container is None:
        return case.without_pod
    wanted = {name for name, _ in case.wanted.env}
    uses_file = "AWS_CONFIG_FILE" in wanted
    names = [*_KEYS, *(n for n in _OTHERS if n not in wanted and not (uses_file and n == "AWS_PROFILE"))]
    names += [n for n in _AGENT if n not in wanted]
    for name in names:
        if container.value(name) is not None:
            return broken(f"container {container.name} sets {name}, which SDKs may take first", _remove(name))
    for source, key in _keys_from(container):
        if key in names:
            return broken(
                f"container {container.name} gets {key} from {source}, which SDKs may take first",
                f"take the key out of {source}, or leave out envFrom",
            )
    hidden = [each for each in container.env_from if each.keys.value is None and not each.keys.is_absent]
    if hidden:
        return unknown(f"the keys of {hidden[0].source} cannot be seen: {hidden[0].keys.reason}")
    return fine("nothing wins over the role")


def _remove(name: str) -> str:
    return f"take {name} out of the container, unless it is on purpose"


def _keys_from(container: Container) -> Iterator[tuple[str, str]]:
    for each in container.env_from:
        yield from ((each.source, each.prefix + key) for key in each.keys.value or ())


def _region(case: Case) -> Outcome:
    container = case.container
    if container is None:
        return case.without_pod
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        region = container.value(name)
        if region is None or region == SET:
            continue
        if not _REGION.fullmatch(region):
            return broken(
                f"container {container.name} has {name}={region}, which is no AWS region",
                "write a region, such as eu-central-1, without the letter of a zone",
            )
        partition = next((p for prefix, p in _PARTITIONS if region.startswith(prefix)), "aws")
        role = case.wanted.role
        if role is not None and role.partition in {"aws", *dict(_PARTITIONS).values()} and role.partition != partition:
            return broken(
                f"container {container.name} has {name}={region}, and role {role} is in partition {role.partition}",
                "use a region of the role's partition",
            )
        return fine(f"the region is {region}")
    return fine("no region is set, so the SDK takes it from its own configuration")


def _proxy(case: Case) -> Outcome:
    container = case.container
    if container is None:
        return case.without_pod
    proxy = next((v for n in ("HTTPS_PROXY", "https_proxy") if (v := container.value(n))), "")
    plain = next((v for n in ("HTTP_PROXY", "http_proxy") if (v := container.value(n))), "")
    exceptions = next((v for n in ("NO_PROXY", "no_proxy") if (v := container.value(n))), "")
    if case.wanted.uses_agent:
        if plain and "169.254.170.23" not in exceptions:
            return broken(
                f"container {container.name} has HTTP_PROXY, and NO_PROXY does not name the EKS Pod Identity agent",
                "add 169.254.170.23 and [fd00:ec2::23] to NO_PROXY",
            )
        return fine("the agent is reached without a proxy")
    if not proxy:
        return fine("no proxy is set")
    if any(part.strip().lstrip("*.") in {"amazonaws.com", "sts.amazonaws.com"} for part in exceptions.split(",")):
        return fine("NO_PROXY names AWS")
    if " " in proxy or not proxy.partition("://")[2 if "://" in proxy else 0].strip("/"):
        return broken(f"container {container.name} has HTTPS_PROXY={proxy}, which is no address", "correct it")
    return unknown(
        "calls of STS go through the proxy of HTTPS_PROXY, and whether it lets them pass cannot be seen",
        "let the proxy pass sts.amazonaws.com and sts.REGION.amazonaws.com, or name them in NO_PROXY",
    )


def _readable(case: Case) -> Outcome:
    """Source: Kubernetes documentation, "Projected Volumes", SecurityContext interactions."""
    pod, volume, container = case.pod, case.volume, case.container
    if pod is None or container is None:
        return case.without_pod
    if volume is None:
        return not_applicable("the pod has no token for AWS")
    users = {c.run_as_user for c in pod.containers}
    owned = len(users) == 1 and None not in users
    if owned or pod.fs_group is not None:
        return fine("the token belongs to the pod's user or group")
    mode = _DEFAULT_MODE if volume.default_mode is None else volume.default_mode
    if mode & _OTHERS_READ:
        return fine("everybody in the container may read the token")
    if container.run_as_user == 0:
        return fine("the container runs as root")
    todo = "set securityContext.fsGroup of the pod, or take defaultMode out of the volume"
    if container.run_as_user is None:
        return unknown(f"only root may read the token (mode {mode:04o}), and the container's user is not known", todo)
    return broken(
        f"only root may read the token (mode {mode:04o}), and container {container.name} runs as user "
        f"{container.run_as_user}",
        todo,
    )


CHECKS: Final = (
    Check(
        11,
        "NoTokenVolume",
        "The pod has no volume with the token, or the container does not mount it where the variables say.",
        "Restart the pod, so that the webhook adds it.",
        _volume,
    ),
    Check(
        12,
        "OtherIdentity",
        "The container's variables name no role or token, or others than the binding.",
        "Restart the pod; take such variables out of its template.",
        _env,
    ),
    Check(
        13,
        "OtherCredentials",
        "The container has static keys, a profile or another source of credentials, which SDKs may take first.",
        "Take them out of the container.",
        _beaten,
    ),
    Check(14, "WrongRegion", "The region is none, or is in another partition than the role.", "Correct it.", _region),
    Check(
        15,
        "WrongProxy",
        "The proxy is no address, or the agent is behind it.",
        "Set NO_PROXY.",
        _proxy,
    ),
    Check(
        16,
        "TokenNotReadable",
        "The container's user may not read the token file.",
        "Set securityContext.fsGroup, or take defaultMode out of the volume.",
        _readable,
    ),
)
