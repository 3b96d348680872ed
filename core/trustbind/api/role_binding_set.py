"""`RoleBindingSet` objects as frozen values, and the RoleBinding that each namespace of one gets.

The operator creates the RoleBindings; the command line counts them among the bindings of its files. The set owns them,
so Kubernetes deletes them with it, and their finalizers revoke their trust.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from trustbind.api.label_selector import LabelSelector, RawSelector, selector_of
from trustbind.api.labels import SET_LABEL
from trustbind.api.role_binding import KIND as BINDING_KIND
from trustbind.api.role_binding import (
    MAX_NAMES,
    BindingRef,
    DeletionPolicy,
    Method,
    NamespacePattern,
    RawTemplate,
    RoleBinding,
)
from trustbind.api.strict import API_VERSION, Metadata, Strict, converted
from trustbind.errors import InvalidValueError

__all__ = ["KIND", "RoleBindingSet", "binding_name", "must_be_made_anew", "owning_set"]

KIND: Final = "RoleBindingSet"

MAX_NAME: Final = 63
"""Characters of a set's name: it is the value of a label."""

_MAX_UID: Final = 64
"""Characters of a uid, which has 36: the author of a RoleBinding writes its owners, and each uid is interned."""

_ANY_NAMESPACE: Final = "any"
_PATTERN = re.compile(r"[a-z0-9-]*\*[a-z0-9-]*", re.ASCII)


def binding_name(name: str) -> str:
    """Return the name that the bindings of the set with this name have."""
    return f"set-{name}"


@dataclass(frozen=True, slots=True)
class RoleBindingSet:
    """One set.

    Attributes:
        name: of the object.
        uid: of the object; empty for a file.
        selector: the namespaces, by their labels.
        binding: what each namespace gets, in a namespace that does not count; see `binding_in`.
        pattern: the namespaces that the trust policy names by a pattern (``subjects: Pattern``); None: each by name.
        revokes_strays: whether trust by the pattern is revoked while a namespace matches that the set does not select.
        template: the fields of its spec but for the service accounts, as they are written, with or without
            defaults.
        is_deleting: whether its deletion was asked for.
    """

    name: str
    uid: str
    selector: LabelSelector
    binding: RoleBinding
    template: Mapping[str, Any] = field(compare=False)
    pattern: NamespacePattern | None = None
    revokes_strays: bool = False
    is_deleting: bool = False

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> RoleBindingSet:
        """Return the set in ``manifest``.

        Raises:
            InvalidValueError: with the field and what must hold there.
        """
        raw = converted(manifest, _Manifest)
        name, spec = raw.metadata.name, raw.spec
        if not name:
            raise InvalidValueError("a name is required", field="metadata.name")
        if len(name) > MAX_NAME:
            raise InvalidValueError(
                f"has more than {MAX_NAME} characters; it is the value of a label of the set's bindings",
                field="metadata.name",
            )
        selector = selector_of(
            RawSelector(match_labels=dict(spec.namespace_selector.match_labels)), field="spec.namespaceSelector"
        )
        template = dict(manifest["spec"]["template"])
        body = _manifest(name, _ANY_NAMESPACE, spec.service_account_names, template)
        try:
            binding = RoleBinding.parse(body)
        except InvalidValueError as error:
            raise _placed(error) from None
        selector = selector or LabelSelector()
        return cls(
            name=name,
            uid=_uid(manifest),
            selector=selector,
            binding=binding,
            template=template,
            pattern=_pattern(spec, binding, selector),
            revokes_strays=spec.on_stray == "Revoke",
            is_deleting=raw.metadata.deletion_timestamp is not None,
        )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return whether a namespace with these labels gets a binding."""
        return self.selector.matches(labels)

    def ref_in(self, namespace: str) -> BindingRef:
        """Return which binding the namespace gets."""
        return BindingRef(namespace, self.binding.ref.name)

    def binding_in(self, namespace: str) -> RoleBinding:
        """Return the binding that the namespace gets."""
        return replace(self.binding, ref=self.ref_in(namespace))

    def manifest_in(self, namespace: str) -> dict[str, Any]:
        """Return the same as a manifest that the set owns."""
        manifest = _manifest(self.name, namespace, self.binding.service_account_names, self.template)
        owner = {"apiVersion": API_VERSION, "kind": KIND, "name": self.name, "uid": self.uid, "controller": True}
        manifest["metadata"] |= {"labels": {SET_LABEL: self.name}, "ownerReferences": [owner]}
        return manifest

    def is_as_wanted(self, found: RoleBinding) -> bool:
        """Return whether a binding's spec says what the set wants there."""
        wanted = replace(
            self.binding_in(found.ref.namespace),
            created=found.created,
            generation=found.generation,
            is_deleting=found.is_deleting,
            is_ready=found.is_ready,
            is_marked=found.is_marked,
            pattern=found.pattern,
        )
        return found == wanted


def must_be_made_anew(found: RoleBinding, wanted: RoleBinding) -> bool:
    """Return whether a binding cannot be changed into another, since ``spec.roleArn`` cannot."""
    return _role_of_spec(found) != _role_of_spec(wanted)


def owning_set(metadata: Mapping[str, Any]) -> str:
    """Return the uid of the RoleBindingSet that a RoleBinding was made for and that owns it; empty when none does.

    Args:
        metadata: of the RoleBinding, of whatever form.
    """
    labels, owners = metadata.get("labels"), metadata.get("ownerReferences")
    if not isinstance(labels, Mapping) or SET_LABEL not in labels or not isinstance(owners, list):
        return ""
    for owner in owners:
        if isinstance(owner, Mapping) and (owner.get("apiVersion"), owner.get("kind")) == (API_VERSION, KIND):
            uid = str(owner.get("uid", ""))
            return sys.intern(uid) if owner.get("controller") is True and len(uid) <= _MAX_UID else ""
    return ""


class _NamespaceSelector(Strict, frozen=True):
    match_labels: Annotated[dict[str, str], Meta(min_length=1, max_length=20)]


class _Spec(Strict, frozen=True):
    namespace_selector: _NamespaceSelector
    service_account_names: Annotated[list[str], Meta(min_length=1, max_length=MAX_NAMES)]
    template: RawTemplate
    subjects: Literal["Exact", "Pattern"] = "Exact"
    namespace_pattern: str | None = None
    on_stray: Literal["Keep", "Revoke"] = "Keep"


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: Literal["RoleBindingSet"]
    metadata: Metadata
    spec: _Spec


def _pattern(spec: _Spec, binding: RoleBinding, selector: LabelSelector) -> NamespacePattern | None:
    """Return the pattern of ``subjects: Pattern``.

    Raises:
        InvalidValueError: a field that it needs is missing, or one does not go with it.
    """
    text = spec.namespace_pattern
    if spec.subjects == "Exact":
        if text is not None:
            raise InvalidValueError("goes only with subjects: Pattern", field="spec.namespacePattern")
        return None
    if text is None:
        raise InvalidValueError("required with subjects: Pattern", field="spec.namespacePattern")
    if not _PATTERN.fullmatch(text) or len(text) > MAX_NAME or text == "*":
        raise InvalidValueError(
            f"{text!r} is not a pattern over namespaces: it has one *, and beside it lower-case letters, digits or '-' "
            f"(at most {MAX_NAME} characters); * alone would match every namespace",
            field="spec.namespacePattern",
        )
    for is_wrong, place, must in (
        (binding.method is not Method.WEB_IDENTITY, "method", "must be WebIdentity"),
        (binding.adopts, "adopt", "is not supported"),
        (binding.deletion_policy is not DeletionPolicy.REVOKE, "deletionPolicy", "must be Revoke"),
    ):
        if is_wrong:
            raise InvalidValueError(f"{must} with subjects: Pattern", field=f"spec.template.{place}")
    return NamespacePattern(text, selector.labels)


def _manifest(name: str, namespace: str, accounts: Any, template: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": BINDING_KIND,
        "metadata": {"name": binding_name(name), "namespace": namespace},
        "spec": {**template, "serviceAccountNames": list(accounts)},
    }


def _placed(error: InvalidValueError) -> InvalidValueError:
    """Return an error about a binding's spec as one about the set's."""
    if error.field.startswith("spec.") and not error.field.startswith("spec.serviceAccountNames"):
        return InvalidValueError(error.problem, field=f"spec.template.{error.field.removeprefix('spec.')}")
    return error


def _uid(manifest: Mapping[str, Any]) -> str:
    return str((manifest.get("metadata") or {}).get("uid") or "")


def _role_of_spec(binding: RoleBinding) -> str:
    """Return ``spec.roleArn``; with method PodIdentity, the target role has a field of its own."""
    is_associated = binding.method is Method.POD_IDENTITY
    return str(binding.association_role if is_associated else binding.role)
