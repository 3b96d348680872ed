"""The operator's settings: read once, from a YAML file and the environment, and frozen.

Names and order are those of the chart's ``values.yaml``; see `trustbind_runtime.settings` for how they are read.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from trustbind.api.annotated_binding import AnnotatedScope
from trustbind.api.annotations import DEFAULT_PREFIX
from trustbind.api.role_binding import DeletionPolicy
from trustbind.api.webhook_scope import WebhookScope
from trustbind.backoff import Backoff
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer
from trustbind.reconcile.revocation import RevocationLimit
from trustbind_aws.calls import CallSettings
from trustbind_aws.resources.trust_policy import WritePace
from trustbind_operator.controllers.pace import Pace as ManagerPace
from trustbind_runtime.settings import (
    Port,
    ProcessSettings,
    Section,
    Selector,
    SettingsError,
    checked,
    read_selector,
    settings_config,
)
from trustbind_runtime.settings import load as load_settings

__all__ = ["ENV_PREFIX", "Settings", "SettingsError", "load"]

ENV_PREFIX: Final = "TRUSTBIND_OPERATOR_"

_SESSION = re.compile(r"[\w+=,.@-]{0,40}", re.ASCII)  # STS API reference, RoleSessionName; room for our own part
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|", re.ASCII)

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)

_LEASE_JITTER: Final = 1.2
"""How many times retrySeconds must fit into renewDeadlineSeconds, at least (client-go, leaderelection.JitterFactor)."""


def _issuer(url: str) -> str:
    if url:
        try:
            Issuer.parse(url)
        except InvalidValueError as error:
            raise ValueError(error.problem) from None
    return url


class Server(Section):
    """Where metrics and probes are served, as plain HTTP."""

    host: str = ""
    """Address to listen on. Default: every address, IPv4 and IPv6, since Prometheus and the kubelet come from
    elsewhere."""
    port: Port = 8080
    """TCP port for /metrics, /healthz and /readyz. Default 8080. 0: any free one."""


class Identity(Section):
    """Who this cluster is."""

    issuer: Annotated[str, AfterValidator(_issuer)] = ""
    """The cluster's service-account token issuer, an https URL. Default: read from the API server."""
    cluster: Annotated[
        str, checked(lambda text: bool(_SESSION.fullmatch(text)), "does not fit into a session name")
    ] = ""
    """Name of the cluster, for the session names that CloudTrail shows in target accounts. Default: none."""


class Lease(Section):
    """How one active operator is elected, and how a standby takes over."""

    enabled: bool = True
    """Whether to wait for the Lease before working. Default true: two active operators would not break anything, but
    would do everything twice."""
    name: Annotated[str, checked(lambda text: bool(text and _NAME.fullmatch(text)), "is not a Lease's name")] = (
        "trustbind-operator"
    )
    """Name of the Lease. Default trustbind-operator."""
    namespace: Annotated[str, checked(lambda text: bool(_NAME.fullmatch(text)), "is not a namespace")] = ""
    """Namespace of the Lease. Default: the pod's own."""
    duration_seconds: Annotated[int, Field(ge=2, le=600)] = 30
    """Seconds after which a standby may take a Lease that is not renewed. Default 30: a write that the last leader sent
    before its renewDeadlineSeconds has ended by then; see aws.readTimeoutSeconds."""
    renew_deadline_seconds: Annotated[int, Field(ge=1, le=600)] = 10
    """Seconds after the last successful renewal until the leader stops writing and exits. Default 10, as in Kubernetes'
    own controllers; it must be less than durationSeconds."""
    retry_seconds: Annotated[int, Field(ge=1, le=60)] = 2
    """Seconds between two attempts to renew the Lease; a standby waits up to 2.2 times as long. Default 2, as in
    Kubernetes' own controllers; renewDeadlineSeconds must be more than 1.2 times this."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.renew_deadline_seconds >= self.duration_seconds:
            raise ValueError("renewDeadlineSeconds must be less than durationSeconds")
        if self.retry_seconds * _LEASE_JITTER >= self.renew_deadline_seconds:
            raise ValueError(f"renewDeadlineSeconds must be more than {_LEASE_JITTER:g} times retrySeconds")
        return self


class Aws(Section):
    """How AWS is called."""

    calls_per_second: Annotated[float, Field(gt=0, le=1000)] = 15.0
    """IAM calls a second into one account, in the long run. Default 15: IAM's own limits cannot be raised, and
    others in the account need them, too."""
    burst: Annotated[int, Field(ge=1, le=10000)] = 100
    """IAM calls into one account at once after a quiet time. Default 100: about thirty roles."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Seconds to wait for a connection to an AWS endpoint. Default 5: an endpoint in another region accepts within one
    second. Together with readTimeoutSeconds not more than lease.durationSeconds less lease.renewDeadlineSeconds."""
    read_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 15.0
    """Seconds to wait for an answer on a connection. Default 15: IAM answers within a few seconds, and a write that is
    sent just before lease.renewDeadlineSeconds ends before another operator may take the Lease."""
    max_read_age_seconds: Annotated[float, Field(gt=0, le=2)] = 0.25
    """Seconds from the answer to a read of a trust policy until the write that is based on it must be sent; an older
    read is repeated. After three reads that were too old it doubles, up to 2. Default 0.25: short, because IAM cannot
    detect a change by another writer in between, and long enough for a pod whose CPU is throttled."""


class Pace(Section):
    """How fast and how often roles are looked at."""

    commit_window_seconds: Annotated[float, Field(ge=0, le=60)] = 0.2
    """Seconds that a role waits for more changes before it is written. Default 0.2: what one kubectl apply sends
    comes together, and nobody notices the wait."""
    resync_seconds: Annotated[float, Field(ge=1, le=86400)] = 600.0
    """Seconds between two looks at a role that nothing happened to, up to a fifth more or less. Default 600."""
    survey_seconds: Annotated[float, Field(ge=1, le=86400)] = 60.0
    """Seconds between two surveys of an AWS account, which find drift by listing its roles; up to a tenth more or less,
    and at least 10 for each page of 1,000 roles. Default 60: Ready is not true for longer while access is gone."""
    retry_seconds: Annotated[float, Field(gt=0, le=600)] = 2.0
    """Seconds before the first new try after a failure; doubled with each in a row. Default 2."""
    max_retry_seconds: Annotated[float, Field(gt=0, le=3600)] = 300.0
    """The longest time between two tries. Default 300."""


class Revocation(Section):
    """The brake on mass revocation: a pruned folder or a deleted definition must not take a fleet's trust at once."""

    max_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of an AWS account's subjects (service accounts and source roles, each once for each role that trusts it)
    that may be revoked within windowSeconds. Beyond it nothing is revoked there until the objects are back or an
    administrator changes the AWSAccount's annotation trustbind.dev/revocation-allowed-at. Ten subjects may always be
    revoked. Default 0.2: more than everyday changes take. 1: no brake, but for empty lists."""
    window_seconds: Annotated[float, Field(ge=1, le=86400)] = 60.0
    """Seconds of the sliding window in which revocations are counted together. Default 60: what one command or one run
    of a GitOps tool deletes comes within it, and deletions one by one do not."""


class Uninstall(Section):
    """What becomes of the trust when trustbind is uninstalled."""

    trust: Literal["", "Revoke", "Retain", "Restore"] = ""
    """What becomes of the trust of each binding that is deleted, whatever it and its grants say. Retain: it stays, also
    without a grant. Restore: the hand-written statements that it replaced are written back, and the rest of it goes.
    Revoke: it goes. With both, the brake on mass revocation is off. Set it only to uninstall. Default: what each
    binding says."""

    @property
    def leaving(self) -> DeletionPolicy | None:
        """The policy for every binding; None: its own."""
        return DeletionPolicy(self.trust) if self.trust else None


def _names(value: object) -> object:
    """Return a list of names that a variable holds as text, with commas between them."""
    return tuple(filter(None, (name.strip() for name in value.split(",")))) if isinstance(value, str) else value


Namespace = Annotated[str, checked(lambda text: bool(_LABEL.fullmatch(text)), "is not the name of a namespace")]


class BindAnnotated(Section):
    """Bindings made of service accounts' annotations."""

    # Not "Off", which YAML 1.1 reads as false.
    mode: Literal["Disabled", "Report", "Bind"] = "Disabled"
    """Bind: a service account that is annotated with a role gets a RoleBinding of its own, subject to grants. Report:
    none is made; the ConfigMap reportName says which ones Bind would make, and by which grant. Bind writes it, too.
    Default Disabled: on EKS, service accounts may be annotated for roles whose trust is managed elsewhere."""
    annotation_prefix: Annotated[
        str, checked(lambda text: bool(_PREFIX.fullmatch(text)), "is not a DNS name such as eks.amazonaws.com")
    ] = DEFAULT_PREFIX
    """DNS name in front of the annotations' keys; the webhook's injection.annotationPrefix. Default
    eks.amazonaws.com."""
    namespaces: Annotated[tuple[Namespace, ...], BeforeValidator(_names)] = ()
    """Namespaces whose annotated service accounts are bound or reported; in a variable with commas. Default none: those
    that namespaceSelector selects, and all where that is empty, too. A binding that was made stays when this changes;
    it goes with its annotation."""
    namespace_selector: Selector = Field(default_factory=dict)
    """Label selector for further namespaces. Default none."""
    service_account_selector: Selector = Field(default_factory=dict)
    """Label selector for the service accounts of these namespaces. Default none: all of them."""

    report_name: Annotated[
        str, checked(lambda text: bool(text and _NAME.fullmatch(text)), "is not a ConfigMap's name")
    ] = "trustbind-annotated"
    """Name of the ConfigMap, in the Lease's namespace, that says what becomes of annotated service accounts. It has to
    be there; the chart creates it. Default trustbind-annotated."""
    report_interval_seconds: Annotated[float, Field(ge=1, le=86400)] = 60.0
    """Seconds between two looks for the report. It is written only where something changed. Default 60."""

    def scope(self) -> AnnotatedScope:
        """Return which service accounts these are."""
        return AnnotatedScope(
            frozenset(self.namespaces),
            read_selector(self.namespace_selector),
            read_selector(self.service_account_selector),
        )


class RoleBindingSets(Section):
    """Bindings made for RoleBindingSets."""

    enabled: bool = False
    """Whether the namespaces that a RoleBindingSet selects get its RoleBindings, subject to grants. It needs the right
    to create and delete RoleBindings, which the chart gives with it. Default false: sets only say that they have no
    effect, and RoleBindings that were made stay as they are."""
    namespace_policy: Annotated[
        str, checked(lambda text: bool(text and _NAME.fullmatch(text)), "is not a ValidatingAdmissionPolicy's name")
    ] = "trustbind-namespace-patterns"
    """Name of the ValidatingAdmissionPolicy, and of its binding, that sets with subjects: Pattern need; the chart
    creates both with admissionPolicies.namespacePatterns. Default trustbind-namespace-patterns."""


class Pods(Section):
    """What is done about pods."""

    max_wait_seconds: Annotated[float, Field(ge=1, le=86400)] = 300.0
    """Seconds that a pod waits at its gate for its bindings (waitUntilReady). Default 300: longer than IAM takes, and
    short enough that somebody notices."""
    release_late: bool = True
    """Whether a pod that waited so long is let go, without credentials that work. Default true: many programs can do
    something useful without AWS, and a pod that hangs tells nobody; false: it goes on waiting."""
    find_missed: bool = True
    """Whether running pods are looked through for those that should have been injected and were not. Default true."""
    missed_interval_seconds: Annotated[float, Field(ge=1, le=86400)] = 300.0
    """Seconds between two such looks. Default 300."""
    evict_missed: bool = False
    """Whether such pods are evicted, where a controller creates them again; their PodDisruptionBudgets are honoured.
    Default false: they are only told of."""
    excluded_namespaces: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Namespaces that the webhook leaves alone, and this as well; in a variable with commas. Default: none."""
    namespace_selector: Selector = Field(default_factory=dict)
    """Labels of the namespaces that the webhook serves, as the namespaceSelector of its configuration has them. Pods of
    others are left alone, and a binding there has the condition OutOfScope. Default: all."""

    def scope(self) -> WebhookScope:
        """Return which pods the webhook is called for."""
        return WebhookScope.of_settings(self.excluded_namespaces, read_selector(self.namespace_selector))


class Kubernetes(Section):
    """The API server."""

    kubeconfig: str = ""
    """Kubeconfig file to reach the API server with. Default: the pod's own account when there is one, else what
    kubectl would use."""
    page_size: Annotated[int, Field(ge=1, le=10000)] = 500
    """Objects in one page of a list, at most: pages are smaller where objects are large. Default 500, as kubectl."""


class Settings(ProcessSettings):
    """All of them."""

    model_config = settings_config(ENV_PREFIX)

    server: Server = Server()
    identity: Identity = Identity()
    lease: Lease = Lease()
    aws: Aws = Aws()
    pace: Pace = Pace()
    revocation: Revocation = Revocation()
    uninstall: Uninstall = Uninstall()
    bind_annotated: BindAnnotated = BindAnnotated()
    role_binding_sets: RoleBindingSets = RoleBindingSets()
    pods: Pods = Pods()
    kubernetes: Kubernetes = Kubernetes()

    @model_validator(mode="after")
    def _writes_end_before_the_lease(self) -> Self:
        """Refuse time-outs with which a write that was sent before the deadline outlasts the Lease."""
        longest = self.aws.connect_timeout_seconds + self.aws.read_timeout_seconds
        spare = self.lease.duration_seconds - self.lease.renew_deadline_seconds
        if self.lease.enabled and longest > spare:
            raise ValueError(
                f"aws.connectTimeoutSeconds and aws.readTimeoutSeconds are together {longest:g} s, more than the "
                f"{spare} s between lease.renewDeadlineSeconds and lease.durationSeconds, so a write may still be "
                "under way when another operator takes the Lease; raise lease.durationSeconds to at least "
                f"{math.ceil(self.lease.renew_deadline_seconds + longest)} or lower the time-outs"
            )
        return self

    def manager_pace(self) -> ManagerPace:
        """Return when the manager lets what run."""
        pace = self.pace
        return ManagerPace(
            window=pace.commit_window_seconds,
            resync=pace.resync_seconds,
            survey=pace.survey_seconds,
            retry=Backoff(pace.retry_seconds, pace.max_retry_seconds),
        )

    def revocation_limit(self) -> RevocationLimit:
        """Return how much may be revoked at once."""
        is_asked_for = self.uninstall.leaving in {DeletionPolicy.REVOKE, DeletionPolicy.RESTORE}
        return RevocationLimit(1.0 if is_asked_for else self.revocation.max_share, self.revocation.window_seconds)

    def write_pace(self) -> WritePace:
        """Return how trust policies are written."""
        return WritePace(max_read_age=self.aws.max_read_age_seconds)

    def call_settings(self) -> CallSettings:
        """Return how AWS is called."""
        return CallSettings(self.aws.connect_timeout_seconds, self.aws.read_timeout_seconds)


def load(file: str | None = None) -> Settings:
    """Return the operator's settings from ``file``, if any, and the environment.

    Raises:
        SettingsError: unreadable file, unknown name or unusable value; one sentence a line.
    """
    return load_settings(Settings, file)
