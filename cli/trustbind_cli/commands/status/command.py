"""The command ``trustbind status``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


@app.command()
def status(
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", metavar="NAME", help="Namespace of RoleBindings. Absent: all."),
    ] = None,
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    profile: options.Profile = None,
    region: options.Region = None,
    output: Annotated[
        options.TableOutput, typer.Option("-o", "--output", help="Text; with all rows; or data.")
    ] = options.TableOutput.TEXT,
) -> None:
    """Show how trustbind is doing in the cluster.

    Both halves and their versions, the webhook's configuration and certificate, AWS accounts, RoleBindings by reason,
    drift and since when, how full the trust policies of your own AWS account are, and what changed last. Nothing is
    written. What your rights do not show is "not visible", and never counts as fine.

    Exit code 0 when nothing is broken, 1 when something is, 3 when too little could be seen to tell.

    Example: trustbind status -o wide
    """
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.cluster_access import ClusterAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.status.run import run  # noqa: PLC0415 - as above

    cluster = ClusterAccess(kubeconfig, context, namespace)
    aws = AwsAccess(profile, region)
    raise typer.Exit(run(cluster, aws, all_namespaces=all_namespaces, selector=selector, form=output))
