"""What holds for every import: nobody gains, and who loses is named.

Generated trust policies are read, imported, parsed by our own parsers, decided on and planned, as `preview trust` does.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.evaluation import Caller, Request, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.migration.findings import ImportReason
from trustbind.migration.importing import Existing, Import, import_trust
from trustbind.migration.service_accounts import ServiceAccounts
from trustbind.migration.trust_reader import read_role
from trustbind.policy.plan import plan
from trustbind.policy.trust_document import EMPTY, TrustDocument
from trustbind.reconcile.decision import decide, desired_of
from trustbind_cli.files.manifests import Objects
from trustbind_cli.files.snapshot import FileSnapshot

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/app")
PROVIDER = str(ISSUER.provider_for(ROLE))
ACTION = "sts:AssumeRoleWithWebIdentity"
SUBJECTS = [Subject(namespace, name) for namespace in ("a", "b") for name in ("x", "y")]
AUDIENCES = ["sts.amazonaws.com", "vault"]
ADDRESSES = ["203.0.113.7", "198.51.100.7"]

texts = st.sampled_from(
    [
        *map(str, SUBJECTS),
        "system:serviceaccount:a:*",
        "system:serviceaccount:*:x",
        "*",
        "system:serviceaccount:?:y",
        "me",
    ]
)
subject_block = st.lists(texts, min_size=1, max_size=3, unique=True)
audience_block = st.lists(st.sampled_from([*AUDIENCES, "v*"]), min_size=1, max_size=2, unique=True)
operators = st.sampled_from(
    [
        *["StringEquals", "StringLike"] * 6,
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "ForAnyValue:StringLike",
        "StringEqualsIfExists",
        "ArnLike",
    ]
)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    """Return the conditions of a statement."""
    result: dict[str, Any] = {}
    for key, block in ((ISSUER.subject_key, subject_block), (ISSUER.audience_key, audience_block)):
        for operator in draw(st.lists(operators, max_size=2, unique=True)):
            values = draw(block)
            result.setdefault(operator, {})[key] = values[0] if len(values) == 1 else values
    if draw(st.integers(0, 3)) == 0:
        result["IpAddress"] = {"aws:SourceIp": "203.0.113.0/24"}
    return result


@st.composite
def allows(draw: st.DrawFn) -> dict[str, Any]:
    """Return a statement of any kind that people write."""
    statement: dict[str, Any] = {
        "Effect": draw(st.sampled_from(["Allow"] * 8 + ["allow"])),
        "Principal": draw(
            st.sampled_from(
                [{"Federated": PROVIDER}] * 6
                + [
                    {"Federated": [PROVIDER, PROVIDER.replace("id/1", "id/2")], "AWS": "444455556666"},
                    {"Federated": PROVIDER.replace("444455556666", "111122223333")},
                    {"AWS": "*"},
                    "*",
                ]
            )
        ),
        "Action": draw(st.sampled_from([ACTION, [ACTION, "sts:TagSession"], "sts:*", "*", "sts:AssumeRole"])),
    }
    if condition := draw(conditions()):
        statement["Condition"] = condition
    return statement


@st.composite
def denies(draw: st.DrawFn) -> dict[str, Any]:
    """Return a Deny that the token decides."""
    condition = {"StringLike": {ISSUER.subject_key: draw(subject_block)}}
    return {"Effect": "Deny", "Principal": {"Federated": PROVIDER}, "Action": ACTION, "Condition": condition}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return a trust policy."""
    statements = draw(st.lists(allows(), min_size=1, max_size=3))
    if draw(st.integers(0, 4)) == 0:
        statements.append(draw(denies()))
    return {"Version": draw(st.sampled_from(["2012-10-17", "2008-10-17"])), "Statement": statements}


accounts_of = st.dictionaries(st.sampled_from(SUBJECTS), st.sampled_from(["", str(ROLE)]), max_size=4)


def imported(document: dict[str, Any], annotations: dict[Subject, str]) -> Import:
    """Return what becomes of one trust policy."""
    read = read_role(ROLE, TrustDocument.parse(json.dumps(document)), ISSUER)
    return import_trust([read], ServiceAccounts(annotations), ISSUER, Existing())


def planned(outcome: Import, current: TrustDocument) -> TrustDocument:
    """Return the trust policy that the objects lead to, once they were parsed; nothing may be refused."""
    objects = Objects(
        bindings=[RoleBinding.parse(manifest) for manifest in outcome.bindings],
        grants=[RoleGrant.parse(manifest) for manifest in outcome.grants],
        aws_accounts={a.account_id: a for a in map(AwsAccount.parse, outcome.accounts)},
    )
    snapshot = FileSnapshot.of(objects, ISSUER)
    decisions = decide(snapshot.role(ROLE, snapshot.opened()))
    assert [(d.stored.ref, d.message) for d in decisions if d.reason is not None] == []
    result = plan(current, desired_of(ROLE, ISSUER, decisions), 100_000)
    assert result.refusals == ()
    return result.document


def admitted(document: dict[str, Any]) -> set[tuple[Subject, str, str]]:
    """Return which service accounts the evaluator admits, with which audience and from which address."""
    return {
        (subject, audience, address)
        for subject, audience, address in product(SUBJECTS, AUDIENCES, ADDRESSES)
        if evaluate(
            document,
            Request(
                Caller.parse(PROVIDER),
                ACTION,
                {
                    ISSUER.subject_key: [str(subject)],
                    ISSUER.audience_key: [audience],
                    "aws:SourceIp": [address],
                },
            ),
        ).allowed
    }


@given(documents(), accounts_of)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nobody_gains_and_who_loses_is_named(document: dict[str, Any], annotations: dict[Subject, str]) -> None:
    """Our statements alone admit nobody but whom the old ones do, and whom they leave out a finding names."""
    outcome = imported(document, annotations)
    before = admitted(document)
    alone = admitted(planned(outcome, EMPTY).to_json_object())

    assert alone <= before
    excused: set[tuple[Subject, str, str]] = set()
    for finding in outcome.findings:
        if finding.statement is None or not (finding.reason.is_lost or finding.reason is ImportReason.NO_AUDIENCE):
            continue
        only = admitted({**document, "Statement": [document["Statement"][finding.statement.index]]})
        if finding.reason is ImportReason.NO_AUDIENCE:
            only = {each for each in only if each[1] != "sts.amazonaws.com"}
        excused |= only
    assert before - alone <= excused


@given(documents(), accounts_of)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_beside_the_old_statements(document: dict[str, Any], annotations: dict[Subject, str]) -> None:
    """Beside the old statements, which stay, ours change nobody's answer."""
    current = TrustDocument.parse(json.dumps(document))
    outcome = imported(document, annotations)

    after = planned(outcome, current).to_json_object()

    assert admitted(after) == admitted(document)


@given(documents(), accounts_of)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_second_import_makes_nothing(document: dict[str, Any], annotations: dict[Subject, str]) -> None:
    """What the first import made is not made again."""
    first = imported(document, annotations)
    bindings = [RoleBinding.parse(manifest) for manifest in first.bindings]
    after = planned(first, TrustDocument.parse(json.dumps(document)))

    second = import_trust(
        [read_role(ROLE, after, ISSUER)],
        ServiceAccounts(annotations),
        ISSUER,
        Existing(tuple((binding, binding.subjects({})) for binding in bindings)),
    )

    assert second.bindings == ()
