"""What the objects of a cluster say together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from trustbind.certificates import certificate_end
from trustbind.overview import (
    Capacity,
    account_states,
    age,
    binding_groups,
    halves_of,
    last_change,
    near_limit,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def body(name: str, *conditions: tuple[str, str, str, str], **spec: Any) -> dict[str, Any]:
    """Return an object with conditions: type, status, reason and since when."""
    return {
        "metadata": {"name": name, "namespace": "team-a", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": spec,
        "status": {
            "conditions": [
                {
                    "type": kind,
                    "status": status,
                    "reason": reason,
                    "lastTransitionTime": since,
                    "message": f"{name} {reason}",
                }
                for kind, status, reason, since in conditions
            ]
        },
    }


BINDINGS = [
    body("a", ("Ready", "True", "TrustApplied", "2026-11-28T00:00:00Z")),
    body("b", ("Ready", "False", "NotGranted", "2026-11-27T00:00:00Z")),
    body("c", ("Ready", "False", "NotGranted", "2026-11-26T00:00:00Z")),
    body("d", ("Ready", "False", "DriftObserved", "2026-11-29T00:00:00Z")),
    body("e"),
]


def test_bindings_by_reason() -> None:
    """What is not Ready comes first, the largest group before others; its oldest member stands for it."""
    groups = binding_groups(BINDINGS)

    assert [(g.reason, g.is_ready, g.count, g.example, g.since) for g in groups] == [
        ("NotGranted", False, 2, "team-a/c", "2026-11-26T00:00:00Z"),
        ("DriftObserved", False, 1, "team-a/d", "2026-11-29T00:00:00Z"),
        ("NoStatus", False, 1, "team-a/e", "2026-11-01T00:00:00Z"),
        ("TrustApplied", True, 1, "team-a/a", "2026-11-28T00:00:00Z"),
    ]
    assert [(g.is_drift, g.is_new) for g in groups] == [(False, False), (True, False), (False, True), (False, False)]
    assert groups[0].message == "c NotGranted"


def test_last_change() -> None:
    """The newest transition of a Ready condition."""
    assert last_change(BINDINGS) == ("2026-11-29T00:00:00Z", "team-a/d")
    assert last_change([]) == ("", "")


def test_aws_accounts() -> None:
    """Those that are not Ready first; a missing right to list roles is a fact of its own."""
    accounts = [
        body("a", ("Ready", "True", "AccountReady", ""), ("Surveyed", "False", "SurveyDenied", ""), accountId="1"),
        body("b", ("Ready", "False", "AccountAccessDenied", ""), accountId="2"),
    ]

    found = account_states(accounts)

    assert [(each.name, each.is_ready, each.is_surveyed) for each in found] == [("b", False, None), ("a", True, False)]


def test_halves() -> None:
    """By the labels of the chart; a half without replicas is not up."""
    labels = {"app.kubernetes.io/component": "webhook", "app.kubernetes.io/version": "0.1.0"}
    template = {"spec": {"containers": [{"image": "trustbind:0.1.0"}]}}
    deployment = {
        "metadata": {"name": "trustbind-webhook", "labels": labels},
        "spec": {"replicas": 2, "template": template},
        "status": {"readyReplicas": 2},
    }
    (up,) = halves_of([deployment])
    (partly,) = halves_of([deployment | {"status": {"readyReplicas": 1}}])
    (off,) = halves_of([deployment | {"spec": {"replicas": 0, "template": template}, "status": {}}])

    assert (up.component, up.version, up.image) == ("webhook", "0.1.0", "trustbind:0.1.0")
    assert (up.is_up, partly.is_up, off.is_up) == (True, False, False)


def test_near_limit_is_told_once_for_a_role() -> None:
    """Many bindings share a role, and each has the condition."""
    full = ("NearLimit", "True", "NearLimit", "")
    bindings = [body("a", full, roleArn="r1"), body("b", full, roleArn="r1"), body("c", roleArn="r2")]

    assert near_limit(bindings) == ("r1: a NearLimit",)
    assert Capacity("r", 1024, 2048).share == 0.5


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172800, "2d"),
        (8640000, "100d"),
        (-5, "0s"),
    ],
)
def test_age(ago: int, shown: str) -> None:
    """As kubectl writes it; clocks that differ make no negative age."""
    assert age(NOW - timedelta(seconds=ago), NOW) == shown


@pytest.mark.parametrize("end", [datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)])
def test_end_of_a_certificate(end: datetime) -> None:
    """In both forms of a time: with two digits of the year until 2049, with four from 2050 on."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trustbind " + "x" * 50)])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(2**150 + 1).not_valid_before(NOW).not_valid_after(end)
    der = built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    assert certificate_end(der) == end
    assert certificate_end(der[:100]) is None


@given(st.binary(max_size=200))
def test_what_is_no_certificate(content: bytes) -> None:
    """Anything may stand in a caBundle."""
    found = certificate_end(content)

    assert found is None or found.tzinfo is UTC
