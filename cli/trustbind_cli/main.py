"""The command ``trustbind``: arguments in, exit code out.

Exit codes: see `trustbind_cli.exit_codes`. A command is a package in `trustbind_cli.commands`; its module ``command``
declares options and imports the rest only when the command runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, NoReturn

import typer
from typer.completion import completion_init  # type: ignore[attr-defined] # typer calls it only for its own options

from trustbind import __version__
from trustbind.errors import AwsError, TrustbindError
from trustbind_cli import options, terminal
from trustbind_cli.command_group import CommandEntry, LazyGroup
from trustbind_cli.exit_codes import DONE, FAILED, INTERRUPTED, UNKNOWN, WRONG
from trustbind_cli.terminal import note

__all__ = ["app", "main"]

COMPLETION_VARIABLE: Final = "_TRUSTBIND_COMPLETE"
"""Set by a completion script; typer makes the name of the program's."""
_COMMANDS: Final = "trustbind_cli.commands"


class _Commands(LazyGroup):
    entries: ClassVar[Mapping[str, CommandEntry]] = {
        "status": CommandEntry(f"{_COMMANDS}.status.command", "Show how trustbind is doing in the cluster."),
        "doctor": CommandEntry(
            f"{_COMMANDS}.doctor.command",
            "Say why a workload has no AWS role: check by check, from the API server to STS.",
        ),
        "evaluate": CommandEntry(f"{_COMMANDS}.evaluate.command", "Print Allow, Deny or Depends, and why."),
        "preview": CommandEntry(f"{_COMMANDS}.preview.command", "Show what would happen, from files alone."),
        "apply": CommandEntry(
            f"{_COMMANDS}.apply.command",
            "Write the trust policies that the RoleBindings in the files ask for: plan, show, ask, write, read back.",
        ),
        "import": CommandEntry(
            f"{_COMMANDS}.import_.command",
            "Print RoleBindings, RoleGrants and AWSAccounts for what trust policies give to this cluster already.",
        ),
        "export": CommandEntry(
            f"{_COMMANDS}.export.command",
            "Print the trust policies that hold something of this cluster's trustbind, as plain ones, for another "
            "tool to own.",
        ),
        "who-can": CommandEntry(
            f"{_COMMANDS}.who_can.command",
            "Print who can assume roles, or which roles a service account can assume, and by what.",
        ),
        "graph": CommandEntry(
            f"{_COMMANDS}.graph.command",
            "Draw who can assume which role: service accounts, source roles, roles, and everyone else.",
        ),
        "lint": CommandEntry(
            f"{_COMMANDS}.lint.command",
            "Find faults and risks of trust policies, RoleBindings, RoleGrants and annotated service accounts.",
        ),
        "sweep": CommandEntry(
            f"{_COMMANDS}.sweep.command",
            "Show what trustbind wrote in AWS and nothing wants any more; with --yes, remove it.",
        ),
        "revoke-sessions": CommandEntry(
            f"{_COMMANDS}.revoke_sessions.command",
            "Show how the sessions of roles would be revoked; with --yes, revoke them.",
        ),
        "demo": CommandEntry(
            f"{_COMMANDS}.demo.command", "Show the whole path on this machine: no cluster, no AWS account."
        ),
        "webhook": CommandEntry(f"{_COMMANDS}.webhook.command", "Run the admission webhook."),
        "operator": CommandEntry(f"{_COMMANDS}.operator.command", "Run the operator."),
        "completion": CommandEntry(f"{_COMMANDS}.completion.command", "Print the completion script of a shell."),
        "version": CommandEntry(f"{_COMMANDS}.version.command", "Print the version."),
    }


app = typer.Typer(
    cls=_Commands,
    help="AWS roles for Kubernetes workloads: no stored keys, no trust policies edited by hand.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main() -> NoReturn:
    """Run the command line; never shows a trace for a user's mistake."""
    terminal.prepare_streams()
    terminal.use_no_color(wanted=False)
    completes = COMPLETION_VARIABLE in os.environ
    if completes:  # the shell asks, by the script of 'trustbind completion'
        completion_init()
    try:
        code = app(standalone_mode=False, prog_name=_program())  # also under python -m
    except typer.Exit as stop:
        code = stop.exit_code
    except typer.Abort:
        note("trustbind: stopped; nothing more was done")
        code = INTERRUPTED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except TrustbindError as error:
        note(f"trustbind: {error}")
        code = _code_of(error)
    except Exception as error:
        if (shown := _usage(error)) is None and completes and isinstance(error, KeyError | ValueError):
            shown = (
                f"trustbind: {COMPLETION_VARIABLE} is set and the shell's words are not; leave it to the script of "
                "'trustbind completion'"
            )
        if shown is None:
            raise
        note(shown)
        code = WRONG
    code = code if isinstance(code, int) else DONE
    if problem := terminal.output_problem():
        note(f"trustbind: standard output cannot be written: {problem}")
        code = code or FAILED
    sys.exit(code)


def _code_of(error: TrustbindError) -> int:
    """Return the exit code: what AWS refuses has failed; with credentials that do not work nothing could be seen."""
    if not isinstance(error, AwsError):
        return WRONG
    from trustbind_cli.aws_errors import is_of_the_caller  # noqa: PLC0415 - boto3 takes long to load

    causes = (error, error.__cause__)  # the sentence for a user, and what it was made of
    return UNKNOWN if any(isinstance(e, AwsError) and is_of_the_caller(e) for e in causes) else FAILED


def _program() -> str:
    """Return how the user calls this: kubectl runs ``kubectl-trustbind`` for ``kubectl trustbind``."""
    return "kubectl trustbind" if Path(sys.argv[0]).name.startswith("kubectl-") else "trustbind"


def _usage(error: Exception) -> str | None:
    """Return click's usage error as one sentence; None when it is something else."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "trustbind"
    message = str(format_message()).replace("Value error, ", "").rstrip(".")
    # A group without a command is answered with its help, which is no sentence.
    return message if message.startswith("Usage:") else f"{path}: {message}; see '{path} --help'"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"trustbind {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    no_color: options.NoColor = False,
) -> None:
    """AWS roles for Kubernetes workloads: no stored keys, no trust policies edited by hand."""
