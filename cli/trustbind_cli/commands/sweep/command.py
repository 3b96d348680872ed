"""The command ``trustbind sweep``."""

from __future__ import annotations

from typing import Annotated

import typer

from trustbind.errors import AwsError, InvalidValueError
from trustbind_cli import options
from trustbind_cli.command_group import new_app
from trustbind_cli.exit_codes import UNKNOWN
from trustbind_cli.terminal import note

__all__ = ["app"]

app = new_app()


@app.command()
def sweep(
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="Whose statements. Absent: the live cluster's.")
    ] = None,
    cluster_gone: Annotated[
        bool, typer.Option("--cluster-gone", help="The cluster of --issuer is gone: all that it wrote goes.")
    ] = False,
    filename: options.Files = None,
    kustomize: options.Kustomizations = None,
    recursive: options.Recursive = False,
    account_details: options.AccountDetails = None,
    trust: options.TrustPolicies = None,
    retained: Annotated[
        bool, typer.Option("--retained", help="Also remove what deleted bindings left (deletionPolicy Retain).")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it. Absent: only show it.")] = False,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
    profile: options.Profile = None,
    region: options.Region = None,
    output: options.DataOutput = options.OutputFormat.TEXT,
) -> None:
    """Show what trustbind wrote in AWS and nothing wants any more; with --yes, remove it.

    What is wanted comes from the live cluster, or from files (-f), which are then the whole truth. Removed are
    statements of this cluster's trustbind that no binding wants, permissions of source roles that no chain needs, and
    EKS Pod Identity associations without a binding. What deleted bindings left goes with --retained only; of it, those
    service accounts go that the cluster does not have. A foreign statement always stays. So does a trust policy that
    has changed since it was shown, and what a binding wants that came since: the cluster is read again before a write.

    The statements of another cluster go with --issuer and --cluster-gone, when that cluster is gone. The issuer of the
    cluster of the context is refused, also with -f. Other AWS accounts are entered by the AWSAccounts of the files or
    of the live cluster.

    Exit code 0: nothing is left to remove. 1: something is, or it could not be removed. 3: not enough could be seen.

    Example: trustbind sweep --issuer https://oidc.example.com --cluster-gone
    """
    import asyncio  # noqa: PLC0415 - only when the command runs

    from trustbind_cli import values  # noqa: PLC0415 - only when the command runs
    from trustbind_cli.account_roles import list_roles  # noqa: PLC0415 - as above
    from trustbind_cli.aws_access import AwsAccess  # noqa: PLC0415 - as above
    from trustbind_cli.aws_errors import own_account, sentence  # noqa: PLC0415 - as above
    from trustbind_cli.cluster_access import ClusterAccess  # noqa: PLC0415 - as above
    from trustbind_cli.commands.import_.run import Sources, exported  # noqa: PLC0415 - as above
    from trustbind_cli.commands.sweep.run import run  # noqa: PLC0415 - as above
    from trustbind_cli.commands.sweep.sources import NotSeenError, wanted_by  # noqa: PLC0415 - as above
    from trustbind_cli.commands.sweep.wanted import Wanted  # noqa: PLC0415 - as above
    from trustbind_cli.files.manifests import Objects  # noqa: PLC0415 - as above
    from trustbind_runtime.kubernetes.client import ApiError  # noqa: PLC0415 - as above

    where = values.issuer(issuer) if issuer is not None else None
    if cluster_gone and where is None:
        raise InvalidValueError("say whose cluster is gone with --issuer", field="--cluster-gone")
    has_files = bool(filename or kustomize)
    if cluster_gone:
        options.refuse_beside("--cluster-gone", "--retained", given=(retained,), because="it removes that as well")
    elif has_files:
        because = "the files are the whole truth, and no cluster is read"
        options.refuse_beside("-f", "--kubeconfig", "--context", given=(kubeconfig, context), because=because)
    objects = values.objects(filename, kustomize, recursive=recursive) if has_files else None
    aws = AwsAccess(profile, region)
    sources = Sources(tuple(account_details or ()), tuple(trust or ()), live=False, aws=aws)
    is_live = not (account_details or trust)
    unseen: list[str] = []

    async def read() -> Wanted:
        return await wanted_by(where, objects, ClusterAccess(kubeconfig, context), is_gone=cluster_gone)

    try:
        wanted = asyncio.run(read())
        if wanted.note:
            note(f"note: {wanted.note}")
        if is_live:
            roles, unseen = list_roles(wanted.aws_accounts.values(), aws, "trustbind-sweep")
        else:
            roles = list(exported(Objects(), sources))
            if yes:
                asyncio.run(own_account(aws.sessions("trustbind-sweep")))
    except NotSeenError as error:
        note(f"not seen: {error}")
        raise typer.Exit(UNKNOWN) from None
    except (ApiError, AwsError) as error:
        note(f"trustbind: {sentence(error) if isinstance(error, AwsError) else error}")
        raise typer.Exit(UNKNOWN) from None
    code = run(wanted, read, roles, unseen, aws, retained=retained, asks_aws=is_live or yes, writes=yes, form=output)
    raise typer.Exit(code)
