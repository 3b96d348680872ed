"""`RoleGrant` objects, and the one question they answer: may this binding have what it asks for?

Default deny. One grant has to cover all of a binding: its namespace, every service account that it names, its target
role, with method AssumeRole its source role, its audience, every subject of another issuer, and a deletion policy that
leaves trust behind. Two grants that cover a half each do not add up, since their authors did not think of the
combination.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from trustbind.api.federated_subjects import FederatedSubjects, RawFederatedSubjects, federated_of, uncovered
from trustbind.api.label_selector import LabelSelector, RawSelector, selector_of
from trustbind.api.role_binding import MAX_SESSION_SECONDS, MIN_SESSION_SECONDS, DeletionPolicy, Method, RoleBinding
from trustbind.api.strict import Metadata, Strict, check_size, converted
from trustbind.errors import InvalidValueError
from trustbind.evaluation.wildcards import glob_matches
from trustbind.identity.subjects import DEFAULT_AUDIENCE, audience_of

__all__ = ["CONSENT_TAG", "KIND", "PROTECTED_TAG", "Authorization", "RoleGrant", "arn_matches", "authorize", "consents"]

KIND: Final = "RoleGrant"

CONSENT_TAG: Final = "trustbind.dev/namespaces"
"""Tag of a role whose value lists the namespaces that may bind it, separated by spaces."""

PROTECTED_TAG: Final = "trustbind.dev/protected"
"""Tag of a role that no binding may name, whatever its value."""

DEFAULT_SESSION_SECONDS: Final = 3600
"""What STS gives when no duration is asked for (STS API reference, AssumeRoleWithWebIdentity, DurationSeconds)."""


DEFAULT_MAX_BINDINGS: Final = 500
"""RoleBindings of one namespace. Far more than a team writes, and few enough to decide about at once."""

DEFAULT_MAX_SUBJECTS: Final = 2000
"""Service accounts that the RoleBindings of one namespace name or select, each counted for each binding. Trust policies
have room for some hundreds, so a team needs many roles to get there."""


MAX_COUNT: Final = 100_000
"""A larger ``maxBindings`` or ``maxSubjects`` is a typing error."""


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """What one grant allows.

    Attributes:
        name: of the object.
        namespaces: by name.
        selector: namespaces by label; None: none by label. Their union counts.
        service_account_names: globs.
        role_arns: globs over whole ARNs; ``*`` does not cross ``:``.
        methods: allowed methods.
        federated: subjects of other issuers that may be let in; none unless named.
        max_session_seconds: None: no bound of the grant's.
        audiences: allowed audiences of the cluster's tokens.
        allow_retain: whether a binding may leave its trust when it is deleted.
        allow_adopt: whether a binding may replace hand-written statements by its own.
        allow_patterns: whether the bindings of a RoleBindingSet may name namespaces by a pattern.
        max_bindings: RoleBindings of one namespace.
        max_subjects: service accounts that the RoleBindings of one namespace name or select.
    """

    name: str
    namespaces: tuple[str, ...]
    selector: LabelSelector | None
    service_account_names: tuple[str, ...]
    role_arns: tuple[str, ...]
    methods: tuple[Method, ...]
    federated: tuple[FederatedSubjects, ...] = ()
    max_session_seconds: int | None = None
    audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,)
    allow_retain: bool = False
    allow_adopt: bool = False
    allow_patterns: bool = False
    max_bindings: int = DEFAULT_MAX_BINDINGS
    max_subjects: int = DEFAULT_MAX_SUBJECTS

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> RoleGrant:
        """Return the grant in ``manifest``.

        Raises:
            InvalidValueError: with the field and what must hold there.
        """
        raw = converted(manifest, _Manifest)
        spec = raw.spec
        if not raw.metadata.name:
            raise InvalidValueError("a name is required", field="metadata.name")
        if not spec.namespaces.names and spec.namespaces.selector is None:
            raise InvalidValueError("names, selector or both are required", field="spec.namespaces")
        for index, pattern in enumerate(spec.role_arns):
            if not pattern.startswith("arn:") or pattern.count(":") != _ARN_COLONS or ":role/" not in pattern:
                raise InvalidValueError(
                    f"{pattern!r} is not a pattern over a whole role ARN, such as "
                    "arn:aws:iam::123456789012:role/team-a/*",
                    field=f"spec.roleArns[{index}]",
                )
        for field, listed in (
            ("namespaces.names", spec.namespaces.names or ()),
            ("serviceAccountNames", spec.service_account_names),
            ("roleArns", spec.role_arns),
            ("methods", spec.methods),
            ("audiences", spec.audiences),
        ):
            if len(set(listed)) != len(listed):
                raise InvalidValueError("an entry stands twice", field=f"spec.{field}")
        check_size(spec.service_account_names, _MAX_NAME_CHARACTERS, field="spec.serviceAccountNames")
        check_size(spec.role_arns, _MAX_PATTERN_CHARACTERS, field="spec.roleArns")
        return cls(
            name=raw.metadata.name,
            namespaces=tuple(spec.namespaces.names or ()),
            selector=selector_of(spec.namespaces.selector, field="spec.namespaces.selector"),
            service_account_names=tuple(spec.service_account_names),
            role_arns=tuple(spec.role_arns),
            methods=tuple(Method(m) for m in spec.methods),
            federated=federated_of(spec.federated_subjects, field="spec.federatedSubjects"),
            max_session_seconds=spec.max_session_duration_seconds,
            audiences=tuple(audience_of(a, field=f"spec.audiences[{n}]") for n, a in enumerate(spec.audiences)),
            allow_retain=spec.allow_retain,
            allow_adopt=spec.allow_adopt,
            allow_patterns=spec.allow_patterns,
            max_bindings=spec.max_bindings,
            max_subjects=spec.max_subjects,
        )

    def uncovered(self, binding: RoleBinding, accounts: Iterable[str], labels: Mapping[str, str]) -> str:
        """Return the first thing of ``binding`` that this grant does not cover; empty when it covers all of it.

        Args:
            binding: the binding.
            accounts: names of the accounts that it is for; with a selector, those that it selects now.
            labels: the namespace's labels.
        """
        if not self.covers_namespace(binding.ref.namespace, labels):
            return f"the namespace {binding.ref.namespace}"
        roles = [("role", binding.role)]
        if binding.source is not None:
            roles.append(("source role", binding.source.role))
        for what, role in roles:
            if not any(arn_matches(pattern, str(role)) for pattern in self.role_arns):
                return f"the {what} {role}"
        if binding.method not in self.methods:
            return f"the method {binding.method}"
        for account in sorted(accounts):
            if not any(glob_matches(pattern, account) for pattern in self.service_account_names):
                return f"the service account {account}"
        if lacking := uncovered(binding.federated, self.federated) or self._uncovered_pattern(binding):
            return lacking
        seconds = binding.session_duration_seconds or DEFAULT_SESSION_SECONDS
        if self.max_session_seconds is not None and seconds > self.max_session_seconds:
            return f"a session of {seconds} seconds (it allows {self.max_session_seconds})"
        return self._uncovered_audience(binding) or self._uncovered_end(binding)

    def covers_namespace(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Return whether the grant is for bindings of this namespace."""
        return namespace in self.namespaces or (self.selector is not None and self.selector.matches(labels))

    def _uncovered_pattern(self, binding: RoleBinding) -> str:
        """Return what a binding with a pattern over namespaces lacks.

        Namespaces that match may be created later, so the grant has to cover every namespace with the set's labels:
        names do not, nor does a selector that asks for more.
        """
        if binding.pattern is None:
            return ""
        what = f"the pattern {binding.pattern.text}"
        if not self.allow_patterns:
            return f"{what} (its spec would need allowPatterns: true)"
        selector = self.selector
        if selector is None or selector.requirements or not set(selector.labels) <= set(binding.pattern.labels):
            labels = ", ".join(f"{key}: {value!r}" for key, value in binding.pattern.labels)
            return f"{what} (its namespaces.selector would need no more than matchLabels: {{{labels}}})"
        return ""

    def _uncovered_audience(self, binding: RoleBinding) -> str:
        """Return what a binding with another audience lacks; a new audience takes a place of the OIDC provider."""
        has_tokens = binding.method.needs_oidc_provider and (binding.service_account_names or binding.selector)
        if not has_tokens or binding.audience in self.audiences:
            return ""
        line = ", ".join((*self.audiences, binding.audience))
        return f"the audience {binding.audience} (its spec would need audiences: [{line}])"

    def _uncovered_end(self, binding: RoleBinding) -> str:
        if binding.adopts and not self.allow_adopt:
            return "adopt: Equivalent (its spec would need allowAdopt: true)"
        if self.allow_retain or binding.deletion_policy is not DeletionPolicy.RETAIN:
            return ""
        return f"deletionPolicy {binding.deletion_policy} (its spec would need allowRetain: true)"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The answer.

    Attributes:
        grant: name of the grant that covers the binding; empty when none does.
        message: one sentence for the condition.
        max_bindings: RoleBindings that the namespace may have: the largest among the grants that cover the binding.
        max_subjects: service accounts that the RoleBindings of the namespace may name or select, likewise.
    """

    grant: str
    message: str
    max_bindings: int = 0
    max_subjects: int = 0

    @property
    def is_granted(self) -> bool:
        """Whether the binding may have what it asks for."""
        return bool(self.grant)


def authorize(
    binding: RoleBinding, accounts: Iterable[str], labels: Mapping[str, str], grants: Iterable[RoleGrant]
) -> Authorization:
    """Return whether one of ``grants`` covers ``binding``; on no, what the nearest one lacks.

    Args:
        binding: the binding.
        accounts: names of the accounts that it is for.
        labels: the labels of its namespace.
        grants: all grants, in any order; the answer does not depend on it.
    """
    names = tuple(accounts)
    lacking: list[tuple[bool, str, str]] = []
    covering: list[RoleGrant] = []
    for grant in grants:
        if uncovered := grant.uncovered(binding, names, labels):
            lacking.append((uncovered.startswith("the namespace"), grant.name, uncovered))
        else:
            covering.append(grant)
    if covering:
        name = min(grant.name for grant in covering)
        most = max(grant.max_bindings for grant in covering), max(grant.max_subjects for grant in covering)
        return Authorization(name, f"granted by RoleGrant {name}", *most)
    wanted = f"{binding.role} for namespace {binding.ref.namespace}"
    if not lacking:
        return Authorization("", f"no RoleGrant exists; ask a cluster administrator for one that covers {wanted}")
    elsewhere, name, uncovered = min(lacking)
    if elsewhere:
        return Authorization("", f"no RoleGrant covers {wanted}; ask a cluster administrator for one")
    return Authorization("", f"no RoleGrant covers {wanted}; the nearest, {name}, does not cover {uncovered}")


def consents(tags: Mapping[str, str], namespace: str) -> bool:
    """Return whether a role's tags let ``namespace`` bind it."""
    return namespace in tags.get(CONSENT_TAG, "").split()


def arn_matches(pattern: str, arn: str) -> bool:
    """Return whether an ARN matches a grant's pattern: ``*`` and ``?`` stand for characters other than ``:``."""
    return glob_matches(pattern, arn, barrier=":")


_ARN_COLONS: Final = 5

_MAX_NAME_CHARACTERS: Final = 4096
"""Of all globs over service accounts."""

_MAX_PATTERN_CHARACTERS: Final = 8192
"""Of all globs over ARNs."""


class _Namespaces(Strict, frozen=True):
    names: Annotated[list[str], Meta(max_length=100)] | None = None
    selector: RawSelector | None = None


_Method = Literal["WebIdentity", "AssumeRole", "PodIdentity"]


class _Spec(Strict, frozen=True):
    namespaces: _Namespaces
    role_arns: Annotated[list[str], Meta(min_length=1, max_length=100)]
    service_account_names: Annotated[list[str], Meta(min_length=1, max_length=100)] = msgspec.field(
        default_factory=lambda: ["*"]
    )
    methods: Annotated[list[Literal["WebIdentity", "AssumeRole", "PodIdentity"]], Meta(min_length=1, max_length=3)] = (
        msgspec.field(default_factory=lambda: ["WebIdentity", "AssumeRole"])
    )
    federated_subjects: Annotated[list[RawFederatedSubjects], Meta(max_length=20)] | None = None
    max_session_duration_seconds: Annotated[int, Meta(ge=MIN_SESSION_SECONDS, le=MAX_SESSION_SECONDS)] | None = None
    audiences: Annotated[list[str], Meta(min_length=1, max_length=20)] = msgspec.field(
        default_factory=lambda: [DEFAULT_AUDIENCE]
    )
    allow_retain: bool = False
    allow_adopt: bool = False
    allow_patterns: bool = False
    max_bindings: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = DEFAULT_MAX_BINDINGS
    max_subjects: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = DEFAULT_MAX_SUBJECTS


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: Literal["RoleGrant"]
    metadata: Metadata
    spec: _Spec
