"""What a bundle and a report keep: no secret, wherever it was put, and the same diagnosis."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import string
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.diagnosis import AGENT, CHAIN, HEALTHY, ISSUER, ROLE, Json, binding, changed, known
from trustbind.api.annotations import DEFAULT_PREFIX, AnnotationKeys
from trustbind.diagnosis.chain import diagnose
from trustbind.diagnosis.error_text import classify
from trustbind.diagnosis.facts import Bundle, Target, decode, not_visible
from trustbind.diagnosis.model import Case
from trustbind_cli.commands.doctor.cluster import read_cluster
from trustbind_cli.commands.doctor.disclosure import as_file, shown
from trustbind_cli.commands.doctor.environment import NAMES
from trustbind_cli.commands.doctor.forms import role_text
from trustbind_cli.commands.doctor.run import _case
from trustbind_cli.commands.doctor.wanted import wanted_of
from trustbind_runtime.kubernetes.client import ApiError, ApiServer
from trustbind_webhook.injection.decision import InjectionSettings

KEYS = AnnotationKeys.under(DEFAULT_PREFIX)
SECRETS = st.text(string.ascii_letters + string.digits + "+/=_-@:. ", min_size=14, max_size=48).map(
    lambda text: f"Zq7{text}Xw9"
)
"""Texts that may stand in the wrong place."""
POD: Json = {
    "metadata": {
        "name": "web-0",
        "creationTimestamp": "2026-11-28T11:00:00Z",
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "x",
            f"{DEFAULT_PREFIX}/skip-containers": "x",
            f"{DEFAULT_PREFIX}/token-expiration": "x",
            f"{DEFAULT_PREFIX}/role-arn": "x",
            "iam.amazonaws.com/role": "x",
            "example.com/database-role-password": "x",
            "trustbind.dev/inject": "x",
            "trustbind.dev/session-name": "x",
        },
        "labels": {"app": "x", "iam-role": "x", "trustbind.dev/inject": "x", "team": "x"},
    },
    "spec": {
        "serviceAccountName": "checkout",
        "nodeName": "x",
        "schedulingGates": [{"name": "x"}],
        "containers": [
            {
                "name": "app",
                "env": [{"name": name, "value": "x"} for name in sorted(NAMES | {"DB_PASSWORD", "AWS_OTHER"})],
                "envFrom": [{"secretRef": {"name": "keys"}, "prefix": "x"}],
                "volumeMounts": [{"name": "aws-iam-token", "mountPath": "x", "subPath": "x"}],
                "command": ["x"],
                "args": ["x"],
            }
        ],
        "volumes": [
            {
                "name": "aws-iam-token",
                "projected": {"sources": [{"serviceAccountToken": {"path": "x", "audience": "x"}}]},
            }
        ],
    },
    "status": {"phase": "x", "message": "x"},
}
READ = (KEYS.role_arn, KEYS.audience, KEYS.sts_regional_endpoints, KEYS.token_expiration)
ACCOUNT: Json = {
    "metadata": {
        "name": "checkout",
        "uid": "x",
        "annotations": dict.fromkeys(
            (*READ, "trustbind.dev/inject", "trustbind.dev/session-name", "example.com/role", "note"), "x"
        ),
        "labels": {"team": "x", KEYS.role_arn: "x", "other": "x"},
    },
    "secrets": [{"name": "x"}],
}
WEBHOOK: Json = {
    "metadata": {"name": "trustbind-webhook"},
    "webhooks": [
        {
            "name": "mutate.trustbind.dev",
            "clientConfig": {"service": {"namespace": "trustbind-system", "name": "trustbind-webhook"}},
            "objectSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["none"]}]},
            "rules": [{"operations": ["CREATE"], "resources": ["pods"]}],
        }
    ],
}
CORE = "/api/v1/namespaces/shop"
ADMISSION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class FakeApi:
    """An API server with some objects; what it does not have it refuses, with words of its own."""

    def __init__(self, objects: Mapping[str, Json], refusal: str) -> None:
        self._objects = objects
        self._refusal = refusal

    async def get(self, path: str, *_: Any, **__: Any) -> bytes:
        """Return an object."""
        if path not in self._objects:
            raise ApiError(403, self._refusal)
        return json.dumps(self._objects[path]).encode()

    async def send(self, *_: Any, **__: Any) -> bytes:
        """Answer a SelfSubjectAccessReview."""
        return b'{"status": {"allowed": true}}'


def filled(value: Any, secret: str) -> Any:
    """Return an object with a secret in each place that is marked."""
    if isinstance(value, dict):
        return {key: filled(each, secret) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, secret) for each in value]
    return value.replace("x", secret) if value == "x" else value


def traces(secret: str) -> Iterator[str]:
    """Yield the secret as it could stand in a file."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield base64.b64encode(secret.encode()).decode()
    yield base64.urlsafe_b64encode(secret.encode()).decode()


def collected(secret: str, error: str) -> Bundle:
    """Return what is shown of a cluster with a secret in each field."""
    settings_map = {"data": {"settings.yaml": f"injection: {{audience: '{secret}'}}\npassword: '{secret}'\n"}}
    objects = {
        f"{CORE}/pods/web-0": filled(POD, secret),
        f"{CORE}/serviceaccounts/checkout": filled(ACCOUNT, secret),
        CORE: {"metadata": {"labels": {"team": secret, "note": secret}}},
        f"{CORE}/secrets/keys": {"data": {secret: secret, "AWS_ACCESS_KEY_ID": secret}},
        ADMISSION: {"items": [WEBHOOK]},
        "/apis/trustbind.dev/v1alpha1/namespaces/shop/rolebindings": {"items": [changed(binding(), noted(secret))]},
        "/api/v1/namespaces/trustbind-system/configmaps/trustbind-webhook": settings_map,
    }
    api = cast("ApiServer", FakeApi(objects, secret))
    found = asyncio.run(read_cluster(api, Target("Pod", "shop", "web-0", secret), "2026-11-29T12:00:00+00:00")).bundle
    wanted = wanted_of(found, InjectionSettings())
    claims: Json = {"sub": secret, "aud": [secret], "iss": secret, "team": {secret: [secret]}, "exp": 1}
    caller = {"account": "1", "arn": secret}
    exchange = {"error": f"AccessDenied: //ada:{secret.replace(' ', '')}@proxy"}
    live = msgspec.convert(
        HEALTHY | {"claims": known(claims), "exchange": known(exchange), "caller": known(caller)},
        Bundle,
    )
    whole = msgspec.structs.replace(
        found,
        error=error,
        claims=live.claims,
        caller=live.caller,
        role=live.role,
        change=not_visible("AWS refuses to say", secret),
    )
    return shown(whole, wanted, KEYS)


def noted(secret: str) -> Any:
    """Return a change of a RoleBinding that puts a secret where tools keep notes."""

    def change(body: Json) -> None:
        body["metadata"].update(annotations={"note": secret}, labels={"note": secret}, managedFields=[secret])
        body["status"].update(note=secret)

    return change


MESSAGES = (
    *("{}", "is not authorized to perform: s3:{}", "AccessDenied {}", "{} Unable to locate credentials"),
    "assumed-role/{}/x is not authorized to perform: s3:GetObject",
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(SECRETS, st.sampled_from(MESSAGES))
def test_no_secret_in_a_bundle(secret: str, message: str) -> None:
    """In no field of pod, service account, settings, token, refusals or message, neither raw nor as base64."""
    bundle = collected(secret, message.replace("{}", secret))

    written = as_file(bundle)

    assert [trace for trace in traces(secret) if trace in written] == []
    decode(written.encode(), "facts.json")


@pytest.mark.parametrize("secret", ["ada:Zq7secretXw9@proxy.example.com", "hunter2Hunter", "/Zq7abcdEFGH0123"])
def test_no_secret_in_a_report(secret: str) -> None:
    """What is printed comes from the same facts."""
    found = diagnose(_case(collected(secret, secret), classify(secret)), goes_on=True)

    told = [f"{link.outcome.what} {link.outcome.todo}" for link in found.links]
    # What the API server says of its refusals is for the person at the terminal.
    assert [text for text in told if secret in text and "no right to read it" not in text] == []


@pytest.mark.parametrize("bundle", [HEALTHY, CHAIN, AGENT])
def test_healthy_facts_lose_nothing_that_decides(bundle: Json) -> None:
    """The same answers come from what is shown, and showing it again changes nothing."""
    facts = msgspec.convert(bundle, Bundle)
    wanted = wanted_of(facts, InjectionSettings())

    found = shown(facts, wanted, KEYS)

    again = wanted_of(found, InjectionSettings())
    assert again == wanted
    assert shown(found, again, KEYS) == found
    before, after = (diagnose(_case(each, None), goes_on=True).links for each in (facts, found))
    assert [(link.check.code, link.outcome) for link in after] == [(link.check.code, link.outcome) for link in before]


def test_own_audience_agrees_in_all_places() -> None:
    """An audience that may be a secret has one and the same stand-in in volume, claims, provider and trust policy."""
    audience = "Zq7secretXw9"

    def change(facts: Json) -> None:
        facts["bindings"] = known([])
        annotations = {KEYS.role_arn: ROLE, KEYS.audience: audience}
        facts["serviceAccount"]["value"]["annotations"] = annotations
        facts["pod"]["value"]["tokens"][0]["audience"] = audience
        facts["claims"]["value"]["aud"] = [audience]
        facts["provider"]["value"]["audiences"] = [audience]
        condition = facts["role"]["value"]["trustPolicy"]["Statement"][0]["Condition"]["StringEquals"]
        condition[f"{ISSUER.removeprefix('https://')}:aud"] = audience

    facts = msgspec.convert(changed(HEALTHY, change), Bundle)
    found = shown(facts, wanted_of(facts, InjectionSettings()), KEYS)

    assert audience not in as_file(found)
    states = {link.check.code: link.outcome.state for link in diagnose(_case(found, None), goes_on=True).links}
    assert {states[code] for code in ("TB119", "TB125", "TB129")} == {"ok"}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("HTTPS_PROXY", "ada:secret@proxy.example.com:3128", "host"),
        ("HTTPS_PROXY", "http://ada:secret@proxy:3128", "http://host"),
        ("https_proxy", "no address", "(text of 10 characters)"),
        ("NO_PROXY", "intern.example.com, .amazonaws.com,10.0.0.0/8", ".amazonaws.com,(2 others)"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://host/secret", None),
        ("AWS_REGION", "eu-central-1a", "eu-central-1a"),
        ("AWS_REGION", "Zq7secret", "(text of 9 characters)"),
        ("AWS_PROFILE", "secret", None),
        ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/other", "arn:aws:iam::111122223333:role/other"),
        ("AWS_ROLE_ARN", "secret", "(text of 6 characters)"),
        ("AWS_ROLE_SESSION_NAME", "Zq7secret", None),
        ("AWS_ROLE_SESSION_NAME", "shop.checkout.web-0", None),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/Zq7secret/token", "(text of 16 characters)"),
    ],
)
def test_variables(name: str, value: str, kept: str | None) -> None:
    """A value is kept where it is what trustbind gives, or has the form that it should have."""

    def change(facts: Json) -> None:
        facts["pod"]["value"]["containers"][0]["env"] = [{"name": name, "value": value}]

    facts = msgspec.convert(changed(HEALTHY, change), Bundle)
    found = shown(facts, wanted_of(facts, InjectionSettings()), KEYS)

    assert found.pod.value is not None
    assert [(each.name, each.value) for each in found.pod.value.containers[0].env] == [(name, kept)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (ROLE, ROLE),
        (f'"{ROLE}"', f'"{ROLE}"'),
        ("arn:aws:iam:111122223333:role/x", "arn:aws:iam:111122223333:role/x"),
        ("arn:aws:iam::1.11122223333e+11:role/x", "arn:aws:iam::1.11122223333e+11:role/x"),
        ("arn:aws:iam::${ACCOUNT}:role/x", "${PLACEHOLDER}"),
        ("reader", "name-of-6-characters"),
        ("two words", "(text of 9 characters)"),
    ],
)
def test_role_annotations(given: str, kept: str) -> None:
    """The fault that a value has stays, so that the hint at it does; a value that is no ARN does not."""
    assert role_text(given) == kept


def test_case_is_complete() -> None:
    """The facts of the property test lead to a diagnosis, so that they are read."""
    case = _case(collected("Zq7secret secretXw9", ""), None)

    assert isinstance(case, Case)
    assert case.pod is not None
    assert case.container is None
    assert copy.copy(case.bundle.service_account.value) is not None
