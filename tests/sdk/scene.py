"""A pod's way from the webhook to AWS: bindings, trust, injection, kubelet, container, program."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sdk.programs import Answer, Program
from support.pods import Kubelet
from trustbind.api.role_binding import RoleBinding
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.plan import Desired, plan
from trustbind.policy.trust_document import EMPTY
from trustbind_localaws import DecisionRecord, LocalAws, TokenIssuer
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, decide
from trustbind_webhook.injection.json_patch import applied, patch
from trustbind_webhook.injection.pod import pod_of

__all__ = ["ISSUER", "Scene"]

ISSUER: Final = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
NAMESPACE: Final = "team-a"
ACCOUNT: Final = "reader"


class Scene:
    """One pod, one AWS, one program.

    Attributes:
        aws: the local AWS, strict as the real one.
        program: that runs in the pod's container.
        findings: what the webhook told about the pod.
    """

    def __init__(self, aws: LocalAws, issuer: TokenIssuer, folder: Path, program: Program) -> None:
        self.aws = aws
        self.program = program
        self.findings: tuple[str, ...] = ()
        self._issuer = issuer
        self._folder = folder
        self._kubelet: Kubelet | None = None
        self._pod: dict[str, Any] = {}
        self._runs = 0
        self._moved = timedelta()

    @property
    def kubelet(self) -> Kubelet:
        """Who keeps the pod's volume."""
        assert self._kubelet is not None, "admit a pod first"
        return self._kubelet

    @property
    def now(self) -> datetime:
        """The time of this AWS, which a test may have moved on."""
        return datetime.now(UTC) + self._moved

    def advance(self, seconds: float) -> None:
        """Move the time of this AWS on; the programs keep that of the machine."""
        self.aws.advance(seconds)
        self._moved += timedelta(seconds=seconds)

    def lives(self, answer: Answer) -> float:
        """Return for how many seconds from now an answer's credentials are good."""
        assert answer.expires is not None, answer
        return (answer.expires - datetime.now(UTC)).total_seconds()

    def admit(self, *specs: Mapping[str, Any], env: Mapping[str, str] | None = None, **settings: Any) -> dict[str, str]:
        """Let a pod be created whose account has these bindings, and let its kubelet begin; return its variables.

        Args:
            specs: of bindings, without the accounts.
            env: what the user set in the pod's only container.
            settings: of the injection.
        """
        bindings = [_binding(number, spec) for number, spec in enumerate(specs)]
        self._trust(bindings)
        variables = [{"name": name, "value": value} for name, value in (env or {}).items()]
        container = {"name": "app", "image": "app"} | ({"env": variables} if variables else {})
        pod: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "report-7", "namespace": NAMESPACE},
            "spec": {"serviceAccountName": ACCOUNT, "containers": [container]},
        }
        defaults = {"region": "eu-central-1", "cluster": "prod", "mount_path": str(self._folder / "mnt" / "token")}
        outcome = decide(
            pod_of(pod),
            Account(NAMESPACE, ACCOUNT),
            bindings,
            InjectionSettings(**defaults | settings),
            namespace=NAMESPACE,
            unique="review-1",
        )
        assert isinstance(outcome, Inject), outcome
        self.findings = outcome.findings
        self._pod = applied(pod, patch(outcome))
        if any("volumeMounts" in each for each in self._pod["spec"]["containers"]):
            self._kubelet = Kubelet(self._pod, self._issuer, self._folder)
            self._kubelet.sync()
        return self.environment

    @property
    def environment(self) -> dict[str, str]:
        """What the container's program finds in its environment."""
        return {v["name"]: v["value"] for c in self._pod["spec"]["containers"] for v in c.get("env", ())}

    def run(self, profile: str = "", *, home: str = "", endpoint: str = "", **env: str) -> Answer:
        """Run the program in the pod's container: with what was injected, and where AWS is.

        Args:
            profile: that the program chooses; empty: none.
            home: name of its home folder, which outlives it; empty: a new one.
            endpoint: the variable that says where AWS is; empty: the one that the program needs.
            env: variables that come to the container past the webhook, as with ``envFrom``.
        """
        self._runs += 1
        environment = {**self.environment, **env, endpoint or self.program.endpoint: self.aws.url}
        return self.program.run(environment, self._folder / (home or f"home-{self._runs}"), profile)

    def file(self, name: str, text: str) -> str:
        """Write a file of the user's into the container, and return its path."""
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def steps(self) -> list[tuple[str, str, str, bool]]:
        """Return what STS decided since the last time: operation, role, session name, and whether it was allowed."""
        decisions = self.decisions()
        return [(d.operation, d.role_arn, d.session_name, d.allowed) for d in decisions]

    def decisions(self) -> list[DecisionRecord]:
        """Return what STS decided since the last time."""
        decisions = list(self.aws.decisions)
        self.aws.forget_decisions()
        return decisions

    def _trust(self, bindings: list[RoleBinding]) -> None:
        """Make the roles that bindings name, with the trust that the operator gives them."""
        issuer = Issuer.parse(ISSUER)
        audiences = sorted({b.audience for b in bindings})
        accounts: dict[str, Any] = {}
        # Sources first: a role that a trust policy names has to be there.
        roles = [b.source.role for b in bindings if b.source] + [b.role for b in bindings]
        for role in dict.fromkeys(roles):
            claims = [claim for b in bindings for claim in claims_on(role, b, b.subjects({}))]
            document = plan(EMPTY, Desired(role, issuer, tuple(claims))).document
            targets = [str(b.role) for b in bindings if b.source and b.source.role == role]
            account = accounts.setdefault(
                role.account_id, {"providers": [{"url": ISSUER, "clientIds": audiences}], "roles": []}
            )
            account["roles"].append(
                {
                    "name": role.name,
                    "path": role.path,
                    "trustPolicy": document.to_json_object(),
                    "inlinePolicies": {"targets": _may_assume(targets)} if targets else {},
                }
            )
        self.aws.seed({"accounts": accounts})


def _binding(number: int, spec: Mapping[str, Any]) -> RoleBinding:
    return RoleBinding.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "RoleBinding",
            "metadata": {"name": f"b{number}", "namespace": NAMESPACE},
            "spec": {"serviceAccountNames": [ACCOUNT], **spec},
        }
    )


def _may_assume(roles: list[str]) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": roles}],
    }
