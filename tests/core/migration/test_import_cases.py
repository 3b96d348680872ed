"""Trust policies to bindings: a file of tests/data/import for each case; its README says what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant, authorize
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.migration.findings import ImportReason
from trustbind.migration.importing import Existing, Import, import_trust
from trustbind.migration.service_accounts import ServiceAccounts
from trustbind.migration.trust_reader import read_role
from trustbind.policy.trust_document import TrustDocument

DATA = Path(__file__).parents[2] / "data" / "import"
CASES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.yaml"))}
ISSUER = Issuer.parse("https://oidc.example.com/id/1")


def _outcome(case: dict[str, Any]) -> Import:
    documents = {
        RoleArn.parse(arn): {
            "Version": case.get("version", "2012-10-17"),
            "Statement": statements,
            **case.get("extra", {}),
        }
        for arn, statements in case["roles"].items()
    }
    accounts = {Subject(*name.split("/")): text for name, text in case.get("serviceAccounts", {}).items()}
    existing = [RoleBinding.parse(manifest) for manifest in case.get("existing", ())]
    return import_trust(
        [read_role(role, TrustDocument.parse(json.dumps(body)), ISSUER) for role, body in documents.items()],
        ServiceAccounts(accounts, frozenset(Subject(*name.split("/")) for name in case.get("used", ()))),
        ISSUER,
        Existing(tuple((binding, binding.subjects({})) for binding in existing)),
        chains=case.get("chains", False),
    )


@pytest.mark.parametrize("name", CASES)
def test_bindings(name: str) -> None:
    """Exactly these bindings are made."""
    outcome = _outcome(CASES[name])

    made = {f"{b['metadata']['namespace']}/{b['metadata']['name']}": b["spec"] for b in outcome.bindings}
    wanted = CASES[name]["bindings"]
    # Every binding takes over the statements that it is made of; over a source role, nothing is taken over.
    assert made == {key: spec if "source" in spec else {**spec, "adopt": "Equivalent"} for key, spec in wanted.items()}


@pytest.mark.parametrize("name", CASES)
def test_findings(name: str) -> None:
    """Exactly these findings are there, each with its statement and its words."""
    found = sorted(
        (f.reason.value, f.statement.index + 1 if f.statement else 0, str(f)) for f in _outcome(CASES[name]).findings
    )
    wanted = sorted((reason, number or 0, text) for reason, number, text in CASES[name]["findings"])

    assert [each[:2] for each in found] == [each[:2] for each in wanted], found
    for reason, number, text in wanted:
        assert any(each[:2] == (reason, number) and text in each[2] for each in found), (text, found)


@pytest.mark.parametrize("name", CASES)
def test_statements_of_others(name: str) -> None:
    """Statements that are not about this cluster are counted."""
    assert _outcome(CASES[name]).others == CASES[name].get("others", {})


@pytest.mark.parametrize("name", CASES)
def test_objects_fit_together(name: str) -> None:
    """Our parsers accept every object, a grant covers every binding, and each AWS account is described once."""
    outcome = _outcome(CASES[name])
    bindings = [RoleBinding.parse(manifest) for manifest in outcome.bindings]
    grants = [RoleGrant.parse(manifest) for manifest in outcome.grants]
    accounts = [AwsAccount.parse(manifest) for manifest in outcome.accounts]

    for binding in bindings:
        assert authorize(binding, binding.service_account_names, {}, grants).is_granted
    roles = {role for b in bindings for role in (b.role, b.source.role if b.source else b.role)}
    assert sorted(a.account_id for a in accounts) == sorted({role.account_id for role in roles})
    assert {a.drift_policy for a in accounts} <= {DriftPolicy.OBSERVE}


@pytest.mark.parametrize("name", CASES)
def test_grants_are_narrow(name: str) -> None:
    """Grants name the roles, service accounts and methods of the bindings of one namespace, and nothing else."""
    outcome = _outcome(CASES[name])
    bindings = [RoleBinding.parse(manifest) for manifest in outcome.bindings]

    for grant in (RoleGrant.parse(manifest) for manifest in outcome.grants):
        (namespace,) = grant.namespaces
        own = [b for b in bindings if b.ref.namespace == namespace]
        assert set(grant.role_arns) <= {str(r) for b in own for r in (b.role, b.source.role if b.source else b.role)}
        assert set(grant.service_account_names) <= {name for b in own for name in b.service_account_names}
        assert set(grant.methods) <= {b.method for b in own}
        assert set(grant.audiences) <= {b.audience for b in own}


@pytest.mark.parametrize("reason", ImportReason)
def test_every_reason_has_a_case(reason: ImportReason) -> None:
    """No reason is without a case."""
    assert any(finding[0] == reason for case in CASES.values() for finding in case["findings"])


@pytest.mark.parametrize("reason", ImportReason)
def test_every_reason_is_in_the_docs(reason: ImportReason) -> None:
    """The guide says what each reason means."""
    page = Path(__file__).parents[3] / "docs" / "migrate.md"

    assert f"`{reason}`" in page.read_text(encoding="utf-8")
