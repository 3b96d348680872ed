"""The command ``trustbind lint``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from trustbind.api.annotations import DEFAULT_PREFIX
from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


class LintOutput(StrEnum):
    """For people, as data, or for code hosts."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    SARIF = "sarif"


class FailOn(StrEnum):
    """The least severity that makes the command fail."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@app.command()
def lint(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="The same as -f FILE.")] = None,
    filename: options.Files = None,
    kustomize: options.Kustomizations = None,
    recursive: options.Recursive = False,
    account_details: options.AccountDetails = None,
    trust: options.TrustPolicies = None,
    live: options.LiveRoles = False,
    issuer: Annotated[
        str | None,
        typer.Option("--issuer", metavar="URL", help="The cluster's issuer. Absent: the live cluster's."),
    ] = None,
    annotation_prefix: options.Prefix = DEFAULT_PREFIX,
    fail_on: Annotated[FailOn, typer.Option("--fail-on", help="Least severity for exit code 1.")] = FailOn.ERROR,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="CODE", help="A finding that is left out. Repeatable.")
    ] = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
    profile: options.Profile = None,
    region: options.Region = None,
    output: Annotated[LintOutput, typer.Option("-o", "--output", help="Text, data, or SARIF.")] = LintOutput.TEXT,
) -> None:
    """Find faults and risks of trust policies, RoleBindings, RoleGrants and annotated service accounts.

    From files: objects (-f, -k) and trust policies (--account-details, --trust). With --live the trust policies are
    those in AWS. Without any of them, objects come from the live cluster, and trust policies from AWS.

    Each finding has a code, a severity and a place: file and line, object, or statement. --skip leaves a code out.

    Exit code 0: nothing of the severity of --fail-on, or worse, was found. 1: something was. 3: nothing was found, and
    not everything could be seen.

    Example: trustbind lint -f deploy/ -R --account-details roles.json --issuer https://oidc.example.com
    """
    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.cluster_access import ClusterAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.lint.run import Asked, run  # noqa: PLC0415 - as above

    names = [*(files or []), *(filename or [])]
    if names or kustomize or account_details or trust:
        nothing = "objects come from the files; leave it out"
        options.refuse_beside("files", "--context", "--kubeconfig", given=(context, kubeconfig), because=nothing)
        if not live:
            of_aws = "AWS is asked only with --live; leave it out"
            options.refuse_beside("files", "--profile", "--region", given=(profile, region), because=of_aws)
    asked = Asked(
        values.read_manifests(names, kustomize, recursive=recursive) if names or kustomize else None,
        tuple(account_details or ()),
        tuple(trust or ()),
        live,
        values.issuer(issuer) if issuer is not None else None,
        values.prefix(annotation_prefix),
        values.codes(skip or []),
        ClusterAccess(kubeconfig, context),
        AwsAccess(profile, region),
    )
    raise typer.Exit(run(asked, fail_on.value, output.value))
