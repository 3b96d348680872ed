"""What ``trustbind who-can`` and ``trustbind graph`` are asked, and what is read for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind_cli.account_roles import list_roles
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.cluster_objects import read_live
from trustbind_cli.commands.import_.exports import without_repeats
from trustbind_cli.commands.import_.run import Sources, exported
from trustbind_cli.commands.who_can.scene import Scene
from trustbind_cli.files.manifests import Objects
from trustbind_cli.terminal import note
from trustbind_runtime.kubernetes.client import ApiError, NoClusterError

__all__ = ["Asked", "read"]


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
        command: that asks, for CloudTrail.
    """

    roles: tuple[RoleArn, ...]
    subject: Subject | None
    issuer: Issuer | None
    objects: Objects | None
    account_details: tuple[str, ...]
    trust: tuple[str, ...]
    cluster: ClusterAccess
    aws: AwsAccess
    command: str


def read(asked: Asked) -> Scene | None:
    """Return what is known of the cluster and of the roles; None, which is said, where AWS lists no roles."""
    scene = _scene(asked)
    try:
        _read_roles(scene, asked)
    except AwsError as error:
        note(f"trustbind: {error}")
        return None
    return scene


def _scene(asked: Asked) -> Scene:
    """Return what is known of the cluster."""
    if asked.objects is not None:
        unseen = [] if asked.issuer else ["the cluster's issuer; give --issuer to see its service accounts"]
        return Scene(asked.issuer, asked.objects, has_pods=bool(asked.objects.pods), unseen=unseen)
    try:
        live = asyncio.run(read_live(asked.cluster, with_pods=True))
    except (NoClusterError, ApiError) as error:
        return Scene(asked.issuer, Objects(), has_pods=False, unseen=[f"the cluster: {error}"])
    if asked.issuer is not None and asked.issuer != live.issuer:
        return Scene(
            asked.issuer,
            Objects(aws_accounts=live.objects.aws_accounts),
            has_pods=False,
            unseen=[f"the cluster of {asked.issuer}: the one of this context has the issuer {live.issuer}"],
        )
    unseen = [f"the cluster: {each}" for each in live.broken]
    return Scene(live.issuer, live.objects, has_pods=True, unseen=unseen)


def _read_roles(scene: Scene, asked: Asked) -> None:
    """Read the trust policies: those of the roles, and of all others that may lead to them."""
    if asked.account_details or asked.trust:
        sources = Sources(asked.account_details, asked.trust, live=False, aws=asked.aws)
        roles = list(exported(Objects(), sources))
    else:
        roles, unseen = list_roles(scene.objects.aws_accounts.values(), asked.aws, f"trustbind-{asked.command}")
        scene.unseen += unseen
        if not unseen:
            scene.listed = {role.account_id for each in roles if (role := RoleArn.or_none(each.arn)) is not None}
    for each in without_repeats(roles):
        scene.add(each)
    for each in roles:
        scene.add_permissions(each)
