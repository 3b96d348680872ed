"""The inline policy on a source role."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api.role_binding import RoleBinding
from trustbind.evaluation import Caller, Request, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import ChainKey, build
from trustbind.policy.source_policy import TaggedTarget, policy_name, source_policy, targets_of
from trustbind.policy.trust_document import document_size

ISSUER = Issuer("https://oidc.example/id/1")
TARGET = RoleArn.parse("arn:aws:iam::444455556666:role/team-a/app")
SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")

roles = st.builds(
    RoleArn, st.just("aws"), st.just("444455556666"), st.just("/"), st.from_regex(r"[a-z]{1,8}", fullmatch=True)
)


@given(st.sets(roles, max_size=5))
def test_policy_and_back(targets: set[RoleArn]) -> None:
    """What a policy allows is what it was made of; none is no policy."""
    policy = source_policy(targets)

    assert (policy is None) == (not targets)
    assert set(targets_of(policy) or ()) == {str(target) for target in targets}


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Deny", "Action": "sts:AssumeRole", "Resource": ["x"]},
        {"Effect": "Allow", "Action": "sts:*", "Resource": ["x"]},
        {"Effect": "Allow", "Action": ["sts:AssumeRole", "s3:GetObject"], "Resource": ["x"]},
        {"Effect": "Allow", "Action": "sts:AssumeRole", "NotResource": ["x"]},
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": ["x"], "Condition": {}},
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [1]},
        "nothing",
    ],
)
def test_edited_policy(statement: Any) -> None:
    """A policy that somebody edited is not taken for ours, so it is written anew."""
    assert targets_of({"Version": "2012-10-17", "Statement": [statement]}) is None


def test_names_differ_by_cluster() -> None:
    """Each cluster has a policy of its own, with a name that IAM takes."""
    names = {policy_name(ISSUER), policy_name(Issuer("https://oidc.example/id/2"))}

    assert len(names) == 2
    assert all(name.startswith("trustbind-") and len(name) == 26 for name in names)


def test_through_the_account() -> None:
    """Trust through the account lets the source role in, also with a session, and no other role of that account."""
    statement = build(ISSUER, TARGET, ChainKey(SOURCE, "ab", via_root=True))
    document = {"Version": "2012-10-17", "Statement": [statement]}

    def allowed(name: str) -> bool:
        caller = Caller.parse(f"arn:aws:sts::111122223333:assumed-role/{name}/session")
        context = {"sts:ExternalId": ["ab"], "aws:PrincipalArn": [f"arn:aws:iam::111122223333:role/{name}"]}
        return evaluate(document, Request(caller, "sts:AssumeRole", context)).allowed

    assert allowed("base")
    assert not allowed("other")
    assert statement["Sid"] != build(ISSUER, TARGET, ChainKey(SOURCE, "ab"))["Sid"]


def test_binding_through_the_account() -> None:
    """``trustedAs: AccountRoot`` of a binding leads to that statement."""
    binding = RoleBinding.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "RoleBinding",
            "metadata": {"name": "b", "namespace": "team-a"},
            "spec": {
                "roleArn": str(TARGET),
                "serviceAccountNames": ["app"],
                "method": "AssumeRole",
                "source": {"roleArn": str(SOURCE), "trustedAs": "AccountRoot"},
            },
        }
    )

    (claim,) = claims_on(TARGET, binding, binding.subjects({}))

    assert claim.key == ChainKey(SOURCE, via_root=True)
    assert document_size(build(ISSUER, TARGET, claim.key)) > 0


def test_targets_with_session_tags() -> None:
    """They have a statement of their own, and are read back as what they are."""
    target, tagged = SOURCE, TaggedTarget(TARGET)
    policy = source_policy([tagged, target])
    assert policy is not None
    assert policy["Statement"] == [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [str(SOURCE)]},
        {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": [str(TARGET)]},
    ]
    assert set(targets_of(policy) or ()) == {str(SOURCE), f"sts:TagSession {TARGET}"}
    assert source_policy(targets_of(policy) or ()) == policy
    only = {"Effect": "Allow", "Action": ["sts:TagSession"], "Resource": [str(SOURCE)]}
    assert targets_of({"Version": "2012-10-17", "Statement": [only]}) is None
