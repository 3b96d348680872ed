"""One run of ``trustbind who-can``: read, ask, print."""

from __future__ import annotations

from trustbind.errors import InvalidValueError
from trustbind.policy.access import Verdict
from trustbind_cli import output
from trustbind_cli.commands.who_can import report
from trustbind_cli.commands.who_can.answer import Row, by_role, by_subject
from trustbind_cli.commands.who_can.reading import Asked, read
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.options import TableOutput
from trustbind_cli.terminal import note

__all__ = ["run"]


def run(asked: Asked, form: TableOutput) -> int:
    """Print the answer and return the exit code: 0 a subject can, 1 none can, 3 not enough was seen to tell.

    With conditions alone, a subject can only where everything was seen.

    Args:
        asked: the options.
        form: of the output.

    Raises:
        InvalidValueError: the issuer is needed and not known.
    """
    scene = read(asked)
    if scene is None:
        return UNKNOWN
    answers: list[tuple[str, list[Row]]] = []
    if asked.subject is not None:
        if scene.issuer is None:
            raise InvalidValueError("without a live cluster, say whose service account it is", field="--issuer")
        name = f"{asked.subject.namespace}/{asked.subject.name}"
        answers.append((name, by_subject(scene, scene.issuer, asked.subject)))
    for role in asked.roles:
        if role in scene.documents:
            answers.append((str(role), by_role(scene, role)))
        else:
            scene.miss(f"{role}: its trust policy was not found")
    if form in {TableOutput.JSON, TableOutput.YAML}:
        print(output.to_data(report.as_data(scene, answers), form))
    else:
        for number, (about, rows) in enumerate(answers):
            if len(answers) > 1:
                output.out.print(f"{'' if number == 0 else chr(10)}{about}")
            report.show(rows, wide=form is TableOutput.WIDE, by_subject=asked.subject is not None)
    for text in scene.unseen:
        note(f"not seen: {text}")
    verdicts = [row.access.verdict for _, rows in answers for row in rows]
    return _exit_code(verdicts, is_whole=not scene.unseen)


def _exit_code(verdicts: list[Verdict], *, is_whole: bool) -> int:
    if Verdict.YES in verdicts or (is_whole and Verdict.IF in verdicts):
        return DONE
    return FAILED if is_whole and Verdict.UNKNOWN not in verdicts else UNKNOWN
