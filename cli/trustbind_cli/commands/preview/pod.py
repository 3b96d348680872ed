"""``trustbind preview pod``: what the webhook would do to a pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from trustbind.api.annotations import AnnotationKeys
from trustbind.api.strict import nearest
from trustbind.api.webhook_scope import WebhookScope
from trustbind.errors import InvalidValueError, ManifestError
from trustbind.reasons import SkipReason
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN
from trustbind_cli.files.manifests import DEFAULT_NAMESPACE, Objects, read_manifests, texts, texts_in
from trustbind_cli.files.pod_templates import PodManifest
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.json_patch import Operation, applied, patch
from trustbind_webhook.injection.pod import Pod, pod_of
from trustbind_webhook.lookup.eks_webhook_sources import Compatibility, Entry, Key, config_of, read_config

__all__ = ["PodPreview", "exit_code", "preview_pods", "read_config_map"]

_NOTHING: Final = Compatibility()
_EVERYWHERE: Final = WebhookScope()


@dataclass(frozen=True, slots=True)
class PodPreview:
    """One pod.

    Attributes:
        described: kind, namespace and name; of a workload's pod, those of the workload.
        outcome: what was decided.
        unknown: what the files do not tell and the outcome depends on; empty when they tell enough.
        operations: the patch, empty when nothing changes.
        pod: as it would be stored.
    """

    described: str
    outcome: Inject | Skip
    unknown: str
    operations: list[Operation]
    pod: dict[str, Any]

    @property
    def is_injected(self) -> bool:
        """Whether the pod has, or will have, all that it should; one that has it already lacks nothing."""
        return isinstance(self.outcome, Inject) or self.outcome.reason is SkipReason.ALREADY_INJECTED


def exit_code(previews: Iterable[PodPreview]) -> int:
    """Return `FAILED` when a pod is not injected, `UNKNOWN` when the files do not tell whether one is."""
    codes = {UNKNOWN if each.unknown else DONE if each.is_injected else FAILED for each in previews}
    return next((code for code in (FAILED, UNKNOWN) if code in codes), DONE)


def read_config_map(name: str) -> Mapping[Key, Entry]:
    """Return what the ConfigMap in a file says of accounts, as the webhook reads it (compatibility.configMapNamespace).

    Raises:
        ManifestError: the file holds no ConfigMap or several, or one that the webhook could not read.
    """
    found = [m for m in read_manifests([name]) if (m.api_version, m.kind) == ("v1", "ConfigMap")]
    if len(found) != 1:
        raise ManifestError(name, 0, f"it has to hold one ConfigMap, and holds {len(found) or 'none'}")
    try:
        return read_config(config_of(found[0].body.get("data")))
    except InvalidValueError as error:
        raise found[0].error(error) from None


def preview_pods(
    objects: Objects, settings: InjectionSettings, further: Compatibility = _NOTHING, scope: WebhookScope = _EVERYWHERE
) -> list[PodPreview]:
    """Return what the webhook would do to each pod.

    Args:
        objects: of the files.
        settings: the cluster's.
        further: what the further sources of the EKS webhook say of accounts.
        scope: which pods the webhook is called for.

    Raises:
        ManifestError: a pod cannot be understood.
    """
    result: list[PodPreview] = []
    for number, manifest in enumerate(objects.pods):
        pod = _pod(manifest)
        namespace = manifest.namespace or DEFAULT_NAMESPACE
        labels = objects.namespaces.get(namespace)
        if why := scope.left_out(namespace, labels, pod.metadata.labels or {}):
            result.append(_preview(manifest, namespace, Skip(SkipReason.WEBHOOK_NOT_CALLED, why), ""))
            continue
        outcome = decide(
            pod,
            further.applied(namespace, pod.account, _account(objects, namespace, pod.account), settings.keys),
            [b for b in objects.bindings if b.ref.namespace == namespace],
            settings,
            namespace=namespace,
            # At admission this is the request's uid; here, whatever tells this pod from the others of the files.
            unique=f"{namespace}/{pod.metadata.generate_name or ''}/{number}",
        )
        unknown = ""
        if isinstance(outcome, Inject) and labels is None and scope.needs_labels:
            unknown = (
                f"Namespace {namespace} is not in the files; add it with -f, since its labels decide whether the "
                "webhook is called"
            )
        if isinstance(outcome, Skip) and outcome.reason is SkipReason.ACCOUNT_NOT_FOUND:
            unknown = (
                f"ServiceAccount {namespace}/{pod.account} is not in the files; "
                "add it with -f, so that its annotations can be read"
            )
            outcome = replace(outcome, message=unknown)
        if isinstance(outcome, Skip) and outcome.reason is SkipReason.NOT_BOUND and not outcome.message:
            outcome = replace(outcome, message=_not_bound(objects, namespace, pod.account, settings))
        result.append(_preview(manifest, namespace, outcome, unknown))
    return result


def _preview(manifest: PodManifest, namespace: str, outcome: Inject | Skip, unknown: str) -> PodPreview:
    operations = patch(outcome) if isinstance(outcome, Inject) else []
    return PodPreview(manifest.described(namespace), outcome, unknown, operations, applied(manifest.body, operations))


def _pod(manifest: PodManifest) -> Pod:
    metadata = manifest.body.get("metadata") or {}
    texts_in(metadata.get("annotations"), manifest.field("metadata.annotations"), manifest.owner)
    try:
        return pod_of(manifest.body)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        field = manifest.field(place.rstrip("`"))
        raise manifest.owner.error(f"{field}: {problem}" if field else problem) from None


def _account(objects: Objects, namespace: str, name: str) -> Account | None:
    """Return the account; one that only a binding names counts as there, with no annotations."""
    manifest = objects.accounts.get((namespace, name))
    if manifest is not None:
        return Account(namespace, name, texts(manifest, "annotations"), texts(manifest, "labels"))
    named = any(b.ref.namespace == namespace and name in b.service_account_names for b in objects.bindings)
    return Account(namespace, name) if named else None


def _not_bound(objects: Objects, namespace: str, name: str, settings: InjectionSettings) -> str:
    """Return what was looked for in vain; the webhook says it shorter, since most pods need no role."""
    key = AnnotationKeys.under(settings.annotation_prefix).role_arn
    said = (
        f"ServiceAccount {namespace}/{name} has no annotation {key}, and no RoleBinding of namespace {namespace} in "
        "the files is for it"
    )
    elsewhere = sorted(
        str(b.ref) for b in objects.bindings if b.ref.namespace != namespace and name in b.service_account_names
    )
    if elsewhere:
        said += f"; {elsewhere[0]} names {name}, but a binding is for accounts of its own namespace"
    return said + _near_miss(objects, namespace, name)


def _near_miss(objects: Objects, namespace: str, name: str) -> str:
    """Return what keeps the account from the nearest binding of its namespace; empty when there is none near."""
    own = sorted((b for b in objects.bindings if b.ref.namespace == namespace), key=lambda b: b.ref)
    named = {other: binding for binding in own for other in binding.service_account_names}
    if near := nearest(name, named):
        return f"; {named[near].ref} names {near}"
    account = _account(objects, namespace, name)
    labels = account.labels if account else {}
    for binding in own:
        if binding.selector is not None:
            wanted, key = binding.selector.unmet(labels)
            has = (
                f"the account's label {key} is {labels[key]!r}" if key in labels else f"the account has no label {key}"
            )
            return f"; {binding.ref} selects {wanted}, and {has}"
    return ""
