"""The webhook's settings: read once, from a YAML file and the environment, and frozen.

Names and order are those of the chart's ``values.yaml``. A variable is the path of a setting in capitals, such as
``TRUSTBIND_WEBHOOK_SERVER__METRICS_PORT`` for ``server.metricsPort``, and wins over the file.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from trustbind.api.annotations import (
    DEFAULT_EXPIRATION_SECONDS,
    DEFAULT_PREFIX,
    MAX_EXPIRATION_SECONDS,
    MIN_EXPIRATION_SECONDS,
    clamp_expiration,
)
from trustbind.identity import subjects
from trustbind.identity.subjects import Issuer
from trustbind_runtime.settings import Port, ProcessSettings, Section, SettingsError, checked, settings_config
from trustbind_runtime.settings import load as load_settings
from trustbind_webhook.connections.limits import PortLimits
from trustbind_webhook.injection.credential_source import ContainerCredentials
from trustbind_webhook.injection.decision import DEFAULT_MOUNT_PATH, InjectionSettings

__all__ = [
    "ENV_PREFIX",
    "Certificates",
    "CompatibilitySettings",
    "Injection",
    "LookupSettings",
    "Server",
    "Settings",
    "SettingsError",
    "Validation",
    "load",
]

ENV_PREFIX: Final = "TRUSTBIND_WEBHOOK_"

_SUBDOMAIN = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII
)  # RFC 1123, as Kubernetes asks of the prefix of a label's or annotation's key
_MAX_SUBDOMAIN: Final = 253
_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+){1,3}-[0-9]{1,2}", re.ASCII)
_CLUSTER = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)  # STS API reference, RoleSessionName


def _is_mount_path(path: str) -> bool:
    return path.startswith("/") and path.strip("/") != "" and ":" not in path and ".." not in path.split("/")


def _paths(value: object) -> object:
    if isinstance(value, str):
        return tuple(path for part in value.split(",") if (path := part.strip()))
    if not isinstance(value, list | tuple):
        raise ValueError("a list of paths is needed")  # noqa: TRY004 - pydantic translates ValueError only
    return value


_Prefix = Annotated[
    str,
    checked(
        lambda text: len(text) <= _MAX_SUBDOMAIN and bool(_SUBDOMAIN.fullmatch(text)),
        "is not a DNS name such as eks.amazonaws.com, without a slash",
    ),
]
_Expiration = Annotated[
    int,
    checked(
        lambda seconds: clamp_expiration(seconds) == seconds,
        f"is outside of {MIN_EXPIRATION_SECONDS} to {MAX_EXPIRATION_SECONDS} seconds",
    ),
]
_MountPath = Annotated[str, checked(_is_mount_path, "is not an absolute path below /, without a colon and without ..")]
_Region = Annotated[
    str, checked(lambda text: not text or bool(_REGION.fullmatch(text)), "is not a region, such as eu-central-1")
]
_Name = Annotated[
    str,
    checked(
        lambda text: len(text) <= _MAX_SUBDOMAIN and (not text or bool(_SUBDOMAIN.fullmatch(text))),
        "is not the name of an object",
    ),
]
_ACCOUNT_DIGITS: Final = 12
_Days = Annotated[float, Field(gt=0, le=36500)]
_Cluster = Annotated[
    str,
    checked(
        lambda text: not text or bool(_CLUSTER.fullmatch(text)),
        "does not fit into a session name: 1 to 64 letters, digits or characters of +=,.@_-",
    ),
]


class Server(Section):
    """Where the webhook listens, with which certificate, and how it stops."""

    host: str = ""
    """Address to listen on for admission. Default: every address, IPv4 and IPv6, since a pod has whatever the
    cluster gives it."""
    port: Port = 8443
    """TCP port for admission. Default 8443: above 1024, so that no capability is needed. 0: any free one."""
    metrics_host: str = ""
    """Address to serve metrics on. Default: every address, since Prometheus comes from elsewhere."""
    metrics_port: Port = 9443
    """TCP port for metrics, plain HTTP. Default 9443: apart from admission, so that a network policy can tell them
    apart. 0: any free one."""
    cert_file: str = "/etc/trustbind/tls/tls.crt"
    """PEM file with the serving certificate and what it was signed by. Default: where the chart mounts its Secret."""
    key_file: str = "/etc/trustbind/tls/tls.key"
    """PEM file with the certificate's private key, not encrypted. Default: where the chart mounts its Secret."""
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    """Seconds to keep serving after SIGTERM. Default 5: endpoints leave the Service's routing within a second or two
    on a healthy cluster, and the API server keeps connections of its own."""
    grace_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """Seconds after that for requests in flight. Default 10: no admission waits longer than the webhook's own
    timeout, and with drainSeconds it stays below the pod's default grace period of 30."""
    reload_seconds: Annotated[float, Field(ge=0.05, le=3600)] = 10.0
    """Seconds between two looks at the certificate's files. Default 10: renewals come days before the end, and the
    kubelet itself takes up to a minute or two to write a changed Secret."""
    max_connections: Annotated[int, Field(ge=1024, le=100000)] = 2048
    """Connections of the admission port. Default 2048: a few API servers need hundreds, and an idle one takes some
    50 KiB. Beyond, the address with the most connections loses the one that is idle longest."""
    max_connections_per_address: Annotated[int, Field(ge=1024, le=100000)] = 1024
    """Connections of one address. Default and least 1024: an API server has up to 600 requests in flight, and behind a
    proxy several have one address. Beyond, the address loses its connection that is idle longest."""
    max_head_bytes: Annotated[int, Field(ge=2048, le=1048576)] = 16384
    """Bytes of one request besides its body: request line, headers, sizes of chunks. Default 16384: an API server sends
    a few hundred."""
    max_request_line_bytes: Annotated[int, Field(ge=128, le=65536)] = 2048
    """Bytes of a request's URL. Default 2048: an API server sends some 20."""
    max_body_bytes: Annotated[int, Field(ge=8388608, le=4294967296)] = 67108864
    """Bytes of all request bodies that are not answered yet. Default 67108864 (64 MiB): thousands of usual reviews.
    Beyond, the address with the most bytes gets 503 for the largest of its requests that are not whole yet."""
    request_seconds: Annotated[float, Field(ge=0.1, le=60)] = 10.0
    """Seconds for a request to arrive, head and body; also for a TLS handshake. Default 10: the API server waits no
    longer for the answer."""
    idle_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 120.0
    """Seconds that a connection is kept between two requests, and before the first. Default 120: longer than the 90 of
    the API server's client (Go's http.Transport, IdleConnTimeout), which so is always the one to close it."""

    @model_validator(mode="after")
    def _room_for_an_address(self) -> Self:
        if self.max_connections_per_address > self.max_connections:
            raise ValueError("maxConnectionsPerAddress must be at most maxConnections")
        return self

    def port_limits(self) -> PortLimits:
        """Return what `trustbind_webhook.connections` takes."""
        return PortLimits(
            head_bytes=self.max_head_bytes,
            request_line_bytes=self.max_request_line_bytes,
            request_seconds=self.request_seconds,
            idle_seconds=self.idle_seconds,
            connections=self.max_connections,
            connections_per_address=self.max_connections_per_address,
            body_bytes=self.max_body_bytes,
        )


class Certificates(Section):
    """Where the serving certificate comes from, and with ``mode`` self how it is made and renewed."""

    mode: Literal["files", "self"] = "files"
    """``files``: somebody else writes server.certFile and keyFile. ``self``: the webhook makes and renews an authority
    and a certificate, keeps both in a Secret that all replicas share, writes the two files, and keeps caBundle right
    in its webhook configurations. Default files; the chart sets self."""
    namespace: _Name = ""
    """Namespace of the Secret and of the Service. Needed with mode self; with mode files, the webhook looks whether
    its configurations trust the certificate when this is set. Default: none; the chart sets its own."""
    secret_name: _Name = "trustbind-webhook-tls"  # noqa: S105 - the name of an object
    """Name of the Secret. Default trustbind-webhook-tls. Whoever can read it can pose as the webhook."""
    service_name: _Name = "trustbind-webhook"
    """Name of the Service that the API server calls; the certificate is for it. Default trustbind-webhook."""
    mutating_configuration: _Name = "trustbind-webhook"
    """Name of the MutatingWebhookConfiguration whose caBundle is kept right. Default trustbind-webhook; empty: none."""
    validating_configuration: _Name = "trustbind-webhook"
    """Name of the ValidatingWebhookConfiguration whose caBundle is kept right. Default trustbind-webhook; empty:
    none."""
    ca_validity_days: _Days = 3650.0
    """Days that an authority is valid. Default 3650; it is replaced when a new serving certificate would outlive
    it."""
    serving_validity_days: _Days = 90.0
    """Days that a serving certificate is valid. Default 90."""
    renew_before_days: _Days = 30.0
    """Days before its end that the serving certificate is renewed. Default 30: leaves time for an alert to be read."""
    check_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """Seconds between two looks at the Secret and the configurations. Default 10: that long at most does a caBundle
    that somebody has overwritten keep the webhook from being called."""
    settle_seconds: Annotated[float, Field(ge=0, le=86400)] = 60.0
    """Seconds for which both configurations must have named a new authority before it signs. Default 60: every API
    server has read the change by then."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.renew_before_days >= self.serving_validity_days:
            raise ValueError("renewBeforeDays must be less than servingValidityDays")
        if self.ca_validity_days < 2 * self.serving_validity_days:
            raise ValueError("caValidityDays must be at least twice servingValidityDays")
        if self.mode == "self" and not (self.namespace and self.secret_name and self.service_name):
            raise ValueError("mode self needs namespace, secretName and serviceName")
        return self


class Injection(Section):
    """What pods get, cluster-wide; see `trustbind_webhook.injection.decision.InjectionSettings`."""

    annotation_prefix: _Prefix = DEFAULT_PREFIX
    """DNS name in front of the annotations' keys. Default eks.amazonaws.com: what EKS workloads have already."""
    audience: Annotated[str, AfterValidator(subjects.audience_of)] = subjects.DEFAULT_AUDIENCE
    """Audience of tokens. Default sts.amazonaws.com: what SDKs and IAM's OIDC providers are set up with."""
    mount_path: _MountPath = DEFAULT_MOUNT_PATH
    """Absolute path of the token's folder in containers. Default: the EKS webhook's, which some images expect."""
    token_expiration_seconds: _Expiration = DEFAULT_EXPIRATION_SECONDS
    """Life of tokens in seconds, 600 to 86400. Default 86400, as on EKS; the kubelet renews at 80 % of it."""
    region: _Region = ""
    """AWS region for SDKs that are not told one. Default: none, since a cluster may serve many."""
    sts_regional_endpoints: bool = False
    """Whether to inject AWS_STS_REGIONAL_ENDPOINTS=regional without an annotation. Default false: today's SDKs call
    regional endpoints anyway."""
    cluster: _Cluster = ""
    """Name of the cluster, for session names. Default: none."""
    session_names: bool = True
    """Whether containers get AWS_ROLE_SESSION_NAME, and profiles role_session_name. Default true: CloudTrail then says
    which pod called. A binding's session.name, and the annotation trustbind.dev/session-name, come before it."""
    wait_for_bindings: bool = True
    """Whether waitUntilReady of a binding holds a pod at a scheduling gate. Default true; set false where no operator
    runs that would let it go."""


class Validation(Section):
    """What is checked when a RoleBinding, an AWSAccount or a RoleGrant is written."""

    issuer: Annotated[str, AfterValidator(lambda url: Issuer.parse(url).url if url else "")] = ""
    """The cluster's service-account token issuer, an https URL. Default: read from the API server, or with source
    files not known, and conditions on its keys are not checked."""


class PodIdentity(Section):
    """EKS Pod Identity; see `trustbind_webhook.injection.credential_source`. Defaults are the EKS webhook's."""

    audience: Annotated[str, AfterValidator(subjects.audience_of)] = "pods.eks.amazonaws.com"
    """Audience of tokens for the agent. Default pods.eks.amazonaws.com."""
    mount_path: _MountPath = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    """Absolute path of the token's folder in containers. Default: the EKS webhook's."""
    volume_name: _Name = "eks-pod-identity-token"
    """Name of the projected volume. Default eks-pod-identity-token."""
    token_path: _Name = "eks-pod-identity-token"  # noqa: S105 - a file name
    """The token's file inside the volume. Default eks-pod-identity-token."""
    full_uri: Annotated[
        str,
        checked(lambda text: text.startswith(("http://", "https://")), "is not an http or https URL"),
    ] = "http://169.254.170.23/v1/credentials"
    """Where the agent on the node answers. Default: the EKS agent's address."""


class CompatibilitySettings(Section):
    """Further sources of the EKS pod identity webhook, so that a cluster that uses them can switch."""

    config_map_namespace: _Name = ""
    """Namespace of the ConfigMap that gives roles to accounts without annotation (kOps). Default: none, it is not
    read."""
    config_map_name: _Name = "pod-identity-webhook"
    """Name of that ConfigMap. Default pod-identity-webhook, the only one that the EKS webhook reads."""
    identities_file: str = ""
    """JSON file that lists accounts which get container credentials (EKS). Default: none."""
    role_account_id: Annotated[
        str, checked(lambda text: not text or (len(text) == _ACCOUNT_DIGITS and text.isdigit()), "is not an account id")
    ] = ""
    """Account of roles that an annotation gives by name alone. Default: none, a role is given by its ARN."""
    role_partition: Annotated[
        str, checked(lambda text: text == "aws" or text.startswith("aws-"), "is not a partition, such as aws")
    ] = "aws"
    """Partition of such roles. Default aws."""

    @property
    def is_used(self) -> bool:
        """Whether any of them is."""
        return bool(self.config_map_namespace or self.identities_file or self.role_account_id)


class LookupSettings(Section):
    """How the webhook learns of service accounts and bindings."""

    source: Literal["cluster", "files"] = "cluster"
    """``cluster``: the API server. ``files``: manifests, for demonstrations and local development. Default cluster."""
    manifests: Annotated[tuple[str, ...], BeforeValidator(_paths)] = ()
    """Files or folders with ServiceAccounts, RoleBindings and, for validation, RoleGrants, AWSAccounts and Namespaces;
    with source ``files``. In a variable separated by commas. Default: none."""
    kubeconfig: str = ""
    """Kubeconfig file to reach the API server with. Default: the pod's own account when there is one, else what
    kubectl would use."""
    timeout_seconds: Annotated[float, Field(gt=0, le=9)] = 2.0
    """Seconds for one live read of an account. Default 2: the API server waits at most 10 for a webhook, and a pod
    without credentials beats no pod."""
    rate_per_second: Annotated[float, Field(gt=0, le=10000)] = 100.0
    """Live reads a second of all namespaces, in the long run. Default 100: far above what new accounts cause, and
    little to an API server."""
    burst: Annotated[int, Field(ge=1, le=100000)] = 500
    """Live reads of all namespaces at once. Default 500: several namespaces restored from a backup."""
    namespace_rate_per_second: Annotated[float, Field(gt=0, le=10000)] = 10.0
    """Live reads a second of one namespace, in the long run. Default 10; at most half of ratePerSecond is used, so that
    no namespace takes the reads of the others."""
    namespace_burst: Annotated[int, Field(ge=1, le=100000)] = 100
    """Live reads of one namespace at once. Default 100: one Helm release; at most half of burst is used."""
    late_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    """Seconds for which a watch may be broken, or silent beyond the API server's usual minute, before accounts and
    bindings are read live. Default 5: a watch that ends is taken up again in less than one."""
    page_size: Annotated[int, Field(ge=1, le=10000)] = 500
    """Objects in one page of a list, at most: pages are smaller where objects are large. Default 500, as kubectl."""

    @model_validator(mode="after")
    def _files_need_manifests(self) -> Self:
        if self.source == "files" and not self.manifests:
            raise ValueError("source files needs at least one path in manifests")
        return self


class Settings(ProcessSettings):
    """All of them."""

    model_config = settings_config(ENV_PREFIX)

    server: Server = Server()
    certificates: Certificates = Certificates()
    injection: Injection = Injection()
    validation: Validation = Validation()
    pod_identity: PodIdentity = PodIdentity()
    compatibility: CompatibilitySettings = CompatibilitySettings()
    lookup: LookupSettings = LookupSettings()

    def injection_settings(self) -> InjectionSettings:
        """Return what `trustbind_webhook.injection.decision` takes."""
        agent = ContainerCredentials(**self.pod_identity.model_dump())
        return InjectionSettings(**self.injection.model_dump(), pod_identity=agent)


def load(file: str | None = None, *, text: str | None = None) -> Settings:
    """Return the webhook's settings from ``file``, if any, and the environment.

    Args:
        file: YAML.
        text: of the file, where it was read already.

    Raises:
        SettingsError: unreadable file, unknown name or unusable value; one sentence a line.
    """
    return load_settings(Settings, file, text=text)
