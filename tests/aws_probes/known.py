"""Where the local AWS answers otherwise than trustbind assumes of AWS, each with its reason.

An entry that is no difference any more fails the tests: remove it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LOCAL"]

LOCAL: Final[dict[tuple[str, str], str]] = {
    ("trust-policy-absent-principal", "a service that there is not"): "the local IAM knows no list of services",
}
"""By probe and label of the call."""
