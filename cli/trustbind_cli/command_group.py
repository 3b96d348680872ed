"""A group of commands that are imported only when they are named, so that the command line starts quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from trustbind_cli.options import NoColor

__all__ = ["CommandEntry", "LazyGroup", "LightGroup", "new_app"]


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """Where a command is.

    Attributes:
        module: defines ``app`` (`new_app`) with one command, or with a help text and several.
        summary: its line in the list of commands; the first sentence of its help, which a test compares.
    """

    module: str
    summary: str


class LightGroup(TyperGroup):
    """A group whose help needs nothing but typer."""

    def get_help_option(self, ctx: Any) -> Any:
        """Return ``--help`` with a default that is Boolean: for None, typer loads pydantic."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


class LazyGroup(LightGroup):
    """See the module. A subclass names the commands."""

    entries: ClassVar[Mapping[str, CommandEntry]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """Return the commands' names in their order."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        """Return a command, imported now; None when there is none of that name."""
        if cmd_name not in self.entries:
            return None
        if self.commands.get(cmd_name) is None:
            command = typer.main.get_command(import_module(self.entries[cmd_name].module).app)
            command.name = cmd_name
            _with_no_color(command)
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is meant; a similar one is suggested without importing any."""
        if args and args[0] not in self.entries:
            unloaded: dict[str, Any] = dict.fromkeys(self.entries)
            self.commands = unloaded | dict(self.commands)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - typer's signature
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])


def _with_no_color(command: Any) -> None:
    """Give a command, or each command of a group, the option ``--no-color``, which people write at the end."""
    holder = new_app()

    @holder.command()
    def _(no_color: NoColor = False) -> None: ...

    command.params.append(typer.main.get_command(holder).params[0])
    for each in getattr(command, "commands", {}).values():
        _with_no_color(each)


def new_app(help_text: str | None = None) -> typer.Typer:
    """Return the place where a command's module registers its command, or a group's module its commands.

    Args:
        help_text: of a group; None for a single command.
    """
    return typer.Typer(
        cls=LightGroup,
        help=help_text,
        no_args_is_help=help_text is not None,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
