"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is no fault: an example has no deadline.
settings.register_profile("trustbind", deadline=None)
settings.load_profile("trustbind")
