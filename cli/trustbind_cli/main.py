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
from trustbind.annotations import DEFAULT_EXPIRATION_SECONDS, DEFAULT_PREFIX, clamp_expiration
from trustbind.arns import RoleArn, account_of
from trustbind.errors import AwsError, InvalidValueError, ManifestError, TrustbindError
from trustbind.identities import Issuer
from trustbind.plan import DEFAULT_LIMIT, Refusal
from trustbind_cli import inputs, printing
from trustbind_cli.printing import note
from trustbind_webhook.decision import DEFAULT_MOUNT_PATH, InjectionSettings, Skip

__all__ = ["app", "main"]

WRONG: Final = 2
REFUSED: Final = 3
INTERRUPTED: Final = 130

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
    try:
        code = app(standalone_mode=False)
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
    output: Annotated[PodOutput, typer.Option("-o", "--output", help="Pods, or the patches.")] = PodOutput.YAML,
) -> None:
    """Print each pod as it would be stored; why one is not injected goes to standard error.

    The files hold Pods, ServiceAccounts and RoleBindings.

    Example: trustbind preview pod -f account.yaml -f pod.yaml --region eu-central-1
    """
    from trustbind_cli import preview as previews  # noqa: PLC0415 - each command loads only what it needs
    from trustbind_webhook.compatibility import Compatibility  # noqa: PLC0415 - the same

    objects = _objects(filename)
    settings = InjectionSettings(
        annotation_prefix=_prefix(annotation_prefix),
        mount_path=_mount_path(token_mount_path),
        token_expiration_seconds=_expiration(token_expiration),
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

    Exit code 3, and a sentence, when it does not fit or cannot be written.

    Example: trustbind preview trust -f bindings.yaml --role-arn arn:aws:iam::444455556666:role/app
    --issuer https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF --diff
    """
    from trustbind_cli import preview  # noqa: PLC0415 - each command loads only what it needs

    role = _role(role_arn)
    where = _issuer(issuer)
    objects = _objects(filename)
    document = inputs.read_policy(current) if current is not None else None
    planned = preview.preview_trust(objects, role, where, document, limit)
    if not any(role in {b.role, b.source.role if b.source else None} for b in objects.bindings):
        note(f"no RoleBinding in the files names {role}")
    if diff:
        printing.show_plan(planned)
    else:
        document_out = planned.document.to_json_object()
        print(printing.to_json(document_out) if output is TrustOutput.JSON else printing.to_yaml(document_out).rstrip())
    if planned.refusals:
        if not diff:
            _tell_refusals(planned.refusals)
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

    Example: trustbind evaluate --policy trust.json --action sts:AssumeRoleWithWebIdentity
    --principal arn:aws:iam::444455556666:oidc-provider/oidc.example.com --token token.jwt
    """
    from trustbind.evaluation import evaluate as decide  # noqa: PLC0415 - each command loads only what it needs
    from trustbind_cli import evaluate as evaluation  # noqa: PLC0415

    document = inputs.read_policy(policy)
    claims = inputs.read_token(token) if token is not None else None
    request = evaluation.request_of(principal, action, evaluation.context_of(context or (), claims))
    decision = decide(document.to_json_object(), request)
    if output is TextOutput.JSON:
        print(printing.to_json(evaluation.as_json(decision)))
    else:
        print(evaluation.explain(decision))
    if claims is not None:
        note("note: the token's signature and expiry were not verified; only its claims were read")
    elif not request.context and not decision.allowed:
        note("note: the request was evaluated with no condition keys at all; give --token, or --context KEY=VALUE")
    if not decision.allowed:
        raise typer.Exit(1)


@app.command()
def apply(
    filename: Files,
    issuer: IssuerUrl,
    role_arn: Annotated[
        list[str] | None,
        typer.Option(
            "--role-arn", metavar="ARN", help="Also bring this role in line, though no binding may name it. Repeatable."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Annotated[TextOutput, typer.Option("-o", "--output", help="Text, or data.")] = TextOutput.TEXT,
) -> None:
    """Bring the trust policies of roles in line with the RoleBindings in the files: plan, show, ask, write, read back.

    The files are the whole truth about the roles that they name: statements of this issuer's that no binding in the
    files wants are removed, all others are kept. AWSAccounts in the files say how to reach other accounts. With
    RoleGrants in the files, only what they cover is written.

    Example: trustbind apply -f bindings.yaml -f accounts.yaml --issuer https://oidc.example.com --dry-run
    """
    from trustbind_cli import apply as applying  # noqa: PLC0415 - boto3 takes long to load
    from trustbind_cli import outcomes  # noqa: PLC0415
    from trustbind_operator.iam import AwsAccess  # noqa: PLC0415

    where = _issuer(issuer)
    also = [_role(text) for text in role_arn or ()]
    objects = _objects(filename)
    if not objects.bindings and not also:
        raise ManifestError(filename[0], 0, "there is no RoleBinding in the files, and no --role-arn is given")
    prepared = applying.steps(objects, where, AwsAccess("trustbind-apply"), also)
    if output is TextOutput.TEXT:
        for step in prepared:
            outcomes.show(step)
    todo = [s for s in prepared if isinstance(s, applying.Step) and not s.is_empty and not s.is_stopped]
    if not dry_run and todo and not yes:
        if output is TextOutput.JSON:
            raise InvalidValueError("-o json cannot ask; add --yes or --dry-run")
        typer.confirm(f"Write {len(todo)} trust polic{'y' if len(todo) == 1 else 'ies'}?", abort=True, err=True)
    results = {r.role: r for r in prepared if isinstance(r, applying.Result)}
    if not dry_run:
        results |= {step.role: applying.carry_out(step) for step in todo}
    if output is TextOutput.JSON:
        print(printing.to_json([outcomes.as_json(s, results) for s in prepared]))
    elif not dry_run:
        for result in results.values():
            if result.problem is None:
                note(f"{result.role}: written and read back" if result.written else f"{result.role}: done")
    if outcomes.tell_problems(results.values()):
        raise typer.Exit(1)
    if any(outcomes.refusals_of(step) for step in prepared):
        raise typer.Exit(REFUSED)


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
    from trustbind_operator import process, settings  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(process.run(settings.load(config)))


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


def _objects(files: list[str]) -> inputs.Objects:
    if files.count("-") > 1:
        raise InvalidValueError("standard input can be read only once", field="-f")
    objects = inputs.sort_out(inputs.read_manifests(files))
    for described, hint in objects.ignored:
        note(f"{described} is ignored: {hint}")
    if objects.unplaced:
        note(f"no metadata.namespace, so {inputs.DEFAULT_NAMESPACE} is taken: {', '.join(objects.unplaced)}")
    return objects


def _role(text: str) -> RoleArn:
    try:
        return RoleArn.parse(text)
    except InvalidValueError as error:
        raise error.within("--role-arn") from None


def _issuer(text: str) -> Issuer:
    try:
        return Issuer.parse(text)
    except InvalidValueError as error:
        raise error.within("--issuer") from None


def _prefix(text: str) -> str:
    if not text or text.endswith("/") or any(c.isspace() for c in text):
        raise InvalidValueError(f"{text!r} is not a prefix, such as {DEFAULT_PREFIX}", field="--annotation-prefix")
    return text


def _mount_path(text: str) -> str:
    if not text.startswith("/") or ":" in text:
        raise InvalidValueError(f"{text!r} is not an absolute path in a container", field="--token-mount-path")
    return text


def _expiration(seconds: int) -> int:
    clamped = clamp_expiration(seconds)
    if clamped != seconds:
        note(f"--token-expiration: {seconds} is out of range, so {clamped} is used")
    return clamped


def _tell_refusals(refusals: tuple[Refusal, ...]) -> None:
    for refusal in refusals:
        note(f"trustbind: refused ({refusal.reason}): {refusal.message}")
