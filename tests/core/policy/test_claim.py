"""What bindings ask of roles."""

from __future__ import annotations

import dataclasses

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.federated_subjects import FederatedSubjects
from trustbind.api.label_selector import LabelSelector
from trustbind.api.role_binding import BindingRef, Method, RoleBinding, Source
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import ChainKey, FederatedKey, WebIdentityKey

ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/app")
SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
GITHUB = Issuer.parse("https://token.actions.githubusercontent.com")
MAIN = "repo:o/shop:ref:refs/heads/main"
WEB = WebIdentityKey("sts.amazonaws.com")
BINDING = RoleBinding(BindingRef("team-a", "b"), ROLE, service_account_names=("reader",), conditions=())
IP = ExtraCondition("IpAddress", "aws:SourceIp", ("203.0.113.0/24",))


def test_claims_of_web_identity() -> None:
    """A web-identity binding claims one statement of its own role, with its conditions, and none of others."""
    binding = dataclasses.replace(BINDING, audience="x", conditions=(IP,))

    (claimed,) = claims_on(ROLE, binding, binding.subjects({}))

    assert (claimed.key, claimed.subjects) == (WebIdentityKey("x", (IP,)), (Subject("team-a", "reader"),))
    assert claims_on(SOURCE, binding, binding.subjects({})) == ()


def test_claims_of_pod_identity() -> None:
    """A binding by EKS Pod Identity claims nothing in a trust policy; associations are all that it gets."""
    binding = dataclasses.replace(BINDING, method=Method.POD_IDENTITY)

    assert claims_on(ROLE, binding, binding.subjects({})) == ()


def test_claims_of_a_chain() -> None:
    """A chain lets the subjects into the source role and the source role into the target, which has the conditions."""
    binding = dataclasses.replace(
        BINDING, method=Method.ASSUME_ROLE, source=Source(SOURCE), external_id="ab", conditions=(IP,)
    )

    (source,) = claims_on(SOURCE, binding, binding.subjects({}))
    (target,) = claims_on(ROLE, binding, binding.subjects({}))

    assert (source.key, source.subjects) == (WEB, (Subject("team-a", "reader"),))
    assert (target.key, target.subjects) == (ChainKey(SOURCE, "ab", (IP,)), ())


def test_a_selector_that_selects_nobody_claims_nothing() -> None:
    """Without a subject there is nothing to write: no statement is ever made for nobody."""
    binding = dataclasses.replace(BINDING, service_account_names=(), selector=LabelSelector((("a", "1"),)))

    assert claims_on(ROLE, binding, binding.subjects({})) == ()
    assert claims_on(ROLE, binding, binding.subjects({"x": {"a": "2"}})) == ()
    assert [c.subjects for c in claims_on(ROLE, binding, binding.subjects({"x": {"a": "1"}}))] == [
        (Subject("team-a", "x"),)
    ]


def test_claims_for_other_issuers() -> None:
    """A binding claims one statement for its accounts first, then one for each other issuer, with its conditions."""
    entry = FederatedSubjects(GITHUB, "x", (MAIN,))
    binding = dataclasses.replace(BINDING, conditions=(IP,), federated=(entry,))

    own, other = claims_on(ROLE, binding, binding.subjects({}))

    assert own.subjects == (Subject("team-a", "reader"),)
    assert (other.key, other.subjects) == (FederatedKey(GITHUB, "x", (IP,)), (MAIN,))
    assert claims_on(SOURCE, binding, binding.subjects({})) == ()
    alone = dataclasses.replace(binding, service_account_names=())
    assert claims_on(ROLE, alone, alone.subjects({})) == (other,)


def test_conditions_on_keys_of_issuers() -> None:
    """Those of the cluster's issuer are in the statement of service accounts, an entry's in that of its issuer."""
    amr = ExtraCondition("StringEquals", "oidc.example.com/id/1:amr", ("x",))
    environment = ExtraCondition("StringEquals", f"{GITHUB.host_path}:environment", ("production",))
    entry = FederatedSubjects(GITHUB, "x", (MAIN,), (environment,))
    binding = dataclasses.replace(BINDING, conditions=(IP, amr), federated=(entry,))

    own, other = claims_on(ROLE, binding, binding.subjects({}))

    assert own.key == WebIdentityKey("sts.amazonaws.com", (IP, amr))
    assert other.key == FederatedKey(GITHUB, "x", (IP, environment))
