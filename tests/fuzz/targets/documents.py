"""Trust documents: read, planned on, written back, evaluated."""

from __future__ import annotations

import json
from typing import Any, Final

from fuzz.checks import bounded, check_sentence
from trustbind.api.role_binding import BindingRef
from trustbind.errors import InvalidValueError
from trustbind.evaluation import Caller, Request, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    WebIdentityKey,
    is_owned,
    owner_prefix,
    placeholder_sid,
    retained_sid,
    sid_of,
)
from trustbind.policy.plan import Desired, plan
from trustbind.policy.trust_document import TrustDocument, statement_text

__all__ = ["WORDS", "check"]

ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
ROLE: Final = RoleArn.parse("arn:aws:iam::444455556666:role/app")
KEY: Final = WebIdentityKey("sts.amazonaws.com")
_LIMIT: Final = 4096
_MOST_PLANNED: Final = 16 * 1024
"""Bytes up to which a document is planned on; IAM stores none that is longer."""

_PROVIDER: Final = str(ISSUER.provider_for(ROLE))
_SUBJECT: Final = Subject("team-a", "reader")
_REQUESTS: Final = (
    Request(
        Caller.parse(_PROVIDER),
        "sts:AssumeRoleWithWebIdentity",
        {ISSUER.subject_key: [str(_SUBJECT)], ISSUER.audience_key: ["sts.amazonaws.com", "other"], "aws:x": ["1"]},
    ),
    Request(Caller.parse("arn:aws:sts::444455556666:assumed-role/app/s"), "sts:AssumeRole", {}),
)
_REF: Final = BindingRef("team-a", "b")
_CLAIMS: Final = (Claim(_REF, KEY, (_SUBJECT,), (False, "1", _REF)),)

WORDS: Final = (
    *("Version", "2012-10-17", "2008-10-17", "Id", "Statement", "Sid", "Effect", "Allow", "Deny", "Principal"),
    *("NotPrincipal", "Action", "NotAction", "Condition", "AWS", "Federated", "Service", "CanonicalUser", _PROVIDER),
    *("sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", "sts:*", "*", ISSUER.subject_key, ISSUER.audience_key),
    *("StringEquals", "StringLike", "ForAllValues:StringLike", "ForAnyValue:StringEqualsIfExists", "ArnLike", "Null"),
    *("NumericLessThan", "DateGreaterThan", "Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "${aws:x}"),
    *(
        "aws:x",
        str(_SUBJECT),
        "system:serviceaccount:*:*",
        "444455556666",
        "AROAEXAMPLEID1234567A",
        "2026-03-01T12:00Z",
    ),
    *(sid_of(ISSUER, KEY), placeholder_sid(ISSUER), owner_prefix(ISSUER), retained_sid(ISSUER, KEY)),
    *("1e999999999", "203.0.113.0/24", "::/0", "QUJD", "arn:aws:iam::*:role/*", "${" * 20, "0x10", "1_000"),
)


def check(data: bytes) -> None:
    """Read a document as IAM stores it and as a user writes it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return  # botocore and the command line refuse it before
    for stored in (True, False):
        try:
            document = bounded(lambda: TrustDocument.parse(text, stored=stored), data, a_byte=60)  # noqa: B023 - at once
        except InvalidValueError as error:
            check_sentence(str(error))
            continue
        _round_trip(document, text)
        value = document.to_json_object()
        json.dumps(value, allow_nan=False)
        for request in _REQUESTS:
            decision = bounded(lambda: evaluate(value, request), data, a_byte=400)  # noqa: B023 - at once
            assert decision.reason
            assert not (decision.allowed and decision.statement is None)
        if len(text) <= _MOST_PLANNED:
            _planned(document)


def _round_trip(document: TrustDocument, text: str) -> None:
    """Check that nothing of the text is lost but white space, and that only what IAM takes is sent."""
    sent = document.to_json()
    assert all("\x20" <= c <= "\xff" for c in sent), "a character that IAM does not take"
    assert document.size == len(sent)
    if not text.lstrip().startswith("%"):
        assert _members(sent) == _members(text), "the document has changed"
    again = TrustDocument.parse(sent, stored=True)
    assert again.to_json() == sent
    assert TrustDocument.parse(document.to_json(indent=2), stored=True).to_json() == sent
    assert [statement_text(s) for s in again.statements] == [statement_text(s) for s in document.statements]
    assert again.meaning() == document.meaning()


def _planned(document: TrustDocument) -> None:
    """Check that a plan keeps each foreign statement word for word, and that the next plan has nothing to do."""
    desired = Desired(ROLE, ISSUER, _CLAIMS)
    planned = plan(document, desired, _LIMIT)
    before, after = _foreign(document), _foreign(planned.document)
    assert after == before, "a foreign statement has changed"
    assert (planned.document.version, planned.document.extra) == (document.version, document.extra)
    written = TrustDocument.parse(planned.document.to_json(), stored=True)
    assert plan(written, desired, _LIMIT).is_empty, "the plan is not empty after it was written"
    for refusal in planned.refusals:
        check_sentence(refusal.message)
    if planned.changes and not planned.refusals:
        assert planned.size <= max(_LIMIT, document.size)


def _foreign(document: TrustDocument) -> list[str]:
    """Return the foreign statements; one that another writer made of ours is repaired, and counts as ours."""
    ours = {sid_of(ISSUER, KEY), retained_sid(ISSUER, KEY), placeholder_sid(ISSUER)}
    return [statement_text(s) for s in document.statements if not is_owned(s, ISSUER) and s.get("Sid") not in ours]


class _Pairs(list[tuple[str, Any]]):
    """An object with its members in their order, a key that stands twice twice."""


def _members(text: str) -> Any:
    """Return Version, Statement and the rest of a text with each number in its own digits, by a decoder of its own."""
    decoded = json.loads(text, object_pairs_hook=_Pairs, parse_int=_digits, parse_float=_digits)
    members = dict(decoded)
    if members.get("Version", "") is None:
        del members["Version"]  # IAM stores no such document
    statements = members.pop("Statement", [])
    return members, [statements] if isinstance(statements, _Pairs) else statements


def _digits(text: str) -> str:
    return f"number {text}"
