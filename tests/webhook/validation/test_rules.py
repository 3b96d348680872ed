"""Validation, one data file a case.

A file holds ``kind`` (RoleBinding when absent), ``operation`` (CREATE), ``metadata`` and ``spec`` (what a complete
object ``b`` says differently; null takes a field out) or a whole ``object``, ``old`` (what the stored spec says
differently from the new one) or ``oldObject``, ``knowledge`` (what the cluster of `KNOWLEDGE` says differently; null:
not known), and what is expected: ``denied`` with the sentence, or ``warnings`` without their prefix, none when absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api.aws_account import AwsAccount
from trustbind.api.label_selector import LabelSelector
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant, authorize
from trustbind.identity.subjects import Issuer
from trustbind_webhook.admission.review import answer, parse_object
from trustbind_webhook.validation import rules
from trustbind_webhook.validation.rules import KINDS, MAX_WARNING, Knowledge, Request, Verdict, validate

DATA = Path(__file__).parents[2] / "data" / "validation"
ROLE = "arn:aws:iam::444455556666:role/team-a/reader"
SPECS: dict[str, dict[str, Any]] = {
    "RoleBinding": {"roleArn": ROLE, "serviceAccountNames": ["reader"]},
    "AWSAccount": {"accountId": "444455556666"},
    "RoleGrant": {"namespaces": {"names": ["team-a"]}, "roleArns": ["arn:aws:iam::444455556666:role/team-a/*"]},
    "RoleBindingSet": {
        "namespaceSelector": {"matchLabels": {"team": "a"}},
        "serviceAccountNames": ["reader"],
        "template": {"roleArn": ROLE},
    },
}
KNOWLEDGE: dict[str, Any] = {
    "issuer": "https://oidc.example.com/id/0123",
    "bindings": [],
    "accounts": {"reader": {"tier": "back"}, "writer": {"tier": "back"}, "default": {}},
    "namespaces": {"team-a": {"team": "a"}, "kube-system": {}},
    "grants": [{"name": "team-a", **SPECS["RoleGrant"]}],
    "awsAccounts": [{"name": "production", "accountId": "444455556666"}],
}
PREFIX = "trustbind: "
FIELDS = {
    "about", "kind", "operation", "subResource", "resource", "metadata", "spec", "object", "old", "oldObject",
    "knowledge", "denied", "warnings",
}  # fmt: skip
RAW: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.yaml"))
}
CASES = [pytest.param(case, id=name) for name, case in RAW.items()]


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with ``changes``; null takes out."""
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def manifest(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return an object."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def request_of(case: dict[str, Any]) -> Request:
    """Return the case's request."""
    kind = case.get("kind", "RoleBinding")
    metadata = {"namespace": "team-a"} if kind == "RoleBinding" else {}
    spec = changed(SPECS[kind], case.get("spec", {}))
    whole = manifest(kind, "b", spec, **metadata)
    whole["metadata"] |= case.get("metadata", {})
    old = manifest(kind, "b", changed(spec, case["old"]), **metadata) if "old" in case else None
    (resource,) = (resource for resource, of in KINDS.items() if of == kind)
    resource_of = case.get("resource", {"group": "trustbind.dev", "resource": resource})
    return Request(
        uid="u",
        group=resource_of["group"],
        resource=resource_of["resource"],
        sub_resource=case.get("subResource", ""),
        namespace=metadata.get("namespace", ""),
        operation=case.get("operation", "CREATE"),
        name="b",
        object=case.get("object", whole),
        old=case.get("oldObject", old),
    )


def knowledge_of(case: dict[str, Any]) -> Knowledge:
    """Return what is known in the case."""
    raw = KNOWLEDGE | case.get("knowledge", {})
    grants, aws_accounts = raw["grants"], raw["awsAccounts"]
    return Knowledge(
        issuer=None if raw["issuer"] is None else Issuer.parse(raw["issuer"]),
        bindings=[binding_of(binding) for binding in raw["bindings"]],
        accounts=raw["accounts"],
        namespaces=raw["namespaces"],
        grants=None if grants is None else [grant_of(grant, f"g{n}") for n, grant in enumerate(grants)],
        aws_accounts=None if aws_accounts is None else [account_of(account) for account in aws_accounts],
    )


def binding_of(raw: dict[str, Any]) -> RoleBinding:
    """Return a binding that is there already."""
    spec = changed(SPECS["RoleBinding"], raw.get("spec", {}))
    times = {"creationTimestamp": raw["created"], "deletionTimestamp": raw.get("deleted")}
    return RoleBinding.parse(manifest("RoleBinding", raw["name"], spec, namespace="team-a", **times))


def grant_of(raw: dict[str, Any], name: str) -> RoleGrant:
    """Return a grant that is there already."""
    return RoleGrant.parse(manifest("RoleGrant", raw.get("name", name), {k: v for k, v in raw.items() if k != "name"}))


def account_of(raw: dict[str, Any]) -> AwsAccount:
    """Return an AWSAccount that is there already."""
    times = {"creationTimestamp": "2025-01-01T00:00:00Z", "deletionTimestamp": raw.get("deleted")}
    spec = {key: value for key, value in raw.items() if key not in {"name", "deleted"}}
    return AwsAccount.parse(manifest("AWSAccount", raw["name"], spec, **times))


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    """The object is denied with the sentence, or let through with exactly these warnings."""
    assert case["about"]
    assert set(case) <= FIELDS
    verdict = validate(request_of(case), knowledge_of(case))
    if "denied" in case:
        assert verdict == Verdict(allowed=False, message=case["denied"])
    else:
        assert verdict == Verdict(warnings=tuple(PREFIX + text for text in case.get("warnings", ())))


@pytest.mark.parametrize("case", CASES)
def test_warnings_fit(case: dict[str, Any]) -> None:
    """The API server cuts none of them."""
    warnings = validate(request_of(case), knowledge_of(case)).warnings
    assert all(len(warning) <= MAX_WARNING for warning in warnings)
    assert sum(map(len, warnings)) <= 4096


@pytest.mark.parametrize("case", CASES)
def test_answer_is_a_review(case: dict[str, Any]) -> None:
    """What goes out has the uid, and a status exactly where the object is denied."""
    verdict = validate(request_of(case), knowledge_of(case))
    review = json.loads(answer("u", verdict))
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = review["response"]
    assert (response["uid"], response["allowed"]) == ("u", "denied" not in case)
    status = {"code": 422, "reason": "Invalid", "message": case.get("denied")}
    assert response.get("status") == (status if "denied" in case else None)
    assert response.get("warnings", []) == [PREFIX + text for text in case.get("warnings", ())]


def test_enough() -> None:
    """A lost data folder does not pass for success."""
    assert len(CASES) >= 80
    assert sum("denied" in case for case in RAW.values()) >= 20


@pytest.mark.parametrize("names", [[f"account-{n}" for n in range(50)], ["n" * 253]])
def test_a_long_list_is_cut(names: list[str]) -> None:
    """A warning that has no semicolon to be divided at ends in dots."""
    case = {"spec": {"serviceAccountNames": names}}
    (warning,) = validate(request_of(case), knowledge_of(case)).warnings
    assert len(warning) == MAX_WARNING
    assert warning.endswith("...")


def test_warnings_are_lines() -> None:
    """What a warning repeats may have any characters: the namespace of a review that no API server has sent."""
    spec = {"roleArn": ROLE, "serviceAccountSelector": {}}
    whole = manifest("RoleBinding", "b", spec, namespace="a\x7f\n\u2028b")
    request = Request("u", "trustbind.dev", "rolebindings", "", "a\x7f\n\u2028b", "CREATE", object=whole)

    warnings = validate(request, Knowledge(grants=())).warnings

    assert any("a\\x7f\\n\\u2028b" in warning for warning in warnings)
    assert all(warning.isprintable() for warning in warnings)


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
words = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "name",
        "deletionTimestamp",
        "roleArn",
        "accountId",
        "roleArns",
        "status",
    ]
)
anything = st.recursive(
    scalars, lambda i: st.lists(i, max_size=3) | st.dictionaries(words | st.text(max_size=4), i, max_size=4)
)


@given(
    anything,
    anything,
    st.sampled_from([*KINDS, "pods"]),
    st.sampled_from(["CREATE", "UPDATE", "DELETE"]),
)
def test_any_object(value: Any, old: Any, resource: str, operation: str) -> None:
    """Whatever stands where the objects should be, there is a verdict."""
    request = {
        "uid": "u",
        "resource": {"group": "trustbind.dev", "version": "v1alpha1", "resource": resource},
        "operation": operation,
        "object": value,
        "oldObject": old,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    verdict = validate(parse_object(json.dumps(body).encode()), knowledge_of({}))
    assert verdict.allowed != bool(verdict.message)
    assert json.loads(answer("u", verdict))["response"]["allowed"] is verdict.allowed


def test_work_of_one_review_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a namespace holds: selectors are matched some thousand times, and some hundred names are judged."""
    matched = judged = 0
    match = LabelSelector.matches

    def counted(self: LabelSelector, labels: Any) -> bool:
        nonlocal matched
        matched += 1
        return match(self, labels)

    def authorized(binding: RoleBinding, names: Any, *more: Any) -> Any:
        nonlocal judged
        judged += len(names)
        return authorize(binding, names, *more)

    monkeypatch.setattr(LabelSelector, "matches", counted)
    monkeypatch.setattr(rules, "authorize", authorized)
    selector = {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}
    spec = {"roleArn": ROLE, "serviceAccountSelector": selector}
    others = [
        RoleBinding.parse(
            manifest(
                "RoleBinding",
                f"b{number}",
                {"roleArn": ROLE, "serviceAccountSelector": {"matchLabels": {"n": f"{number}"}}},
                namespace="team-a",
                creationTimestamp="2026-01-01T00:00:00Z",
            )
        )
        for number in range(3000)
    ]
    known = Knowledge(
        bindings=others, accounts={f"a{number}": {"x": "y"} for number in range(3000)}, grants=[], namespaces={}
    )
    request = Request(
        "u", "trustbind.dev", "rolebindings", "", "team-a", "CREATE", "b", manifest("RoleBinding", "b", spec)
    )

    assert validate(request, known).allowed
    assert matched <= 2000
    assert judged <= 100
