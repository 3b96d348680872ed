"""One run of ``trustbind who-can``: read, ask, print."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from trustbind.errors import AwsError, InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.access import Verdict
from trustbind_cli import output
from trustbind_cli.account_roles import list_roles
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.cluster_objects import ClusterObjects, read_cluster
from trustbind_cli.commands.import_.exports import without_repeats
from trustbind_cli.commands.import_.run import Sources, exported
from trustbind_cli.commands.who_can import report
from trustbind_cli.commands.who_can.answer import Row, by_role, by_subject
from trustbind_cli.commands.who_can.scene import Scene
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.files.manifests import Objects
from trustbind_cli.options import TableOutput
from trustbind_cli.terminal import note
from trustbind_runtime.kubernetes.client import ApiError, NoClusterError

__all__ = ["Asked", "read_roles", "run", "scene_of"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options.

    Attributes:
        roles: who can assume these?
        subject: or which roles can this one assume?
        issuer: the cluster's; None: the live cluster's.
        objects: of the files; None: the live cluster's.
        account_details: files with trust policies.
        trust: ``ARN=FILE`` each.
        cluster: the way to the live cluster.
        aws: the way into AWS.
    """

    roles: tuple[RoleArn, ...]
    subject: Subject | None
    issuer: Issuer | None
    objects: Objects | None
    account_details: tuple[str, ...]
    trust: tuple[str, ...]
    cluster: ClusterAccess
    aws: AwsAccess


def run(asked: Asked, form: TableOutput) -> int:
    """Print the answer and return the exit code: 0 a subject can, 1 none can, 3 not enough was seen to tell.

    With conditions alone, a subject can only where everything was seen.

    Args:
        asked: the options.
        form: of the output.

    Raises:
        InvalidValueError: the issuer is needed and not known.
    """
    scene = scene_of(asked)
    try:
        read_roles(scene, asked)
    except AwsError as error:
        note(f"trustbind: {error}")
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


def scene_of(asked: Asked) -> Scene:
    """Return what is known of the cluster."""
    if asked.objects is not None:
        unseen = [] if asked.issuer else ["the cluster's issuer; give --issuer to see its service accounts"]
        return Scene(asked.issuer, asked.objects, has_pods=bool(asked.objects.pods), unseen=unseen)
    try:
        live = asyncio.run(_live(asked.cluster))
    except (NoClusterError, ApiError) as error:
        return Scene(asked.issuer, Objects(), has_pods=False, unseen=[f"the cluster: {error}"])
    if asked.issuer is not None and asked.issuer != live.issuer:
        return Scene(
            asked.issuer,
            Objects(aws_accounts=live.objects.aws_accounts),
            has_pods=False,
            unseen=[f"the cluster of {asked.issuer}: the one of this context has the issuer {live.issuer}"],
        )
    return Scene(live.issuer, live.objects, has_pods=True)


async def _live(cluster: ClusterAccess) -> ClusterObjects:
    api = await cluster.connect()
    try:
        return await read_cluster(api, with_pods=True)
    finally:
        await api.close()


def read_roles(scene: Scene, asked: Asked) -> None:
    """Read the trust policies: those of the roles, and of all others that may lead to them."""
    if asked.account_details or asked.trust:
        sources = Sources(asked.account_details, asked.trust, live=False, aws=asked.aws)
        roles = list(exported(Objects(), sources))
    else:
        roles, unseen = list_roles(scene.objects.aws_accounts.values(), asked.aws, "trustbind-who-can")
        scene.unseen += unseen
        if not unseen:
            scene.listed = {role.account_id for each in roles if (role := RoleArn.or_none(each.arn)) is not None}
    for each in without_repeats(roles):
        scene.add(each)
    for each in roles:
        scene.add_permissions(each)
