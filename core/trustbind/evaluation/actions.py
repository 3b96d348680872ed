"""The ``Action`` and ``NotAction`` elements.

Source: IAM User Guide, "IAM JSON policy elements: Action" and "NotAction". Prefix and name are case-insensitive;
``*`` and ``?`` may stand in the name, and ``*`` alone for every action.
"""

from __future__ import annotations

from trustbind.evaluation.model import Failure
from trustbind.evaluation.three_valued import Check, Truth, as_texts, listed, quoted
from trustbind.evaluation.wildcards import glob_matches, has_wildcard


def check_action(element: str, value: object, action: str) -> Check:
    """Return whether an ``Action`` or ``NotAction`` element covers the request's action.

    Args:
        element: ``Action`` or ``NotAction``.
        value: The element's value, as decoded from JSON.
        action: The request's action.
    """
    texts = as_texts(value)
    if texts is None:
        message = f"the {element} is not a text or a list of texts"
        return Check(Truth.UNKNOWN, (Failure(element, message=message),), (message,))
    truth = Truth.NO
    unknown = []
    wanted = action.lower()
    for text in texts:
        prefix, colon, name = text.partition(":")
        if text != "*" and (not colon or not prefix or not name or has_wildcard(prefix)):
            unknown.append(f"{element} {quoted(text)} is not of the form service:name")
            truth = max(truth, Truth.UNKNOWN)
        elif glob_matches(text.lower(), wanted):
            truth = Truth.YES
    if element == "NotAction":
        truth = truth.negated()
    if truth is Truth.YES:
        return Check(truth, unknown=tuple(unknown))
    expects = "anything but " if element == "NotAction" else ""
    message = f"{element} expects {expects}{listed(texts)} but the request is {quoted(action)}"
    return Check(truth, (Failure(element, message=message),), tuple(unknown))
