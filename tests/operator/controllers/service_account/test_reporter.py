"""The report of annotated service accounts: one ConfigMap, written where something changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import yaml

from support.bodies import ISSUER, ROLE, account_body, binding_body, grant_body
from support.virtual_time import run_virtually
from trustbind.api.annotated_binding import AnnotatedScope
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.label_selector import LabelSelector
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache, StoredGrant
from trustbind_operator.cluster.informer import Feed, Seen
from trustbind_operator.controllers.service_account.reporter import OUT_OF_SCOPE, AnnotatedReporter, report_path
from trustbind_runtime.kubernetes.client import ApiError, ApiServer
from trustbind_runtime.logs import Logger

KEYS = AnnotationKeys.under("eks.amazonaws.com")
PATH = report_path("trustbind-system", "trustbind-annotated")


class Scene:
    """An API server with the ConfigMap, the cluster's service accounts, and the reporter.

    Attributes:
        writes: what was written, as (method, path, data).
        problem: what the next writes are answered with; 0: they succeed.
        counts: what was shown last.
        warnings: what was logged.
    """

    def __init__(self, scope: AnnotatedScope | None = None) -> None:
        self.writes: list[tuple[str, str, Mapping[str, str]]] = []
        self.problem = 0
        self.counts: Mapping[str, int] = {}
        self.warnings: list[Mapping[str, Any]] = []
        self.cache = ClusterCache(ISSUER)
        self.cache.put_aws_account(StoredAwsAccount.of(account_body()))
        self.accounts = Feed(lambda _key, _seen: None)
        self.reporter = AnnotatedReporter(
            cast("ApiServer", self),
            self.cache,
            self.accounts,
            KEYS,
            scope or AnnotatedScope(),
            "Report",
            PATH,
            self._show,
            cast("Logger", self),
        )

    async def send(self, method: str, path: str, body: Mapping[str, Any], **_: Any) -> bytes:
        """Write the ConfigMap."""
        if self.problem:
            raise ApiError(self.problem, "refused")
        self.writes.append((method, path, body["data"]))
        return b"{}"

    def warning(self, _event: str, **fields: Any) -> None:
        """Log."""
        self.warnings.append(fields)

    def _show(self, counts: Mapping[str, int]) -> None:
        self.counts = counts

    def account(self, name: str, namespace: str = "team-a", role: str = str(ROLE), **labels: str) -> None:
        """Let a service account be there."""
        self.accounts.put((namespace, name), Seen(f"uid-{name}", labels, {KEYS.role_arn: role} if role else {}))
        self.cache.put_service_account(namespace, name, labels)

    def grant(self, name: str = "all", **spec: Any) -> None:
        """Let a grant be there."""
        self.cache.put_grant(StoredGrant.of(grant_body(name, **spec)))

    def look(self) -> None:
        """Let the reporter look once."""
        run_virtually(self.reporter.look())

    def listed(self) -> dict[str, str]:
        """Return the states that were written last, by service account."""
        _, _, data = self.writes[-1]
        return {line["serviceAccount"]: line["state"] for line in yaml.safe_load(data["service-accounts.yaml"]) or []}


def test_report() -> None:
    """Every annotated service account is listed, the others are not, and the numbers are shown."""
    scene = Scene()
    scene.grant(roleArns=[str(ROLE)])
    scene.account("app")
    scene.account("bound")
    scene.account("odd", role="no role")
    scene.account("plain", role="")
    scene.account("other", role="arn:aws:iam::444455556666:role/else")
    scene.cache.put_binding(StoredBinding.of(binding_body("mine", serviceAccountNames=["bound"])))

    scene.look()

    assert [(method, path) for method, path, _ in scene.writes] == [("PATCH", PATH)]
    assert scene.listed() == {
        "team-a/app": "Granted",
        "team-a/bound": "NotReady",
        "team-a/odd": "InvalidRoleArn",
        "team-a/other": "Refused",
    }
    assert scene.counts == {
        "Bound": 0,
        "NotReady": 1,
        "Granted": 1,
        "Refused": 1,
        "InvalidRoleArn": 1,
        OUT_OF_SCOPE: 0,
    }  # fmt: skip - one line


def test_written_where_something_changed() -> None:
    """The same report is not written twice."""
    scene = Scene()
    scene.account("app")
    scene.look()
    scene.look()
    assert (len(scene.writes), scene.listed()) == (1, {"team-a/app": "Refused"})

    scene.grant()
    scene.look()

    assert (len(scene.writes), scene.listed()) == (2, {"team-a/app": "Granted"})


def test_scope() -> None:
    """What the scope leaves out is counted only."""
    scene = Scene(AnnotatedScope(frozenset({"team-a"})))
    scene.account("app")
    scene.account("app", "team-b")
    scene.account("plain", "team-b", role="")

    scene.look()

    assert list(scene.listed()) == ["team-a/app"]
    assert scene.counts[OUT_OF_SCOPE] == 1
    assert yaml.safe_load(scene.writes[0][2]["summary.yaml"])["outOfScope"] == 1


def test_limits_of_a_namespace() -> None:
    """Of more service accounts than a grant allows bindings, only so many would be bound."""
    scene = Scene()
    scene.grant(maxBindings=3)
    scene.cache.put_binding(StoredBinding.of(binding_body("mine", serviceAccountNames=["another"])))
    for number in range(4):
        scene.account(f"app{number}")

    scene.look()

    assert list(scene.listed().values()) == ["Granted", "Granted", "Refused", "Refused"]


def test_config_map_that_is_missing() -> None:
    """It is said what to do, the numbers are shown, and the report is written once it can be."""
    scene = Scene()
    scene.account("app")
    scene.problem = 404
    scene.look()
    assert scene.warnings == [{"path": PATH, "problem": "it does not exist; create it empty"}]
    assert scene.counts["Refused"] == 1
    scene.problem = 0

    scene.look()

    assert len(scene.writes) == 1


def test_event_loop_is_not_held_up() -> None:
    """Between two pauses, 20 service accounts are looked at."""
    scene = Scene(AnnotatedScope(service_account_selector=LabelSelector((("tier", "web"),))))
    for number in range(500):
        scene.account(f"app{number:03}")
    asked: list[str] = []

    class Counting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    scene.cache.namespaces = Counting()

    async def run() -> int:
        work = asyncio.create_task(scene.reporter.look())
        most, before = 0, 0
        while not work.done():
            await asyncio.sleep(0)
            most, before = max(most, len(asked) - before), len(asked)
        return most

    assert run_virtually(run()) == 2 * 20
    assert len(asked) == 2 * 500
    assert scene.counts[OUT_OF_SCOPE] == 500


def test_runs_at_intervals() -> None:
    """It looks at once, and then again and again."""
    scene = Scene()

    async def run() -> None:
        work = asyncio.create_task(scene.reporter.run(60))
        await asyncio.sleep(1)
        assert len(scene.writes) == 1
        scene.account("app")
        await asyncio.sleep(30)
        assert len(scene.writes) == 1
        await asyncio.sleep(30)
        work.cancel()

    run_virtually(run())

    assert len(scene.writes) == 2
