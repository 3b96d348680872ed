"""Grants against bindings: globs by a matcher of their own, and the answer for each part of a binding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fuzz.checks import bounded, check_sentence
from fuzz.targets.admission import VALIDATE_WORDS
from trustbind.api.role_binding import DeletionPolicy, RoleBinding
from trustbind.api.role_grant import RoleGrant, arn_matches, authorize
from trustbind.errors import InvalidValueError
from trustbind.evaluation.wildcards import glob_covers, glob_matches
from trustbind.identity.subjects import is_object_name

__all__ = ["WORDS", "check"]

_MOST_COMPARED: Final = 400
"""Characters up to which a glob is compared with the slow matcher, whose work is the product of the two lengths."""

_STEPS_A_PAIR: Final = 12
"""Lines for each pair of a pattern's and a text's characters; `glob_matches` promises at most one step a pair."""

WORDS: Final = (
    *VALIDATE_WORDS,
    *("grant", "binding", "labels", "accounts", "role/*-*-*-*q", "-" * 120 + "x", "*" * 30, "?" * 30, "*?" * 15 + "q"),
    *("arn:aws:iam::4444?5556666:role/*", "arn:*:iam::*:role/**", "arn:aws:iam::444455556666:role/team-a/a-b-c-d-e"),
)


def check(data: bytes) -> None:
    """Ask a grant about a binding, and each of its patterns about each text of the binding."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(body, dict):
        return
    grant, binding = _parsed(body.get("grant"), "RoleGrant"), _parsed(body.get("binding"), "RoleBinding")
    if not isinstance(grant, RoleGrant) or not isinstance(binding, RoleBinding):
        return
    raw = body.get("accounts")
    listed = raw if isinstance(raw, list) else []
    accounts = sorted({a for a in listed if isinstance(a, str) and is_object_name(a)})  # as the API server has them
    labels = {k: v for k, v in _object(body.get("labels")).items() if isinstance(v, str)}
    names = sorted({*binding.service_account_names, *accounts})
    work = _work(grant, binding, names)
    answer = bounded(lambda: authorize(binding, names, labels, [grant]), data, a_byte=200, fixed=50_000 + work)
    check_sentence(answer.message, most=4000)
    assert answer.is_granted == _is_covered(grant, binding, names, labels)
    _check_covers(grant, binding)


def _parsed(raw: Any, kind: str) -> RoleGrant | RoleBinding | None:
    manifest = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", "namespace": "team-a"},
        "spec": _object(raw),
    }
    try:
        return RoleGrant.parse(manifest) if kind == "RoleGrant" else RoleBinding.parse(manifest)
    except InvalidValueError as error:
        check_sentence(str(error))
        return None


def _work(grant: RoleGrant, binding: RoleBinding, names: list[str]) -> int:
    """Return the lines that matching all patterns may take."""
    arns = [str(binding.role), *([str(binding.source.role)] if binding.source else [])]
    subjects = [s for entry in binding.federated for s in entry.subjects]
    patterns = [s for entry in grant.federated for s in entry.subjects]
    pairs = (
        sum(map(len, grant.role_arns)) * sum(map(len, arns))
        + sum(map(len, grant.service_account_names)) * sum(map(len, names))
        + sum(map(len, patterns)) * sum(map(len, subjects))
    )
    return _STEPS_A_PAIR * pairs


def _is_covered(grant: RoleGrant, binding: RoleBinding, names: list[str], labels: Mapping[str, str]) -> bool:
    """Return whether the grant covers the binding, asked part by part of another matcher."""
    if "team-a" not in grant.namespaces and (grant.selector is None or not grant.selector.matches(labels)):
        return False
    roles = [binding.role, *([binding.source.role] if binding.source else [])]
    if not all(any(_like(p, str(r), ":") for p in grant.role_arns) for r in roles):
        return False
    if binding.method not in grant.methods:
        return False
    if not all(any(_like(p, n, "") for p in grant.service_account_names) for n in names):
        return False
    allowed = {(e.issuer, e.audience): e.subjects for e in grant.federated}
    for entry in binding.federated:
        patterns = allowed.get((entry.issuer, entry.audience), ())
        if not all(any(glob_covers(p, s) for p in patterns) for s in entry.subjects):
            return False
    has_tokens = binding.method.needs_oidc_provider and (binding.service_account_names or binding.selector is not None)
    if has_tokens and binding.audience not in grant.audiences:
        return False
    if binding.deletion_policy is DeletionPolicy.RETAIN and not grant.allow_retain:
        return False
    seconds = binding.session_duration_seconds or 3600
    return grant.max_session_seconds is None or seconds <= grant.max_session_seconds


def _check_covers(grant: RoleGrant, binding: RoleBinding) -> None:
    """Check that a pattern that covers another matches what the other matches."""
    for entry in grant.federated:
        for pattern in entry.subjects:
            for subject in (s for e in binding.federated for s in e.subjects):
                if glob_covers(pattern, subject):
                    for filling in ("", "x", "x:/"):
                        text = subject.replace("?", "y").replace("*", filling)
                        assert glob_matches(pattern, text), f"{pattern} covers {subject}, and does not match {text}"
    for pattern in grant.role_arns:
        assert arn_matches(pattern, pattern)


def _like(pattern: str, text: str, barrier: str) -> bool:
    """Return whether a text matches, by the set of the places in the pattern that are reached after each character."""
    if max(len(pattern), len(text)) > _MOST_COMPARED:
        return glob_matches(pattern, text, barrier=barrier)
    places = _closed({0}, pattern)
    for char in text:
        after = {at for at in places if at < len(pattern) and pattern[at] == "*" and char not in barrier}
        after |= {
            at + 1
            for at in places
            if at < len(pattern)
            and (char == pattern[at] if pattern[at] not in "*?" else pattern[at] == "?" and char not in barrier)
        }
        places = _closed(after, pattern)
    return len(pattern) in places


def _closed(places: set[int], pattern: str) -> set[int]:
    """Return the places with those that are reached without a character."""
    result = set(places)
    for place in places:
        at = place
        while at < len(pattern) and pattern[at] == "*":
            at += 1
            result.add(at)
    return result


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
