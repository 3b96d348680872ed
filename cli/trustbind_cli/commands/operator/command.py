"""The command ``trustbind operator``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind_cli.command_group import new_app
from trustbind_cli.extras import without_extra

__all__ = ["app"]

app = new_app()


@app.command()
def operator(
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Settings as YAML.")] = None,
) -> None:
    """Run the operator. Settings come from the file and from TRUSTBIND_OPERATOR_* variables.

    Example: trustbind operator --config operator.yaml
    """
    try:
        from trustbind_operator import app as operator_app  # noqa: PLC0415 - needs the extra
        from trustbind_operator import settings  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise without_extra("operator", "operator", error) from None
    raise typer.Exit(operator_app.run(settings.load(config)))
