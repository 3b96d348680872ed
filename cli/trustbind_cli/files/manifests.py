"""What the files of the user hold, as values: objects by kind, policies, tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trustbind.api import aws_account as aws_accounts
from trustbind.api import role_binding, role_binding_set, role_grant
from trustbind.api.aws_account import AwsAccount
from trustbind.api.manifests import Manifest, check_metadata, read
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_binding_set import RoleBindingSet
from trustbind.api.role_grant import RoleGrant
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError, ManifestError
from trustbind.evaluation.token_claims import decoded
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.document_rules import is_permissions_policy
from trustbind.policy.plan import Refusal
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind_cli.files.pod_templates import WORKLOADS, PodManifest, pod_in
from trustbind_cli.files.sources import template_problem, text_of

__all__ = [
    "Objects",
    "claims_of",
    "manifests_in",
    "read_manifests",
    "read_policy",
    "read_role",
    "read_token",
    "sort_out",
]

DEFAULT_NAMESPACE: Final = "default"
_GROUP: Final = API_VERSION.partition("/")[0]
_KINDS: Final = {role_binding.KIND, role_binding_set.KIND, role_grant.KIND, aws_accounts.KIND}
_NATIVE: Final = {("v1", "Pod"), ("v1", "ServiceAccount"), ("v1", "Namespace"), *WORKLOADS}
_NAMESPACED: Final = {("v1", "Pod"), ("v1", "ServiceAccount"), (_GROUP, role_binding.KIND), *WORKLOADS}
_JWT_PARTS: Final = 3


@dataclass(slots=True)
class Objects:
    """The objects of all files, by kind.

    Attributes:
        pods: Pods, and those that workloads lead to, in the order of the files.
        accounts: (namespace, name) to the account's manifest; of two with one name the later counts.
        bindings: all of them, and those of RoleBindingSets in the Namespaces of the files.
        aws_accounts: account id to object.
        grants: all of them.
        namespaces: name to labels.
        ignored: what the files hold besides, described, each with the reason.
        unplaced: objects without the namespace that a cluster would need to know, described, where it matters: bindings
            always, since a trust policy names it; others beside objects that have another.
        unresolved: roles of RoleBindingSets of which the files do not tell whom they bind, each with the reason.
    """

    pods: list[PodManifest] = field(default_factory=list)
    accounts: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    bindings: list[RoleBinding] = field(default_factory=list)
    aws_accounts: dict[str, AwsAccount] = field(default_factory=dict)
    grants: list[RoleGrant] = field(default_factory=list)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    unplaced: list[str] = field(default_factory=list)
    unresolved: dict[RoleArn, list[Refusal]] = field(default_factory=dict)

    def labels_in(self, namespace: str) -> dict[str, dict[str, str]]:
        """Return name to labels of the namespace's accounts."""
        return {
            name: texts(manifest, "labels") for (where, name), manifest in self.accounts.items() if where == namespace
        }


def read_manifests(files: Iterable[str]) -> list[Manifest]:
    """Return the objects of all files in order; ``-`` is standard input.

    Raises:
        ManifestError: a file cannot be read, a document cannot be used, or a template was not rendered.
    """
    result: list[Manifest] = []
    for name in files:
        result += manifests_in(text_of(name), name)
    return result


def manifests_in(text: str, source: str) -> list[Manifest]:
    """Return the objects of a text in order.

    Args:
        text: YAML or JSON.
        source: its name, for errors.

    Raises:
        ManifestError: a document cannot be used, or is a template that was not rendered.
    """
    try:
        found = read(text, source)
    except ManifestError:
        if problem := template_problem(text, source, is_readable=False):
            raise problem from None
        raise
    # A ConfigMap or a HelmRelease may hold such expressions, which another tool renders.
    if (problem := template_problem(text, source, is_readable=True)) and any(map(_is_template, found)):
        raise problem
    return found


def sort_out(manifests: Iterable[Manifest]) -> Objects:
    """Return the objects by kind, those of ours parsed.

    Raises:
        ManifestError: an object breaks a rule; names file, document, object and field.
    """
    objects = Objects()
    seen: dict[tuple[str, str, str], Manifest] = {}
    placed: list[Manifest] = []
    sets: list[tuple[Manifest, RoleBindingSet]] = []
    for manifest in manifests:
        group = manifest.api_version.partition("/")[0]
        if group == _GROUP or (group, manifest.kind) in _NATIVE:
            check_metadata(manifest)
        if (group, manifest.kind) in _NAMESPACED:
            placed.append(manifest)
        match (group, manifest.kind):
            case ("v1", "ServiceAccount"):
                _check_account(manifest)
                objects.accounts[manifest.namespace or DEFAULT_NAMESPACE, manifest.name] = manifest
            case ("v1", "Namespace"):
                objects.namespaces[manifest.name] = texts(manifest, "labels")
            case ("trustbind.dev", _):
                _add_own(objects, manifest, sets, seen)
            case _:
                if (pod := pod_in(manifest)) is not None:
                    objects.pods.append(pod)
                else:
                    objects.ignored.append((manifest.describe(), _why_ignored(group, manifest)))
    for manifest, each in sets:
        _add_bindings(objects, manifest, each)
    some = any(manifest.namespace not in {"", DEFAULT_NAMESPACE} for manifest in placed)
    objects.unplaced = [m.describe() for m in placed if not m.namespace and (some or m.api_version == API_VERSION)]
    return objects


def _add_own(
    objects: Objects,
    manifest: Manifest,
    sets: list[tuple[Manifest, RoleBindingSet]],
    seen: dict[tuple[str, str, str], Manifest],
) -> None:
    """Add an object of a kind of ours; a set waits until all Namespaces are known.

    Raises:
        ManifestError: it breaks a rule, stands twice, or there is no such kind.
    """
    if manifest.kind not in _KINDS:
        raise manifest.error(f"kind: there is no {manifest.kind} in {_GROUP}")
    _once(manifest, seen)
    match manifest.kind:
        case role_binding.KIND:
            objects.bindings.append(_parsed(manifest, RoleBinding.parse))
        case role_binding_set.KIND:
            sets.append((manifest, _parsed(manifest, RoleBindingSet.parse)))
        case role_grant.KIND:
            objects.grants.append(_parsed(manifest, RoleGrant.parse))
        case _:
            account = _parsed(manifest, AwsAccount.parse)
            if account.account_id in objects.aws_accounts:
                raise manifest.error(f"spec.accountId: {account.account_id} has an AWSAccount already")
            objects.aws_accounts[account.account_id] = account


def _add_bindings(objects: Objects, manifest: Manifest, wanted: RoleBindingSet) -> None:
    """Add the binding that each Namespace of the files gets of a set, unless the files have one of that name."""
    selected = sorted(name for name, labels in objects.namespaces.items() if wanted.selects(labels))
    if wanted.pattern is not None:
        reason = TrustReason.PATTERN_UNGUARDED
        why = "subjects: Pattern needs the operator, which sees whether the pattern is safe; give it to the cluster"
    elif not selected:
        labels = ", ".join(f"{key}={value}" for key, value in wanted.selector.labels)
        reason = TrustReason.NO_NAMESPACES
        why = f"no Namespace of the files has the labels {labels}; add the Namespaces that the set is for"
    else:
        known = {binding.ref for binding in objects.bindings}
        objects.bindings += [wanted.binding_in(name) for name in selected if wanted.ref_in(name) not in known]
        return
    objects.ignored.append((manifest.describe(), why))
    refusal = Refusal(None, reason, f"{manifest.describe()} may stand in it: {why}")
    source = wanted.binding.source
    for role in (wanted.binding.role, *((source.role,) if source is not None else ())):
        objects.unresolved.setdefault(role, []).append(refusal)


def _is_template(manifest: Manifest) -> bool:
    group = manifest.api_version.partition("/")[0]
    counts = group == _GROUP or (group, manifest.kind) in _NATIVE
    return counts and template_problem(json.dumps(manifest.body), manifest.source, is_readable=True) is not None


def _why_ignored(group: str, manifest: Manifest) -> str:
    if (group, manifest.kind) == ("rbac.authorization.k8s.io", role_binding.KIND):
        return f"it is Kubernetes RBAC's kind of that name; trustbind's has apiVersion {API_VERSION}"
    return "not used here"


def texts(manifest: Manifest, member: str) -> dict[str, str]:
    """Return ``metadata.<member>`` (labels or annotations), empty when absent.

    Raises:
        ManifestError: it is not a mapping of texts; a number or a boolean has to be quoted.
    """
    metadata = manifest.body.get("metadata") or {}
    return texts_in(metadata.get(member), f"metadata.{member}", manifest)


def texts_in(value: object, where: str, manifest: Manifest) -> dict[str, str]:
    """Return labels or annotations, empty when absent.

    Args:
        value: of the field.
        where: path of the field in the manifest.
        manifest: the object, for errors.

    Raises:
        ManifestError: see `texts`.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise manifest.error(f"{where}: expected a mapping of texts")
    for key, text in value.items():
        if not isinstance(text, str):
            raise manifest.error(f"{where}.{key}: expected a text; put {json.dumps(text)} in quotes")
    return dict(value)


def read_policy(name: str, of: RoleArn | None = None, *, option: str = "--role-arn") -> TrustDocument:
    """Return the trust document in a file: the document itself, or what ``aws iam get-role`` prints.

    Args:
        name: of the file.
        of: whose trust policy is meant, where that matters.
        option: that says so.

    Raises:
        ManifestError: the file cannot be read, holds no trust document, or that of another role.
    """
    return read_role(name, of, option=option)[0]


def read_role(name: str, of: RoleArn | None = None, *, option: str = "--role") -> tuple[TrustDocument, RoleArn | None]:
    """Return the trust document in a file, and whose it is where the file or ``of`` says so; see `read_policy`."""
    stated = None
    try:
        document = TrustDocument.parse(text_of(name))
        role = document.extra.get("Role")
        if not document.statements and isinstance(role, Mapping) and "AssumeRolePolicyDocument" in role:
            document = TrustDocument.parse(role["AssumeRolePolicyDocument"])
            stated = role.get("Arn")
        if isinstance(stated, str) and stated != str(of or stated):
            raise ManifestError(name, 0, f"it holds the role {stated}, and {option} is {of}")
        arn = RoleArn.parse(stated) if isinstance(stated, str) else of
    except InvalidValueError as error:
        raise ManifestError(name, 0, str(error)) from None
    if not document.statements and (others := sorted(document.extra.keys() - {"Id"})):
        raise ManifestError(name, 0, f"not a trust policy: it has {others[0]!r}, and no Statement")
    if is_permissions_policy(document):
        raise ManifestError(
            name,
            0,
            "not a trust policy: it is a permissions policy, with a Resource and without a Principal; the trust policy "
            "is AssumeRolePolicyDocument in the output of 'aws iam get-role'",
        )
    return document, arn


def read_token(name: str) -> dict[str, Any]:
    """Return the claims of the JWT in a file; see `claims_of`.

    Raises:
        ManifestError: the file cannot be read or holds no JWT.
    """
    return claims_of(text_of(name), name)


def claims_of(token: str, name: str) -> dict[str, Any]:
    """Return the claims of a JWT, which nobody has verified.

    Args:
        token: the JWT.
        name: of the file that holds it, for errors.

    Raises:
        ManifestError: it is no JWT.
    """
    parts = token.strip().split(".")
    if len(parts) != _JWT_PARTS:
        raise ManifestError(name, 0, "not a JWT: expected three parts separated by dots")
    claims = decoded(parts[1])
    if claims is None:
        raise ManifestError(name, 0, "not a JWT: its second part is not base64url of a JSON object")
    return claims


def _parsed(manifest: Manifest, parse: Any) -> Any:
    try:
        return parse(manifest.body)
    except InvalidValueError as error:
        raise manifest.error(error) from None


def _once(manifest: Manifest, seen: dict[tuple[str, str, str], Manifest]) -> None:
    key = (manifest.kind, manifest.namespace or DEFAULT_NAMESPACE, manifest.name)
    if (first := seen.get(key)) is not None:
        raise manifest.error(f"stands twice: also in {first.source}, document {first.document}")
    seen[key] = manifest


def _check_account(manifest: Manifest) -> None:
    try:
        Subject.of(manifest.namespace or DEFAULT_NAMESPACE, manifest.name)
    except InvalidValueError as error:
        raise manifest.error(f"metadata: {error}") from None
    texts(manifest, "annotations")
    texts(manifest, "labels")
