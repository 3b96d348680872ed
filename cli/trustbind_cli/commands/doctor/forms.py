"""Forms of texts that may be shown, and what stands for a text of another form."""

from __future__ import annotations

import re
from typing import Final

from trustbind.evaluation.token_claims import without_tokens
from trustbind.identity.arns import RoleArn
from trustbind_cli.commands.doctor.environment import UNPROXIED

__all__ = [
    "ARN",
    "FILE",
    "FOLDER",
    "NAME",
    "PATH",
    "REGION",
    "SECONDS",
    "SUBJECT",
    "SWITCH",
    "TIME",
    "UID",
    "URL",
    "instead",
    "kept",
    "proxy",
    "role_text",
    "shown_audience",
    "unproxied",
    "words",
]

NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
UID = re.compile(r"[0-9a-z-]{1,64}", re.ASCII)
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)
_HOST: Final = r"[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9][a-z0-9-]{0,62})*"
URL = re.compile(rf"https?://{_HOST}(?::[0-9]{{1,5}})?(?:/[\w.~/-]{{0,255}})?", re.ASCII)
_AUDIENCE = re.compile(rf"(?:https?://)?{_HOST}\.[a-z]{{2,24}}(?:\.?/[\w.~/-]{{0,200}})?", re.ASCII)
SUBJECT = re.compile(r"system:serviceaccount:[a-z0-9-]{1,63}:[a-z0-9.-]{1,253}", re.ASCII)
REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]{1,12}){1,3}-[0-9]{1,2}[a-z]?", re.ASCII)
SWITCH = re.compile(r"(?:[01tTfF]|true|false|TRUE|FALSE|True|False|legacy|regional)", re.ASCII)
SECONDS = re.compile(r"[+-]?[0-9]{1,6}", re.ASCII)
PATH = re.compile(
    r"/var/run/secrets/(?:pods\.)?eks\.amazonaws\.com/serviceaccount(?:/(?:token|config|eks-pod-identity-token))?",
    re.ASCII,
)
FOLDER = re.compile(r"/[a-z0-9._/-]{1,200}", re.ASCII)
FILE = re.compile(r"token(?:-[0-9]{1,3})?|config|eks-pod-identity-token", re.ASCII)
_QUOTES: Final = "[\"'`\\s\u201c\u201d\u2018\u2019]*"
_ALMOST_ARN = re.compile(
    rf"{_QUOTES}arn:(?:[A-Za-z0-9.+-]{{0,20}}:){{2,5}}[a-z-]{{1,20}}[/:][\w+=,.@/-]{{1,576}}{_QUOTES}", re.ASCII
)
"""An ARN with one of the faults that `trustbind.api.near_misses.value_hint` knows."""
ARN = re.compile(r"arn:aws[a-z0-9-]{0,20}:[a-z0-9-]{1,20}:[a-z0-9-]{0,20}:[0-9]{12}:[\w+=,.@/:-]{1,512}", re.ASCII)
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_UNFILLED = re.compile(r"\$\{|\$\(|\{\{|<[^>]*>|%\(")
_PROXY = re.compile(
    rf"(?:(?P<scheme>https?|socks5h?)://)?(?:[^@\s]*@)?(?:{_HOST}|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?/?", re.IGNORECASE
)

_KEYS = re.compile(
    r"(?<![A-Za-z0-9/+=])(?:[A-Z0-9]{20}|[A-Za-z0-9/+=]{40}|[A-Za-z0-9/+=]{120,})(?![A-Za-z0-9/+=])|//[^/@\s]*@",
    re.ASCII,
)
"""Access key ids, secret access keys and session tokens of AWS, and who logs in by a URL."""


def instead(text: str) -> str:
    """Return what stands for a text that is not shown."""
    return f"(text of {len(text)} characters)"


def kept(text: str, form: re.Pattern[str]) -> str:
    """Return a text that has a form, else what it is."""
    return text if not text or form.fullmatch(text) else instead(text)


def words(text: str) -> str:
    """Return a message of another program without what looks like a credential."""
    return _KEYS.sub("(credential)", without_tokens(text))


def role_text(text: str) -> str:
    """Return an annotation's value that names a role, or one that is wrong in the same way."""
    bare = text.strip()
    if RoleArn.or_none(bare) or _ALMOST_ARN.fullmatch(text):
        return text
    if _UNFILLED.search(text):
        return "${PLACEHOLDER}"
    return f"name-of-{len(bare)}-characters" if _ROLE_NAME.fullmatch(bare) else instead(text)


def shown_audience(text: str) -> str:
    """Return an audience that is a host or a URL; for any other, what is an audience as well: it has no white space."""
    return text if not text or _AUDIENCE.fullmatch(text) else f"audience-of-{len(text)}-characters"


def proxy(text: str) -> str:
    """Return an address of a proxy without its host; it has white space where the text is no address."""
    match = _PROXY.fullmatch(text)
    if match is None:
        return instead(text) if text else ""
    return f"{match['scheme'].lower()}://host" if match["scheme"] else "host"


def unproxied(text: str) -> str:
    """Return the hosts in NO_PROXY that decide, and the number of the others."""
    parts = [each.strip() for each in text.split(",") if each.strip()]
    known = [each for each in parts if each.lstrip("*.") in UNPROXIED]
    others = len(parts) - len(known)
    return ",".join([*known, *([f"({others} others)"] if others else [])])
