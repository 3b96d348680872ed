"""Annotated service accounts as bindings, as the operator's ``bindAnnotated`` makes them."""

from __future__ import annotations

from dataclasses import replace

from trustbind.api.annotated_binding import binding_name, takes_over, wanted_binding
from trustbind.api.annotations import AnnotationKeys, is_opted_out
from trustbind.api.manifests import Manifest
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind_cli.files.manifests import DEFAULT_NAMESPACE, Objects, texts

__all__ = ["annotated", "with_annotated"]


def annotated(objects: Objects, keys: AnnotationKeys) -> list[Manifest]:
    """Return the service accounts of the files whose annotation asks for more than the bindings of the files.

    A RoleBinding of the files counts where it has the name that the generated one would have, or takes over from that.
    """
    return [
        manifest
        for manifest in objects.accounts.values()
        if (found := texts(manifest, "annotations")).get(keys.role_arn, "").strip()
        and not is_opted_out(found)
        and not any(_counts_instead(binding, manifest, found[keys.role_arn].strip()) for binding in objects.bindings)
    ]


def with_annotated(objects: Objects, keys: AnnotationKeys) -> tuple[Objects, tuple[str, ...]]:
    """Return the objects with a binding for each service account of `annotated`, and why some get none.

    Args:
        objects: of the files.
        keys: of the annotations.
    """
    bindings = list(objects.bindings)
    unplaced = list(objects.unplaced)
    problems: list[str] = []
    for manifest in annotated(objects, keys):
        namespace = manifest.namespace or DEFAULT_NAMESPACE
        found = texts(manifest, "annotations")
        uid = str(manifest.body["metadata"].get("uid") or "")
        body = wanted_binding(namespace, manifest.name, uid, found, keys)
        if body is None:
            problems.append(
                f"ServiceAccount {namespace}/{manifest.name} is not bound: annotation {keys.role_arn} is "
                f"{found[keys.role_arn]!r}, which is not the ARN of an IAM role"
            )
            continue
        bindings.append(RoleBinding.parse(body))
        if not manifest.namespace and manifest.describe() not in unplaced:
            unplaced.append(manifest.describe())
    return replace(objects, bindings=bindings, unplaced=unplaced), tuple(problems)


def _counts_instead(binding: RoleBinding, account: Manifest, role: str) -> bool:
    if binding.ref.namespace != (account.namespace or DEFAULT_NAMESPACE):
        return False
    if binding.ref.name == binding_name(account.name):
        return True
    try:
        arn = RoleArn.parse(role)
    except InvalidValueError:
        return False
    return takes_over(binding, arn, account.name, texts(account, "labels"))
