"""The serving certificate: a new pair is taken when it is good, and only then."""

from __future__ import annotations

import asyncio
import io
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from support.certs import Authority, Pair
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.certificates.serving import CertificateError, ServingCertificate
from trustbind_webhook.metrics import Metrics


class Serving:
    """A pair in a folder, and what was logged and counted."""

    def __init__(self, directory: Path, pair: Pair, now: datetime | None = None) -> None:
        self.directory = directory
        self.log = io.StringIO()
        self.metrics = Metrics()
        cert, key = pair.write(directory)
        self.certificate = ServingCertificate(
            str(cert),
            str(key),
            metrics=self.metrics,
            log=logger(Log(), self.log),
            now=lambda: now or datetime.now(UTC),
        )

    def refresh(self) -> bool:
        """Look at the files once."""
        return asyncio.run(self.certificate.refresh())

    def reloads(self, result: str) -> float:
        """Return how often files were taken or refused."""
        name = "trustbind_webhook_certificate_reloads_total"
        return self.metrics.registry.get_sample_value(name, {"result": result}) or 0.0


def test_takes_a_changed_pair_and_nothing_else(tmp_path: Path) -> None:
    """Unchanged files are no reload; changed ones are one; the expiry shown is the new one's."""
    authority = Authority()
    serving = Serving(tmp_path, authority.issue(hours=1))
    assert serving.certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert not serving.refresh()
    authority.issue(hours=100).write(tmp_path)
    assert serving.refresh()
    assert not serving.refresh()
    assert serving.reloads("loaded") == 1
    expiry = serving.metrics.registry.get_sample_value("trustbind_webhook_certificate_expiry_timestamp_seconds")
    assert expiry is not None
    assert expiry > (datetime.now(UTC) + timedelta(hours=99)).timestamp()


def test_follows_swapped_symlinks(tmp_path: Path) -> None:
    """The kubelet swaps a folder's symlink in one step; the files' paths stay."""
    authority = Authority()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        authority.issue().write(tmp_path / name)
    (tmp_path / "data").symlink_to("one")
    certificate = ServingCertificate(
        str(tmp_path / "data/tls.crt"),
        str(tmp_path / "data/tls.key"),
        metrics=Metrics(),
        log=logger(Log(), io.StringIO()),
    )
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(tmp_path / "data")
    assert asyncio.run(certificate.refresh())


def test_keeps_the_old_pair_while_the_new_one_is_half_there(tmp_path: Path) -> None:
    """A certificate without its key, an empty or a missing file: told once, counted once, and mended by the rest."""
    authority = Authority()
    serving = Serving(tmp_path, authority.issue())
    new = authority.issue()
    (tmp_path / "tls.crt").write_bytes(new.certificate)
    assert not serving.refresh()
    assert not serving.refresh()
    assert serving.log.getvalue().count("does not belong to the certificate") == 1
    assert serving.reloads("refused") == 1
    (tmp_path / "tls.crt").write_bytes(b"")
    assert not serving.refresh()
    assert "is not a PEM certificate" in serving.log.getvalue()
    (tmp_path / "tls.key").unlink()
    assert not serving.refresh()
    assert "cannot be read: No such file" in serving.log.getvalue()
    new.write(tmp_path)
    assert serving.refresh()
    assert (serving.reloads("refused"), serving.reloads("loaded")) == (3, 1)


def test_an_ended_certificate_is_served_and_told(tmp_path: Path) -> None:
    """Refusing to start would be worse: who looks at the log knows why clients complain."""
    serving = Serving(tmp_path, Authority().issue(hours=1), now=datetime.now(UTC) + timedelta(days=1))
    assert "certificate has ended" in serving.log.getvalue()


def test_what_cannot_be_served_keeps_it_from_starting(tmp_path: Path) -> None:
    """Each mistake has its sentence, and an encrypted key never asks a terminal."""
    authority = Authority()
    pair = authority.issue()
    key = serialization.load_pem_private_key(pair.key, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    for bad, sentence in (
        (Pair(b"nonsense", pair.key, 1), "is not a PEM certificate"),
        (Pair(pair.certificate, b"nonsense", 1), "is not a PEM private key"),
        (Pair(pair.certificate, authority.issue().key, 1), "does not belong to the certificate"),
        (Pair(pair.certificate, encrypted, 1), "is encrypted"),
    ):
        with pytest.raises(CertificateError, match=sentence):
            Serving(tmp_path, bad)
    pair.write(tmp_path)
    os.unlink(tmp_path / "tls.crt")  # noqa: PTH108 - one line, like the file
    with pytest.raises(CertificateError, match=r"tls.crt cannot be read: No such file or directory"):
        ServingCertificate(
            str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"), metrics=Metrics(), log=logger(Log(), io.StringIO())
        )
