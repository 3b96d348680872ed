"""The serving certificate: loaded, and loaded again when its files change, without dropping a request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from trustbind.errors import TrustbindError
from trustbind_runtime.logs import Logger
from trustbind_webhook.metrics import Metrics

__all__ = ["CertificateError", "ServingCertificate"]


class CertificateError(TrustbindError):
    """Certificate and key cannot be used together; ``str()`` of it says which file is wrong and how."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """What the two files held at one moment."""

    certificate: bytes
    key: bytes


def _now() -> datetime:
    return datetime.now(UTC)


class ServingCertificate:
    """Certificate and key of two files, as a TLS context that can stay in use while they change.

    A new pair is loaded into a context of its own. Only when that has worked do new connections get it; those that are
    open keep what they have. The listening context is never touched: OpenSSL would drop its key as soon as a
    certificate comes that does not belong to it.
    """

    def __init__(
        self,
        cert_file: str,
        key_file: str,
        *,
        metrics: Metrics,
        log: Logger,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._cert_file = Path(cert_file)
        self._key_file = Path(key_file)
        self._metrics = metrics
        self._log = log
        self._now = now
        self._told: tuple[_Pair | None, str] | None = None
        self._pair = self._read()
        self._current = self._load(self._pair)
        self.context = self._load(self._pair)
        self.context.sni_callback = self._choose

    async def watch(self, seconds: float) -> None:
        """Look at the files every ``seconds``, until cancelled.

        Their content is compared, not their times: a Secret's files are symlinks, which the kubelet swaps.
        """
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()

    async def refresh(self) -> bool:
        """Take the files' content if it is new and good; return whether it was taken.

        A pair that cannot be used (half-written, or not belonging together) is told once, and the former one stays.
        """
        pair = None
        try:
            pair = await asyncio.to_thread(self._read)
            if pair == self._pair:
                self._told = None
                return False
            context = await asyncio.to_thread(self._load, pair)
        except CertificateError as error:
            if self._told != (pair, str(error)):
                self._told = (pair, str(error))
                self._metrics.certificate_reloads.labels("refused").inc()
                self._log.warning("certificate not reloaded, the former one stays", problem=str(error))
            return False
        self._current, self._pair, self._told = context, pair, None
        self._metrics.certificate_reloads.labels("loaded").inc()
        self._log.info("certificate reloaded", file=str(self._cert_file))
        return True

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Give a new connection the current pair; OpenSSL asks for every one, with a server name or without."""
        connection.context = self._current

    def _read(self) -> _Pair:
        contents = []
        for what, path in (("certificate", self._cert_file), ("key", self._key_file)):
            try:
                contents.append(path.read_bytes())
            except OSError as error:
                raise CertificateError(f"the {what} {path} cannot be read: {error.strerror}") from None
        return _Pair(*contents)

    def _load(self, pair: _Pair) -> ssl.SSLContext:
        """Return a context with the files' content, which was ``pair`` a moment ago and has to be still."""
        end = self._end(pair)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # The callback keeps OpenSSL from asking a terminal for the password of an encrypted key.
            context.load_cert_chain(self._cert_file, self._key_file, password=lambda: b"")
        except OSError as error:  # ssl.SSLError is one
            raise CertificateError(self._problem(error)) from None
        if self._read() != pair:
            raise CertificateError(f"the certificate {self._cert_file} is being written at this moment")
        if end <= self._now():
            self._log.warning("certificate has ended", file=str(self._cert_file), end=end.isoformat())
        self._metrics.certificate_expiry.set(end.timestamp())
        return context

    def _end(self, pair: _Pair) -> datetime:
        try:
            return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc
        except ValueError:
            raise CertificateError(f"the certificate {self._cert_file} is not a PEM certificate") from None

    def _problem(self, error: OSError) -> str:
        reason = getattr(error, "reason", None) or ""
        if reason == "KEY_VALUES_MISMATCH":
            return f"the key {self._key_file} does not belong to the certificate {self._cert_file}"
        if b"ENCRYPTED" in self._key_bytes():
            return f"the key {self._key_file} is encrypted; it has to be there in plain PEM"
        said = f" ({reason})" if reason else ""
        return f"the key {self._key_file} is not a PEM private key for the certificate {self._cert_file}{said}"

    def _key_bytes(self) -> bytes:
        try:
            return self._key_file.read_bytes()
        except OSError:
            return b""
