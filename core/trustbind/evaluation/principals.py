"""The ``Principal`` and ``NotPrincipal`` elements.

Sources: IAM User Guide, "AWS JSON policy elements: Principal" and "NotPrincipal".

Where the guide leaves room, the choice is the one that allows less (see ``three_valued``):

- ``"*"`` is everyone. ``{"AWS": "*"}`` is every AWS principal; the guide calls the two equivalent, so for federated and
  service callers the second is not understood.
- A role ARN covers the role's sessions. A session's ARN has lost the role's path; role names are unique in an account
  whatever their path, so the name decides, except where the request says ``aws:PrincipalArn``: then path and name must
  be the same, and a value that contradicts the session is not understood.
- An AWS account in a Deny is not understood for users of an OIDC or SAML provider of that account.
- ``NotPrincipal`` in a Deny spares a caller for certain only where the account and every ARN on the way to the caller
  (role, then session) are listed; the guide warns that otherwise the deny may apply.
- Wildcards inside a principal, and everything else that IAM does not accept as one, are not understood. Ids of deleted
  principals (``AROA…``, ``AIDA…``) cover nobody, and this is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trustbind.evaluation import hints
from trustbind.evaluation.model import FEDERATED_HOSTS, PARTITION, Caller, Failure, PrincipalKind
from trustbind.evaluation.request_context import RequestContext
from trustbind.evaluation.three_valued import Check, Truth, as_texts, listed, quoted
from trustbind.evaluation.wildcards import has_wildcard

_KINDS: Final = {
    "AWS": PrincipalKind.AWS,
    "Federated": PrincipalKind.FEDERATED,
    "Service": PrincipalKind.SERVICE,
    "CanonicalUser": PrincipalKind.AWS,
}
_NOUNS: Final = {
    PrincipalKind.AWS: "the AWS principal",
    PrincipalKind.FEDERATED: "the federated provider",
    PrincipalKind.SERVICE: "the service",
}
_ACCOUNT = re.compile(r"[0-9]{12}")
_STALE = re.compile(r"(?:AROA|AIDA)[A-Z0-9]{12,28}")
_PRINCIPAL = re.compile(
    rf"arn:(?P<partition>{PARTITION}):(?:iam(?=::[0-9]+:[ru])|sts(?=::[0-9]+:[af]))::(?P<account>[0-9]{{1,12}}):"
    r"(?P<type>root|user|role|assumed-role|federated-user)(?:/(?P<name>\S+))?"
)
_PROVIDER = re.compile(rf"arn:{PARTITION}:iam::[0-9]{{1,12}}:(?:oidc|saml)-provider/\S+")
_PROVIDER_ACCOUNT = re.compile(rf"arn:({PARTITION}):iam::([0-9]{{1,12}}):")
_SERVICE = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_EVERYONE: Final = "*"
_LEVELS: Final = ("self", "role", _EVERYONE, "account")
"""From what is named in the narrowest way to what leaves the decision to the account's own policies."""


@dataclass(frozen=True, slots=True)
class _Coverage:
    """How one entry of the element relates to the caller."""

    truth: Truth
    level: str = ""
    """What the entry names on the way to the caller: ``account``, ``role``, ``self``, or ``*`` for everyone."""
    note: str = ""


_NOBODY: Final = _Coverage(Truth.NO)
_UNCLEAR: Final = _Coverage(
    Truth.UNKNOWN,
    note="names the provider's AWS account in a Deny, and whether that covers the provider's users is not documented",
)


def check_principal(
    element: str, value: object, caller: Caller, context: RequestContext, *, deny: bool, explain: bool = True
) -> Check:
    """Return whether a ``Principal`` or ``NotPrincipal`` element covers the caller.

    Args:
        element: ``Principal`` or ``NotPrincipal``.
        value: The element's value, as decoded from JSON.
        caller: Who calls.
        context: The request's keys.
        deny: Whether the statement is a Deny, which matters for ``NotPrincipal``.
        explain: Whether the message ends with a hint at the nearest difference, which takes time.
    """
    negated = element == "NotPrincipal"
    entries = _entries(value)
    if entries is None:
        message = f'the {element} is neither "*" nor an object of texts and lists of texts'
        return Check(Truth.UNKNOWN, (Failure(element, message=message),), (message,))
    covered = [
        _cover(kind, text, caller, context)
        if negated or not (deny and _is_own_account(kind, text, caller))
        else _UNCLEAR
        for kind, text in entries
    ]
    truth = max(coverage.truth for coverage in covered)
    notes = [f"{element} {coverage.note}" for coverage in covered if coverage.note]
    if negated:
        if deny and truth is Truth.YES and not _spared(covered, caller):
            truth = Truth.UNKNOWN
            notes.append(
                f"{element} in a Deny names {caller.identifier} only in part; list its account, its role and its "
                "session to spare it for certain"
            )
        truth = truth.negated()
    if truth is Truth.YES:
        levels = [] if negated else [coverage.level for coverage in covered if coverage.truth is Truth.YES]
        return Check(truth, unknown=tuple(notes), level=min(levels, key=_LEVELS.index, default=""))
    message = _message(element, entries, caller, explain=explain)
    if truth is Truth.UNKNOWN and notes:
        message += f"; {notes[0]}"
    return Check(truth, (Failure(element, message=message),), tuple(notes))


def _is_own_account(kind: str | None, text: str, caller: Caller) -> bool:
    """Return whether an entry names the AWS account of the provider that calls."""
    account = _PROVIDER_ACCOUNT.match(caller.identifier) if caller.kind is PrincipalKind.FEDERATED else None
    return account is not None and kind == "AWS" and text in {account[2], f"arn:{account[1]}:iam::{account[2]}:root"}


def _entries(value: object) -> list[tuple[str | None, str]] | None:
    """Return pairs of principal type (None for the bare ``"*"``) and text, or None where the element is malformed."""
    if value == _EVERYONE:
        return [(None, _EVERYONE)]
    if not isinstance(value, Mapping):
        return None
    entries: list[tuple[str | None, str]] = []
    for kind, raw in value.items():
        texts = as_texts(raw)
        if texts is None:
            return None
        entries += [(str(kind), text) for text in texts]
    return entries or None


def _cover(kind: str | None, text: str, caller: Caller, context: RequestContext) -> _Coverage:
    if kind is None:
        return _Coverage(Truth.YES, _EVERYONE)
    if kind not in _KINDS:
        return _Coverage(Truth.UNKNOWN, note=f"has the type {quoted(kind)}, which is not understood")
    same_kind = caller.kind is _KINDS[kind]
    if kind == "AWS" and text == _EVERYONE:
        if same_kind:
            return _Coverage(Truth.YES, _EVERYONE)
        return _Coverage(Truth.UNKNOWN, note='has {"AWS": "*"}, and whether that covers this caller is not documented')
    if kind == "AWS" and _STALE.fullmatch(text):
        return _Coverage(Truth.NO, note=f"names {text}, the id of a deleted principal, which covers no caller")
    unclear = Truth.UNKNOWN if same_kind else Truth.NO
    if kind == "CanonicalUser":
        return _Coverage(unclear, note="has a CanonicalUser, which is not understood in a trust policy")
    if has_wildcard(text):
        return _Coverage(unclear, note=f"{quoted(text)} has a wildcard, which IAM does not accept inside one")
    if not same_kind:
        return _NOBODY
    if kind == "AWS":
        return _cover_aws(text, caller.identifier, context)
    if text == caller.identifier:
        return _Coverage(Truth.YES, "self")
    known = text in FEDERATED_HOSTS or _PROVIDER.fullmatch(text) if kind == "Federated" else _SERVICE.fullmatch(text)
    if known:
        return _NOBODY
    return _Coverage(Truth.UNKNOWN, note=f"{quoted(text)} is not understood as {_NOUNS[caller.kind]}")


def _cover_aws(text: str, identifier: str, context: RequestContext) -> _Coverage:
    caller = _PRINCIPAL.fullmatch(identifier)
    caller_account = caller["account"] if caller else identifier
    if _ACCOUNT.fullmatch(text):
        return _Coverage(Truth.YES, "account") if caller_account == text else _NOBODY
    wanted = _PRINCIPAL.fullmatch(text)
    if wanted is None or (wanted["type"] == "root") == bool(wanted["name"]):
        return _Coverage(Truth.UNKNOWN, note=f"{quoted(text)} is not understood as an AWS principal")
    if caller_account != wanted["account"] or (caller and caller["partition"] != wanted["partition"]):
        return _NOBODY
    if wanted["type"] == "root":
        return _Coverage(Truth.YES, "account")
    if caller and wanted["type"] == "role" and caller["type"] == "assumed-role":
        return _cover_session(text, wanted, caller, context)
    return _Coverage(Truth.YES, "self") if text == identifier else _NOBODY


def _cover_session(text: str, role: re.Match[str], session: re.Match[str], context: RequestContext) -> _Coverage:
    session_role = (session["name"] or "").partition("/")[0]
    if role["name"].rpartition("/")[2] != session_role:
        return _NOBODY
    stated = context.get("aws:PrincipalArn")
    if not stated or tuple(stated) == (text,):
        return _Coverage(Truth.YES, "role")
    other = _PRINCIPAL.fullmatch(stated[0]) if len(stated) == 1 else None
    if (
        other
        and (other["type"], other["partition"], other["account"]) == ("role", session["partition"], session["account"])
        and (other["name"] or "").rpartition("/")[2] == session_role
    ):
        return _NOBODY
    return _Coverage(Truth.UNKNOWN, note=f"{quoted(text)} meets an aws:PrincipalArn that is not the caller's role")


def _spared(covered: list[_Coverage], caller: Caller) -> bool:
    """Return whether the entries name every principal that IAM may look at on the way to the caller."""
    levels = {coverage.level for coverage in covered if coverage.truth is Truth.YES}
    if _EVERYONE in levels:
        return True
    if caller.kind is not PrincipalKind.AWS:
        return "self" in levels
    match = _PRINCIPAL.fullmatch(caller.identifier)
    if match is None or match["type"] == "root":
        return "account" in levels
    needed = {"account", "role", "self"} if match["type"] == "assumed-role" else {"account", "self"}
    return needed <= levels


def _message(element: str, entries: list[tuple[str | None, str]], caller: Caller, *, explain: bool) -> str:
    """Return what was expected and who called, naming first what is of the caller's kind."""
    alike = [text for kind, text in entries if _KINDS.get(kind or "") is caller.kind]
    but = "anything but " if element == "NotPrincipal" else ""
    actual = f"{_NOUNS[caller.kind]} {quoted(caller.identifier)}"
    if alike:
        message = f"{element} expects {but}{_NOUNS[caller.kind]} {listed(alike)} but the caller is {actual}"
        if explain and not but:
            message += hints.for_principal(alike, caller)
        return message
    kinds = {_KINDS.get(kind or "") for kind, _ in entries}
    noun = next((_NOUNS[kind] for kind in kinds if kind), "") if len(kinds) == 1 else ""
    texts = listed([text for _, text in entries])
    return f"{element} expects {but}{noun}{' ' if noun else ''}{texts} but the caller is {actual}"
