"""Where conditions on issuers' keys belong: no statement demands a claim that its issuer's tokens lack.

The cases are in tests/data/conditions, one a file, with where each comes from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import binding_body
from trustbind.api.condition_places import check_own_keys
from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import claims_on
from trustbind.policy.condition_keys import bare_key, is_key_of, issuer_prefix
from trustbind.policy.owned_statement import FederatedKey, build, check_condition_issuers

DATA: Final = Path(__file__).parents[2] / "data" / "conditions"
CASES: Final = sorted(DATA.glob("*.yaml"))
OWN: Final = Issuer.parse("https://oidc.example.com/id/1")
GITHUB: Final = Issuer.parse("https://token.actions.githubusercontent.com")
GITLAB: Final = Issuer.parse("https://gitlab.example.com/")
STATED: Final = ("aud", "sub")


def statements(binding: RoleBinding) -> dict[Issuer, dict[str, Any]]:
    """Return the statement of each issuer."""
    claims = claims_on(binding.role, binding, [Subject("team-a", "deployer")])
    return {
        claim.key.issuer if isinstance(claim.key, FederatedKey) else OWN: build(
            OWN, binding.role, claim.key, claim.subjects
        )
        for claim in claims
    }


def demands(issuer: Issuer, statement: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the conditions of an issuer's statement without those that it always has."""
    base = {issuer.audience_key, issuer.subject_key}
    found = {o: {k: v for k, v in block.items() if k not in base} for o, block in statement["Condition"].items()}
    return {operator: block for operator, block in found.items() if block}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_case(case: Path) -> None:
    """Each key is in its own issuer's statement alone, or is refused with the place to write it."""
    content = yaml.safe_load(case.read_text(encoding="utf-8"))
    assert content.keys() - {"refused", "conditions"} == {"source", "spec"}
    body = binding_body(**content["spec"])
    body["spec"] = {name: value for name, value in body["spec"].items() if value is not None}
    if "refused" in content:
        with pytest.raises(InvalidValueError) as caught:
            check_own_keys(RoleBinding.parse(body).conditions, OWN)
        assert str(caught.value) == content["refused"]
        return
    binding = RoleBinding.parse(body)
    check_own_keys(binding.conditions, OWN)
    found = {issuer.url: demands(issuer, statement) for issuer, statement in statements(binding).items()}
    assert found == content["conditions"]


def _conditions(*keys: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(
        st.fixed_dictionaries(
            {
                "operator": st.sampled_from(["StringEquals", "StringLike", "StringNotEquals", "Null"]),
                "key": st.sampled_from(keys).flatmap(lambda key: st.sampled_from([key, key.upper(), key.lower()])),
                "values": st.just(["true"]),
            }
        ),
        max_size=3,
    )


KEYS: Final = tuple(
    f"{prefix}{issuer.host_path}:{claim}"
    for prefix in ("", "https://", "arn:aws:iam::111122223333:oidc-provider/")
    for issuer in (OWN, GITHUB, GITLAB)
    for claim in (*STATED, "environment")
)


@given(
    conditions=_conditions(*KEYS, "aws:SourceIp", "sts:RoleSessionName"),
    of_entry=_conditions(*KEYS, "aws:SourceIp"),
    for_cluster=st.booleans(),
)
def test_no_statement_demands_another_issuers_claim(
    conditions: list[dict[str, Any]], of_entry: list[dict[str, Any]], for_cluster: bool
) -> None:
    """Whatever a spec says: it is refused, or every statement has its base unchanged and no key of another issuer."""
    entries = [
        {"issuer": GITHUB.url, "subjects": ["repo:o/a"], "conditions": of_entry},
        {"issuer": GITLAB.url, "subjects": ["x"]},
    ]
    body = binding_body(conditions=conditions, federatedSubjects=entries)
    if not for_cluster:
        del body["spec"]["serviceAccountNames"]
    try:
        binding = RoleBinding.parse(body)
        check_own_keys(binding.conditions, OWN)
        found = statements(binding)
    except InvalidValueError:
        return
    for issuer, statement in found.items():
        keys = [key for block in statement["Condition"].values() for key in block]
        for claim in STATED:
            assert [key for key in keys if key.lower() == f"{issuer.host_path}:{claim}".lower()] == [
                f"{issuer.host_path}:{claim}"
            ]
        assert all(is_key_of(key, issuer) for key in keys if issuer_prefix(key))
    said = {key for statement in found.values() for block in statement["Condition"].values() for key in block}
    assert {c["key"] for c in (*conditions, *of_entry)} <= said


@pytest.mark.parametrize(
    ("key", "prefix", "bare"),
    [
        ("aws:SourceIp", "", "aws:SourceIp"),
        ("aws:RequestTag/a.b", "", "aws:RequestTag/a.b"),
        ("sts:ExternalId", "", "sts:ExternalId"),
        ("oidc.example.com/id/1:sub", "oidc.example.com/id/1", "oidc.example.com/id/1:sub"),
        ("accounts.google.com:oaud", "accounts.google.com", "accounts.google.com:oaud"),
        ("https://a.b/c:sub", "https://a.b/c", "a.b/c:sub"),
        ("ARN:aws:iam::1:oidc-provider/a.b/c:sub", "ARN:aws:iam::1:oidc-provider/a.b/c", "a.b/c:sub"),
        ("httpd.example.com:sub", "httpd.example.com", "httpd.example.com:sub"),
    ],
)
def test_prefix(key: str, prefix: str, bare: str) -> None:
    """What is in front of an issuer's claim, and how the key is spelled."""
    assert (issuer_prefix(key), bare_key(key)) == (prefix, bare)


@pytest.mark.parametrize(
    ("key", "is_of"),
    [
        ("gitlab.example.com/:x", True),
        ("gitlab.example.com:x", True),
        ("GITLAB.example.com/:X", True),
        ("gitlab.example.com/a:x", False),
        ("gitlab.example.com.evil:x", False),
        ("gitlab.example.com", False),
    ],
)
def test_key_of_an_issuer(key: str, is_of: bool) -> None:
    """Letter case and a slash at the end make no difference."""
    assert is_key_of(key, GITLAB) is is_of


def test_statement_keys_are_checked_once_more() -> None:
    """A claim that was not made from a parsed binding is refused, too."""
    bad = ExtraCondition("StringEquals", OWN.host_path + ":amr", ("x",))

    with pytest.raises(InvalidValueError, match="a key of another issuer"):
        check_condition_issuers(OWN, FederatedKey(GITHUB, "x", (bad,)))
