"""``POST /mutate`` and ``POST /validate``: take the request apart, ask, decide, answer. Nothing but ASGI.

The first is the hot path: every pod of the cluster comes through it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from prometheus_client import Histogram

from trustbind.reasons import SkipReason
from trustbind_runtime.logs import Logger
from trustbind_webhook.admission import review as reviews
from trustbind_webhook.admission.review import MAX_BODY_BYTES, BadReviewError, Review
from trustbind_webhook.injection.decision import Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.json_patch import Operation, patch
from trustbind_webhook.lookup.interface import Lookup, LookupFailedError
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.validation.rules import Request, Verdict, validate

__all__ = ["Admission", "Lifecycle", "Refusal", "Validation", "respond"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

_JSON: Final = b"application/json"
_CONTENT_TYPE: Final = (b"content-type", _JSON)
_CLOSE: Final = (b"connection", b"close")
_encode = msgspec.json.Encoder().encode

_MAX_NAME: Final = 253
_MAX_LOGGED: Final = 2048
_LOGGED_FINDINGS: Final = 20
"""What a line of the log holds of a review, in characters and findings: admission comes before validation, so that a
name may be as long as the review."""

_EVERYDAY: Final = frozenset(
    {
        SkipReason.NOT_BOUND,
        SkipReason.ALREADY_INJECTED,
        SkipReason.OPTED_OUT,
        SkipReason.MIRROR_POD,
        SkipReason.NOT_A_POD_CREATION,
    }
)
"""Skips as the user wanted them, written at level debug. After any other, somebody does not get what he asked for."""


_BY_THE_CACHE: Final = frozenset({SkipReason.NOT_BOUND, SkipReason.ACCOUNT_NOT_FOUND})
"""Skips that may be wrong when the cache is old."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure
    """A request that is answered with a status of its own and one sentence."""

    def __init__(self, status: int, sentence: str, *, headers: Headers = ()) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = _shown(sentence, _MAX_LOGGED)
        self.headers = tuple(headers)


class Lifecycle:
    """How far the process is in its life.

    Attributes:
        draining: it is about to stop: still serving, but to be left alone by whoever can.
        waiting_for: what is not there yet that reviews need, besides the lookup; empty: nothing.
    """

    def __init__(self) -> None:
        self.draining = False
        self.waiting_for = ""


class _Disconnected(Exception):  # noqa: N818 - as above
    """The caller went away before its request was whole."""


class _Endpoint:
    """What both routes share: a whole body in, one answer out, and a status with a sentence for what is no review."""

    def __init__(self, metrics: Metrics, log: Logger, lifecycle: Lifecycle, duration: Histogram) -> None:
        self._metrics = metrics
        self._log = log
        self._lifecycle = lifecycle
        self._duration = duration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: 200 for every review, whatever is decided; another status for what is no review."""
        started = time.perf_counter()
        status = 200
        headers: Headers = ()
        try:
            _check_head(scope)
            answer = await self._admit(await _body(receive))
        except _Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status and a sentence
            refusal = self._refusal(error)
            # It would keep this frame, and so the body, until the garbage collector comes by.
            refusal.__traceback__ = None
            self._metrics.refused.labels(str(refusal.status)).inc()
            self._log.info("request refused", status=refusal.status, problem=refusal.sentence)
            answer, status, headers = _encode({"error": refusal.sentence}), refusal.status, refusal.headers
        await respond(send, status, answer, headers, close=self._lifecycle.draining)
        self._duration.observe(time.perf_counter() - started)

    async def _admit(self, body: bytes) -> bytes:
        """Return the response to the review in ``body``.

        Raises:
            BadReviewError: it is none.
        """
        raise NotImplementedError

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, Refusal):
            return error
        if isinstance(error, BadReviewError):
            return Refusal(400, str(error))
        # A defect of ours before there was a review to answer; the rest is caught where the review is known.
        self._log.error("review cannot be taken apart", exc_info=error)
        return Refusal(400, "the body cannot be read as an AdmissionReview")


class Admission(_Endpoint):
    """The ASGI application behind ``/mutate``."""

    def __init__(
        self,
        lookup: Lookup,
        settings: InjectionSettings,
        *,
        metrics: Metrics,
        log: Logger,
        lifecycle: Lifecycle,
    ) -> None:
        super().__init__(metrics, log, lifecycle, metrics.duration)
        self._lookup = lookup
        self._settings = settings

    async def _admit(self, body: bytes) -> bytes:
        """Return the response to the review in ``body``; never a denial."""
        review = reviews.parse(body)
        try:
            outcome, operations = await self._outcome(review)
            answer = reviews.allow(review, outcome, operations)
        except Exception:  # noqa: BLE001 - a defect of ours must not keep anybody's pod from starting
            self._log.exception("decision failed", uid=review.uid, namespace=review.namespace)
            self._metrics.skipped[SkipReason.INTERNAL_ERROR].inc()
            return _internal_error(review.uid)
        self._record(review, outcome)
        return answer

    async def _outcome(self, review: Review) -> tuple[Inject | Skip, list[Operation]]:
        if review.skip is not None:
            return review.skip, []
        namespace, pod = review.namespace, review.pod
        if late := self._lookup.behind:
            return await self._late_outcome(review, late)
        try:
            account = await self._lookup.account(namespace, pod.account)
        except LookupFailedError as error:
            return Skip(SkipReason.LOOKUP_FAILED, f"{error}; the pod gets no role: create it again"), []
        bindings = self._lookup.bindings(namespace, pod.account)
        outcome = decide(pod, account, bindings, self._settings, namespace=namespace, unique=review.uid)
        return outcome, (patch(outcome) if isinstance(outcome, Inject) else [])

    async def _late_outcome(self, review: Review, late: str) -> tuple[Inject | Skip, list[Operation]]:
        """Decide while a cache is behind: by what is read now; where that fails, by what was known, and say so."""
        live = await self._lookup.live(review.namespace, review.pod.account)
        outcome = decide(
            review.pod, live.account, live.bindings, self._settings, namespace=review.namespace, unique=review.uid
        )
        self._metrics.late_decisions["stale" if live.problem else "read"].inc()
        if live.problem:
            problem = live.problem if live.problem == late else f"{late}, and {live.problem}"
            if isinstance(outcome, Inject):
                finding = f"{problem}; the pod gets what was known before"
                outcome = replace(outcome, findings=(*outcome.findings, finding))
            elif outcome.reason in _BY_THE_CACHE:
                sentence = f"{problem}; the pod gets no role: create it again if it needs one"
                outcome = Skip(SkipReason.LOOKUP_FAILED, sentence, outcome.findings)
        return outcome, (patch(outcome) if isinstance(outcome, Inject) else [])

    def _record(self, review: Review, outcome: Inject | Skip) -> None:
        metadata = review.pod.metadata
        where = {
            "namespace": _shown(review.namespace),
            "pod": _shown(metadata.name or metadata.generate_name or ""),
            "account": _shown(review.pod.account),
            "uid": _shown(review.uid),
        }
        findings = [_shown(finding, _MAX_LOGGED) for finding in outcome.findings[:_LOGGED_FINDINGS]]
        if isinstance(outcome, Inject):
            self._metrics.injected.inc()
            self._log.info(
                "pod injected", **where, role=str(outcome.role), bindings=outcome.bindings, findings=findings
            )
            return
        self._metrics.skipped[outcome.reason].inc()
        log = self._log.debug if outcome.reason in _EVERYDAY and not outcome.findings else self._log.info
        if outcome.reason is SkipReason.LOOKUP_FAILED:
            log = self._log.warning
        log(
            "pod skipped",
            **where,
            reason=outcome.reason.value,
            message=_shown(outcome.message, _MAX_LOGGED),
            findings=findings,
        )


class Validation(_Endpoint):
    """The ASGI application behind ``/validate``."""

    def __init__(self, lookup: Lookup, *, metrics: Metrics, log: Logger, lifecycle: Lifecycle) -> None:
        super().__init__(metrics, log, lifecycle, metrics.validation_duration)
        self._lookup = lookup

    async def _admit(self, body: bytes) -> bytes:
        """Return the response to the review in ``body``; a denial only when the object breaks a rule."""
        request = reviews.parse_object(body)
        try:
            verdict = validate(request, self._lookup.knowledge(request.namespace))
        except Exception:  # noqa: BLE001 - a defect of ours must not keep anybody from writing an object
            self._log.exception("validation failed", uid=request.uid, kind=request.kind, namespace=request.namespace)
            self._metrics.validations.labels(request.kind, "failed").inc()
            return reviews.answer(request.uid, _UNCHECKED)
        self._record(request, verdict)
        return reviews.answer(request.uid, verdict)

    def _record(self, request: Request, verdict: Verdict) -> None:
        self._metrics.validations.labels(request.kind, verdict.outcome).inc()
        tell = self._log.debug if verdict.outcome == "allowed" else self._log.info
        tell(
            "object validated",
            outcome=verdict.outcome,
            kind=request.kind,
            namespace=_shown(request.namespace),
            name=_shown(request.name),
            operation=_shown(request.operation),
            uid=_shown(request.uid),
            message=verdict.message,
            warnings=verdict.warnings,
        )


_UNCHECKED: Final = Verdict(
    warnings=("trustbind: the webhook failed on this object, which is let through unchecked; its log says more",)
)


async def respond(send: Send, status: int, body: bytes, headers: Headers = (), *, close: bool = False) -> None:
    """Send a whole JSON answer; with ``close``, ask the caller to use another connection next time."""
    head = [_CONTENT_TYPE, (b"content-length", b"%d" % len(body)), *headers]
    if close:
        head.append(_CLOSE)
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _shown(text: str, limit: int = _MAX_NAME) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def _check_head(scope: Scope) -> None:
    """Refuse what can be refused before the body is there."""
    if scope["method"] != "POST":
        raise Refusal(405, f"{scope['path']} takes POST, not {scope['method']}", headers=[(b"allow", b"POST")])
    content_type = length = encoding = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = value
        elif name == b"content-encoding":
            encoding = value
    if content_type != _JSON and content_type.partition(b";")[0].strip().lower() != _JSON:
        shown = content_type[:80].decode("latin-1") or "nothing"
        raise Refusal(415, f"the content type is {shown}, where application/json is needed")
    if encoding and encoding.strip().lower() != b"identity":
        raise Refusal(415, "the body is compressed, which is not supported")
    if length and int(length) > MAX_BODY_BYTES:
        raise _too_large()


def _too_large() -> Refusal:
    return Refusal(413, f"the body is larger than {MAX_BODY_BYTES} bytes")


async def _body(receive: Receive) -> bytes:
    """Return the request's body, which usually comes in one piece; the port bounds the time that it takes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Disconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return part if not parts else b"".join((*parts, part))
        parts.append(part)


def _internal_error(uid: str) -> bytes:
    message = "the webhook failed on this pod, which is let through without a role; its log says more"
    response = {
        "uid": uid,
        "allowed": True,
        "auditAnnotations": {"reason": SkipReason.INTERNAL_ERROR.value, "message": message},
        "warnings": [f"trustbind: {message}"],
    }
    return _encode({"apiVersion": reviews.API_VERSION, "kind": "AdmissionReview", "response": response})
