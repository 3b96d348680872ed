"""Decisions, one data file a case.

A file holds ``pod`` (kind, apiVersion, and where absent the name web-0 and the account checkout are added),
``account`` (absent: annotated with the role shop/checkout; null: there is none), ``bindings`` (what a binding ``b`` of
the account for the same role says differently, its labels, and whether it is Ready), ``settings``, ``namespace``, and
what is expected.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trustbind.api.role_binding import RoleBinding
from trustbind.reasons import SkipReason
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.json_patch import applied, patch
from trustbind_webhook.injection.pod import pod_of

DATA = Path(__file__).parents[2] / "data" / "decision"
ROLE = "arn:aws:iam::444455556666:role/shop/checkout"
FIELDS = {"about", "pod", "account", "bindings", "settings", "namespace", "expect"}
EXPECTATIONS = {
    "inject", "skip", "message", "findings", "pod", "env", "session", "session-matches", "token-file",
}  # fmt: skip
RAW: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.yaml"))
}
CASES = [pytest.param(case, id=name) for name, case in RAW.items()]
SEVERAL = [pytest.param(case, id=name) for name, case in RAW.items() if len(case.get("bindings", ())) > 1]


def pod_in(case: dict[str, Any]) -> dict[str, Any]:
    """Return the case's pod, completed."""
    pod = case["pod"]
    spec = {"serviceAccountName": "checkout"} | pod["spec"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": pod.get("metadata", {"name": "web-0"}), "spec": spec}


def binding_of(raw: dict[str, Any], namespace: str) -> RoleBinding:
    """Return a binding of the case, completed."""
    metadata = {
        "name": raw.get("name", "b"),
        "namespace": namespace,
        "creationTimestamp": raw.get("created"),
        "labels": raw.get("labels"),
    }
    spec = {"roleArn": ROLE} | raw.get("spec", {})
    if "serviceAccountSelector" not in spec:
        spec.setdefault("serviceAccountNames", ["checkout"])
    return RoleBinding.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 0}]}
            if raw.get("ready")
            else None,
        }
    )


def account_in(case: dict[str, Any], namespace: str) -> Account | None:
    """Return the case's account."""
    raw = case.get("account", {"annotations": {"eks.amazonaws.com/role-arn": ROLE}})
    if raw is None:
        return None
    return Account(namespace, raw.get("name", "checkout"), raw["annotations"], raw.get("labels", {}))


def decided(case: dict[str, Any], *, reverse: bool = False) -> Inject | Skip:
    """Return the decision, with the bindings in one order or the other."""
    namespace = case.get("namespace", "shop")
    bindings = [binding_of(raw, namespace) for raw in case.get("bindings", ())]
    return decide(
        pod_of(pod_in(case)),
        account_in(case, namespace),
        bindings[::-1] if reverse else bindings,
        InjectionSettings(**case.get("settings", {})),
        namespace=namespace,
        unique="review-1",
    )


def summary(outcome: Inject) -> dict[str, str]:
    """Return what a case may say of an injection, as texts."""
    delivery = outcome.delivery
    return {
        "role": str(outcome.role),
        "binding": " ".join(outcome.bindings),
        "audience": " ".join(token.audience for token in delivery.tokens),
        "expiration_seconds": " ".join(str(token.expiration_seconds) for token in delivery.tokens),
        "config": delivery.config,
        "volume": str(outcome.volume),
        "has_volumes": str(outcome.has_volumes),
        "gate": str(outcome.gate),
    }


def check_fragment(expected: Any, actual: Any, path: str = "") -> None:
    """Assert that what is expected is there: objects may have more, lists may not, null means absent."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            check_fragment(value, actual.get(key), f"{path}.{key}")
    elif isinstance(expected, list):
        assert isinstance(actual, list), path
        assert len(actual) == len(expected), (path, actual)
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            check_fragment(one, other, f"{path}[{index}]")
    else:
        assert actual == expected, path


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    """The pod gets what the file says, for the reason that the file says."""
    expect = case["expect"]
    assert case.keys() <= FIELDS
    assert expect.keys() <= EXPECTATIONS
    before = pod_in(case)

    outcome = decided(case)

    findings = outcome.findings
    assert len(findings) == len(expect.get("findings", ())), findings
    assert all(text in told for text, told in zip(expect.get("findings", ()), findings, strict=True)), findings
    if "skip" in expect:
        assert isinstance(outcome, Skip), outcome
        assert outcome.reason is SkipReason(expect["skip"])
        assert expect.get("message", "") in outcome.message
        assert expect.get("message") != "" or outcome.message == ""
        return
    assert isinstance(outcome, Inject), outcome
    wanted = dict(expect["inject"])
    if "paths" in wanted:
        assert [a.path for a in outcome.additions] == wanted.pop("paths")
    seen = summary(outcome)
    assert {key: seen[key] for key in wanted} == {key: str(value) for key, value in wanted.items()}
    after = applied(before, patch(outcome))
    check_fragment(expect.get("pod", {}), after)
    if not outcome.additions:
        return
    env = {variable["name"]: variable.get("value") for variable in after["spec"]["containers"][0].get("env", ())}
    if "env" in expect:
        assert list(env) == expect["env"]
    if "session" in expect:
        assert env["AWS_ROLE_SESSION_NAME"] == expect["session"]
    if "session-matches" in expect:
        assert re.fullmatch(expect["session-matches"], env["AWS_ROLE_SESSION_NAME"] or "")
    if "token-file" in expect:
        assert env["AWS_WEB_IDENTITY_TOKEN_FILE"] == expect["token-file"]


@pytest.mark.parametrize("case", SEVERAL)
def test_order_of_bindings(case: dict[str, Any]) -> None:
    """The order in which the bindings come changes nothing."""
    assert decided(case) == decided(case, reverse=True)


@pytest.mark.parametrize("case", CASES)
def test_messages_are_for_people(case: dict[str, Any]) -> None:
    """A message is one line; a reason that somebody has to act upon has one."""
    outcome = decided(case)
    texts = [*outcome.findings, *([outcome.message] if isinstance(outcome, Skip) else [])]

    assert not any("\n" in text for text in texts)
    silent = {SkipReason.NOT_BOUND, SkipReason.ALREADY_INJECTED, SkipReason.MIRROR_POD}
    assert not isinstance(outcome, Skip) or outcome.message or outcome.reason in silent


def test_findings_of_many_bindings_are_few() -> None:
    """A service account can have hundreds of bindings, and a finding about each would fill logs and warnings."""
    bindings = [binding_of({"name": f"b{number}", "created": "2026-01-01T00:00:00Z"}, "shop") for number in range(500)]
    case: dict[str, Any] = {"pod": {"spec": {"containers": [{"name": "app"}]}}}
    for annotated in ({}, {"eks.amazonaws.com/role-arn": ROLE}, {"eks.amazonaws.com/role-arn": f"{ROLE}-other"}):
        account = Account("shop", "checkout", annotated, {})
        outcome = decide(pod_of(pod_in(case)), account, bindings, InjectionSettings(), namespace="shop", unique="u")
        assert isinstance(outcome, Inject)
        assert len(outcome.findings) <= 12
        assert any("more RoleBindings" in finding for finding in outcome.findings)
