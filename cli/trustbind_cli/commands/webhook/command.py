"""The command ``trustbind webhook``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind_cli.command_group import new_app
from trustbind_cli.extras import without_extra

__all__ = ["app"]

app = new_app()


@app.command()
def webhook(
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Settings as YAML.")] = None,
) -> None:
    """Run the admission webhook. Settings come from the file and from TRUSTBIND_WEBHOOK_* variables.

    Example: trustbind webhook --config webhook.yaml
    """
    try:
        from trustbind_webhook import server, settings  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        raise without_extra("webhook", "webhook", error) from None
    raise typer.Exit(server.run(settings.load(config)))
