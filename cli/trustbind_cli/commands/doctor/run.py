"""One run of ``trustbind doctor``: collect facts or read them, look at the chain, print."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from trustbind.diagnosis.chain import diagnose
from trustbind.diagnosis.error_text import ErrorClass, classify
from trustbind.diagnosis.facts import Bundle, Target, decode, not_visible
from trustbind.diagnosis.model import Case
from trustbind.errors import InvalidValueError, ManifestError, TrustbindError
from trustbind.identity.subjects import is_namespace, is_object_name
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.commands.doctor.disclosure import as_file, shown
from trustbind_cli.commands.doctor.report import as_data, exit_code, show
from trustbind_cli.commands.doctor.wanted import skipped_containers, wanted_of
from trustbind_cli.exit_codes import DONE
from trustbind_cli.files.sources import STANDARD_INPUT
from trustbind_cli.options import OutputFormat
from trustbind_cli.output import leave_calls, to_data
from trustbind_cli.progress import Progress
from trustbind_cli.terminal import note
from trustbind_webhook.injection.decision import InjectionSettings

__all__ = ["Asked", "run", "target_of"]

_COLLECT: Final = "--collect"
_KINDS = {
    **dict.fromkeys(("pod", "pods", "po"), "Pod"),
    **dict.fromkeys(("serviceaccount", "serviceaccounts", "sa"), "ServiceAccount"),
    **dict.fromkeys(("rolebinding", "rolebindings", "trb", "rolebindings.trustbind.dev"), "RoleBinding"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The options.

    Attributes:
        target: such as ``pod/web-0``; empty with ``source``.
        container: of the pod; empty: the first.
        error: the message that the workload got; empty: none.
        live: whether a token is exchanged.
        goes_on: whether everything is looked at.
        collect: file to write the facts to; None: look at them.
        source: file to read the facts from; None: cluster and AWS.
        wide: whether also links are printed that are not applicable.
        cluster: the way to the cluster.
        aws: the way into AWS.
    """

    target: str
    container: str
    error: str
    live: bool
    goes_on: bool
    collect: str | None
    source: str | None
    wide: bool
    cluster: ClusterAccess
    aws: AwsAccess


def run(asked: Asked, form: OutputFormat) -> int:
    """Print the diagnosis and return the exit code.

    Raises:
        InvalidValueError: an option, or the file of ``--from``, is wrong.
    """
    if asked.collect is not None:
        _check_target(asked.collect)
    error = classify(asked.error) if asked.error.strip() else None
    bundle = _read(asked.source) if asked.source is not None else _collect(asked, error)
    if asked.collect is not None:
        _write(asked.collect, bundle)
        note(f"trustbind: {asked.collect} is written; look at it with: trustbind doctor --from {asked.collect}")
        return DONE
    if error is None and bundle.error:
        error = classify(bundle.error)
    diagnosis = diagnose(_case(bundle, error), goes_on=asked.goes_on)
    if form is OutputFormat.TEXT:
        show(bundle, diagnosis, wide=asked.wide)
    else:
        print(to_data(as_data(bundle, diagnosis), form))
    return exit_code(diagnosis)


def target_of(text: str, namespace: str, container: str) -> Target:
    """Return what ``KIND/NAME`` names; a name alone is a pod's.

    Raises:
        InvalidValueError: it names no object of a kind that can be asked about.
    """
    kind, slash, name = text.partition("/")
    if not slash:
        kind, name = "pod", text
    found = _KINDS.get(kind.lower())
    if found is None or not is_object_name(name):
        raise InvalidValueError(
            f"{text!r} names nothing that can be asked about; write pod/NAME, serviceaccount/NAME or rolebinding/NAME"
        )
    if not is_namespace(namespace):
        raise InvalidValueError(f"{namespace!r} is no name of a namespace", field="-n")
    return msgspec.convert({"kind": found, "namespace": namespace, "name": name, "container": container}, Target)


def _case(bundle: Bundle, error: ErrorClass | None) -> Case:
    settings = _settings(bundle)
    try:
        now = datetime.fromisoformat(bundle.time)
    except ValueError:
        raise InvalidValueError(f"time {bundle.time!r} is no time; collect it again", field="--from") from None
    now = now if now.tzinfo is not None else now.replace(tzinfo=UTC)
    return Case(bundle, wanted_of(bundle, settings), error, now, skipped_containers(bundle, settings))


def _settings(bundle: Bundle) -> InjectionSettings:
    """Return the webhook's settings; those of a webhook without any where they cannot be seen or used."""
    text = bundle.settings.value
    if not text:
        return InjectionSettings()
    from trustbind_cli.files.webhook_settings import settings_of  # noqa: PLC0415 - pydantic takes long to load

    try:
        return settings_of(text, "settings of the webhook")
    except TrustbindError as error:
        note(f"not known: {error}")
        return InjectionSettings()


def _collect(asked: Asked, error: ErrorClass | None) -> Bundle:
    target = target_of(asked.target, asked.cluster.chosen_namespace(), asked.container)
    try:
        return asyncio.run(_collected(asked, target, error.action if error is not None else ""))
    except KeyboardInterrupt:
        leave_calls()
        raise


async def _collected(asked: Asked, target: Target, action: str) -> Bundle:
    # These load the clients of Kubernetes and AWS, which --from needs neither of.
    from trustbind_cli.commands.doctor.aws import read_aws  # noqa: PLC0415
    from trustbind_cli.commands.doctor.cluster import read_cluster, without_cluster  # noqa: PLC0415
    from trustbind_runtime.kubernetes.client import NoClusterError  # noqa: PLC0415

    time = datetime.now(UTC).isoformat(timespec="seconds")
    progress = Progress()
    api = None
    try:
        progress.say("reading the cluster")
        try:
            api = await asked.cluster.connect()
        except NoClusterError as problem:
            found = without_cluster(target, time, not_visible("there is no way to an API server", str(problem)))
        else:
            found = await read_cluster(api, target, time)
        bundle = msgspec.structs.replace(found.bundle, error=asked.error)
        settings = _settings(bundle)
        wanted = wanted_of(bundle, settings)
        progress.say("asking AWS")
        bundle = await read_aws(bundle, wanted, asked.aws, found.aws_accounts, action)
        if asked.live:
            from trustbind_cli.commands.doctor.live import ask_live  # noqa: PLC0415 - only then

            progress.say("exchanging a token")
            bundle = await ask_live(bundle, wanted, api, asked.aws.region or "")
        else:
            hidden: Any = not_visible("it takes a token; add --live")
            bundle = msgspec.structs.replace(bundle, claims=hidden, header=hidden, public=hidden, exchange=hidden)
        return shown(bundle, wanted, settings.keys)
    finally:
        progress.end()
        if api is not None:
            await api.close()


def _read(name: str) -> Bundle:
    if name == STANDARD_INPUT:
        return decode(sys.stdin.buffer.read(), "standard input")
    try:
        return decode(Path(name).read_bytes(), name)
    except OSError as error:
        raise ManifestError(name, 0, f"cannot be read: {error.strerror}") from None


def _check_target(name: str) -> None:
    """Raise where the facts cannot be written: before they are collected, which takes a while.

    Raises:
        InvalidValueError: the file exists, or cannot be created.
    """
    path = Path(name)
    if path.exists() or path.is_symlink():
        raise InvalidValueError(f"{name} exists, and nothing is written over it", field=_COLLECT)
    if not path.parent.is_dir():
        raise InvalidValueError(f"{name} cannot be written: there is no directory {path.parent}", field=_COLLECT)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidValueError(f"{name} cannot be written: Permission denied", field=_COLLECT)


def _write(name: str, bundle: Bundle) -> None:
    content = as_file(bundle)
    try:
        with Path(name).open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise InvalidValueError(f"{name} exists, and nothing is written over it", field=_COLLECT) from None
    except OSError as error:
        raise InvalidValueError(f"{name} cannot be written: {error.strerror}", field=_COLLECT) from None
