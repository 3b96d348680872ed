"""What the parsers of custom resources share."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import inspect

from trustbind.api import strict
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError


def binding(**spec: Any) -> dict[str, Any]:
    """Return a binding."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": "b", "namespace": "a"},
        "spec": {"roleArn": "arn:aws:iam::444455556666:role/x", "serviceAccountNames": ["a"], **spec},
    }


def test_a_refusal_is_no_more_work_than_a_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of a kind, which a refusal looks at, is made once: making it takes forty times as long as a parse."""
    made: list[type] = []
    real = inspect.type_info

    def type_info(kind: type) -> inspect.Type:
        made.append(kind)
        return real(kind)

    monkeypatch.setattr(inspect, "type_info", type_info)
    strict._type_info.cache_clear()

    for number in range(20):
        with pytest.raises(InvalidValueError):
            RoleBinding.parse(binding(sesion=number))
        with pytest.raises(InvalidValueError):
            RoleBinding.parse(binding(method=str(number)))

    assert len(made) == 1


def test_lone_surrogate() -> None:
    """A text that no API server sends, and that no encoding has bytes for, is refused with a sentence."""
    with pytest.raises(InvalidValueError, match="lone surrogate"):
        RoleBinding.parse(binding(method="\ud800"))
