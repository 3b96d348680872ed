"""What is known of one workload, its cluster and its AWS account when it is asked why the workload has no role.

A bundle is written to a file and read back, and people attach such files to public reports. What of it may be written
is in `trustbind_cli.commands.doctor.disclosure`.
"""

from __future__ import annotations

from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from trustbind.errors import InvalidValueError

__all__ = [
    "FORMAT",
    "SET",
    "ApiFacts",
    "AssociationFacts",
    "BackendFacts",
    "Bundle",
    "CallerFacts",
    "ChangeFacts",
    "Container",
    "DeniedPolicy",
    "EnvFrom",
    "EnvVar",
    "ExchangeFacts",
    "Fact",
    "MutatingWebhook",
    "PermissionFacts",
    "PodFacts",
    "ProviderFacts",
    "PublicIssuerFacts",
    "RoleFacts",
    "Selector",
    "SelectorTerm",
    "ServiceAccountFacts",
    "Target",
    "absent",
    "decode",
    "hidden_like",
    "known",
    "not_visible",
]

T = TypeVar("T")

FORMAT: Final = 1
"""Version of the file."""

SET: Final = "set"
"""Stands for a value that is not kept."""


class Fact(msgspec.Struct, Generic[T], frozen=True, omit_defaults=True):
    """Something that was looked for.

    Attributes:
        seen: ``known``, ``absent`` (it was looked for and is not there), or ``not visible``.
        value: of a known fact.
        why: of one that is not visible: what kept it from being seen, in words of ours alone.
        detail: the same in the words of the server that refused it; empty where these say no more. Never in a file.
    """

    seen: Literal["known", "absent", "not visible"] = "not visible"
    value: T | None = None
    why: str = ""
    detail: str = ""

    @property
    def reason(self) -> str:
        """Why it is not visible, as far as that is known here."""
        return self.detail or self.why

    @property
    def is_absent(self) -> bool:
        """Whether it was looked for and is not there."""
        return self.seen == "absent"


def known(value: T) -> Fact[T]:
    """Return a fact that was seen."""
    return Fact("known", value)


def absent() -> Fact[Any]:
    """Return a fact that was looked for and is not there."""
    return Fact("absent")


def not_visible(why: str, detail: str = "") -> Fact[Any]:
    """Return a fact that could not be seen.

    Args:
        why: what kept it from being seen, and what would show it; a clause in words of ours alone.
        detail: the same with the words of the API server, of AWS or of a file.
    """
    return Fact("not visible", None, why, detail)


def hidden_like(fact: Fact[Any]) -> Fact[Any]:
    """Return that something could not be seen because another fact could not."""
    return not_visible(fact.why, fact.detail)


class _Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A part of a bundle; of an object of Kubernetes it has only the fields that decide."""


class Target(_Part, frozen=True):
    """What is asked about.

    Attributes:
        kind: of the object that the user named.
        namespace: of it.
        name: of it.
        container: of the pod; empty: the first.
    """

    kind: Literal["Pod", "ServiceAccount", "RoleBinding"]
    namespace: str
    name: str
    container: str = ""

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name} of namespace {self.namespace}"


# --- the cluster ------------------------------------------------------------------------------------------------------


class ApiFacts(_Part, frozen=True):
    """The way to the API server.

    Attributes:
        missing: what the user may not do, such as ``get pods``.
    """

    missing: list[str] = []


class EnvVar(_Part, frozen=True):
    """An environment variable.

    Attributes:
        name: of the variable.
        value: None where it comes from elsewhere; `SET` where it is not kept.
        value_from: whether it comes from a Secret, a ConfigMap or a field.
    """

    name: str
    value: str | None = None
    value_from: bool = False


class EnvFrom(_Part, frozen=True):
    """A Secret or ConfigMap, each key of which becomes a variable.

    Attributes:
        source: kind and name, such as ``Secret/keys``.
        prefix: of the variables.
        keys: its keys, without their values.
    """

    source: str
    prefix: str = ""
    keys: Fact[list[str]] = Fact()


class Mount(_Part, frozen=True):
    """A mounted volume."""

    name: str
    mount_path: str = ""
    sub_path: str | None = None


class Container(_Part, frozen=True):
    """A container.

    Attributes:
        name: of the container.
        env: its variables.
        env_from: see `EnvFrom`.
        volume_mounts: see `Mount`.
        run_as_user: its user id; None where the image says it.
    """

    name: str
    env: list[EnvVar] = []
    env_from: list[EnvFrom] = []
    volume_mounts: list[Mount] = []
    run_as_user: int | None = None

    def value(self, name: str) -> str | None:
        """Return the literal value of a variable; `SET` where it is not kept; None where there is none."""
        found = next((v for v in reversed(self.env) if v.name == name), None)
        if found is None:
            return None
        return SET if found.value is None else found.value


class TokenVolume(_Part, frozen=True):
    """A projected volume with a service-account token.

    Attributes:
        name: of the volume.
        audience: of the token; empty: the API server's.
        path: of the token in the volume.
        default_mode: of its files, as a number; None: 0644.
    """

    name: str
    audience: str = ""
    path: str = "token"
    default_mode: int | None = None


class PodFacts(_Part, frozen=True):
    """A pod.

    Attributes:
        name: of the pod.
        created: RFC 3339.
        phase: such as ``Running``.
        service_account: its name.
        annotations: keys of all; values of those that decide.
        labels: all of them.
        containers: init containers first.
        tokens: its volumes with tokens.
        gates: its scheduling gates.
        node: empty before it has one.
        fs_group: None where it has none.
        host_network: whether it uses the node's network.
    """

    name: str
    created: str = ""
    phase: str = ""
    service_account: str = "default"
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    containers: list[Container] = []
    tokens: list[TokenVolume] = []
    gates: list[str] = []
    node: str = ""
    fs_group: int | None = None
    host_network: bool = False

    def container(self, name: str) -> Container | None:
        """Return a container by name; without a name the first that is no init container, None when there is none."""
        if name:
            return next((c for c in self.containers if c.name == name), None)
        return self.containers[-1] if len(self.containers) == 1 else next(iter(self._main()), None)

    def _main(self) -> list[Container]:
        injected = [c for c in self.containers if c.value("AWS_ROLE_ARN") or c.value("AWS_CONFIG_FILE")]
        return [*injected, *self.containers]


class ServiceAccountFacts(_Part, frozen=True):
    """A service account.

    Attributes:
        name: of it.
        uid: of the object.
        annotations: keys of all; values of those that decide.
        labels: all of them.
        annotated: when an annotation changed last, RFC 3339; empty where the object does not tell.
    """

    name: str
    uid: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    annotated: str = ""


class SelectorTerm(_Part, frozen=True):
    """One expression of a label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] | None = None


class Selector(_Part, frozen=True):
    """A label selector; an empty one selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[SelectorTerm] | None = None


class MutatingWebhook(_Part, frozen=True):
    """One entry of a MutatingWebhookConfiguration that is called for new pods.

    Attributes:
        configuration: name of the object.
        name: of the entry.
        service: namespace and name of its Service; empty for a URL.
        namespace_selector: by the labels of Namespaces.
        object_selector: by the labels of pods.
        authorities: SHA-256 of each certificate in caBundle, in hexadecimal.
    """

    configuration: str
    name: str
    service: str = ""
    namespace_selector: Selector = Selector()
    object_selector: Selector = Selector()
    authorities: list[str] = []


class BackendFacts(_Part, frozen=True):
    """Who answers for the webhook.

    Attributes:
        ready: number of ready endpoints of its Service.
        authorities: SHA-256 of each certificate that signs its serving certificate; not visible without the right
            to read its Secret.
    """

    ready: int
    authorities: Fact[list[str]] = Fact()


class AssociationFacts(_Part, frozen=True):
    """EKS Pod Identity for the service account.

    Attributes:
        role: of the association; empty where there is none.
        target_role: of the association; empty where it has none.
    """

    role: str = ""
    target_role: str = ""


class PublicIssuerFacts(_Part, frozen=True):
    """What everybody can read of the issuer, which is what AWS reads.

    Attributes:
        problem: why it cannot be read; empty when it can.
        issuer: of its discovery document.
        keys: key id to algorithm of its JWKS.
        is_trusted: whether its certificate has a public authority.
    """

    problem: str = ""
    issuer: str = ""
    keys: dict[str, str] = {}
    is_trusted: bool = True


# --- AWS --------------------------------------------------------------------------------------------------------------


class CallerFacts(_Part, frozen=True):
    """Who asks AWS: the user's own credentials."""

    account: str
    arn: str = ""


class ProviderFacts(_Part, frozen=True):
    """The issuer's OIDC provider in the role's AWS account.

    Attributes:
        arn: of it.
        audiences: its client ids.
        thumbprints: of certificates.
        context_claims: claims that its identity context reads.
    """

    arn: str
    audiences: list[str] = []
    thumbprints: list[str] = []
    context_claims: list[str] = []


class RoleFacts(_Part, frozen=True):
    """A role.

    Attributes:
        arn: as AWS has it, with its path.
        trust_policy: as JSON.
        max_session_seconds: its MaxSessionDuration.
        inline_policies: as JSON each; only of a source role.
        attached_policies: names of others, which are not read; only of a source role.
    """

    arn: str
    trust_policy: dict[str, Any] = {}
    max_session_seconds: int = 3600
    inline_policies: list[dict[str, Any]] = []
    attached_policies: list[str] = []


class ChangeFacts(_Part, frozen=True):
    """Who wrote the trust policy last, by CloudTrail."""

    at: str
    author: str = ""


class DeniedPolicy(_Part, frozen=True):
    """A policy of an organization, or of a VPC endpoint, that may deny the exchange."""

    kind: Literal["SCP", "RCP", "VPC endpoint policy"]
    name: str
    document: dict[str, Any] = {}


class PermissionFacts(_Part, frozen=True):
    """What the role's own policies say to the call that was denied (SimulatePrincipalPolicy).

    Attributes:
        action: such as ``s3:GetObject``.
        decision: ``allowed``, ``implicitDeny`` or ``explicitDeny``.
    """

    action: str
    decision: str


class ExchangeFacts(_Part, frozen=True):
    """A real AssumeRoleWithWebIdentity; its credentials were thrown away.

    Attributes:
        error: what AWS said; empty when it gave credentials.
    """

    error: str = ""


# --- all of it --------------------------------------------------------------------------------------------------------


class Bundle(_Part, frozen=True):
    """Everything that was looked for.

    Attributes:
        target: what is asked about.
        time: when, RFC 3339.
        format: see `FORMAT`.
        error: the message that the workload got, or one of its kind; empty where it is not known.
        settings: the webhook's settings, as YAML.
        namespace_labels: of the Namespace.
        bindings: RoleBindings of the namespace, as they are stored.
        others: names of service accounts of the namespace for which there is a role.
        issuer: of the cluster's discovery document.
        claims: of a token of the service account.
        header: of that token.
    """

    target: Target
    time: str
    format: int = FORMAT
    error: str = ""
    api: Fact[ApiFacts] = Fact()
    settings: Fact[str] = Fact()
    pod: Fact[PodFacts] = Fact()
    service_account: Fact[ServiceAccountFacts] = Fact()
    namespace_labels: Fact[dict[str, str]] = Fact()
    bindings: Fact[list[dict[str, Any]]] = Fact()
    webhooks: Fact[list[MutatingWebhook]] = Fact()
    backend: Fact[BackendFacts] = Fact()
    issuer: Fact[str] = Fact()
    claims: Fact[dict[str, Any]] = Fact()
    header: Fact[dict[str, Any]] = Fact()
    public: Fact[PublicIssuerFacts] = Fact()
    caller: Fact[CallerFacts] = Fact()
    provider: Fact[ProviderFacts] = Fact()
    role: Fact[RoleFacts] = Fact()
    target_role: Fact[RoleFacts] = Fact()
    change: Fact[ChangeFacts] = Fact()
    organization: Fact[list[DeniedPolicy]] = Fact()
    endpoints: Fact[list[DeniedPolicy]] = Fact()
    permission: Fact[PermissionFacts] = Fact()
    agent: Fact[int] = Fact()
    association: Fact[AssociationFacts] = Fact()
    exchange: Fact[ExchangeFacts] = Fact()


_MAX_DEPTH: Final = 100
"""Of a bundle; a policy in it has a depth of about 10."""


def _is_deep(value: Any) -> bool:
    """Return whether a decoded value is nested too deeply; without recursion, which is what it saves others from."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            inner += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        level = inner
    return bool(level)


def decode(content: bytes, source: str) -> Bundle:
    """Return the bundle of a file.

    Args:
        content: of the file.
        source: its name, for messages.

    Raises:
        InvalidValueError: it is no bundle, or one of another version.
    """
    try:
        if _is_deep(msgspec.json.decode(content)):
            raise InvalidValueError(f"is nested more than {_MAX_DEPTH} deep; collect it again", field=source)
        bundle = msgspec.json.decode(content, type=Bundle)
    except RecursionError:
        raise InvalidValueError(f"is nested more than {_MAX_DEPTH} deep; collect it again", field=source) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidValueError(
            f"is not what 'trustbind doctor --collect' writes ({error}); collect it again", field=source
        ) from None
    if bundle.format != FORMAT:
        raise InvalidValueError(
            f"has format {bundle.format}, and this trustbind reads {FORMAT}; collect it again", field=source
        )
    return bundle
