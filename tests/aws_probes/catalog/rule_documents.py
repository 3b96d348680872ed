"""The documents of tests/data/rules, sent to IAM: what the rules call refused is refused, all else is stored.

One probe for each rule. AWS account ids become the sandbox's, and roles and users that a document names become roles
and users of the run, which are created first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from aws_probes.catalog.calls import ACCOUNT_ROOT, allow, create_role, document, name_of, update_trust
from aws_probes.lab import PATH
from aws_probes.model import Call, Probe
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import RULES, Finding, Severity, findings
from trustbind.policy.document_rules.model import MALFORMED
from trustbind.policy.trust_document import TrustDocument

__all__ = ["SKIPPED", "probes"]

_DATA: Final = Path(__file__).parents[2] / "data" / "rules"

SKIPPED: Final = frozenset({"AbsentPrincipal", "TooLong"})
"""Rules whose documents depend on what exists and on the quota; `trust_policies` has probes of its own for them."""

_SUBJECT: Final = "subject"
_STAND_IN: Final = "111122223333"
_OTHER: Final = "444455556666"
_ENTITY = re.compile(rf"arn:aws:iam::({_STAND_IN}|{_OTHER}):(role|user)/((?:[\w-]+/)*)([\w-]+)(?![\w*?-])")
_SESSION = re.compile(rf"arn:aws:sts::({_STAND_IN}|{_OTHER}):assumed-role/([\w-]+)/")
_OF_SANDBOX = re.compile(rf"(?<=arn:aws:(?:iam|sts)::){_STAND_IN}(?=:)|(?<=arn:aws:iam::){_OTHER}(?=:root)")
_BARE = re.compile(rf'"(?:{_STAND_IN}|{_OTHER})"')
_REFUSED: Final = tuple(rule for rule in RULES if rule.severity is Severity.REFUSED)


def probes() -> tuple[Probe, ...]:
    """Return a probe for each rule, in the order of the rules."""
    return tuple(_probe(rule.name, rule.severity, rule.source) for rule in RULES if rule.name not in SKIPPED)


def _probe(code: str, severity: Severity, source: str) -> Probe:
    file = json.loads((_DATA / f"{code}.json").read_text(encoding="utf-8"))
    cases = [
        (f"{part}: {case['name']}", *_moved(case["document"]))
        for part in ("has", "nearly")
        for case in file[part]
        if "role" not in case  # another partition than the sandbox's
    ]
    needed = sorted({entity for _, _, entities in cases for entity in entities})
    subject = create_role(_SUBJECT, document(allow({"AWS": ACCOUNT_ROOT})))
    documents = [_call(label, moved) for label, moved, _ in cases]
    what = "IAM refuses" if severity is Severity.REFUSED else "IAM stores, although the rule finds them,"
    fact = f"{what} the documents that break the rule {code}. Source: {source}"
    return Probe(f"rule-{code}", fact, (subject, *map(_created, needed), *documents))


def _moved(policy: Any) -> tuple[Any, set[tuple[str, str, str]]]:
    """Return a document for the sandbox, and the kind, path and short name of each role and user that it needs."""
    needed: set[tuple[str, str, str]] = set()

    def entity(match: re.Match[str]) -> str:
        account, kind, folder, name = match.groups()
        short = "-".join((account[0], *folder.strip("/").split("/"), name)).replace("--", "-")
        needed.add((kind, f"{PATH}{folder}", short))
        return f"arn:aws:iam::@{{account}}:{kind}{PATH}{folder}{name_of(short)}"

    def session(match: re.Match[str]) -> str:
        short = f"{match[1][0]}-{match[2]}"
        needed.add(("role", PATH, short))
        return f"arn:aws:sts::@{{account}}:assumed-role/{name_of(short)}/"

    text = _ENTITY.sub(entity, json.dumps(policy))
    text = _BARE.sub('"@{account}"', _OF_SANDBOX.sub("@{account}", _SESSION.sub(session, text)))
    return json.loads(text), needed


def _created(entity: tuple[str, str, str]) -> Call:
    kind, path, short = entity
    if kind == "role":
        return create_role(short, document(allow({"AWS": ACCOUNT_ROOT})), path=path)
    return Call(f"create {short}", "iam:CreateUser", {"UserName": name_of(short), "Path": path})


def _call(label: str, policy: Any) -> Call:
    found = next(_refusals(policy), None)
    if found is None:
        return update_trust(_SUBJECT, policy, label, settles=True)
    says = found.aws_message.partition('"')[0].strip()  # behind it come names, which IAM may shorten
    return update_trust(_SUBJECT, policy, label, assumes=found.aws_code, says=says)


def _refusals(policy: Any) -> Iterator[Finding]:
    """Yield what the rules refuse in a document, whose principals all exist."""
    text = json.dumps(policy).replace("@{account}", _STAND_IN).replace("@{run}", "run")
    role = RoleArn("aws", _STAND_IN, PATH, "subject")
    try:
        yield from findings(TrustDocument.parse(text), role, exists=lambda _, __: True, rules=_REFUSED)
    except InvalidValueError:
        yield Finding(RULES[0], None, "cannot be read", "", MALFORMED)
