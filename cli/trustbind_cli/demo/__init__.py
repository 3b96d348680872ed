"""``trustbind demo``: the whole path on one machine, with real processes and a real SDK.

``world`` says what exists at the beginning, ``processes`` starts and stops, ``story`` tells it step by step.
"""

from trustbind_cli.demo.steps import run

__all__ = ["run"]
