"""What holds for every plan."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    ChainKey,
    FederatedKey,
    WebIdentityKey,
    build,
    is_owned,
    owner_prefix,
    placeholder,
    placeholder_sid,
    principal_of,
    sid_of,
    subjects_of,
)
from trustbind.policy.plan import Desired, Plan, plan
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
OTHER = Issuer.parse("https://oidc.example.com/id/2")
ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/app")
GITHUB = Issuer.parse("https://token.actions.githubusercontent.com")
SOURCES = [RoleArn.parse(f"arn:aws:iam::111122223333:role/base-{i}") for i in range(2)]

extra = st.builds(
    ExtraCondition,
    st.sampled_from(["StringEquals", "StringLike", "Bool"]),
    st.sampled_from(["aws:x", "aws:SourceIp", ISSUER.subject_key]),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True).map(tuple),
)
conditions = st.lists(extra, max_size=2, unique_by=lambda c: (c.operator, c.key)).map(lambda cs: tuple(sorted(cs)))
keys = st.builds(WebIdentityKey, st.sampled_from(["sts.amazonaws.com", "x"]), conditions) | st.builds(
    ChainKey, st.sampled_from(SOURCES), st.sampled_from(["", "external"]), conditions
)
accounts = st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=5)
federated = st.dictionaries(
    st.tuples(st.sampled_from([GITHUB, OTHER]), st.sampled_from(["x", "y"])),
    st.sets(st.sampled_from(["repo:o/a", "repo:o/*", "repo:p/?"]), min_size=1).map(lambda names: tuple(sorted(names))),
    max_size=2,
)


@st.composite
def claims_of(draw: st.DrawFn) -> tuple[Claim, ...]:
    """Return the claims of some bindings; those of web identity may have some for other issuers too."""
    result = []
    for name in draw(st.sets(st.sampled_from("klmnopq"), max_size=6)):
        key = draw(keys)
        created = draw(st.sampled_from(["", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]))
        ref = BindingRef("team-a", name)
        subjects = () if isinstance(key, ChainKey) else tuple(Subject("team-a", a) for a in sorted(draw(accounts)))
        age = (not created, created, ref)
        result.append(Claim(ref, key, subjects, age))
        if isinstance(key, WebIdentityKey):
            for (issuer, audience), names in draw(federated).items():
                result.append(Claim(ref, FederatedKey(issuer, audience, key.conditions), names, age))
    return tuple(result)


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
)
foreign_statements = st.fixed_dictionaries(
    {},
    optional={
        "Sid": st.sampled_from(
            ["Ops", "", "Trustbind", f"Trustbind{'0' * 32}", owner_prefix(ISSUER), placeholder_sid(ISSUER)]
        ),
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Principal": st.sampled_from(["*", {"AWS": "111122223333"}, {"Service": ["a", "b"]}]) | values,
        "Action": st.sampled_from(["sts:AssumeRole", ["sts:*"]]) | values,
        "Condition": values,
        "Unknown": values,
    },
)
valid_web_keys = st.builds(WebIdentityKey, st.sampled_from(["sts.amazonaws.com", "x"]))
built = st.builds(
    lambda issuer, key, names: build(issuer, ROLE, key, [Subject("team-a", a) for a in names]),
    st.sampled_from([ISSUER, OTHER]),
    valid_web_keys | st.builds(ChainKey, st.sampled_from(SOURCES)) | st.just(FederatedKey(GITHUB, "x")),
    accounts,
)
tampered = st.builds(
    lambda s, change: s | change, built, st.dictionaries(st.sampled_from(["Effect", "Condition"]), values)
)
squatting = st.builds(lambda s: s | {"Principal": {"AWS": "999922223333"}}, built)
documents = st.builds(
    TrustDocument,
    st.lists(foreign_statements | built | tampered | squatting | st.just(placeholder(ISSUER, ROLE)), max_size=6).map(
        tuple
    ),
    st.sampled_from(["2012-10-17", "2008-10-17", None]),
)
limits = st.integers(1, 2500)


def desired(claims: tuple[Claim, ...]) -> Desired:
    """Return what the cluster wants of the role."""
    return Desired(ROLE, ISSUER, claims)


def foreign(document: TrustDocument, *claims: Claim) -> list[Any]:
    """Return the foreign statements in their order, as text.

    One that has both Sid and principal of a statement that a claim wants is an owned one that another writer edited.
    """
    wanted = {(sid_of(ISSUER, c.key), str(principal_of(ISSUER, ROLE, c.key))) for c in claims}
    return [
        json.dumps(s)
        for s in document.statements
        if not is_owned(s, ISSUER) and (s.get("Sid"), str(s.get("Principal"))) not in wanted
    ]


@settings(suppress_health_check=[HealthCheck.too_slow])  # a slow machine is no fault
@given(documents, claims_of(), limits)
def test_foreign_statements_survive(current: TrustDocument, claims: tuple[Claim, ...], limit: int) -> None:
    """Every foreign statement keeps its content and its place among the others, another cluster's too."""
    planned = plan(current, desired(claims), limit)

    assert foreign(planned.document, *claims) == foreign(current, *claims)
    assert (planned.document.version, planned.document.extra) == (current.version, current.extra)


@given(documents, claims_of(), limits)
def test_applied_plan_leaves_nothing_to_do(current: TrustDocument, claims: tuple[Claim, ...], limit: int) -> None:
    """After a plan was written, the next one is empty, keeps the document and refuses the same."""
    planned = plan(current, desired(claims), limit)

    again = plan(TrustDocument.parse(planned.document.to_json()), desired(claims), limit)

    assert again.is_empty
    assert again.document.to_json() == planned.document.to_json()
    assert [(r.binding, r.reason) for r in again.refusals] == [(r.binding, r.reason) for r in planned.refusals]
    assert again.applied == planned.applied


@given(documents, claims_of(), limits)
def test_plan_is_a_function(current: TrustDocument, claims: tuple[Claim, ...], limit: int) -> None:
    """The same input gives the same plan."""
    assert plan(current, desired(claims), limit) == plan(current, desired(claims), limit)


@given(documents, claims_of().flatmap(lambda c: st.tuples(st.just(c), st.permutations(c))), limits)
def test_order_does_not_matter(
    current: TrustDocument, orders: tuple[tuple[Claim, ...], list[Claim]], limit: int
) -> None:
    """The order in which bindings come changes nothing."""
    one, other = orders

    assert plan(current, desired(one), limit) == plan(current, desired(tuple(other)), limit)


@given(documents, claims_of(), limits)
def test_never_over_the_limit(current: TrustDocument, claims: tuple[Claim, ...], limit: int) -> None:
    """What is written fits, unless the foreign statements alone are too large; it never makes that worse."""
    planned = plan(current, desired(claims), limit)
    without = plan(current, desired(()), limit)

    assert planned.size == planned.document.size
    assert planned.size <= max(limit, current.size, without.size)


@given(documents, claims_of(), limits)
def test_every_binding_gets_an_answer(current: TrustDocument, claims: tuple[Claim, ...], limit: int) -> None:
    """Each binding is applied, or refused with a sentence; with a write that is stopped, the write's refusal counts."""
    planned = plan(current, desired(claims), limit)
    refused = {r.binding for r in planned.refusals}

    for claim in claims:
        assert (claim.binding in planned.applied) + (claim.binding in refused) == 1 or planned.blocked
    assert all(r.message for r in planned.refusals)


@given(documents, claims_of(), limits)
def test_only_subjects_that_were_asked_for(current: TrustDocument, claims: tuple[Claim, ...], limit: int) -> None:
    """Owned statements admit all subjects of the bindings that the plan applies, and no other."""
    planned = plan(current, desired(claims), limit)
    if planned.blocked:
        return
    asked, applied = dict[str, set[str]](), dict[str, set[str]]()
    invalid = {r.binding for r in planned.refusals if r.reason is TrustReason.INVALID_SPEC}
    for claim in (c for c in claims if not isinstance(c.key, ChainKey)):
        sid, names = sid_of(ISSUER, claim.key), {str(s) for s in claim.subjects}
        if claim.binding in planned.applied:
            applied.setdefault(sid, set()).update(names)
        if claim.binding not in invalid:  # a part of what a refused one asks for may stand
            asked.setdefault(sid, set()).update(names)

    found: dict[str, set[str]] = {}
    for statement in planned.document.statements:
        if is_owned(statement, ISSUER) and statement["Effect"] == "Allow" and "WebIdentity" in statement["Action"]:
            blocks = statement["Condition"]["StringEquals"], statement["Condition"].get("StringLike", {})
            subject_key = statement["Principal"]["Federated"].partition("/")[2] + ":sub"
            (names,) = (block[subject_key] for block in blocks if subject_key in block)
            found[statement["Sid"]] = set(names)

    assert found.keys() >= applied.keys()
    assert found.keys() <= asked.keys()
    assert all(applied.get(sid, set()) <= names <= asked[sid] for sid, names in found.items())


@given(documents, claims_of(), claims_of(), limits)
def test_what_is_left_stays(
    current: TrustDocument, claims: tuple[Claim, ...], leaving: tuple[Claim, ...], limit: int
) -> None:
    """With bindings that leave their trust, foreign statements stay first and in order, and nobody comes in by that.

    The second plan may leave what the first has let in for a binding that stays; the third has nothing to do.
    """
    live = {c.binding for c in claims}
    both = Desired(ROLE, ISSUER, claims, tuple(c for c in leaving if c.binding not in live))

    planned = plan(current, both, limit)

    others = foreign(current, *claims, *leaving)
    assert foreign(planned.document, *claims, *leaving)[: len(others)] == others
    settled = plan(planned.document, both, limit).document
    assert plan(settled, both, limit).is_empty
    assert plan(settled, both, limit).document == settled


def trusted(document: TrustDocument, claim: Claim) -> frozenset[str] | None:
    """Return the subjects that the claim's statement admits; None without that statement."""
    issuer = claim.key.issuer if isinstance(claim.key, FederatedKey) else None
    for statement in document.statements:
        if is_owned(statement, ISSUER) and statement["Sid"] == sid_of(ISSUER, claim.key):
            return subjects_of(statement, issuer or ISSUER, of_cluster=issuer is None)
    return None


def part_of(claim: Claim, document: TrustDocument) -> list[Claim]:
    """Return what the document holds of a claim: no claim or one."""
    names = trusted(document, claim)
    subjects = tuple(s for s in claim.subjects if names is not None and str(s) in names)
    keeps = names is not None and (subjects or isinstance(claim.key, ChainKey))
    return [replace(claim, subjects=subjects)] if keeps else []


def refused(planned: Plan, reason: TrustReason) -> set[BindingRef | None]:
    """Return the bindings that are refused for this reason."""
    return {r.binding for r in planned.refusals if r.reason is reason}


@given(documents, claims_of(), claims_of(), limits)
def test_what_is_wanted_and_there_stays(
    current: TrustDocument, before: tuple[Claim, ...], after: tuple[Claim, ...], limit: int
) -> None:
    """Whatever bindings ask for more, and however full the document is, no subject is lost that is still wanted."""
    settled = plan(current, desired(before), 1_000_000).document

    planned = plan(settled, desired(after), limit)

    invalid = refused(planned, TrustReason.INVALID_SPEC)
    for claim in after:
        if claim.binding not in invalid:
            kept = part_of(claim, settled)
            assert [part for claim in kept for part in part_of(claim, planned.document)] == kept
    assert foreign(planned.document, *before, *after) == foreign(current, *before, *after)


@given(documents, claims_of(), claims_of(), limits)
def test_only_what_does_not_fit_is_refused(
    current: TrustDocument, before: tuple[Claim, ...], after: tuple[Claim, ...], limit: int
) -> None:
    """A binding that is refused for want of room would make the document too long; one that is not has everything."""
    settled = plan(current, desired(before), 1_000_000).document
    planned = plan(settled, desired(after), limit)
    if planned.blocked:
        return
    invalid, full = refused(planned, TrustReason.INVALID_SPEC), refused(planned, TrustReason.TRUST_POLICY_FULL)
    taken = refused(planned, TrustReason.SID_TAKEN)
    valid = [claim for claim in after if claim.binding not in invalid]
    held = [part for claim in valid for part in part_of(claim, planned.document)]

    for claim in valid:
        assert claim.binding in full | taken or claim in held
    for binding in full:
        wider = [*held, *(claim for claim in valid if claim.binding == binding)]
        assert plan(planned.document, desired(tuple(wider)), 1_000_000).size > limit
    if full and foreign(settled, *after) == foreign(settled):  # an edited statement is removed where no repair fits
        assert planned.document.to_json() == plan(settled, desired(tuple(held)), 1_000_000).document.to_json()
