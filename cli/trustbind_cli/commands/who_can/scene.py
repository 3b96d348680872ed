"""What is known of the cluster and of AWS when the question is asked, and what could not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trustbind.api.annotations import DEFAULT_PREFIX, AnnotationKeys
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT, Issuer, Subject
from trustbind.policy.role_permissions import RolePermissions
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli.commands.import_.exports import ExportedRole
from trustbind_cli.files.manifests import DEFAULT_NAMESPACE, Objects, texts

__all__ = ["Scene"]

_ROLE_KEY = AnnotationKeys.under(DEFAULT_PREFIX).role_arn
_ENDED = frozenset({"Succeeded", "Failed"})
"""Phases of pods that use no credentials any more (Kubernetes documentation, "Pod Lifecycle")."""


@dataclass(slots=True)
class Scene:
    """See the module.

    Attributes:
        issuer: the cluster's; None: not known.
        objects: of the cluster.
        has_pods: whether the pods that are there are all that run.
        documents: role to trust policy.
        permissions: role to its other policies, as far as they are known.
        listed: AWS accounts of which all roles were listed.
        unseen: what could not be seen, one sentence each.
    """

    issuer: Issuer | None
    objects: Objects
    has_pods: bool
    documents: dict[RoleArn, TrustDocument] = field(default_factory=dict)
    permissions: dict[RoleArn, RolePermissions] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    unseen: list[str] = field(default_factory=list)
    _subjects: dict[tuple[str, str], frozenset[Subject]] = field(default_factory=dict)
    _annotated: dict[RoleArn, frozenset[Subject]] | None = None
    _pods: dict[Subject, list[str]] | None = None

    def add(self, exported: ExportedRole) -> None:
        """Take in a role and its trust policy; one that cannot be read is not seen."""
        try:
            role = RoleArn.parse(exported.arn)
            self.documents[role] = TrustDocument.parse(exported.policy, stored=True)
        except InvalidValueError as error:
            self.unseen.append(f"{exported.source}: {exported.arn}: {error}")

    def add_permissions(self, exported: ExportedRole) -> None:
        """Take in the other policies of a role, where they are known."""
        role = RoleArn.or_none(exported.arn)
        if role is not None and exported.permissions is not None:
            self.permissions[role] = exported.permissions

    def miss(self, text: str) -> None:
        """Note what could not be seen, once."""
        if text not in self.unseen:
            self.unseen.append(text)

    @property
    def service_accounts(self) -> frozenset[Subject]:
        """Those of the cluster."""
        return frozenset(Subject(namespace, name) for namespace, name in self.objects.accounts)

    def bindings(self, role: RoleArn, subject: Subject) -> list[RoleBinding]:
        """Return the bindings that give a role to a service account, as their target or association's role."""
        return [b for b in self.objects.bindings if b.role == role and subject in self.subjects(b)]

    def bound(self, role: RoleArn) -> frozenset[Subject]:
        """Return the service accounts to which bindings or annotations give a role."""
        by_binding = (s for b in self.objects.bindings if b.role == role for s in self.subjects(b))
        return frozenset((*by_binding, *self.annotated.get(role, ())))

    def subjects(self, binding: RoleBinding) -> frozenset[Subject]:
        """Return the service accounts of a binding."""
        key = (binding.ref.namespace, binding.ref.name)
        if key not in self._subjects:
            self._subjects[key] = frozenset(binding.subjects(self.objects.labels_in(binding.ref.namespace)))
        return self._subjects[key]

    @property
    def annotated(self) -> Mapping[RoleArn, frozenset[Subject]]:
        """Role to the service accounts that are annotated with it."""
        if self._annotated is None:
            found: dict[RoleArn, set[Subject]] = {}
            for (namespace, name), manifest in self.objects.accounts.items():
                role = RoleArn.or_none(texts(manifest, "annotations").get(_ROLE_KEY, "").strip())
                if role is not None:
                    found.setdefault(role, set()).add(Subject(namespace, name))
            self._annotated = {role: frozenset(subjects) for role, subjects in found.items()}
        return self._annotated

    def pods(self, subject: Subject) -> list[str] | None:
        """Return the names of the pods that run as a service account now; None: not known."""
        if not self.has_pods:
            return None
        if self._pods is None:
            self._pods = {}
            for pod in self.objects.pods:
                spec, status = pod.body.get("spec") or {}, pod.body.get("status") or {}
                name = str(spec.get("serviceAccountName") or DEFAULT_SERVICE_ACCOUNT)
                if status.get("phase") not in _ENDED:
                    running = str(pod.body.get("metadata", {}).get("name", ""))
                    self._pods.setdefault(Subject(pod.namespace or DEFAULT_NAMESPACE, name), []).append(running)
        return sorted(self._pods.get(subject, ()))
