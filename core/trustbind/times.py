"""Times as Kubernetes and AWS write them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["time_of"]


def time_of(text: str) -> datetime | None:
    """Return a time in RFC 3339, in UTC where it names no zone; None where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
