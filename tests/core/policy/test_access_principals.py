"""Which principals can assume a role besides the cluster's service accounts, and which roles come before it."""

from __future__ import annotations

from typing import Any

import pytest

from support.trust import FOREIGN, ISSUER, OTHER, ROLE, SOURCE, WEB, document, statement
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy import access_principals
from trustbind.policy.access import Mechanism, Verdict
from trustbind.policy.owned_statement import ChainKey, build
from trustbind.policy.role_permissions import RolePermissions

READER = Subject("team-a", "reader")


def test_other_cluster() -> None:
    """Another cluster's service accounts are principals with its issuer in front."""
    theirs = build(OTHER, ROLE, WEB, [READER])
    found = access_principals.principals_of(ROLE, document(theirs, statement("reader")), ISSUER)

    assert [(each.principal, each.verdict) for each in found] == [(f"{OTHER.url} {READER}", Verdict.YES)]


def test_everyone() -> None:
    """Principal * is a row of its own; EKS is everyone, too, and so are the subjects of every OIDC provider."""
    found = access_principals.principals_of(ROLE, document({**FOREIGN, "Principal": "*"}), ISSUER)
    assert [(each.principal, each.mechanism, each.verdict) for each in found] == [
        ("*", Mechanism.ASSUME_ROLE, Verdict.YES),
        ("pods.eks.amazonaws.com", Mechanism.POD_IDENTITY, Verdict.IF),
    ]
    action = "sts:AssumeRoleWithWebIdentity"
    key = "token.actions.githubusercontent.com:sub"
    named = {**FOREIGN, "Principal": "*", "Action": action, "Condition": {"StringEquals": {key: "repo:o/shop"}}}
    by_web = access_principals.principals_of(ROLE, document({**FOREIGN, "Principal": "*", "Action": action}), ISSUER)
    by_name = access_principals.principals_of(ROLE, document(named), ISSUER)
    assert [each.principal for each in by_web] == ["arn:aws:iam::444455556666:oidc-provider/*"]
    assert [each.principal for each in by_name] == ["https://token.actions.githubusercontent.com repo:o/shop"]


def allowing(principal: object, **condition: object) -> dict[str, Any]:
    """Return a statement that lets a principal assume the role."""
    return {
        "Effect": "Allow",
        "Principal": principal,
        "Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"],
    } | ({"Condition": condition} if condition else {})


PATTERN = {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/ci-*"}}
GITHUB_ARN = "arn:aws:iam::444455556666:oidc-provider/token.actions.githubusercontent.com"


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        (allowing({"AWS": "111122223333"}), ("111122223333", "if")),
        (allowing({"AWS": "arn:aws:iam::111122223333:root"}, **PATTERN), ("arn:aws:iam::111122223333:root", "if")),
        (allowing({"AWS": "*"}, **PATTERN), ("*", "if")),
        (allowing({"AWS": "*"}, StringEquals={"aws:PrincipalAccount": "111122223333"}), ("*", "if")),
        (allowing({"Federated": "*"}), ("*", "unknown")),
        (allowing({"Federated": "accounts.google.com"}), ("accounts.google.com", "yes")),
        (
            allowing(
                {"Federated": GITHUB_ARN},
                StringEquals={
                    "token.actions.githubusercontent.com:sub": "repo:o/shop",
                    "token.actions.githubusercontent.com:repository": "o/shop",
                },
            ),
            ("https://token.actions.githubusercontent.com repo:o/shop", "if"),
        ),
        (
            allowing({"Federated": GITHUB_ARN}, StringNotEquals={"token.actions.githubusercontent.com:sub": "a"}),
            (GITHUB_ARN, "if"),
        ),
    ],
)
def test_not_by_sample(statement: dict[str, Any], row: tuple[str, str]) -> None:
    """A principal that stands for many is no sample: what narrows it is a condition, and not a no."""
    rows = access_principals.principals_of(ROLE, document(statement), ISSUER)

    assert row in [(each.principal, each.verdict.value) for each in rows]


def test_not_principal() -> None:
    """NotPrincipal allows nearly everyone."""
    statement = {**FOREIGN, "NotPrincipal": {"AWS": "111122223333"}}
    del statement["Principal"]

    assert "*" in [each.principal for each in access_principals.principals_of(ROLE, document(statement), ISSUER)]


def test_deleted_principal() -> None:
    """The id of a deleted principal is nobody."""
    assert access_principals.principals_of(ROLE, document(allowing({"AWS": "AROAEXAMPLEID1234567A"})), ISSUER) == []


@pytest.mark.parametrize(
    ("statement", "accounts"),
    [
        (allowing({"AWS": "arn:aws:iam::111122223333:root"}), ["111122223333"]),
        (allowing({"AWS": ["111122223333", "arn:aws:iam::222233334444:root"]}), ["111122223333", "222233334444"]),
        (allowing({"AWS": "arn:aws:iam::111122223333:root"}, **PATTERN), ["111122223333"]),
        (allowing({"AWS": "*"}, **PATTERN), [""]),
        (allowing("*"), [""]),
        (allowing({"AWS": "arn:aws:sts::111122223333:assumed-role/ops/ann"}), ["111122223333"]),
        (allowing({"AWS": str(SOURCE)}), []),
        (allowing({"AWS": "111122223333"}, ArnEquals={"aws:PrincipalArn": str(SOURCE)}), []),
        (allowing({"AWS": "111122223333"}, StringNotEquals={"aws:PrincipalArn": str(SOURCE)}), ["111122223333"]),
        (allowing({"AWS": "arn:aws:iam::111122223333:user/ops/ann"}), []),
        (allowing({"AWS": "arn:aws:sts::111122223333:federated-user/ann"}), []),
        (allowing({"Service": "ec2.amazonaws.com"}), []),
    ],
)
def test_callers_of_accounts(statement: dict[str, Any], accounts: list[str]) -> None:
    """AWS principals that are not named one by one are known by their AWS account, unless a condition names them."""
    found = access_principals.callers_of_accounts(ROLE, document(statement))
    denied = access_principals.callers_of_accounts(ROLE, document(statement, {**allowing("*"), "Effect": "Deny"}))

    assert [each.account_id for each in found] == accounts
    assert denied == ()


def test_permissions() -> None:
    """The caller's own policies decide across AWS accounts, and deny everywhere."""
    trusting = document(allowing({"AWS": str(SOURCE)}))
    allow = {"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": str(ROLE)}}
    verdicts = [
        access_principals.source_role(ROLE, trusting, SOURCE, permissions).verdict
        for permissions in (None, RolePermissions({}), RolePermissions({"a": allow}))
    ]
    assert verdicts == [Verdict.IF, Verdict.NO, Verdict.YES]
    near = RoleArn.parse("arn:aws:iam::444455556666:role/near")
    deny = {"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
    same = [
        access_principals.source_role(ROLE, document(allowing({"AWS": str(near)})), near, permissions).verdict
        for permissions in (None, RolePermissions({}), RolePermissions({"d": deny}))
    ]
    assert same == [Verdict.YES, Verdict.YES, Verdict.NO]


def test_sources() -> None:
    """Roles that are named as principals or by a condition on their ARN are possible first steps."""
    by_root = build(ISSUER, ROLE, ChainKey(SOURCE, via_root=True))

    assert access_principals.sources_named(document(by_root)) == (SOURCE,)
    assert access_principals.sources_named(document(build(ISSUER, ROLE, ChainKey(SOURCE)))) == (SOURCE,)
    assert access_principals.sources_named(document({**by_root, "Effect": "Deny"})) == ()
    assert access_principals.source_role(ROLE, document(by_root), SOURCE).verdict is not Verdict.NO
