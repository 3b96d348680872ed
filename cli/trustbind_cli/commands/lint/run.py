"""One run of ``trustbind lint``: read, look, print."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trustbind.api.annotations import AnnotationKeys
from trustbind.api.manifests import Manifest
from trustbind.errors import AwsError, InvalidValueError
from trustbind.finding_kinds import FindingSeverity
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli import output
from trustbind_cli.account_roles import list_roles
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.cluster_objects import read_live
from trustbind_cli.commands.import_.exports import ExportedRole, without_repeats
from trustbind_cli.commands.import_.run import Sources, exported
from trustbind_cli.commands.lint import report
from trustbind_cli.commands.lint.found import Place, Seen, found_in
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.files.lines import first_lines
from trustbind_cli.files.manifests import DEFAULT_NAMESPACE, Objects, sort_out
from trustbind_cli.terminal import note
from trustbind_runtime.kubernetes.client import ApiError, NoClusterError

__all__ = ["Asked", "run"]

_NAMESPACED = frozenset({"RoleBinding", "ServiceAccount"})


@dataclass(frozen=True, slots=True)
class Asked:
    """The options.

    Attributes:
        manifests: of the files; None: no files are named.
        account_details: files with trust policies.
        trust: ``ARN=FILE`` each.
        live: whether the trust policies in AWS are read.
        issuer: the cluster's; None: the live cluster's, or not known.
        prefix: of the annotations.
        skip: codes that are left out.
        cluster: the way to the live cluster.
        aws: the way into AWS.
    """

    manifests: list[Manifest] | None
    account_details: tuple[str, ...]
    trust: tuple[str, ...]
    live: bool
    issuer: Issuer | None
    prefix: str
    skip: frozenset[str]
    cluster: ClusterAccess
    aws: AwsAccess

    @property
    def has_files(self) -> bool:
        """Whether something is read from files; else everything is live."""
        return self.manifests is not None or bool(self.account_details or self.trust)


def run(asked: Asked, fail_on: str, form: str) -> int:
    """Print the findings and return the exit code.

    Args:
        asked: the options.
        fail_on: the least severity for exit code 1.
        form: of the output.
    """
    unseen: list[str] = []
    seen = _seen(asked, unseen)
    found = [each for each in found_in(seen) if each.kind.code not in asked.skip]
    if form == "sarif":
        print(output.to_json(report.as_sarif(found)))
    elif form == "text":
        report.show(found)
        note(f"trustbind: {report.summary(found)}")
    else:
        print(output.to_data(report.as_data(found, unseen), form))
    for text in unseen:
        note(f"not seen: {text}")
    severities = list(FindingSeverity)
    bad = severities[: severities.index(FindingSeverity(fail_on)) + 1]
    if any(each.kind.severity in bad for each in found):
        return FAILED
    return UNKNOWN if unseen else DONE


def _seen(asked: Asked, unseen: list[str]) -> Seen:
    objects, issuer, places, is_whole = Objects(), asked.issuer, dict[str, Place](), False
    if asked.manifests is not None:
        objects, places = sort_out(asked.manifests), _places(asked.manifests)
    elif not asked.has_files:
        try:
            live = asyncio.run(read_live(asked.cluster))
            objects, is_whole = live.objects, not live.absent and not live.broken
            unseen += [f"the cluster has no {kind}s" for kind in live.absent]
            unseen += [f"the cluster: {each}" for each in live.broken]
            issuer = issuer or live.issuer
        except (NoClusterError, ApiError) as error:
            unseen.append(f"the cluster: {error}")
    documents: dict[RoleArn, TrustDocument] = {}
    for each in _roles(asked, objects, unseen):
        is_file = Path(each.source).is_file()
        try:
            role = RoleArn.parse(each.arn)
            documents[role] = TrustDocument.parse(each.policy, stored=True)
            places[str(role)] = Place(each.source, 0, str(role), is_file)
        except InvalidValueError as error:
            unseen.append(f"{each.source}: {each.arn}: {error}")
    return Seen(objects, documents, places, issuer, AnnotationKeys.under(asked.prefix), is_whole)


def _roles(asked: Asked, objects: Objects, unseen: list[str]) -> Iterable[ExportedRole]:
    roles: list[ExportedRole] = []
    if asked.account_details or asked.trust:
        sources = Sources(asked.account_details, asked.trust, live=False, aws=asked.aws)
        roles += exported(Objects(), sources)
    if asked.live or not asked.has_files:
        try:
            listed, problems = list_roles(objects.aws_accounts.values(), asked.aws, "trustbind-lint")
            roles += listed
            unseen += problems
        except AwsError as error:
            unseen.append(f"AWS: {error}")
    return without_repeats(roles)


def _places(manifests: Iterable[Manifest]) -> dict[str, Place]:
    """Return the name of each object to where it stands."""
    lines: dict[str, list[int]] = {}
    found: dict[str, Place] = {}
    for each in manifests:
        if each.source not in lines:
            lines[each.source] = first_lines(each.source)
        starts = lines[each.source]
        line = starts[each.document - 1] if each.document <= len(starts) else 0
        namespace = f"{each.namespace or DEFAULT_NAMESPACE}/" if each.kind in _NAMESPACED else ""
        what = f"{each.kind} {namespace}{each.name}"
        found[what] = Place(each.source, line, what, Path(each.source).is_file())
    return found
