"""Text from a cluster, a policy or a user on a terminal."""

from __future__ import annotations

import json

import pytest
import yaml
from rich.table import Table
from rich.text import Text

from support.commands import Cli
from trustbind_cli.main import COMPLETION_VARIABLE
from trustbind_cli.output import out, to_json, to_yaml
from trustbind_cli.terminal import note

CONTROL = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0)))).replace("\n", "").replace("\t", "")
TEXT = f"a{CONTROL}b"


def test_control_characters_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """In a text, in a cell of a table and in a sentence on standard error none of them is left."""
    table = Table("name")
    table.add_row(TEXT)
    out.print(TEXT)
    out.print(Text(TEXT, style="red"))
    out.print(table)
    note(TEXT)

    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert not set(CONTROL) & set(text)
        assert "a" in text


def test_control_characters_in_data() -> None:
    """They are escapes there, and nothing is lost."""
    for text, read in ((to_json([TEXT]), json.loads), (to_yaml([TEXT]), yaml.safe_load)):
        assert not set(CONTROL) & set(text)
        assert read(text) == [TEXT]


@pytest.mark.parametrize("words", [{}, {"COMP_WORDS": "trustbind do", "COMP_CWORD": "x"}, {"COMP_WORDS": "trustbind"}])
def test_completion_without_words(cli: Cli, monkeypatch: pytest.MonkeyPatch, words: dict[str, str]) -> None:
    """The variable of the completion script in an environment is a mistake, and no reason for a trace."""
    monkeypatch.setenv(COMPLETION_VARIABLE, "complete_bash")
    for name in ("COMP_WORDS", "COMP_CWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in words.items():
        monkeypatch.setenv(name, value)

    done = cli("version")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"trustbind: {COMPLETION_VARIABLE} is set and the shell's words are not")
