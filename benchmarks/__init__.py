"""Benchmarks: figures of this machine in this run, told as ratios to floors and to peers.

Each section is a module with a function from `Options` to `Section`; ``__main__`` lists them.
"""

import sys
from pathlib import Path

# The real API server is started as the tests start it.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
