"""What one team's objects cost the webhook, in memory and in work: counted, never timed."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest

from support.bodies import binding_body
from support.largest import largest_binding
from trustbind.api.label_selector import NOT_THERE, LabelSelector
from trustbind.api.role_binding import RoleBinding
from trustbind_webhook.lookup.stores import Accounts, Bindings


def stored(store: Bindings, name: str, namespace: str = "evil", **spec: Any) -> RoleBinding:
    """Put a binding into a store as a watch does; return it."""
    found = store.read((namespace, name), json.dumps(binding_body(name, namespace, **spec)).encode())
    assert found is not None
    store.put((namespace, name), found)
    return found


def test_only_what_pods_depend_on_is_kept_of_a_binding() -> None:
    """Conditions and subjects of other issuers are checked when the binding is read, and then are forgotten."""
    store = Bindings(lambda *_: None)
    condition = {"operator": "StringEquals", "key": "aws:PrincipalTag/x", "values": ["a"]}
    federated = {"issuer": "https://token.actions.githubusercontent.com", "subjects": ["repo:a/b"]}

    found = stored(store, "b", conditions=[condition], federatedSubjects=[federated])

    assert (found.conditions, found.federated) == ((), ())
    bad = binding_body("bad", "evil", conditions=[condition | {"operator": "x"}])
    assert store.read(("evil", "bad"), json.dumps(bad).encode()) is None


def test_only_what_decides_is_kept_of_a_service_account() -> None:
    """Large labels, and annotations that nobody reads or that are too long, are not."""
    accounts = Accounts("eks.amazonaws.com")
    annotated = {"eks.amazonaws.com/role-arn": "x" * 9000, "eks.amazonaws.com/other": "y", "trustbind.dev/z": "z"}

    kept = accounts.account("evil", "app", annotated, {f"l{n}": "v" * 60 for n in range(1000)})

    assert list(kept.annotations) == ["eks.amazonaws.com/role-arn"]
    assert len(kept.annotations["eks.amazonaws.com/role-arn"]) < 100
    assert kept.labels is NOT_THERE


def test_near_keys_are_kept_of_a_service_account() -> None:
    """A few keys that were meant for the role's, so that a finding can name them for a pod without a role."""
    accounts = Accounts("eks.amazonaws.com")
    many = {f"x{n}.example.com/role-arn": "v" * 9000 for n in range(100)}

    kept = accounts.account("team", "app", {"example.com/note": "x", "eks.amazonaws.com/roleArn": "y", **many}, None)

    assert list(kept.annotations) == ["eks.amazonaws.com/roleArn", *list(many)[:2]]
    assert all(len(value) < 100 for value in kept.annotations.values())


def test_selectors_are_matched_once_for_each_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each pod; again when a selector of the namespace or the service account's labels have changed."""
    store = Bindings(lambda *_: None)
    for number in range(300):
        stored(store, f"b{number}", serviceAccountSelector={"matchLabels": {"app": f"v{number % 3}"}})
    matched = 0
    match = LabelSelector.matches

    def counted(self: LabelSelector, labels: Any) -> bool:
        nonlocal matched
        matched += 1
        return match(self, labels)

    monkeypatch.setattr(LabelSelector, "matches", counted)
    for _ in range(100):
        assert len(store.of("evil", "a", {"app": "v1"})) == 100
    assert matched == 300
    assert len(store.of("evil", "a", {"app": "v9"})) == 0
    assert matched == 600
    stored(store, "by-name", serviceAccountNames=["a"])
    stored(store, "elsewhere", "team-a", serviceAccountSelector={})
    assert len(store.of("evil", "a", {"app": "v9"})) == 1
    assert matched == 600
    stored(store, "all", serviceAccountSelector={})
    assert len(store.of("evil", "a", {"app": "v9"})) == 2
    assert matched == 901


@pytest.mark.parametrize("selects", [False, True])
def test_largest_binding_in_the_webhook(selects: bool) -> None:
    """1,000 of them fit into 64 MiB."""
    texts = [json.dumps(largest_binding(number, selects=selects)).encode() for number in range(100)]
    store = Bindings(lambda *_: None)
    store.read(("evil", "b"), texts[0])
    gc.collect()
    tracemalloc.start()
    for number, text in enumerate(texts):
        store.put(("evil", f"b{number}"), store.read(("evil", f"b{number}"), text))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(store) == 100
    assert size / 100 < 64 * 1024
