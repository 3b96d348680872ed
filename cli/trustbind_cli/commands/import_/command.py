"""The command ``trustbind import``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from trustbind.api.annotations import DEFAULT_PREFIX
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import DEFAULT_AUDIENCE, audience_of
from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


class ImportOutput(StrEnum):
    """How an import is printed: the objects alone, or with all findings."""

    YAML = "yaml"
    JSON = "json"


@app.command("import")
def import_(
    issuer: options.IssuerUrl,
    account_details: options.AccountDetails = None,
    trust: options.TrustPolicies = None,
    live: options.LiveRoles = False,
    as_issuer: Annotated[
        str | None,
        typer.Option("--as", metavar="URL", help="Issuer of a new cluster: it gets what the one of --issuer has."),
    ] = None,
    filename: options.Files = None,
    kustomize: options.Kustomizations = None,
    recursive: options.Recursive = False,
    annotation_prefix: options.Prefix = DEFAULT_PREFIX,
    audience: Annotated[
        str, typer.Option(metavar="TEXT", help="Audience of the cluster's tokens, where a trust policy names none.")
    ] = DEFAULT_AUDIENCE,
    chains: Annotated[
        bool, typer.Option("--chains", help="Bind roles that trust a source role, with method AssumeRole.")
    ] = False,
    manager_role: Annotated[
        str, typer.Option(metavar="NAME", help="Role that the operator assumes in each AWS account.")
    ] = "",
    profile: options.Profile = None,
    region: options.Region = None,
    output_dir: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write files there; bindings by namespace.")
    ] = None,
    output: Annotated[ImportOutput, typer.Option("-o", "--output", help="Objects, or all of it.")] = ImportOutput.YAML,
) -> None:
    """Print RoleBindings, RoleGrants and AWSAccounts for what trust policies give to this cluster already.

    The files hold ServiceAccounts, workloads, and what is bound already. Nothing is written in AWS or in the cluster.
    AWSAccounts have driftPolicy Observe. What no binding can say goes to standard error with its reason, and the exit
    code is then 1. A service account with a role annotation gets that role under the default profile; where
    annotations and trust policies do not agree, a note says so.

    With --as, the objects are for another cluster, such as the next one of blue and green. What trustbind wrote for the
    old cluster is in them, too, and the old cluster keeps its trust.

    Example: trustbind import --issuer https://oidc.example.com --account-details roles.json -f serviceaccounts.yaml
    """
    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.import_.run import Sources, run  # noqa: PLC0415 - as above
    from trustbind_cli.files.manifests import Objects  # noqa: PLC0415 - as above
    from trustbind_cli.files.sources import STANDARD_INPUT  # noqa: PLC0415 - as above

    named = [*(filename or ()), *(account_details or ()), *(text.rpartition("=")[2] for text in trust or ())]
    if named.count(STANDARD_INPUT) > 1:
        raise InvalidValueError("standard input can be read only once")
    objects = Objects()
    if filename or kustomize:
        objects = values.objects(filename, kustomize, recursive=recursive)
        values.say_unplaced(objects)
    old = values.issuer(issuer)
    new = values.issuer(as_issuer, option="--as") if as_issuer is not None else None
    if new == old:
        raise InvalidValueError("is the issuer of --issuer; leave it out, or name the new cluster's", field="--as")
    code = run(
        objects,
        Sources(tuple(account_details or ()), tuple(trust or ()), live, AwsAccess(profile, region)),
        old,
        new_issuer=new,
        annotation_prefix=values.prefix(annotation_prefix),
        audience=audience_of(audience, field="--audience"),
        chains=chains,
        manager_role=values.role_name(manager_role, "--manager-role") if manager_role else "",
        output_dir=output_dir,
        as_data=output is ImportOutput.JSON,
    )
    raise typer.Exit(code)
