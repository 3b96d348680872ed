"""`RoleBinding` objects as frozen values, read from what the API server or a file gives.

The schema in ``manifests/crd`` says the same about structure and bounds; here it is said again because files never
pass an API server. Rules and messages that exist in both places are compared by a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from trustbind.api.annotations import MAX_EXPIRATION_SECONDS, MIN_EXPIRATION_SECONDS
from trustbind.api.condition_places import check_in_spec
from trustbind.api.extra_conditions import ExtraCondition, RawCondition, check_condition_sizes, conditions_of
from trustbind.api.federated_subjects import FederatedSubjects, RawConditionedSubjects, federated_of, raw_conditions
from trustbind.api.label_selector import LabelSelector, RawSelector, selector_of
from trustbind.api.labels import MANAGED_LABEL
from trustbind.api.strict import Metadata, Strict, check_size, converted, region_of
from trustbind.errors import InvalidValueError
from trustbind.identity import session_names
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject, audience_of

__all__ = [
    "EQUIVALENT",
    "KIND",
    "BindingRef",
    "DeletionPolicy",
    "Injection",
    "Method",
    "NamespacePattern",
    "RawTemplate",
    "RoleBinding",
    "Source",
]

KIND: Final = "RoleBinding"

DEFAULT_PROFILE: Final = "default"

_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)  # STS API reference, AssumeRole, ExternalId
_PROFILE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)

MAX_NAMES: Final = 50
"""Service accounts that a binding names."""

MAX_CHARACTERS: Final = 4096
"""Of a binding's service account names: a trust policy has room for 2,048 characters, unless the AWS account's quota
was raised."""

MAX_CONDITIONS_OF_ENTRIES: Final = 20
"""Of all entries of ``spec.federatedSubjects``."""

MIN_SESSION_SECONDS: Final = 900  # STS API reference, DurationSeconds
MAX_SESSION_SECONDS: Final = 43200  # IAM API reference, MaxSessionDuration
MAX_CHAINED_SESSION_SECONDS: Final = 3600  # IAM User Guide, "Role chaining"


MAX_SESSION_POLICY: Final = 2048  # STS API reference, AssumeRole, Policy


class Injection(StrEnum):
    """How a container gets its credentials."""

    TOKEN = "token"  # noqa: S105 - not a password
    """The SDK exchanges a service account token at STS."""
    CONTAINER_CREDENTIALS = "container credentials"
    """The SDK asks the EKS Pod Identity agent on the node."""


class Method(StrEnum):
    """How the workload gets the target role.

    Ask for what a method does by the properties; compare with a member only where that one method is meant.
    """

    WEB_IDENTITY = "WebIdentity"
    ASSUME_ROLE = "AssumeRole"
    POD_IDENTITY = "PodIdentity"

    @property
    def needs_oidc_provider(self) -> bool:
        """Whether an AWS account needs the cluster's OIDC provider: that of the source role, else of the target."""
        return self is not Method.POD_IDENTITY

    @property
    def has_source_role(self) -> bool:
        """Whether the workload assumes the target role from a source role, ``spec.source``."""
        return self is Method.ASSUME_ROLE

    @property
    def target_trusts_tokens(self) -> bool:
        """Whether the trust policy of the target role, and not of a source role, trusts tokens."""
        return self is Method.WEB_IDENTITY

    @property
    def writes_trust_policy(self) -> bool:
        """Whether a binding always has a statement in a trust policy; by EKS Pod Identity only a target role has."""
        return self is not Method.POD_IDENTITY

    @property
    def uses_pod_identity_association(self) -> bool:
        """Whether an EKS Pod Identity association connects service account and role; then it has one role."""
        return self is Method.POD_IDENTITY

    @property
    def injection(self) -> Injection:
        """How a container gets its credentials."""
        return Injection.CONTAINER_CREDENTIALS if self is Method.POD_IDENTITY else Injection.TOKEN


class DeletionPolicy(StrEnum):
    """What happens to the trust when the binding goes."""

    REVOKE = "Revoke"
    RETAIN = "Retain"
    RESTORE = "Restore"
    """The hand-written statements that the binding took over are written back."""


EQUIVALENT: Final = "Equivalent"
"""The one value of ``spec.adopt``."""


@dataclass(frozen=True, slots=True, order=True)
class BindingRef:
    """Which binding: namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """The first role of a chain: ``spec.source`` with method AssumeRole, the association's role with PodIdentity.

    Attributes:
        role: its ARN.
        manage_permission: whether an inline policy on it is kept that allows it to assume the target role.
        via_root: whether the target role trusts the source role's account, with a condition on the source role, instead
            of the source role itself; that survives the source role being deleted and created again.
    """

    role: RoleArn
    manage_permission: bool = True
    via_root: bool = False


@dataclass(frozen=True, slots=True, order=True)
class NamespacePattern:
    """Namespaces by a pattern over their names, as a RoleBindingSet with ``subjects: Pattern`` has it.

    Attributes:
        text: the pattern; it has one ``*``.
        labels: what each matching namespace must have; a ValidatingAdmissionPolicy enforces it.
        issuer: the cluster's; None where nobody has said it yet.
    """

    text: str
    labels: tuple[tuple[str, str], ...]
    issuer: Issuer | None = None

    def matches(self, namespace: str) -> bool:
        """Return whether a namespace of this name is trusted by the pattern."""
        head, _, tail = self.text.partition("*")
        return len(namespace) >= len(head) + len(tail) and namespace.startswith(head) and namespace.endswith(tail)

    def covers(self, other: NamespacePattern) -> bool:
        """Return whether every namespace that another pattern matches is matched by this one, too."""
        head, _, tail = self.text.partition("*")
        other_head, _, other_tail = other.text.partition("*")
        return other_head.startswith(head) and other_tail.endswith(tail)

    def subjects(self, accounts: Iterable[str]) -> tuple[str, ...]:
        """Return the patterns over subjects for service accounts of these names, sorted.

        Neither a namespace nor a service account has a colon in its name, so ``*`` never leaves its field.
        """
        return tuple(sorted(f"system:serviceaccount:{self.text}:{name}" for name in accounts))


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """What one `RoleBinding` object asks for.

    Attributes:
        ref: namespace and name.
        created: ``metadata.creationTimestamp`` in RFC 3339, empty when unknown (a file): such a binding counts as
            the newest, ties are broken by name.
        role: the target role: ``spec.roleArn``, or with method PodIdentity ``spec.targetRoleArn`` where there is one.
        source: the first role of a chain; with method PodIdentity and a target role, ``spec.roleArn``.
        service_account_names: the accounts by name; empty with a selector.
        selector: the accounts by label; None with names.
        token_expiration_seconds: clamped nowhere, since the schema bounds it; None when not given.
        session_duration_seconds: None when not given.
        conditions: further ones: on keys of AWS's own, for every statement of the target role, and on keys of the
            cluster's issuer, for the statement of the service accounts; sorted.
        federated: who of other issuers is let into the role besides the accounts.
        disable_session_tags: whether EKS adds no session tags (method PodIdentity).
        session_policy: a policy in JSON that narrows what the session may do (method PodIdentity); empty: none.
        adopts: whether hand-written statements that give the same answers as its own are replaced by its own.
        is_deleting: whether its deletion was asked for.
        is_ready: whether the stored status says that this generation of the spec is Ready; False for a file.
        is_marked: whether it has the label of bindings that the operator makes of annotations; users can set it, too.
        pattern: the namespaces whose service accounts its statement trusts instead of those of its own namespace alone;
            no manifest can say it: it is of the RoleBindingSet that owns the binding. None: its own namespace.
    """

    ref: BindingRef
    role: RoleArn
    created: str = ""
    generation: int = 0
    service_account_names: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    method: Method = Method.WEB_IDENTITY
    source: Source | None = None
    external_id: str = ""
    audience: str = DEFAULT_AUDIENCE
    session_name: str = ""
    session_duration_seconds: int | None = None
    token_expiration_seconds: int | None = None
    region: str = ""
    conditions: tuple[ExtraCondition, ...] = ()
    federated: tuple[FederatedSubjects, ...] = ()
    disable_session_tags: bool = False
    session_policy: str = ""
    profile: str = DEFAULT_PROFILE
    wait_until_ready: bool = False
    deletion_policy: DeletionPolicy = DeletionPolicy.REVOKE
    adopts: bool = False
    is_deleting: bool = False
    is_ready: bool = False
    is_marked: bool = False
    pattern: NamespacePattern | None = None

    @property
    def association_role(self) -> RoleArn:
        """The role that an EKS Pod Identity association of the binding names."""
        return self.source.role if self.source is not None else self.role

    @property
    def age_key(self) -> tuple[bool, str, BindingRef]:
        """Sorts bindings oldest first, those of unknown age last."""
        return (not self.created, self.created, self.ref)

    def names(self, account: str, labels: Mapping[str, str]) -> bool:
        """Return whether the binding is for the account of this name and these labels in its own namespace."""
        if self.selector is not None:
            return self.selector.matches(labels)
        return account in self.service_account_names

    def subjects(self, accounts: Mapping[str, Mapping[str, str]]) -> tuple[Subject, ...]:
        """Return the subjects that the binding names, sorted.

        Args:
            accounts: name to labels of the namespace's accounts; only needed where the binding has a selector. An
                account named in full counts whether it exists or not: trust may be there before the account is.
        """
        if self.selector is None:
            names = set(self.service_account_names)
        else:
            names = {name for name, labels in accounts.items() if self.selector.matches(labels)}
        return tuple(sorted(Subject(self.ref.namespace, name) for name in names))

    @classmethod
    def parse(cls, manifest: Mapping[str, Any], *, default_namespace: str = "default") -> RoleBinding:
        """Return the binding in ``manifest``.

        Raises:
            InvalidValueError: with the field and what must hold there.
        """
        raw = converted(manifest, _Manifest)
        if not raw.metadata.name:
            raise InvalidValueError("a name is required", field="metadata.name")
        spec = raw.spec
        role = _role(spec.role_arn, "spec.roleArn")
        namespace = raw.metadata.namespace or default_namespace
        _check_accounts(namespace, spec)
        _check_method(spec, role)
        _check_association(spec, role)
        _check_adoption(spec)
        source = _source(spec.source)
        if spec.target_role_arn is not None:
            role, source = _role(spec.target_role_arn, "spec.targetRoleArn"), Source(role)
        session = spec.session or _Session()
        if session.name is not None:
            session_names.check_template(session.name, field="spec.session.name")
        if not _PROFILE.fullmatch(spec.profile):
            raise InvalidValueError(
                f"{spec.profile!r} is not a profile name (at most 64 letters, digits or ._-)",
                field="spec.profile",
            )
        conditions = _conditions(spec, _source(spec.source))
        _check_conditions_of_entries(spec)
        federated = federated_of(spec.federated_subjects, field="spec.federatedSubjects")
        check_in_spec(
            conditions,
            [Issuer(entry.issuer) for entry in spec.federated_subjects or ()],
            for_cluster=spec.service_account_names is not None or spec.service_account_selector is not None,
        )
        return cls(
            ref=BindingRef(namespace, raw.metadata.name),
            role=role,
            created=raw.metadata.creation_timestamp or "",
            generation=raw.metadata.generation,
            service_account_names=tuple(sorted(set(spec.service_account_names or ()))),
            selector=selector_of(spec.service_account_selector, field="spec.serviceAccountSelector"),
            method=Method(spec.method),
            source=source,
            external_id=spec.external_id or "",
            audience=audience_of(spec.audience, field="spec.audience"),
            session_name=session.name or "",
            session_duration_seconds=session.duration_seconds,
            token_expiration_seconds=spec.token.expiration_seconds if spec.token else None,
            region="" if spec.region is None else region_of(spec.region, field="spec.region"),
            conditions=tuple(sorted(conditions)),
            federated=federated,
            disable_session_tags=spec.disable_session_tags or False,
            session_policy=spec.session_policy or "",
            profile=spec.profile,
            wait_until_ready=spec.wait_until_ready,
            deletion_policy=DeletionPolicy(spec.deletion_policy),
            adopts=spec.adopt is not None,
            is_deleting=raw.metadata.deletion_timestamp is not None,
            is_ready=_is_ready(raw.status, raw.metadata.generation),
            is_marked=isinstance(raw.metadata.labels, Mapping) and raw.metadata.labels.get(MANAGED_LABEL) == "true",
        )


class _Source(Strict, frozen=True):
    role_arn: str
    manage_permission: bool = True
    trusted_as: Literal["Role", "AccountRoot"] = "Role"


class _Session(Strict, frozen=True):
    name: Annotated[str, Meta(max_length=256)] | None = None
    duration_seconds: Annotated[int, Meta(ge=MIN_SESSION_SECONDS, le=MAX_SESSION_SECONDS)] | None = None


class _Token(Strict, frozen=True):
    expiration_seconds: Annotated[int, Meta(ge=MIN_EXPIRATION_SECONDS, le=MAX_EXPIRATION_SECONDS)] | None = None


class RawTemplate(Strict, frozen=True):
    """What a spec says besides whom it is for; also the template of a RoleBindingSet."""

    role_arn: str
    method: Literal["WebIdentity", "AssumeRole", "PodIdentity"] = "WebIdentity"
    source: _Source | None = None
    external_id: str | None = None
    target_role_arn: str | None = None
    disable_session_tags: bool | None = None
    session_policy: Annotated[str, Meta(min_length=1, max_length=MAX_SESSION_POLICY)] | None = None
    audience: str = DEFAULT_AUDIENCE
    session: _Session | None = None
    token: _Token | None = None
    region: str | None = None
    conditions: Annotated[list[RawCondition], Meta(max_length=10)] | None = None
    profile: str = DEFAULT_PROFILE
    wait_until_ready: bool = False
    deletion_policy: Literal["Revoke", "Retain", "Restore"] = "Revoke"
    adopt: Literal["Equivalent"] | None = None


class _Spec(RawTemplate, frozen=True):
    service_account_names: Annotated[list[str], Meta(min_length=1, max_length=MAX_NAMES)] | None = None
    service_account_selector: RawSelector | None = None
    federated_subjects: Annotated[list[RawConditionedSubjects], Meta(max_length=10)] | None = None


class _StoredCondition(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    status: str = ""
    observed_generation: int = 0


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    conditions: list[_StoredCondition] | None = None


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: Literal["RoleBinding"]
    metadata: Metadata
    spec: _Spec
    status: _Status | None = None


def _role(text: str, field: str) -> RoleArn:
    try:
        return RoleArn.parse(text)
    except InvalidValueError as error:
        raise error.within(field) from None


def _check_accounts(namespace: str, spec: _Spec) -> None:
    named, selected = spec.service_account_names is not None, spec.service_account_selector is not None
    if named == selected and (named or not spec.federated_subjects):
        raise InvalidValueError(
            "exactly one of serviceAccountNames and serviceAccountSelector is required", field="spec"
        )
    check_size(spec.service_account_names or (), MAX_CHARACTERS, field="spec.serviceAccountNames")
    for index, name in enumerate(spec.service_account_names or ()):
        try:
            Subject.of(namespace, name)
        except InvalidValueError as error:
            raise error.within(f"spec.serviceAccountNames[{index}]") from None
        if name in (spec.service_account_names or ())[:index]:
            raise InvalidValueError(f"{name!r} stands twice", field=f"spec.serviceAccountNames[{index}]")


def _check_method(spec: _Spec, role: RoleArn) -> None:
    method = Method(spec.method)
    if spec.federated_subjects and not method.target_trusts_tokens:
        raise InvalidValueError("goes only with method WebIdentity", field="spec.federatedSubjects")
    if spec.conditions and not method.writes_trust_policy:
        raise InvalidValueError("not supported with method PodIdentity", field="spec.conditions")
    if method.has_source_role:
        if spec.source is None:
            raise InvalidValueError("required with method AssumeRole: the role to start from", field="spec.source")
        if spec.source.role_arn == str(role):
            raise InvalidValueError("is the target role itself", field="spec.source.roleArn")
        source = _role(spec.source.role_arn, "spec.source.roleArn")
        if source.partition != role.partition:
            raise InvalidValueError(
                f"is in partition {source.partition} and the target in {role.partition}; "
                "no role can be assumed across partitions",
                field="spec.source.roleArn",
            )
        if spec.session and (spec.session.duration_seconds or 0) > MAX_CHAINED_SESSION_SECONDS:
            raise InvalidValueError(
                f"AWS caps a chained session at {MAX_CHAINED_SESSION_SECONDS} seconds",
                field="spec.session.durationSeconds",
            )
        if spec.external_id is not None and not _EXTERNAL_ID.fullmatch(spec.external_id):
            raise InvalidValueError(
                "an external id has 2 to 1224 letters, digits or characters of +=,.@:/_-",
                field="spec.externalId",
            )
        return
    for value, field in ((spec.source, "source"), (spec.external_id, "externalId")):
        if value is not None:
            raise InvalidValueError("goes only with method AssumeRole", field=f"spec.{field}")


def _check_association(spec: _Spec, role: RoleArn) -> None:
    """Check the fields of an EKS Pod Identity association (EKS API reference, CreatePodIdentityAssociation)."""
    if Method(spec.method).uses_pod_identity_association:
        if spec.target_role_arn is not None:
            target = _role(spec.target_role_arn, "spec.targetRoleArn")
            if target == role:
                raise InvalidValueError("is the association's own role", field="spec.targetRoleArn")
            if target.partition != role.partition:
                raise InvalidValueError(
                    f"is in partition {target.partition} and the association's role in {role.partition}; "
                    "no role can be assumed across partitions",
                    field="spec.targetRoleArn",
                )
        if spec.session_policy is not None:
            if not spec.disable_session_tags:
                raise InvalidValueError("needs spec.disableSessionTags: true", field="spec.sessionPolicy")
            _check_session_policy(spec.session_policy)
        return
    for value, field in (
        (spec.target_role_arn, "targetRoleArn"),
        (spec.disable_session_tags, "disableSessionTags"),
        (spec.session_policy, "sessionPolicy"),
    ):
        if value is not None:
            raise InvalidValueError("goes only with method PodIdentity", field=f"spec.{field}")


def _check_adoption(spec: _Spec) -> None:
    if spec.adopt is not None and not Method(spec.method).target_trusts_tokens:
        raise InvalidValueError("goes only with method WebIdentity", field="spec.adopt")
    if DeletionPolicy(spec.deletion_policy) is DeletionPolicy.RESTORE and spec.adopt is None:
        raise InvalidValueError("Restore needs spec.adopt: Equivalent", field="spec.deletionPolicy")


def _check_session_policy(text: str) -> None:
    try:
        policy = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidValueError("is not JSON", field="spec.sessionPolicy") from None
    if not isinstance(policy, dict) or "Statement" not in policy:
        raise InvalidValueError("is not a policy: a JSON object with a Statement", field="spec.sessionPolicy")


def _source(raw: _Source | None) -> Source | None:
    if raw is None:
        return None
    return Source(_role(raw.role_arn, "spec.source.roleArn"), raw.manage_permission, raw.trusted_as == "AccountRoot")


def _conditions(spec: _Spec, source: Source | None) -> tuple[ExtraCondition, ...]:
    field = "spec.conditions"
    check_condition_sizes(spec.conditions or (), field=field)
    conditions = conditions_of(spec.conditions, field=field)
    for index, condition in enumerate(conditions):
        key = condition.key.lower()
        if Method(spec.method).has_source_role and key == "sts:externalid":
            raise InvalidValueError("use spec.externalId instead", field=f"{field}[{index}].key")
        if source is not None and source.via_root and key == "aws:principalarn":
            raise InvalidValueError(
                "is not possible with trustedAs AccountRoot: the statement names the source role by it",
                field=f"{field}[{index}].key",
            )
    return conditions


def _check_conditions_of_entries(spec: _Spec) -> None:
    """Check what the conditions of all entries may have, together with those of the binding."""
    field = "spec.federatedSubjects[].conditions"
    listed = [condition for entry in spec.federated_subjects or () for condition in raw_conditions(entry)]
    if len(listed) > MAX_CONDITIONS_OF_ENTRIES:
        raise InvalidValueError(f"are more than {MAX_CONDITIONS_OF_ENTRIES} in all", field=field)
    if listed:
        check_condition_sizes([*(spec.conditions or ()), *listed], field=f"spec.conditions and {field}")


def _is_ready(status: _Status | None, generation: int) -> bool:
    conditions = (status.conditions if status else None) or []
    return any(c.type == "Ready" and c.status == "True" and c.observed_generation == generation for c in conditions)
