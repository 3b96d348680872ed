"""One run of ``trustbind import``: read, decide, print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from trustbind.api.annotations import AnnotationKeys
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT, Issuer, Subject
from trustbind.migration.findings import ImportFinding, ImportReason
from trustbind.migration.importing import Existing, import_trust
from trustbind.migration.moving import moved
from trustbind.migration.service_accounts import ServiceAccounts
from trustbind.migration.trust_reader import ReadRole, read_role
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.commands.import_.exports import ExportedRole, read_export, read_named_policy, without_repeats
from trustbind_cli.commands.import_.report import as_json, files_of, sentences, summary
from trustbind_cli.exit_codes import DONE, FAILED
from trustbind_cli.files.manifests import DEFAULT_NAMESPACE, Objects, texts
from trustbind_cli.files.new_files import write_new
from trustbind_cli.progress import Progress
from trustbind_cli.terminal import note

__all__ = ["Progress", "Sources", "exported", "run"]

_STEP: Final = 500
"""Roles between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where trust policies come from.

    Attributes:
        exports: files that the AWS command line made.
        trust: ``ARN=FILE`` each.
        live: whether AWS is asked.
        aws: the way into AWS.
    """

    exports: tuple[str, ...]
    trust: tuple[str, ...]
    live: bool
    aws: AwsAccess


def run(
    objects: Objects,
    sources: Sources,
    issuer: Issuer,
    *,
    new_issuer: Issuer | None,
    annotation_prefix: str,
    audience: str,
    chains: bool,
    manager_role: str,
    output_dir: str | None,
    as_data: bool,
) -> int:
    """Return the exit code: 1 where a trust policy gives this cluster what no object of the import does.

    Args:
        objects: of the files.
        sources: see `Sources`.
        issuer: the cluster's that trust policies name.
        new_issuer: the cluster's that the objects are for; None: the same.
        annotation_prefix: of the service accounts' annotations.
        audience: see `read_role`.
        chains: see `import_trust`.
        manager_role: see `import_trust`.
        output_dir: folder for the objects; None: standard output.
        as_data: whether JSON is printed.

    Raises:
        InvalidValueError: no source is given, or a file of the folder exists.
        ManifestError: see `trustbind_cli.commands.import_.exports`.
        AwsError: AWS could not be asked.
    """
    if output_dir is not None and as_data:
        raise InvalidValueError("-o json prints everything; leave out --output-dir")
    progress = Progress()
    unreadable: list[ImportFinding] = []
    roles = exported(objects, sources, progress)
    reads = partial(read_role, issuer=issuer, includes_owned=new_issuer is not None, audience=audience)
    read = list(_read(roles, reads, progress, unreadable))
    progress.end()
    if new_issuer is not None:
        read = [moved(each, issuer, new_issuer) for each in read]
    outcome = import_trust(
        read,
        _service_accounts(objects, annotation_prefix),
        new_issuer or issuer,
        _existing(objects),
        chains=chains,
        adopts=new_issuer is None,
        manager_role=manager_role,
        unreadable=unreadable,
    )
    if as_data:
        print(output.to_json(as_json(outcome)))
    elif output_dir is not None:
        write_new(output_dir, {name: _yaml(documents) for name, documents in files_of(outcome).items()})
    elif documents := list(outcome.objects):
        print(_yaml(documents), end="")
    for text in sentences(outcome) if not as_data else ():
        note(text)
    note(f"trustbind: {summary(outcome)}")
    return FAILED if outcome.lost else DONE


def exported(objects: Objects, sources: Sources, progress: Progress | None = None) -> Iterator[ExportedRole]:
    """Return the roles that the sources name, as they are read.

    Raises:
        InvalidValueError: there is no source.
    """
    if not (sources.exports or sources.trust or sources.live):
        raise InvalidValueError("trust policies are needed: give --account-details, --trust or --live")
    return _exported(objects, sources, progress or Progress())


def _exported(objects: Objects, sources: Sources, progress: Progress) -> Iterator[ExportedRole]:
    for name in sources.exports:
        progress.say(f"reading {name}")
        yield from read_export(name)
    for text in sources.trust:
        yield read_named_policy(text)
    if sources.live:
        from trustbind_cli.commands.import_.live_roles import list_roles  # noqa: PLC0415 - boto3 takes long to load

        yield from list_roles(
            objects.aws_accounts.values(), sources.aws, lambda count: progress.say(f"listing roles in AWS: {count}")
        )


def _read(
    roles: Iterable[ExportedRole],
    reads: Callable[[RoleArn, TrustDocument], ReadRole],
    progress: Progress,
    unreadable: list[ImportFinding],
) -> Iterator[ReadRole]:
    for number, exported in enumerate(without_repeats(roles), start=1):
        if number % _STEP == 0:
            progress.say(f"reading trust policies: {number}")
        try:
            role = RoleArn.parse(exported.arn)
            document = TrustDocument.parse(exported.policy, stored=True)
        except InvalidValueError as error:
            message = f"{exported.source}: {exported.arn}: {error}"
            unreadable.append(ImportFinding(ImportReason.UNREADABLE, message))
            continue
        yield reads(role, document)


def _service_accounts(objects: Objects, prefix: str) -> ServiceAccounts:
    key = AnnotationKeys.under(prefix).role_arn
    annotations = {
        Subject(namespace, name): texts(manifest, "annotations").get(key, "")
        for (namespace, name), manifest in objects.accounts.items()
    }
    used = set()
    for pod in objects.pods:
        spec = pod.body.get("spec")
        name = spec.get("serviceAccountName") if isinstance(spec, dict) else None
        used.add(Subject(pod.namespace or DEFAULT_NAMESPACE, str(name or DEFAULT_SERVICE_ACCOUNT)))
    return ServiceAccounts(annotations, frozenset(used))


def _existing(objects: Objects) -> Existing:
    return Existing(
        tuple((b, b.subjects(objects.labels_in(b.ref.namespace))) for b in objects.bindings),
        frozenset(grant.name for grant in objects.grants),
        frozenset(objects.aws_accounts),
    )


def _yaml(documents: Iterable[dict[str, Any]]) -> str:
    return "---\n".join(map(output.to_yaml, documents))
