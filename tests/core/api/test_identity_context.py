"""What an OIDC provider makes of claims: read from an AWSAccount, and compared with what a provider has."""

from __future__ import annotations

from typing import Any

import pytest

from support.bodies import account_body
from trustbind.api.aws_account import AwsAccount
from trustbind.api.identity_context import ContextKey, IdentityContext
from trustbind.errors import InvalidValueError

WHOLE: dict[str, Any] = {
    "subjectSourceKey": "sub",
    "subjectTypeValue": "workload",
    "keyDefinitions": [{"sourceKey": "z", "targetKey": "zone"}, {"sourceKey": "aud"}],
}
CONTEXT = IdentityContext("sub", "workload", "", (ContextKey("aud"), ContextKey("z", "zone")))


def parsed(context: dict[str, Any] | None, **provider: Any) -> IdentityContext | None:
    """Return what an AWSAccount says."""
    more = {} if context is None else {"identityContext": context}
    return AwsAccount.parse(account_body(oidcProvider={**provider, **more})).identity_context


def test_read_from_an_account() -> None:
    """Whole, with the claim that is the subject alone, or not at all."""
    assert parsed(WHOLE) == CONTEXT
    assert parsed({"subjectSourceKey": "sub", "subjectTypeSourceKey": "typ"}) == IdentityContext("sub", "", "typ")
    assert parsed(None) is None
    assert AwsAccount.parse(account_body()).identity_context is None


@pytest.mark.parametrize("key", ["", " a", "a ", "a  b", "a,b", "ä", "x" * 129])
def test_key_that_iam_does_not_take(key: str) -> None:
    """Wherever it stands, the field is named."""
    for field, context in (
        ("subjectSourceKey", {"subjectSourceKey": key}),
        ("subjectTypeSourceKey", {"subjectSourceKey": "sub", "subjectTypeSourceKey": key}),
        ("keyDefinitions[0].sourceKey", {"subjectSourceKey": "sub", "keyDefinitions": [{"sourceKey": key}]}),
        (
            "keyDefinitions[0].targetKey",
            {"subjectSourceKey": "sub", "keyDefinitions": [{"sourceKey": "a", "targetKey": key}]},
        ),
    ):
        with pytest.raises(InvalidValueError, match="is not a key") as caught:
            parsed(context)
        assert caught.value.field == f"spec.oidcProvider.identityContext.{field}"


@pytest.mark.parametrize(
    ("present", "is_met"),
    [
        (CONTEXT, True),
        (IdentityContext("sub", "workload", "", (ContextKey("aud", "named-by-aws"), ContextKey("z", "zone"))), True),
        (IdentityContext("sub", "workload", "", (ContextKey("aud"), ContextKey("z", "another"))), False),
        (IdentityContext("sub", "workload", "", (ContextKey("aud"),)), False),
        (IdentityContext("sub", "workload", "", (*CONTEXT.keys, ContextKey("more"))), False),
        (IdentityContext("sub", "user", "", CONTEXT.keys), False),
        (IdentityContext("aud", "workload", "", CONTEXT.keys), False),
        (IdentityContext("sub", "workload", "typ", CONTEXT.keys), False),
        (None, False),
    ],
)
def test_compared_with_a_provider(present: IdentityContext | None, is_met: bool) -> None:
    """All of it counts but a name that was left to AWS."""
    assert CONTEXT.is_met_by(present) is is_met
