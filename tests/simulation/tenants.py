"""Two honest tenants and a hostile one, each with a script of changes that a generator of its own decides.

A script depends on nothing that happens in a world, so the honest tenants do the same at the same times whether the
hostile one is there or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from simulation.cluster import BINDING, SERVICE_ACCOUNT, Key
from trustbind.api.role_binding import RoleBinding
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer

__all__ = [
    "AUDIENCES",
    "EXTERNAL_IDS",
    "HONEST",
    "HOSTILE",
    "Change",
    "Roles",
    "honest_script",
    "hostile_script",
    "is_valid",
]

HONEST: Final = ("blue", "green")
HOSTILE: Final = "red"

AUDIENCES: Final = ("sts.amazonaws.com", "vault.example.com", "https://kubernetes.default.svc")
EXTERNAL_IDS: Final = ("id-1", "id-2")

_NAMES: Final = ("s0", "s1", "s2", "s3")
_LABELS: Final = ("x", "y")
_GITHUB: Final = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class Change:
    """What a tenant does at one moment.

    Attributes:
        at: seconds after the beginning.
        key: of the object.
        spec: of a binding that is created or changed; None where only labels are given, or the object is deleted.
        labels: of a service account that is created or changed.
    """

    at: float
    key: Key
    spec: Mapping[str, Any] | None = None
    labels: Mapping[str, str] | None = None

    @property
    def is_deletion(self) -> bool:
        """Whether the object is deleted."""
        return self.spec is None and self.labels is None


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of a world.

    Attributes:
        honest: granted to the honest tenants.
        hostile: granted to the hostile tenant; none of the others may enter them.
        shared: granted to all three.
    """

    honest: tuple[RoleArn, ...]
    hostile: tuple[RoleArn, ...]
    shared: RoleArn

    @property
    def all(self) -> list[RoleArn]:
        """All of them."""
        return [*self.honest, *self.hostile, self.shared]


def is_valid(spec: Mapping[str, Any]) -> bool:
    """Return whether the parser takes a binding, and so the API server would store it."""
    metadata = {"name": "x", "namespace": HOSTILE}
    try:
        RoleBinding.parse({"apiVersion": API_VERSION, "kind": BINDING, "metadata": metadata, "spec": spec})
    except InvalidValueError:
        return False
    return True


def honest_script(rng: Random, roles: Roles, seconds: float) -> list[Change]:
    """Return the changes of the honest tenants, in order.

    Nothing of them depends on who is first: a name is used once, nothing is left behind with Retain, and a service
    account has one binding by EKS Pod Identity at most.
    """
    script = [
        Change(0.0, (SERVICE_ACCOUNT, namespace, name), labels=_labels(rng)) for namespace in HONEST for name in _NAMES
    ]
    alive: dict[Key, Mapping[str, Any]] = {}
    made = 0
    for at in _times(rng, rng.randint(8, 16), seconds):
        act = rng.random()
        if alive and act < 0.2:
            key = rng.choice(sorted(alive))
            del alive[key]
            script.append(Change(at, key))
        elif alive and act < 0.4:
            key = rng.choice(sorted(alive))
            alive[key] = _honest_spec(rng, roles, alive[key], key)
            script.append(Change(at, key, alive[key]))
        elif act < 0.5:
            script.append(Change(at, (SERVICE_ACCOUNT, rng.choice(HONEST), rng.choice(_NAMES)), labels=_labels(rng)))
        else:
            key = (BINDING, rng.choice(HONEST), f"b{made}")
            made += 1
            alive[key] = _honest_spec(rng, roles, None, key)
            script.append(Change(at, key, alive[key]))
    return script


def _honest_spec(rng: Random, roles: Roles, former: Mapping[str, Any] | None, key: Key) -> dict[str, Any]:
    if former is not None:
        method, role = str(former["method"]), str(former["roleArn"])
    else:
        method = rng.choices(("WebIdentity", "AssumeRole", "PodIdentity"), (6, 3, 1))[0]
        # A chain never ends or begins in the role that is shared with the hostile tenant.
        role = str(rng.choice([*roles.honest, roles.shared] if method == "WebIdentity" else roles.honest))
    spec: dict[str, Any] = {"roleArn": role, "method": method, "profile": rng.choice(("default", "p1", "p2", "p3"))}
    if method == "PodIdentity":
        spec["serviceAccountNames"] = [f"agent-{key[2]}"]
    elif rng.random() < 0.3:
        spec["serviceAccountSelector"] = {"matchLabels": {"app": rng.choice(_LABELS)}}
    else:
        spec["serviceAccountNames"] = sorted(rng.sample(_NAMES, rng.choice((1, 1, 2, 3))))
    if method == "AssumeRole":
        spec["source"] = former["source"] if former is not None else _honest_source(rng, roles, role)
    return spec


def _honest_source(rng: Random, roles: Roles, role: str) -> dict[str, Any]:
    others = [r for r in roles.honest if str(r) != role]
    return {"roleArn": str(rng.choice(others)), "trustedAs": rng.choice(("Role", "AccountRoot"))}


def hostile_script(rng: Random, roles: Roles, issuer: Issuer, seconds: float) -> list[Change]:
    """Return the changes of the hostile tenant, in order.

    It may write RoleBindings and service accounts of its own namespace, and what the schema and the parser refuse is
    left out: the API server would not store it.
    """
    script: list[Change] = []
    names = [f"n{i}" for i in range(14)]
    specs = _HostileSpecs(rng, roles, issuer)
    for at in _times(rng, rng.randint(40, 80), seconds):
        act = rng.random()
        if act < 0.25:
            account = (SERVICE_ACCOUNT, HOSTILE, rng.choice((*_NAMES, "e0", "e1", "admin")))
            script.append(Change(at, account, labels=_labels(rng) if rng.random() < 0.75 else None))
        elif act < 0.45:
            script.append(Change(at, (BINDING, HOSTILE, rng.choice(names))))
        else:
            script.append(Change(at, (BINDING, HOSTILE, rng.choice(names)), specs.one()))
    return script


class _HostileSpecs:
    """Makes specs that are legal, and meant to do harm.

    Args:
        rng: chooses.
        roles: of the world.
        issuer: the cluster's.
    """

    def __init__(self, rng: Random, roles: Roles, issuer: Issuer) -> None:
        self._rng = rng
        self._roles = roles
        self._issuer = issuer

    def one(self) -> dict[str, Any]:
        """Return a spec that the parser takes."""
        while True:
            spec = self._spec()
            if is_valid(spec):
                return spec

    def _spec(self) -> dict[str, Any]:
        rng = self._rng
        method = rng.choice(("WebIdentity", "WebIdentity", "AssumeRole", "PodIdentity"))
        spec: dict[str, Any] = {
            "roleArn": self._role(),
            "method": method,
            "deletionPolicy": rng.choice(("Retain", "Revoke")),
            "profile": rng.choice(("default", "p1", "trustbind-source-a")),
            "waitUntilReady": rng.random() < 0.3,
        }
        spec |= self._accounts()
        if method == "AssumeRole":
            spec["source"] = {
                "roleArn": self._role(),
                "managePermission": rng.random() < 0.8,
                "trustedAs": rng.choice(("Role", "AccountRoot")),
            }
            if rng.random() < 0.4:
                spec["externalId"] = rng.choice(EXTERNAL_IDS)
        if rng.random() < 0.4:
            spec["audience"] = rng.choice(AUDIENCES)
        if method != "PodIdentity" and rng.random() < 0.6:
            spec["conditions"] = [
                c
                for c in self._conditions()
                # Where the target role trusts the source role's AWS account, this replaces the condition on the role.
                if not (method == "AssumeRole" and c["key"].lower() == "aws:principalarn")
            ]
        if method == "WebIdentity" and rng.random() < 0.2:
            spec["federatedSubjects"] = [{"issuer": _GITHUB, "subjects": ["repo:*", "repo:org/?*"]}]
        return spec

    def _role(self) -> str:
        """Return a role: mostly one that is there, granted or not; else one that is nearly like it."""
        rng, roles = self._rng, self._roles
        if rng.random() < 0.75:
            return str(rng.choice((*roles.hostile, *roles.hostile, *roles.hostile, roles.shared, *roles.honest)))
        honest = rng.choice(roles.honest)
        account = honest.account_id
        return rng.choice(
            (
                f"arn:aws:iam::{account}:role/evil/{honest.name}",
                f"arn:aws:iam::{account}:role/*/{honest.name}",
                f"arn:aws:iam::{account}:role/evil-*/{honest.name}",
                f"arn:aws:iam::{account}:role/${{aws:username}}/{honest.name}",
                f"arn:aws:iam::{account}:role/manager",
                f"arn:aws:iam::{account}:role/evil-{rng.randint(0, 40)}",
                f"arn:aws-cn:iam::{account}:role/{honest.name}",
                "arn:aws:iam::999999999999:role/evil-0",
            )
        )

    def _accounts(self) -> dict[str, Any]:
        rng = self._rng
        if rng.random() < 0.6:
            return {"serviceAccountNames": sorted(rng.sample((*_NAMES, "e0", "e1", "admin", "nobody"), 3))}
        expressions = [
            {"key": f"k{i}", "operator": "NotIn", "values": [f"v{n}" for n in range(20)]}
            for i in range(rng.choice((0, 1, 30)))
        ]
        return {"serviceAccountSelector": {"matchExpressions": expressions} if expressions else {}}

    def _conditions(self) -> list[dict[str, Any]]:
        """Return conditions, most of them on what a statement says itself, in any letter case."""
        rng, host = self._rng, self._issuer.host_path
        keys: tuple[tuple[str, Callable[[], Sequence[str]]], ...] = (
            ("aws:PrincipalArn", lambda: [str(rng.choice(self._roles.all))]),
            ("aws:PrincipalAccount", lambda: [self._roles.shared.account_id]),
            ("aws:SourceVpc", lambda: ["vpc-1"]),
            ("sts:RoleSessionName", lambda: ["*"]),
            (f"{host}:sub", lambda: ["system:serviceaccount:*:*", "system:serviceaccount:blue:s0"]),
            (f"{host}:aud", lambda: ["*", "vault.example.com"]),
            ("sts:ExternalId", lambda: ["*"]),
        )
        chosen = dict(rng.choices(keys, (5, 1, 1, 1, 3, 3, 2), k=rng.choice((1, 1, 2))))
        cased: tuple[Callable[[str], str], ...] = (str, str, str.upper, str.lower, str.swapcase)
        operators = ("StringEquals", "StringLike", "ArnLike", "StringNotEquals", "StringLikeIfExists", "Null")
        return [
            {
                "operator": rng.choices(operators, (6, 2, 1, 1, 1, 1))[0],
                "key": rng.choice(cased)(key),
                "values": list(values()),
            }
            for key, values in chosen.items()
        ]


def _times(rng: Random, count: int, seconds: float) -> list[float]:
    return sorted(rng.uniform(0.0, seconds) for _ in range(count))


def _labels(rng: Random) -> dict[str, str]:
    return {"app": rng.choice(_LABELS)} if rng.random() < 0.7 else {}
