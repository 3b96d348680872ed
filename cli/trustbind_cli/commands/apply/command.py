"""The command ``trustbind apply``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind.api.annotations import DEFAULT_PREFIX
from trustbind.errors import InvalidValueError
from trustbind_cli import options
from trustbind_cli.command_group import new_app
from trustbind_cli.exit_codes import FAILED

__all__ = ["app"]

app = new_app()


@app.command()
def apply(
    issuer: options.IssuerUrl,
    filename: options.Files = None,
    kustomize: options.Kustomizations = None,
    recursive: options.Recursive = False,
    role_arn: Annotated[
        list[str] | None,
        typer.Option(
            "--role-arn", metavar="ARN", help="Also write this role, though no binding may name it. Repeatable."
        ),
    ] = None,
    bind_annotated: options.BindAnnotated = False,
    annotation_prefix: options.Prefix = DEFAULT_PREFIX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    yes: options.Yes = False,
    profile: options.Profile = None,
    region: options.Region = None,
    output: options.DataOutput = options.OutputFormat.TEXT,
) -> None:
    """Write the trust policies that the RoleBindings in the files ask for: plan, show, ask, write, read back.

    The files are the whole truth about the roles that they name: statements of this issuer that no binding in the
    files asks for are removed, all others are kept. AWSAccounts in the files say how to reach other accounts. With
    RoleGrants in the files, only what they cover is written. The operator decides in the same way.

    A binding with a selector needs the ServiceAccounts among the files, and a RoleGrant with a selector the Namespace.
    Without them, the roles of that binding are not written, and the exit code is 3. It is 3 as well when your
    AWS credentials do not work, and 1 when a binding is refused.

    A chain is granted at its target role first: its source role trusts no service account before the target role
    trusts the source role. It is revoked in the opposite order. What stands of a binding that cannot be written now
    is kept.

    Example: trustbind apply -f bindings.yaml -f accounts.yaml --issuer https://oidc.example.com --dry-run
    """
    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.apply.run import run  # noqa: PLC0415 - as above

    where = values.issuer(issuer)
    also = [values.role(text) for text in role_arn or ()]
    objects, problems = values.bound(
        values.objects(filename, kustomize, recursive=recursive),
        values.prefix(annotation_prefix),
        also,
        bind=bind_annotated,
    )

    def confirm(count: int) -> None:
        if yes:
            return
        if output is not options.OutputFormat.TEXT:
            raise InvalidValueError(f"-o {output} cannot ask; add --yes or --dry-run")
        typer.confirm(f"Write {count} trust polic{'y' if count == 1 else 'ies'}?", abort=True, err=True)

    code = run(objects, where, also, AwsAccess(profile, region), confirm=confirm, dry_run=dry_run, form=output)
    raise typer.Exit(FAILED if problems else code)
