"""The OIDC provider of an account: what it lacks, and bringing that about."""

from __future__ import annotations

from typing import Any

import pytest

from trustbind.errors import NotFoundError
from trustbind.identity.arns import ProviderArn
from trustbind.identity.subjects import Issuer
from trustbind_aws.resources.oidc_provider import ProviderPlan, apply_provider, plan_provider

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
PROVIDER = ProviderArn("aws", "444455556666", ISSUER.host_path)


class Account:
    """Stands for an account's access, and notes what it is asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def create_provider(self, issuer: Issuer, audiences: frozenset[str]) -> None:
        """Note the call."""
        self.calls.append(("create", issuer, sorted(audiences)))

    def add_audience(self, provider: ProviderArn, audience: str) -> None:
        """Note the call."""
        self.calls.append(("add", provider, audience))


@pytest.mark.parametrize(
    ("present", "audiences", "create", "lacking"),
    [
        (None, ["a"], True, ("a",)),
        (None, ["b", "a", "b"], True, ("a", "b")),
        (None, [], True, ()),
        (frozenset[str](), ["a"], False, ("a",)),
        (frozenset({"a"}), ["a"], False, ()),
        (frozenset({"a", "z"}), ["b", "a"], False, ("b",)),
        (frozenset({"a"}), [], False, ()),
    ],
)
def test_planned(present: frozenset[str] | None, audiences: list[str], create: bool, lacking: tuple[str, ...]) -> None:
    """What is lacking is what bindings use and the provider does not have; nothing is ever taken away."""
    planned = plan_provider(PROVIDER, present, audiences)

    assert planned == ProviderPlan(PROVIDER, create, lacking)
    assert planned.is_empty is (not create and not lacking)
    assert bool(planned.lacking()) is not planned.is_empty


def test_created() -> None:
    """A provider that is not there is created with all audiences at once."""
    account = Account()

    apply_provider(account, ProviderPlan(PROVIDER, create=True, audiences=("a", "b")), ISSUER, manage=True)  # type: ignore[arg-type] # only two methods matter

    assert account.calls == [("create", ISSUER, ["a", "b"])]


def test_added() -> None:
    """Audiences that are lacking are added one by one."""
    account = Account()

    apply_provider(account, ProviderPlan(PROVIDER, create=False, audiences=("a", "b")), ISSUER, manage=True)  # type: ignore[arg-type] # only two methods matter

    assert account.calls == [("add", PROVIDER, "a"), ("add", PROVIDER, "b")]


@pytest.mark.parametrize("manage", [True, False])
def test_nothing_lacking(manage: bool) -> None:
    """With nothing lacking nothing is called, whoever manages the provider."""
    account = Account()

    apply_provider(account, ProviderPlan(PROVIDER, create=False, audiences=()), ISSUER, manage=manage)  # type: ignore[arg-type] # only two methods matter

    assert account.calls == []


@pytest.mark.parametrize(
    ("create", "said"),
    [
        (True, "has no OIDC provider for https://oidc.example.com/id/1; create it with the client id a, b"),
        (False, "lacks the client id a, b; add it"),
    ],
)
def test_not_ours_to_manage(create: bool, said: str) -> None:
    """A provider that is managed by hand is not touched; the error says what to do there."""
    account = Account()
    planned = ProviderPlan(PROVIDER, create, ("a", "b"))

    with pytest.raises(NotFoundError, match=said):
        apply_provider(account, planned, ISSUER, manage=False)  # type: ignore[arg-type] # only two methods matter

    assert account.calls == []
