"""The command ``trustbind doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind.errors import InvalidValueError
from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


@app.command()
def doctor(
    target: Annotated[
        str | None, typer.Argument(metavar="[KIND/NAME]", help="pod/NAME, serviceaccount/NAME or rolebinding/NAME.")
    ] = None,
    container: Annotated[str, typer.Option("-c", "--container", metavar="NAME", help="Container of the pod.")] = "",
    error: Annotated[
        str, typer.Option("--error", metavar="TEXT", help="The message that the workload got; it tells where to look.")
    ] = "",
    live: Annotated[
        bool, typer.Option("--live", help="Also get a token, exchange it at STS, and read the published issuer.")
    ] = False,
    goes_on: Annotated[bool, typer.Option("--all", help="Go on after the first broken link.")] = False,
    collect: Annotated[
        str | None, typer.Option("--collect", metavar="FILE", help="Write the facts to a new file, without secrets.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Look at facts of --collect; - is standard input."),
    ] = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    profile: options.Profile = None,
    region: options.Region = None,
    output: Annotated[
        options.TableOutput, typer.Option("-o", "--output", help="Text; with all links; or data.")
    ] = options.TableOutput.TEXT,
) -> None:
    """Say why a workload has no AWS role: check by check, from the API server to STS.

    It stops at the first broken link that explains the error, and says what is so, where, and what to do. What cannot
    be seen with your rights is "not visible", and never counts as fine. Everything is read, nothing is written; only
    --live gets a token, for AWS and ten minutes, and throws the credentials away.

    Exit code 0 when no link is broken, 1 when one is, 3 when too little could be seen to tell.

    Example: trustbind doctor pod/web-0 -n shop --error "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    """
    if (target is None) == (source is None):
        raise InvalidValueError("name one object, such as pod/web-0, or give facts with --from")
    if source is not None and (collect is not None or live):
        raise InvalidValueError("facts of a file are only looked at; leave out --collect and --live", field="--from")
    if source is not None:
        options.refuse_beside(
            "--from",
            "-c",
            "-n",
            "--context",
            "--kubeconfig",
            "--profile",
            "--region",
            given=(container, namespace, context, kubeconfig, profile, region),
            because="the file has the facts; leave it out",
        )
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.cluster_access import ClusterAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.doctor.run import Asked, run  # noqa: PLC0415 - as above

    is_wide = output is options.TableOutput.WIDE
    asked = Asked(
        target or "",
        container,
        error,
        live,
        goes_on,
        collect,
        source,
        is_wide,
        ClusterAccess(kubeconfig, context, namespace),
        AwsAccess(profile, region),
    )
    form = options.OutputFormat.TEXT if is_wide else options.OutputFormat(output.value)
    raise typer.Exit(run(asked, form))
