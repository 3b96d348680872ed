"""Pods at the gate, and pods that were missed: what becomes of each."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from support.bodies import binding_body
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import GATE
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.informer import Seen
from trustbind_operator.controllers.pod.gate_decision import Verdict, WaitingPod, judge_wait, release_patch, wait_of
from trustbind_operator.controllers.pod.missed_decision import (
    EvictionRounds,
    Missed,
    ScannedPod,
    binding_of,
    in_turns,
    why_missed,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = AnnotationKeys.under("eks.amazonaws.com")
ROLE = "arn:aws:iam::444455556666:role/app"
_CONDITION = {"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "TrustApplied"}
READY = {"conditions": [_CONDITION | {"lastTransitionTime": "2026-01-01T12:00:00Z"}]}
LONG_READY = {"conditions": [_CONDITION | {"lastTransitionTime": "2026-01-01T11:00:00Z"}]}
REFUSED = {"conditions": [{"type": "Ready", "status": "False", "reason": "NotGranted", "message": "no grant"}]}


def waiting(account: str = "app", seconds: float = 1.0) -> WaitingPod:
    """Return a pod that has waited for so long."""
    return WaitingPod("uid", account, NOW - timedelta(seconds=seconds), gated=True)


def judged(pod: WaitingPod, *entries: StoredBinding, late: bool = True) -> Verdict:
    """Return what becomes of a pod that may wait for a minute."""
    naming = [e for e in entries if e.binding is not None and e.binding.names(pod.account, {})]
    return judge_wait(pod, wait_of(naming), NOW, timedelta(seconds=60), release_late=late)


def entry(status: dict[str, Any] | None = None, name: str = "b", **spec: Any) -> StoredBinding:
    """Return a binding that pods wait for."""
    return StoredBinding.of(binding_body(name, status=status, **({"waitUntilReady": True} | spec)))


def test_message_names_a_few_bindings() -> None:
    """The oldest, and how many more there are: a service account can have hundreds."""
    message = judged(waiting(), *(entry(REFUSED, f"b{n:03}") for n in reversed(range(500)))).message
    assert [name for name in ("b000", "b001", "b002", "b003") if name in message] == ["b000", "b001", "b002"]
    assert message.endswith("; 497 more")


def test_goes_when_its_bindings_are_ready() -> None:
    """A pod goes when every binding that names it is Ready as it is now; others do not hold it."""
    assert judged(waiting(), entry(READY)).release
    assert judged(waiting(seconds=5), entry(REFUSED, serviceAccountNames=["other"])).release
    assert judged(waiting(seconds=5), entry(REFUSED, waitUntilReady=False)).release
    assert not judged(waiting(), entry()).release
    stale = {"conditions": [READY["conditions"][0] | {"observedGeneration": 0}]}
    assert not judged(waiting(), entry(stale)).release


def test_waits_for_a_binding_that_is_not_known_yet() -> None:
    """A pod whose binding nobody here has seen is held for five seconds: the webhook, which held it, may be ahead."""
    early = judged(waiting(seconds=4))

    assert (early.release, early.timed_out) == (False, False)
    assert "not known yet" in early.message
    assert judged(waiting(seconds=5)).release
    assert judge_wait(waiting(seconds=2), wait_of(()), NOW, timedelta(seconds=2), release_late=False).release


def test_waits_for_a_change_that_is_not_known_yet() -> None:
    """A pod that was held although all that is known was Ready before it came: of something the webhook knows more."""
    early = judged(waiting(seconds=4), entry(LONG_READY))

    assert (early.release, early.timed_out) == (False, False)
    assert "not known yet" in early.message
    assert judged(waiting(seconds=5), entry(LONG_READY)).release


def test_waits_for_what_gives_credentials() -> None:
    """Where EKS's agent does, its oldest binding alone is waited for, as pods use no other."""
    agent = entry(READY, method="PodIdentity")
    assert judged(waiting(seconds=5), entry(REFUSED), agent).release
    assert judged(waiting(seconds=5), entry(REFUSED), entry(None, method="PodIdentity", waitUntilReady=False)).release
    assert not judged(waiting(seconds=5), entry(READY), entry(REFUSED, method="PodIdentity")).release


def test_says_what_it_waits_for() -> None:
    """The sentence names the binding and why it is not Ready."""
    assert judged(waiting(), entry(REFUSED)).message == "it waits for RoleBinding team-a/b: NotGranted: no grant"
    assert "not looked at yet" in judged(waiting(), entry()).message


@pytest.mark.parametrize("late", [True, False])
def test_waits_no_longer_than_it_should(late: bool) -> None:
    """After the time a pod is let go, or goes on waiting, by setting; either way it is told."""
    verdict = judged(waiting(seconds=61), entry(REFUSED), late=late)

    assert (verdict.release, verdict.timed_out) == (late, True)
    assert "60 s" in verdict.message
    assert "NotGranted" in verdict.message


def test_reads_a_pod() -> None:
    """Gate, account and age come from the pod; one that is being deleted waits no more."""
    pod: dict[str, Any] = {
        "metadata": {"uid": "u", "creationTimestamp": "2026-01-01T11:59:00Z"},
        "spec": {"serviceAccountName": "app", "schedulingGates": [{"name": "other"}, {"name": GATE}]},
    }

    assert WaitingPod.read(json.dumps(pod).encode()) == WaitingPod("u", "app", NOW - timedelta(minutes=1), gated=True)
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    assert not WaitingPod.read(json.dumps(pod).encode()).gated
    assert not WaitingPod.read(b'{"metadata": {"creationTimestamp": "2026-01-01T12:00:00Z"}, "spec": {}}').gated
    assert release_patch()["spec"]["schedulingGates"] == [{"$patch": "delete", "name": GATE}]


ACCOUNT = Seen("uid", {}, {KEYS.role_arn: ROLE})
PLAIN = Seen("uid", {}, {})


def scanned(metadata: dict[str, Any] | None = None, **spec: Any) -> ScannedPod:
    """Return a running pod of service account ``app``."""
    body = {"metadata": metadata or {}, "spec": {"serviceAccountName": "app", "containers": [{"name": "a"}]} | spec}
    return msgspec.convert(body, ScannedPod)


def test_missed() -> None:
    """A pod of an annotated or bound account without anything of ours was missed, and the sentence says why."""
    annotated = missed(scanned(), ACCOUNT)
    assert annotated.message.startswith(f"its service account app is annotated with {ROLE}")
    bound = missed(scanned(), PLAIN, "team-a/b")
    assert "bound by RoleBinding team-a/b" in bound.message
    assert annotated.is_evictable
    assert bound.is_evictable


def missed(pod: ScannedPod, account: Seen, bound: str = "") -> Missed:
    """Return why a pod was missed."""
    found = why_missed(pod, account, bound, KEYS)
    assert found is not None
    return found


def test_binding_of_a_service_account() -> None:
    """The oldest that is not on its way out."""
    going = entry(metadata={"deletionTimestamp": "2026-01-01T12:00:00Z"}, name="a")
    entries = [entry(name="c"), going, entry(name="b"), entry(name="d", audience="a b")]
    assert binding_of(entries) == "team-a/b"
    assert binding_of([going]) == ""


def test_pod_that_would_be_missed_again_is_not_evicted() -> None:
    """Where something in the pod or at its service account keeps the webhook from it, the sentence says what."""
    config = missed(scanned({"annotations": {"trustbind.dev/aws-config": "x"}}), PLAIN, "team-a/b")
    assert "annotation trustbind.dev/aws-config, which is in the way" in config.message
    annotated = missed(scanned(), Seen("uid", {}, {KEYS.role_arn: "nonsense"}), "team-a/b")
    assert f"annotation {KEYS.role_arn} is not the ARN of a role" in annotated.message
    assert not (config.is_evictable)
    assert not (annotated.is_evictable)


def test_namespaces_take_turns_in_evictions() -> None:
    """One pod of each, then a second of each; those that were served longest ago come first."""
    pods = [
        scanned({"uid": f"{n}{i}", "namespace": n}) for n, count in (("a", 3), ("b", 1), ("c", 2)) for i in range(count)
    ]
    order = [pod.metadata.uid for pod in in_turns(pods, {"a": 7, "b": 3})]
    assert order == ["c0", "b0", "a0", "c1", "a1", "a2"]


@pytest.mark.parametrize(
    ("pod", "account"),
    [
        (scanned(), PLAIN),
        (scanned(), None),
        (scanned(), Seen("uid", {}, {KEYS.role_arn: "nonsense"})),
        (scanned(), Seen("uid", {}, {KEYS.role_arn: ROLE, "trustbind.dev/inject": "false"})),
        (scanned({"annotations": {"trustbind.dev/inject": "false"}}), ACCOUNT),
        (scanned({"annotations": {"kubernetes.io/config.mirror": "x"}}), ACCOUNT),
        (scanned({"deletionTimestamp": "2026-01-01T12:00:00Z"}), ACCOUNT),
        (scanned(volumes=[{"name": "aws-iam-token"}]), ACCOUNT),
        (scanned(volumes=[{"name": "eks-pod-identity-token"}]), ACCOUNT),
        (scanned(containers=[{"env": [{"name": "AWS_ACCESS_KEY_ID"}]}]), ACCOUNT),
    ],
)
def test_not_missed(pod: ScannedPod, account: Seen | None) -> None:
    """Nobody is told of a pod that has what it needs, brings it, opted out, is going, or has nothing to get."""
    assert why_missed(pod, account, "", KEYS) is None


def test_controller() -> None:
    """Only a pod that somebody would create again may be evicted."""
    rounds = EvictionRounds(lambda: 0.0)
    assert rounds.allow(owned("a"))
    assert not rounds.allow(scanned({"uid": "a"}))
    assert not rounds.allow(scanned({"uid": "a", "ownerReferences": [{"controller": False, "uid": "rs"}]}))


def owned(uid: str, controller: str = "rs") -> ScannedPod:
    """Return a pod that a controller made."""
    return scanned({"uid": uid, "ownerReferences": [{"controller": True, "uid": controller}]})


def test_successors_are_not_evicted_again_and_again() -> None:
    """Those that were missed together go one after the other; their successors may only after an hour's rest."""
    seconds = 0.0
    rounds = EvictionRounds(lambda: seconds)
    first = [owned("a"), owned("b"), owned("x", "other")]
    rounds.evicted(first[0], first)
    assert rounds.allow(owned("b"))
    assert rounds.allow(owned("x", "other"))
    assert not rounds.allow(owned("c"))
    rounds.evicted(owned("b"), [owned("b"), owned("c")])
    assert not rounds.allow(owned("c"))
    seconds = 3599.0
    rounds.forget()
    assert not rounds.allow(owned("c"))
    seconds = 3600.0
    rounds.forget()
    assert rounds.allow(owned("c"))


def test_evictions_in_vain_become_rare() -> None:
    """Where the successors are missed as well, the next rest is twice as long, up to a week; it is not forgotten."""
    seconds = 0.0
    rounds = EvictionRounds(lambda: seconds)
    evicted: list[float] = []
    while seconds < 60 * 86400:
        rounds.forget()
        pod = owned(f"pod-{seconds}")
        if rounds.allow(pod):
            rounds.evicted(pod, [pod])
            evicted.append(seconds)
        seconds += 300.0
    rests = [later - earlier for earlier, later in itertools.pairwise(evicted)]
    assert rests[:4] == [3600.0, 7200.0, 14400.0, 28800.0]
    assert max(rests) == 7 * 86400
    assert len(evicted) < 20
