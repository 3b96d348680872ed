"""Where a role was meant for a pod and trustbind reads none: a wrong place, a wrong key, a value that is no ARN.

Only pods that get no role are asked about, and the keys of an object cost one search, so that pods without such keys
cost next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from trustbind.api.annotations import DEFAULT_PREFIX
from trustbind.api.labels import INJECT
from trustbind.identity.arns import RoleArn

__all__ = ["MISPLACED_OPT_OUT", "near_role_keys", "role_sentences", "value_hint"]

Texts = Mapping[str, str]

MISPLACED_OPT_OUT: Final = f"{INJECT} is a label, which has an effect only on a Namespace; write it as an annotation"
"""What is wrong with an opt-out that is a label of a pod or a service account."""

_MAX_KEY: Final = 317
"""Characters of an annotation's or a label's key: 253 of its prefix, a slash, and 63 (Kubernetes documentation, "Labels
and Selectors", Syntax and character set). A pod comes to a webhook before the API server checks that."""

_MAX_KEYS: Final = 3
"""Keys of one object that are named."""

_WORD: Final = "role"
_SEPARATORS = re.compile(r"[-_.]")
_ARN_NAMES: Final = frozenset({"rolearn", "iamrolearn", "awsrolearn", "awsiamrolearn", "eksrolearn"})
_ROLE_NAMES: Final = frozenset({"iamrole", "awsrole", "awsiamrole"})
_AWS: Final = "amazonaws.com"
_KUBE2IAM: Final = "iam.amazonaws.com/role"
"""Annotation of a pod (kube2iam and kiam, README)."""

_QUOTES: Final = "\"'`\u201c\u201d\u2018\u2019"
_ASSUMED = re.compile(r"arn:(aws[a-z0-9-]*):sts::([0-9]{12}):assumed-role/([^/]+)/.*", re.ASCII)
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_PLACEHOLDER = re.compile(r"\$\{|\$\(|\{\{|<[^>]*>|%\(")
_SCIENTIFIC = re.compile(r":[0-9.]+e\+?[0-9]+:", re.IGNORECASE)


def near_role_keys(keys: Iterable[str], wanted: str) -> list[str]:
    """Return the first keys that were probably meant for the key of the role, without that key itself.

    Args:
        keys: of annotations or of labels.
        wanted: the key that is read.
    """
    return list(islice(_near(keys, wanted), _MAX_KEYS))


def role_sentences(
    account: str, wanted: str, *, pod: tuple[Texts, Texts], service_account: tuple[Texts, Texts]
) -> list[str]:
    """Return a sentence for each place where a role was meant for a pod that gets none.

    Args:
        account: namespace and name of the service account.
        wanted: the annotation of a service account that is read.
        pod: its annotations and its labels.
        service_account: likewise.
    """
    # Joined, the keys of an object are searched at once.
    if not any(texts and _WORD in "\n".join(texts).lower() for texts in (*pod, *service_account)):
        return []
    found: list[str] = []
    todo = f"annotate the service account {account} with {wanted}"
    for where, (annotated, labels), is_account in (
        ("the pod", pod, False),
        (f"the service account {account}", service_account, True),
    ):
        if wanted in annotated and not is_account:
            found.append(f"the pod has the annotation {wanted}, which has an effect only on a service account; {todo}")
        if wanted in labels:
            found.append(f"{where} has the label {wanted}, which has an effect only as an annotation; {todo}")
        for kind, texts in (("annotation", annotated), ("label", labels)):
            found += [
                f"{where} has the {kind} {key}, which trustbind does not read{_reader(key)}; {todo}"
                for key in near_role_keys(texts, wanted)
            ]
    return found


def value_hint(text: str) -> str:
    """Return what to do about a text that is no role ARN, as a clause; empty where nothing can be told.

    Args:
        text: the value, without white space around it.
    """
    if (bare := text.strip(_QUOTES + " \t\r\n")) != text and RoleArn.or_none(bare):
        return f"; take the quotes off and write {bare}"
    if _PLACEHOLDER.search(text):
        return "; a placeholder of a template was not filled in"
    if _SCIENTIFIC.search(text):
        return "; the AWS account id was taken for a number: put it in quotes where it is set, such as in Helm values"
    if match := _ASSUMED.fullmatch(text):
        return (
            f"; that is a session of a role: write the role's own ARN, arn:{match[1]}:iam::{match[2]}:role/{match[3]}"
        )
    if ":roles/" in text and RoleArn.or_none(fixed := text.replace(":roles/", ":role/", 1)):
        return f"; write {fixed}"
    if RoleArn.or_none(fixed := re.sub(r":iam:(?=[0-9])", ":iam::", text, count=1)) and fixed != text:
        return f"; write {fixed}, with two colons after iam"
    if _NAME.fullmatch(text):
        return "; that is a name: write the whole ARN, with the AWS account id"
    return ""


def _near(keys: Iterable[str], wanted: str) -> Iterator[str]:
    # On EKS, another prefix leaves the default one to AWS's own webhook, which is on purpose.
    others = {wanted, f"{DEFAULT_PREFIX}/role-arn"}
    for key in keys:
        if len(key) > _MAX_KEY or _WORD not in key.lower() or key in others:
            continue
        prefix, _, name = key.lower().rpartition("/")
        bare = _SEPARATORS.sub("", name)
        if bare in _ARN_NAMES or bare in _ROLE_NAMES or (bare in {"role", "roles"} and prefix.endswith(_AWS)):
            yield key


def _reader(key: str) -> str:
    return ", but kube2iam and kiam do" if key == _KUBE2IAM else ""
