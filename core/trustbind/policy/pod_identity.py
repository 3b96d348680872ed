"""EKS Pod Identity as AWS has it: who asks for a role, with what, and whether the role's trust policy lets it in.

Sources: EKS User Guide, "Create IAM role with trust policy required by EKS Pod Identity" (principal and actions),
"Grant Pods access to AWS resources based on tags" (session tags) and "Cross-service confused deputy prevention" (source
ARN and account).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from trustbind.api.aws_account import EksCluster
from trustbind.api.role_binding import BindingRef
from trustbind.evaluation import Answer, Caller, PrincipalKind, Request, RequestContext, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import PREFIX, owner_prefix
from trustbind.policy.trust_document import Statement, TrustDocument

__all__ = [
    "BINDING_TAG",
    "OWNER_TAG",
    "SERVICE",
    "STATEMENT",
    "association_context",
    "owner_of",
    "tags_of",
    "untrusted",
]

SERVICE: Final = "pods.eks.amazonaws.com"
"""Who assumes the role for a pod, in every partition."""

ACTIONS: Final = ("sts:AssumeRole", "sts:TagSession")
"""What it does then; a role has to allow both."""

STATEMENT: Final[Statement] = {"Effect": "Allow", "Principal": {"Service": SERVICE}, "Action": list(ACTIONS)}
"""What a trust policy needs; conditions may narrow it."""

OWNER_TAG: Final = "trustbind.dev/issuer"
"""Tag of an association that says which cluster's trustbind made it."""

BINDING_TAG: Final = "trustbind.dev/binding"
"""Tag of an association that names the binding, for people."""

_TAG_LENGTH: Final = 256  # EKS User Guide, "Tag restrictions"

_BY_ACCOUNT: Final = "kubernetes-service-account"

_OF_TAGS: Final = ("aws:RequestTag/", "aws:TagKeys")
"""How the condition keys of session tags begin."""

_SESSION_TAGS: Final = (
    "eks-cluster-arn",
    "eks-cluster-name",
    "kubernetes-namespace",
    _BY_ACCOUNT,
    "kubernetes-pod-name",
    "kubernetes-pod-uid",
)


def owner_of(issuer: Issuer) -> str:
    """Return the value of `OWNER_TAG`: the same 16 hex digits that follow ``Trustbind`` in Sids."""
    return owner_prefix(issuer).removeprefix(PREFIX)


def tags_of(issuer: Issuer, binding: BindingRef) -> dict[str, str]:
    """Return the tags of an association of ours; the name of a binding can be longer than a tag."""
    return {OWNER_TAG: owner_of(issuer), BINDING_TAG: str(binding)[:_TAG_LENGTH]}


def untrusted(
    document: TrustDocument,
    role: RoleArn,
    cluster: EksCluster,
    subjects: Sequence[Subject],
    *,
    is_tagged: bool = True,
) -> str:
    """Return a sentence when the trust policy for certain does not let EKS Pod Identity in for a subject; else empty.

    What a request will have is known in part: cluster, namespace and account, but not the pod. Conditions on anything
    else are taken to hold, and what the evaluator does not understand is no reason either.

    Args:
        document: the role's trust policy.
        role: whose it is; its account is the cluster's.
        cluster: where the pods run.
        subjects: service accounts of one namespace.
        is_tagged: whether EKS adds session tags.
    """
    by_account = _BY_ACCOUNT in document.to_json().lower()
    for subject in subjects if by_account else subjects[:1]:  # else all of a namespace fare the same
        if text := _untrusted(document, role, cluster, subject, is_tagged=is_tagged):
            return text
    return ""


def _untrusted(
    document: TrustDocument, role: RoleArn, cluster: EksCluster, subject: Subject, *, is_tagged: bool
) -> str:
    context = association_context(role, cluster, subject, is_tagged=is_tagged)
    for action in ACTIONS if is_tagged else ACTIONS[:1]:
        answer = _answer(document, Request(Caller(PrincipalKind.SERVICE, SERVICE), action, context))
        if answer.refused:
            because = f" ({answer.because})" if answer.because else ""
            return (
                f"the trust policy of {role} does not allow {action} to {SERVICE} for service account "
                f"{subject.namespace}/{subject.name}{because}; add this statement: {json.dumps(STATEMENT)}"
            )
    return ""


@dataclass(frozen=True, slots=True)
class _Answer:
    refused: bool
    because: str = ""
    """What kept the nearest statement from allowing it, or what denies it; empty where no statement is near."""


def _answer(document: TrustDocument, request: Request) -> _Answer:
    decision = evaluate(document.to_json_object(), request)
    if decision.answer is not Answer.DENY:
        return _Answer(refused=False)
    if decision.statement is not None:
        return _Answer(refused=not decision.unknown, because=f"{decision.statement} denies it")
    for statement in document.statements:
        if evaluate(document.with_statements([statement]).to_json_object(), request).unknown:
            return _Answer(refused=False)
    failure = decision.failure
    return _Answer(refused=True, because=failure.message if failure and failure.element == "Condition" else "")


def association_context(
    role: RoleArn, cluster: EksCluster, subject: Subject, *, is_tagged: bool = True
) -> RequestContext:
    """Return what is known of EKS's request for a pod; every other key is possible.

    Args:
        role: that is asked for; its account is the cluster's.
        cluster: where the pod runs.
        subject: its service account.
        is_tagged: whether EKS adds session tags.
    """
    arn = cluster.arn(role.partition, role.account_id)
    known = {
        "aws:RequestTag/eks-cluster-arn": (arn,),
        "aws:RequestTag/eks-cluster-name": (cluster.name,),
        "aws:RequestTag/kubernetes-namespace": (subject.namespace,),
        f"aws:RequestTag/{_BY_ACCOUNT}": (subject.name,),
        "aws:TagKeys": _SESSION_TAGS,
        "aws:SourceArn": (arn,),
        "aws:SourceAccount": (role.account_id,),
        "aws:PrincipalIsAWSService": ("true",),
        "aws:PrincipalServiceName": (SERVICE,),
    }
    if not is_tagged:
        known = {key: value for key, value in known.items() if not key.startswith(_OF_TAGS)}
    absent = () if is_tagged else tuple(beginning.lower() for beginning in _OF_TAGS)
    return replace(RequestContext.of(known), families=("",), absent=absent)
