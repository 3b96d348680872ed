"""The webhook as a process, over TLS, fed with what a real kube-apiserver sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import io
import json
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from support import webhooks
from support.certs import Authority, Pair
from support.processes import Process, eventually
from support.webhooks import JSON, Webhook
from trustbind_runtime.http.listener import PortError
from trustbind_runtime.logs import logger
from trustbind_webhook.certificates.serving import CertificateError
from trustbind_webhook.lookup.interface import LookupStartError
from trustbind_webhook.server import StartError, _Process
from trustbind_webhook.settings import load

REVIEWS = sorted((Path(__file__).parents[1] / "data/reviews").glob("*.json"))
REVIEW = json.dumps(json.loads((REVIEWS[0].parent / "deployment-pod-with-sidecar.json").read_text())).encode()
ROLE = "arn:aws:iam::444455556666:role/shop/checkout"
MANIFESTS = f"""\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: checkout
  namespace: shop
  annotations: {{eks.amazonaws.com/role-arn: "{ROLE}", eks.amazonaws.com/sts-regional-endpoints: "true"}}
"""
LIMIT = 3 * 1024 * 1024


@contextlib.contextmanager
def running(directory: Path, authority: Authority, pair: Pair, **server: Any) -> Iterator[Webhook]:
    """Run the webhook with the manifests of this module."""
    with webhooks.running(directory, authority, pair, lookup=manifests(directory), **server) as webhook:
        yield webhook


def manifests(directory: Path) -> dict[str, Any]:
    """Write the manifests of this module and return the setting that names them."""
    path = directory / "manifests.yaml"
    path.write_text(MANIFESTS)
    return {"source": "files", "manifests": [str(path)]}


def configured(directory: Path, server: Mapping[str, Any], lookup: Mapping[str, Any] | None = None) -> Path:
    """Write a configuration and return its path."""
    return webhooks.configured(directory, server, lookup or manifests(directory))


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """One process for the tests that do not harm it."""
    authority = Authority()
    with running(tmp_path_factory.mktemp("webhook"), authority, authority.issue()) as result:
        yield result


@pytest.mark.parametrize("path", REVIEWS, ids=lambda path: path.stem)
def test_answers_every_real_review(webhook: Webhook, path: Path) -> None:
    """Status 200, allowed, the same uid; a patch exactly for the annotated account."""
    review = json.loads(path.read_text())
    status, answer = webhook.call(path.read_bytes())
    assert status == 200
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = answer["response"]
    assert (response["uid"], response["allowed"]) == (review["request"]["uid"], True)
    account = review["request"]["object"]["spec"].get("serviceAccountName", "default")
    if account == "checkout":
        assert response["patchType"] == "JSONPatch"
        operations = json.loads(base64.b64decode(response["patch"]))
        assert {operation["op"] for operation in operations} == {"add"}
        assert ROLE in json.dumps(operations)
        assert response["auditAnnotations"]["role"] == ROLE
    else:
        assert "patch" not in response
        assert "patchType" not in response
        assert response["auditAnnotations"]["reason"] == "NotBound"


def changed(**request: Any) -> bytes:
    """Return a review with a changed request."""
    review = json.loads(REVIEW)
    review["request"].update(request)
    return json.dumps(review).encode()


def without_request() -> bytes:
    """Return a review without one."""
    review = json.loads(REVIEW)
    del review["request"]
    return json.dumps(review).encode()


BAD: dict[str, tuple[int, str, dict[str, Any]]] = {
    "no content type": (415, "the content type is nothing", {"body": REVIEW, "headers": {}}),
    "text": (415, "the content type is text/plain", {"body": REVIEW, "headers": {"content-type": "text/plain"}}),
    "json as text": (
        415,
        "where application/json is needed",
        {"body": REVIEW, "headers": {"content-type": "text/json"}},
    ),
    "compressed": (415, "compressed", {"body": REVIEW, "headers": {**JSON, "content-encoding": "gzip"}}),
    "empty": (400, "the body is not JSON", {"body": b""}),
    "not JSON": (400, "the body is not JSON", {"body": b"hello"}),
    "half": (400, "the body is not JSON", {"body": REVIEW[:-5]}),
    "not UTF-8": (400, "the body", {"body": REVIEW.replace(b'"shop"', b'"\xff\xfe"')}),
    "a list": (400, "the body is not an AdmissionReview", {"body": b"[]"}),
    "null": (400, "the body is not an AdmissionReview", {"body": b"null"}),
    "another kind": (400, "the body is Pod v1, not AdmissionReview", {"body": b'{"kind":"Pod","apiVersion":"v1"}'}),
    "no kind": (400, "something without a kind", {"body": b"{}"}),
    "v1beta1": (
        400,
        "admission.k8s.io/v1beta1",
        {"body": REVIEW.replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1")},
    ),
    "no request": (400, "has no request", {"body": without_request()}),
    "no uid": (400, "uid", {"body": changed(uid=None)}),
    "deep": (400, "the body", {"body": b'{"a":' * 100_000}),
    "deep object": (400, "the body", {"body": b'{"request":{"uid":"u","object":' + b"[" * 100_000}),
    "too large": (413, "larger than 3145728 bytes", {"body": b" " * (LIMIT + 1)}),
    "too large in pieces": (413, "larger than 3145728 bytes", {"body": iter([b" " * 65536] * 50)}),
    "GET": (405, "/mutate takes POST, not GET", {"method": "GET"}),
    "PUT": (405, "/mutate takes POST, not PUT", {"method": "PUT", "body": REVIEW}),
    "unknown path": (404, "POST /mutat: Not Found", {"path": "/mutat", "body": REVIEW}),
    "slash at the end": (404, "Not Found", {"path": "/mutate/", "body": REVIEW}),
    "documentation": (404, "Not Found", {"path": "/docs", "method": "GET"}),
    "schema": (404, "Not Found", {"path": "/openapi.json", "method": "GET"}),
    "probe by POST": (405, "Method Not Allowed", {"path": "/healthz", "body": b"{}"}),
}


@pytest.mark.parametrize(("status", "sentence", "request_"), BAD.values(), ids=BAD.keys())
def test_what_is_no_review_has_a_status_and_a_sentence(
    webhook: Webhook, status: int, sentence: str, request_: dict[str, Any]
) -> None:
    """The answer is JSON with one sentence, and the process goes on."""
    got, answer = webhook.call(**request_)
    assert got == status
    assert list(answer) == ["error"]
    assert sentence in answer["error"]
    assert "\n" not in answer["error"]
    assert webhook.call(REVIEW)[0] == 200


ODD: dict[str, tuple[bytes, str]] = {
    "containers": (changed(object={"metadata": {}, "spec": {"containers": "x"}}), "PodNotUnderstood"),
    "annotations": (changed(object={"metadata": {"annotations": {"a": 1}}, "spec": {}}), "PodNotUnderstood"),
    "no object": (changed(object=None), "PodNotUnderstood"),
    "a list": (changed(object=[]), "PodNotUnderstood"),
    "update": (changed(operation="UPDATE"), "NotAPodCreation"),
    "another resource": (changed(resource={"group": "apps", "resource": "deployments"}), "NotAPodCreation"),
    "subresource": (changed(subResource="ephemeralcontainers"), "NotAPodCreation"),
    "unknown account": (changed(namespace="elsewhere"), "AccountNotFound"),
}


@pytest.mark.parametrize(("body", "reason"), ODD.values(), ids=ODD.keys())
def test_what_cannot_be_injected_is_let_through_with_a_reason(webhook: Webhook, body: bytes, reason: str) -> None:
    """A pod that cannot be understood is allowed as it is, and a warning tells its creator."""
    status, answer = webhook.call(body)
    response = answer["response"]
    assert (status, response["allowed"], response["auditAnnotations"]["reason"]) == (200, True, reason)
    assert "patch" not in response
    assert ("warnings" in response) == (reason == "PodNotUnderstood")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"]
)
def test_a_content_type_may_have_parameters(webhook: Webhook, content_type: str) -> None:
    """Parameters and case do not matter."""
    assert webhook.call(REVIEW, headers={"content-type": content_type})[0] == 200


def test_probes_and_metrics(webhook: Webhook) -> None:
    """Both probes are green, and metrics are on a port of their own."""
    assert webhook.call(method="GET", path="/healthz")[0] == 200
    assert webhook.call(method="GET", path="/readyz")[0] == 200
    webhook.call(REVIEW)
    metrics = webhook.metrics()
    for line in (
        'trustbind_webhook_admissions_total{outcome="injected",reason=""}',
        'trustbind_webhook_admissions_total{outcome="skipped",reason="NotBound"}',
        'trustbind_webhook_admission_duration_seconds_bucket{le="0.005"}',
        'trustbind_webhook_cached_objects{resource="serviceaccounts"} 1.0',
        "trustbind_webhook_synced 1.0",
        "trustbind_webhook_certificate_expiry_timestamp_seconds",
        'trustbind_webhook_build_info{version="',
    ):
        assert line in metrics
    assert "_created" not in metrics
    assert webhook.call(method="GET", path="/metrics")[0] == 404


def test_speaks_tls_1_2_and_http_1_1(webhook: Webhook) -> None:
    """The least that is spoken; a client that would like HTTP/2 is told that there is none."""
    context = ssl.create_default_context(cafile=str(webhook.directory / "ca.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", webhook.port), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        assert (tls.version(), tls.selected_alpn_protocol()) == ("TLSv1.2", "http/1.1")


class Load:
    """Requests without a pause from several threads, each on one connection as long as that lasts."""

    def __init__(self, webhook: Webhook, *, threads: int = 3) -> None:
        self._webhook = webhook
        self._stop = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Return when ``count`` more requests have been answered."""
        target = self.answered + count
        eventually(lambda: self.answered >= target or self.failures, f"{count} more answers")

    def _run(self) -> None:
        connection = self._webhook.connection()
        try:
            while not self._stop.is_set():
                if connection.sock is None:
                    try:
                        connection.connect()
                    except OSError:
                        return  # the port is closed: there is nobody to send to
                try:
                    connection.request("POST", "/mutate", REVIEW, JSON)
                    response = connection.getresponse()
                    answer = json.loads(response.read())
                except (OSError, http.client.HTTPException, ValueError) as error:
                    self.failures.append(repr(error))
                    return
                if response.status != 200 or "patch" not in answer["response"]:
                    self.failures.append(f"{response.status} {answer}")
                self.answered += 1
        finally:
            connection.close()


def test_a_renewed_certificate_is_served_without_a_failed_request(tmp_path: Path) -> None:
    """New connections get the new pair; a half-written one changes nothing; no request fails meanwhile."""
    authority = Authority()
    first, second, third = authority.issue(), authority.issue(), authority.issue()
    with running(tmp_path, authority, first) as webhook, Load(webhook) as load:
        assert webhook.serial() == first.serial
        load.more(20)
        (tmp_path / "tls.crt").write_bytes(second.certificate)
        webhook.process.line(lambda line: "does not belong" in line)
        assert webhook.serial() == first.serial
        load.more(20)
        (tmp_path / "tls.key").write_bytes(second.key)
        webhook.process.line(lambda line: "certificate reloaded" in line)
        assert webhook.serial() == second.serial
        load.more(20)
        third.write(tmp_path)
        eventually(lambda: webhook.serial() == third.serial, "the third certificate")
        load.more(20)
        load.stop()
        assert not load.failures
        assert 'trustbind_webhook_certificate_reloads_total{result="loaded"} 2.0' in webhook.metrics()


def test_stops_under_load_without_a_failed_request(tmp_path: Path) -> None:
    """Readiness turns red at once, requests are served on until the port is closed, and the exit code is 0."""
    authority = Authority()
    with running(tmp_path, authority, authority.issue(), drainSeconds=0.5) as webhook, Load(webhook) as load:
        idle = webhook.connection()
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        load.more(20)
        webhook.process.signal()
        webhook.process.line(lambda line: '"draining"' in line)
        assert webhook.call(method="GET", path="/readyz") == (503, {"error": "shutting down"})
        load.more(20)
        assert webhook.process.wait() == 0
        load.stop()
        idle.close()
        assert not load.failures
        assert not [line for line in webhook.process.output if "Traceback" in line or '"error"' in line]
        assert '"stopped"' in webhook.process.output[-1]


def test_a_second_signal_ends_the_drain(tmp_path: Path) -> None:
    """Whoever is in a hurry asks twice."""
    authority = Authority()
    with running(tmp_path, authority, authority.issue(), drainSeconds=300) as webhook:
        webhook.process.signal()
        webhook.process.line(lambda line: '"draining"' in line)
        webhook.process.signal(signal.SIGINT)
        assert webhook.process.wait() == 0


def failed(config: Path, *, env: Mapping[str, str | None] | None = None) -> tuple[int, list[str]]:
    """Return exit code and output of a process that cannot start."""
    with Process([sys.executable, "-m", "trustbind_webhook", "--config", str(config)], env) as process:
        return process.wait(), process.output


def test_what_keeps_it_from_starting_is_one_sentence(tmp_path: Path) -> None:
    """Exit code 1 and one sentence on standard error, never a trace."""
    Authority().issue().write(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        where = f"127.0.0.1 port {port}"
        assert failed(configured(tmp_path, {"port": port})) == (
            1,
            [f"trustbind webhook: cannot listen on {where}: Address already in use; see server.port"],
        )
    cluster = configured(tmp_path, {}, {"source": "cluster", "kubeconfig": str(tmp_path / "kubeconfig")})
    assert failed(cluster) == (
        1,
        [f"trustbind webhook: the kubeconfig {tmp_path}/kubeconfig cannot be used: there is no such file"],
    )


@pytest.mark.parametrize(
    ("server", "lookup", "sentence"),
    [
        ({"certFile": "/no.crt"}, None, "the certificate /no.crt cannot be read: No such file or directory"),
        ({"host": "203.0.113.7"}, None, "cannot listen on 203.0.113.7 port 0: Cannot assign requested address"),
        ({"metricsHost": "no.invalid"}, None, "cannot listen on no.invalid port 0: "),
        ({}, {"source": "files", "manifests": ["/none.yaml"]}, "/none.yaml: it cannot be read: No such file"),
    ],
)
def test_a_failed_start_leaves_nothing_behind(
    tmp_path: Path, server: dict[str, Any], lookup: dict[str, Any] | None, sentence: str
) -> None:
    """The error is raised before anything is served, and everything that was opened is closed."""
    Authority().issue().write(tmp_path)
    settings = load(str(configured(tmp_path, server, lookup)))
    process = _Process(settings, logger(settings.log, io.StringIO()))
    with pytest.raises((StartError, PortError, CertificateError, LookupStartError)) as caught:
        asyncio.run(process.serve())
    assert str(caught.value).startswith(sentence)


def test_bad_settings_are_exit_code_2(tmp_path: Path) -> None:
    """One sentence a mistake."""
    code, output = failed(configured(tmp_path, {"prt": 1}))
    assert code == 2
    assert output == [
        f"trustbind webhook: {tmp_path}/config.yaml: server.prt: there is no such setting; did you mean port?"
    ]


@pytest.mark.parametrize(
    ("status", "sentence", "request_"),
    [bad for bad in BAD.values() if "path" not in bad[2] and bad[2].get("method") != "GET"],
    ids=[name for name, bad in BAD.items() if "path" not in bad[2] and bad[2].get("method") != "GET"],
)
def test_validation_takes_the_same_bodies(
    webhook: Webhook, status: int, sentence: str, request_: dict[str, Any]
) -> None:
    """What is no review for one route is none for the other."""
    body = request_.get("body")
    if isinstance(body, Iterator):  # the other test has used it up
        body = iter([b" " * 65536] * 50)
    got, answer = webhook.call(**{**request_, "body": body}, path="/validate?timeout=5s")
    assert (got, list(answer)) == (status, ["error"])
    assert sentence.replace("/mutate", "/validate") in answer["error"]
