"""The commands ``trustbind preview pod`` and ``trustbind preview trust``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from trustbind.api.annotations import DEFAULT_EXPIRATION_SECONDS, DEFAULT_PREFIX
from trustbind.errors import InvalidValueError, ManifestError
from trustbind.identity.arns import account_of
from trustbind.policy.plan import DEFAULT_LIMIT
from trustbind_cli import options
from trustbind_cli.command_group import new_app
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.terminal import note
from trustbind_webhook.injection.decision import DEFAULT_MOUNT_PATH

__all__ = ["app"]

app = new_app("Show what would happen, from files alone.")


class PodOutput(StrEnum):
    """How pods are printed."""

    YAML = "yaml"
    JSON = "json"
    PATCH = "patch"


class TrustOutput(StrEnum):
    """How a trust document is printed."""

    JSON = "json"
    YAML = "yaml"


@app.command("pod")
def preview_pod(
    filename: options.Files = None,
    kustomize: options.Kustomizations = None,
    recursive: options.Recursive = False,
    webhook_config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The webhook's settings, or manifests with its ConfigMap and MutatingWebhookConfiguration.",
        ),
    ] = None,
    region: Annotated[str | None, typer.Option(help="Inject this AWS region.")] = None,
    sts_regional_endpoints: Annotated[
        bool | None, typer.Option("--sts-regional-endpoints", help="Inject AWS_STS_REGIONAL_ENDPOINTS=regional.")
    ] = None,
    annotation_prefix: Annotated[
        str | None, typer.Option(help=f"Prefix of the annotations. Default: {DEFAULT_PREFIX}.")
    ] = None,
    token_mount_path: Annotated[
        str | None, typer.Option(help=f"Where the token is mounted. Default: {DEFAULT_MOUNT_PATH}.")
    ] = None,
    token_expiration: Annotated[
        int | None,
        typer.Option(help=f"Life of tokens in seconds, 600 to 86400. Default: {DEFAULT_EXPIRATION_SECONDS}."),
    ] = None,
    config_map: Annotated[
        str | None, typer.Option(metavar="FILE", help="kOps' ConfigMap of roles, where the webhook reads it.")
    ] = None,
    role_account_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Account of roles that are given by name alone.")
    ] = None,
    role_partition: Annotated[str | None, typer.Option(help="Partition of such roles. Default: aws.")] = None,
    require_injected: Annotated[
        bool,
        typer.Option(
            "--require-injected",
            help="Exit with 1 when a pod is not injected, with 3 when the files do not tell.",
        ),
    ] = False,
    output: Annotated[PodOutput, typer.Option("-o", "--output", help="Pods, or the patches.")] = PodOutput.YAML,
) -> None:
    """Print each pod as it would be stored; why one is not injected goes to standard error.

    The files hold Pods and workloads (Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job,
    CronJob, PodTemplate, and custom resources with a pod template in spec.template or spec.jobTemplate), and what
    decides about their pods: ServiceAccounts, RoleBindings and Namespaces. An option wins over --webhook-config.

    Example: trustbind preview pod -f account.yaml -f deployment.yaml --region eu-central-1
    """
    from trustbind_cli import output as printing  # noqa: PLC0415 - only when the command runs
    from trustbind_cli import values  # noqa: PLC0415 - as above
    from trustbind_cli.commands.preview import pod as previews  # noqa: PLC0415 - as above
    from trustbind_webhook.injection.decision import Inject, Skip  # noqa: PLC0415 - as above

    objects = values.objects(filename, kustomize, recursive=recursive)
    values.say_unplaced(objects)
    config = values.webhook_config(webhook_config)
    settings = values.replaced(
        config.injection,
        annotation_prefix=None if annotation_prefix is None else values.prefix(annotation_prefix),
        mount_path=None if token_mount_path is None else values.mount_path(token_mount_path),
        token_expiration_seconds=None if token_expiration is None else values.expiration(token_expiration),
        region=region,
        sts_regional_endpoints=sts_regional_endpoints,
    )
    if not objects.pods:
        names = [*(filename or ()), *(kustomize or ())]
        raise ManifestError(
            names[0],
            0,
            f"there is no Pod, and no workload with a pod template, in {'it' if len(names) == 1 else 'the files'}",
        )
    further = values.replaced(
        config.compatibility,
        entries=previews.read_config_map(config_map) if config_map else None,
        account_id=account_of(role_account_id, field="--role-account-id") if role_account_id else None,
        partition=role_partition,
    )
    pods = previews.preview_pods(objects, settings, further, config.scope)
    for sentence in dict.fromkeys((*config.unknown, *(p.unknown for p in pods if isinstance(p.outcome, Inject)))):
        if sentence:
            note(f"not known: {sentence}")
    for preview in pods:
        if isinstance(preview.outcome, Skip):
            message = f": {preview.outcome.message}" if preview.outcome.message else ""
            note(f"{preview.described} is not injected ({preview.outcome.reason}){message}")
        for finding in preview.outcome.findings:
            note(f"{preview.described}: {finding}")
    match output:
        case PodOutput.YAML:
            print("---\n".join(printing.to_yaml(p.pod) for p in pods), end="")
        case PodOutput.JSON:
            print(printing.to_json([p.pod for p in pods]))
        case PodOutput.PATCH:
            print(printing.to_json([p.operations for p in pods]))
    if require_injected:
        raise typer.Exit(previews.exit_code(pods))


@app.command("trust")
def preview_trust(
    issuer: options.IssuerUrl,
    filename: options.Files = None,
    kustomize: options.Kustomizations = None,
    recursive: options.Recursive = False,
    role_arn: Annotated[
        str | None,
        typer.Option(
            "--role-arn",
            metavar="ARN",
            help="The role whose trust policy is meant. Absent: all that the files name, each under a heading.",
        ),
    ] = None,
    current: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The trust policy as it is, or the output of 'aws iam get-role'. Absent: an empty one."
        ),
    ] = None,
    bind_annotated: options.BindAnnotated = False,
    annotation_prefix: options.Prefix = DEFAULT_PREFIX,
    limit: Annotated[int, typer.Option(min=1, help="Characters that the account allows.")] = DEFAULT_LIMIT,
    diff: Annotated[bool, typer.Option("--diff", help="Print a readable difference instead.")] = False,
    output: Annotated[
        TrustOutput | None,
        typer.Option(
            "-o",
            "--output",
            help="Format of the document, by default JSON. Without --role-arn: one list of all roles as data.",
        ),
    ] = None,
) -> None:
    """Print the trust document that the bindings in the files lead to.

    Exit code 1, and a sentence, when it does not fit or cannot be written, or when no binding names the role. Exit
    code 3 when the files do not tell enough: a binding with a selector needs the ServiceAccounts among them, and a
    RoleGrant with a selector the Namespace. With RoleGrants in the files, what none covers is refused and left out. A
    warning names what IAM refuses in the whole document, foreign statements included, and which statements never
    apply.

    Example: trustbind preview trust -f bindings.yaml --role-arn arn:aws:iam::444455556666:role/app
    --issuer https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF --diff
    """
    from trustbind_cli import output as printing  # noqa: PLC0415 - only when the command runs
    from trustbind_cli import values  # noqa: PLC0415 - as above
    from trustbind_cli.commands.preview import trust  # noqa: PLC0415 - as above
    from trustbind_cli.files.manifests import read_policy  # noqa: PLC0415 - as above

    where = values.issuer(issuer)
    role = None if role_arn is None else values.role(role_arn)
    if role is None and current is not None:
        raise InvalidValueError("it is the trust policy of one role; add --role-arn", field="--current")
    objects, problems = values.bound(
        values.objects(filename, kustomize, recursive=recursive),
        values.prefix(annotation_prefix),
        [] if role is None else [role],
        bind=bind_annotated,
    )
    document = read_policy(current, role) if current is not None else None
    roles = trust.roles_in(objects) if role is None else [role]
    previews = [trust.preview_trust(objects, each, where, document, limit) for each in roles]
    if role is None and output is not None and not diff:
        shown = [preview.as_data() for preview in previews]
        print(printing.to_json(shown) if output is TrustOutput.JSON else printing.to_yaml(shown).rstrip())
    else:
        for number, preview in enumerate(previews):
            if number:
                print()
            trust.show(preview, heading=role is None, as_yaml=output is TrustOutput.YAML, diff=diff)
    codes = {preview.exit_code for preview in previews} | ({FAILED} if problems else set())
    raise typer.Exit(next((code for code in (FAILED, UNKNOWN) if code in codes), DONE))
