"""What single steps cost, inside one process; and the memory of a running webhook."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import uvloop
from rich.table import Table

from benchmarks.kubeapi import kube_api
from benchmarks.machine import resident_mib
from benchmarks.reviews import ACCOUNT, NAMESPACE, ROLE, Payload, accounts, manifests, payloads
from benchmarks.section import BenchmarkError, Options, Section
from benchmarks.servers import start_webhook
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.evaluation import Caller, Request, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.plan import DEFAULT_LIMIT, Desired, plan
from trustbind.policy.trust_document import EMPTY, TrustDocument
from trustbind_cli.demo.processes import make_certificate
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.admission.endpoints import Admission, Lifecycle
from trustbind_webhook.admission.review import allow, parse
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, decide
from trustbind_webhook.injection.json_patch import patch
from trustbind_webhook.lookup.manifest_files import FileLookup
from trustbind_webhook.metrics import Metrics

__all__ = ["measure"]

_REPEATS: Final = 7
_SECONDS: Final = 0.08
_QUICK_SECONDS: Final = 0.03
"""Of each repeat."""

_BINDINGS: Final = 300
_NO_LIMIT: Final = 1_000_000
_ACCOUNTS: Final = (0, 10_000)

_ISSUER: Final = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"

Step = Callable[[], object]
Message = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Cost:
    name: str
    microseconds: float


def measure(options: Options) -> Section:
    """Measure every step, and the memory of a running webhook."""
    seconds = _QUICK_SECONDS if options.quick else _SECONDS
    bodies = payloads()
    admission = {payload.name: _admission_costs(payload, seconds, options) for payload in bodies}
    trust = [_Cost(name, _microseconds(step, seconds)) for name, step in _trust_steps(options).items()]
    memory = {count: _memory(count, options) for count in _ACCOUNTS}
    return Section(
        tables=(_admission_table(admission), _trust_table(trust), _memory_table(memory)),
        data={
            "admission_us": {
                name: {cost.name: cost.microseconds for cost in costs} for name, costs in admission.items()
            },
            "trust_us": {cost.name: cost.microseconds for cost in trust},
            "memory_mib": {str(count): {"now": now, "most": most} for count, (now, most) in memory.items()},
        },
        notes=(
            f"Steps: CPU, each alone in a loop, the best of {_REPEATS} repeats; in a row they take more.",
            "Memory: resident, just after the first lists are in from a stand-in for the API server.",
        ),
    )


def _microseconds(step: Step, seconds: float) -> float:
    """Return the CPU that one call takes, in microseconds: of several repeats the best, which was disturbed least."""
    count = 1
    while (took := _run(step, count)) < seconds / 10:
        count *= 4
    count = max(1, round(count * seconds / took))
    return min(_run(step, count) for _ in range(_REPEATS)) / count * 1e6


def _run(step: Step, count: int) -> float:
    started = time.thread_time()
    for _ in range(count):
        step()
    return time.thread_time() - started


def _admission_costs(payload: Payload, seconds: float, options: Options) -> list[_Cost]:
    options.tell(f"steps of an admission of {payload.name}")
    settings, account = InjectionSettings(), Account(NAMESPACE, ACCOUNT, {"eks.amazonaws.com/role-arn": ROLE})
    review = parse(payload.body)

    def decided() -> Inject:
        outcome = decide(review.pod, account, (), settings, namespace=review.namespace, unique=review.uid)
        if not isinstance(outcome, Inject):
            raise BenchmarkError(f"the pod of {payload.name} is not injected: {outcome}")
        return outcome

    inject = decided()
    operations = patch(inject)
    with Path(os.devnull).open("w") as nowhere:
        log = logger(Log(), nowhere)
        metrics = Metrics()

        def told() -> None:
            where = {"namespace": review.namespace, "pod": "x", "account": ACCOUNT, "uid": review.uid}
            log.info("pod injected", **where, role=ROLE, binding="", findings=())

        def counted() -> None:
            metrics.injected.inc()
            metrics.duration.observe(0.0002)

        steps: dict[str, Step] = {
            "parse": lambda: parse(payload.body),
            "decide": decided,
            "patch": lambda: patch(inject),
            "answer": lambda: allow(review, inject, operations),
            "log line": told,
            "metrics": counted,
        }
        costs = [_Cost(name, _microseconds(step, seconds)) for name, step in steps.items()]
        costs.append(_Cost("whole ASGI route", _route_microseconds(payload, seconds, nowhere)))
    costs.append(_Cost("for comparison: json.loads", _microseconds(lambda: json.loads(payload.body), seconds)))
    return costs


def _route_microseconds(payload: Payload, seconds: float, nowhere: TextIO) -> float:
    """Return what the whole of ``/mutate`` takes, without HTTP and TLS."""
    scope: Message = {"method": "POST", "headers": [(b"content-type", b"application/json")]}
    last = b""

    async def receive() -> Message:
        return {"type": "http.request", "body": payload.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal last
        last = message.get("body", b"")

    async def timed(route: Callable[..., Awaitable[None]], count: int) -> float:
        started = time.thread_time()
        for _ in range(count):
            await route(scope, receive, send)
        return time.thread_time() - started

    async def run() -> float:
        metrics, log = Metrics(), logger(Log(), nowhere)
        with tempfile.TemporaryDirectory(prefix="trustbind-bench-") as name:
            file = Path(name) / "accounts.yaml"
            file.write_text(manifests(accounts(1)))
            lookup = FileLookup(
                [str(file)], InjectionSettings().annotation_prefix, metrics=metrics, log=log, poll_seconds=3600
            )
            await lookup.start()
            route = Admission(lookup, InjectionSettings(), metrics=metrics, log=log, lifecycle=Lifecycle())
            count = max(1, round(100 * seconds / await timed(route, 100)))
            best = min([await timed(route, count) for _ in range(_REPEATS)]) / count
            await lookup.stop()
        if b'"patch"' not in last:
            raise BenchmarkError(f"the route did not patch the pod of {payload.name}: {last.decode()}")
        return best * 1e6

    return uvloop.run(run())


def _trust_steps(options: Options) -> dict[str, Step]:
    options.tell("plans and evaluations")
    role, issuer = RoleArn.parse(ROLE), Issuer.parse(_ISSUER)
    bindings = [
        RoleBinding(
            BindingRef(f"team-{number % 20}", f"binding-{number}"), role, service_account_names=(f"worker-{number}",)
        )
        for number in range(_BINDINGS)
    ]

    def desired(count: int) -> Desired:
        claims = (claim for each in bindings[:count] for claim in claims_on(role, each, each.subjects({})))
        return Desired(role, issuer, tuple(claims))

    everything, few = desired(_BINDINGS), desired(10)
    full = plan(EMPTY, everything, _NO_LIMIT).document
    if not plan(full, everything, _NO_LIMIT).is_empty or len(plan(full, few, _NO_LIMIT).changes) != 1:
        raise BenchmarkError("the plans to be measured are not what they are taken for")
    return {
        f"plan(): {_BINDINGS} bindings into an empty policy": lambda: plan(EMPTY, everything, _NO_LIMIT),
        f"plan(): {_BINDINGS} bindings, nothing to do": lambda: plan(full, everything, _NO_LIMIT),
        f"plan(): {_BINDINGS} bindings, room for {DEFAULT_LIMIT} characters": lambda: plan(EMPTY, everything),
        "plan(): 10 bindings into an empty policy": lambda: plan(EMPTY, few),
        "evaluate(): a policy of 3 statements, allowed": _evaluation(plan(_foreign(), few).document, issuer, role),
    }


def _foreign() -> TrustDocument:
    """Return what a role has before us: trust in an account, and in a CI system."""
    github = "token.actions.githubusercontent.com"
    return TrustDocument(
        (
            {
                "Sid": "Ops",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": "ops"}},
            },
            {
                "Sid": "CI",
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:aws:iam::444455556666:oidc-provider/{github}"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {f"{github}:aud": "sts.amazonaws.com"},
                    "StringLike": {f"{github}:sub": "repo:example/shop:*"},
                },
            },
        )
    )


def _evaluation(document: TrustDocument, issuer: Issuer, role: RoleArn) -> Step:
    value = document.to_json_object()
    request = Request(
        Caller.parse(str(issuer.provider_for(role))),
        "sts:AssumeRoleWithWebIdentity",
        {
            issuer.audience_key: ["sts.amazonaws.com"],
            issuer.subject_key: ["system:serviceaccount:team-7:worker-7"],
        },
    )
    if not (decision := evaluate(value, request)).allowed:
        raise BenchmarkError(f"the request to be measured is not allowed: {decision.reason}")
    return lambda: evaluate(value, request)


def _memory(count: int, options: Options) -> tuple[float, float]:
    """Return the webhook's resident memory with so many accounts, and the most that it was, in MiB."""
    options.tell(f"memory with {count:,} accounts")
    with (
        tempfile.TemporaryDirectory(prefix="trustbind-bench-") as name,
        kube_api(accounts(count)) as url,
        contextlib.ExitStack() as stack,
    ):
        make_certificate(Path(name))
        title = f"trustbind webhook, {count:,} accounts"
        server = start_webhook(stack, Path(name), key="webhook", title=title, kube=url)
        server.wait()
        if count:
            server.check(payloads()[0])
        return resident_mib(server.process.pid)


def _admission_table(costs: dict[str, list[_Cost]]) -> Table:
    table = Table(title="Steps of an admission, in µs", title_justify="left")
    table.add_column("step", no_wrap=True)
    for payload in costs:
        table.add_column(payload, justify="right")
    for row in zip(*costs.values(), strict=True):
        table.add_row(row[0].name, *(f"{cost.microseconds:,.1f}" for cost in row))
    return table


def _trust_table(costs: list[_Cost]) -> Table:
    table = Table(title="Trust policies", title_justify="left")
    table.add_column("step", no_wrap=True)
    table.add_column("µs", justify="right")
    for cost in costs:
        table.add_row(cost.name, f"{cost.microseconds:,.0f}")
    return table


def _memory_table(memory: dict[int, tuple[float, float]]) -> Table:
    table = Table(title="Memory of the webhook", title_justify="left")
    for column in ("accounts", "MiB", "most MiB"):
        table.add_column(column, justify="right")
    for count, (now, most) in memory.items():
        table.add_row(f"{count:,}", f"{now:.1f}", f"{most:.1f}")
    return table
