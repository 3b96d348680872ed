"""Role session names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.errors import InvalidValueError
from trustbind.identity import session_names
from trustbind.identity.session_names import DEFAULT_TEMPLATE, check_template, fit, generated_pod, is_valid, render

# Written out again rather than imported: STS API reference, RoleSessionName.
STS = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")

names = st.text(max_size=300) | st.from_regex(r"[a-z0-9.-]{0,260}", fullmatch=True)
templates = st.lists(
    st.sampled_from(["{namespace}", "{serviceAccount}", "{pod}", "{cluster}", ".", "@", "x", "team-", "{", "}", "{x}"]),
    max_size=8,
).map("".join)


@given(templates | st.text(max_size=80), names, names, names, names)
def test_always_valid(template: str, namespace: str, account: str, pod: str, cluster: str) -> None:
    """Whatever the template and the values are, STS takes the name."""
    name = render(template, namespace=namespace, service_account=account, pod=pod, cluster=cluster)

    assert STS.fullmatch(name)
    assert is_valid(name)


@given(names, names)
def test_distinct_names_stay_distinct(one: str, other: str) -> None:
    """Two names that differ are told apart after they were cut or cleaned."""
    assert (fit(one) == fit(other)) == (one == other)


@given(st.text("abc", min_size=100, max_size=200), st.text("abc", min_size=1, max_size=3))
def test_long_names_with_a_common_beginning(beginning: str, end: str) -> None:
    """A long name is cut but its end still counts, and its beginning can still be read."""
    assert fit(beginning + end) != fit(beginning)
    assert fit(beginning).startswith(beginning[:50])


@given(st.from_regex(STS, fullmatch=True))
def test_valid_names_are_kept(name: str) -> None:
    """A name that STS takes is not touched."""
    assert fit(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", r"[0-9a-f]{10}"),
        ("a", r"a-[0-9a-f]{10}"),
        ("a/b", r"a-b-[0-9a-f]{10}"),
        ("é", r"[0-9a-f]{10}"),
        ("ab\n", r"ab-[0-9a-f]{10}"),
        ("x" * 65, r"x{53}-[0-9a-f]{10}"),
        ("x" * 52 + "..." + "y" * 20, r"x{52}-[0-9a-f]{10}"),
    ],
)
def test_fitted(name: str, expected: str) -> None:
    """What cannot stay as it is becomes readable, and ends in a digest."""
    assert re.fullmatch(expected, fit(name))


def test_default_says_who_and_which() -> None:
    """The default names namespace, account and pod."""
    assert render(DEFAULT_TEMPLATE, namespace="team-a", service_account="reader", pod="web-0") == "team-a.reader.web-0"


@pytest.mark.parametrize(
    "template",
    ["{namespace}", "{namespace}.{serviceAccount}", "{cluster}@{pod}", "fixed", "a,b=c+d@e_f-{pod}", DEFAULT_TEMPLATE],
)
def test_good_template(template: str) -> None:
    """Known placeholders and STS's characters make a template."""
    assert check_template(template) == template


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{Namespace}", "is not a placeholder"),
        ("{}", "is not a placeholder"),
        ("{node}", "known are {namespace}, {serviceAccount}, {pod}, {cluster}"),
        ("{pod", "a brace without its partner"),
        ("pod}", "a brace without its partner"),
        ("{{pod}}", "a brace without its partner"),
        ("a b", "' ' is not allowed"),
        ("a/{pod}", "'/' is not allowed"),
        ("ä{pod}", "'ä' is not allowed"),
        ("a:b", "':' is not allowed"),
        ("", "at least 2 characters"),
        ("x", "at least 2 characters"),
    ],
)
def test_bad_template(template: str, said: str) -> None:
    """A template that cannot be rendered as it reads is refused, with the field."""
    with pytest.raises(InvalidValueError, match=r"^spec\.session\.name: ") as caught:
        check_template(template, field="spec.session.name")

    assert said in str(caught.value)


def test_generated_pods_are_told_apart() -> None:
    """Two pods of one owner, whose names are generated later, have different session names; one pod always the same."""
    one, other = (generated_pod("checkout-6b7f-", uid) for uid in ("uid-1", "uid-2"))

    assert one != other
    assert one == generated_pod("checkout-6b7f-", "uid-1")
    assert re.fullmatch(r"checkout-6b7f-[0-9a-f]{10}", one)
    assert session_names.MAX_LENGTH == 64
