"""Keys and certificates, made anew (RFC 5280): ECDSA over P-256, which every API server takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trustbind_webhook.certificates.bundle import Authority, Material, Serving
from trustbind_webhook.certificates.rotation_plan import BACKDATED, Plan, Policy

__all__ = ["KeyMaker", "carried_out", "new_key"]

KeyMaker = Callable[[], ec.EllipticCurvePrivateKey]


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key from the system's own randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def carried_out(
    plan: Plan, material: Material | None, policy: Policy, now: datetime, make_key: KeyMaker = new_key
) -> Material:
    """Return what ``plan`` makes of ``material``."""
    authorities = plan.keep
    if plan.new_authority:
        authorities = (_authority(policy, now, make_key), *authorities)
    if plan.signer is not None:
        return Material(authorities, _serving(plan.keep[plan.signer], policy, now, make_key))
    if material is None or not plan.keep:
        return Material(authorities, _serving(authorities[0], policy, now, make_key))
    return Material(authorities, material.serving)


def _authority(policy: Policy, now: datetime, make_key: KeyMaker) -> Authority:
    key = make_key()
    serial = x509.random_serial_number()
    # A name of its own, so that old and new are told apart by name as well as by key.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"trustbind webhook authority {serial:x}"[:64])])
    certificate = (
        _builder(name, name, key, serial, now, now + policy.ca_validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _serving(authority: Authority, policy: Policy, now: datetime, make_key: KeyMaker) -> Serving:
    key = make_key()
    names = sorted(policy.names, key=lambda name: (-len(name), name))
    # The common name has room for 64 characters; what counts are the alternative names.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trustbind webhook")])
    end = min(now + policy.serving_validity, authority.end)
    certificate = (
        _builder(subject, authority.certificate.subject, key, x509.random_serial_number(), now, end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Serving(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, serial: int, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_whole(now) - BACKDATED)
        .not_valid_after(_whole(end))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _whole(moment: datetime) -> datetime:
    """Return it in whole seconds, as a certificate has them."""
    return moment - timedelta(microseconds=moment.microsecond)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
