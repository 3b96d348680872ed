"""The tree of errors."""

from __future__ import annotations

import inspect

import pytest

from trustbind import errors
from trustbind.errors import AWS_CODES, AwsError, InvalidValueError, ManifestError, TrustbindError


def test_one_tree() -> None:
    """Every error has one base, and the tree in the module's docstring names them all."""
    classes = [value for name, value in vars(errors).items() if inspect.isclass(value) and name in errors.__all__]

    assert len(classes) == len(errors.__all__) - 1
    assert all(issubclass(cls, TrustbindError) for cls in classes)
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in classes)
    assert all(issubclass(cls, AwsError) for cls in AWS_CODES.values())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidValueError("is wrong"), "is wrong"),
        (InvalidValueError("is wrong", field="spec.x"), "spec.x: is wrong"),
        (InvalidValueError("is wrong").within("spec.x"), "spec.x: is wrong"),
        (InvalidValueError("is wrong", field="y").within("spec.x"), "spec.x.y: is wrong"),
        (InvalidValueError("is wrong", field="[0].y").within("spec.x"), "spec.x[0].y: is wrong"),
        (ManifestError("a.yaml", 0, "is empty"), "a.yaml: is empty"),
        (ManifestError("a.yaml", 2, "x: is wrong", what="Pod a/b"), "a.yaml, document 2: Pod a/b: x: is wrong"),
        (ManifestError("-", 1, "x: is wrong"), "standard input, document 1: x: is wrong"),
        (AwsError("no"), "no"),
        (AwsError("no", code="AccessDenied", operation="iam:GetRole"), "iam:GetRole: no (AccessDenied)"),
        (AwsError("AccessDenied: no", code="AccessDenied"), "AccessDenied: no"),
    ],
)
def test_sentence(error: TrustbindError, text: str) -> None:
    """An error's text is fit for a user: where first, then what."""
    assert str(error) == text


def test_value_error() -> None:
    """A broken rule is a ValueError too, and keeps field and problem apart."""
    error = InvalidValueError("is wrong", field="spec.x")

    assert isinstance(error, ValueError)
    assert (error.field, error.problem) == ("spec.x", "is wrong")
