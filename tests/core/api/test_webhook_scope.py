"""Which namespaces the webhook serves, as the chart's values say it."""

from __future__ import annotations

from typing import Any

import pytest

from trustbind.api.label_selector import parse_selector
from trustbind.api.webhook_scope import Scope, WebhookScope
from trustbind.errors import InvalidValueError

OPT_OUT = {"trustbind.dev/inject": "false"}


@pytest.mark.parametrize(
    ("excluded", "selector", "namespace", "labels", "says"),
    [
        ((), {}, "team-a", {}, ""),
        ((), {}, "kube-system", {}, ""),
        ((), {}, "team-a", OPT_OUT, "inject=false"),
        (("system",), {}, "system", {}, "NotIn"),
        (("system",), {}, "system", None, "NotIn"),
        (("system",), {}, "team-a", None, ""),
        ((), {"matchLabels": {"team": "a"}}, "team-a", {"team": "a"}, ""),
        ((), {"matchLabels": {"team": "a"}}, "team-a", {}, "no label team"),
        ((), {"matchExpressions": [{"key": "team", "operator": "Exists"}]}, "team-a", {}, "no label team"),
    ],
)
def test_scope(
    excluded: tuple[str, ...], selector: dict[str, Any], namespace: str, labels: dict[str, str] | None, says: str
) -> None:
    """Names, the opt-out and the selector decide; where labels are not known, the name alone."""
    scope = WebhookScope.of_settings(excluded, parse_selector(selector, field="namespaceSelector"))

    found = scope.left_out(namespace, labels)

    assert (says in found) if says else found == ""


def test_one_entry_is_enough() -> None:
    """A pod is injected where one of the entries is called; else the reason is about its own namespace."""
    others = Scope(parse_selector(_names("NotIn", "kube-system"), field="x") or Scope().namespaces)
    system = Scope(parse_selector(_names("In", "kube-system"), field="x") or Scope().namespaces)
    scope = WebhookScope((others, system))

    assert scope.left_out("team-a", {}) == scope.left_out("kube-system", {}) == ""
    assert "inject=false" in scope.left_out("kube-system", OPT_OUT)
    assert "inject=false" in scope.left_out("team-a", OPT_OUT)


def _names(operator: str, name: str) -> dict[str, Any]:
    return {
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": operator, "values": [name]},
            {"key": "trustbind.dev/inject", "operator": "NotIn", "values": ["false"]},
        ]
    }


@pytest.mark.parametrize(
    "wrong", [{"matchLabel": {}}, {"matchExpressions": [{"key": "a", "operator": "Is"}]}, {"matchLabels": {"a": 1}}]
)
def test_what_is_no_selector(wrong: dict[str, Any]) -> None:
    """The field is named."""
    with pytest.raises(InvalidValueError, match=r"namespaceSelector"):
        parse_selector(wrong, field="namespaceSelector")
