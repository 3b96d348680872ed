"""Trust policies and service accounts in; bindings, grants and AWSAccounts out, with what they cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trustbind.api.role_binding import DEFAULT_PROFILE, BindingRef, RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.migration.adoption import takeover
from trustbind.migration.findings import ImportFinding, ImportReason
from trustbind.migration.manifests import accounts_of, binding_of, grants_of
from trustbind.migration.profiles import ImportedBinding, Use, bindings_of
from trustbind.migration.service_accounts import ServiceAccounts, differences
from trustbind.migration.trust_reader import Admission, PatternAdmission, ReadRole
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import WebIdentityKey, check_conditions
from trustbind.policy.plan import DEFAULT_LIMIT, Desired, ReplacedStatement, plan

__all__ = ["Existing", "Import", "import_trust"]

_LISTED = 3

_IMPORTED: Final = BindingRef("", "imported")
"""Stands for the bindings that will be."""
_NO_LIMIT: Final = 10**9


@dataclass(frozen=True, slots=True)
class Existing:
    """What the cluster has already, so that the import makes it not again.

    Attributes:
        bindings: of any namespace, each with its service accounts.
        grants: names of RoleGrants.
        aws_accounts: account ids of AWSAccounts.
    """

    bindings: tuple[tuple[RoleBinding, tuple[Subject, ...]], ...] = ()
    grants: frozenset[str] = frozenset()
    aws_accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Import:
    """The outcome.

    Attributes:
        accounts: AWSAccounts, as manifests.
        grants: RoleGrants, as manifests.
        bindings: RoleBindings, as manifests, by namespace and name.
        findings: what the objects do not say, and what the user should know.
        others: number of statements that are not about this cluster, by whom they trust.
        roles: number of trust policies that were read.
    """

    accounts: tuple[dict[str, Any], ...]
    grants: tuple[dict[str, Any], ...]
    bindings: tuple[dict[str, Any], ...]
    findings: tuple[ImportFinding, ...]
    others: Mapping[str, int] = field(default_factory=dict)
    roles: int = 0

    @property
    def lost(self) -> tuple[ImportFinding, ...]:
        """Findings about what trust policies grant and no binding does."""
        return tuple(finding for finding in self.findings if finding.reason.is_lost)

    @property
    def objects(self) -> Iterator[dict[str, Any]]:
        """All objects, in the order in which they are created."""
        yield from self.accounts
        yield from self.grants
        yield from self.bindings


def import_trust(
    roles: Iterable[ReadRole],
    accounts: ServiceAccounts,
    issuer: Issuer,
    existing: Existing,
    *,
    chains: bool = False,
    adopts: bool = True,
    manager_role: str = "",
    unreadable: Iterable[ImportFinding] = (),
) -> Import:
    """Return the objects that give service accounts what trust policies give them.

    Args:
        roles: the trust policies; see `trustbind.migration.trust_reader.read_role`.
        accounts: the service accounts.
        issuer: the cluster's.
        existing: see `Existing`.
        adopts: whether the bindings take over the statements that they are made of.
        chains: whether a role that trusts a source role is bound with method AssumeRole.
        manager_role: see `trustbind.migration.manifests.accounts_of`.
        unreadable: about roles that could not be read.
    """
    read = sorted(roles, key=lambda each: each.role)
    findings = [*unreadable, *(finding for each in read for finding in each.findings)]
    uses: dict[Subject, list[Use]] = {}
    by_role: dict[RoleArn, dict[Use, list[Subject]]] = {}
    annotated = accounts.annotated()
    for each in read:
        direct = by_role[each.role] = _direct(each, annotated.get(each.role, ()), issuer, findings)
        for use, subjects in direct.items():
            for subject in subjects:
                uses.setdefault(subject, []).append(use)
    for use, subjects, finding in _chains(read, by_role):
        if not chains:
            findings.append(finding)
            continue
        for subject in subjects:
            uses.setdefault(subject, []).append(use)
    trusted = {subject: [use.role for use in listed if use.source is None] for subject, listed in uses.items()}
    bindings = _bindings(uses, accounts, existing, findings)
    findings += _too_long(read, by_role, issuer)
    findings += differences(accounts, read, trusted)
    used = [role for b in bindings for role in (b.use.role, b.use.source) if role is not None]
    return Import(
        tuple(accounts_of(used, existing.aws_accounts, manager_role)),
        tuple(grants_of(bindings, existing.grants, adopts=adopts)),
        tuple(binding_of(binding, adopts=adopts) for binding in bindings),
        tuple(findings),
        dict(sum((each.others for each in read), Counter())),
        len(read),
    )


def _direct(
    read: ReadRole, annotated: Iterable[Subject], issuer: Issuer, findings: list[ImportFinding]
) -> dict[Use, list[Subject]]:
    """Return who uses one role by its own tokens; what a wider use covers is left out."""
    admitted: list[tuple[Subject, Admission | PatternAdmission]] = [(each.subject, each) for each in read.admissions]
    for pattern in read.patterns:
        admitted += [(subject, pattern) for subject in annotated if pattern.matches(subject)]
    refused: dict[Use, str] = {}
    by_subject: dict[Subject, list[Use]] = {}
    for subject, each in admitted:
        use = Use(read.role, each.audience, each.conditions)
        if use not in refused:
            refused[use] = _problem(use, subject, issuer)
            if refused[use]:
                findings.append(ImportFinding(ImportReason.NOT_A_BINDING, refused[use], read.role, each.statement))
        listed = by_subject.setdefault(subject, [])
        if not refused[use] and use not in listed:
            listed.append(use)
    members: dict[Use, list[Subject]] = {}
    for subject, listed in by_subject.items():
        for use in listed:
            if not any(_is_wider(other, use) for other in listed):
                members.setdefault(use, []).append(subject)
    return members


def _problem(use: Use, subject: Subject, issuer: Issuer) -> str:
    """Return why no binding can have the conditions of a statement; empty when one can."""
    try:
        RoleBinding.parse(
            binding_of(ImportedBinding(subject.namespace, "probe", use, DEFAULT_PROFILE, (subject.name,)))
        )
        check_conditions(issuer, WebIdentityKey(use.audience, use.conditions))
    except InvalidValueError as error:
        return f"no binding can say what it says: {error}"
    return ""


def _is_wider(other: Use, use: Use) -> bool:
    return (
        other.audience == use.audience
        and len(other.conditions) < len(use.conditions)
        and set(other.conditions) < set(use.conditions)
    )


def _chains(
    read: Iterable[ReadRole], by_role: Mapping[RoleArn, Mapping[Use, list[Subject]]]
) -> Iterator[tuple[Use, list[Subject], ImportFinding]]:
    """Yield each role that another one may assume, with the service accounts that get that one by tokens alone.

    A binding with method AssumeRole puts no further condition on the source role, so service accounts that get it
    under one are left out.
    """
    for each in read:
        for trust in each.sources:
            for use, subjects in by_role.get(trust.source, {}).items():
                if use.conditions:
                    continue
                names = ", ".join(map(str, sorted(subjects)[:_LISTED]))
                more = f" and {len(subjects) - _LISTED} more" if len(subjects) > _LISTED else ""
                message = (
                    f"it trusts the role {trust.source}, which {names}{more} can use; where they get this role over "
                    "that one, add --chains for a binding with method AssumeRole"
                )
                chained = Use(each.role, use.audience, (), trust.source, trust.external_id)
                yield chained, subjects, ImportFinding(ImportReason.CHAIN, message, each.role, trust.statement)


def _bindings(
    uses: Mapping[Subject, list[Use]],
    accounts: ServiceAccounts,
    existing: Existing,
    findings: list[ImportFinding],
) -> list[ImportedBinding]:
    """Return the bindings of what is not bound yet."""
    bound: set[tuple[Subject, RoleArn]] = set()
    profiles: dict[Subject, set[str]] = {}
    for binding, subjects in existing.bindings:
        for subject in subjects:
            bound.add((subject, binding.role))
            profiles.setdefault(subject, set()).add(binding.profile)
    left = {subject: [u for u in listed if (subject, u.role) not in bound] for subject, listed in uses.items()}
    refs = [(binding.ref.namespace, binding.ref.name) for binding, _ in existing.bindings]
    made = bindings_of(left, accounts, profiles, refs)
    for each in made:
        if each.profile != DEFAULT_PROFILE:
            names = each.service_accounts
            findings.append(
                ImportFinding(
                    ImportReason.NAMED_PROFILE,
                    f"RoleBinding {each.namespace}/{each.name} has the profile {each.profile}, since "
                    f"{', '.join(names)} {'have' if len(names) > 1 else 'has'} another role, too; choose which one is "
                    "the default",
                    each.use.role,
                )
            )
    return made


def _too_long(
    read: Iterable[ReadRole], by_role: Mapping[RoleArn, Mapping[Use, list[Subject]]], issuer: Issuer
) -> Iterator[ImportFinding]:
    """Yield the roles whose trust policy has no room for the bindings' statements.

    A statement that they replace is not counted; one without a condition on the audience is, since which audiences the
    OIDC provider accepts is not known here.
    """
    for each in read:
        claims = tuple(
            Claim(_IMPORTED, WebIdentityKey(use.audience, use.conditions), tuple(sorted(subjects)))
            for use, subjects in by_role[each.role].items()
        )
        if not claims:
            continue
        found = takeover(each.role, each.document, issuer, claims, lambda _issuer: None)
        replaced = tuple(ReplacedStatement(r.index, r.after, r.bindings) for r in found.replacements)
        size = plan(each.document, Desired(each.role, issuer, claims, replaced=replaced), _NO_LIMIT).size
        if size > DEFAULT_LIMIT:
            yield ImportFinding(
                ImportReason.TOO_LONG,
                f"with the statements of the bindings in place of those that they replace, its trust policy has {size} "
                f"characters, and {DEFAULT_LIMIT} is the quota unless it was raised; raise it before",
                each.role,
            )
