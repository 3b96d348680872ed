"""The rows of an answer: who can assume a role, or which roles one service account can assume. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trustbind.api.role_binding import Method
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy import access, access_principals
from trustbind.policy.access import Access, Verdict
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli.commands.who_can import unseen
from trustbind_cli.commands.who_can.scene import Scene

__all__ = ["Row", "by_role", "by_subject"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the answer.

    Attributes:
        access: see `Access`.
        bindings: RoleBindings that give the role to the service account, as ``namespace/name``.
        is_annotated: whether the service account is annotated with the role.
        pods: that run as the service account now; None: not known, or no service account.
    """

    access: Access
    bindings: tuple[str, ...] = ()
    is_annotated: bool = False
    pods: tuple[str, ...] | None = None


def by_role(scene: Scene, role: RoleArn) -> list[Row]:
    """Return who can assume a role, service accounts first; note in the scene what is not known of others."""
    document = scene.documents[role]
    found: list[Access] = []
    if scene.issuer is not None:
        found += _own(scene, scene.issuer, role, document)
        for source, second in _sources(scene, role, document):
            found += _chained(_own(scene, scene.issuer, source, scene.documents[source]), second, source)
    found += access_principals.principals_of(role, document, scene.issuer, scene.permissions)
    unseen.of_roles(scene, [role], None)
    unseen.of_audiences(scene, found)
    return [_row(scene, each) for each in found]


def by_subject(scene: Scene, issuer: Issuer, subject: Subject) -> list[Row]:
    """Return which roles a service account can assume, by its token, by an association, or over another role.

    What is not known of it is noted in the scene.
    """
    direct = {
        role: list(_of(scene, issuer, role, scene.documents[role], [subject])) for role in sorted(scene.documents)
    }
    first = frozenset(role for role, each in direct.items() if any(a.verdict is not Verdict.NO for a in each))
    found: list[Access] = []
    for role, answers in direct.items():
        found += answers
        for source, second in _sources(scene, role, scene.documents[role], first):
            found += _chained(direct[source], second, source)
    unseen.of_roles(scene, list(direct), first)
    unseen.of_audiences(scene, found)
    return [_row(scene, each) for each in found]


def _own(scene: Scene, issuer: Issuer, role: RoleArn, document: TrustDocument) -> Iterator[Access]:
    candidates = scene.service_accounts | access.subjects_named(document, issuer) | scene.bound(role)
    yield from _of(scene, issuer, role, document, sorted(candidates))
    yield from access.patterns_of(role, document, issuer, _audiences(scene, issuer, role, document))


def _of(
    scene: Scene, issuer: Issuer, role: RoleArn, document: TrustDocument, subjects: Iterable[Subject]
) -> Iterator[Access]:
    """Yield the answers for service accounts that can assume a role by themselves, or are meant to."""
    audiences, bound = _audiences(scene, issuer, role, document), scene.bound(role)
    may = access.possible(role, document, issuer)
    for subject in subjects:
        if subject not in bound and not may(subject):
            continue
        by_token = access.service_account(role, document, issuer, subject, audiences)
        associated = _association(scene, role, document, subject)
        if associated is not None:
            yield associated
        is_meant = associated is None and subject in bound and _by_token_too(scene, role, subject)
        if by_token.verdict is not Verdict.NO or is_meant:
            yield by_token


def _association(scene: Scene, role: RoleArn, document: TrustDocument, subject: Subject) -> Access | None:
    """Return the answer for an association that a binding with method PodIdentity makes; None without one."""
    for binding in scene.objects.bindings:
        first = binding.source.role if binding.source is not None else binding.role
        if binding.method is not Method.POD_IDENTITY or first != role or subject not in scene.subjects(binding):
            continue
        account = scene.objects.aws_accounts.get(role.account_id)
        if account is not None and account.eks is not None:
            return access.by_association(role, document, account.eks, subject)
        scene.miss(f"the EKS cluster of RoleBinding {binding.ref}: AWSAccount {role.account_id} with spec.eks")
    return None


def _sources(
    scene: Scene, role: RoleArn, document: TrustDocument, among: frozenset[RoleArn] | None = None
) -> Iterator[tuple[RoleArn, Access]]:
    """Yield the roles that can assume a role, with the answer for each; one step, as a pod's config file has it."""
    for source in unseen.sources(scene, role, document, among):
        second = access_principals.source_role(role, document, source, scene.permissions.get(source))
        if source in scene.documents and second.verdict is not Verdict.NO:
            yield source, second


def _chained(first: Iterable[Access], second: Access, source: RoleArn) -> Iterator[Access]:
    """Yield the answers for those who come over another role."""
    for each in first:
        if each.verdict is not Verdict.NO:
            yield access_principals.over_source(each, second, source)


def _by_token_too(scene: Scene, role: RoleArn, subject: Subject) -> bool:
    """Return whether a binding or the annotation gives a role to a service account by its token."""
    bindings = scene.bindings(role, subject)
    is_annotated = subject in scene.annotated.get(role, ())
    return is_annotated or any(b.source is None and b.method is not Method.POD_IDENTITY for b in bindings)


def _audiences(scene: Scene, issuer: Issuer, role: RoleArn, document: TrustDocument) -> frozenset[str]:
    bound = {b.audience for b in scene.objects.bindings if b.role == role or (b.source and b.source.role == role)}
    return access.audiences_named(document, issuer) | bound


def _row(scene: Scene, each: Access) -> Row:
    if each.subject is None:
        return Row(each)
    bindings = tuple(str(b.ref) for b in scene.bindings(each.role, each.subject))
    pods = scene.pods(each.subject)
    return Row(
        each,
        bindings,
        each.subject in scene.annotated.get(each.role, ()),
        None if pods is None else tuple(pods),
    )
