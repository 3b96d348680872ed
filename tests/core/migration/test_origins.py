"""Each tool that writes trust policies: its page has what it writes, and a binding takes that over unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.origins import ORIGINS, Origin
from support.pages import DOCS, blocks
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.evaluation.model import Caller, PrincipalKind, Request
from trustbind.evaluation.policy import evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.migration.adoption import takeover
from trustbind.migration.importing import Existing, import_trust
from trustbind.migration.service_accounts import ServiceAccounts
from trustbind.migration.trust_reader import read_role
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import WebIdentityKey
from trustbind.policy.plan import DEFAULT_LIMIT, Desired, ReplacedStatement, plan
from trustbind.policy.trust_document import TrustDocument

ISSUER = Issuer.parse("https://oidc.example.com")
ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/team-a/s3-reader")
each_origin = pytest.mark.parametrize("origin", ORIGINS.values(), ids=lambda origin: origin.name)


def _document(origin: Origin, name: str = "reader") -> TrustDocument:
    statements = origin.statements(ROLE.account_id, ISSUER.host_path, "team-a", name)
    return TrustDocument.parse(json.dumps({"Version": "2012-10-17", "Statement": statements}))


def _imported(origin: Origin) -> list[RoleBinding]:
    read = read_role(ROLE, _document(origin), ISSUER, audience=origin.audience)
    outcome = import_trust([read], ServiceAccounts({}, frozenset()), ISSUER, Existing())
    assert not outcome.lost
    return [RoleBinding.parse(manifest) for manifest in outcome.bindings]


def _allows(document: TrustDocument, name: str, audience: str) -> bool:
    claims = {
        ISSUER.subject_key: str(Subject("team-a", name)),
        ISSUER.audience_key: audience,
    }
    caller = Caller(PrincipalKind.FEDERATED, str(ISSUER.provider_for(ROLE)))
    request = Request(caller, "sts:AssumeRoleWithWebIdentity", {k: (v,) for k, v in claims.items()}, role=ROLE)
    return evaluate(document.to_json_object(), request).allowed


@each_origin
def test_its_page(origin: Origin) -> None:
    """The page of each origin shows what the tool writes, and nothing else."""
    page = DOCS / "migrate" / origin.page
    (export,) = [json.loads(block.text) for block in blocks(page) if block.file == "roles.json"]
    shown = [each["AssumeRolePolicyDocument"]["Statement"] for each in export["RoleDetailList"]]

    assert any(_document(origin, name).to_json_object()["Statement"] in shown for name in ("reader", "writer"))


@each_origin
def test_import(origin: Origin) -> None:
    """A role that a service account can use is bound to it, with the audience of the tool; another one is not."""
    made = [(b.role, b.service_account_names, b.audience) for b in _imported(origin)]

    assert made == ([(ROLE, ("reader",), origin.audience)] if origin.works else [])


@each_origin
def test_takeover(origin: Origin) -> None:
    """One write replaces what the tool wrote; every request is answered as before."""
    before = _document(origin)
    ref = BindingRef("team-a", "s3-reader")
    claims = (Claim(ref, WebIdentityKey(origin.audience), (Subject("team-a", "reader"),)),)
    found = takeover(ROLE, before, ISSUER, claims, lambda _issuer: {origin.audience})
    replaced = tuple(ReplacedStatement(r.index, r.after, r.bindings) for r in found.replacements)
    after = plan(before, Desired(ROLE, ISSUER, claims, replaced=replaced), DEFAULT_LIMIT).document

    assert {r.index for r in replaced} == set(range(len(before.statements))) - origin.stays
    assert all(r.after is None for r in replaced)
    assert [s for s in after.statements if not str(s.get("Sid", "")).startswith("Trustbind")] == [
        before.statements[index] for index in sorted(origin.stays)
    ]
    assert _allows(after, "reader", origin.audience)
    if origin.works:
        assert _allows(before, "reader", origin.audience)
    assert not _allows(after, "other", origin.audience)
    assert not _allows(before, "other", origin.audience)


def test_a_second_audience() -> None:
    """The statement of kOps is wider than a binding once the OIDC provider accepts another audience, so it stays."""
    before = _document(ORIGINS["kops"])
    claims = (
        Claim(BindingRef("team-a", "s3-reader"), WebIdentityKey("sts.amazonaws.com"), (Subject("team-a", "reader"),)),
    )

    found = takeover(ROLE, before, ISSUER, claims, lambda _issuer: {"amazonaws.com", "sts.amazonaws.com"})
    assert found.replacements == ()


def test_every_page_is_an_origin() -> None:
    """A page about a tool has its data; the page about clusters is none."""
    pages: set[Any] = {path.name for path in Path(DOCS / "migrate").glob("*.md")} - {"blue-green.md"}

    assert pages == {origin.page for origin in ORIGINS.values()}
