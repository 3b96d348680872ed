"""A decision as JSON Patch, and what holds for every pod."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbind.api.role_binding import BindingRef, Method, RoleBinding, Source
from trustbind.identity.arns import RoleArn
from trustbind_webhook.injection.decision import (
    DEFAULT_MOUNT_PATH,
    VOLUME_NAME,
    Account,
    Inject,
    InjectionSettings,
    Skip,
    decide,
)
from trustbind_webhook.injection.json_patch import Operation, applied, patch
from trustbind_webhook.injection.pod import pod_of

ROLE = "arn:aws:iam::444455556666:role/shop/checkout"
SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")
OURS = {
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_SESSION_NAME",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_PROFILE",
    "AWS_SDK_LOAD_CONFIG",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}
TOKEN = {"serviceAccountToken": {"audience": "sts.amazonaws.com", "expirationSeconds": 3600, "path": "token"}}


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the strategy, or null."""
    return st.none() | strategy


unknown = st.dictionaries(
    st.sampled_from(["fromTheFuture", "image", "resources", "restartPolicy"]),
    st.recursive(
        st.integers() | st.text(max_size=3) | st.none(), lambda i: st.dictionaries(st.text(max_size=3), i, max_size=2)
    ),
    max_size=2,
)
variables = st.builds(
    lambda name, value, more: {"name": name} | value | more,
    st.sampled_from([*sorted(OURS), "LOG_LEVEL", "A", ""]),
    st.sampled_from(
        [
            {"value": "x"},
            {"value": "mine"},
            {"value": ROLE},
            {"value": f"{DEFAULT_MOUNT_PATH}/token"},
            {"value": None},
            {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {},
        ]
    ),
    unknown,
)
mounts = st.builds(
    lambda name, path, more: {"name": name, "mountPath": path} | more,
    st.sampled_from([VOLUME_NAME, "data"]),
    st.sampled_from([DEFAULT_MOUNT_PATH, f"{DEFAULT_MOUNT_PATH}/", "/data", ""]),
    st.sampled_from([{}, {"readOnly": True}, {"subPath": "token"}, {"subPathExpr": "$(X)"}]),
)
containers = st.builds(
    lambda name, fields, more: {"name": name} | more | fields,
    st.sampled_from(["app", "proxy", "x"]),
    st.fixed_dictionaries(
        {},
        optional={
            "env": optional(st.lists(variables, max_size=4)),
            "volumeMounts": optional(st.lists(mounts, max_size=2)),
        },
    ),
    unknown,
)
volumes = st.builds(
    lambda name, source: {"name": name} | source,
    st.sampled_from([VOLUME_NAME, "data"]),
    st.sampled_from(
        [{"projected": {"sources": [TOKEN]}}, {"emptyDir": {}}, {"projected": {"sources": [TOKEN, {"secret": {}}]}}]
    ),
)
pod_annotations = st.dictionaries(
    st.sampled_from(
        [
            "eks.amazonaws.com/skip-containers",
            "eks.amazonaws.com/token-expiration",
            "trustbind.dev/inject",
            "trustbind.dev/session-name",
            "x/y",
        ]
    ),
    st.sampled_from(["app", "app, proxy", "1000", "false", "", "99999999"]),
    max_size=2,
)
names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,80}[a-z0-9])?", fullmatch=True)
pods = st.builds(
    lambda metadata, spec, more, status: {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": more | spec,
        **status,
    },
    st.fixed_dictionaries(
        {},
        optional={
            "name": names,
            "generateName": names,
            "annotations": optional(pod_annotations),
            "labels": st.just({}),
        },
    ),
    st.fixed_dictionaries(
        {"containers": st.lists(containers, max_size=3)},
        optional={
            "initContainers": optional(st.lists(containers, max_size=2)),
            "volumes": optional(st.lists(volumes, max_size=2, unique_by=lambda v: str(v["name"]))),
            "serviceAccountName": st.sampled_from(["checkout", "", None]),
            "nodeSelector": st.sampled_from([None, {}, {"kubernetes.io/os": "windows"}, {"kubernetes.io/os": "linux"}]),
            "os": st.sampled_from([None, {"name": "windows"}, {"name": "linux"}]),
        },
    ),
    unknown,
    st.sampled_from([{}, {"status": {"phase": "Pending"}}]),
)
settings_of = st.builds(
    InjectionSettings,
    region=st.sampled_from(["", "eu-central-1"]),
    sts_regional_endpoints=st.booleans(),
    cluster=st.sampled_from(["", "blue"]),
    session_names=st.booleans(),
    token_expiration_seconds=st.sampled_from([1, 3600, 86400]),
)
accounts = st.builds(
    lambda annotations: Account("shop", "checkout", annotations),
    st.fixed_dictionaries(
        {},
        optional={
            "eks.amazonaws.com/role-arn": st.sampled_from([ROLE, ROLE, ROLE, "x", ""]),
            "eks.amazonaws.com/sts-regional-endpoints": st.sampled_from(["true", "0", "x"]),
            "eks.amazonaws.com/token-expiration": st.sampled_from(["1000", "x"]),
        },
    ),
)
BINDING = RoleBinding(
    BindingRef("shop", "b"),
    RoleArn.parse("arn:aws:iam::444455556666:role/bound"),
    service_account_names=("checkout",),
    session_name="{cluster}{pod}",
)
CHAIN = replace(
    BINDING,
    ref=BindingRef("shop", "chain"),
    method=Method.ASSUME_ROLE,
    source=Source(RoleArn.parse("arn:aws:iam::111122223333:role/base")),
    audience="chain.example",
    wait_until_ready=True,
)
OTHER = replace(BINDING, ref=BindingRef("shop", "other"), profile="other", region="eu-west-1")
AGENT = replace(BINDING, ref=BindingRef("shop", "agent"), method=Method.POD_IDENTITY)
bindings_of = st.sampled_from([(), (BINDING,), (CHAIN,), (AGENT, BINDING), (OTHER,), (BINDING, OTHER), (CHAIN, OTHER)])


def outcome_of(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> Inject | Skip:
    """Return the decision about a manifest."""
    return decide(pod_of(pod), account, bindings, settings, namespace="shop", unique="review-1")


def result_of(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> tuple[Inject | Skip, list[Operation], dict[str, Any]]:
    """Return decision, patch and patched pod."""
    outcome = outcome_of(pod, account, bindings, settings)
    operations = patch(outcome) if isinstance(outcome, Inject) else []
    return outcome, operations, applied(pod, operations)


def containers_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return init containers and containers."""
    return [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]


def without(before: Any, after: Any) -> bool:
    """Return whether all of ``before`` is in ``after``, in its order: lists and objects may only have grown."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(k in after and without(v, after[k]) for k, v in before.items())
    if isinstance(before, list):
        rest = iter(after)
        return isinstance(after, list) and all(any(without(one, other) for other in rest) for one in before)
    return before is None or bool(before == after)  # a null list is one that may be made


every = given(pods, accounts, bindings_of, settings_of)


@every
def test_second_pass(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """A pod that was patched is left alone by a second pass."""
    _, _, after = result_of(pod, account, bindings, settings)

    assert isinstance(outcome_of(after, account, bindings, settings), Skip)


@every
def test_only_additions(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """Nothing of the pod disappears or changes: every operation adds, and the pod is found again in the result."""
    before = copy.deepcopy(pod)

    outcome, operations, after = result_of(pod, account, bindings, settings)

    assert pod == before
    assert all(operation["op"] == "add" for operation in operations)
    assert without(before, after)
    assert isinstance(outcome, Inject) or after == before
    for one, other in zip(containers_of(before), containers_of(after), strict=True):
        assert {k: v for k, v in one.items() if k not in {"env", "volumeMounts"}} == {
            k: v for k, v in other.items() if k not in {"env", "volumeMounts"}
        }


@settings(deadline=None)  # a slow machine is no fault
@every
def test_user_values_win(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """The user's variables and mounts stand in front as they were; no variable of theirs is given a second time."""
    _, _, after = result_of(pod, account, bindings, settings)

    for one, other in zip(containers_of(pod), containers_of(after), strict=True):
        mine, theirs = one.get("env") or [], other.get("env") or []
        assert theirs[: len(mine)] == mine
        added = [variable["name"] for variable in theirs[len(mine) :]]
        assert len(set(added)) == len(added)
        assert set(added) <= OURS - {variable["name"] for variable in mine}
        mounted = one.get("volumeMounts") or []
        assert (other.get("volumeMounts") or [])[: len(mounted)] == mounted


@every
def test_independent_patcher(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """Our application of a patch is what an independent implementation of RFC 6902 makes of it."""
    _, operations, after = result_of(pod, account, bindings, settings)

    assert after == jsonpatch.apply_patch(pod, json.loads(json.dumps(operations)))


@every
def test_deterministic(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """The same question has the same answer."""
    assert outcome_of(pod, account, bindings, settings) == outcome_of(pod, account, bindings, settings)


@every
def test_session_names(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """Every session name that is given is one that STS takes, and the same in all containers of the pod."""
    outcome, operations, _ = result_of(pod, account, bindings, settings)
    added = [v for o in operations for v in (o["value"] if isinstance(o["value"], list) else [o["value"]])]
    sessions = {v["value"] for v in added if isinstance(v, dict) and v.get("name") == "AWS_ROLE_SESSION_NAME"}
    if isinstance(outcome, Inject):
        sessions |= set(re.findall("role_session_name = (.*)", outcome.delivery.config))

    assert len(sessions) <= 1 or (isinstance(outcome, Inject) and outcome.delivery.config)
    assert all(SESSION_NAME.fullmatch(session) for session in sessions)


@every
def test_a_container_that_comes_later_has_the_session_name_of_the_others(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """The API server calls again, with another uid, where another webhook added a container."""
    first, _, after = result_of(pod, account, bindings, settings)
    after["spec"]["containers"].insert(0, {"name": "later"})
    again = decide(pod_of(after), account, bindings, settings, namespace="shop", unique="review-2")
    given, later = ({name for name in _sessions(outcome) if name} for outcome in (first, again))

    assert len(given) <= 1
    assert later <= given or not given


def _sessions(outcome: Inject | Skip) -> list[str | None]:
    """Return the session name that each container is given."""
    additions = outcome.additions if isinstance(outcome, Inject) else ()
    return [dict(addition.env).get("AWS_ROLE_SESSION_NAME") for addition in additions]


@every
def test_token_is_mounted_where_the_variable_says(
    pod: dict[str, Any], account: Account, bindings: tuple[RoleBinding, ...], settings: InjectionSettings
) -> None:
    """A container that is given our pair has the mount, and the pod the volume that it names."""
    outcome, _, after = result_of(pod, account, bindings, settings)
    if isinstance(outcome, Skip):
        return
    name = outcome.delivery.volume_name
    assert [v["name"] for v in after["spec"]["volumes"]].count(name) == 1
    for addition in outcome.additions:
        if "AWS_WEB_IDENTITY_TOKEN_FILE" in dict(addition.env):
            _, _, kind, index = addition.path.split("/")
            assert name in {m["name"] for m in after["spec"][kind][int(index)]["volumeMounts"]}


def test_smallest_patch() -> None:
    """Lists that are there are appended to, variable by variable; lists that are not are made at once."""
    pod = {
        "metadata": {"name": "web-0"},
        "spec": {
            "serviceAccountName": "checkout",
            "volumes": [],
            "containers": [{"name": "a", "env": [{"name": "X"}], "volumeMounts": []}, {"name": "b"}],
        },
    }
    account = Account("shop", "checkout", {"eks.amazonaws.com/role-arn": ROLE})

    _, operations, _ = result_of(pod, account, (), InjectionSettings())

    assert [(o["path"], isinstance(o["value"], list)) for o in operations] == [
        ("/spec/volumes/0", False),
        ("/spec/containers/0/env/-", False),
        ("/spec/containers/0/env/-", False),
        ("/spec/containers/0/env/-", False),
        ("/spec/containers/0/volumeMounts/-", False),
        ("/spec/containers/1/env", True),
        ("/spec/containers/1/volumeMounts", True),
    ]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/a/-", "value": 3}, {"a": [1, 2, 3]}),
        ({"op": "add", "path": "/a/0", "value": 3}, {"a": [3, 1, 2]}),
        ({"op": "add", "path": "/b", "value": [3]}, {"a": [1, 2], "b": [3]}),
    ],
)
def test_applied(operation: Operation, expected: dict[str, Any]) -> None:
    """Additions to lists and objects are carried out, on a copy."""
    before = {"a": [1, 2]}

    assert applied(before, [operation]) == expected
    assert before == {"a": [1, 2]}
