"""The command ``trustbind completion``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined] # typer documents only the options

from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


class Shell(StrEnum):
    """A shell for which there is a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(help="Of which shell.")]) -> None:
    """Print the completion script of a shell.

    Example: source <(trustbind completion bash)
    """
    print(get_completion_script(prog_name="trustbind", complete_var="_TRUSTBIND_COMPLETE", shell=shell.value))
