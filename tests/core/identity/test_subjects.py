"""Subjects, issuers and audiences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject, audience_of

GOOD_ISSUERS = [
    "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
    "https://oidc.eks.cn-north-1.amazonaws.com.cn/id/0123456789ABCDEF0123456789ABCDEF",
    "https://oidc.eks.us-gov-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
    "https://s3.eu-central-1.amazonaws.com/my-cluster-oidc",
    "https://oidc.example.com",
    "https://oidc.example.com/",
    "https://oidc.example.com/a/b/c",
    "https://OIDC.example.com/Mixed",
    "https://10.0.0.1/x",
    "https://kubernetes.default.svc.cluster.local",
    "https://h" + "/p" * 123,
]

BAD_ISSUERS = [
    ("", "https://"),
    ("oidc.example.com", "https://"),
    ("http://oidc.example.com", "https://"),
    ("HTTPS://oidc.example.com", "https://"),
    ("https://", "host name"),
    ("https:///path", "host name"),
    ("https://oidc.example.com:443", "port"),
    ("https://oidc.example.com:6443/x", "port"),
    ("https://[::1]/x", "port"),
    ("https://oidc.example.com/x?y=1", "query"),
    ("https://oidc.example.com?x", "query"),
    ("https://oidc.example.com/#x", "fragment"),
    ("https://user@oidc.example.com", "host name"),
    ("https://.example.com", "host name"),
    ("https://example..com", "host name"),
    ("https://example.com.", "host name"),
    ("https://-example.com", "host name"),
    ("https://exa mple.com", "white space"),
    ("https://example.com/a b", "white space"),
    ("https://example.com/\n", "white space"),
    ("https://exämple.com", "ASCII"),
    ("https://h/" + "p" * 250, "at most 255"),
    ("https://oidc-eks.eu-central-1.api.aws/id/0123456789ABCDEF0123456789ABCDEF", "oidc.eks.eu-central-1.amazonaws"),
]


@pytest.mark.parametrize("text", GOOD_ISSUERS)
def test_issuer(text: str) -> None:
    """An issuer is kept letter for letter, and prefixes IAM's condition keys without its scheme."""
    issuer = Issuer.parse(text)

    assert str(issuer) == text
    assert issuer.audience_key == text.removeprefix("https://") + ":aud"
    assert issuer.subject_key == text.removeprefix("https://") + ":sub"


@pytest.mark.parametrize(("text", "said"), BAD_ISSUERS)
def test_bad_issuer(text: str, said: str) -> None:
    """What IAM would not take as a provider's URL is refused, and the sentence says why."""
    with pytest.raises(InvalidValueError, match=r"\S") as caught:
        Issuer.parse(text)

    assert said in str(caught.value)


def test_dual_stack_issuer_names_the_right_one() -> None:
    """EKS's dual-stack address never stands in a token; the message says what to write instead."""
    with pytest.raises(InvalidValueError, match=r"use https://oidc\.eks\.eu-west-1\.amazonaws\.com/id/<id>"):
        Issuer.parse("https://oidc-eks.eu-west-1.api.aws/id/0123456789ABCDEF0123456789ABCDEF")


def test_provider_is_in_the_roles_account_and_partition() -> None:
    """The provider that lets a token in stands in the role's account and partition."""
    role = RoleArn.parse("arn:aws-cn:iam::444455556666:role/x")

    provider = Issuer.parse("https://oidc.eks.cn-north-1.amazonaws.com.cn/id/0A").provider_for(role)

    assert provider == ProviderArn("aws-cn", "444455556666", "oidc.eks.cn-north-1.amazonaws.com.cn/id/0A")


@pytest.mark.parametrize(
    ("namespace", "name"), [("team-a", "reader"), ("a", "b"), ("0", "a.b.c-d"), ("n" * 63, "x" * 253)]
)
def test_subject(namespace: str, name: str) -> None:
    """A subject is printed as a token has it, and read back."""
    subject = Subject.of(namespace, name)

    assert str(subject) == f"system:serviceaccount:{namespace}:{name}"
    assert Subject.parse(str(subject)) == subject


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("", "x"), ("A", "x"), ("a.b", "x"), ("-a", "x"), ("a-", "x"), ("n" * 64, "x"), ("a:b", "x"), ("a\n", "x"),
        ("a", ""), ("a", "X"), ("a", "-x"), ("a", "x."), ("a", "x..y"), ("a", "x_y"), ("a", "x" * 254), ("a", "x:y"),
        ("a", "*"), ("a", "x\n"),
    ],
)  # fmt: skip
def test_bad_subject(namespace: str, name: str) -> None:
    """Names that Kubernetes would not allow never get into a subject, least of all a wildcard."""
    with pytest.raises(InvalidValueError, match=r"is not a (namespace|service account) name"):
        Subject.of(namespace, name)


@pytest.mark.parametrize(
    "text",
    ["", "x", "system:serviceaccount:a", "system:serviceaccount:a:b:c", "system:node:a:b", "serviceaccount:a:b:c"],
)
def test_not_a_subject(text: str) -> None:
    """Other users' names are no subjects."""
    with pytest.raises(InvalidValueError, match="not the subject of a service account"):
        Subject.parse(text)


@pytest.mark.parametrize("text", [DEFAULT_AUDIENCE, "x", "https://a.example/b?c=d", "a" * 255])
def test_audience(text: str) -> None:
    """An audience is kept as it is."""
    assert audience_of(text) == text


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "a\t", "a\u00a0b", "a\x00", "a" * 256])
def test_bad_audience(text: str) -> None:
    """An audience that no provider can have is refused, with the field."""
    with pytest.raises(InvalidValueError, match=r"spec\.audience: .* is not an audience"):
        audience_of(text, field="spec.audience")


@given(st.text(max_size=60).map(lambda t: f"https://{t}"))
def test_any_issuer(text: str) -> None:
    """Whatever is accepted as an issuer has no port, query, fragment or white space."""
    try:
        issuer = Issuer.parse(text)
    except InvalidValueError:
        return
    assert not set(issuer.host_path) & set("?# \t\n")
    assert ":" not in issuer.host_path.partition("/")[0]
