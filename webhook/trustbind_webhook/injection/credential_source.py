"""How a pod gets at its roles: which tokens, which files, which variables. One form for every method.

- plain: one role by web identity; variables name the role and the token.
- profiles: a chain, or several roles; an AWS config file names them, and variables point at the file.
"""

from __future__ import annotations

import hashlib
import itertools
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trustbind.api.role_binding import DEFAULT_PROFILE, MAX_CHAINED_SESSION_SECONDS, RoleBinding
from trustbind.identity.arns import RoleArn

__all__ = [
    "CONFIG_FILE",
    "TOKEN_FILE",
    "VOLUME_NAME",
    "ContainerCredentials",
    "Delivery",
    "Place",
    "Profile",
    "Token",
    "container_credentials",
    "plain",
    "profiles",
]

VOLUME_NAME: Final = "aws-iam-token"
"""Name of the projected volume, the same as the EKS webhook's."""

TOKEN_FILE: Final = "token"  # noqa: S105 - a file name
"""The first token's path inside the volume."""

CONFIG_FILE: Final = "config"
"""The AWS config file's path inside the volume."""

ROLE: Final = "AWS_ROLE_ARN"
TOKEN: Final = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - a variable's name
SESSION: Final = "AWS_ROLE_SESSION_NAME"
CONFIG: Final = "AWS_CONFIG_FILE"
PROFILE: Final = "AWS_PROFILE"
LOAD_CONFIG: Final = "AWS_SDK_LOAD_CONFIG"

FULL_URI: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
AUTHORIZATION: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"

_KEYS: Final = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE"})
"""A container's own keys: SDKs disagree on whether a profile or keys win, so profiles stay away from them."""

_SOURCE_PREFIX: Final = "trustbind-source-"
"""Profiles of source roles, which no workload should name."""


@dataclass(frozen=True, slots=True)
class Token:
    """A service-account token in the volume."""

    audience: str
    expiration_seconds: int
    path: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the volume is mounted.

    Attributes:
        mount_path: in containers, as the pod has it.
        is_windows: whether paths in variables and files are Windows'.
    """

    mount_path: str
    is_windows: bool = False

    def file(self, name: str) -> str:
        """Return the path of a file of the volume, as the container's programs see it."""
        path = posixpath.normpath(posixpath.join(self.mount_path, name))
        return "C:" + path.replace("/", "\\") if self.is_windows else path


@dataclass(frozen=True, slots=True)
class Profile:
    """One role that the pod can use.

    Attributes:
        name: of the AWS profile.
        role: the target role.
        binding: that gave it; None when an annotation alone did.
        audience: of its token.
        expiration_seconds: of its token.
        region: empty when none is set.
        session: the role session name, rendered; empty: the SDK makes one.
    """

    name: str
    role: RoleArn
    binding: RoleBinding | None
    audience: str
    expiration_seconds: int
    region: str
    session: str

    @property
    def is_chained(self) -> bool:
        """Whether a source role comes first."""
        return self.binding is not None and self.binding.source is not None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the pod is given.

    Attributes:
        volume_name: of the projected volume.
        mount_path: of the volume in containers.
        tokens: in the volume, the first at `TOKEN_FILE`.
        config: text of the AWS config file; empty: there is none.
        identity: variables that make up the identity, in order.
        session: variables that complete it, where the identity is ours.
        exclusive: names of variables of which a container that has any brings an identity of its own.
        region: for AWS_REGION and AWS_DEFAULT_REGION; empty: not set.
        sts_regional: whether AWS_STS_REGIONAL_ENDPOINTS=regional is set.
        label: of the pod, key and value; None: there is none.
        selectable: profiles of the config file that a container may choose by AWS_PROFILE of its own.
    """

    volume_name: str
    mount_path: str
    tokens: tuple[Token, ...]
    config: str
    identity: tuple[tuple[str, str], ...]
    session: tuple[tuple[str, str], ...]
    exclusive: frozenset[str]
    region: str
    sts_regional: bool
    label: tuple[str, str] | None = None
    selectable: frozenset[str] = frozenset()
    names: frozenset[str] = field(init=False, repr=False)
    """Names of the identity's variables; asked for every container."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(name for name, _ in self.identity))


def plain(profile: Profile, place: Place, *, sts_regional: bool) -> Delivery:
    """Return the delivery of one role by web identity; the variables are the EKS webhook's."""
    return Delivery(
        volume_name=VOLUME_NAME,
        mount_path=place.mount_path,
        tokens=(Token(profile.audience, profile.expiration_seconds, TOKEN_FILE),),
        config="",
        identity=((ROLE, str(profile.role)), (TOKEN, place.file(TOKEN_FILE))),
        session=((SESSION, profile.session),) if profile.session else (),
        exclusive=frozenset({ROLE, TOKEN}),
        region=profile.region,
        sts_regional=sts_regional,
    )


def profiles(chosen: Sequence[Profile], place: Place, *, sts_regional: bool) -> Delivery:
    """Return the delivery of a chain, or of several roles.

    AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are left out on purpose: in some SDKs (Go v2) they beat a profile that
    was chosen by AWS_PROFILE.
    """
    tokens = _tokens(chosen)
    paths = {token.audience: token.path for token in tokens}
    sources = _source_names(chosen)
    sections: list[str] = []
    for profile in chosen:
        token_file = place.file(paths[profile.audience])
        sections += _sections(profile, sources.get(profile.name, ""), token_file, sts_regional=sts_regional)
    regions = {profile.region for profile in chosen}
    identity = [(CONFIG, place.file(CONFIG_FILE))]
    if (main := _main_profile(chosen)) is not None:
        identity.append((PROFILE, main))
    identity.append((LOAD_CONFIG, "1"))
    return Delivery(
        volume_name=VOLUME_NAME,
        mount_path=place.mount_path,
        tokens=tokens,
        config="\n".join(sections),
        identity=tuple(identity),
        session=(),
        exclusive=frozenset({CONFIG, PROFILE, ROLE, TOKEN, *_KEYS}),
        # A variable beats every profile's own region, so it is set only where all agree.
        region=regions.pop() if len(regions) == 1 else "",
        sts_regional=sts_regional,
        selectable=frozenset(profile.name for profile in chosen),
    )


@dataclass(frozen=True, slots=True)
class ContainerCredentials:
    """EKS Pod Identity: an agent on the node gives credentials for a token. Defaults are the EKS webhook's.

    Attributes:
        audience: of the token.
        mount_path: of the volume in containers.
        volume_name: of the projected volume.
        token_path: inside the volume.
        full_uri: of the agent.
    """

    audience: str = "pods.eks.amazonaws.com"
    mount_path: str = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    volume_name: str = "eks-pod-identity-token"
    token_path: str = "eks-pod-identity-token"  # noqa: S105 - a file name
    full_uri: str = "http://169.254.170.23/v1/credentials"


def container_credentials(
    agent: ContainerCredentials, expiration_seconds: int, region: str, *, is_windows: bool, sts_regional: bool
) -> Delivery:
    """Return the delivery of EKS Pod Identity; the role is the agent's business, so none is named."""
    place = Place(agent.mount_path, is_windows)
    identity = ((FULL_URI, agent.full_uri), (AUTHORIZATION, place.file(agent.token_path)))
    return Delivery(
        volume_name=agent.volume_name,
        mount_path=agent.mount_path,
        tokens=(Token(agent.audience, expiration_seconds, agent.token_path),),
        config="",
        identity=identity,
        session=(),
        exclusive=frozenset({FULL_URI, AUTHORIZATION}),
        region=region,
        sts_regional=sts_regional,
        label=("eks.amazonaws.com/pod-identity", "enabled"),
    )


def _main_profile(chosen: Sequence[Profile]) -> str | None:
    """Return the profile that AWS_PROFILE names; None when there is no telling which one a program should use."""
    names = [profile.name for profile in chosen]
    if DEFAULT_PROFILE in names:
        return DEFAULT_PROFILE
    return names[0] if len(names) == 1 else None


def _tokens(chosen: Sequence[Profile]) -> tuple[Token, ...]:
    """Return one token for each audience; it lives as long as the shortest wish for it."""
    lives: dict[str, int] = {}
    for profile in chosen:
        lives[profile.audience] = min(
            profile.expiration_seconds, lives.get(profile.audience, profile.expiration_seconds)
        )
    return tuple(
        Token(audience, seconds, TOKEN_FILE if number == 0 else f"{TOKEN_FILE}-{_digest(audience)}")
        for number, (audience, seconds) in enumerate(lives.items())
    )


def _source_names(chosen: Sequence[Profile]) -> dict[str, str]:
    """Return the name of the source role's profile for each chain; no name stands for two profiles.

    A binding may call its own profile as we would call a source role's.
    """
    taken = {profile.name for profile in chosen}
    names: dict[str, str] = {}
    for profile in chosen:
        if not profile.is_chained:
            continue
        plain_name = name = _SOURCE_PREFIX + profile.name
        for number in itertools.count(2):
            if name not in taken:
                break
            name = f"{plain_name}-{number}"
        taken.add(name)
        names[profile.name] = name
    return names


def _sections(profile: Profile, source: str, token_file: str, *, sts_regional: bool) -> list[str]:
    """Return the config file's sections for one profile, the source role's first."""
    common: dict[str, str] = {}
    if profile.region:
        common["region"] = profile.region
    if sts_regional:
        common["sts_regional_endpoints"] = "regional"
    session = {"role_session_name": profile.session} if profile.session else {}
    binding = profile.binding
    if binding is None or binding.source is None:
        return [
            _section(
                profile.name,
                {
                    "role_arn": str(profile.role),
                    "web_identity_token_file": token_file,
                    **session,
                    **common,
                },
            )
        ]
    target = {"role_arn": str(profile.role), "source_profile": source, **session}
    if binding.external_id:
        target["external_id"] = binding.external_id
    # Always said: without it, some SDKs ask for an hour and others (Go v2) for a quarter of one.
    target["duration_seconds"] = str(binding.session_duration_seconds or MAX_CHAINED_SESSION_SECONDS)
    return [
        _section(
            source,
            {
                "role_arn": str(binding.source.role),
                "web_identity_token_file": token_file,
                **session,
                **common,
            },
        ),
        _section(profile.name, target | common),
    ]


def _section(name: str, values: Mapping[str, str]) -> str:
    # Every profile but the default one is announced as such (AWS SDKs and Tools Reference Guide,
    # "Format of the config file").
    title = name if name == DEFAULT_PROFILE else f"profile {name}"
    return "".join([f"[{title}]\n", *(f"{key} = {value}\n" for key, value in values.items())])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
