r"""Role session names: always valid, always 2 to 64 characters, and still telling two pods apart.

CloudTrail shows the session name in the ARN of every call (``assumed-role/<role>/<session>``), so it should say which
workload called. STS takes 2 to 64 characters of ``[\w+=,.@-]`` (STS API reference, RoleSessionName).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from trustbind.errors import InvalidValueError

__all__ = [
    "DEFAULT_TEMPLATE",
    "MAX_LENGTH",
    "MIN_LENGTH",
    "check_template",
    "fit",
    "generated_pod",
    "is_valid",
    "render",
]

MIN_LENGTH: Final = 2
MAX_LENGTH: Final = 64
DEFAULT_TEMPLATE: Final = "{namespace}.{serviceAccount}.{pod}"
"""What a binding that says nothing gets: the account, and which of its pods."""

PLACEHOLDERS: Final = ("namespace", "serviceAccount", "pod", "cluster")

_VALID = re.compile(rf"[\w+=,.@-]{{{MIN_LENGTH},{MAX_LENGTH}}}", re.ASCII)
_FOREIGN = re.compile(r"[^\w+=,.@-]", re.ASCII)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DIGEST_LENGTH: Final = 10  # 40 bits: among 10,000 pods of one role, a clash in about 1 of 20,000 cases


def is_valid(name: str) -> bool:
    """Return whether STS takes ``name`` as a RoleSessionName."""
    return _VALID.fullmatch(name) is not None


def fit(name: str) -> str:
    """Return a valid session name for ``name``: itself when it is one, else a readable one that stays unique.

    A character that STS does not take becomes ``-``. A name that had to be changed or cut ends in a digest of the
    whole name, so that two long names with a common beginning stay apart.
    """
    if is_valid(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    readable = _FOREIGN.sub("-", name)[: MAX_LENGTH - _DIGEST_LENGTH - 1].rstrip("-.")
    return f"{readable}-{digest}" if readable else digest


def check_template(template: str, *, field: str = "") -> str:
    """Return ``template`` when it can be rendered.

    Raises:
        InvalidValueError: an unknown placeholder, a stray brace, or a character that STS does not take.
    """
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{p}}}" for p in PLACEHOLDERS)
            raise InvalidValueError(f"{{{name}}} is not a placeholder; known are {known}", field=field)
    literal = _PLACEHOLDER.sub("", template)
    if "{" in literal or "}" in literal:
        raise InvalidValueError(f"{template!r} has a brace without its partner", field=field)
    if match := _FOREIGN.search(literal):
        raise InvalidValueError(
            f"{match[0]!r} is not allowed in a session name; letters, digits and +=,.@_- are", field=field
        )
    if len(template) < MIN_LENGTH:
        raise InvalidValueError(f"a session name has at least {MIN_LENGTH} characters", field=field)
    return template


def render(template: str, *, namespace: str, service_account: str, pod: str, cluster: str = "") -> str:
    """Return the session name that ``template`` gives for one pod; always valid.

    Args:
        template: checked by `check_template`; a placeholder without a value becomes nothing.
        namespace: the pod's namespace.
        service_account: the pod's account.
        pod: the pod's name, or for a generated name whatever tells this pod from its siblings.
        cluster: the cluster's name, empty when not set.
    """
    values = {"namespace": namespace, "serviceAccount": service_account, "pod": pod, "cluster": cluster}
    return fit(_PLACEHOLDER.sub(lambda match: values.get(match[1], ""), template))


def generated_pod(generate_name: str, unique: str) -> str:
    """Return what stands for the name of a pod whose name is only generated after admission.

    Args:
        generate_name: ``metadata.generateName``, may be empty.
        unique: differs between siblings, such as the admission review's uid.
    """
    return generate_name + hashlib.sha256(unique.encode()).hexdigest()[:_DIGEST_LENGTH]
