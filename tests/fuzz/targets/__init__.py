"""What is fuzzed. A target takes bytes, and raises for a fault of the code, never for bytes that are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzz.targets import admission, documents, grants, objects, tokens

__all__ = ["TARGETS", "Target"]

_CORPUS: Final = Path(__file__).parents[2] / "data" / "fuzz"


@dataclass(frozen=True, slots=True)
class Target:
    """A target.

    Attributes:
        name: of the target, and of its folder in ``tests/data/fuzz``.
        text: what it does.
        check: takes an input.
        words: texts that mean something to it.
    """

    name: str
    text: str
    check: Callable[[bytes], None]
    words: tuple[str, ...]

    @property
    def corpus(self) -> list[Path]:
        """The inputs that are kept."""
        return sorted(path for path in (_CORPUS / self.name).iterdir() if path.is_file())


_ALL: Final = (
    Target("mutate", "bodies of reviews of pods", admission.check_mutate, admission.MUTATE_WORDS),
    Target("validate", "bodies of reviews of our objects", admission.check_validate, admission.VALIDATE_WORDS),
    Target("documents", "trust policies", documents.check, documents.WORDS),
    Target("grants", "a grant and a binding", grants.check, grants.WORDS),
    Target("objects", "stored objects", objects.check_stored, objects.OBJECT_WORDS),
    Target("manifests", "files of manifests", objects.check_manifests, objects.MANIFEST_WORDS),
    Target("tokens", "tokens and their claims", tokens.check, tokens.WORDS),
)
TARGETS: Final = {target.name: target for target in _ALL}
"""By name."""
