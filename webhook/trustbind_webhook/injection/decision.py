"""What a pod gets, or why it gets nothing: one answer from values alone.

`decide` behaves for ServiceAccount annotations as the EKS pod identity webhook does, and adds bindings. Where it is
deliberately different, docs/decisions/0003-compatibility.md says how and why.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from trustbind.api import annotations, near_misses
from trustbind.api.annotated_binding import gives_way, is_generated
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import CONFIG_ANNOTATION, GATE, INJECT, SESSION_NAME
from trustbind.api.role_binding import DEFAULT_PROFILE, Injection, RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity import session_names
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE
from trustbind.reasons import SkipReason
from trustbind_webhook.injection.containers import (
    Addition,
    additions,
    foreign_volume,
    own_volume,
    with_session_of_pod,
)
from trustbind_webhook.injection.credential_source import (
    TOKEN_FILE,
    VOLUME_NAME,
    ContainerCredentials,
    Delivery,
    Place,
    Profile,
    container_credentials,
    plain,
    profiles,
)
from trustbind_webhook.injection.pod import Pod

__all__ = [
    "TOKEN_FILE",
    "VOLUME_NAME",
    "Account",
    "Addition",
    "Inject",
    "InjectionSettings",
    "Skip",
    "decide",
]

DEFAULT_MOUNT_PATH: Final = "/var/run/secrets/eks.amazonaws.com/serviceaccount"

MAX_ANNOTATION_BYTES: Final = 240 * 1024
"""Keys and values of a pod's annotations together, with the config file. The API server refuses a pod with more than
256 KiB (apimachinery, ValidateAnnotations); the rest is for webhooks that come after this one."""

MAX_CONTAINERS: Final = 1000
"""Containers of a pod that is injected: no node runs as many, and a review has room for 100,000, each of which would
take a patch of its own."""

_SPREAD_SECONDS: Final = 7200

_SHOWN: Final = 10
"""Findings of one kind."""

_MIRROR: Final = "kubernetes.io/config.mirror"

_NO_LABELS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class InjectionSettings:
    """What the administrator set for the whole cluster; values.yaml has the same names below ``injection``.

    Attributes:
        annotation_prefix: prefix of the EKS family of annotations.
        audience: of tokens, unless an annotation or a binding says otherwise.
        mount_path: where the token's volume is mounted.
        token_expiration_seconds: 600 to 86,400.
        region: injected as AWS_REGION and AWS_DEFAULT_REGION; empty: none.
        sts_regional_endpoints: whether to inject AWS_STS_REGIONAL_ENDPOINTS=regional without an annotation.
        cluster: name of the cluster, for session names.
        session_names: whether pods get a role session name, unless an annotation or a binding says otherwise.
        pod_identity: how EKS Pod Identity is delivered, for the accounts that have it.
        wait_for_bindings: whether ``waitUntilReady`` of a binding holds a pod; only with an operator that lets it go.
    """

    annotation_prefix: str = annotations.DEFAULT_PREFIX
    audience: str = DEFAULT_AUDIENCE
    mount_path: str = DEFAULT_MOUNT_PATH
    token_expiration_seconds: int = annotations.DEFAULT_EXPIRATION_SECONDS
    region: str = ""
    sts_regional_endpoints: bool = False
    cluster: str = ""
    session_names: bool = True
    pod_identity: ContainerCredentials = field(default_factory=ContainerCredentials)
    wait_for_bindings: bool = True
    keys: AnnotationKeys = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", AnnotationKeys.under(self.annotation_prefix))


@dataclass(frozen=True, slots=True)
class Account:
    """A service account as far as it decides.

    Attributes:
        namespace: of the account.
        name: of the account.
        annotations: of the families that are read.
        labels: all of them.
        pod_identity: whether EKS Pod Identity is set up for it (the file of identities).
        role_from: where the annotation with the role came from, when it is not the account's own.
        findings: sentences about what was ignored on the way to these values.
    """

    namespace: str
    name: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    pod_identity: bool = False
    role_from: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inject:
    """What is added to the pod.

    Attributes:
        role: the role that the pod ends up with; with several, that of the profile that is used by default. None when
            EKS Pod Identity decides about it.
        delivery: how it gets at its roles.
        volume: whether the volume has to be added.
        has_volumes: whether the pod has a list of volumes already.
        additions: containers that get something; in the order of the pod.
        annotate: whether the config file's annotation has to be added.
        has_annotations: whether the pod has annotations already.
        gate: whether the pod has to wait for its bindings.
        has_gates: whether the pod has a list of scheduling gates already.
        has_labels: whether the pod has labels already.
        label: whether the delivery's label has to be added.
        bindings: names of the bindings that decided or refined, sorted.
        findings: sentences about what was ignored or corrected on the way.
    """

    role: RoleArn | None
    delivery: Delivery
    volume: bool
    has_volumes: bool
    additions: tuple[Addition, ...]
    annotate: bool = False
    has_annotations: bool = False
    gate: bool = False
    has_gates: bool = False
    has_labels: bool = False
    label: bool = False
    bindings: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing is added.

    Attributes:
        reason: one constant.
        message: one sentence that says what, where and what to do; empty where there is nothing to do.
        findings: sentences about what was ignored or corrected on the way.
    """

    reason: SkipReason
    message: str = ""
    findings: tuple[str, ...] = ()


def decide(
    pod: Pod,
    account: Account | None,
    bindings: Sequence[RoleBinding],
    settings: InjectionSettings,
    *,
    namespace: str,
    unique: str,
) -> Inject | Skip:
    """Return what the pod gets, or why it gets nothing.

    Args:
        pod: the pod as it came.
        account: its service account; None when there is none of that name.
        bindings: the bindings of the pod's namespace, in any order.
        settings: the cluster's.
        namespace: the pod's namespace; at admission it comes from the request, not from the pod.
        unique: tells this pod from its siblings where its name is generated later (the request's uid). It may be
            another one at the next call for the same pod; what the pod has by then stays.
    """
    if _MIRROR in pod.annotations:
        return Skip(SkipReason.MIRROR_POD)
    if annotations.is_opted_out(pod.annotations):
        return Skip(SkipReason.OPTED_OUT, f"the pod is annotated {INJECT}: false")
    findings: list[str] = []
    _tell(findings, "pod", annotations.inject(pod.annotations))
    if account is None:
        return Skip(
            SkipReason.ACCOUNT_NOT_FOUND,
            f"the service account {namespace}/{pod.account} does not exist, so it has no role",
            tuple(findings),
        )
    if annotations.is_opted_out(account.annotations):
        return Skip(
            SkipReason.OPTED_OUT,
            f"the service account {namespace}/{account.name} is annotated {INJECT}: false",
        )
    _tell(findings, f"service account {namespace}/{account.name}", annotations.inject(account.annotations))
    findings += account.findings
    _tell_of_labels(findings, pod, account)
    choices = _choices(account, bindings, settings, findings)
    if isinstance(choices, Skip):
        return replace(choices, findings=(*findings, *_near_misses(choices, pod, account, settings)))
    if (count := len(pod.spec.containers or ()) + len(pod.spec.init_containers or ())) > MAX_CONTAINERS:
        sentence = f"the pod has {count} containers, and with more than {MAX_CONTAINERS} it gets no role"
        return Skip(SkipReason.NOT_UNDERSTOOD, sentence, tuple(findings))
    delivery, role = _delivery(pod, account, choices, settings, findings, namespace=namespace, unique=unique)
    volume = own_volume(pod, delivery)
    if volume is not None and (problem := foreign_volume(volume, delivery)):
        return Skip(SkipReason.VOLUME_CONFLICT, problem, tuple(findings))
    if delivery.config and (skip := _config_problem(pod, delivery, volume=volume is not None)):
        return replace(skip, findings=tuple(findings))
    skipped = annotations.skip_containers(pod.annotations, settings.keys.skip_containers)
    if skipped and (absent := sorted(skipped - pod.container_names)):
        findings.append(
            f"annotation {settings.keys.skip_containers} names no container of the pod: {', '.join(absent)}"
        )
    delivery = with_session_of_pod(pod, delivery, skipped)
    added, left_alone = additions(pod, delivery, skipped)
    findings += left_alone
    waiting = settings.wait_for_bindings and any(b.wait_until_ready and not b.is_ready for b in choices.values() if b)
    # A gate can only be set at creation, and not on a pod that has its node already.
    if waiting and pod.spec.node_name:
        findings.append(
            "the pod has its node already (spec.nodeName), so it does not wait for its bindings; its first calls may "
            "be denied"
        )
    gate = waiting and not pod.spec.node_name and all(g.name != GATE for g in pod.spec.scheduling_gates or ())
    annotate = bool(delivery.config) and CONFIG_ANNOTATION not in pod.annotations
    label = delivery.label is not None and delivery.label[0] not in (pod.metadata.labels or {})
    if volume is not None and not (added or gate or annotate or label):
        return Skip(SkipReason.ALREADY_INJECTED, findings=tuple(findings))
    return Inject(
        role=role,
        delivery=delivery,
        volume=volume is None,
        has_volumes=pod.spec.volumes is not None,
        additions=added,
        annotate=annotate,
        has_annotations=pod.metadata.annotations is not None,
        gate=gate,
        has_gates=pod.spec.scheduling_gates is not None,
        has_labels=pod.metadata.labels is not None,
        label=label,
        bindings=tuple(sorted(str(b.ref) for b in choices.values() if b is not None)),
        findings=tuple(findings),
    )


def _config_problem(pod: Pod, delivery: Delivery, *, volume: bool) -> Skip | None:
    """Return why the pod cannot carry the config file in an annotation; None when it can, or does.

    An annotation of the pod's own under that key does no harm where there is no config file: no volume shows it.
    """
    own = pod.annotations.get(CONFIG_ANNOTATION)
    if own is not None:
        if volume or own == delivery.config:
            return None
        problem = f"the pod has an annotation {CONFIG_ANNOTATION} of its own; leave it out and let it be added"
        return Skip(SkipReason.VOLUME_CONFLICT, problem)
    size = sum(_bytes(key) + _bytes(value) for key, value in pod.annotations.items())
    total = size + _bytes(CONFIG_ANNOTATION) + _bytes(delivery.config)
    if total <= MAX_ANNOTATION_BYTES:
        return None
    return Skip(
        SkipReason.CONFIG_TOO_LARGE,
        f"the AWS config file for {len(delivery.selectable)} profiles makes the pod's annotations {total} bytes long, "
        f"and {MAX_ANNOTATION_BYTES} are possible; the pod gets no role: bind its account to fewer roles, or take "
        "annotations off the pod",
    )


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class _Choices(dict[str, RoleBinding | None]):
    """Profile to binding; None where an annotation alone decides."""

    annotated: RoleArn | None = None
    by_agent: bool = False


def _choices(
    account: Account, bindings: Sequence[RoleBinding], settings: InjectionSettings, findings: list[str]
) -> _Choices | Skip:
    """Return a role for each profile by precedence.

    The annotation decides the default profile's role, and a binding for the same role refines it; without one, the
    oldest binding of each profile decides.
    """
    live = (b for b in bindings if not b.is_deleting and b.names(account.name, account.labels))
    own = sorted(live, key=lambda b: (not b.created, b.created, b.ref.name))  # all are of one namespace
    by_agent = [b for b in own if b.method.injection is Injection.CONTAINER_CREDENTIALS]
    if by_agent or account.pod_identity:
        # Container credentials come before everything else, as in the EKS webhook.
        chosen = _Choices({b.profile: b for b in by_agent[:1]})
        chosen.by_agent = True
        findings += _shortened(
            [
                f"RoleBinding {b.ref} is not used: the account has EKS Pod Identity, which gives it one role and comes "
                f"before all others{f' (RoleBinding {by_agent[0].ref})' if by_agent else ''}"
                for b in own
                if b not in by_agent[:1]
            ]
        )
        return chosen
    key = settings.keys.role_arn
    annotated = account.annotations.get(key, "").strip()
    chosen = _Choices()
    overruled: list[RoleBinding] = []
    if annotated:
        try:
            role = RoleArn.parse(annotated)
        except InvalidValueError as error:
            where = account.role_from or f"service account {account.namespace}/{account.name}, annotation {key}"
            return Skip(SkipReason.INVALID_ROLE_ARN, f"{where}: {error}{near_misses.value_hint(annotated)}")
        same = sorted((b for b in own if b.role == role), key=lambda b: b.profile != DEFAULT_PROFILE)
        chosen.annotated = role
        chosen[DEFAULT_PROFILE] = _refining(same)
        overruled = [b for b in own if b.profile == DEFAULT_PROFILE and b.role != role]
        findings += _shortened(
            [
                f"RoleBinding {binding.ref} has profile {DEFAULT_PROFILE}, but the annotation {key} decides that "
                "profile; give the binding another spec.profile, or take the annotation off"
                for binding in overruled
            ]
        )
    refs = {binding.ref for binding in overruled}
    unused: list[str] = []
    for binding in own:
        holder = chosen.setdefault(binding.profile, binding)
        if holder is None or holder is binding or gives_way(holder, binding) or gives_way(binding, holder):
            continue
        if holder.profile == binding.profile and binding.ref not in refs:
            unused.append(
                f"RoleBinding {binding.ref} is not used: RoleBinding {holder.ref} has profile {binding.profile} for "
                "the account already; give one of them another spec.profile"
            )
    findings += _shortened(unused)
    return chosen or Skip(SkipReason.NOT_BOUND)


def _refining(same: Sequence[RoleBinding]) -> RoleBinding | None:
    """Return which binding for the annotation's role refines it: the first, but for one made of the annotation.

    That one gives way to a user's own as soon as the user's has its trust; until then pods get the token that the
    role trusts already.
    """
    generated = next(filter(is_generated, same), None)
    first = same[0] if same else None
    if generated is None or first is None or not (first is generated or gives_way(generated, first)):
        return first
    return next((b for b in same if b.is_ready and gives_way(generated, b)), generated)


def _shortened(findings: list[str]) -> list[str]:
    """Return the first of many findings of one kind; a service account can have hundreds of bindings."""
    more = len(findings) - _SHOWN
    return findings if more <= 0 else [*findings[:_SHOWN], f"so it is with {more} more RoleBindings"]


def _delivery(
    pod: Pod,
    account: Account,
    choices: _Choices,
    settings: InjectionSettings,
    findings: list[str],
    *,
    namespace: str,
    unique: str,
) -> tuple[Delivery, RoleArn | None]:
    """Return how the pod gets at its roles, and the role that is used by default."""
    keys = settings.keys
    audience, audience_finding = annotations.audience(account.annotations, keys.audience)
    sts, sts_finding = annotations.switch(account.annotations, keys.sts_regional_endpoints)
    where = f"service account {account.namespace}/{account.name}"
    findings += [f"{where}: {text}" for text in (audience_finding, sts_finding) if text]
    regional = settings.sts_regional_endpoints if sts is None else sts
    if choices.by_agent:
        binding = next(iter(choices.values()), None)
        seconds = _expiration(pod, account, binding, settings, findings)
        region = (binding.region if binding else "") or settings.region
        delivered = container_credentials(
            settings.pod_identity,
            _spread(seconds, unique),
            region,
            is_windows=pod.is_windows,
            sts_regional=regional,
        )
        return delivered, binding.role if binding else None
    name = pod.metadata.name or session_names.generated_pod(pod.metadata.generate_name or "", unique)
    is_named = _is_named(pod, account, findings)
    chosen: list[Profile] = []
    for profile, binding in choices.items():
        role = choices.annotated if binding is None else binding.role
        assert role is not None  # noqa: S101 - without a binding there is an annotation; this is for the type checker
        wanted = binding.session_name if binding else ""
        session = ""
        if (bool(wanted) or settings.session_names) if is_named is None else is_named:
            template = wanted or session_names.DEFAULT_TEMPLATE
            session = session_names.render(
                template, namespace=namespace, service_account=pod.account, pod=name, cluster=settings.cluster
            )
        chosen.append(
            Profile(
                name=profile,
                role=role,
                binding=binding,
                # The operator writes the binding's audience into the trust policy, so the token has to carry it.
                audience=binding.audience if binding else (audience or settings.audience),
                expiration_seconds=_expiration(pod, account, binding, settings, findings),
                region=(binding.region if binding else "") or settings.region,
                session=session,
            )
        )
    place = Place(settings.mount_path, pod.is_windows)
    main = next((p for p in chosen if p.name == DEFAULT_PROFILE), chosen[0])
    if len(chosen) == 1 and main.name == DEFAULT_PROFILE and not main.is_chained:
        return plain(main, place, sts_regional=regional), main.role
    return profiles(chosen, place, sts_regional=regional), main.role


def _is_named(pod: Pod, account: Account, findings: list[str]) -> bool | None:
    """Return whether an annotation says that the pod has a session name, pod over account; None where none says."""
    for where, found in (
        ("pod", pod.annotations),
        (f"service account {account.namespace}/{account.name}", account.annotations),
    ):
        is_named, finding = annotations.switch(found, SESSION_NAME)
        _tell(findings, where, finding)
        if is_named is not None:
            return is_named
    return None


def _expiration(
    pod: Pod,
    account: Account,
    binding: RoleBinding | None,
    settings: InjectionSettings,
    findings: list[str],
) -> int:
    """Return the token's life in seconds: pod over binding over account over setting."""
    key = settings.keys.token_expiration
    seconds, finding = annotations.token_expiration(pod.annotations, key)
    _tell(findings, "pod", finding)
    if seconds is not None:
        return seconds
    if binding is not None and binding.token_expiration_seconds is not None:
        return binding.token_expiration_seconds
    seconds, finding = annotations.token_expiration(account.annotations, key)
    _tell(findings, f"service account {account.namespace}/{account.name}", finding)
    if seconds is not None:
        return seconds
    return annotations.clamp_expiration(settings.token_expiration_seconds)


def _spread(seconds: int, unique: str) -> int:
    """Return the default life of a token spread over its last two hours, as the EKS webhook does it.

    Otherwise the pods of one rollout would all come to the node's agent for new credentials at the same time.
    """
    if seconds != annotations.DEFAULT_EXPIRATION_SECONDS:
        return seconds
    share = int.from_bytes(hashlib.sha256(unique.encode()).digest()[:4]) / 2**32
    return seconds - round(share * _SPREAD_SECONDS)


def _near_misses(skip: Skip, pod: Pod, account: Account, settings: InjectionSettings) -> list[str]:
    """Return where a role was meant for a pod that gets none because nothing names one."""
    if skip.reason is not SkipReason.NOT_BOUND:
        return []
    return near_misses.role_sentences(
        f"{account.namespace}/{account.name}",
        settings.keys.role_arn,
        pod=(pod.annotations, pod.metadata.labels or _NO_LABELS),
        service_account=(account.annotations, account.labels),
    )


def _tell_of_labels(findings: list[str], pod: Pod, account: Account) -> None:
    """Add what is wrong with labels that were meant as annotations."""
    if pod.metadata.labels and INJECT in pod.metadata.labels:
        findings.append(f"pod: {near_misses.MISPLACED_OPT_OUT}")
    if INJECT in account.labels:
        findings.append(f"service account {account.namespace}/{account.name}: {near_misses.MISPLACED_OPT_OUT}")


def _tell(findings: list[str], where: str, finding: str) -> None:
    """Add a finding, once: each of several profiles comes to the same."""
    text = f"{where}: {finding}"
    if finding and text not in findings:
        findings.append(text)
