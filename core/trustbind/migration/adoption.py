"""Which hand-written statements a binding's own may replace, and which may be written back.

A statement is replaced only where the evaluator finds no request that the documents before and after answer
differently: every subject that either side names, what stands near it, and every audience that the OIDC provider
accepts. Conditions besides have to be the same ones. So nobody loses a role, and nobody gets one.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.role_binding import BindingRef
from trustbind.evaluation.actions import check_action
from trustbind.evaluation.model import Caller, PrincipalKind, Request, StatementRef
from trustbind.evaluation.policy import evaluate
from trustbind.evaluation.three_valued import Truth
from trustbind.evaluation.wildcards import has_wildcard
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.migration.conditions import NotExpressibleError, TokenConditions, values_of
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    PREFIX,
    FederatedKey,
    WebIdentityKey,
    build,
    has_any_owner_sid,
)
from trustbind.policy.trust_document import VERSION, SourceStatement, Statement, TrustDocument

__all__ = ["Replacement", "Takeover", "restored_part", "takeover"]

ClientIds = Callable[[Issuer], Collection[str] | None]
"""Returns the audiences that the AWS account's OIDC provider of an issuer accepts; None where they are not known."""

_TokenKey = WebIdentityKey | FederatedKey
_WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
_ELEMENTS: Final = frozenset({"Sid", "Effect", "Principal", "Action", "Condition"})
_BY_CLAIMS: Final = ("sts:TagSession", "sts:SetSourceIdentity")
"""Actions that a token needs where it has claims about tags or a source identity. A service account's has none."""
_SHOWN: Final = 3
_MAX_PROBES: Final = 4_000
"""Requests that one proof may take, about a second. A trust policy of 2,048 characters has room for some 40 subjects,
and each takes 6."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A hand-written statement that bindings take over.

    Attributes:
        index: of it in the document.
        before: the statement.
        after: what is left of it, with the subjects that no binding takes; None: nothing.
        bindings: those whose own statement gives what it gave.
    """

    index: int
    before: Statement
    after: Statement | None
    bindings: frozenset[BindingRef]


@dataclass(frozen=True, slots=True)
class Takeover:
    """What adopting bindings take over in one role.

    Attributes:
        replacements: in the order of the document.
        differences: by binding, how a hand-written statement about its subjects differs from its own, so that it stays.
    """

    replacements: tuple[Replacement, ...] = ()
    differences: Mapping[BindingRef, str] = field(default_factory=dict)


class _DiffersError(Exception):
    """The statement is about the same subjects, and is not equal; says why."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a hand-written statement says to the tokens of one issuer.

    Attributes:
        names: literal subjects, and patterns of them.
        audiences: that it accepts; None: each that the provider accepts.
        further: other conditions, their keys folded.
    """

    names: frozenset[str]
    audiences: frozenset[str] | None
    further: frozenset[ExtraCondition]


def takeover(
    role: RoleArn, document: TrustDocument, issuer: Issuer, claims: Iterable[Claim], client_ids: ClientIds
) -> Takeover:
    """Return which statements of ``document`` the adopting bindings' own replace.

    Args:
        role: whose trust policy it is.
        document: as it was read.
        issuer: the cluster's.
        claims: of the adopting bindings, granted and due now.
        client_ids: see `ClientIds`.
    """
    wanted: dict[_TokenKey, dict[str, set[BindingRef]]] = {}
    for claim in claims:
        if isinstance(claim.key, _TokenKey):
            names = wanted.setdefault(claim.key, {})
            for subject in claim.subjects:
                names.setdefault(str(subject), set()).add(claim.binding)
    replacements: list[Replacement] = []
    differences: dict[BindingRef, str] = {}
    for index, statement in enumerate(document.statements):
        if has_any_owner_sid(statement):
            continue  # also another cluster's: its operator would write back what is taken from its statement
        for key, names in wanted.items():
            whose = key.issuer if isinstance(key, FederatedKey) else issuer
            if not _is_about(statement, str(whose.provider_for(role))):
                continue
            concerned = frozenset(ref for name in _named(statement, whose) & names.keys() for ref in names[name])
            try:
                found = _replacement(role, document, index, issuer, key, names, client_ids(whose))
            except (_DiffersError, NotExpressibleError) as error:
                ref = StatementRef(index, str(statement.get("Sid", "")))
                for binding in concerned:
                    differences.setdefault(binding, f"{ref} of the trust policy of {role} stays: {error}")
                continue
            if found is not None:
                replacements.append(found)
                break
    adopted = {binding for each in replacements for binding in each.bindings}
    return Takeover(tuple(replacements), {ref: text for ref, text in differences.items() if ref not in adopted})


def restored_part(
    role: RoleArn,
    statement: Statement,
    issuer: Issuer,
    standing: Iterable[Claim],
    client_ids: ClientIds,
    version: str | None,
) -> tuple[Statement | None, str]:
    """Return what of a recorded statement is written back, and why none of it is.

    The record is a status, which counts as untrusted: what is written back trusts nobody whom the binding's own does
    not trust at this moment. Other names are left out: where the statement trusts them, they kept it.

    Args:
        role: whose trust policy.
        statement: as the record has it.
        issuer: the cluster's.
        standing: of the binding: what stands of it in the document, and is granted.
        client_ids: see `ClientIds`.
        version: the document's.
    """
    if str(statement.get("Sid", "")).startswith(PREFIX):
        return None, "its Sid is one that trustbind writes"
    reasons: list[str] = []
    for claim in standing:
        try:
            return _narrowed(role, statement, issuer, claim, client_ids, version), ""
        except (_DiffersError, NotExpressibleError) as error:
            reasons.append(str(error))
    return None, reasons[0] if reasons else "nothing of the binding stands in the trust policy"


def _narrowed(
    role: RoleArn, statement: Statement, issuer: Issuer, claim: Claim, client_ids: ClientIds, version: str | None
) -> Statement:
    """Return the part of a statement that trusts nobody whom the statement of a claim does not trust.

    Raises:
        _DiffersError: it does.
        NotExpressibleError: no binding can say what it says.
    """
    key = claim.key
    if not isinstance(key, _TokenKey):
        raise _DiffersError("it is not about tokens")
    whose = key.issuer if isinstance(key, FederatedKey) else issuer
    if not _is_about(statement, str(whose.provider_for(role))):
        raise _DiffersError("it is not about these tokens")
    reading = _read(statement, whose, version)
    _check_actions(statement, key)
    extra = sorted(reading.names - {str(s) for s in claim.subjects})
    if any(map(has_wildcard, extra)) or len(extra) == len(reading.names):
        raise _DiffersError(f"it trusts {_listed(extra)}")
    if extra:
        statement = _without(statement, whose, extra)
    if extra := sorted(_accepted(reading, client_ids(whose)) - {key.audience}):
        raise _DiffersError(f"it also accepts tokens for the audience {_listed(extra)}")
    if not _folded(key.conditions) <= reading.further:
        raise _DiffersError("it lacks conditions of the binding")
    own = build(issuer, role, key, claim.subjects)
    if not _compared([own], [statement], key, role, issuer, client_ids(whose), version)[0]:
        raise _DiffersError("it is wider than the binding's own statement")
    return statement


def _replacement(
    role: RoleArn,
    document: TrustDocument,
    index: int,
    issuer: Issuer,
    key: _TokenKey,
    names: Mapping[str, Collection[BindingRef]],
    client_ids: Collection[str] | None,
) -> Replacement | None:
    """Return how the statement is replaced for one key; None when it names nobody whom the claims name.

    Raises:
        _DiffersError: it is not equal.
        NotExpressibleError: no binding can say what it says.
    """
    statement = document.statements[index]
    whose = key.issuer if isinstance(key, FederatedKey) else issuer
    reading = _read(statement, whose, document.version)
    taken = reading.names & names.keys()
    if not taken:
        return None
    _check_actions(statement, key)
    accepted = _accepted(reading, client_ids)
    if extra := sorted(accepted - {key.audience}):
        raise _DiffersError(
            f"it also accepts tokens for the audience {_listed(extra)}, and the binding's is {key.audience}"
        )
    if key.audience not in accepted:
        raise _DiffersError(f"it does not accept tokens for the audience {key.audience} of the binding")
    if reading.further != _folded(key.conditions):
        raise _DiffersError("its further conditions are not those that the binding has for this issuer")
    left = reading.names - taken
    if left and any(map(has_wildcard, taken)):
        raise _DiffersError(f"it also trusts {_listed(sorted(left))}, and a pattern is not taken out of it")
    after = _without(statement, whose, taken) if left else None
    own = build(issuer, role, key, taken)
    rest = [after] if after is not None else []
    compared = _compared([own, *rest], [statement], key, role, issuer, client_ids, document.version)
    if not all(compared):
        raise _DiffersError("it does not give the same answers as the binding's own statement")
    bindings = frozenset(ref for name in taken for ref in names[name])
    return Replacement(index, statement, after, bindings)


def _read(statement: Statement, issuer: Issuer, version: str | None) -> _Reading:
    if isinstance(statement, SourceStatement) and statement.repeats_key:
        raise _DiffersError("an object in it has one key twice")
    if unknown := sorted(statement.keys() - _ELEMENTS):
        raise _DiffersError(f"it has the element {unknown[0]}")
    if len(_principals(statement)) != 1:
        raise _DiffersError("it has further principals")
    conditions = TokenConditions.of(statement, issuer, variables=version == VERSION)
    exact, patterns = values_of(conditions.subject)
    if not conditions.subject:
        raise _DiffersError("it names no subject, so it trusts every one")
    if len(conditions.subject) > 1 and patterns:
        raise _DiffersError("it has several conditions on the subject")
    audiences: frozenset[str] | None = None
    if conditions.audience:
        literals, open_ended = values_of(conditions.audience)
        if open_ended:
            raise _DiffersError(f"it accepts every audience that matches {_listed(open_ended)}")
        audiences = frozenset(literals)
    return _Reading(frozenset(exact) | frozenset(patterns), audiences, _folded(conditions.further))


def _check_actions(statement: Statement, key: _TokenKey) -> None:
    """Check that only what no token of the issuer can use is lost with the statement's other actions."""
    if not isinstance(key, FederatedKey):
        return
    for action in _BY_CLAIMS:
        if check_action("Action", statement.get("Action"), action).truth is not Truth.NO:
            raise _DiffersError(f"it also allows {action}, which tokens of {key.issuer} may need")


def _accepted(reading: _Reading, client_ids: Collection[str] | None) -> frozenset[str]:
    """Return the audiences with which a token gets in: IAM accepts only those that the OIDC provider lists."""
    if reading.audiences is not None and (len(reading.audiences) == 1 or client_ids is None):
        return reading.audiences
    if client_ids is None:
        raise _DiffersError(
            "it has no condition on the audience, and those that the OIDC provider accepts are not known"
        )
    return frozenset(client_ids) if reading.audiences is None else reading.audiences & frozenset(client_ids)


def _compared(
    one: Sequence[Statement],
    other: Sequence[Statement],
    key: _TokenKey,
    role: RoleArn,
    issuer: Issuer,
    client_ids: Collection[str] | None,
    version: str | None,
) -> tuple[bool, bool]:
    """Return whether ``one`` allows every probe that ``other`` allows, and the reverse.

    Conditions besides those on ``sub`` and ``aud`` are left out of both.
    """
    whose = key.issuer if isinstance(key, FederatedKey) else issuer
    names = {name for s in (*one, *other) for name in _named(s, whose)}
    return _proof(
        *(json.dumps([_on_token(s, whose) for s in each], sort_keys=True) for each in (one, other)),
        tuple(sorted(names)),
        whose,
        str(whose.provider_for(role)),
        tuple(sorted({key.audience, *(client_ids or ())})),
        version,
    )


@functools.lru_cache(maxsize=256)
def _proof(
    one: str,
    other: str,
    names: tuple[str, ...],
    issuer: Issuer,
    provider: str,
    audiences: tuple[str, ...],
    version: str | None,
) -> tuple[bool, bool]:
    """Ask the evaluator. The run that records a statement asks first, so that the run that writes has the answer."""
    subjects = sorted({probe for name in names for probe in _near(name)})
    if len(subjects) * len(audiences) > _MAX_PROBES:
        return False, False
    caller = Caller(PrincipalKind.FEDERATED, provider)
    documents = [{"Version": version or "2008-10-17", "Statement": json.loads(each)} for each in (one, other)]
    covers = [True, True]
    for subject, audience in itertools.product(subjects, audiences):
        context = {issuer.subject_key: (subject,), issuer.audience_key: (audience,)}
        request = Request(caller, _WEB_IDENTITY, context)
        first, second = (evaluate(document, request).allowed for document in documents)
        covers[0] &= first or not second
        covers[1] &= second or not first
        if not any(covers):
            break
    return covers[0], covers[1]


def _near(name: str) -> Iterator[str]:
    """Yield a subject, or subjects that a pattern matches, and what differs a little from each."""
    for many in ("", "a", "a:b/c") if has_wildcard(name) else ("",):
        text = name.replace("*", many).replace("?", "a")
        yield text
        yield text + "a"
        yield text[:-1]
        yield "a" + text
        yield text.swapcase()
        yield text.replace(":", "/")


def _on_token(statement: Statement, issuer: Issuer) -> Statement:
    """Return a statement with its conditions on ``sub`` and ``aud`` alone."""
    claims = {issuer.subject_key.casefold(), issuer.audience_key.casefold()}
    condition = statement.get("Condition", {})
    kept = {
        operator: {key: value for key, value in block.items() if str(key).casefold() in claims}
        for operator, block in condition.items()
        if isinstance(block, Mapping)
    }
    return {**statement, "Condition": {operator: block for operator, block in kept.items() if block}}


def _without(statement: Statement, issuer: Issuer, taken: Collection[str]) -> Statement:
    """Return a statement without these subjects; all else of it stays as it is."""
    wanted = issuer.subject_key.casefold()

    def reduced(operator: str, block: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in block.items():
            if str(key).casefold() != wanted:
                result[key] = value
                continue
            left = [v for v in (value if isinstance(value, list) else [value]) if v not in taken]
            if not left:
                raise _DiffersError(f"its condition {operator} on {key} would have no value left")
            result[key] = left[0] if len(left) == 1 else left
        return result

    condition = {operator: reduced(operator, block) for operator, block in statement["Condition"].items()}
    return {**statement, "Condition": condition}


def _is_about(statement: Statement, provider: str) -> bool:
    """Return whether a statement allows tokens of an OIDC provider to get the role."""
    return (
        statement.get("Effect") == "Allow"
        and ("Federated", provider) in _principals(statement)
        and "NotAction" not in statement
        and check_action("Action", statement.get("Action"), _WEB_IDENTITY).truth is Truth.YES
    )


def _named(statement: Statement, issuer: Issuer) -> set[str]:
    """Return the texts of all conditions on the subject."""
    condition = statement.get("Condition")
    found: set[str] = set()
    for block in condition.values() if isinstance(condition, Mapping) else ():
        for key, value in block.items() if isinstance(block, Mapping) else ():
            if str(key).casefold() == issuer.subject_key.casefold():
                found.update(v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str))
    return found


def _principals(statement: Statement) -> list[tuple[str, str]]:
    principal = statement.get("Principal")
    if not isinstance(principal, Mapping):
        return [("", str(principal))]
    return [
        (str(kind), str(text))
        for kind, value in principal.items()
        for text in (value if isinstance(value, list) else [value])
    ]


def _folded(conditions: Iterable[ExtraCondition]) -> frozenset[ExtraCondition]:
    """Return conditions with keys in lower case: IAM compares keys without regard to case."""
    return frozenset(ExtraCondition(c.operator, c.key.casefold(), tuple(sorted(set(c.values)))) for c in conditions)


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
