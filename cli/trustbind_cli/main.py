"""The command ``trustbind``: arguments in, exit code out.

Exit codes: see `trustbind_cli.exit_codes`.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from trustbind import __version__
from trustbind.api.annotations import DEFAULT_EXPIRATION_SECONDS, DEFAULT_PREFIX
from trustbind.errors import AwsError, InvalidValueError, ManifestError, TrustbindError
from trustbind.identity.arns import account_of
from trustbind.identity.subjects import DEFAULT_AUDIENCE, audience_of
from trustbind.policy.plan import DEFAULT_LIMIT
from trustbind_cli import options
from trustbind_cli import output as printing
from trustbind_cli.exit_codes import DONE, FAILED, INTERRUPTED, UNKNOWN, WRONG
from trustbind_cli.files import manifests
from trustbind_cli.files.sources import STANDARD_INPUT
from trustbind_cli.output import note
from trustbind_webhook.injection.decision import DEFAULT_MOUNT_PATH, Inject, Skip

__all__ = ["app", "main"]

app = typer.Typer(
    name="trustbind",
    help="AWS roles for Kubernetes workloads: no stored keys, no trust policies edited by hand.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
preview_app = typer.Typer(help="Show what would happen, from files alone.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(preview_app, name="preview")


class PodOutput(StrEnum):
    """How pods are printed."""

    YAML = "yaml"
    JSON = "json"
    PATCH = "patch"


class TrustOutput(StrEnum):
    """How a trust document is printed."""

    JSON = "json"
    YAML = "yaml"


class ImportOutput(StrEnum):
    """How an import is printed: the objects alone, or with all findings."""

    YAML = "yaml"
    JSON = "json"


class ExportOutput(StrEnum):
    """How trust policies are printed."""

    JSON = "json"
    TERRAFORM = "terraform"


class TextOutput(StrEnum):
    """For people, or as data."""

    TEXT = "text"
    JSON = "json"


Files = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--filename",
        metavar="FILE",
        help="File of YAML documents, folder of such files, or - for standard input. Repeatable.",
    ),
]
Recursive = Annotated[bool, typer.Option("-R", "--recursive", help="Also read the folders within folders.")]
Kustomizations = Annotated[
    list[str] | None,
    typer.Option(
        "-k", "--kustomize", metavar="DIR", help="Folder of a kustomization; needs kubectl or kustomize. Repeatable."
    ),
]
AccountDetails = Annotated[
    list[str] | None,
    typer.Option(
        "--account-details",
        metavar="FILE",
        help="Output of 'aws iam get-account-authorization-details', 'list-roles' or 'get-role'. Repeatable.",
    ),
]
TrustPolicies = Annotated[
    list[str] | None,
    typer.Option("--trust", metavar="ARN=FILE", help="One role and its trust policy. Repeatable."),
]
LiveRoles = Annotated[
    bool,
    typer.Option("--live", help="List the roles in AWS, also by the manager roles of AWSAccounts in the files."),
]
BindAnnotated = Annotated[
    bool,
    typer.Option(
        "--bind-annotated",
        help="Count annotated ServiceAccounts as bindings, as the operator does with bindAnnotated.mode Bind.",
    ),
]
Prefix = Annotated[str, typer.Option(help="Prefix of the annotations.")]
IssuerUrl = Annotated[str, typer.Option("--issuer", metavar="URL", help="The cluster's service-account token issuer.")]


def main() -> NoReturn:
    """Run the command line; never shows a trace for a user's mistake."""
    printing.escape_surrogates()
    try:
        code = app(standalone_mode=False, prog_name="trustbind")  # also under python -m
        sys.stdout.flush()
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.Abort:
        note("trustbind: stopped; nothing more was done")
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except TrustbindError as error:
        note(f"trustbind: {error}")
        sys.exit(FAILED if isinstance(error, AwsError) else WRONG)
    except BrokenPipeError:
        printing.leave_unread()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # click has caught it and leaves with 1
            printing.leave_unread()
        raise
    except Exception as error:
        if (shown := _usage(error)) is None:
            raise
        note(shown)
        sys.exit(WRONG)
    sys.exit(code if isinstance(code, int) else DONE)


def _usage(error: Exception) -> str | None:
    """Return click's usage error as one sentence; None when it is something else."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "trustbind"
    message = str(format_message()).replace("Value error, ", "").rstrip(".")
    # A group without a command is answered with its help, which is no sentence.
    return message if message.startswith("Usage:") else f"{path}: {message}; see '{path} --help'"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"trustbind {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """AWS roles for Kubernetes workloads: no stored keys, no trust policies edited by hand."""


@preview_app.command("pod")
def preview_pod(
    filename: Files = None,
    kustomize: Kustomizations = None,
    recursive: Recursive = False,
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
    from trustbind_cli.commands.preview import pod as previews  # noqa: PLC0415 - each command loads only what it needs

    objects = options.objects(filename, kustomize, recursive=recursive)
    options.say_unplaced(objects)
    config = options.webhook_config(webhook_config)
    settings = options.replaced(
        config.injection,
        annotation_prefix=None if annotation_prefix is None else options.prefix(annotation_prefix),
        mount_path=None if token_mount_path is None else options.mount_path(token_mount_path),
        token_expiration_seconds=None if token_expiration is None else options.expiration(token_expiration),
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
    further = options.replaced(
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


@preview_app.command("trust")
def preview_trust(
    issuer: IssuerUrl,
    filename: Files = None,
    kustomize: Kustomizations = None,
    recursive: Recursive = False,
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
    bind_annotated: BindAnnotated = False,
    annotation_prefix: Prefix = DEFAULT_PREFIX,
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
    from trustbind_cli.commands.preview import trust  # noqa: PLC0415 - as above

    where = options.issuer(issuer)
    role = None if role_arn is None else options.role(role_arn)
    if role is None and current is not None:
        raise InvalidValueError("it is the trust policy of one role; add --role-arn", field="--current")
    objects, problems = options.bound(
        options.objects(filename, kustomize, recursive=recursive),
        options.prefix(annotation_prefix),
        [] if role is None else [role],
        bind=bind_annotated,
    )
    document = manifests.read_policy(current, role) if current is not None else None
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
    output: Annotated[TextOutput, typer.Option("-o", "--output", help="Text, or data.")] = TextOutput.TEXT,
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
    from trustbind_cli.commands.evaluate.run import Asked, run  # noqa: PLC0415 - each command loads only what it needs

    whose = None if role is None else options.role(role, "--role")
    asked = Asked(policy, whose, live, principal, action, token)
    raise typer.Exit(run(asked, context or (), as_data=output is TextOutput.JSON))


@app.command()
def apply(
    issuer: IssuerUrl,
    filename: Files = None,
    kustomize: Kustomizations = None,
    recursive: Recursive = False,
    role_arn: Annotated[
        list[str] | None,
        typer.Option(
            "--role-arn", metavar="ARN", help="Also write this role, though no binding may name it. Repeatable."
        ),
    ] = None,
    bind_annotated: BindAnnotated = False,
    annotation_prefix: Prefix = DEFAULT_PREFIX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Annotated[TextOutput, typer.Option("-o", "--output", help="Text, or data.")] = TextOutput.TEXT,
) -> None:
    """Write the trust policies that the RoleBindings in the files ask for: plan, show, ask, write, read back.

    The files are the whole truth about the roles that they name: statements of this issuer that no binding in the
    files asks for are removed, all others are kept. AWSAccounts in the files say how to reach other accounts. With
    RoleGrants in the files, only what they cover is written. The operator decides in the same way.

    A binding with a selector needs the ServiceAccounts among the files, and a RoleGrant with a selector the Namespace.
    Without them, the roles of that binding are not written, and the exit code is 3. It is 1 when a binding is refused.

    A chain is granted at its target role first: its source role trusts no service account before the target role
    trusts the source role. It is revoked in the opposite order. What stands of a binding that cannot be written now
    is kept.

    Example: trustbind apply -f bindings.yaml -f accounts.yaml --issuer https://oidc.example.com --dry-run
    """
    from trustbind_cli.commands.apply.run import run  # noqa: PLC0415 - boto3 takes long to load

    where = options.issuer(issuer)
    also = [options.role(text) for text in role_arn or ()]
    objects, problems = options.bound(
        options.objects(filename, kustomize, recursive=recursive),
        options.prefix(annotation_prefix),
        also,
        bind=bind_annotated,
    )

    def confirm(count: int) -> None:
        if yes:
            return
        if output is TextOutput.JSON:
            raise InvalidValueError("-o json cannot ask; add --yes or --dry-run")
        typer.confirm(f"Write {count} trust polic{'y' if count == 1 else 'ies'}?", abort=True, err=True)

    as_data = output is TextOutput.JSON
    code = run(objects, where, also, confirm=confirm, dry_run=dry_run, as_data=as_data)
    raise typer.Exit(FAILED if problems else code)


@app.command("import")
def import_(
    issuer: IssuerUrl,
    account_details: AccountDetails = None,
    trust: TrustPolicies = None,
    live: LiveRoles = False,
    as_issuer: Annotated[
        str | None,
        typer.Option("--as", metavar="URL", help="Issuer of a new cluster: it gets what the one of --issuer has."),
    ] = None,
    filename: Files = None,
    kustomize: Kustomizations = None,
    recursive: Recursive = False,
    annotation_prefix: Prefix = DEFAULT_PREFIX,
    audience: Annotated[
        str, typer.Option(metavar="TEXT", help="Audience of the cluster's tokens, where a trust policy names none.")
    ] = DEFAULT_AUDIENCE,
    chains: Annotated[
        bool, typer.Option("--chains", help="Bind roles that trust a source role, with method AssumeRole.")
    ] = False,
    manager_role: Annotated[
        str, typer.Option(metavar="NAME", help="Role that the operator assumes in each AWS account.")
    ] = "",
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
    from trustbind_cli.commands.import_.run import Sources, run  # noqa: PLC0415 - each command loads only what it needs

    named = [*(filename or ()), *(account_details or ()), *(text.rpartition("=")[2] for text in trust or ())]
    if named.count(STANDARD_INPUT) > 1:
        raise InvalidValueError("standard input can be read only once")
    objects = manifests.Objects()
    if filename or kustomize:
        objects = options.objects(filename, kustomize, recursive=recursive)
        options.say_unplaced(objects)
    old = options.issuer(issuer)
    new = options.issuer(as_issuer, option="--as") if as_issuer is not None else None
    if new == old:
        raise InvalidValueError("is the issuer of --issuer; leave it out, or name the new cluster's", field="--as")
    code = run(
        objects,
        Sources(tuple(account_details or ()), tuple(trust or ()), live),
        old,
        new_issuer=new,
        annotation_prefix=options.prefix(annotation_prefix),
        audience=audience_of(audience, field="--audience"),
        chains=chains,
        manager_role=options.role_name(manager_role, "--manager-role") if manager_role else "",
        output_dir=output_dir,
        as_data=output is ImportOutput.JSON,
    )
    raise typer.Exit(code)


@app.command()
def export(
    issuer: IssuerUrl,
    account_details: AccountDetails = None,
    trust: TrustPolicies = None,
    live: LiveRoles = False,
    filename: Files = None,
    output_dir: Annotated[str | None, typer.Option(metavar="FOLDER", help="Write a file for each role there.")] = None,
    output: Annotated[ExportOutput, typer.Option("-o", "--output", help="JSON, or Terraform.")] = ExportOutput.JSON,
) -> None:
    """Print the trust policies that hold something of this cluster's trustbind, as plain ones, for another tool to own.

    Its statements get other Sids, and every request is answered as before. Foreign statements stay as they are. Nothing
    is written in AWS. To leave trustbind: let the other tool write these policies, then uninstall.

    Example: trustbind export --issuer https://oidc.example.com --account-details roles.json -o terraform
    """
    from trustbind_cli.commands.export.run import run  # noqa: PLC0415 - each command loads only what it needs
    from trustbind_cli.commands.import_.run import Sources, exported  # noqa: PLC0415

    sources = Sources(tuple(account_details or ()), tuple(trust or ()), live)
    objects = options.objects(filename, None, recursive=False) if filename else manifests.Objects()
    code = run(
        exported(objects, sources),
        options.issuer(issuer),
        as_terraform=output is ExportOutput.TERRAFORM,
        output_dir=output_dir,
    )
    raise typer.Exit(code)


@app.command()
def webhook(
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Settings as YAML.")] = None,
) -> None:
    """Run the admission webhook. Settings come from the file and from TRUSTBIND_WEBHOOK_* variables.

    Example: trustbind webhook --config webhook.yaml
    """
    from trustbind_webhook import server, settings  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(server.run(settings.load(config)))


@app.command()
def operator(
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Settings as YAML.")] = None,
) -> None:
    """Run the operator. Settings come from the file and from TRUSTBIND_OPERATOR_* variables.

    Example: trustbind operator --config operator.yaml
    """
    from trustbind_operator import app as operator_app  # noqa: PLC0415 - each command loads only what it needs
    from trustbind_operator import settings  # noqa: PLC0415

    raise typer.Exit(operator_app.run(settings.load(config)))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, and say how to poke at it.")] = False,
) -> None:
    """Show the whole path on this machine: no cluster, no AWS account.

    Example: trustbind demo --keep
    """
    try:
        from trustbind_cli import demo as show  # noqa: PLC0415 - needs the extra
    except ImportError as error:
        raise InvalidValueError(
            f"the demo needs the extra 'localaws' ({error}); install trustbind[localaws], or run 'make demo'"
        ) from None
    raise typer.Exit(show.run(keep=keep))
