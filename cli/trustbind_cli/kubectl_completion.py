"""The program ``kubectl_complete-trustbind``: kubectl asks it at the Tab key after ``kubectl trustbind``.

Source: Kubernetes documentation, "Extend kubectl with plugins", and Cobra's form of completions: one a line, then a
colon and a number, of which 4 means that no files are completed.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import NoReturn

from trustbind_cli.main import COMPLETION_VARIABLE, main

__all__ = ["complete"]

_NO_FILES = ":4"


def complete() -> NoReturn:
    """Print the completions of the last argument, which may be empty."""
    words = sys.argv[1:] or [""]
    os.environ[COMPLETION_VARIABLE] = "complete_bash"
    os.environ["COMP_WORDS"] = shlex.join(["trustbind", *words])
    os.environ["COMP_CWORD"] = str(len(words))
    sys.argv = ["trustbind"]
    try:
        main()
    except SystemExit as stop:
        print(_NO_FILES)
        sys.stdout.flush()
        sys.exit(stop.code)
