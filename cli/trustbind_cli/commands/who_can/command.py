"""The command ``trustbind who-can``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind.errors import InvalidValueError
from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


@app.command("who-can")
def who_can(
    roles: Annotated[list[str] | None, typer.Argument(metavar="[ROLE]...", help="ARN of a role.")] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="[NAMESPACE/]NAME", help="A service account: which roles can it assume?"),
    ] = None,
    namespace: options.Namespace = None,
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
        options.TableOutput, typer.Option("-o", "--output", help="Text, with further columns, or data.")
    ] = options.TableOutput.TEXT,
) -> None:
    """Print who can assume roles, or which roles a service account can assume, and by what.

    The answers are the evaluator's on the real trust policies: bindings and annotations only say where a role comes
    from. A verdict is yes, if (it depends on the conditions that are shown), unknown (something of the trust policy
    is not understood), or no (a binding or an annotation is for the role, and the trust policy does not allow it).

    Trust policies are read in AWS, or from files (--account-details, --trust). Service accounts, pods, bindings and
    AWSAccounts come from the live cluster, or from files (-f, with --issuer). What could not be seen is said.

    Exit code 0: at least one subject can. 1: none can, which is proven. 3: not enough could be seen to tell.

    Example: trustbind who-can arn:aws:iam::444455556666:role/app
    """
    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.cluster_access import ClusterAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.who_can.reading import Asked  # noqa: PLC0415 - as above
    from trustbind_cli.commands.who_can.run import run  # noqa: PLC0415 - as above

    if bool(roles) == (subject is not None):
        raise InvalidValueError("name roles, or a service account with --subject")
    if filename or kustomize:
        by_files = "service accounts and bindings come from the files; leave it out"
        options.refuse_beside("-f", "--context", "--kubeconfig", given=(context, kubeconfig), because=by_files)
    if namespace and (subject is None or "/" in subject):
        raise InvalidValueError("has an effect only with --subject NAME, without a namespace; leave it out", field="-n")
    cluster = ClusterAccess(kubeconfig, context, namespace)
    if subject is not None and "/" not in subject:
        subject = f"{cluster.chosen_namespace()}/{subject}"
    asked = Asked(
        tuple(dict.fromkeys(values.role(text, "ROLE") for text in roles or ())),
        values.subject(subject, "--subject") if subject is not None else None,
        values.issuer(issuer) if issuer is not None else None,
        values.objects(filename, kustomize, recursive=recursive) if filename or kustomize else None,
        tuple(account_details or ()),
        tuple(trust or ()),
        cluster,
        AwsAccess(profile, region),
        "who-can",
    )
    raise typer.Exit(run(asked, output))
