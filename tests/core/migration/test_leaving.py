"""Trust policies without trustbind's statements: other names, the same answers."""

from __future__ import annotations

import json

from support.trust import FOREIGN, ISSUER, OTHER, ROLE, SOURCE, WEB, document, statement
from trustbind.identity.subjects import Subject
from trustbind.migration.leaving import without_owner
from trustbind.policy.owned_statement import ChainKey, WebIdentityKey, build, is_owned, placeholder, retained
from trustbind.policy.trust_document import TrustDocument

CHAIN = build(ISSUER, ROLE, ChainKey(SOURCE, "id"))
VAULT = build(ISSUER, ROLE, WebIdentityKey("vault"), [Subject("team-a", "app")])
LEFT = retained(ISSUER, ROLE, WEB, [Subject("team-a", "left")])
ELSEWHERE = build(OTHER, ROLE, WEB, [Subject("team-a", "app")])


def test_only_the_names_change() -> None:
    """Each statement of ours has another Sid, and all else stays, in its order."""
    named = FOREIGN | {"Sid": "ServiceAccounts"}
    before = document(named, statement("app"), CHAIN, ELSEWHERE, VAULT, LEFT)

    after = without_owner(before, ISSUER)

    assert after is not None
    assert [s.get("Sid") for s in after.statements] == [
        "ServiceAccounts",
        "ServiceAccounts2",
        "SourceRole",
        ELSEWHERE["Sid"],
        "ServiceAccounts3",
        "ServiceAccounts4",
    ]
    assert [{**s, "Sid": ""} for s in after.statements] == [{**s, "Sid": ""} for s in before.statements]
    assert not any(is_owned(s, ISSUER) for s in after.statements)
    assert without_owner(after, ISSUER) is None


def test_what_is_foreign_stays_as_it_is_written() -> None:
    """Also a text that a decoder would change."""
    text = (
        '{"Sid":"Odd","Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole",'
        '"Condition":{"NumericEquals":{"a:b":1.0e2}}}'
    )
    both = TrustDocument.parse(
        '{"Version":"2012-10-17","Statement":[' + text + "," + json.dumps(statement("app")) + "]}", stored=True
    )

    after = without_owner(both, ISSUER)

    assert after is not None
    assert text in after.to_json()


def test_a_policy_without_any_trust() -> None:
    """The placeholder stays under another name; a policy without ours is not among the exported."""
    after = without_owner(document(placeholder(ISSUER, ROLE)), ISSUER)

    assert after is not None
    assert [s["Sid"] for s in after.statements] == ["Nobody"]
    assert without_owner(document(FOREIGN), ISSUER) is None
