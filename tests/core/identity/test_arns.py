"""ARNs of roles and providers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import PARTITIONS, ProviderArn, RoleArn, account_of

ACCOUNT = "123456789012"
LONG_PATH = "/" + "p" * 510 + "/"


@pytest.mark.parametrize("partition", [*PARTITIONS, "aws-new-part-1"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "app"),
        ("/team-a/", "s3-reader"),
        ("/a/b/c/", "x"),
        ("/aws-service-role/eks.amazonaws.com/", "AWSServiceRoleForAmazonEKS"),
        ("/", "+=,.@_-"),
        ("/", "n" * 64),
        (LONG_PATH, "n"),
        ("/a:b/", "n"),
        ("/!~/", "n"),
    ],
)
def test_role_of_every_partition(partition: str, path: str, name: str) -> None:
    """A role's ARN comes apart into its parts and back into the same text, in every partition, with any path."""
    text = f"arn:{partition}:iam::{ACCOUNT}:role{path}{name}"

    role = RoleArn.parse(text)

    assert role == RoleArn(partition, ACCOUNT, path, name)
    assert str(role) == text


BAD_ROLES = [
    ("", "not an ARN"),
    ("app", "not an ARN"),
    ("role/app", "not an ARN"),
    ("arn:aws:iam", "not an ARN"),
    ("arn:aws:iam::123456789012", "not an ARN"),
    ("ARN:aws:iam::123456789012:role/app", "not an ARN"),
    (" arn:aws:iam::123456789012:role/app", "not an ARN"),
    ("urn:aws:iam::123456789012:role/app", "not an ARN"),
    ("arn:amazon:iam::123456789012:role/app", "partition 'amazon'"),
    ("arn:AWS:iam::123456789012:role/app", "partition 'AWS'"),
    ("arn::iam::123456789012:role/app", "partition ''"),
    ("arn:aws-:iam::123456789012:role/app", "partition 'aws-'"),
    ("arn:aws:s3:::bucket/role/app", "another service"),
    ("arn:aws:sts::123456789012:assumed-role/app/s", "another service"),
    ("arn:aws:IAM::123456789012:role/app", "another service"),
    ("arn:aws:iam:eu-central-1:123456789012:role/app", "IAM has none"),
    ("arn:aws:iam::12345678901:role/app", "12 digits"),
    ("arn:aws:iam::1234567890123:role/app", "12 digits"),
    ("arn:aws:iam::1234-5678-9012:role/app", "12 digits"),
    ("arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/app", "12 digits"),
    ("arn:aws:iam::*:role/app", "12 digits"),
    ("arn:aws:iam:::role/app", "12 digits"),
    ("arn:aws:iam::aws:policy/AdministratorAccess", "12 digits"),
    ("arn:aws:iam::123456789012:user/app", "names a user"),
    ("arn:aws:iam::123456789012:root", "names a root"),
    ("arn:aws:iam::123456789012:role", "names nothing, not a role"),
    ("arn:aws:iam::123456789012:", "names nothing, not a role"),
    ("arn:aws:iam::123456789012:Role/app", "names a Role"),
    ("arn:aws:iam::123456789012:instance-profile/app", "names an instance-profile"),
    ("arn:aws:iam::123456789012:role/", "names the role ''"),
    ("arn:aws:iam::123456789012:role/team/", "names the role ''"),
    ("arn:aws:iam::123456789012:role/" + "n" * 65, "1 to 64"),
    ("arn:aws:iam::123456789012:role/a b", "names the role 'a b'"),
    ("arn:aws:iam::123456789012:role/app\n", "names the role"),
    ("arn:aws:iam::123456789012:role/äpp", "names the role"),
    ("arn:aws:iam::123456789012:role/app*", "names the role"),
    ("arn:aws:iam::123456789012:role/a:b", "names the role"),
    ("arn:aws:iam::123456789012:role/te am/app", "path"),
    ("arn:aws:iam::123456789012:role/té/app", "path"),
    ("arn:aws:iam::123456789012:role/" + "p" * 511 + "/app", "path"),
]


@pytest.mark.parametrize(("text", "said"), BAD_ROLES)
def test_bad_role(text: str, said: str) -> None:
    """What is not the ARN of a role is refused with a sentence that says which part is wrong."""
    with pytest.raises(InvalidValueError, match=r"\S") as caught:
        RoleArn.parse(text)

    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@given(st.text(max_size=80) | st.text(max_size=40).map(lambda t: f"arn:aws:iam::123456789012:role/{t}"))
def test_any_text(text: str) -> None:
    """Whatever is parsed is printed as it was; everything else is refused with our own error."""
    try:
        role = RoleArn.parse(text)
    except InvalidValueError:
        return
    assert str(role) == text


@pytest.mark.parametrize("partition", PARTITIONS)
def test_provider(partition: str) -> None:
    """A provider's ARN comes apart and back together; its issuer may have a path."""
    text = f"arn:{partition}:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"

    provider = ProviderArn.parse(text)

    assert provider.host_path == "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
    assert (provider.partition, provider.account_id) == (partition, ACCOUNT)
    assert str(provider) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "oidc.example.com",
        "https://oidc.example.com",
        "arn:aws:iam::123456789012:oidc-provider/",
        "arn:aws:iam::123456789012:oidc-provider",
        "arn:aws:iam::123456789012:saml-provider/x",
        "arn:aws:iam::12345:oidc-provider/x",
        "arn:aws:sts::123456789012:oidc-provider/x",
        "arn:aws:iam:us-east-1:123456789012:oidc-provider/x",
        "arn:google:iam::123456789012:oidc-provider/x",
    ],
)
def test_bad_provider(text: str) -> None:
    """What is not the ARN of an OIDC provider is refused."""
    with pytest.raises(InvalidValueError, match="is not the ARN of an OIDC provider"):
        ProviderArn.parse(text)


def test_account_id() -> None:
    """An account id has exactly 12 digits, leading zeros included; the field is named otherwise."""
    assert account_of("000000000001") == "000000000001"
    for text in ("", "1", "1234567890123", "12345678901x", "123456789012\n"):
        with pytest.raises(InvalidValueError, match=r"spec\.accountId: .* 12 digits"):
            account_of(text, field="spec.accountId")
