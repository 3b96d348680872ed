"""Checks 1 to 10: the cluster gives the pod a role, and the webhook was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from trustbind.api.annotations import is_opted_out
from trustbind.api.label_selector import LabelSelector, SelectorRequirement
from trustbind.api.labels import GATE, INJECT
from trustbind.api.webhook_scope import Scope, WebhookScope
from trustbind.diagnosis.facts import MutatingWebhook, Selector
from trustbind.diagnosis.model import Case, Check, Outcome, broken, fine, not_applicable, part, unknown, unseen
from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT
from trustbind.reasons import TrustReason
from trustbind.times import time_of

__all__ = ["CHECKS"]

_OURS: Final = ".trustbind.dev"
"""How the names of the entries of trustbind's own MutatingWebhookConfiguration end."""

_RIVALS: Final = ("pod-identity-webhook", "iam-for-pods", "pod-identity.amazonaws.com")
"""Parts of the names of the EKS pod identity webhook's configuration and entries."""

_NEEDED: Final = frozenset({"get pods", "get serviceaccounts"})
_LATER: Final = frozenset(
    {
        *(TrustReason.STALE_PRINCIPAL, TrustReason.FOREIGN_STATEMENT_REFUSED, TrustReason.PROVIDER_MISSING),
        *(TrustReason.ROLE_NOT_FOUND, TrustReason.TRUST_CONTENDED),
    }
)
"""Reasons of a binding that is not Ready which later checks explain by AWS's own answer."""


def _api(case: Case) -> Outcome:
    fact = case.bundle.api
    if fact.value is None:
        return unseen("the API server", fact)
    if needed := sorted(_NEEDED & set(fact.value.missing)):
        where = f"in namespace {case.bundle.target.namespace}"
        return broken(
            f"you may not {' and '.join(needed)} {where}",
            "use a kubeconfig with the right, or let an administrator run this with --collect and send you the file",
        )
    if fact.value.missing:
        return fine(f"the API server answers; what you may not see: {', '.join(fact.value.missing)}")
    return fine("the API server answers, and you may read what is needed")


def _pod(case: Case) -> Outcome:
    target = case.bundle.target
    fact = case.bundle.pod
    if fact.is_absent and target.kind == "Pod":
        return broken(f"there is no {target}", f"take a name from 'kubectl get pods -n {target.namespace}'")
    if fact.is_absent:
        return not_applicable("no pod runs with this service account")
    pod = fact.value
    if pod is None:
        return unseen("the pod", fact)
    if case.container is None:
        names = ", ".join(c.name for c in pod.containers)
        return broken(f"pod {pod.name} has no container {target.container!r}", f"give -c one of: {names}")
    if GATE in pod.gates:
        return broken(
            f"pod {pod.name} waits for its RoleBindings (scheduling gate {GATE})",
            "see why the binding is not Ready: kubectl get rolebindings.trustbind.dev",
        )
    if pod.phase in {"Running", ""}:
        return fine(f"pod {pod.name} runs, and container {case.container.name} is in it")
    if pod.phase == "Pending":
        return broken(f"pod {pod.name} is Pending", f"see 'kubectl describe pod {pod.name} -n {target.namespace}'")
    return broken(f"pod {pod.name} has ended ({pod.phase})", "look at a pod that runs")


def _service_account_meant(case: Case) -> Outcome:
    if case.pod is None:
        return case.without_pod
    if case.account_name != DEFAULT_SERVICE_ACCOUNT:
        return fine(f"pod {case.pod.name} runs with service account {case.account_name}")
    if case.wanted.role is not None or case.wanted.uses_agent:
        return fine("the service account default has a role")
    named = sorted({name for binding in case.bundle.bindings.value or () for name in _accounts_of(binding)})
    bound = f"; RoleBindings of the namespace name {', '.join(named[:3])}" if named else ""
    return broken(
        f"pod {case.pod.name} runs with the service account default, which has no role{bound}",
        "set spec.serviceAccountName in the pod's template",
    )


def _accounts_of(binding: Mapping[str, Any]) -> Iterator[str]:
    names = part(binding, "spec").get("serviceAccountNames")
    yield from (str(name) for name in names) if isinstance(names, list) else ()


def _service_account(case: Case) -> Outcome:
    fact = case.bundle.service_account
    if fact.is_absent:
        return broken(
            f"there is no service account {case.account}", "create it, or correct spec.serviceAccountName of the pod"
        )
    account = fact.value
    if account is None:
        return unseen(f"service account {case.account}", fact)
    inner = part((case.bundle.claims.value or {}).get("kubernetes.io"), "serviceaccount")
    uid = inner.get("uid", "")
    if uid and account.uid and uid != account.uid:
        return broken(
            f"the token is for another service account {case.account}, which was deleted and made again",
            "restart the pod",
        )
    return fine(f"service account {case.account} exists")


def _bound(case: Case) -> Outcome:
    for what, fact in (
        (f"service account {case.account}", case.bundle.service_account),
        ("the RoleBindings of the namespace", case.bundle.bindings),
    ):
        if fact.value is not None or fact.is_absent:
            continue
        if case.wanted.role is None:
            return unseen("what the service account is bound to", fact)
        return unseen(f"{case.wanted.source} gives role {case.wanted.role}; whether that is all, since {what}", fact)
    wanted = case.wanted
    if wanted.role is None and not wanted.uses_agent:
        what = "; ".join((wanted.problem or f"service account {case.account} has no role", *wanted.hints))
        return broken(what, "bind it with a RoleBinding, or annotate it with a role")
    if not wanted.is_annotated and (problem := _not_ready(case)):
        return problem
    return fine(f"service account {case.account} has role {wanted.role or 'of its association'} by {wanted.source}")


def _not_ready(case: Case) -> Outcome | None:
    condition = case.ready_condition
    reason, message = str(condition.get("reason", "")), str(condition.get("message", "")).rstrip(".")
    if condition.get("status") != "False" or reason in _LATER:
        return None
    binding = case.wanted.binding
    name = binding.ref if binding is not None else ""
    return broken(
        f"RoleBinding {name} is not Ready ({reason}): {message}", f"see {reason} in docs/reference/conditions.md"
    )


def _selector(raw: Selector) -> LabelSelector:
    terms = (SelectorRequirement(e.key, e.operator, tuple(e.values or ())) for e in raw.match_expressions or ())
    return LabelSelector(tuple((raw.match_labels or {}).items()), tuple(terms))


def _own(case: Case) -> list[MutatingWebhook]:
    return [w for w in case.bundle.webhooks.value or () if w.name.endswith(_OURS)]


def _scope(case: Case) -> Outcome:
    if case.is_injected:
        return fine("the webhook was called for the pod")
    if case.bundle.webhooks.value is None:
        return unseen("the webhook's configuration", case.bundle.webhooks)
    own = _own(case)
    if not own:
        return broken(
            "the cluster has no MutatingWebhookConfiguration of trustbind, so no pod gets a role",
            "install the chart, or correct its value webhook.enabled",
        )
    scope = WebhookScope(tuple(Scope(_selector(w.namespace_selector), _selector(w.object_selector)) for w in own))
    labels = case.bundle.namespace_labels.value
    left_out = scope.left_out(case.bundle.target.namespace, labels, case.pod.labels if case.pod else None)
    if left_out:
        return broken(left_out, "change the label or the webhook's selector, then restart the pod")
    if labels is None and scope.needs_labels:
        return unseen("the labels of the Namespace", case.bundle.namespace_labels)
    return fine(f"the webhook is called for pods of namespace {case.bundle.target.namespace}")


def _answers(case: Case) -> Outcome:
    if case.is_injected:
        return fine("the webhook answered when the pod was created")
    backend = case.bundle.backend.value
    if backend is None:
        return unseen("the webhook's endpoints", case.bundle.backend)
    own = _own(case)
    service = next((w.service for w in own if w.service), "")
    if backend.ready == 0:
        return broken(
            f"no endpoint of Service {service} is ready, so pods start without a role",
            f"see 'kubectl get pods -n {service.partition('/')[0]}' and the webhook's log; then restart the pod",
        )
    authorities = backend.authorities.value
    if authorities is not None and own and not all(set(w.authorities) & set(authorities) for w in own):
        return broken(
            f"caBundle of MutatingWebhookConfiguration {own[0].configuration} does not hold the authority of the "
            "webhook's certificate, so the API server cannot call it",
            "let trustbind write caBundle (certificates.mode), or correct what else writes it; then restart the pod",
        )
    if authorities is None:
        return unknown(
            f"{backend.ready} endpoints are ready; whether caBundle fits cannot be seen: {backend.authorities.reason}"
        )
    return fine(f"{backend.ready} endpoints of the webhook are ready, and caBundle fits")


def _rival(case: Case) -> Outcome:
    if case.bundle.webhooks.value is None:
        return unseen("other webhooks", case.bundle.webhooks)
    rivals = [
        w.configuration
        for w in case.bundle.webhooks.value
        if not w.name.endswith(_OURS) and any(part in f"{w.configuration} {w.name}" for part in _RIVALS)
    ]
    if not rivals:
        return fine("no other webhook gives pods an AWS identity")
    if case.pod is None or (case.is_injected and _has_wanted(case)):
        return fine(f"{rivals[0]} is there as well, and the pod has what trustbind gives")
    return broken(
        f"MutatingWebhookConfiguration {rivals[0]} gives pods an AWS identity as well, and the pod does not have what "
        "trustbind gives",
        "remove one of the two, or give trustbind another annotation prefix (injection.annotationPrefix)",
    )


def _has_wanted(case: Case) -> bool:
    container = case.container
    return container is not None and all(container.value(name) == value for name, value in case.wanted.env)


def _age(case: Case) -> Outcome:
    if case.pod is None:
        return case.without_pod
    if case.is_injected:
        return fine("the pod has what the webhook adds")
    made = time_of(case.pod.created)
    if made is None:
        return unknown("when the pod was created is not known")
    binding, account = case.wanted.binding, case.bundle.service_account.value
    if case.wanted.is_annotated:
        what, text = f"the annotation of service account {case.account}", account.annotated if account else ""
    else:
        what, text = case.wanted.source, binding.created if binding else ""
    since = time_of(text)
    if since is not None and made < since:
        return broken(
            f"pod {case.pod.name} was created before {what} ({case.pod.created}, {text}), and only new pods get a role",
            "restart the pod",
        )
    return fine("the pod is younger than what gives it a role")


def _opted_out(case: Case) -> Outcome:
    account = case.bundle.service_account.value
    if case.pod is None and not case.bundle.pod.is_absent:
        return case.without_pod
    if account is None and not case.bundle.service_account.is_absent:
        return unseen(f"service account {case.account}", case.bundle.service_account)
    for what, given in (
        (f"pod {case.pod.name}" if case.pod else "", case.pod.annotations if case.pod else {}),
        (f"service account {case.account}", account.annotations if account else {}),
    ):
        if what and is_opted_out(given):
            return broken(f"{what} is annotated {INJECT}: false", "take the annotation off, and restart the pod")
    container = case.container
    if container is not None and container.name in case.skipped:
        return broken(
            f"container {container.name} is listed in the pod's annotation skip-containers",
            "take its name out, and restart the pod",
        )
    return fine("nobody has opted out")


CHECKS: Final = (
    Check(
        1,
        "NoAccess",
        "The API server does not answer, or you may not read pods and service accounts.",
        "Use a kubeconfig with these rights.",
        _api,
    ),
    Check(2, "PodNotRunning", "The pod or the container does not exist, or does not run.", "Name one that runs.", _pod),
    Check(
        3,
        "DefaultServiceAccount",
        "The pod runs with the service account default, which has no role.",
        "Set spec.serviceAccountName.",
        _service_account_meant,
    ),
    Check(
        4,
        "NoServiceAccount",
        "The service account does not exist, or was made again since the token was issued.",
        "Create it, or restart the pod.",
        _service_account,
    ),
    Check(
        5,
        "NotBound",
        "No RoleBinding that is granted, and no valid annotation, gives the service account a role.",
        "Bind it, or annotate it; the message names places where a role was probably meant.",
        _bound,
    ),
    Check(
        6,
        "OutOfScope",
        "The API server does not call the webhook for the pod: by a selector, or because there is no webhook.",
        "Change the label or the selector, then restart the pod.",
        _scope,
    ),
    Check(
        7,
        "WebhookUnreachable",
        "No endpoint of the webhook is ready, or caBundle does not fit its certificate.",
        "Bring the webhook up, then restart the pod.",
        _answers,
    ),
    Check(
        8,
        "SecondWebhook",
        "Another webhook gives pods an AWS identity, and came first.",
        "Remove one of the two, or use another annotation prefix.",
        _rival,
    ),
    Check(
        9,
        "PodTooOld",
        "The pod is older than the binding or the annotation, and only new pods get a role.",
        "Restart the pod.",
        _age,
    ),
    Check(
        10,
        "OptedOut",
        "The pod, its service account or the container is left out by an annotation.",
        "Take the annotation off, and restart the pod.",
        _opted_out,
    ),
)
