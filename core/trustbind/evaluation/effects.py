"""What policies other than a trust policy do to one call: of an identity, of an organization, of a VPC endpoint.

Sources: IAM User Guide, "IAM JSON policy element reference" and "Policy evaluation logic"; AWS Organizations User
Guide, "SCP syntax" (no Principal) and "Resource control policies"; Amazon VPC User Guide, "Control access to VPC
endpoints using endpoint policies".

What is not understood, or depends on a value that is not known here, is neither yes nor no.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.evaluation.actions import check_action
from trustbind.evaluation.conditions import check_condition
from trustbind.evaluation.model import Request
from trustbind.evaluation.principals import check_principal
from trustbind.evaluation.request_context import RequestContext
from trustbind.evaluation.three_valued import Check, Truth, as_texts
from trustbind.evaluation.wildcards import glob_matches

__all__ = ["Effects", "effects_of"]

_VARIABLES_SINCE: Final = "2012-10-17"
_EVERY: Final = Check(Truth.YES)


@dataclass(frozen=True, slots=True)
class Effects:
    """What policies do to a call.

    Attributes:
        deny: whether a Deny matches.
        allow: whether an Allow matches.
        open_keys: condition keys and the like on which it depends, each once.
    """

    deny: Truth = Truth.NO
    allow: Truth = Truth.NO
    open_keys: tuple[str, ...] = ()

    def joined(self, other: Effects) -> Effects:
        """Return what both do together."""
        keys = tuple(dict.fromkeys((*self.open_keys, *other.open_keys)))
        return Effects(max(self.deny, other.deny), max(self.allow, other.allow), keys)


def effects_of(documents: Iterable[Mapping[str, Any]], request: Request) -> Effects:
    """Return what policies do to a call.

    Args:
        documents: policies, as decoded from JSON; what is no policy does nothing.
        request: who calls, what for, and which role is the resource.
    """
    context = RequestContext.of(request.context)
    found = Effects()
    for document in documents:
        variables = document.get("Version") == _VARIABLES_SINCE
        for statement in _statements(document):
            checks = list(_checks(statement, request, context, variables=variables))
            truth = min(check.truth for check in checks)
            is_open = Truth.NO < truth < Truth.YES
            keys = tuple(dict.fromkeys(key for check in checks for key in _open(check))) if is_open else ()
            denies = statement.get("Effect") == "Deny"
            allows = statement.get("Effect") == "Allow"
            found = found.joined(
                Effects(truth if denies else Truth.NO, truth if allows else Truth.NO, keys if denies or allows else ())
            )
    return found


def _statements(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    found = document.get("Statement")
    yield from (each for each in (found if isinstance(found, list) else [found]) if isinstance(each, Mapping))


def _checks(
    statement: Mapping[str, Any], request: Request, context: RequestContext, *, variables: bool
) -> Iterator[Check]:
    element = "NotAction" if "NotAction" in statement else "Action"
    yield check_action(element, statement.get(element), request.action)
    is_deny = statement.get("Effect") == "Deny"
    for element in ("Principal", "NotPrincipal"):
        if element in statement:
            yield check_principal(element, statement[element], request.caller, context, deny=is_deny, explain=False)
    for element in ("Resource", "NotResource"):
        if element in statement:
            yield _resource(element, statement[element], request, variables=variables)
    block = statement.get("Condition")
    yield check_condition(block, context, variables=variables, explain=False) if block is not None else _EVERY


def _resource(element: str, value: object, request: Request, *, variables: bool) -> Check:
    texts = as_texts(value)
    if texts is None:
        note = f"the {element} is no text or list of texts"
        return Check(Truth.UNKNOWN, unknown=(note,))
    if any(glob_matches(text, str(request.role)) for text in texts if request.role is not None or text == "*"):
        truth = Truth.YES
    elif request.role is None or (variables and any("${" in text for text in texts)):
        truth = Truth.DEPENDS
    else:
        truth = Truth.NO
    is_open = truth is Truth.DEPENDS
    unknown = (f"the variable in {element}",) if is_open else ()
    return Check(truth if element == "Resource" else truth.negated(), unknown=unknown)


def _open(check: Check) -> Iterator[str]:
    yield from (each.key for each in check.depends)
    if not check.depends and Truth.NO < check.truth < Truth.YES:
        yield from check.unknown
