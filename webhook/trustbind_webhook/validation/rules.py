"""What the writer of an object of ours is answered: one answer from values alone.

The schema in ``manifests/crd`` refuses what can be seen in one object by itself. Here is the rest: what our own parsers
know better is refused; what depends on other objects, which may still come, is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from trustbind.api import aws_account, role_binding, role_binding_set, role_grant
from trustbind.api.aws_account import AwsAccount
from trustbind.api.condition_places import check_own_keys
from trustbind.api.conflicts import NO_SUBJECTS, duplicate_account, manager_role, profile_conflict, unknown_account
from trustbind.api.federated_subjects import FederatedSubjects, too_wide
from trustbind.api.label_selector import LabelSelector
from trustbind.api.role_binding import DEFAULT_PROFILE, Injection, RoleBinding
from trustbind.api.role_binding_set import RoleBindingSet
from trustbind.api.role_grant import RoleGrant, authorize
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject
from trustbind.messages import one_line
from trustbind.policy.claim import claims_on
from trustbind.policy.own_findings import check_claims, own_warnings
from trustbind.policy.owned_statement import check_conditions, check_issuer

__all__ = ["KINDS", "MAX_WARNING", "OTHER_KIND", "Knowledge", "Request", "Verdict", "validate"]

Labels = Mapping[str, str]

KINDS: Final[Mapping[str, str]] = {
    "rolebindings": role_binding.KIND,
    "awsaccounts": aws_account.KIND,
    "rolegrants": role_grant.KIND,
    "rolebindingsets": role_binding_set.KIND,
}
"""Resource to kind, of what is validated."""

OTHER_KIND: Final = "other"
"""Stands for every kind that is none of ours."""

MAX_WARNING: Final = 240
"""Characters of a warning; the API server may cut those over 256 (Kubernetes documentation, "Dynamic Admission
Control")."""

_MAX_MESSAGE: Final = 2048
"""Characters of a denial. It may quote what the object holds, and it is logged."""

_PREFIX: Final = "trustbind: "

_MATCHED_ACCOUNTS: Final = 1000
"""Service accounts of a namespace that a selector is matched with here. Pods of other namespaces wait for the answer to
be there, so it costs some milliseconds at most; where a namespace has more, a warning may be missing, and the operator
says the same later."""

_JUDGED_ACCOUNTS: Final = 100
"""Selected service accounts that are compared with grants here."""

_JUDGED_NAMESPACES: Final = 20
"""Selected namespaces in which a set's binding is compared with grants here."""

_SHOWN_PATTERNS: Final = 3
"""Dangerous patterns of one grant, or findings about one binding, that get a warning each: the API server has room for
4,096 characters of warnings."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        uid: to be echoed.
        group: the resource's API group.
        resource: plural.
        sub_resource: such as ``status``; empty for the object itself.
        namespace: of the object; empty for one of the cluster's.
        name: of the object, as far as it has one.
        operation: ``CREATE``, ``UPDATE``, ``DELETE`` or ``CONNECT``.
        object: as it would be stored; None with a DELETE.
        old: as it is stored; None with a CREATE.
    """

    uid: str
    group: str
    resource: str
    sub_resource: str
    namespace: str
    operation: str
    name: str = ""
    object: Any = None
    old: Any = None

    @property
    def kind(self) -> str:
        """The object's kind; `OTHER_KIND` when it is none of ours."""
        is_ours = self.group == API_VERSION.partition("/")[0]
        return KINDS.get(self.resource, OTHER_KIND) if is_ours else OTHER_KIND


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of the cluster. None means not known, and then nothing is said that depends on it.

    Attributes:
        issuer: of the cluster's service-account tokens.
        bindings: of the object's namespace, in any order.
        accounts: name to labels of the service accounts in the object's namespace.
        namespaces: name to labels of all namespaces.
        grants: all of them.
        aws_accounts: all of them.
    """

    issuer: Issuer | None = None
    bindings: Sequence[RoleBinding] = ()
    accounts: Mapping[str, Labels] | None = None
    namespaces: Mapping[str, Labels] | None = None
    grants: Sequence[RoleGrant] | None = None
    aws_accounts: Sequence[AwsAccount] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer.

    Attributes:
        allowed: whether the object may be stored.
        message: why not: one sentence that begins with the field; empty when it may.
        warnings: what its writer should know all the same; each fits into a warning of the API server's.
    """

    allowed: bool = True
    message: str = ""
    warnings: tuple[str, ...] = field(default=())

    @property
    def outcome(self) -> str:
        """The answer in one word, for metrics and logs."""
        if not self.allowed:
            return "denied"
        return "warned" if self.warnings else "allowed"


def validate(request: Request, knowledge: Knowledge) -> Verdict:
    """Return whether the object may be stored, and what its writer should know.

    Nothing is said about an object that is on its way out, nor about a change of anything but the spec: whoever takes
    off a finalizer or sets a label is not to be stopped by a rule that the spec never met.
    """
    judge = _JUDGES.get(request.kind)
    if judge is None or request.sub_resource or request.operation not in {"CREATE", "UPDATE"}:
        return Verdict()
    if request.object is None:
        return Verdict(warnings=_fitted(["the review holds no object, so nothing was checked"]))
    if _at(request.object, "metadata", "deletionTimestamp") or _keeps_its_spec(request):
        return Verdict()
    try:
        return Verdict(warnings=_fitted(judge(request, knowledge)))
    except InvalidValueError as error:
        message = str(error)
        return Verdict(
            allowed=False,
            message=message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 3]}...",
        )


def _binding(request: Request, knowledge: Knowledge) -> Iterator[str]:
    binding = RoleBinding.parse(request.object, default_namespace=request.namespace or "default")
    _check_unchanged(request, "roleArn", "create another binding for another role")
    if knowledge.issuer is not None:
        check_own_keys(binding.conditions, knowledge.issuer)
        if binding.method.target_trusts_tokens:
            _check_statements(binding, knowledge.issuer)
    known = knowledge.accounts or {}
    names = _names(binding, known)
    if conflict := profile_conflict(binding, names, knowledge.bindings, known):
        yield conflict
    yield from _ungranted(binding, names[:_JUDGED_ACCOUNTS], knowledge)
    yield from _undescribed(binding, knowledge)
    yield from _wide_subjects(binding.federated)
    if knowledge.issuer is not None:
        yield from own_warnings(binding, knowledge.issuer)[:_SHOWN_PATTERNS]
    yield from _without_effect(binding)
    if knowledge.accounts is None:
        return
    if binding.selector is not None and not names and len(known) <= _MATCHED_ACCOUNTS:
        yield NO_SUBJECTS
    if missing := [name for name in binding.service_account_names if name not in known]:
        yield f"spec.serviceAccountNames: not in namespace {binding.ref.namespace} yet: {', '.join(missing)}"


def _set(request: Request, knowledge: Knowledge) -> Iterator[str]:
    wanted = RoleBindingSet.parse(request.object)
    binding = wanted.binding
    before, after = (_at(o, "spec", "template", "roleArn") for o in (request.old, request.object))
    if request.operation == "UPDATE" and before not in {None, after}:
        raise InvalidValueError("is immutable; create another set for another role", field="spec.template.roleArn")
    if knowledge.issuer is not None:
        try:
            check_own_keys(binding.conditions, knowledge.issuer)
            if binding.method.target_trusts_tokens:
                _check_statements(binding, knowledge.issuer)
        except InvalidValueError as error:
            raise InvalidValueError(error.problem, field=error.field.replace("spec", "spec.template", 1)) from None
    yield from (warning.replace("spec.", "spec.template.", 1) for warning in _undescribed(binding, knowledge))
    if knowledge.namespaces is not None:
        yield from _in_namespaces(wanted, knowledge.namespaces, knowledge.grants)


def _in_namespaces(
    wanted: RoleBindingSet, namespaces: Mapping[str, Labels], grants: Sequence[RoleGrant] | None
) -> Iterator[str]:
    """Say that no namespace is selected now, and in which of them no grant covers the set's binding."""
    selected = sorted(name for name, labels in namespaces.items() if wanted.selects(labels))
    if not selected:
        yield "spec.namespaceSelector: no namespace has these labels now"
    names = wanted.binding.service_account_names
    for namespace in selected[:_JUDGED_NAMESPACES] if grants is not None else ():
        binding = replace(wanted.binding_in(namespace), pattern=wanted.pattern)
        answer = authorize(binding, names, namespaces[namespace], grants or ())
        if not answer.is_granted:
            yield answer.message
            return  # the set's status says how many there are


def _names(binding: RoleBinding, accounts: Mapping[str, Labels]) -> list[str]:
    """Return the service accounts that a binding names, or selects of a bounded number, sorted."""
    if binding.selector is None:
        return list(binding.service_account_names)
    considered = islice(accounts.items(), _MATCHED_ACCOUNTS)
    return sorted(name for name, labels in considered if binding.selector.matches(labels))


def _without_effect(binding: RoleBinding) -> Iterator[str]:
    """Say which fields mean nothing where EKS's agent, and not the pod, asks for the credentials."""
    if binding.method.injection is not Injection.CONTAINER_CREDENTIALS:
        return
    fields = (
        ("spec.audience", binding.audience != DEFAULT_AUDIENCE),
        ("spec.session.name", bool(binding.session_name)),
        ("spec.profile", binding.profile != DEFAULT_PROFILE),
    )
    if said := [name for name, is_said in fields if is_said]:
        verb = "has" if len(said) == 1 else "have"
        yield f"{', '.join(said)} {verb} no effect with method PodIdentity: EKS's agent asks for the credentials"
    if binding.session_duration_seconds is not None:
        yield (
            "spec.session.durationSeconds only counts against a grant's bound with method PodIdentity: EKS decides how "
            "long a session lasts"
        )


def _check_statements(binding: RoleBinding, issuer: Issuer) -> None:
    """Check that the binding's statements can be written."""
    for entry in binding.federated:
        try:
            check_issuer(issuer, entry.issuer)
        except InvalidValueError as error:
            raise error.within("spec.federatedSubjects") from None
    named = (Subject(binding.ref.namespace, "any"),)
    roles = (binding.role, *((binding.source.role,) if binding.source else ()))
    try:
        for claim in (claim for role in roles for claim in claims_on(role, binding, named)):
            check_conditions(issuer, claim.key)
    except InvalidValueError as error:
        raise error.within("spec.conditions") from None
    try:
        check_claims(binding, issuer)
    except InvalidValueError as error:
        raise error.within("spec.federatedSubjects") from None


def _ungranted(binding: RoleBinding, names: Iterable[str], knowledge: Knowledge) -> Iterator[str]:
    """Say that no grant covers the binding, and what the nearest lacks."""
    if knowledge.grants is None:
        return
    labels = None if knowledge.namespaces is None else knowledge.namespaces.get(binding.ref.namespace)
    answer = authorize(binding, names, labels or {}, knowledge.grants)
    # Without the namespace's labels, a grant that selects namespaces may be the one.
    if not answer.is_granted and (labels is not None or all(g.selector is None for g in knowledge.grants)):
        yield answer.message


def _undescribed(binding: RoleBinding, knowledge: Knowledge) -> Iterator[str]:
    """Say which of the binding's AWS accounts no AWSAccount describes, and which roles are not to be bound."""
    if knowledge.aws_accounts is None:
        return
    described = {account.account_id for account in knowledge.aws_accounts}
    counting = {a.account_id: a for a in sorted(knowledge.aws_accounts, key=lambda a: a.age_key, reverse=True)}
    roles = [("spec.roleArn", binding.role)]
    if binding.source is not None and binding.method.uses_pod_identity_association:
        roles = [("spec.roleArn", binding.source.role), ("spec.targetRoleArn", binding.role)]
    elif binding.source is not None:
        roles.append(("spec.source.roleArn", binding.source.role))
    for place, role in roles:
        if problem := manager_role(role, counting.get(role.account_id)):
            yield f"{place}: {problem}"
        if role.account_id not in described:
            described.add(role.account_id)
            yield f"{place}: {unknown_account(role)}"


def _aws_account(request: Request, knowledge: Knowledge) -> Iterator[str]:
    account = AwsAccount.parse(request.object)
    _check_unchanged(request, "accountId", "create another AWSAccount for another account")
    others = [
        other
        for other in knowledge.aws_accounts or ()
        if other.account_id == account.account_id and other.name != account.name and not other.is_deleting
    ]
    if not others:
        return
    other = min(others, key=lambda o: o.age_key)
    if other.age_key < account.age_key:
        yield duplicate_account(other)
    else:
        yield f"AWSAccount {other.name} is younger and has the same accountId, so it does not count; remove one"


def _grant(request: Request, knowledge: Knowledge) -> Iterator[str]:
    grant = RoleGrant.parse(request.object)
    wide = [(pattern, whose) for pattern in grant.role_arns if (whose := _all_roles_of(pattern))]
    for pattern, whose in wide[:_SHOWN_PATTERNS]:
        yield (
            f"spec.roleArns: {pattern} covers every role of {whose}, administrators' and the manager role too; "
            f"narrow it to a path, such as {pattern.rpartition(':')[0]}:role/team-a/*"
        )
    if len(wide) > _SHOWN_PATTERNS:
        yield f"spec.roleArns: so do {len(wide) - _SHOWN_PATTERNS} more patterns"
    yield from _wide_subjects(grant.federated)
    if grant.selector == LabelSelector():
        yield (
            "spec.namespaces.selector: an empty selector covers every namespace, those to come too; "
            "name namespaces, or select them by a label"
        )
    if knowledge.namespaces is not None and (
        missing := [name for name in grant.namespaces if name not in knowledge.namespaces]
    ):
        yield f"spec.namespaces.names: no such namespace yet: {', '.join(missing)}"


def _wide_subjects(entries: Iterable[FederatedSubjects]) -> Iterator[str]:
    """Say which patterns over other issuers' subjects strangers can meet."""
    dangers = too_wide(entries)
    yield from (f"spec.federatedSubjects: {danger}" for danger in dangers[:_SHOWN_PATTERNS])
    if len(dangers) > _SHOWN_PATTERNS:
        yield f"spec.federatedSubjects: so do {len(dangers) - _SHOWN_PATTERNS} more patterns"


def _all_roles_of(pattern: str) -> str:
    """Return the account, or accounts, of which a grant's pattern covers every role; empty when there are none."""
    account, _, resource = pattern.split(":", 4)[4].partition(":")
    name = resource.removeprefix("role/")
    if "*" not in name or name.strip("*?"):
        return ""
    if not account.strip("*?"):
        return "every account"
    return f"account {account}" if account.isdigit() else f"the accounts {account}"


_JUDGES: Final[Mapping[str, Callable[[Request, Knowledge], Iterator[str]]]] = {
    role_binding.KIND: _binding,
    aws_account.KIND: _aws_account,
    role_grant.KIND: _grant,
    role_binding_set.KIND: _set,
}


def _keeps_its_spec(request: Request) -> bool:
    return (
        request.operation == "UPDATE"
        and isinstance(request.old, Mapping)
        and _at(request.old, "spec") == _at(request.object, "spec")
    )


def _check_unchanged(request: Request, name: str, advice: str) -> None:
    """Check once more what the schema does: another identity is another object."""
    before = _at(request.old, "spec", name)
    if request.operation == "UPDATE" and before is not None and before != _at(request.object, "spec", name):
        raise InvalidValueError(f"is immutable; {advice}", field=f"spec.{name}")


def _at(value: Any, *path: str) -> Any:
    """Return what stands at ``path``; None when nothing does, whatever form the value has."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _fitted(sentences: Iterable[str]) -> tuple[str, ...]:
    """Return warnings that say the sentences, each a printable line: a long one becomes several, at its semicolons."""
    room = MAX_WARNING - len(_PREFIX)
    result: list[str] = []
    for sentence in sentences:
        line, *parts = sentence.split("; ")
        for part in parts:
            if len(line) + len(part) + 2 <= room:
                line = f"{line}; {part}"
            else:
                result.append(line)
                line = part
        result.append(line)
    lines = map(one_line, result)
    return tuple(_PREFIX + (line if len(line) <= room else f"{line[: room - 3]}...") for line in lines)
