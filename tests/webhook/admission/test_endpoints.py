"""``/mutate`` inside the application, without a network: what is answered whatever happens."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from trustbind.api.role_binding import RoleBinding
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.admission import review
from trustbind_webhook.admission.endpoints import Lifecycle
from trustbind_webhook.app import create_app
from trustbind_webhook.injection.decision import Account, InjectionSettings
from trustbind_webhook.lookup.interface import Live, LookupFailedError
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.validation.rules import Knowledge

REVIEW = (Path(__file__).parents[2] / "data/reviews/deployment-pod-with-sidecar.json").read_bytes()
UID = json.loads(REVIEW)["request"]["uid"]
ROLE = "arn:aws:iam::444455556666:role/shop/checkout"
Answer = tuple[int, dict[str, str], Any]


class Known:
    """A lookup that knows one account, or fails."""

    def __init__(self, failure: Exception | None = None, *, synced: bool = True) -> None:
        self.synced = synced
        self.failure = failure
        self.behind = ""
        self.late_problem = ""
        self.cached = True
        self.lives = 0
        self.annotations = {"eks.amazonaws.com/role-arn": ROLE}

    async def wait_synced(self) -> None:
        """Return at once."""

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    async def account(self, namespace: str, name: str) -> Account | None:
        """Return the account, annotated with a role unless a test says otherwise."""
        if self.failure:
            raise self.failure
        return Account(namespace, name, self.annotations)

    def bindings(self, namespace: str, account: str) -> Sequence[RoleBinding]:  # noqa: ARG002 - as every lookup
        """Return none."""
        return []

    async def live(self, namespace: str, name: str) -> Live:
        """Return the account, or what the cache says and why."""
        self.lives += 1
        if self.late_problem:
            return Live(await self.account(namespace, name) if self.cached else None, (), self.late_problem)
        return Live(await self.account(namespace, name), ())

    def knowledge(self, namespace: str) -> Knowledge:  # noqa: ARG002 - as every lookup
        """Return nothing."""
        if self.failure:
            raise self.failure
        return Knowledge()


class Harness:
    """The application, and what it logged and counted."""

    def __init__(self, lookup: Known | None = None) -> None:
        self.metrics = Metrics()
        self.log = io.StringIO()
        self.lifecycle = Lifecycle()
        self.app: FastAPI = create_app(
            lookup or Known(),
            InjectionSettings(),
            metrics=self.metrics,
            log=logger(Log(level="debug"), self.log),
            lifecycle=self.lifecycle,
        )

    def call(
        self,
        *parts: bytes,
        method: str = "POST",
        path: str = "/mutate",
        headers: dict[str, str] | None = None,
        after: dict[str, Any] | None = None,
    ) -> Answer:
        """Return status, headers and JSON of one call; ``after`` is the message in place of the body's end."""
        headers = {"content-type": "application/json"} if headers is None else headers
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": after is not None or index < len(parts) - 1}
            for index, part in enumerate(parts or (b"",))
        ]
        messages += [after] if after else []
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"timeout=10s",
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
        asyncio.run(self.app(scope, receive, send))
        if not sent:
            return 0, {}, None
        heads = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return sent[0]["status"], heads, json.loads(b"".join(m.get("body", b"") for m in sent[1:]))

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def test_injects_and_says_so_once() -> None:
    """The patch is in the answer, the decision in one line of the log, and one is counted."""
    harness = Harness()
    status, headers, answer = harness.call(REVIEW)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert answer["response"]["uid"] == UID
    assert answer["response"]["allowed"] is True
    paths = [operation["path"] for operation in json.loads(base64.b64decode(answer["response"]["patch"]))]
    assert paths[0] == "/spec/volumes/0"
    (line,) = harness.log.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["role"], event["uid"]) == ("pod injected", ROLE, UID)
    assert harness.sample("trustbind_webhook_admissions_total", outcome="injected", reason="") == 1
    assert harness.sample("trustbind_webhook_admission_duration_seconds_count") == 1


def test_a_body_in_pieces_is_the_same_body() -> None:
    """However the network cuts it."""
    harness = Harness()
    whole = harness.call(REVIEW)
    assert harness.call(REVIEW[:10], REVIEW[10:5000], REVIEW[5000:], b"") == whole


def test_before_the_first_lists_reviews_are_answered_and_readiness_is_red() -> None:
    """A pod never loses its role to a cache that is behind."""
    harness = Harness(Known(synced=False))
    assert harness.call(REVIEW)[2]["response"]["patchType"] == "JSONPatch"
    assert harness.call(method="GET", path="/readyz")[0] == 503
    assert harness.call(method="GET", path="/healthz")[0] == 200


def test_draining_turns_readiness_red_and_asks_for_another_connection() -> None:
    """Reviews are still answered; the answer says that the connection ends."""
    harness = Harness()
    assert harness.call(method="GET", path="/readyz")[0] == 200
    assert "connection" not in harness.call(REVIEW)[1]
    harness.lifecycle.draining = True
    assert harness.call(method="GET", path="/readyz")[::2] == (503, {"error": "shutting down"})
    status, headers, _ = harness.call(REVIEW)
    assert (status, headers["connection"]) == (200, "close")


def test_a_failed_lookup_lets_the_pod_through_and_says_why() -> None:
    """The reason is in the audit annotation, the sentence in a warning, and both in the log."""
    harness = Harness(Known(LookupFailedError("the account could not be read")))
    response = harness.call(REVIEW)[2]["response"]
    assert response["allowed"] is True
    assert "patch" not in response
    assert response["auditAnnotations"]["reason"] == "LookupFailed"
    assert response["warnings"] == ["trustbind: the account could not be read; the pod gets no role: create it again"]
    assert harness.sample("trustbind_webhook_admissions_total", outcome="skipped", reason="LookupFailed") == 1
    assert '"reason":"LookupFailed"' in harness.log.getvalue()


LATE = "the watch of rolebindings has been broken or silent for 9 s"


def test_while_a_watch_is_late_pods_are_decided_about_by_live_reads() -> None:
    """The answer is as ever, it is counted, and readiness stays green and tells."""
    harness = Harness(known := Known())
    response = harness.call(REVIEW)[2]["response"]
    known.behind = LATE
    assert known.lives == 0
    assert harness.call(REVIEW)[2]["response"] == response
    assert known.lives == 1
    assert harness.sample("trustbind_webhook_late_decisions_total", result="read") == 1
    assert harness.call(method="GET", path="/readyz")[::2] == (200, {"status": "ok", "late": LATE})


def test_a_late_answer_that_cannot_be_checked_is_not_given_in_silence() -> None:
    """A role that was known before is injected, with a warning; none is a failed lookup, that the log shows."""
    known = Known()
    known.behind, known.late_problem = LATE, "the RoleBindings of namespace shop could not be read: no answer"
    harness = Harness(known)
    response = harness.call(REVIEW)[2]["response"]
    assert response["patchType"] == "JSONPatch"
    assert response["warnings"] == [f"trustbind: {LATE}, and {known.late_problem}; the pod gets what was known before"]
    known.cached = False
    response = harness.call(REVIEW)[2]["response"]
    assert (response["allowed"], "patch" in response) == (True, False)
    assert response["auditAnnotations"]["reason"] == "LookupFailed"
    assert response["warnings"][0].startswith(f"trustbind: {LATE}, and {known.late_problem}; the pod gets no role")
    last = json.loads(harness.log.getvalue().splitlines()[-1])
    assert (last["level"], last["reason"]) == ("warning", "LookupFailed")
    assert harness.sample("trustbind_webhook_late_decisions_total", result="stale") == 2


def test_a_defect_lets_the_pod_through_and_is_logged_with_its_trace() -> None:
    """Never 500, never a denial."""
    harness = Harness(Known(ZeroDivisionError("a defect")))
    status, _, answer = harness.call(REVIEW)
    assert status == 200
    assert answer["response"]["allowed"] is True
    assert answer["response"]["uid"] == UID
    assert answer["response"]["auditAnnotations"]["reason"] == "InternalError"
    assert "patch" not in answer["response"]
    assert "ZeroDivisionError: a defect" in json.loads(harness.log.getvalue())["exception"]
    assert harness.sample("trustbind_webhook_admissions_total", outcome="skipped", reason="InternalError") == 1


def test_a_defect_while_taking_the_review_apart_is_no_500(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no uid to answer to, so this is the one defect that the caller sees as a refusal."""

    def parse(_body: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(review, "parse", parse)
    assert Harness().call(REVIEW)[0] == 400


def test_a_refused_body_is_not_kept() -> None:
    """What is refused leaves memory with its answer, not when the garbage collector comes by."""
    harness = Harness()
    gc.collect()
    gc.disable()
    try:
        part = b"x" * 1_048_576
        assert harness.call(*[part] * 4)[0] == 413
        assert sys.getrefcount(part) == 2
    finally:
        gc.enable()


def test_a_caller_that_goes_away_gets_nothing() -> None:
    """No answer, no error, no decision."""
    harness = Harness()
    assert harness.call(REVIEW[:100], after={"type": "http.disconnect"}) == (0, {}, None)
    assert not harness.log.getvalue()
    assert harness.sample("trustbind_webhook_admission_duration_seconds_count") == 0


def test_everyday_skips_are_debug_and_others_info() -> None:
    """A pod of an account without a role is no news."""
    harness = Harness(Known())
    mirror = json.loads(REVIEW)
    mirror["request"]["object"]["metadata"].setdefault("annotations", {})["kubernetes.io/config.mirror"] = "x"
    harness.call(json.dumps(mirror).encode())
    assert json.loads(harness.log.getvalue())["level"] == "debug"
    assert harness.sample("trustbind_webhook_admissions_total", outcome="skipped", reason="MirrorPod") == 1


def test_a_role_that_was_meant_is_in_warning_and_log() -> None:
    """A pod without a role is no news, unless a role was meant for it."""
    known = Known()
    known.annotations = {}
    harness = Harness(known)
    meant = json.loads(REVIEW)
    _, _, answer = harness.call(json.dumps(meant).encode())
    assert "warnings" not in answer["response"]
    meant["request"]["object"]["metadata"].setdefault("annotations", {})["iam.amazonaws.com/role"] = "checkout"
    _, _, answer = harness.call(json.dumps(meant).encode())

    (warning,) = answer["response"]["warnings"]
    assert warning.startswith(
        "trustbind: the pod has the annotation iam.amazonaws.com/role, which trustbind does not read"
    )
    first, second = map(json.loads, harness.log.getvalue().splitlines())
    assert (first["level"], first["reason"]) == ("debug", "NotBound")
    assert (second["level"], second["reason"]) == ("info", "NotBound")
    assert [f"trustbind: {finding}" for finding in second["findings"]] == [warning]


OBJECT = {
    "uid": "u-1",
    "resource": {"group": "trustbind.dev", "version": "v1alpha1", "resource": "rolegrants"},
    "operation": "CREATE",
    "object": {"spec": {}},
}


def test_a_defect_while_validating_lets_the_object_through() -> None:
    """Nobody is kept from writing an object; its writer is told, the trace is logged, and it is counted."""
    harness = Harness(Known(ZeroDivisionError("a defect")))
    body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": OBJECT}).encode()
    status, _, answer = harness.call(body, path="/validate")
    assert status == 200
    assert answer["response"]["uid"] == "u-1"
    assert answer["response"]["allowed"] is True
    assert len(answer["response"]["warnings"]) == 1
    assert "ZeroDivisionError: a defect" in json.loads(harness.log.getvalue())["exception"]
    assert harness.sample("trustbind_webhook_validations_total", kind="RoleGrant", outcome="failed") == 1


def test_a_defect_while_taking_an_object_apart_is_no_500(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for pods."""

    def parse(_body: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(review, "parse_object", parse)
    assert Harness().call(REVIEW, path="/validate")[0] == 400
