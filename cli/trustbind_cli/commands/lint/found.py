"""The findings with their places. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from trustbind.api.annotations import AnnotationKeys, is_opted_out
from trustbind.evaluation.model import StatementRef
from trustbind.finding_kinds import FindingKind, FindingSeverity
from trustbind.findings import kind_of_rule
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject
from trustbind.linting.documents import lint_document
from trustbind.linting.kinds import Lint
from trustbind.linting.objects import Bound, lint_annotated, lint_binding, lint_grant
from trustbind.policy.document_rules import findings
from trustbind.policy.own_findings import own_documents
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli.files.manifests import Objects, texts
from trustbind_cli.files.snapshot import namespace_labels

__all__ = ["Found", "Place", "Seen", "found_in"]

_ANY_CLUSTER: Final = Issuer("https://oidc.example.com")
"""Stands for the cluster's issuer where it is not known: rules about a binding's statements do not depend on it."""
_ORDER: Final = list(FindingSeverity)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands.

    Attributes:
        source: name of the file, ``the cluster``, or the AWS account.
        line: in the file, from 1; 0 where that is not known.
        what: the object, or the role's ARN.
        is_file: whether ``source`` is a file.
    """

    source: str
    line: int
    what: str
    is_file: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """One finding.

    Attributes:
        kind: which.
        place: where.
        message: what is wrong and what to do; it continues the name of the place.
        statement: of a trust policy.
    """

    kind: FindingKind
    place: Place
    message: str
    statement: StatementRef | None = None

    @property
    def rank(self) -> int:
        """The worst severity has the smallest."""
        return _ORDER.index(self.kind.severity)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at.

    Attributes:
        objects: of the files, or of the cluster.
        documents: role to trust policy.
        places: object, as ``RoleBinding team-a/app``, or role, to where it stands.
        issuer: the cluster's; None: not known.
        keys: of the annotations.
        is_whole: whether the objects are all of the cluster.
    """

    objects: Objects
    documents: Mapping[RoleArn, TrustDocument]
    places: Mapping[str, Place]
    issuer: Issuer | None
    keys: AnnotationKeys
    is_whole: bool

    def place(self, what: str) -> Place:
        """Return where an object or a role stands."""
        return self.places.get(what) or Place("", 0, what, is_file=False)


def found_in(seen: Seen) -> list[Found]:
    """Return every finding, by place, then by code; each once."""
    found = [*_in_documents(seen), *_in_bindings(seen), *_in_grants(seen), *_in_annotated(seen)]
    return sorted(dict.fromkeys(found), key=lambda each: (each.place, each.kind.code, str(each.statement)))


def _in_documents(seen: Seen) -> Iterator[Found]:
    for role, document in seen.documents.items():
        account = seen.objects.aws_accounts.get(role.account_id)
        limit = account.trust_policy_limit if account is not None else None
        yield from _of_document(seen.place(str(role)), role, document, limit)


def _of_document(place: Place, role: RoleArn, document: TrustDocument, limit: int | None) -> Iterator[Found]:
    for finding in findings(document, role, limit):
        yield Found(kind_of_rule(finding.rule), place, finding.message, finding.statement)
    yield from _at(place, lint_document(document, limit))


def _in_bindings(seen: Seen) -> Iterator[Found]:
    grants = seen.objects.grants if seen.is_whole or seen.objects.grants else None
    for bound in _bound(seen):
        place = seen.place(f"RoleBinding {bound.binding.ref}")
        yield from _at(place, lint_binding(bound, grants, knows_accounts=seen.is_whole or bool(bound.accounts)))
        for name, document in own_documents(bound.binding, seen.issuer or _ANY_CLUSTER):
            for each in _of_document(place, bound.binding.role, document, None):
                yield Found(each.kind, place, f"its statement for {name} {each.message}")


def _in_grants(seen: Seen) -> Iterator[Found]:
    bound = list(_bound(seen))
    for grant in seen.objects.grants if bound or seen.is_whole else ():
        yield from _at(seen.place(f"RoleGrant {grant.name}"), lint_grant(grant, bound))


def _in_annotated(seen: Seen) -> Iterator[Found]:
    for (namespace, name), manifest in seen.objects.accounts.items():
        annotations = texts(manifest, "annotations")
        role = RoleArn.or_none(annotations.get(seen.keys.role_arn, "").strip())
        if role is None or role not in seen.documents or seen.issuer is None or is_opted_out(annotations):
            continue
        subject = Subject(namespace, name)
        if any(
            b.role == role and subject in b.subjects(seen.objects.labels_in(namespace)) for b in seen.objects.bindings
        ):
            continue
        audience = annotations.get(seen.keys.audience, "").strip() or DEFAULT_AUDIENCE
        place = seen.place(f"ServiceAccount {namespace}/{name}")
        yield from _at(place, lint_annotated(subject, role, seen.documents[role], seen.issuer, audience))


def _bound(seen: Seen) -> Iterator[Bound]:
    for binding in seen.objects.bindings:
        namespace = binding.ref.namespace
        yield Bound(binding, seen.objects.labels_in(namespace), namespace_labels(seen.objects, namespace))


def _at(place: Place, lints: Iterator[Lint]) -> Iterator[Found]:
    return (Found(each.kind, place, each.message, each.statement) for each in lints)
