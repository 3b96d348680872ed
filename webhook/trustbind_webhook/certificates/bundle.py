"""What the Secret holds: authorities, newest first, and the serving certificate of one of them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from trustbind.errors import TrustbindError

__all__ = ["Authority", "BadMaterialError", "Material", "Serving", "certificates_in", "pem_of", "same"]

SERVING_CERTIFICATE: Final = "tls.crt"
SERVING_KEY: Final = "tls.key"
AUTHORITIES: Final = "ca.crt"
AUTHORITY_KEYS: Final = "ca.key"
"""Keys of the Secret. The first three are those of cert-manager's Secrets."""

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
_KEY: Final = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----\n?", re.DOTALL)


class BadMaterialError(TrustbindError):
    """The Secret does not hold what it should; ``str()`` of it says what is wrong, and never a key."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority and its key."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate, in PEM."""
        return pem_of(self.certificate)

    @property
    def end(self) -> datetime:
        """When it ends."""
        return self.certificate.not_valid_after_utc

    def signed(self, certificate: x509.Certificate) -> bool:
        """Return whether it signed ``certificate``."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Serving:
    """A serving certificate and its key."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate, in PEM."""
        return pem_of(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The key, in PEM, not encrypted."""
        return _key_pem(self.key)

    @property
    def names(self) -> frozenset[str]:
        """The DNS names that it is for."""
        try:
            extension = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return frozenset()
        return frozenset(extension.value.get_values_for_type(x509.DNSName))


@dataclass(frozen=True, slots=True)
class Material:
    """Everything.

    Attributes:
        authorities: newest first; each of them is trusted.
        serving: signed by one of them.
    """

    authorities: tuple[Authority, ...]
    serving: Serving

    @property
    def bundle(self) -> bytes:
        """What clients have to trust: every authority, in PEM, newest first."""
        return b"".join(authority.pem for authority in self.authorities)

    @property
    def signer(self) -> Authority | None:
        """The authority that signed the serving certificate."""
        return next((a for a in self.authorities if a.signed(self.serving.certificate)), None)

    def to_data(self) -> dict[str, str]:
        """Return the Secret's ``data``."""
        contents = {
            AUTHORITIES: self.bundle,
            AUTHORITY_KEYS: b"".join(_key_pem(authority.key) for authority in self.authorities),
            SERVING_CERTIFICATE: self.serving.certificate_pem,
            SERVING_KEY: self.serving.key_pem,
        }
        return {name: base64.b64encode(content).decode() for name, content in contents.items()}

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> Material:
        """Return what a Secret's ``data`` holds.

        Raises:
            BadMaterialError: something is missing, not PEM, or does not belong together.
        """
        certificates = certificates_in(_decoded(data, AUTHORITIES))
        keys = [_key(pem) for pem in _KEY.findall(_decoded(data, AUTHORITY_KEYS))]
        if not certificates or len(certificates) != len(keys):
            raise BadMaterialError(f"{AUTHORITIES} and {AUTHORITY_KEYS} do not have one key for each authority")
        authorities = tuple(Authority(c, k) for c, k in zip(certificates, keys, strict=True))
        serving_certificates = certificates_in(_decoded(data, SERVING_CERTIFICATE))
        if len(serving_certificates) != 1:
            raise BadMaterialError(f"{SERVING_CERTIFICATE} is not one PEM certificate")
        material = cls(authorities, Serving(serving_certificates[0], _key(_decoded(data, SERVING_KEY))))
        pairs: list[Authority | Serving] = [*authorities, material.serving]
        if any(pair.certificate.public_key() != pair.key.public_key() for pair in pairs):
            raise BadMaterialError("a key does not belong to its certificate")
        if material.signer is None:
            raise BadMaterialError("no authority signed the serving certificate")
        return material


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM bundle, in their order; those that cannot be read are left out."""
    found = []
    for block in _CERTIFICATE.findall(pem):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            continue
    return found


def pem_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _decoded(data: Mapping[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(data[name], validate=True)
    except KeyError:
        raise BadMaterialError(f"{name} is missing") from None
    except (binascii.Error, ValueError):
        raise BadMaterialError(f"{name} is not base64") from None


def _key(pem: bytes) -> EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise BadMaterialError("a key is not a PEM private key") from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise BadMaterialError("a key is not an ECDSA key")
    return key


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def same(one: Iterable[x509.Certificate], other: Iterable[x509.Certificate]) -> bool:
    """Return whether two bundles trust the same, whatever their order and white space."""
    return set(one) == set(other)
