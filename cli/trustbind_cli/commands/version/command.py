"""The command ``trustbind version``."""

from __future__ import annotations

import platform

from trustbind import __version__
from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


@app.command()
def version(output: options.DataOutput = options.OutputFormat.TEXT) -> None:
    """Print the version.

    Example: trustbind version -o json
    """
    if output is options.OutputFormat.TEXT:
        print(f"trustbind {__version__}")
        return
    from trustbind_cli.output import to_data  # noqa: PLC0415 - text needs none of it

    print(to_data({"version": __version__, "python": platform.python_version()}, output))
