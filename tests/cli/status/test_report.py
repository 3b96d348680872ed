"""What ``trustbind status`` says of what was seen: each row well and broken, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trustbind.overview import Capacity
from trustbind_cli.commands.status.collect import Collected, Lease
from trustbind_cli.commands.status.report import as_data, exit_code, show

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "status.json").read_text(encoding="utf-8"))
ROLE = "arn:aws:iam::111122223333:role/app"


def deployment(component: str, ready: int = 2, version: str = "0.1.0") -> dict[str, Any]:
    """Return a half's Deployment."""
    labels = {"app.kubernetes.io/component": component, "app.kubernetes.io/version": version}
    return {
        "metadata": {"name": component, "namespace": "trustbind-system", "labels": labels},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": f"trustbind:{version}"}]}}},
        "status": {"readyReplicas": ready},
    }


def named(name: str, reason: str, *, ready: bool, **spec: Any) -> dict[str, Any]:
    """Return an object with a Ready condition."""
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": reason,
        "message": f"{reason} it is",
        "lastTransitionTime": "2026-11-29T09:00:00Z",
    }
    return {"metadata": {"name": name, "namespace": "team-a"}, "spec": spec, "status": {"conditions": [condition]}}


def healthy() -> Collected:
    """Return what is seen where all is well."""
    return Collected(
        version="v1.36.3",
        issuer="https://oidc.example.com",
        deployments=[deployment("operator"), deployment("webhook")],
        lease=Lease("operator-1", "2026-11-29T11:59:58.000000Z"),
        policies={"mutate.trustbind.dev": "Ignore"},
        certificate=datetime(2027, 2, 1, tzinfo=UTC),
        accounts=[named("prod", "AccountReady", ready=True, accountId="111122223333")],
        bindings=[named("app", "TrustApplied", ready=True, roleArn=ROLE)],
        capacity=[Capacity(ROLE, 700, 2048)],
    )


def said(seen: Collected, capsys: pytest.CaptureFixture[str], *, wide: bool = False) -> list[str]:
    """Return the lines that are printed."""
    show(seen, NOW, wide=wide)
    return capsys.readouterr().out.splitlines()


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each thing, and a summary."""
    assert said(healthy(), capsys) == [
        "cluster      ok          Kubernetes v1.36.3, issuer https://oidc.example.com",
        "operator     ok          0.1.0, 2 of 2 replicas ready",
        "webhook      ok          0.1.0, 2 of 2 replicas ready",
        "operator     ok          operator-1 works, and renewed its Lease 2s ago",
        "webhook      ok          the API server calls mutate.trustbind.dev (Ignore)",
        "certificate  ok          the webhook's authority ends in 63d",
        "AWS account  ok          1 of 1 are Ready",
        "RoleBinding  ok          1 of 1 are Ready; the last change was team-a/app, 3h ago",
        f"capacity     ok          {ROLE}: 700 of 2048 characters (34%)",
        "10 ok, 0 broken, 0 not visible",
    ]
    assert exit_code(healthy(), NOW) == 0


FAULTS: dict[str, tuple[Callable[[Collected], object], str]] = {
    "no operator": (lambda s: setattr(s, "deployments", [deployment("webhook")]), "there is no Deployment of it"),
    "replicas": (
        lambda s: setattr(s, "deployments", [deployment("operator"), deployment("webhook", 1)]),
        "0.1.0, 1 of 2 replicas ready; see 'kubectl describe' of its pods",
    ),
    "versions": (
        lambda s: setattr(s, "deployments", [deployment("operator", version="0.2.0"), deployment("webhook")]),
        "the halves have versions 0.1.0 and 0.2.0; finish the upgrade",
    ),
    "lease": (lambda s: setattr(s, "lease", Lease("x", "2026-11-29T11:00:00Z")), "its Lease was renewed 60m ago"),
    "no lease": (lambda s: setattr(s, "lease", Lease("", "")), "its Lease was never renewed"),
    "no webhook": (lambda s: setattr(s, "policies", {}), "there is no MutatingWebhookConfiguration of it"),
    "certificate": (
        lambda s: setattr(s, "certificate", datetime(2026, 12, 1, tzinfo=UTC)),
        "the webhook's authority ends at 2026-12-01T00:00:00Z",
    ),
    "account": (
        lambda s: setattr(s, "accounts", [named("prod", "AccountAccessDenied", ready=False, accountId="1")]),
        "prod (1) AccountAccessDenied: AccountAccessDenied it is",
    ),
    "binding": (
        lambda s: setattr(s, "bindings", [named("app", "NotGranted", ready=False)]),
        "1 NotGranted since 3h, such as team-a/app: NotGranted it is",
    ),
    "drift": (
        lambda s: setattr(s, "bindings", [named("app", "DriftObserved", ready=False)]),
        "1 DriftObserved since 3h, such as team-a/app",
    ),
    "pending for long": (
        lambda s: setattr(s, "bindings", [named("app", "Pending", ready=False)]),
        "1 Pending since 3h, such as team-a/app",
    ),
    "capacity": (
        lambda s: setattr(s, "capacity", [Capacity(ROLE, 1900, 2048)]),
        "1900 of 2048 characters (93%); use another role, or raise the quota",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_broken(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One row says what and what to do, the summary counts it, and the exit code is 1."""
    seen = healthy()
    change, text = FAULTS[name]
    change(seen)

    lines = said(seen, capsys)

    (row,) = [line for line in lines if " broken  " in line]
    assert text in row
    assert lines[-1].endswith(", 1 broken, 0 not visible")
    assert exit_code(seen, NOW) == 1


def test_new_binding_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """The operator needs some seconds for a RoleBinding."""
    body = named("app", "Pending", ready=False)
    body["status"]["conditions"][0]["lastTransitionTime"] = "2026-11-29T11:59:55Z"
    seen = healthy()
    seen.bindings = [body]

    assert "RoleBinding  ok          1 Pending since 5s, such as team-a/app: Pending it is" in said(seen, capsys)
    assert exit_code(seen, NOW) == 0


def test_what_is_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with its reason, and nothing is claimed about it."""
    seen = Collected(unseen=["RoleBindings: you have no right to read it"])

    assert said(seen, capsys) == [
        "             not visible RoleBindings: you have no right to read it",
        "0 ok, 0 broken, 1 not visible",
    ]
    assert exit_code(seen, NOW) == 3


@pytest.mark.parametrize("name", ["deployments", "lease", "policies", "accounts", "bindings"])
def test_what_decides_is_not_seen(name: str) -> None:
    """Without one of them nobody can tell that all is well; what is broken stays so."""
    seen = healthy()
    setattr(seen, name, None)

    assert exit_code(seen, NOW) == 3
    if name != "bindings":
        FAULTS["binding"][0](seen)
        assert exit_code(seen, NOW) == 1


def test_credentials_of_aws_are_not_needed() -> None:
    """How full trust policies are, and what the cluster publishes, is beside the point."""
    seen = healthy()
    seen.capacity = seen.issuer = seen.version = None

    assert exit_code(seen, NOW) == 0


def test_wide_names_what_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Each AWS account and each reason."""
    lines = said(healthy(), capsys, wide=True)

    assert "AWS account  ok          prod (111122223333) AccountReady" in lines
    assert "RoleBinding  ok          1 TrustApplied since 3h, such as team-a/app" in lines


@pytest.mark.parametrize("name", [*FAULTS, ""])
def test_data_follows_its_schema(name: str) -> None:
    """Whatever is seen, and where nothing is."""
    seen = healthy() if name else Collected()
    if name:
        FAULTS[name][0](seen)

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(as_data(seen, NOW), SCHEMA)
