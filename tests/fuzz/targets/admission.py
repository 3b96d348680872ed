"""Bodies of admission reviews: what is decided, and what the API server gets for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from fuzz.checks import bounded, check_sentence
from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef, Method, RoleBinding, Source
from trustbind.api.role_grant import RoleGrant
from trustbind.api.strict import API_VERSION
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.condition_operators import OPERATORS
from trustbind_webhook.admission import review as reviews
from trustbind_webhook.admission.review import BadReviewError, Review
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.json_patch import applied, patch
from trustbind_webhook.validation.rules import MAX_WARNING, Knowledge, Verdict, validate

__all__ = ["MUTATE_WORDS", "VALIDATE_WORDS", "check_mutate", "check_validate"]

ROLE: Final = "arn:aws:iam::444455556666:role/shop/checkout"
_MAX_API_WARNING: Final = 256
"""Characters (Kubernetes documentation, "Dynamic Admission Control")."""

_SETTINGS: Final = InjectionSettings(region="eu-central-1", sts_regional_endpoints=True, cluster="blue")
_PLAIN: Final = RoleBinding(BindingRef("shop", "b"), RoleArn.parse(ROLE), service_account_names=("checkout",))
_CHAIN: Final = RoleBinding(
    BindingRef("shop", "chain"),
    RoleArn.parse(ROLE),
    method=Method.ASSUME_ROLE,
    source=Source(RoleArn.parse("arn:aws:iam::111122223333:role/base")),
    wait_until_ready=True,
    profile="other",
)
_KNOWN: Final[Sequence[tuple[Account | None, tuple[RoleBinding, ...]]]] = (
    (None, ()),
    (Account("shop", "checkout", {"eks.amazonaws.com/role-arn": ROLE}), ()),
    (Account("shop", "checkout"), (_PLAIN, _CHAIN)),
)

MUTATE_WORDS: Final = (
    *(
        "AdmissionReview",
        "admission.k8s.io/v1",
        "request",
        "uid",
        "object",
        "oldObject",
        "operation",
        "CREATE",
        "UPDATE",
    ),
    *("resource", "group", "pods", "subResource", "namespace", "metadata", "annotations", "labels", "name", "spec"),
    *(
        "generateName",
        "containers",
        "initContainers",
        "volumes",
        "volumeMounts",
        "mountPath",
        "env",
        "value",
        "valueFrom",
    ),
    *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_PROFILE", "aws-iam-token", "projected"),
    *("sources", "serviceAccountToken", "downwardAPI", "path", "audience", "serviceAccountName", "schedulingGates"),
    *("eks.amazonaws.com/role-arn", "eks.amazonaws.com/token-expiration", "eks.amazonaws.com/skip-containers"),
    *("eks.amazonaws.com/audience", "eks.amazonaws.com/sts-regional-endpoints", "trustbind.dev/inject"),
    *("trustbind.dev/aws-config", "trustbind.dev/waiting", "kubernetes.io/config.mirror", "nodeSelector", "windows"),
    *("kubernetes.io/os", "os", "true", "false", "86400", "/var/run/secrets/eks.amazonaws.com/serviceaccount", ROLE),
)

VALIDATE_WORDS: Final = (
    *("rolebindings", "rolegrants", "awsaccounts", "trustbind.dev", API_VERSION, "RoleBinding", "RoleGrant"),
    *("AWSAccount", "CREATE", "UPDATE", "DELETE", "object", "oldObject", "spec", "metadata", "status", "roleArn"),
    *("serviceAccountNames", "serviceAccountSelector", "matchLabels", "matchExpressions", "key", "operator", "values"),
    *("In", "NotIn", "Exists", "DoesNotExist", "method", "WebIdentity", "AssumeRole", "PodIdentity", "source"),
    *("managePermission", "trustedAs", "AccountRoot", "externalId", "audience", "session", "name", "durationSeconds"),
    *("token", "expirationSeconds", "region", "conditions", "federatedSubjects", "issuer", "subjects", "profile"),
    *("waitUntilReady", "deletionPolicy", "Retain", "namespaces", "names", "selector", "roleArns", "methods"),
    *("maxSessionDurationSeconds", "accountId", "managerRoleArn", "oidcProvider", "manage", "trustPolicyLimit"),
    *("driftPolicy", "Observe", "requireRoleConsent", "rolePathPrefix", "eks", "clusterName", "deletionTimestamp"),
    *(*OPERATORS, "aws:PrincipalArn", "AWS:PRINCIPALARN", "sts:ExternalId", "oidc.example.com/id/0123:sub"),
    *("token.actions.githubusercontent.com:environment", "https://token.actions.githubusercontent.com"),
    *("arn:aws:iam::444455556666:role/*", "arn:aws:iam::*:role/${aws:x}/*", "arn:aws:iam::111122223333:role/base"),
    *("https://oidc.example.com/id/0123", "repo:*", "{namespace}.{pod}", "{", "3600", "checkout", "team-a"),
)


def check_mutate(data: bytes) -> None:
    """Answer a review of /mutate."""
    try:
        review = bounded(lambda: reviews.parse(data), data, a_byte=5)
    except BadReviewError as error:
        check_sentence(str(error))
        return
    for account, bindings in _KNOWN:
        outcome = bounded(lambda: _decided(review, account, bindings), data, a_byte=60)  # noqa: B023 - at once
        operations = patch(outcome) if isinstance(outcome, Inject) else []
        response = _response(reviews.allow(review, outcome, operations), review.uid)
        assert response["allowed"] is True
        assert ("patch" in response) == bool(operations)
        if operations:
            assert json.loads(base64.b64decode(response["patch"])) == json.loads(json.dumps(operations))
            _check_patched(data, operations, review, account, bindings)


def check_validate(data: bytes) -> None:
    """Answer a review of /validate."""
    try:
        request = bounded(lambda: reviews.parse_object(data), data, a_byte=5)
    except BadReviewError as error:
        check_sentence(str(error))
        return
    for knowledge in (_knowledge(), Knowledge()):
        verdict = bounded(lambda: validate(request, knowledge), data, a_byte=400)  # noqa: B023 - at once
        response = _response(reviews.answer(request.uid, verdict), request.uid)
        assert response["allowed"] is verdict.allowed
        _check_verdict(verdict)


def _decided(review: Review, account: Account | None, bindings: Sequence[RoleBinding]) -> Inject | Skip:
    if review.skip is not None:
        return review.skip
    pod, namespace = review.pod, review.namespace
    return decide(pod, account, bindings, _SETTINGS, namespace=namespace, unique=review.uid)


def _check_patched(
    data: bytes, operations: Any, review: Review, account: Account | None, bindings: Sequence[RoleBinding]
) -> None:
    """Check that the pod is in the patched one as it was, and that the patched one is left alone by a second pass."""
    # No number of a pod decides; what the webhook skips may be no UTF-8.
    body = json.loads(data.decode("utf-8", "replace"), parse_int=lambda _: 0, parse_float=lambda _: 0.0)
    before = body["request"]["object"]
    after = applied(before, operations)
    assert all(operation["op"] == "add" for operation in operations)
    assert _contains(after, before), "something of the pod is gone"
    body["request"]["object"] = after
    again = reviews.parse(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    assert again.skip is None
    assert isinstance(_decided(again, account, bindings), Skip), "a second pass changes the pod again"
    assert again.uid == review.uid


def _contains(after: Any, before: Any) -> bool:
    """Return whether all of ``before`` is in ``after``, in its order: lists and objects may only have grown."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(k in after and _contains(after[k], v) for k, v in before.items())
    if isinstance(before, list):
        rest = iter(after) if isinstance(after, list) else iter(())
        return all(any(_contains(other, one) for other in rest) for one in before)
    return before is None or bool(before == after)


def _check_verdict(verdict: Verdict) -> None:
    assert verdict.allowed == (not verdict.message)
    if not verdict.allowed:
        check_sentence(verdict.message)
    for warning in verdict.warnings:
        check_sentence(warning, MAX_WARNING)


def _response(answer: bytes, uid: str) -> dict[str, Any]:
    """Return the response in an answer, after a look at what each has."""
    body = json.loads(answer)
    assert (body["apiVersion"], body["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = body["response"]
    assert response["uid"] == uid
    for warning in response.get("warnings", ()):
        check_sentence(warning, _MAX_API_WARNING)
    for note in response.get("auditAnnotations", {}).values():
        assert isinstance(note, str)
    return response


def _knowledge() -> Knowledge:
    grant = {
        "apiVersion": API_VERSION,
        "kind": "RoleGrant",
        "metadata": {"name": "g"},
        "spec": {"namespaces": {"names": ["shop"]}, "roleArns": ["arn:aws:iam::444455556666:role/shop/*"]},
    }
    return Knowledge(
        issuer=Issuer.parse("https://oidc.example.com/id/0123"),
        bindings=(_PLAIN, _CHAIN),
        accounts={"checkout": {"tier": "back"}, "default": {}},
        namespaces={"shop": {"team": "a"}, "team-a": {}},
        grants=(RoleGrant.parse(grant),),
        aws_accounts=(AwsAccount("production", "444455556666", created="2025-01-01T00:00:00Z"),),
    )
