"""Where probes run: AWS or the local AWS, through boto3, slowly, and only on what the run itself created."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import boto3
import botocore.exceptions
from botocore import xform_name
from botocore.config import Config

from aws_probes.comparison import differences_of
from aws_probes.issuer import Issuer
from aws_probes.model import Answer, Call, Probe
from aws_probes.placeholders import filled, scrubbed, value_at

__all__ = ["PATH", "PREFIX", "TAG", "Clients", "Clock", "Lab", "Pace", "Place", "Sleep"]

PREFIX: Final = "trustbind-probe"
"""Begins the name of everything that a run creates."""

PATH: Final = f"/{PREFIX}/"
"""Path of every role and user that a run creates."""

TAG: Final = "trustbind-probe-run"
"""Tag of everything that a run creates; its value is the run."""

_PLAIN_TAGS: Final = ("CreateRole", "CreateUser", "CreateOpenIDConnectProvider")
_READS: Final = re.compile(r"(?:Get|List|Describe|Assume)[A-Z]")
_WRITES: Final = re.compile(r"(?:Create|Update|Put|Delete|Add|Remove)[A-Z]")
_NAMING: Final = ("RoleName", "UserName", "OpenIDConnectProviderArn", "Url", "namespace", "associationId")
_INTERVAL: Final = 2.0
"""Seconds between two tries of a call that settles."""

Sleep = Callable[[float], None]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Place:
    """Values of the placeholders.

    Attributes:
        account: id of the AWS account.
        caller: ARN of the runner's identity; empty for the root of the account, which is named by the account.
        run: distinct for each run; lower-case letters and digits.
        issuer: host and path of the OIDC issuer; empty without one.
        cluster: name of the EKS cluster; empty without one.
    """

    account: str
    caller: str
    run: str
    issuer: str = ""
    cluster: str = ""

    def names(self) -> dict[str, str]:
        """Return placeholder names with their values."""
        return {
            "account": self.account,
            "caller": self.caller,
            "run": self.run,
            "issuer": self.issuer,
            "cluster": self.cluster,
        }


class Pace:
    """Keeps calls apart, so that a run uses a small part of the AWS account's rate limits.

    Args:
        per_second: how many calls a second there may be.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
    """

    def __init__(self, per_second: float, clock: Clock, sleep: Sleep) -> None:
        self._gap = 1.0 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def wait(self) -> None:
        """Return when the next call may be made."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._gap


class Clients:
    """boto3 clients of the runner's identity and of sessions. They check no parameters, so that AWS's answer shows.

    Args:
        session: as boto3 finds profile and region.
        pace: see `Pace`.
        endpoint: of the local AWS; empty for AWS.
    """

    def __init__(self, session: boto3.Session, pace: Pace, endpoint: str = "") -> None:
        self._session = session
        self._pace = pace
        self._endpoint = endpoint
        self._own: dict[str, Any] = {}

    def client(self, service: str, credentials: Mapping[str, Any] | None = None) -> Any:
        """Return a client of the runner's identity, or of a session's credentials."""
        if credentials is None:
            if service not in self._own:
                self._own[service] = self._made(service, {})
            return self._own[service]
        return self._made(
            service,
            {
                "aws_access_key_id": credentials["AccessKeyId"],
                "aws_secret_access_key": credentials["SecretAccessKey"],
                "aws_session_token": credentials["SessionToken"],
            },
        )

    def call(self, operation: str, parameters: Mapping[str, Any], credentials: Mapping[str, Any] | None = None) -> Any:
        """Return the answer to a call, in its turn.

        Raises:
            botocore.exceptions.BotoCoreError: AWS was not reached.
            botocore.exceptions.ClientError: AWS refused.
        """
        service, _, name = operation.partition(":")
        client = self.client(service, credentials)
        self._pace.wait()
        return getattr(client, xform_name(name))(**parameters)

    def is_aws(self) -> bool:
        """Return whether calls go to AWS, and not to an endpoint that the environment or a profile names."""
        host = str(self.client("iam").meta.endpoint_url).partition("://")[2].partition("/")[0].partition(":")[0]
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def _made(self, service: str, credentials: Mapping[str, str]) -> Any:
        return self._session.client(
            service,
            endpoint_url=self._endpoint or None,
            config=Config(
                parameter_validation=False,
                retries={"mode": "standard", "total_max_attempts": 6},
                user_agent_extra="trustbind-probe",
                connect_timeout=10,
                read_timeout=30,
            ),
            **credentials,
        )


class Lab:
    """Runs probes.

    Args:
        clients: see `Clients`.
        place: see `Place`.
        issuer: None where probes that need one are not run.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
        patience: seconds for which a call that settles is repeated.
    """

    def __init__(
        self, clients: Clients, place: Place, issuer: Issuer | None, clock: Clock, sleep: Sleep, patience: float
    ) -> None:
        self._clients = clients
        self._place = place
        self._issuer = issuer
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._created: set[str] = set()

    def run(self, probe: Probe) -> tuple[Answer, ...]:
        """Make the calls of a probe, in their order, and return the answers.

        A call that was to succeed and failed ends the probe where a later call refers to its answer.

        Raises:
            botocore.exceptions.BotoCoreError: AWS was not reached.
            ValueError: a call writes to something that is not the run's.
        """
        raw: dict[str, Any] = {}
        answers: list[Answer] = []
        for call in probe.calls:
            try:
                parameters = self._filled(call, raw)
                credentials = raw[call.caller]["Credentials"] if call.caller else None
            except KeyError:
                break
            answers.append(self._settled(call, parameters, credentials, raw))
        return tuple(answers)

    def _filled(self, call: Call, raw: Mapping[str, Any]) -> dict[str, Any]:
        names = self._place.names()

        def lookup(name: str) -> Any:
            if name in names:
                return names[name]
            label, _, path = name.partition(".")
            if (value := value_at(raw[label], path)) is None:
                raise KeyError(name)
            return value

        parameters = {key: filled(value, lookup, self._mint, key) for key, value in call.parameters.items()}
        return self._owned(call.operation, parameters)

    def _mint(self, **settings: Any) -> str:
        if self._issuer is None:
            raise ValueError("this probe needs an issuer, and there is none")
        return self._issuer.mint(**settings)

    def _owned(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with the run's tag, after a check that nothing but the run's own is written."""
        name = operation.partition(":")[2]
        if _READS.match(name):
            return parameters
        named = [str(parameters[key]) for key in _NAMING if parameters.get(key)]
        if not _WRITES.match(name) or not named or not all(map(self._is_own, named)):
            raise ValueError(f"{operation} does not name something of this run; correct the probe")
        if name in {"CreateRole", "CreateUser"} and not str(parameters.get("Path", "")).startswith(PATH):
            raise ValueError(f"{operation} has another path than {PATH}; correct the probe")
        if name in _PLAIN_TAGS:
            return {**parameters, "Tags": [{"Key": TAG, "Value": self._place.run}]}
        if name == "CreatePodIdentityAssociation":
            return {**parameters, "tags": {TAG: self._place.run}}
        return parameters

    def _is_own(self, name: str) -> bool:
        """Return whether a name, URL or ARN is of this run, or of the issuer that it made."""
        is_of_issuer = bool(self._place.issuer) and name.endswith(f"/{self._place.issuer}")
        return f"{PREFIX}-{self._place.run}" in name or is_of_issuer or name in self._created

    def _settled(
        self, call: Call, parameters: Mapping[str, Any], credentials: Mapping[str, Any] | None, raw: dict[str, Any]
    ) -> Answer:
        began, tries = self._clock(), 0
        while True:
            tries += 1
            answer = self._made(call, parameters, credentials, raw, tries, began)
            is_as_assumed = not differences_of(Probe("", "", (self._assumed(call),)), (answer,))
            if is_as_assumed or not call.settles or self._clock() - began >= self._patience:
                return answer
            self._sleep(_INTERVAL)

    def _made(
        self,
        call: Call,
        parameters: Mapping[str, Any],
        credentials: Mapping[str, Any] | None,
        raw: dict[str, Any],
        tries: int,
        began: float,
    ) -> Answer:
        code, message, shown = "", "", dict[str, Any]()
        try:
            raw[call.label] = self._clients.call(call.operation, parameters, credentials)
            if call.operation == "eks:CreatePodIdentityAssociation":
                self._created.add(raw[call.label]["association"]["associationId"])
            shown = {path: self._scrubbed(value_at(raw[call.label], path)) for path in call.shows}
        except botocore.exceptions.ClientError as error:
            raw.pop(call.label, None)
            details = error.response.get("Error", {})
            code, message = str(details.get("Code", "")), self._scrubbed(str(details.get("Message", "")))
        return Answer(code, message, shown, tries, round(self._clock() - began, 1))

    def _assumed(self, call: Call) -> Call:
        """Return a call whose assumptions are written as answers are."""
        return Call(call.label, call.operation, {}, call.assumes, call.says, self._scrubbed(call.shows))

    def _scrubbed(self, value: Any) -> Any:
        return scrubbed(value, self._place.names())
