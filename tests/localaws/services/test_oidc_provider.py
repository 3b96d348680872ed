"""OIDC providers: limits, duplicates, client ids, thumbprints, tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]
URL = "https://issuer.example/cluster"
ARN = f"arn:aws:iam::{A}:oidc-provider/issuer.example/cluster"


@pytest.fixture
def iam(client: Client) -> Any:
    """Return IAM of one account."""
    return client("iam", A)


def test_create_get_list_delete(iam: Any, client: Client, refused: Any) -> None:
    """A provider can be made, read, listed and deleted; it is its account's alone."""
    created = iam.create_open_id_connect_provider(Url=URL, ClientIDList=["sts.amazonaws.com"])
    assert created["OpenIDConnectProviderArn"] == ARN
    provider = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=ARN)
    assert (provider["Url"], provider["ClientIDList"]) == ("issuer.example/cluster", ["sts.amazonaws.com"])
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == [{"Arn": ARN}]
    assert client("iam", B).list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=ARN)
    with refused("NoSuchEntity", status=404):
        iam.get_open_id_connect_provider(OpenIDConnectProviderArn=ARN)


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example",
        "issuer.example",
        "https://issuer.example:8443/x",
        "https://issuer.example/x?y=z",
        "https://" + "a" * 250 + ".example",
        "https:///x",
    ],
)
def test_unfit_url_is_refused(iam: Any, refused: Any, url: str) -> None:
    """Only https, no port, no query, at most 255 characters: ValidationError."""
    with refused("ValidationError", status=400):
        iam.create_open_id_connect_provider(Url=url)


def test_url_is_taken_once(iam: Any, refused: Any) -> None:
    """EntityAlreadyExists for a second provider of that URL."""
    iam.create_open_id_connect_provider(Url=URL)
    with refused("EntityAlreadyExists", f"Provider with url {URL} already exists.", 409):
        iam.create_open_id_connect_provider(Url=URL)


def test_providers_per_account_are_limited(iam: Any, client: Client, refused: Any) -> None:
    """The hundred-and-first is LimitExceeded; another account has its own hundred."""
    for number in range(100):
        iam.create_open_id_connect_provider(Url=f"https://issuer.example/{number}")
    with refused("LimitExceeded", "OpenIdConnectProvidersPerAccount: 100", 409):
        iam.create_open_id_connect_provider(Url=URL)
    client("iam", B).create_open_id_connect_provider(Url=URL)


def test_client_ids_are_added_and_removed(iam: Any) -> None:
    """Adding and removing are idempotent, and keep the others."""
    iam.create_open_id_connect_provider(Url=URL, ClientIDList=["a"])
    for client_id in ("b", "b", "c"):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID=client_id)
    for _ in range(2):
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID="a")
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=ARN)["ClientIDList"] == ["b", "c"]


def test_client_ids_are_limited(iam: Any, refused: Any) -> None:
    """100 client ids of at most 255 characters."""
    iam.create_open_id_connect_provider(Url=URL, ClientIDList=[f"id{n}" for n in range(100)])
    with refused("LimitExceeded", "ClientIdsPerOpenIdConnectProvider: 100"):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID="more")
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID="id7")
    with refused("LimitExceeded"):
        iam.create_open_id_connect_provider(Url=URL + "2", ClientIDList=[f"id{n}" for n in range(101)])
    with refused("ValidationError"):
        iam.create_open_id_connect_provider(Url=URL + "3", ClientIDList=["x" * 256])


def test_missing_provider(iam: Any, refused: Any) -> None:
    """NoSuchEntity for changes of a provider that is not there; deleting it again is no error."""
    with refused("NoSuchEntity", f"OpenIDConnect Provider not found for arn {ARN}", 404):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=ARN, ClientID="a")
    with refused("NoSuchEntity"):
        iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=ARN, ThumbprintList=["a" * 40])
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=ARN)


def test_thumbprints(iam: Any, refused: Any) -> None:
    """Thumbprints are optional, at most five, of 40 hexadecimal digits, and replaced as a whole."""
    iam.create_open_id_connect_provider(Url=URL)
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=ARN, ThumbprintList=["a" * 40])
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=ARN, ThumbprintList=["b" * 40])
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=ARN)["ThumbprintList"] == ["b" * 40]
    with refused("InvalidInput"):
        iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=ARN, ThumbprintList=["a" * 40] * 6)
    with refused("ValidationError"):
        iam.create_open_id_connect_provider(Url=URL + "2", ThumbprintList=["short"])


def test_tags(iam: Any) -> None:
    """Tags are stored with a provider, and removed."""
    iam.create_open_id_connect_provider(Url=URL, Tags=[{"Key": "owner", "Value": "trustbind"}])
    iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=ARN, Tags=[{"Key": "team", "Value": "a"}])
    iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=ARN, TagKeys=["owner"])
    tags = iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=ARN)["Tags"]
    assert tags == [{"Key": "team", "Value": "a"}]


def test_context_provider(client: Client, refused: Any) -> None:
    """It is kept, replaced and removed; IAM's rules about it hold."""
    iam = client("iam", A)
    context = {
        "SubjectSourceKey": "sub",
        "SubjectTypeValue": "workload",
        "KeyDefinitionList": [{"SourceKey": "aud", "TargetKey": "audience"}, {"SourceKey": "iss"}],
    }
    made = iam.create_open_id_connect_provider(Url="https://issuer.example", ContextProvider=context)
    arn = made["OpenIDConnectProviderArn"]
    found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (found["Url"], found["ClientIDList"], found["ContextProvider"]) == ("issuer.example", [], context)
    iam.update_open_id_connect_provider(OpenIDConnectProviderArn=arn, ContextProvider={"SubjectSourceKey": "jti"})
    found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert found["ContextProvider"] == {"SubjectSourceKey": "jti", "KeyDefinitionList": []}
    for wrong in (
        {"SubjectSourceKey": " sub"},
        {"SubjectTypeValue": "workload"},
        {"SubjectSourceKey": "sub", "SubjectTypeValue": "workload", "SubjectTypeSourceKey": "typ"},
        {"SubjectSourceKey": "sub", "KeyDefinitionList": [{"SourceKey": f"k{n}"} for n in range(11)]},
    ):
        with refused("InvalidInput" if "SubjectSourceKey" in wrong and len(wrong) > 1 else "ValidationError"):
            iam.update_open_id_connect_provider(OpenIDConnectProviderArn=arn, ContextProvider=wrong)
    with refused("InvalidInput"):
        iam.update_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    iam.update_open_id_connect_provider(OpenIDConnectProviderArn=arn, RemoveContextProvider=True)
    assert "ContextProvider" not in iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
