"""The command ``trustbind demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind.errors import InvalidValueError
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, and say how to poke at it.")] = False,
) -> None:
    """Show the whole path on this machine: no cluster, no AWS account.

    Example: trustbind demo --keep
    """
    try:
        from trustbind_cli import demo as show  # noqa: PLC0415 - needs the extra
    except ImportError as error:
        raise InvalidValueError(
            f"the demo needs the extra 'localaws' ({error}); install trustbind[localaws], or run 'make demo'"
        ) from None
    raise typer.Exit(show.run(keep=keep))
