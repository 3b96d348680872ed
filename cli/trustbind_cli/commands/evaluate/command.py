"""The command ``trustbind evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind_cli import options
from trustbind_cli.command_group import new_app

__all__ = ["app"]

app = new_app()


@app.command()
def evaluate(
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The trust policy, or the output of 'aws iam get-role'; - is standard input."
        ),
    ] = None,
    role: Annotated[
        str | None, typer.Option(metavar="ARN", help="Whose trust policy it is. The output of get-role says it, too.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Read the trust policy of --role in AWS.")] = False,
    principal: Annotated[
        str,
        typer.Option(
            metavar="ARN",
            help="Who calls: an OIDC provider's, role's, user's or AWS account's ARN, or a service. Absent: the "
            "provider of the token's issuer, or the one principal that is allowed.",
        ),
    ] = "",
    action: Annotated[
        str, typer.Option(metavar="ACTION", help="What is called. Absent: as the principal assumes a role.")
    ] = "",
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A condition key of the request. A repeated KEY has several values."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="FILE", help="A JWT whose claims fill the context; it is not verified.")
    ] = None,
    profile: options.Profile = None,
    region: options.Region = None,
    output: options.DataOutput = options.OutputFormat.TEXT,
) -> None:
    """Print Allow, Deny or Depends, and why. Exit code 0 for Allow, 1 for Deny, 3 for Depends.

    Depends means that a condition is about a key whose value is not known: AWS fills it, as aws:UserAgent, or the
    caller may send it, as sts:ExternalId. It says which key, and what the trust policy expects; give the value with
    --context. The keys that follow from the token and from the principal have values. aws:CurrentTime is this machine's
    clock.

    A token with session tags or a source identity needs sts:TagSession or sts:SetSourceIdentity, too, and the answer
    is that to the whole call. What IAM refuses of the document, and what the rules about trust policies say of the
    statement that decides, is printed as well.

    Example: trustbind evaluate --policy role.json --token token.jwt
    """
    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.evaluate.run import Asked, run  # noqa: PLC0415 - as above

    whose = None if role is None else values.role(role, "--role")
    asked = Asked(policy, whose, live, principal, action, token, AwsAccess(profile, region))
    raise typer.Exit(run(asked, context or (), output))
