"""Where the local AWS answers otherwise than trustbind assumes of AWS, each with its reason.

An entry that is no difference any more fails the tests: remove it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LOCAL"]

_NOT_FILLED: Final = "the local STS does not fill this key"
_FILLED_BY_AWS: Final = (
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:RequestedRegion",
    "aws:SecureTransport",
    "aws:SourceIp",
    "aws:UserAgent",
)

LOCAL: Final[dict[tuple[str, str], str]] = {
    ("trust-policy-absent-principal", "a service that there is not"): "the local IAM knows no list of services",
    **{(probe, key): _NOT_FILLED for probe in ("keys-assume-role", "keys-web-identity") for key in _FILLED_BY_AWS},
}
"""By probe and label of the call."""
