"""What trustbind reads of X.509 certificates without a library for them. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final

__all__ = ["certificate_end", "certificates_of_bundle"]

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_LONG: Final = 0x80
_CENTURY: Final = 50


def certificates_of_bundle(pem: bytes) -> list[bytes]:
    """Return the certificates of a text in PEM, as DER each; what is none is left out."""
    found = []
    for match in _PEM.finditer(pem):
        try:
            found.append(base64.b64decode(match[1]))
        except binascii.Error:
            continue
    return found


def certificate_end(der: bytes) -> datetime | None:
    """Return until when an X.509 certificate is valid; None for what is none.

    The standard library reads no certificates from memory, and this needs one field (RFC 5280, 4.1: notAfter).
    """
    try:
        _, certificate, _ = _element(der)
        _, body, _ = _element(certificate)
        tag, _, rest = _element(body)
        fields = [] if tag == _VERSION else [tag]
        while len(fields) < 3:  # noqa: PLR2004 - serial number, algorithm and issuer come before
            tag, _, rest = _element(rest)
            fields.append(tag)
        _, validity, _ = _element(rest)
        _, _, rest = _element(validity)
        tag, text, _ = _element(rest)
        return _time(tag, text.decode("ascii"))
    except (IndexError, ValueError):
        return None


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: two digits are of 1950 to 2049
        text = ("19" if int(text[:2]) >= _CENTURY else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(tag)
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Return tag, content and what follows, of an element in DER."""
    tag, length, start = der[0], der[1], 2
    if length & _LONG:
        size = length & ~_LONG
        length, start = int.from_bytes(der[2 : 2 + size]), 2 + size
    if len(der) < start + length:
        raise ValueError(length)
    return tag, der[start : start + length], der[start + length :]
