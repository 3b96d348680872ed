"""One decision: the same from files as from objects of the API server."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import binding
from trustbind.api.aws_account import AwsAccount
from trustbind.api.manifests import Manifest
from trustbind.api.profile_index import ProfileIndex
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision, decide
from trustbind.reconcile.snapshot import BindingSnapshot, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_cli.files.manifests import sort_out
from trustbind_cli.files.snapshot import FileSnapshot

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
ROLE = "arn:aws:iam::444455556666:role/shop/checkout"
BASE = "arn:aws:iam::111122223333:role/base"
LABELS = {"team": "shop"}

Body = dict[str, Any]


def dated(day: int, name: str = "b", **spec: Any) -> Body:
    """Return a RoleBinding of namespace ``shop`` that was created on a day."""
    body = binding(name, "shop", **spec)
    body["metadata"]["creationTimestamp"] = f"2026-01-{day:02}T00:00:00Z"
    return body


def selecting(day: int) -> Body:
    """Return a binding that selects service accounts by a label."""
    body = dated(day, "selecting", serviceAccountSelector={"matchLabels": {"aws": "yes"}})
    del body["spec"]["serviceAccountNames"]
    return body


def grant(*role_arns: str, **namespaces: Any) -> Body:
    """Return a RoleGrant."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleGrant",
        "metadata": {"name": "g"},
        "spec": {"namespaces": namespaces or {"names": ["shop"]}, "roleArns": list(role_arns)},
    }


def service_account(name: str, **labels: str) -> Body:
    """Return a ServiceAccount of namespace ``shop``."""
    metadata = {"name": name, "namespace": "shop", "labels": labels}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def aws_account(account_id: str) -> Body:
    """Return an AWSAccount."""
    metadata = {"name": f"account-{account_id}"}
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "AWSAccount",
        "metadata": metadata,
        "spec": {"accountId": account_id},
    }


CHAIN: Body = {"method": "AssumeRole", "source": {"roleArn": BASE}}
GITHUB = {"issuer": "https://token.actions.githubusercontent.com", "subjects": ["repo:acme/shop:*"]}

CASES: dict[str, tuple[list[Body], list[TrustReason | None]]] = {
    "granted": ([dated(1), grant(ROLE)], [None]),
    "granted by label": ([dated(1), grant(ROLE, selector={"matchLabels": LABELS})], [None]),
    "not granted": ([dated(1), grant(BASE)], [TrustReason.NOT_GRANTED]),
    "one of two": ([dated(2, "b"), dated(1, "a", profile="x"), grant(ROLE)], [None, None]),
    "the older has the profile": (
        [dated(1, "old"), dated(2, "new", audience="x"), grant(ROLE)],
        [None, TrustReason.PROFILE_CONFLICT],
    ),
    "selected": ([selecting(1), service_account("one", aws="yes"), service_account("two"), grant(ROLE)], [None]),
    "chain": ([dated(1, **CHAIN), grant(ROLE, BASE)], [None]),
    "chain without its source": ([dated(1, **CHAIN), grant(ROLE)], [TrustReason.NOT_GRANTED]),
    "other issuers": ([dated(1, federatedSubjects=[GITHUB]), grant(ROLE)], [TrustReason.NOT_GRANTED]),
    "conditions": (
        [
            dated(1, conditions=[{"operator": "StringEquals", "key": "aws:SourceIp", "values": ["1.2.3.4"]}]),
            grant(ROLE),
        ],
        [None],
    ),
}


@pytest.mark.parametrize("role_arn", [ROLE, BASE])
@pytest.mark.parametrize("case", CASES)
def test_one_decision(case: str, role_arn: str) -> None:
    """A binding is decided alike from a file and from the object that the API server stores."""
    bodies, reasons = CASES[case]
    role = RoleArn.parse(role_arn)
    bodies = [*bodies, *map(aws_account, ("444455556666", "111122223333"))]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": LABELS}}

    from_files = decide(of_files([*bodies, namespace], role))
    from_cluster = decide(of_cluster(bodies, role))

    assert [asked(d) for d in from_files] == [asked(d) for d in from_cluster]
    if role_arn == ROLE:
        assert [d.reason for d in from_files] == reasons


def asked(decision: BindingDecision) -> tuple[object, ...]:
    """Return what a decision says of its binding."""
    return (decision.stored.ref, decision.reason, decision.message, decision.subjects, decision.claims)


def of_files(bodies: list[Body], role: RoleArn) -> RoleSnapshot:
    """Return the snapshot of files with these objects."""
    manifests = [Manifest("f.yaml", number, body) for number, body in enumerate(bodies, 1)]
    snapshot = FileSnapshot.of(sort_out(manifests), ISSUER)
    return snapshot.role(role, {})


def of_cluster(bodies: list[Body], role: RoleArn) -> RoleSnapshot:
    """Return the snapshot of a cluster that stores these objects."""
    kinds: dict[str, list[Body]] = {}
    for body in bodies:
        kinds.setdefault(body["kind"], []).append(body)
    labels = {body["metadata"]["name"]: body["metadata"]["labels"] for body in kinds.get("ServiceAccount", [])}
    stored = sorted(map(StoredBinding.of, kinds["RoleBinding"]), key=lambda s: s.age_key)
    index = ProfileIndex("shop")
    for name, each_labels in labels.items():
        index.put_service_account(name, each_labels)
    for each in stored:
        index.put(parsed(each))
    around = Surroundings(
        ISSUER,
        tuple(map(RoleGrant.parse, kinds["RoleGrant"])),
        {body["spec"]["accountId"]: AwsAccount.parse(body) for body in kinds["AWSAccount"]},
    )
    return RoleSnapshot(
        role,
        around,
        tuple(
            BindingSnapshot(
                each,
                subjects(each, labels),
                index.rival(each.ref),
                LABELS,
            )
            for each in stored
            if role in each.roles
        ),
    )


def parsed(stored: StoredBinding) -> RoleBinding:
    """Return the parsed spec, which every binding here has."""
    assert stored.binding is not None
    return stored.binding


def subjects(stored: StoredBinding, labels: dict[str, dict[str, str]]) -> tuple[Subject, ...]:
    """Return the service accounts of a binding."""
    return parsed(stored).subjects(labels)
