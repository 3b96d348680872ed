"""Refused by IAM: what a trust policy may consist of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from trustbind.evaluation.model import StatementRef
from trustbind.evaluation.three_valued import as_texts, listed, quoted
from trustbind.policy.condition_operators import OperatorName, UnknownOperatorError
from trustbind.policy.document_rules.model import Found, Scene, Severity, of_document, of_statement
from trustbind.policy.document_rules.statement import ReadStatement
from trustbind.policy.trust_document import VERSION

__all__ = ["RULES"]

_GRAMMAR: Final = 'IAM User Guide, "Grammar of the IAM JSON policy language"'
_CHECKS: Final = 'IAM User Guide, "IAM policy validation check reference", '
_VERSIONS: Final = (VERSION, "2008-10-17")
_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_SYNTAX: Final = "Syntax errors in policy."


@of_document("TB201", "UnknownElement", Severity.REFUSED, _GRAMMAR)
def unknown_element(scene: Scene) -> Iterator[tuple[StatementRef | None, Found]]:
    """The document or a statement has an element that the policy language does not have.

    Remedy: remove it.
    """
    for name in scene.document.extra:
        if name != "Id":
            yield None, Found(f"has an element {quoted(str(name))}, which no policy has; remove it", _SYNTAX)
    for statement in scene.statements:
        for name in statement.raw:
            if name not in _ELEMENTS:
                yield (
                    statement.ref,
                    Found(f"has an element {quoted(str(name))}, which no policy has; remove it", _SYNTAX),
                )


@of_document("TB202", "UnknownVersion", Severity.REFUSED, 'IAM User Guide, "IAM JSON policy elements: Version"')
def unknown_version(scene: Scene) -> Iterator[tuple[StatementRef | None, Found]]:
    """The Version is neither 2012-10-17 nor 2008-10-17.

    Remedy: write 2012-10-17.
    """
    version = scene.document.version
    if version is not None and version not in _VERSIONS:
        yield (
            None,
            Found(
                f"has the Version {quoted(version)}, which does not exist; write {VERSION}",
                "The policy must contain a valid version string",
            ),
        )


@of_document("TB203", "NoStatement", Severity.REFUSED, f"{_CHECKS}Missing statement")
def no_statement(scene: Scene) -> Iterator[tuple[StatementRef | None, Found]]:
    """The document has no statement.

    Remedy: add one; a role cannot be without a trust policy.
    """
    if not scene.statements:
        yield None, Found("has no statement; add one", "Could not parse the policy: Statement is empty!")


@of_statement("TB204", "ResourceElement", Severity.REFUSED, f"{_CHECKS}Role trust policy syntax error resource")
def resource_element(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement has a Resource: it was probably taken from a permissions policy.

    Remedy: remove the element; a trust policy is about the role that it belongs to.
    """
    for name in ("Resource", "NotResource"):
        if name in statement.raw:
            yield Found(f"has a {name}, which a trust policy does not have; remove it", f"Has prohibited field {name}")


@of_statement("TB209", "NoPrincipal", Severity.REFUSED, f"{_CHECKS}Missing principal")
def no_principal(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement has no Principal.

    Remedy: say whom it trusts.
    """
    if "Principal" not in statement.raw and "NotPrincipal" not in statement.raw:
        yield Found("has no Principal; say whom it trusts", "Missing required field Principal")


@of_statement("TB210", "NotPrincipal", Severity.REFUSED, 'IAM User Guide, "AWS JSON policy elements: NotPrincipal"')
def not_principal(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement has a NotPrincipal, which IAM does not support in trust policies.

    Remedy: write a Principal, and a condition on aws:PrincipalArn with ArnNotEquals.
    """
    if "NotPrincipal" in statement.raw:
        yield Found(
            "has a NotPrincipal, which trust policies do not support; write a Principal and a condition on "
            "aws:PrincipalArn"
        )


@of_statement("TB207", "InvalidEffect", Severity.REFUSED, f"{_CHECKS}Missing effect, Invalid effect")
def invalid_effect(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """The Effect is neither Allow nor Deny.

    Remedy: write one of them, with a capital.
    """
    if "Effect" not in statement.raw:
        yield Found("has no Effect; write Allow or Deny", "Missing required field Effect")
    elif statement.effect not in ("Allow", "Deny"):
        shown = quoted(str(statement.effect))
        yield Found(f"has the Effect {shown}; write Allow or Deny", f"Invalid effect: {statement.effect}")


@of_statement("TB208", "InvalidAction", Severity.REFUSED, f"{_CHECKS}Missing action, Unsupported action in policy")
def invalid_action(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement names no action, or one that is not STS's.

    Remedy: write the STS actions that assume the role.
    """
    names = [name for name in ("Action", "NotAction") if name in statement.raw]
    if not names:
        yield Found("has no Action; write the STS actions that it allows", "Missing required field Action")
        return
    if len(names) > 1:
        yield Found("has both Action and NotAction; remove one", _SYNTAX)
        return
    texts = as_texts(statement.raw[names[0]])
    if texts is None:
        is_empty = statement.raw[names[0]] == []
        words = f"Missing required field {names[0]} cannot be empty!" if is_empty else _SYNTAX
        yield Found(f"has an {names[0]} that is no text and no list of texts; write the STS actions", words)
        return
    others = [text for text in texts if not text.lower().startswith("sts:")]
    if others:
        yield Found(
            f"names {listed(others, 'and')}, and a trust policy takes only actions of STS, such as "
            "sts:AssumeRoleWithWebIdentity",
            "AssumeRole policy may only specify STS AssumeRole actions.",
        )


@of_statement("TB205", "InvalidSid", Severity.REFUSED, 'IAM User Guide, "IAM JSON policy elements: Sid"')
def invalid_sid(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A Sid has other characters than ASCII letters and digits.

    Remedy: rename it.
    """
    sid = statement.ref.sid
    if sid and not (sid.isascii() and sid.isalnum()):
        yield Found(
            "has a Sid with other characters than A-Z, a-z and 0-9; rename it",
            "Statement IDs (SIDs) can contain only the characters [A-Z], [a-z] and [0-9].",
        )


@of_document("TB206", "DuplicateSid", Severity.REFUSED, 'IAM User Guide, "IAM JSON policy elements: Sid"')
def duplicate_sid(scene: Scene) -> Iterator[tuple[StatementRef | None, Found]]:
    """Two statements have the same Sid.

    Remedy: rename one of them.
    """
    first: dict[str, StatementRef] = {}
    for ref in (statement.ref for statement in scene.statements if statement.ref.sid):
        other = first.setdefault(ref.sid, ref)
        if other is not ref:
            yield (
                ref,
                Found(
                    f"has the Sid of statement {other.index + 1}; rename one of them",
                    "Statement IDs (SID) in a single policy must be unique.",
                ),
            )


@of_statement("TB211", "UnknownOperator", Severity.REFUSED, f"{_CHECKS}Invalid condition operator")
def unknown_operator(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition operator does not exist, or does not take its prefix or suffix.

    Remedy: write it as IAM does; names are case-sensitive.
    """
    element = statement.raw.get("Condition")
    for operator in element if isinstance(element, Mapping) else ():
        try:
            OperatorName.parse(str(operator))
        except UnknownOperatorError as error:
            yield Found(
                f"has a condition operator {quoted(str(operator))} that {error}",
                f"Invalid Condition type : {operator}.",
            )


@of_statement("TB212", "InvalidCondition", Severity.REFUSED, _GRAMMAR)
def invalid_condition(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A Condition is no object of operators, keys and values.

    Remedy: write {"Operator": {"key": "value"}}.
    """
    if not _is_condition(statement.raw.get("Condition", {})):
        yield Found('has a Condition that is not of the form {"Operator": {"key": "value"}}; correct it', _SYNTAX)


def _is_condition(element: Any) -> bool:
    if not isinstance(element, Mapping) or not all(isinstance(block, Mapping) for block in element.values()):
        return False
    return all(_is_values(values) for block in element.values() for values in block.values())


def _is_values(values: Any) -> bool:
    items = values if isinstance(values, list | tuple) else (values,)
    return all(isinstance(item, str | bool | int | float) for item in items)


@of_document("TB213", "TooLong", Severity.REFUSED, 'IAM User Guide, "IAM and AWS STS quotas"')
def too_long(scene: Scene) -> Iterator[tuple[StatementRef | None, Found]]:
    """The document has more characters, without white space, than the AWS account allows.

    Remedy: remove a statement, use a second role, or raise the quota 'Role trust policy length'.
    """
    size = scene.document.size
    if scene.limit is not None and size > scene.limit:
        yield (
            None,
            Found(
                f"has {size} characters, and the AWS account allows {scene.limit}; remove a statement, use a second "
                "role, or raise the quota 'Role trust policy length'",
                f"Cannot exceed quota for ACLSizePerRole: {scene.limit}",
                "LimitExceeded",
            ),
        )


RULES: Final = (
    unknown_element,
    unknown_version,
    no_statement,
    resource_element,
    invalid_sid,
    duplicate_sid,
    invalid_effect,
    invalid_action,
    no_principal,
    not_principal,
    unknown_operator,
    invalid_condition,
    too_long,
)
