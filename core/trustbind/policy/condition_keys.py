"""Which issuer a condition key belongs to.

AWS's own keys have the name of a service in front of the colon, such as ``aws:SourceIp``. The keys of an OIDC provider
have host and path of its issuer there, and names of keys do not depend on letter case (IAM User Guide, "IAM and AWS STS
condition context keys", Available keys for AWS OIDC federation, and "IAM JSON policy elements: Condition").
"""

from __future__ import annotations

import re
from typing import Final

from trustbind.identity.subjects import Issuer

__all__ = ["bare_key", "is_key_of", "issuer_prefix"]

_IN_FRONT = re.compile(r"\A(?:https?://|arn:[^:]*:iam:[^:]*:[^:]*:oidc-provider/)", re.IGNORECASE)
_NO_SERVICE: Final = frozenset({"arn", "http", "https"})


def issuer_prefix(key: str) -> str:
    """Return the issuer that a key belongs to, as the key has it; empty for a key of AWS's own."""
    head = key.partition(":")[0].lower()
    is_of_issuer = "." in head or "/" in head or head in _NO_SERVICE
    return key.rpartition(":")[0] if is_of_issuer else ""


def is_key_of(key: str, issuer: Issuer) -> bool:
    """Return whether a key is one of this issuer's; a slash at the end of the issuer's path makes no difference."""
    prefix = key.rpartition(":")[0]
    return prefix.rstrip("/").casefold() == issuer.host_path.rstrip("/").casefold()


def bare_key(key: str) -> str:
    """Return the key without what no key begins with: ``https://``, or the ARN of an OIDC provider up to the host."""
    return _IN_FRONT.sub("", key)
