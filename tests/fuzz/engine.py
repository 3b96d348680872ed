"""What chooses inputs: libFuzzer by way of atheris, which looks for new branches, or a plain loop without it."""

from __future__ import annotations

import hashlib
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Final, NoReturn

from fuzz.mutation import changed

__all__ = ["fuzz_by_coverage", "fuzz_plainly", "has_atheris"]

_PACKAGES: Final = [
    "trustbind",
    "trustbind_webhook",
    "trustbind_operator.cluster",
    "trustbind_cli.files",
    "trustbind_cli.commands.evaluate",
    "trustbind_localaws.tokens",
    "jwt",
]
_MOST_BYTES: Final = 32 * 1024
_SECONDS_AN_INPUT: Final = 60
"""After so long libFuzzer reports an input as one that does not end."""

_OWN_SHARE: Final = 0.7
"""Share of the inputs that are changed as JSON; libFuzzer changes the others byte by byte."""


def has_atheris() -> bool:
    """Return whether atheris is installed."""
    return find_spec("atheris") is not None


def fuzz_by_coverage(name: str, seconds: int, seed: int, folder: Path) -> NoReturn:
    """Fuzz a target for some seconds, and end the process: with code 0 when nothing was found.

    Args:
        name: of the target.
        seconds: how long.
        seed: of libFuzzer.
        folder: for the inputs that reach new branches, and for one that fails.
    """
    import atheris  # noqa: PLC0415 - of the optional group "fuzz"

    # Everything that is fuzzed is imported here for the first time, so that its branches are seen.
    with atheris.instrument_imports(include=_PACKAGES):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - see above
    target = TARGETS[name]

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)  # noqa: S311 - a seed decides
        if rng.random() < _OWN_SHARE:
            return changed(data, target.words, rng)[:most]
        result: bytes = atheris.Mutate(data, most)
        return result

    grown = folder / "corpus"
    grown.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={_MOST_BYTES}",
        f"-timeout={_SECONDS_AN_INPUT}",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(grown),
        str(target.corpus[0].parent),
    ]
    atheris.Setup(arguments, target.check, custom_mutator=change)
    atheris.Fuzz()
    sys.exit(0)


def fuzz_plainly(name: str, seconds: float, seed: int, folder: Path) -> int:
    """Change inputs of the corpus for some seconds; return how many were tried.

    Raises:
        Exception: whatever a target raises; the input is in ``folder`` then.
    """
    from fuzz.targets import TARGETS  # noqa: PLC0415 - as above, for the other engine

    target = TARGETS[name]
    rng = Random(seed)  # noqa: S311 - a seed decides
    kept = [path.read_bytes() for path in target.corpus]
    until = time.monotonic() + seconds
    tried = 0
    while tried == 0 or time.monotonic() < until:
        data = changed(rng.choice(kept), target.words, rng)
        tried += 1
        try:
            target.check(data)
        except Exception:
            folder.mkdir(parents=True, exist_ok=True)
            failed = folder / f"crash-{hashlib.sha256(data).hexdigest()[:16]}"
            failed.write_bytes(data)
            print(f"input: {failed}")
            raise
    return tried
