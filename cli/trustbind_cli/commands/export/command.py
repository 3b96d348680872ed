"""The command ``trustbind export``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


class ExportOutput(StrEnum):
    """How trust policies are printed."""

    JSON = "json"
    TERRAFORM = "terraform"


@app.command()
def export(
    issuer: options.IssuerUrl,
    account_details: options.AccountDetails = None,
    trust: options.TrustPolicies = None,
    live: options.LiveRoles = False,
    filename: options.Files = None,
    profile: options.Profile = None,
    region: options.Region = None,
    output_dir: Annotated[str | None, typer.Option(metavar="FOLDER", help="Write a file for each role there.")] = None,
    output: Annotated[ExportOutput, typer.Option("-o", "--output", help="JSON, or Terraform.")] = ExportOutput.JSON,
) -> None:
    """Print the trust policies that hold something of this cluster's trustbind, as plain ones, for another tool to own.

    Its statements get other Sids, and every request is answered as before. Foreign statements stay as they are. Nothing
    is written in AWS. To leave trustbind: let the other tool write these policies, then uninstall.

    Example: trustbind export --issuer https://oidc.example.com --account-details roles.json -o terraform
    """
    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.export.run import run  # noqa: PLC0415 - as above
    from trustbind_cli.commands.import_.run import Sources, exported  # noqa: PLC0415 - as above
    from trustbind_cli.files.manifests import Objects  # noqa: PLC0415 - as above

    sources = Sources(tuple(account_details or ()), tuple(trust or ()), live, AwsAccess(profile, region))
    objects = values.objects(filename, None, recursive=False) if filename else Objects()
    code = run(
        exported(objects, sources),
        values.issuer(issuer),
        as_terraform=output is ExportOutput.TERRAFORM,
        output_dir=output_dir,
    )
    raise typer.Exit(code)
