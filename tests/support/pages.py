"""The pages in docs/ as blocks: what stands between fences, and the comment in front that says what it is.

`tests/test_docs.py` runs and checks them; `tests/cluster/test_guides.py` applies the files of some in a cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["BLOCK", "DOCS", "Block", "blocks", "files", "objects"]

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"

BLOCK: Final = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)

_FILE: Final = "file: "


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: where it is.
        line: of its first line.
        mark: the comment in front of it; empty when there is none.
        language: behind the fence.
        text: what it holds.
    """

    page: Path
    line: int
    mark: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(DOCS.parent)}:{self.line}"

    @property
    def file(self) -> str:
        """Name of the file that the block is; empty when it is none."""
        return self.mark.removeprefix(_FILE) if self.mark.startswith(_FILE) else ""


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: m.start("text")].count("\n") + 1, m["mark"] or "", m["language"], m["text"])
        for m in BLOCK.finditer(text)
    ]


def files(page: Path) -> dict[str, str]:
    """Return the text of each file of a page, by its name."""
    return {block.file: block.text for block in blocks(page) if block.file}


def objects(page: Path, name: str) -> list[dict[str, Any]]:
    """Return the objects in a YAML file of a page.

    Raises:
        KeyError: the page has no such file.
    """
    return [document for document in yaml.safe_load_all(files(page)[name]) if document is not None]
