"""The command ``trustbind``: arguments in, exit code out.

Exit codes: 0 done, 1 the answer is no (or AWS said so), 2 the command or a file is wrong, 3 something cannot be
written as asked, 130 interrupted.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Final, NoReturn

import typer

from trustbind import __version__
from trustbind.api.annotations import DEFAULT_EXPIRATION_SECONDS, DEFAULT_PREFIX
from trustbind.errors import AwsError, InvalidValueError, ManifestError, TrustbindError
from trustbind.identity.arns import account_of
from trustbind.policy.plan import DEFAULT_LIMIT
from trustbind_cli import options
from trustbind_cli import output as printing
from trustbind_cli.files import manifests
from trustbind_cli.output import INTERRUPTED, note
from trustbind_webhook.injection.decision import DEFAULT_MOUNT_PATH, InjectionSettings, Skip

__all__ = ["app", "main"]

WRONG: Final = 2
REFUSED: Final = 3

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


class TextOutput(StrEnum):
    """For people, or as data."""

    TEXT = "text"
    JSON = "json"


Files = Annotated[
    list[str],
    typer.Option(
        "-f", "--filename", metavar="FILE", help="File of YAML documents, or - for standard input. Repeatable."
    ),
]
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
        sys.exit(1 if isinstance(error, AwsError) else WRONG)
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
    sys.exit(code if isinstance(code, int) else 0)


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
    filename: Files,
    region: Annotated[str, typer.Option(help="Inject this AWS region.")] = "",
    sts_regional_endpoints: Annotated[
        bool, typer.Option("--sts-regional-endpoints", help="Inject AWS_STS_REGIONAL_ENDPOINTS=regional.")
    ] = False,
    annotation_prefix: Annotated[str, typer.Option(help="Prefix of the annotations.")] = DEFAULT_PREFIX,
    token_mount_path: Annotated[str, typer.Option(help="Where the token is mounted.")] = DEFAULT_MOUNT_PATH,
    token_expiration: Annotated[
        int, typer.Option(help="Life of tokens in seconds, 600 to 86400.")
    ] = DEFAULT_EXPIRATION_SECONDS,
    config_map: Annotated[
        str | None, typer.Option(metavar="FILE", help="kOps' ConfigMap of roles, where the webhook reads it.")
    ] = None,
    role_account_id: Annotated[
        str, typer.Option(metavar="ID", help="Account of roles that are given by name alone.")
    ] = "",
    role_partition: Annotated[str, typer.Option(help="Partition of such roles.")] = "aws",
    require_injected: Annotated[
        bool, typer.Option("--require-injected", help="Exit with 1 when a pod is not injected.")
    ] = False,
    output: Annotated[PodOutput, typer.Option("-o", "--output", help="Pods, or the patches.")] = PodOutput.YAML,
) -> None:
    """Print each pod as it would be stored; why one is not injected goes to standard error.

    The files hold Pods, ServiceAccounts and RoleBindings.

    Example: trustbind preview pod -f account.yaml -f pod.yaml --region eu-central-1
    """
    from trustbind_cli.commands.preview import pod as previews  # noqa: PLC0415 - each command loads only what it needs
    from trustbind_webhook.lookup.eks_webhook_sources import Compatibility  # noqa: PLC0415 - the same

    objects = options.objects(filename)
    settings = InjectionSettings(
        annotation_prefix=options.prefix(annotation_prefix),
        mount_path=options.mount_path(token_mount_path),
        token_expiration_seconds=options.expiration(token_expiration),
        region=region,
        sts_regional_endpoints=sts_regional_endpoints,
    )
    if not objects.pods:
        raise ManifestError(
            filename[0], 0, "there is no Pod in the files" if len(filename) > 1 else "there is no Pod in it"
        )
    further = Compatibility(
        entries=previews.read_config_map(config_map) if config_map else {},
        account_id=account_of(role_account_id, field="--role-account-id") if role_account_id else "",
        partition=role_partition,
    )
    pods = previews.preview_pods(objects, settings, further)
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
    if require_injected and not all(p.is_injected for p in pods):
        raise typer.Exit(1)


@preview_app.command("trust")
def preview_trust(
    filename: Files,
    role_arn: Annotated[str, typer.Option("--role-arn", metavar="ARN", help="The role whose trust policy is meant.")],
    issuer: IssuerUrl,
    current: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The trust policy as it is, or the output of 'aws iam get-role'. Absent: an empty one."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Characters that the account allows.")] = DEFAULT_LIMIT,
    diff: Annotated[bool, typer.Option("--diff", help="Print a readable difference instead.")] = False,
    output: Annotated[TrustOutput, typer.Option("-o", "--output", help="Format of the document.")] = TrustOutput.JSON,
) -> None:
    """Print the trust document that the bindings in the files lead to.

    Exit code 3, and a sentence, when it does not fit or cannot be written, when no binding names the role, and when
    the files do not tell enough: a binding with a selector needs the ServiceAccounts among them, and a RoleGrant with
    a selector the Namespace. With RoleGrants in the files, what none covers is refused and left out. A warning names
    what IAM refuses in the whole document, foreign statements included, and which statements never apply.

    Example: trustbind preview trust -f bindings.yaml --role-arn arn:aws:iam::444455556666:role/app
    --issuer https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF --diff
    """
    from trustbind_cli import findings as about  # noqa: PLC0415 - as above
    from trustbind_cli.commands.preview.trust import preview_trust as run  # noqa: PLC0415 - as above

    role = options.role(role_arn)
    where = options.issuer(issuer)
    objects = options.objects(filename)
    document = manifests.read_policy(current, role) if current is not None else None
    preview = run(objects, role, where, document, limit)
    for warning in preview.warnings:
        note(f"warning: {warning}")
    found = about.findings_of(preview.plan)
    if diff:
        printing.show_plan(preview.plan, refused=bool(preview.problems), findings=found)
    else:
        shown = preview.plan.document.to_json_object()
        print(printing.to_json(shown) if output is TrustOutput.JSON else printing.to_yaml(shown).rstrip())
        for finding in found:
            note(f"warning: {about.sentence(finding)}")
        for refusal in preview.plan.refusals:
            note(f"trustbind: refused ({refusal.reason}): {refusal.message}")
    for sentence in preview.problems:
        note(f"trustbind: {sentence}")
    if preview.is_refused:
        raise typer.Exit(REFUSED)


@app.command()
def evaluate(
    policy: Annotated[str, typer.Option(metavar="FILE", help="The trust policy, or - for standard input.")],
    principal: Annotated[
        str,
        typer.Option(
            metavar="ARN", help="Who calls: an OIDC provider's, role's, user's or account's ARN, or a service."
        ),
    ],
    action: Annotated[
        str, typer.Option(metavar="ACTION", help="What is called, such as sts:AssumeRoleWithWebIdentity.")
    ],
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A condition key of the request. A repeated KEY has several values."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="FILE", help="A JWT whose claims fill the context; it is not verified.")
    ] = None,
    output: Annotated[TextOutput, typer.Option("-o", "--output", help="Text, or data.")] = TextOutput.TEXT,
) -> None:
    """Print Allow or Deny, and why. Exit code 0 for Allow, 1 for Deny.

    The keys aws:PrincipalArn and aws:PrincipalAccount come from the principal, unless --context gives them; the ARN
    of a role's session does not tell aws:PrincipalArn.

    Example: trustbind evaluate --policy trust.json --action sts:AssumeRoleWithWebIdentity
    --principal arn:aws:iam::444455556666:oidc-provider/oidc.example.com --token token.jwt
    """
    from trustbind.evaluation import evaluate as decide  # noqa: PLC0415 - each command loads only what it needs
    from trustbind_cli.commands import evaluate as evaluation  # noqa: PLC0415

    document = manifests.read_policy(policy)
    claims = manifests.read_token(token) if token is not None else None
    given = evaluation.context_of(context or (), claims)
    request = evaluation.request_of(principal, action, given)
    decision = decide(document.to_json_object(), request)
    if output is TextOutput.JSON:
        print(printing.to_json(evaluation.as_json(decision)))
    else:
        print(evaluation.explain(decision))
    if claims is not None:
        note("note: the token's signature and expiry were not verified; only its claims were read")
    for text in evaluation.notes(document, request, decision, given):
        note(text)
    if not decision.allowed:
        raise typer.Exit(1)


@app.command()
def apply(
    filename: Files,
    issuer: IssuerUrl,
    role_arn: Annotated[
        list[str] | None,
        typer.Option(
            "--role-arn", metavar="ARN", help="Also write this role, though no binding may name it. Repeatable."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Annotated[TextOutput, typer.Option("-o", "--output", help="Text, or data.")] = TextOutput.TEXT,
) -> None:
    """Write the trust policies that the RoleBindings in the files ask for: plan, show, ask, write, read back.

    The files are the whole truth about the roles that they name: statements of this issuer that no binding in the
    files asks for are removed, all others are kept. AWSAccounts in the files say how to reach other accounts. With
    RoleGrants in the files, only what they cover is written. The operator decides in the same way.

    A binding with a selector needs the ServiceAccounts among the files, and a RoleGrant with a selector the Namespace.
    Without them, the roles of that binding are not written, and the exit code is 3.

    A chain is granted at its target role first: its source role trusts no service account before the target role
    trusts the source role. It is revoked in the opposite order. What stands of a binding that cannot be written now
    is kept.

    Example: trustbind apply -f bindings.yaml -f accounts.yaml --issuer https://oidc.example.com --dry-run
    """
    from trustbind_cli.commands.apply.run import run  # noqa: PLC0415 - boto3 takes long to load

    where = options.issuer(issuer)
    also = [options.role(text) for text in role_arn or ()]
    objects = options.objects(filename)
    if not objects.bindings and not also:
        raise ManifestError(filename[0], 0, "there is no RoleBinding in the files, and no --role-arn is given")

    def confirm(count: int) -> None:
        if yes:
            return
        if output is TextOutput.JSON:
            raise InvalidValueError("-o json cannot ask; add --yes or --dry-run")
        typer.confirm(f"Write {count} trust polic{'y' if count == 1 else 'ies'}?", abort=True, err=True)

    as_data = output is TextOutput.JSON
    raise typer.Exit(run(objects, where, also, confirm=confirm, dry_run=dry_run, as_data=as_data))


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
