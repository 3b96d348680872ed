"""AdmissionReviews: taken apart and answered."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.identity.arns import RoleArn
from trustbind.reasons import SkipReason
from trustbind_webhook.admission.review import BadReviewError, Review, allow, parse
from trustbind_webhook.injection.credential_source import Place, Profile, plain
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.json_patch import applied, patch

REVIEWS = Path(__file__).parents[2] / "data" / "reviews"
SKIP = Skip(SkipReason.NOT_BOUND)
ROLE = RoleArn("aws", "444455556666", "/", "x")
DELIVERY = plain(Profile("default", ROLE, None, "a", 3600, "", "s"), Place("/m"), sts_regional=False)
INJECT = Inject(ROLE, DELIVERY, volume=True, has_volumes=False, additions=())
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web-0"},
    "spec": {"containers": [{"name": "app"}]},
}


def review(**request: Any) -> dict[str, Any]:
    """Return a review of a pod's creation, changed."""
    body = {
        "uid": "u1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop",
        "operation": "CREATE",
        "object": copy.deepcopy(POD),
    } | request
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": body}


def parsed(body: Any) -> Review:
    """Return the review of a JSON value."""
    return parse(json.dumps(body).encode())


def answer(outcome: Inject | Skip, operations: Any = ()) -> dict[str, Any]:
    """Return the response to a review."""
    body = json.loads(allow(parsed(review()), outcome, operations))
    assert body.keys() == {"apiVersion", "kind", "response"}
    assert (body["apiVersion"], body["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = body["response"]
    assert (response["uid"], response["allowed"]) == ("u1", True)
    return response


@pytest.mark.parametrize("path", sorted(REVIEWS.glob("*.json")), ids=lambda path: path.stem)
def test_real_reviews(path: Path) -> None:
    """What a kube-apiserver sends is read, answered with its uid, and the patch fits the pod."""
    body = json.loads(path.read_text(encoding="utf-8"))
    request = parse(path.read_bytes())
    account = Account("shop", request.pod.account, {"eks.amazonaws.com/role-arn": "arn:aws:iam::444455556666:role/x"})

    outcome = decide(request.pod, account, (), InjectionSettings(), namespace=request.namespace, unique=request.uid)

    assert request.skip is None
    assert isinstance(outcome, Inject)
    operations = patch(outcome)
    response = json.loads(allow(request, outcome, operations))["response"]
    assert response["uid"] == body["request"]["uid"]
    assert json.loads(base64.b64decode(response["patch"])) == operations
    after = applied(body["request"]["object"], operations)
    assert after["spec"]["volumes"][0]["name"] == "aws-iam-token"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"x", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"kind": "\xff"}', "not JSON"),
        (b'{"kind": 1, "apiVersion": "\xff"}', "not JSON|not an AdmissionReview"),
        (
            b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "object": [}}',
            "JSON",
        ),
        (
            b'{"kind": "AdmissionReview", "request": {"uid": "u", "object": [' + b"[" * 5000,
            "nested too deeply|not JSON",
        ),
        (b"[" * 100_000, "nested too deeply|not JSON|not an AdmissionReview"),
        (b"null", "not an AdmissionReview"),
        (b"[]", "not an AdmissionReview"),
        (b"1", "not an AdmissionReview"),
        (b"{}", "something without a kind without an apiVersion"),
        (b'{"kind": "Pod", "apiVersion": "v1"}', "the body is Pod v1, not AdmissionReview"),
        (b'{"kind": "' + b"x" * 5000 + b'", "apiVersion": "v1"}', "the body is xx.* ... .*xx v1, not AdmissionReview"),
        (b'{"kind": "a\\nb\\u2028", "apiVersion": "v1"}', r"the body is a\\nb\\u2028 v1, not AdmissionReview"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}', "admission.k8s.io/v1beta1, not"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}', "has no request"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": null}', "has no request"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {}}', "`uid`"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": []}', "not an AdmissionReview"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": 1}}', "uid"),
    ],
)
def test_not_a_review(body: bytes, said: str) -> None:
    """What is no AdmissionReview v1 is refused with one sentence."""
    with pytest.raises(BadReviewError, match=said) as caught:
        parse(body)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "request_",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"operation": ""},
        {"subResource": "ephemeralcontainers"},
        {"subResource": "status"},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
        {"resource": {"group": "", "version": "v1", "resource": "services"}},
        {"resource": {"group": "", "version": "v1", "resource": "services"}, "object": {"spec": {"containers": 1}}},
        {"resource": {}},
    ],
)
def test_not_a_pod_creation(request_: dict[str, Any]) -> None:
    """A review of something else than a pod's creation is answered, and nothing is decided."""
    result = parsed(review(**request_))

    assert result.skip is not None
    assert result.skip.reason is SkipReason.NOT_A_POD_CREATION
    assert result.uid == "u1"


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (None, "no object"),
        ([], "`array`"),
        ("x", "`str`"),
        ({}, "`metadata`"),
        ({"metadata": {}}, "`spec`"),
        (POD | {"spec": None}, "spec"),
        (POD | {"spec": {"containers": {}}}, "containers"),
        (POD | {"spec": {"containers": [{}]}}, "`name`"),
        (POD | {"spec": {"containers": [{"name": "a", "env": "x"}]}}, "env"),
        (POD | {"spec": {"containers": [{"name": "a", "env": [{"value": "x"}]}]}}, "env"),
        (POD | {"spec": {"containers": [{"name": "a", "env": [{"name": "a", "value": 1}]}]}}, "value"),
        (POD | {"spec": {"containers": [{"name": "a"}], "volumes": [{"name": 1}]}}, "volumes"),
        (POD | {"metadata": {"annotations": {"a": 1}}}, "annotations"),
        (POD | {"metadata": []}, "metadata"),
    ],
)
def test_pod_not_understood(pod: Any, said: str) -> None:
    """A pod that cannot be read is let through unchanged, with a warning that says where it is odd."""
    result = parsed(review(object=pod))

    assert result.skip is not None
    assert result.skip.reason is SkipReason.NOT_UNDERSTOOD
    response = json.loads(allow(result, result.skip))["response"]
    assert response["allowed"] is True
    assert "patch" not in response
    assert said in response["warnings"][0]
    assert response["auditAnnotations"]["reason"] == "PodNotUnderstood"


def test_namespace_comes_from_the_request() -> None:
    """The pod may not say where it is created; the request does."""
    result = parsed(review(object=POD | {"metadata": {"namespace": "elsewhere"}}))

    assert result.namespace == "shop"
    assert result.skip is None


def test_nothing_to_patch() -> None:
    """Without an operation, neither patch nor patchType is there; the everyday skip warns nobody."""
    response = answer(SKIP)

    assert response == {"uid": "u1", "allowed": True, "auditAnnotations": {"reason": "NotBound"}}


def test_patched() -> None:
    """A patch is base64 of JSON Patch; role and binding are told in the audit annotations."""
    operations = [{"op": "add", "path": "/x", "value": "ü"}]
    response = answer(INJECT, operations)

    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"], validate=True)) == operations
    assert response["auditAnnotations"] == {"role": "arn:aws:iam::444455556666:role/x"}
    assert "warnings" not in response


@pytest.mark.parametrize("reason", list(SkipReason))
def test_every_reason_is_told(reason: SkipReason) -> None:
    """Each reason stands in the audit annotations; what somebody has to act upon is a warning too."""
    response = answer(Skip(reason, "do this"))

    assert response["auditAnnotations"] == {"reason": reason.value, "message": "do this"}
    acted_upon = {
        SkipReason.INVALID_ROLE_ARN,
        SkipReason.VOLUME_CONFLICT,
        SkipReason.CONFIG_TOO_LARGE,
        SkipReason.NOT_UNDERSTOOD,
        SkipReason.LOOKUP_FAILED,
    }
    assert response.get("warnings", []) == (["trustbind: do this"] if reason in acted_upon else [])


def test_findings_are_warnings() -> None:
    """What was ignored or corrected is told to the user and in the audit, message first."""
    response = answer(Skip(SkipReason.VOLUME_CONFLICT, "first", ("second", "third")))

    assert response["warnings"] == ["trustbind: first", "trustbind: second", "trustbind: third"]
    assert response["auditAnnotations"]["findings"] == "second; third"


def test_long_warnings_are_cut() -> None:
    """The API server may cut long warnings; ours end in dots before that."""
    (warning,) = answer(Skip(SkipReason.VOLUME_CONFLICT, "x" * 1000))["warnings"]

    assert len(warning) <= 256
    assert warning.endswith("...")


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
words = st.sampled_from(
    ["apiVersion", "kind", "metadata", "spec", "containers", "name", "env", "volumes", "annotations", "os", "uid"]
)
anything = st.recursive(
    scalars, lambda i: st.lists(i, max_size=3) | st.dictionaries(words | st.text(max_size=4), i, max_size=4)
)


@given(anything)
def test_any_object(pod: Any) -> None:
    """Whatever stands where the pod should be, the review is answered and never denied."""
    result = parsed(review(object=pod))
    outcome = result.skip or decide(result.pod, None, (), InjectionSettings(), namespace="shop", unique="u")

    assert json.loads(allow(result, outcome))["response"]["allowed"] is True


@given(anything | st.dictionaries(words, anything).map(lambda request: review() | {"request": request}))
def test_any_json(body: Any) -> None:
    """Any JSON is a review or is refused with our own error."""
    try:
        result = parsed(body)
    except BadReviewError:
        return
    assert isinstance(result.uid, str)


@given(st.binary(max_size=50))
def test_any_bytes(body: bytes) -> None:
    """Any bytes are refused with our own error."""
    with pytest.raises(BadReviewError):
        parse(body)
