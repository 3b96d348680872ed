"""The AdmissionReview: taken apart, and answered (Kubernetes documentation, "Dynamic Admission Control")."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from trustbind.messages import one_line
from trustbind.reasons import SkipReason
from trustbind_webhook.injection.decision import Inject, Skip
from trustbind_webhook.injection.json_patch import Operation
from trustbind_webhook.injection.pod import Metadata, Pod, PodSpec
from trustbind_webhook.validation.rules import Request, Verdict

__all__ = ["API_VERSION", "MAX_BODY_BYTES", "BadReviewError", "Review", "allow", "answer", "parse", "parse_object"]

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"

MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""The API server takes no object over about 3 MiB itself (its limit on a request's body)."""

_MAX_WARNING: Final = 240
"""The API server may cut warnings over 256 characters (Kubernetes documentation, as above)."""


_MAX_WARNINGS: Final = 20
"""The API server has room for 4,096 characters of all warnings together."""

_MAX_AUDIT: Final = 4096
"""Characters of one audit annotation. A message may quote what the pod holds, and audit logs are kept for long."""


class BadReviewError(ValueError):
    """The body is no AdmissionReview v1; ``str()`` of it is one sentence for the caller."""

    def __init__(self, problem: str) -> None:
        super().__init__(one_line(problem))


class _Resource(msgspec.Struct, frozen=True, gc=False):
    group: str = ""
    version: str = ""
    resource: str = ""


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    uid: str
    resource: _Resource = _Resource()
    sub_resource: str = ""
    namespace: str = ""
    operation: str = ""
    object: Pod | None = None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    request: _Request | None = None


class _LooseRequest(msgspec.Struct, frozen=True, rename="camel"):
    uid: str
    resource: _Resource = _Resource()
    sub_resource: str = ""
    namespace: str = ""
    operation: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")


class _ObjectRequest(msgspec.Struct, frozen=True, rename="camel"):
    uid: str
    resource: _Resource = _Resource()
    sub_resource: str = ""
    namespace: str = ""
    operation: str = ""
    name: str = ""
    object: Any = None
    old_object: Any = None


class _ObjectReview(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: _ObjectRequest | None = None


class _LooseReview(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: _LooseRequest | None = None


_decode = msgspec.json.Decoder(_Review).decode
_decode_loosely = msgspec.json.Decoder(_LooseReview).decode
_decode_object = msgspec.json.Decoder(_ObjectReview).decode
_decode_pod = msgspec.json.Decoder(Pod).decode
_encode = msgspec.json.Encoder().encode
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_POD: Final = Pod(Metadata(), PodSpec())


@dataclass(frozen=True, slots=True)
class Review:
    """One request.

    Attributes:
        uid: to be echoed.
        namespace: where the pod is created; the pod itself may not say.
        pod: the deciding part; an empty one when ``skip`` is set.
        skip: set when there is nothing to decide: not a pod's creation, or not a pod that can be read.
    """

    uid: str
    namespace: str
    pod: Pod
    skip: Skip | None = None


def parse(body: bytes) -> Review:
    """Return the request in ``body``.

    An object that is not shaped like a pod is not an error: the review comes back with ``skip`` set, so that the
    pod is let through unchanged and the user is told.

    Raises:
        BadReviewError: the body is not an AdmissionReview v1.
    """
    problem = ""
    try:
        review = _decode(body)
    except msgspec.ValidationError as error:
        problem = str(error)
        loose = _loosely(body)
    except _UNDECODABLE as error:
        raise _not_json(error) from None
    else:
        _check(review.api_version, review.kind, review.request)
        request = review.request
        assert request is not None  # noqa: S101 - _check said so; this is for the type checker
        if (skip := _not_a_pod_creation(request)) is not None or request.object is None:
            skip = skip or Skip(SkipReason.NOT_UNDERSTOOD, "the review holds no object")
            return Review(request.uid, request.namespace, _NO_POD, skip)
        return Review(request.uid, request.namespace, request.object)
    _check(loose.api_version, loose.kind, loose.request)
    if loose.request is None:  # pragma: no cover - _check raised
        raise BadReviewError(problem)
    skip = _not_a_pod_creation(loose.request) or _unreadable(loose.request.object)
    return Review(loose.request.uid, loose.request.namespace, _NO_POD, skip)


def allow(review: Review, outcome: Inject | Skip, operations: Sequence[Operation] = ()) -> bytes:
    """Return the response that lets the pod in: with a patch when there is one, and with the reason when not.

    Args:
        review: what is answered.
        outcome: what was decided.
        operations: the patch; ``patch`` and ``patchType`` are both left out when it is empty.
    """
    response: dict[str, Any] = {"uid": review.uid, "allowed": True}
    audit: dict[str, str] = {}
    warnings = [*outcome.findings]
    if isinstance(outcome, Inject):
        if outcome.role is not None:
            audit["role"] = str(outcome.role)
        if outcome.bindings:
            audit["bindings"] = " ".join(outcome.bindings)
        if outcome.gate:
            audit["waiting"] = "true"
    else:
        audit["reason"] = outcome.reason.value
        if outcome.message:
            audit["message"] = _shortened(outcome.message, _MAX_AUDIT)
            if outcome.reason in _WARNED:
                warnings.insert(0, outcome.message)
    if outcome.findings:
        audit["findings"] = _shortened("; ".join(outcome.findings), _MAX_AUDIT)
    if operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(_encode(operations)).decode("ascii")
    response["auditAnnotations"] = audit
    if warnings:
        response["warnings"] = [_shortened(f"trustbind: {text}") for text in warnings[:_MAX_WARNINGS]]
    return _encode({"apiVersion": API_VERSION, "kind": KIND, "response": response})


def parse_object(body: bytes) -> Request:
    """Return the request in ``body``, whatever it is about, with the whole object.

    Raises:
        BadReviewError: the body is not an AdmissionReview v1.
    """
    try:
        review = _decode_object(body)
    except msgspec.ValidationError as error:
        raise BadReviewError(f"the body is not an {KIND} {API_VERSION}: {error}") from None
    except _UNDECODABLE as error:
        raise _not_json(error) from None
    _check(review.api_version, review.kind, review.request)
    request = review.request
    assert request is not None  # noqa: S101 - _check said so; this is for the type checker
    return Request(
        uid=request.uid,
        group=request.resource.group,
        resource=request.resource.resource,
        sub_resource=request.sub_resource,
        namespace=request.namespace,
        operation=request.operation,
        name=request.name,
        object=request.object,
        old=request.old_object,
    )


def answer(uid: str, verdict: Verdict) -> bytes:
    """Return the response that carries ``verdict``."""
    response: dict[str, Any] = {"uid": uid, "allowed": verdict.allowed}
    if not verdict.allowed:
        response["status"] = {"code": _UNPROCESSABLE, "reason": "Invalid", "message": verdict.message}
    if verdict.warnings:
        response["warnings"] = verdict.warnings
    return _encode({"apiVersion": API_VERSION, "kind": KIND, "response": response})


_UNPROCESSABLE: Final = 422
"""HTTP status of an object that is understood and refused, as the API server's own schema checks give it."""

_WARNED: Final = frozenset(
    {
        SkipReason.INVALID_ROLE_ARN,
        SkipReason.VOLUME_CONFLICT,
        SkipReason.CONFIG_TOO_LARGE,
        SkipReason.NOT_UNDERSTOOD,
        SkipReason.LOOKUP_FAILED,
    }
)
"""Reasons that somebody has to act upon; the others are as the user wanted it."""


def _loosely(body: bytes) -> _LooseReview:
    try:
        return _decode_loosely(body)
    except msgspec.ValidationError as error:
        raise BadReviewError(f"the body is not an {KIND} {API_VERSION}: {error}") from None
    except _UNDECODABLE as error:  # the first pass stopped at the wrong shape, before it came to this
        raise _not_json(error) from None


def _not_json(error: Exception) -> BadReviewError:
    if isinstance(error, RecursionError):
        return BadReviewError("the body is nested too deeply")
    return BadReviewError(f"the body is not JSON: {error}")


def _check(api_version: str, kind: str, request: object) -> None:
    if kind != KIND or api_version != API_VERSION:
        raise BadReviewError(
            f"the body is {kind or 'something without a kind'} {api_version or 'without an apiVersion'}, "
            f"not {KIND} {API_VERSION}"
        )
    if request is None:
        raise BadReviewError(f"the {KIND} has no request")


def _not_a_pod_creation(request: _Request | _LooseRequest) -> Skip | None:
    resource = request.resource
    if (resource.group, resource.resource, request.sub_resource) != ("", "pods", ""):
        return Skip(SkipReason.NOT_A_POD_CREATION, "the review is not about a pod")
    if request.operation != "CREATE":
        return Skip(SkipReason.NOT_A_POD_CREATION, "the review is not about a creation")
    return None


def _unreadable(raw: msgspec.Raw) -> Skip:
    try:
        _decode_pod(raw)
    except _UNDECODABLE as error:
        return Skip(SkipReason.NOT_UNDERSTOOD, f"this pod cannot be read and is left as it is: {error}")
    return Skip(SkipReason.NOT_UNDERSTOOD, "this review cannot be read and the pod is left as it is")


def _shortened(text: str, limit: int = _MAX_WARNING) -> str:
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 3] + "..."
