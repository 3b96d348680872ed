"""The command ``trustbind revoke-sessions``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


@app.command("revoke-sessions")
def revoke_sessions(
    roles: Annotated[list[str], typer.Argument(metavar="ROLE...", help="ARN of a role.")],
    filename: options.Files = None,
    recursive: options.Recursive = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Revoke them. Absent: only show it.")] = False,
    profile: options.Profile = None,
    region: options.Region = None,
    output: options.DataOutput = options.OutputFormat.TEXT,
) -> None:
    """Show how the sessions of roles would be revoked; with --yes, revoke them.

    Taking trust away keeps nobody from credentials that were given out before: they are valid for up to 12 hours. This
    puts the inline policy AWSRevokeOlderSessions on each role, as AWS's console does. It denies everything to all
    sessions of the role that began before now. Take the trust away first: a principal that the role still trusts can
    begin a new session.

    AWSAccounts in the files say how roles of other AWS accounts are reached. The policy may stay.

    Example: trustbind revoke-sessions arn:aws:iam::444455556666:role/app
    """
    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.revoke_sessions.run import run  # noqa: PLC0415 - as above
    from trustbind_cli.files.manifests import Objects  # noqa: PLC0415 - as above

    named = list(dict.fromkeys(values.role(text, "ROLE") for text in roles))
    objects = values.objects(filename, recursive=recursive) if filename else Objects()
    raise typer.Exit(run(named, objects.aws_accounts, AwsAccess(profile, region), writes=yes, form=output))
