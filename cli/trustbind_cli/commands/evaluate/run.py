"""One run of the command: read, ask, print."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from trustbind.errors import AwsError, InvalidValueError, NotFoundError
from trustbind.evaluation import evaluate_call
from trustbind.evaluation.token_claims import without_tokens
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.commands.evaluate import report
from trustbind_cli.commands.evaluate.request import context_given, request_of, token_times
from trustbind_cli.exit_codes import FAILED, UNKNOWN
from trustbind_cli.files import manifests
from trustbind_cli.files.sources import STANDARD_INPUT
from trustbind_cli.options import OutputFormat
from trustbind_cli.terminal import note, without_control

__all__ = ["Asked", "run"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options.

    Attributes:
        policy: file of the trust policy; None with ``live``.
        role: whose it is; None where that is not said.
        live: whether to read it in AWS.
        principal: who calls; empty where that follows from the rest.
        action: what is called; the same.
        token: file of the token; None for none.
        aws: the way into AWS.
    """

    policy: str | None
    role: RoleArn | None
    live: bool
    principal: str
    action: str
    token: str | None
    aws: AwsAccess


def run(asked: Asked, context: Iterable[str], form: OutputFormat) -> int:
    """Print the answer and return the exit code.

    Args:
        asked: the options.
        context: ``KEY=VALUE`` pairs.
        form: text, or data.

    Raises:
        InvalidValueError: an option is wrong.
        ManifestError: a file is wrong.
    """
    _check(asked)
    known = context_given(context)
    claims = manifests.read_token(asked.token) if asked.token is not None else None
    try:
        document, role = _document(asked)
    except AwsError as error:
        note(f"trustbind: {error}")
        return FAILED if isinstance(error, NotFoundError) else UNKNOWN
    now = datetime.now(UTC)
    request = request_of(
        document, role=role, principal=asked.principal, action=asked.action, claims=claims, known=known, now=now
    )
    decision = evaluate_call(document.to_json_object(), request)
    found = report.findings_of(document, request, decision)
    if form is not OutputFormat.TEXT:
        print(without_tokens(output.to_data(report.as_json(request, decision, found), form)))
    else:
        print(without_control(without_tokens(report.explain(decision, found))))
    if claims is not None:
        note("note: the token's signature was not verified; only its claims were read")
        for sentence in token_times(claims, now):
            note(f"note: {sentence}")
    for sentence in report.clock_note(document, known):
        note(f"note: {sentence}")
    return report.exit_code(decision)


def _check(asked: Asked) -> None:
    if asked.live and asked.policy is not None:
        raise InvalidValueError("the trust policy is either in a file or read in AWS; leave one out", field="--live")
    if not asked.live and asked.policy is None:
        raise InvalidValueError("give the trust policy, or --live with --role", field="--policy")
    if asked.policy == asked.token == STANDARD_INPUT:
        raise InvalidValueError("standard input can be read only once")


def _document(asked: Asked) -> tuple[TrustDocument, RoleArn | None]:
    if asked.policy is not None:
        return manifests.read_role(asked.policy, asked.role)
    from trustbind_cli.commands.evaluate.live import read_role  # noqa: PLC0415 - boto3 takes long to load

    if asked.role is None:
        raise InvalidValueError("say which role is to be read with --role", field="--live")
    return read_role(asked.role, asked.aws), asked.role
