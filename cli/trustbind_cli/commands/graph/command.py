"""The command ``trustbind graph``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from trustbind.errors import InvalidValueError
from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["GraphOutput", "Nodes", "app"]

app = new_app()


class GraphOutput(StrEnum):
    """A picture as text for Mermaid, as an image, as a page, or its parts as data."""

    MERMAID = "mermaid"
    SVG = "svg"
    HTML = "html"
    JSON = "json"
    YAML = "yaml"


class Nodes(StrEnum):
    """See `trustbind.graph.model.Grouping`, which is imported only when the command runs."""

    AUTO = "auto"
    SERVICE_ACCOUNT = "service-account"
    NAMESPACE = "namespace"


@app.command("graph")
def graph(
    roles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROLE]...", help="ARN of a role. Absent: all that a service account of the cluster can assume."
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Only what the service accounts of this namespace can assume."),
    ] = None,
    by: Annotated[
        Nodes,
        typer.Option(
            "--by", help="What has a box of its own. auto: service accounts, or of more than 60, their namespaces."
        ),
    ] = Nodes.AUTO,
    every_role: Annotated[
        bool, typer.Option("--all-roles", help="Show the roles, too, that no service account can assume.")
    ] = False,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="The cluster's issuer. Absent: the live cluster's.")
    ] = None,
    filename: options.Files = None,
    kustomize: options.Kustomizations = None,
    recursive: options.Recursive = False,
    account_details: options.AccountDetails = None,
    trust: options.TrustPolicies = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
    profile: options.Profile = None,
    region: options.Region = None,
    output: Annotated[
        GraphOutput,
        typer.Option("-o", "--output", help="Text for Mermaid, an image, a page for a browser, or data."),
    ] = GraphOutput.MERMAID,
) -> None:
    """Draw who can assume which role: service accounts, source roles, roles, and everyone else.

    The answers are those of 'trustbind who-can'. A solid line: the trust policy allows it. A dashed one depends on
    conditions. html is one file that loads nothing: search, move, zoom, and click a box for the statements.

    Exit code 0: all is in the picture. 3: something could not be seen; the picture says what.

    Example: trustbind graph -o html > roles.html
    """
    from trustbind.graph.model import Grouping  # noqa: PLC0415 - only when the command runs
    from trustbind_cli import values  # noqa: PLC0415 - as above
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.cluster_access import ClusterAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.graph.run import Wanted, run  # noqa: PLC0415 - as above
    from trustbind_cli.commands.who_can.reading import Asked  # noqa: PLC0415 - as above

    if filename or kustomize:
        by_files = "service accounts and bindings come from the files; leave it out"
        options.refuse_beside("-f", "--context", "--kubeconfig", given=(context, kubeconfig), because=by_files)
    if every_role and (roles or namespace):
        raise InvalidValueError("has an effect only without ROLE and -n; leave it out", field="--all-roles")
    asked = Asked(
        tuple(dict.fromkeys(values.role(text, "ROLE") for text in roles or ())),
        None,
        values.issuer(issuer) if issuer is not None else None,
        values.objects(filename, kustomize, recursive=recursive) if filename or kustomize else None,
        tuple(account_details or ()),
        tuple(trust or ()),
        ClusterAccess(kubeconfig, context, namespace),
        AwsAccess(profile, region),
        "graph",
    )
    raise typer.Exit(run(asked, Wanted(namespace, Grouping(by), every_role, output)))
