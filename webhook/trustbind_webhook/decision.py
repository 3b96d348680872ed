"""What a pod gets, or why it gets nothing: one answer from values alone.

`decide` behaves for ServiceAccount annotations as the EKS pod identity webhook does, and adds bindings. Where it is
deliberately different, docs/decisions/0003-compatibility.md says how and why.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trustbind import annotations, sessions
from trustbind.annotations import AnnotationKeys
from trustbind.arns import RoleArn
from trustbind.bindings import DEFAULT_PROFILE, Method, RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identities import DEFAULT_AUDIENCE
from trustbind.reasons import SkipReason
from trustbind_webhook.pods import Container, Pod, Volume

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

VOLUME_NAME: Final = "aws-iam-token"
"""Name of the projected volume, the same as the EKS webhook's."""

TOKEN_FILE: Final = "token"  # noqa: S105 - a file name
"""The token's path inside the volume."""

DEFAULT_MOUNT_PATH: Final = "/var/run/secrets/eks.amazonaws.com/serviceaccount"

_MIRROR: Final = "kubernetes.io/config.mirror"
_ROLE: Final = "AWS_ROLE_ARN"
_TOKEN: Final = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - a variable's name
_SESSION: Final = "AWS_ROLE_SESSION_NAME"
_REGIONAL: Final = "AWS_STS_REGIONAL_ENDPOINTS"
_REGIONS: Final = ("AWS_DEFAULT_REGION", "AWS_REGION")


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
    """

    annotation_prefix: str = annotations.DEFAULT_PREFIX
    audience: str = DEFAULT_AUDIENCE
    mount_path: str = DEFAULT_MOUNT_PATH
    token_expiration_seconds: int = annotations.DEFAULT_EXPIRATION_SECONDS
    region: str = ""
    sts_regional_endpoints: bool = False
    cluster: str = ""
    keys: AnnotationKeys = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", AnnotationKeys.under(self.annotation_prefix))


@dataclass(frozen=True, slots=True)
class Account:
    """A service account as far as it decides."""

    namespace: str
    name: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Addition:
    """What one container gets on top of what it has.

    Attributes:
        path: JSON Pointer of the container, such as ``/spec/containers/0``.
        env: variables to append, in order.
        has_env: whether the container has a list of variables already.
        mount: whether to mount the token's volume.
        has_mounts: whether the container has a list of mounts already.
    """

    path: str
    env: tuple[tuple[str, str], ...]
    has_env: bool
    mount: bool
    has_mounts: bool


@dataclass(frozen=True, slots=True)
class Inject:
    """What is added to the pod.

    Attributes:
        role: the role that the pod gets.
        audience: of the token.
        expiration_seconds: of the token.
        mount_path: of the volume, in containers.
        volume: whether the volume has to be added.
        has_volumes: whether the pod has a list of volumes already.
        additions: containers that get something; in the order of the pod.
        binding: the binding that decided or refined, empty when none did.
        findings: sentences about what was ignored or corrected on the way.
    """

    role: RoleArn
    audience: str
    expiration_seconds: int
    mount_path: str
    volume: bool
    has_volumes: bool
    additions: tuple[Addition, ...]
    binding: str = ""
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


@dataclass(slots=True)
class _Wish:
    """What the pod should have, before its own content is looked at."""

    role: RoleArn
    audience: str
    expiration: int
    sts_regional: bool
    region: str
    session_template: str
    binding: str
    findings: list[str]


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
        unique: tells this pod from its siblings where its name is generated later (the request's uid).
    """
    if _MIRROR in pod.annotations:
        return Skip(SkipReason.MIRROR_POD)
    if annotations.is_opted_out(pod.annotations):
        return Skip(SkipReason.OPTED_OUT, "the pod is annotated trustbind.dev/inject: false")
    if account is None:
        return Skip(
            SkipReason.ACCOUNT_NOT_FOUND,
            f"the service account {namespace}/{pod.account} does not exist, so it has no role",
        )
    if annotations.is_opted_out(account.annotations):
        return Skip(
            SkipReason.OPTED_OUT,
            f"the service account {namespace}/{account.name} is annotated trustbind.dev/inject: false",
        )
    wish = _wish(pod, account, bindings, settings)
    if isinstance(wish, Skip):
        return wish
    if (volume := _volume(pod)) is not None and (problem := _foreign(volume, wish.audience)):
        return Skip(SkipReason.VOLUME_CONFLICT, problem, tuple(wish.findings))
    session = _session_name(pod, namespace, unique, wish.session_template, settings.cluster)
    additions = _additions(pod, wish, session, settings)
    if volume is not None and not additions:
        return Skip(SkipReason.ALREADY_INJECTED, findings=tuple(wish.findings))
    return Inject(
        role=wish.role,
        audience=wish.audience,
        expiration_seconds=wish.expiration,
        mount_path=settings.mount_path,
        volume=volume is None,
        has_volumes=pod.spec.volumes is not None,
        additions=additions,
        binding=wish.binding,
        findings=tuple(wish.findings),
    )


def _wish(pod: Pod, account: Account, bindings: Sequence[RoleBinding], settings: InjectionSettings) -> _Wish | Skip:
    """Return role and settings by precedence: the annotation's role, refined by a binding for it; else a binding."""
    keys = settings.keys
    own = sorted((b for b in bindings if b.names(account.name, account.labels)), key=lambda b: b.age_key)
    annotated = account.annotations.get(keys.role_arn, "").strip()
    where = f"service account {account.namespace}/{account.name}"
    if annotated:
        try:
            role = RoleArn.parse(annotated)
        except InvalidValueError as error:
            return Skip(SkipReason.INVALID_ROLE_ARN, f"{where}, annotation {keys.role_arn}: {error}")
        binding = next((b for b in own if b.role == role and b.method is Method.WEB_IDENTITY), None)
    else:
        binding = next((b for b in own if b.profile == DEFAULT_PROFILE), None)
        if binding is None:
            return Skip(SkipReason.NOT_BOUND)
        if binding.method is not Method.WEB_IDENTITY:
            return Skip(
                SkipReason.METHOD_NOT_SUPPORTED,
                f"RoleBinding {binding.ref} uses method {binding.method}, which the webhook cannot inject yet",
            )
        role = binding.role
    findings: list[str] = []

    audience, audience_finding = annotations.audience(account.annotations, keys.audience)
    sts, sts_finding = annotations.sts_regional_endpoints(account.annotations, keys.sts_regional_endpoints)
    findings += [f"{where}: {text}" for text in (audience_finding, sts_finding) if text]
    expiration = _expiration(pod, account, binding, settings, findings)
    return _Wish(
        role=role,
        # The operator writes the binding's audience into the trust policy, so the token has to carry it.
        audience=binding.audience if binding else (audience or settings.audience),
        expiration=expiration,
        sts_regional=settings.sts_regional_endpoints if sts is None else sts,
        region=(binding.region if binding else "") or settings.region,
        session_template=(binding.session_name if binding else "") or sessions.DEFAULT_TEMPLATE,
        binding=str(binding.ref) if binding else "",
        findings=findings,
    )


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
    if finding:
        findings.append(f"pod: {finding}")
    if seconds is not None:
        return seconds
    if binding is not None and binding.token_expiration_seconds is not None:
        return binding.token_expiration_seconds
    seconds, finding = annotations.token_expiration(account.annotations, key)
    if finding:
        findings.append(f"service account {account.namespace}/{account.name}: {finding}")
    if seconds is not None:
        return seconds
    return annotations.clamp_expiration(settings.token_expiration_seconds)


def _session_name(pod: Pod, namespace: str, unique: str, template: str, cluster: str) -> str:
    """Return the pod's session name; a name that is only generated later is told apart by the review."""
    name = pod.metadata.name or sessions.generated_pod(pod.metadata.generate_name or "", unique)
    return sessions.render(template, namespace=namespace, service_account=pod.account, pod=name, cluster=cluster)


def _volume(pod: Pod) -> Volume | None:
    return next((v for v in pod.spec.volumes or () if v.name == VOLUME_NAME), None)


def _foreign(volume: Volume, audience: str) -> str:
    """Return what is wrong with a volume of our name; empty when it is what we, or AWS's webhook, would add.

    Its expiration may differ: AWS's webhook on EKS may have come first, with another setting.
    """
    sources = volume.projected.sources if volume.projected else None
    token = sources[0].service_account_token if sources and len(sources) == 1 else None
    told = f"the pod has a volume named {VOLUME_NAME} that "
    advice = "; rename it, or leave it out and let it be added"
    if token is None:
        return f"{told}is not a projected service account token{advice}"
    if token.path != TOKEN_FILE:
        return f"{told}holds its token at {token.path!r}, not at {TOKEN_FILE!r}{advice}"
    if token.audience != audience:
        meant = repr(token.audience) if token.audience else "the API server"
        return f"{told}holds a token for {meant}, where the role needs one for {audience!r}{advice}"
    return ""


def _additions(pod: Pod, wish: _Wish, session: str, settings: InjectionSettings) -> tuple[Addition, ...]:
    mount_path = settings.mount_path
    token_file = posixpath.normpath(posixpath.join(mount_path, TOKEN_FILE))
    if pod.is_windows:
        token_file = "C:" + token_file.replace("/", "\\")
    skipped = annotations.skip_containers(pod.annotations, settings.keys.skip_containers)
    additions: list[Addition] = []
    for kind, containers in (("initContainers", pod.spec.init_containers), ("containers", pod.spec.containers)):
        for index, container in enumerate(containers or ()):
            if container.name in skipped:
                continue
            if problem := _mount_problem(container, mount_path):
                wish.findings.append(problem)
                continue
            addition = _addition(container, f"/spec/{kind}/{index}", wish, session, token_file)
            if addition is not None:
                additions.append(addition)
    return tuple(additions)


def _mount_problem(container: Container, mount_path: str) -> str:
    """Return why our mount would not be ours in this container; empty when it can be added or is there."""
    for mount in container.volume_mounts or ():
        ours = mount.name == VOLUME_NAME
        same_path = posixpath.normpath(mount.mount_path) == posixpath.normpath(mount_path)
        if ours and (not same_path or mount.sub_path or mount.sub_path_expr):
            return (
                f"container {container.name} mounts {VOLUME_NAME} at {mount.mount_path!r}, not whole at "
                f"{mount_path!r}; it is left alone: take the mount out, or list the container in skip-containers"
            )
        if same_path and not ours:
            return (
                f"container {container.name} mounts the volume {mount.name!r} at {mount_path!r}, where the token "
                "would be; it is left alone: mount that volume elsewhere"
            )
    return ""


def _addition(container: Container, path: str, wish: _Wish, session: str, token_file: str) -> Addition | None:
    """Return what the container lacks; None when that is nothing."""
    values = {variable.name: variable.value for variable in container.env or ()}
    has_identity = _ROLE in values or _TOKEN in values
    has_region = any(name in values for name in _REGIONS)
    has_regional = _REGIONAL in values
    ours = values.get(_ROLE) == str(wish.role) and values.get(_TOKEN) == token_file
    env: list[tuple[str, str]] = []
    if wish.sts_regional and not has_regional:
        env.append((_REGIONAL, "regional"))
    if wish.region and not has_region:
        env += [(name, wish.region) for name in _REGIONS]
    if not has_identity:
        env += [(_ROLE, str(wish.role)), (_TOKEN, token_file)]
    # A session name beside somebody else's role would be a lie; beside our own pair it completes it.
    if (not has_identity or ours) and _SESSION not in values:
        env.append((_SESSION, session))
    mount = all(m.name != VOLUME_NAME for m in container.volume_mounts or ())
    if has_identity and not ours and has_region and has_regional:
        return None  # the container brings everything itself, so it needs no token either
    if not env and not mount:
        return None
    return Addition(path, tuple(env), container.env is not None, mount, container.volume_mounts is not None)
