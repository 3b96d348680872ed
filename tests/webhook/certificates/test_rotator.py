"""Who keeps the certificates, against an API server of a few lines that can be made to refuse, or to be late."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from cryptography import x509
from prometheus_client import CollectorRegistry

from trustbind_runtime.kubernetes.client import ApiError, ApiServer
from trustbind_webhook.certificates.bundle import certificates_in
from trustbind_webhook.certificates.metrics import CertificateMetrics
from trustbind_webhook.certificates.rotator import Keeper
from trustbind_webhook.certificates.serving import CertificateError
from trustbind_webhook.settings import Certificates, Server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMESPACE = "trustbind-system"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/trustbind-webhook-tls"
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
MUTATING = f"{REGISTRATION}/mutatingwebhookconfigurations/trustbind-webhook"
VALIDATING = f"{REGISTRATION}/validatingwebhookconfigurations/trustbind-webhook"


class Api:
    """Objects by path, with versions that a write has to name.

    Attributes:
        refuse: statuses for calls of this method and path, each used once.
        meanwhile: called before each call is carried out.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.refuse: dict[tuple[str, str], list[int]] = {}
        self.meanwhile: Callable[[str, str], None] = lambda _method, _path: None
        self.writes: list[tuple[str, str]] = []
        self._version = 0
        for path, name in ((MUTATING, "mutate.trustbind.dev"), (VALIDATING, "validate.trustbind.dev")):
            self.put(path, {"webhooks": [{"name": name, "clientConfig": {"service": {"name": "trustbind-webhook"}}}]})

    def put(self, path: str, thing: Mapping[str, Any]) -> None:
        """Store an object."""
        self._version += 1
        metadata = {"uid": path, **thing.get("metadata", {}), "name": path.rpartition("/")[2]}
        metadata["resourceVersion"] = str(self._version)
        self.objects[path] = {**thing, "metadata": metadata}

    def bundle(self, path: str) -> bytes:
        """Return what a configuration trusts."""
        return base64.b64decode(self.objects[path]["webhooks"][0]["clientConfig"].get("caBundle", ""))

    def trust(self, path: str, bundle: bytes) -> None:
        """Write what a configuration trusts, as somebody else would."""
        thing = self.objects[path]
        thing["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode()
        self.put(path, thing)

    async def get(self, path: str, **_: object) -> bytes:
        """Return an object."""
        self._begin("GET", path)
        if path not in self.objects:
            raise ApiError(404, "not found")
        return json.dumps(self.objects[path]).encode()

    async def send(self, method: str, path: str, body: Mapping[str, Any], **_: object) -> bytes:
        """Change an object."""
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
        self._begin(method, path)
        stored = self.objects.get(path)
        if method == "POST":
            if stored is not None:
                raise ApiError(409, "already exists")
            self.put(path, body)
        else:
            if stored is None:
                raise ApiError(404, "not found")
            if body["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"]:
                raise ApiError(409, "the object has been modified")
            if method == "PATCH":
                for change in body["webhooks"]:
                    (hook,) = (hook for hook in stored["webhooks"] if hook["name"] == change["name"])
                    hook["clientConfig"] |= change["clientConfig"]
                body = stored
            self.put(path, body)
        self.writes.append((method, path))
        return b"{}"

    def _begin(self, method: str, path: str) -> None:
        self.meanwhile(method, path)
        if self.refuse.get((method, path)):
            raise ApiError(self.refuse[method, path].pop(0), "refused")


class Replica:
    """One replica's keeper, its files and its clock."""

    def __init__(self, api: Api, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.now = NOW
        self.log: list[dict[str, Any]] = []
        self.registry = CollectorRegistry()
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"

        def record(_logger: object, _name: str, event: Any) -> Any:
            self.log.append(dict(event))
            raise structlog.DropEvent

        self.keeper = Keeper(
            cast("ApiServer", api),
            Certificates(mode="self", namespace=NAMESPACE, ca_validity_days=365.0),
            Server(cert_file=str(self.certificate), key_file=str(self.key)),
            metrics=CertificateMetrics(self.registry),
            log=structlog.wrap_logger(
                None, processors=[record], wrapper_class=structlog.make_filtering_bound_logger(0)
            ),
            now=lambda: self.now,
        )

    def look(self) -> None:
        """Look once."""
        asyncio.run(self.keeper.check())

    def serves(self) -> x509.Certificate:
        """Return the certificate in the file."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def says(self) -> list[str]:
        """Return the events that were logged."""
        return [entry["event"] for entry in self.log]


@pytest.fixture
def api() -> Api:
    """An API server with the two configurations."""
    return Api()


@pytest.fixture
def replica(api: Api, tmp_path: Path) -> Replica:
    """A replica that has looked once."""
    first = Replica(api, tmp_path / "a")
    first.look()
    return first


def test_the_first_look_brings_everything_in_order(api: Api, replica: Replica) -> None:
    """Secret, files and both configurations; a second look writes nothing."""
    assert replica.keeper.announced.is_set()
    assert api.bundle(MUTATING) == api.bundle(VALIDATING) == base64.b64decode(api.objects[SECRET]["data"]["ca.crt"])
    assert replica.key.stat().st_mode & 0o777 == 0o600
    assert api.objects[SECRET]["metadata"]["ownerReferences"][0]["kind"] == "MutatingWebhookConfiguration"
    assert replica.says() == ["certificates made", "caBundle written", "caBundle written"]
    api.writes.clear()
    replica.look()
    assert api.writes == []


def test_who_comes_second_takes_what_is_there(api: Api, replica: Replica, tmp_path: Path) -> None:
    """Also when both find no Secret: the second creation is refused, and the Secret read again."""
    second = Replica(api, tmp_path / "b")
    made = api.objects.pop(SECRET)

    def faster(method: str, path: str) -> None:
        if (method, path) == ("POST", SECRET):
            api.put(SECRET, made)

    api.meanwhile = faster
    second.look()
    assert second.serves() == replica.serves()
    assert "certificates made" not in second.says()


def test_an_old_secret_is_never_announced_over_a_new_one(api: Api, replica: Replica, tmp_path: Path) -> None:
    """A configuration that has changed since it was read is left to the next look."""
    late = Replica(api, tmp_path / "b")
    late.look()
    newer = b"".join([base64.b64decode(api.objects[SECRET]["data"]["ca.crt"])] * 2)

    def change(method: str, path: str) -> None:
        if (method, path) == ("PATCH", MUTATING):
            api.meanwhile = lambda _method, _path: None
            api.trust(MUTATING, newer)

    api.trust(MUTATING, b"")
    api.meanwhile = change
    late.look()
    assert api.bundle(MUTATING) == newer
    assert "certificate not looked after" not in late.says()
    assert replica.keeper.announced.is_set()


def test_what_is_not_trusted_is_not_served(api: Api, replica: Replica, tmp_path: Path) -> None:
    """While another authority cannot be announced, the present one's certificate stays in the files."""
    before = replica.serves()
    elsewhere = Api()
    Replica(elsewhere, tmp_path / "b").look()
    api.put(SECRET, elsewhere.objects[SECRET])
    api.refuse[("PATCH", MUTATING)] = [403]
    replica.look()
    assert replica.serves() == before
    replica.look()
    assert replica.serves() != before
    assert api.bundle(MUTATING) == elsewhere.bundle(MUTATING)


def test_a_renewal_reaches_every_replica(api: Api, replica: Replica, tmp_path: Path) -> None:
    """One makes it, the other takes it from the Secret; caBundle stays."""
    other = Replica(api, tmp_path / "b")
    other.look()
    bundle = api.bundle(MUTATING)
    replica.now = other.now = NOW + timedelta(days=61)
    replica.look()
    assert replica.serves() != other.serves()
    other.look()
    assert replica.serves() == other.serves()
    assert api.bundle(MUTATING) == bundle
    assert other.says() == []


def test_a_configuration_that_comes_later_is_announced_to_then(tmp_path: Path) -> None:
    """Helm creates it last: until then the replica is not ready."""
    api = Api()
    late = api.objects.pop(MUTATING)
    replica = Replica(api, tmp_path / "a")
    replica.look()
    assert replica.certificate.exists()
    assert not replica.keeper.announced.is_set()
    api.put(MUTATING, late)
    replica.look()
    assert replica.keeper.announced.is_set()
    assert len(certificates_in(api.bundle(MUTATING))) == 1


def test_a_secret_that_goes_with_its_configurations_stays_away(api: Api, replica: Replica) -> None:
    """At an uninstall, the replicas run longest: a Secret of theirs would have no owner, and stay for ever."""
    there = {path: api.objects.pop(path) for path in (SECRET, MUTATING, VALIDATING)}
    replica.look()
    assert SECRET not in api.objects
    assert replica.certificate.exists()
    assert replica.says()[3:] == []

    api.put(MUTATING, there[MUTATING])
    replica.look()
    assert api.objects[SECRET]["metadata"]["ownerReferences"][0]["kind"] == "MutatingWebhookConfiguration"
    assert api.objects[SECRET]["data"] == there[SECRET]["data"]


def test_a_failure_is_told_once(api: Api, replica: Replica) -> None:
    """Not at every look, and again when there was a success in between; the files stay."""
    before = replica.serves()
    for _ in range(2):
        api.refuse[("GET", SECRET)] = [500, 500]
        replica.look()
        replica.look()
        replica.look()
    assert replica.says().count("certificate not looked after, trying again") == 2
    assert replica.registry.get_sample_value("trustbind_webhook_certificate_failures_total") == 4.0
    assert replica.serves() == before


def test_files_that_cannot_be_written_are_told(api: Api, tmp_path: Path) -> None:
    """With the folder and the reason."""
    replica = Replica(api, tmp_path / "a")
    replica.certificate.mkdir()
    replica.look()
    (entry,) = (entry for entry in replica.log if entry["event"].startswith("certificate not looked after"))
    assert str(tmp_path / "a") in entry["problem"]


def test_a_start_without_any_certificate_ends_with_the_reason(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute; here after no time."""
    monkeypatch.setattr("trustbind_webhook.certificates.rotator._START_SECONDS", -1.0)
    api.refuse[("GET", SECRET)] = [403]
    with pytest.raises(CertificateError, match=r"none can be made: refused \(HTTP 403\)"):
        asyncio.run(Replica(api, tmp_path / "a").keeper.prepare())
