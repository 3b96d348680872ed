"""Certificates that the webhook makes itself: what is made when, and that somebody is always trusted."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from trustbind_webhook.certificates import rotation_plan, signer
from trustbind_webhook.certificates.bundle import BadMaterialError, Material, certificates_in
from trustbind_webhook.certificates.ca_bundle_monitor import leads_to
from trustbind_webhook.certificates.rotation_plan import BACKDATED, Policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "trustbind-webhook.trustbind-system.svc"
POLICY = Policy(
    names=frozenset({NAME, "trustbind-webhook.trustbind-system"}),
    ca_validity=timedelta(days=400),
    serving_validity=timedelta(days=90),
    renew_before=timedelta(days=30),
    settle=timedelta(minutes=1),
)
KEYS = [signer.new_key() for _ in range(3)]


def made(now: datetime = NOW, policy: Policy = POLICY) -> Material:
    """Return what the first replica makes."""
    return signer.carried_out(rotation_plan.plan(None, policy, now, announced=False), None, policy, now)


def after(material: Material, now: datetime, *, announced: bool = True, policy: Policy = POLICY) -> Material:
    """Return what a look at ``now`` makes of it."""
    plan = rotation_plan.plan(material, policy, now, announced=announced)
    return signer.carried_out(plan, material, policy, now) if plan.changes else material


def trusted(bundle: bytes, material: Material, now: datetime) -> bool:
    """Return whether a client that trusts ``bundle`` takes the serving certificate for our name."""
    verifier = PolicyBuilder().store(Store(certificates_in(bundle))).time(now).build_server_verifier(x509.DNSName(NAME))
    try:
        verifier.verify(material.serving.certificate, [])
    except x509.verification.VerificationError:
        return False
    return True


def test_the_first_look_makes_an_authority_and_a_certificate() -> None:
    """They are for the Service, valid for as long as asked, and belong together."""
    material = made()
    (authority,) = material.authorities
    assert material.signer is authority
    assert trusted(material.bundle, material, NOW)
    assert material.serving.names == POLICY.names
    assert authority.end == NOW + POLICY.ca_validity
    assert material.serving.certificate.not_valid_after_utc == NOW + POLICY.serving_validity
    assert material.serving.certificate.not_valid_before_utc == NOW - BACKDATED


def test_nothing_is_made_while_all_is_well() -> None:
    """Until the renewal is due, a look changes nothing, however often."""
    material = made()
    for days in (0, 1, 30, 59):
        assert after(material, NOW + timedelta(days=days)) is material


def test_a_certificate_is_renewed_before_its_end() -> None:
    """By the same authority: what clients trust stays the same."""
    material = made()
    now = NOW + POLICY.serving_validity - POLICY.renew_before
    renewed = after(material, now)
    assert renewed.bundle == material.bundle
    assert renewed.serving.certificate.not_valid_after_utc == now + POLICY.serving_validity
    assert after(renewed, now) is renewed


def test_a_new_authority_is_trusted_before_it_signs() -> None:
    """First it is announced beside the old one; then, settled, it signs; then the old one goes by its own end."""
    material, now = made(), NOW
    while len(material.authorities) == 1:
        due = material.serving.certificate.not_valid_after_utc - POLICY.renew_before
        now = min(due, material.authorities[0].end - POLICY.serving_validity + timedelta(seconds=1))
        material = after(material, now)
    old = material.authorities[1]
    assert material.signer is old

    # Not announced, or only just: the old one goes on signing.
    assert after(material, now + timedelta(minutes=5), announced=False) is material
    assert after(material, now + timedelta(seconds=59)) is material
    late = now + timedelta(seconds=60)
    switched = after(material, late)
    assert switched.signer is switched.authorities[0]
    assert switched.authorities[1] == old
    assert switched.bundle == material.bundle
    assert trusted(material.bundle, switched, late)

    ended = after(switched, old.end)
    assert old not in ended.authorities


@given(steps=st.lists(st.tuples(st.floats(0.01, 40), st.booleans()), min_size=1, max_size=40))
def test_whatever_is_served_is_trusted_by_whoever_has_the_last_bundle_or_this_one(
    steps: list[tuple[float, bool]],
) -> None:
    """At every look, at any time, announced or not: what is new is trusted by the bundle that was announced."""
    keys: Iterator[int] = iter(range(10**6))
    policy = replace(POLICY, ca_validity=timedelta(days=200))
    material = signer.carried_out(
        rotation_plan.plan(None, policy, NOW, announced=False), None, policy, NOW, lambda: KEYS[next(keys) % 3]
    )
    announced_bundle = material.bundle
    now = NOW
    for days, announces in steps:
        now += timedelta(days=days)
        newest_is_known = material.authorities[0].pem in announced_bundle
        plan = rotation_plan.plan(material, policy, now, announced=newest_is_known)
        is_new_start = plan.new_authority and not plan.keep
        if plan.changes:
            material = signer.carried_out(plan, material, policy, now)
        assert material.signer is not None
        if material.serving.certificate.not_valid_after_utc > now:
            assert trusted(material.bundle, material, now)
            if not is_new_start and any(c.not_valid_after_utc > now for c in certificates_in(announced_bundle)):
                assert trusted(announced_bundle, material, now)
        if announces or is_new_start:
            announced_bundle = material.bundle
        assert len(material.authorities) <= 3


def test_other_names_ask_for_another_certificate() -> None:
    """A renamed Service gets a certificate of its own, by the same authority."""
    material = made()
    policy = replace(POLICY, names=frozenset({"other.trustbind-system.svc"}))
    renewed = after(material, NOW, policy=policy)
    assert renewed.serving.names == policy.names
    assert renewed.bundle == material.bundle


def test_an_authority_that_has_ended_is_followed_by_a_new_start() -> None:
    """After a year switched off there is nothing left to be careful about."""
    now = NOW + timedelta(days=401)
    renewed = after(made(), now)
    assert len(renewed.authorities) == 1
    assert trusted(renewed.bundle, renewed, now)


def test_a_certificate_that_cannot_be_prolonged_is_not_made_again_and_again() -> None:
    """While a new authority is not announced, the old one's certificates end with it; one is enough."""
    material = made()
    now = material.authorities[0].end - timedelta(days=10)
    material = after(material, now, announced=False)
    assert material.serving.certificate.not_valid_after_utc == material.authorities[-1].end
    assert after(material, now + timedelta(days=1), announced=False) is material


def test_the_secret_holds_all_of_it() -> None:
    """What is written is what is read."""
    material = made()
    again = Material.from_data(material.to_data())
    assert again.to_data() == material.to_data()
    assert set(material.to_data()) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}


def encoded(text: bytes) -> str:
    """Return it as a Secret has it."""
    return base64.b64encode(text).decode()


OTHERS = made().to_data()
"""Somebody else's."""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ca.crt": None}, "ca.crt is missing"),
        ({"tls.key": "%"}, "tls.key is not base64"),
        ({"ca.crt": encoded(b"nothing")}, "one key for each authority"),
        ({"tls.crt": encoded(b"nothing")}, "not one PEM certificate"),
        ({"tls.key": encoded(b"nothing")}, "not a PEM private key"),
        ({"ca.key": None}, "ca.key is missing"),
        ({"tls.crt": OTHERS["tls.crt"]}, "does not belong"),
        ({name: OTHERS[name] for name in ("tls.crt", "tls.key")}, "no authority signed"),
    ],
)
def test_a_secret_that_is_no_good_says_why(change: dict[str, str | None], says: str) -> None:
    """And never shows a key."""
    data = {name: value for name, value in {**made().to_data(), **change}.items() if value is not None}
    with pytest.raises(BadMaterialError, match=says) as refused:
        Material.from_data(data)
    assert "PRIVATE" not in str(refused.value)


def test_a_chain_leads_to_whoever_signed_it() -> None:
    """Directly, by itself, or by way of what comes with it; never to anybody else."""
    first, other = made(), made()
    leaf, authority = first.serving.certificate, first.authorities[0].certificate
    assert leads_to([leaf], [authority])
    assert leads_to([leaf], [leaf])
    assert leads_to([leaf, other.serving.certificate, authority], [other.authorities[0].certificate, authority])
    assert not leads_to([leaf], [other.authorities[0].certificate])
    assert not leads_to([leaf, authority], [])
    assert not leads_to([], [authority])
