"""A bundle is a file that anybody may edit: whatever is in it, the chain comes to an end."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.diagnosis import AGENT, CHAIN, HEALTHY, Json, case_of
from trustbind.diagnosis.chain import CHECKS, diagnose

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.text(max_size=8),
    st.sampled_from(["", "*", "arn:aws:iam::111122223333:role/x", "2026-11-29T12:00:00", "known", "absent", "Deny"]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
ERRORS = st.sampled_from(
    ["", "AccessDenied", "Unable to locate credentials", "is not authorized to perform: s3:GetObject"]
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every part of a bundle."""
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [each for key, inner in value.items() for each in paths(inner, (*path, key))]
    if isinstance(value, list):
        return found + [each for index, inner in enumerate(value) for each in paths(inner, (*path, index))]
    return found


@st.composite
def bundles(draw: st.DrawFn) -> Json:
    """Return a bundle in which some parts are anything."""
    bundle = copy.deepcopy(draw(st.sampled_from([HEALTHY, CHAIN, AGENT])))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(paths(bundle)))
        holder: Any = bundle
        for step in way:
            holder = holder[step]
        holder[last] = draw(ANYTHING)
    return bundle


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
@given(bundles(), ERRORS)
def test_chain_comes_to_an_end(bundle: Json, error: str) -> None:
    """Each link has an answer of one line; what is no bundle is refused before."""
    try:
        case = case_of(bundle, error)
    except (msgspec.ValidationError, ValueError):
        return

    found = diagnose(case, goes_on=True)

    assert len(found.links) == len(CHECKS)
    assert all(link.outcome.what for link in found.links)
