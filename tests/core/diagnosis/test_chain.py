"""Each check with a healthy workload and with a true fault: the chain names that link, and no other one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from support.diagnosis import (
    ACCOUNT,
    AGENT,
    CHAIN,
    HEALTHY,
    ISSUER,
    PROVIDER,
    ROLE,
    TARGET,
    Json,
    absent,
    binding,
    case_of,
    changed,
    diagnosed,
    hidden,
    known,
    trusting,
)
from trustbind.api.labels import GATE
from trustbind.diagnosis.chain import CHECKS, diagnose
from trustbind.diagnosis.model import State

DENIED = "An error occurred (AccessDenied): Not authorized to perform sts:AssumeRoleWithWebIdentity"


def pod(bundle: Json) -> Json:
    """Return the pod of a bundle."""
    found: Json = bundle["pod"]["value"]
    return found


def container(bundle: Json) -> Json:
    """Return the container of a bundle's pod."""
    found: Json = pod(bundle)["containers"][0]
    return found


def bare(bundle: Json) -> None:
    """Take everything away that the webhook adds."""
    container(bundle).update(env=[], volumeMounts=[])
    pod(bundle)["tokens"] = []


def env(bundle: Json, name: str, value: str | None) -> None:
    """Set a variable of the container."""
    kept = [each for each in container(bundle)["env"] if each["name"] != name]
    container(bundle)["env"] = [*kept, {"name": name, "value": value}]


def status(bundle: Json, reason: str, message: str) -> None:
    """Let the binding be not Ready."""
    condition = {"type": "Ready", "status": "False", "reason": reason, "message": message}
    bundle["bindings"]["value"][0]["status"]["conditions"] = [condition]


def role(bundle: Json, **fields: Any) -> None:
    """Change the role."""
    bundle["role"]["value"].update(fields)


def rival(bundle: Json) -> None:
    """Add the EKS webhook, which came first."""
    bundle["webhooks"]["value"].append(
        {"configuration": "pod-identity-webhook", "name": "pod-identity-webhook.amazonaws.com"}
    )
    env(bundle, "AWS_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/other")


def both(*changes: Callable[[Json], object]) -> Callable[[Json], None]:
    """Return one change of several."""

    def change(bundle: Json) -> None:
        for each in changes:
            each(bundle)

    return change


def deny() -> Json:
    """Return a trust policy with a Deny."""
    document = trusting()
    document["Statement"].append({"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRoleWithWebIdentity"})
    return document


def condition(**operators: Json) -> Json:
    """Return the usual trust policy with further conditions."""
    usual = trusting()["Statement"][0]["Condition"]
    return trusting(Condition=usual | operators)


def pending(bundle: Json) -> None:
    """Let the binding have no status yet, so that no drift is claimed."""
    bundle["bindings"]["value"][0]["status"] = {}


UNTRIED = changed(HEALTHY, lambda b: b.update(exchange=hidden()))
"""Healthy, as far as it can be told without an exchange."""
STALE = {"Effect": "Allow", "Principal": {"AWS": "AROAEXAMPLEEXAMPLE123"}, "Action": "sts:AssumeRole"}
WRONG_SUB = trusting(
    Condition={
        "StringEquals": {
            "oidc.example.com/cluster:aud": "sts.amazonaws.com",
            "oidc.example.com/cluster:sub": "system:serviceaccount:shop:Checkout",
        }
    }
)

FAULTS: dict[str, tuple[int, Json, Callable[[Json], object], str]] = {
    "rights": (1, HEALTHY, lambda b: b.update(api=known({"missing": ["get pods"]}), pod=hidden()), "get pods"),
    "no pod": (2, HEALTHY, lambda b: b.update(pod=absent()), "there is no pod/web-0 of namespace shop"),
    "no container": (2, HEALTHY, lambda b: b["target"].update(container="web"), "has no container 'web'"),
    "pod pending": (2, HEALTHY, lambda b: pod(b).update(phase="Pending"), "Pending"),
    "pod waits": (
        2,
        HEALTHY,
        lambda b: pod(b).update(gates=[GATE]),
        "waits for its RoleBind",
    ),
    "default service account": (
        3,
        HEALTHY,
        both(
            bare,
            lambda b: pod(b).update(serviceAccount="default"),
            lambda b: b["serviceAccount"]["value"].update(name="default"),
        ),
        "RoleBindings of the namespace name checkout",
    ),
    "no service account": (4, HEALTHY, lambda b: b.update(serviceAccount=absent()), "no service account shop/checkout"),
    "service account made again": (4, HEALTHY, lambda b: b["serviceAccount"]["value"].update(uid="u-2"), "made again"),
    "not bound": (5, HEALTHY, both(bare, lambda b: b.update(bindings=known([]))), "has no role"),
    "not granted": (5, HEALTHY, lambda b: status(b, "NotGranted", "no RoleGrant covers it"), "NotGranted"),
    "annotation is quoted": (
        5,
        HEALTHY,
        both(
            bare,
            lambda b: b.update(bindings=known([])),
            lambda b: b["serviceAccount"]["value"].update(annotations={"eks.amazonaws.com/role-arn": f'"{ROLE}"'}),
        ),
        "take the quotes off",
    ),
    "annotation is on the pod": (
        5,
        HEALTHY,
        both(
            bare,
            lambda b: b.update(bindings=known([])),
            lambda b: pod(b).update(annotations={"eks.amazonaws.com/role-arn": ROLE}),
        ),
        "the pod has the annotation eks.amazonaws.com/role-arn",
    ),
    "namespace opted out": (
        6,
        HEALTHY,
        both(bare, lambda b: b.update(namespaceLabels=known({"trustbind.dev/inject": "false"}))),
        "label trustbind.dev/inject=false",
    ),
    "no webhook": (6, HEALTHY, both(bare, lambda b: b.update(webhooks=known([]))), "no MutatingWebhookConfiguration"),
    "no endpoint": (7, HEALTHY, both(bare, lambda b: b["backend"]["value"].update(ready=0)), "no endpoint of Service"),
    "other authority": (
        7,
        HEALTHY,
        both(bare, lambda b: b["backend"]["value"].update(authorities=known(["bb"]))),
        "caBundle of MutatingWebhookConfiguration trustbind-webhook",
    ),
    "second webhook": (8, HEALTHY, rival, "pod-identity-webhook gives pods an AWS identity"),
    "pod is older than the binding": (
        9,
        HEALTHY,
        both(bare, lambda b: pod(b).update(created="2026-11-28T09:00:00Z")),
        "created before RoleBinding shop/checkout",
    ),
    "pod is older than the annotation": (
        9,
        HEALTHY,
        both(
            bare,
            lambda b: b.update(bindings=known([])),
            lambda b: b["serviceAccount"]["value"].update(
                annotations={"eks.amazonaws.com/role-arn": ROLE}, annotated="2026-11-28T12:00:00Z"
            ),
        ),
        "created before the annotation of service account shop/checkout",
    ),
    "pod opted out": (
        10,
        HEALTHY,
        both(bare, lambda b: pod(b).update(annotations={"trustbind.dev/inject": "false"})),
        "pod web-0 is annotated trustbind.dev/inject: false",
    ),
    "container skipped": (
        10,
        HEALTHY,
        lambda b: pod(b).update(annotations={"eks.amazonaws.com/skip-containers": "app"}),
        "container app is listed",
    ),
    "no volume": (11, HEALTHY, bare, "has no volume aws-iam-token"),
    "not mounted": (11, HEALTHY, lambda b: container(b).update(volumeMounts=[]), "does not mount"),
    "mounted elsewhere": (
        11,
        HEALTHY,
        lambda b: container(b).update(volumeMounts=[{"name": "aws-iam-token", "mountPath": "/token"}]),
        "mounts aws-iam-token at /token",
    ),
    "other role": (
        12,
        HEALTHY,
        lambda b: env(b, "AWS_ROLE_ARN", f"{ROLE}-old"),
        "and by RoleBinding shop/checkout it is",
    ),
    "static keys": (13, HEALTHY, lambda b: env(b, "AWS_ACCESS_KEY_ID", None), "sets AWS_ACCESS_KEY_ID"),
    "static keys of a Secret": (
        13,
        HEALTHY,
        lambda b: container(b).update(
            envFrom=[{"source": "Secret/keys", "prefix": "AWS_", "keys": known(["ACCESS_KEY_ID"])}]
        ),
        "gets AWS_ACCESS_KEY_ID from Secret/keys",
    ),
    "profile": (13, HEALTHY, lambda b: env(b, "AWS_PROFILE", "legacy"), "sets AWS_PROFILE"),
    "zone for region": (14, HEALTHY, lambda b: env(b, "AWS_REGION", "eu-central-1a"), "which is no AWS region"),
    "region of another partition": (14, HEALTHY, lambda b: env(b, "AWS_REGION", "cn-north-1"), "in partition aws"),
    "proxy": (15, HEALTHY, lambda b: env(b, "HTTPS_PROXY", "http://"), "which is no address"),
    "agent behind a proxy": (15, AGENT, lambda b: env(b, "HTTP_PROXY", "http://proxy:3128"), "NO_PROXY does not name"),
    "token for root alone": (
        16,
        HEALTHY,
        both(
            lambda b: pod(b)["tokens"][0].update(defaultMode=0o400),
            lambda b: pod(b)["containers"].append({"name": "sidecar", "runAsUser": 0}),
        ),
        "container app runs as user 1000",
    ),
    "token expired": (17, HEALTHY, lambda b: b["claims"]["value"].update(exp=1795953600), "the token expired at"),
    "clock": (17, HEALTHY, lambda b: b["claims"]["value"].update(iat=1796030000), "the token was issued at"),
    "issuer with a port": (
        18,
        HEALTHY,
        lambda b: b.update(issuer=known("https://x.example:6443")),
        "names a port",
    ),
    "issuer of the token": (
        18,
        HEALTHY,
        lambda b: b["claims"]["value"].update(iss=f"{ISSUER}/"),
        "the token's issuer is",
    ),
    "issuer but for a slash": (
        18,
        HEALTHY,
        lambda b: role(b, trustPolicy=trusting(Principal={"Federated": f"{PROVIDER}/"})),
        "they differ by a slash",
    ),
    "audience": (
        19,
        HEALTHY,
        both(lambda b: b["claims"]["value"].update(aud=["vault"]), lambda b: b["claims"]["value"].pop("azp", None)),
        "the audience of the token is vault",
    ),
    "azp": (19, HEALTHY, lambda b: b["claims"]["value"].update(azp="client"), "the audience of the token is client"),
    "subject": (20, HEALTHY, lambda b: b["claims"]["value"].update(sub="system:serviceaccount:shop:web"), "subject is"),
    "issuer is not public": (21, UNTRIED, lambda b: b["public"]["value"].update(problem="timed out"), "timed out"),
    "other public issuer": (21, UNTRIED, lambda b: b["public"]["value"].update(issuer="https://x"), "names the issuer"),
    "key is not published": (22, UNTRIED, lambda b: b["public"]["value"].update(keys={"k0": "RS256"}), "no key 'k1'"),
    "algorithm": (22, UNTRIED, lambda b: b["header"]["value"].update(alg="EdDSA"), "signed with EdDSA"),
    "no provider": (24, HEALTHY, lambda b: b.update(provider=absent()), f"AWS account {ACCOUNT} has no OIDC provider"),
    "audience is not listed": (25, HEALTHY, lambda b: b["provider"]["value"].update(audiences=[]), "does not list"),
    "no thumbprint": (26, UNTRIED, lambda b: b["public"]["value"].update(isTrusted=False), "has no thumbprint"),
    "claim of the context": (
        27,
        HEALTHY,
        lambda b: b["provider"]["value"].update(contextClaims=["/team"]),
        "claim /team",
    ),
    "no role": (28, HEALTHY, lambda b: b.update(role=absent()), f"there is no role {ROLE}"),
    "path of the role": (28, HEALTHY, lambda b: role(b, arn=ROLE.replace("/shop/", "/")), "the role of that name is"),
    "letter case": (29, HEALTHY, both(lambda b: role(b, trustPolicy=WRONG_SUB), pending), "letter case"),
    "not trusted": (
        29,
        HEALTHY,
        both(lambda b: role(b, trustPolicy=trusting(Action="sts:AssumeRole")), pending),
        "does not allow the exchange",
    ),
    "explicit Deny": (30, HEALTHY, lambda b: role(b, trustPolicy=deny()), "statement 2 of the trust policy"),
    "further condition": (
        31,
        HEALTHY,
        both(
            lambda b: role(b, trustPolicy=condition(DateLessThan={"aws:CurrentTime": "2026-01-01T00:00:00Z"})),
            pending,
        ),
        "has a condition that is not met",
    ),
    "stale principal": (
        32,
        HEALTHY,
        both(
            lambda b: role(b, trustPolicy={"Version": "2012-10-17", "Statement": [STALE]}),
            lambda b: status(b, "StalePrincipal", "statement 1 names a deleted principal"),
        ),
        "TB214 StalePrincipal",
    ),
    "session is too long": (
        33,
        HEALTHY,
        lambda b: b.update(bindings=known([binding(session={"durationSeconds": 7200})])),
        "a session of 7200 s is asked for",
    ),
    "session name": (34, HEALTHY, lambda b: env(b, "AWS_ROLE_SESSION_NAME", "a b"), "which STS does not take"),
    "drift": (
        35,
        HEALTHY,
        lambda b: role(b, trustPolicy=trusting(Principal={"Federated": f"{PROVIDER}x"})),
        "is no longer in the trust policy",
    ),
    "policy of the organization": (
        37,
        HEALTHY,
        lambda b: b.update(
            organization=known(
                [{"kind": "SCP", "name": "no-sts", "document": {"Statement": {"Effect": "Deny", "Action": "sts:*"}}}]
            )
        ),
        "SCP no-sts denies sts:AssumeRoleWithWebIdentity",
    ),
    "policy of an endpoint": (
        38,
        HEALTHY,
        lambda b: b.update(
            endpoints=known(
                [
                    {
                        "kind": "VPC endpoint policy",
                        "name": "vpce-1",
                        "document": {"Statement": [{"Effect": "Allow", "Action": "sts:GetCallerIdentity"}]},
                    }
                ]
            )
        ),
        "VPC endpoint policy vpce-1 does not allow",
    ),
    "no source policy": (
        40,
        CHAIN,
        lambda b: role(b, inlinePolicies=[{"Statement": []}]),
        "no inline policy of source role",
    ),
    "no target role": (40, CHAIN, lambda b: b.update(targetRole=absent()), f"there is no target role {TARGET}"),
    "target does not trust": (
        40,
        CHAIN,
        lambda b: b["targetRole"]["value"]["trustPolicy"]["Statement"][0].update(Principal={"AWS": "444455556666"}),
        "does not trust source role",
    ),
    "no agent": (41, AGENT, lambda b: b.update(agent=known(0)), "no EKS Pod Identity agent runs on node node-1"),
    "no association": (41, AGENT, lambda b: b.update(association=absent()), "EKS has no Pod Identity association"),
    "other association": (41, AGENT, lambda b: b["association"]["value"].update(role=TARGET), f"names {TARGET}"),
    "no TagSession": (
        41,
        AGENT,
        lambda b: b["role"]["value"]["trustPolicy"]["Statement"][0].update(Action="sts:AssumeRole"),
        "sts:TagSession",
    ),
    "exchange": (42, HEALTHY, lambda b: b["exchange"]["value"].update(error="AccessDenied: no"), "AccessDenied: no"),
}


def shown(bundle: Json, error: str = "") -> str:
    """Return the states of all links, for a failed assertion."""
    found = diagnosed(bundle, error, goes_on=True)
    return "\n".join(f"{link.check.code} {link.outcome.state}: {link.outcome.what}" for link in found.links)


@pytest.mark.parametrize("bundle", [HEALTHY, CHAIN, AGENT], ids=["plain", "chain", "agent"])
def test_healthy_workload(bundle: Json) -> None:
    """Of what works, nothing is broken and everything that applies is seen."""
    found = diagnosed(bundle, goes_on=True)

    assert (found.cause, found.of(State.BROKEN), found.of(State.UNKNOWN)) == (None, (), ()), shown(bundle)
    assert len(found.links) == len(CHECKS) == 42


def test_without_an_exchange() -> None:
    """What is published is looked at where no exchange has proven it; the exchange itself is then not visible."""
    found = diagnosed(UNTRIED, goes_on=True)

    assert (found.cause, [link.check.number for link in found.of(State.UNKNOWN)]) == (None, [42])


def test_every_check_is_fine_for_some_workload() -> None:
    """A check that can only be not applicable would prove nothing; the workload's own denial has no healthy form."""
    fine = {
        link.check.number for bundle in (HEALTHY, CHAIN, AGENT) for link in diagnosed(bundle, goes_on=True).of(State.OK)
    }

    assert fine == set(range(1, 43)) - {39}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(name: str) -> None:
    """The first broken link is the one that was broken, it says where, and what to do."""
    number, healthy, change, said = FAULTS[name]
    bundle = changed(healthy, change)

    found = diagnosed(bundle)

    assert found.cause is not None, shown(bundle)
    assert found.cause.check.number == number, shown(bundle)
    assert said in found.cause.outcome.what
    assert found.cause.outcome.todo
    assert found.of(State.BROKEN) == (found.cause,)
    assert all(link.check.number != number for link in found.of(State.NOT_LOOKED_AT))


def test_every_check_has_a_fault() -> None:
    """All but those that another test is about: another AWS account is never broken, and two need an error."""
    assert {number for number, *_ in FAULTS.values()} == set(range(1, 43)) - {23, 36, 39}


def test_other_account_is_not_visible() -> None:
    """Credentials of another AWS account are no fault of the workload, and the rest of that account is not seen."""
    bundle = changed(HEALTHY, lambda b: b["caller"]["value"].update(account="999988887777"))

    (link,) = [each for each in diagnosed(bundle).links if each.check.number == 23]

    assert link.outcome.state is State.UNKNOWN
    assert "999988887777" in link.outcome.what
    assert link.outcome.todo.startswith("use --profile")


def test_written_just_now() -> None:
    """A denial within a minute after the write is explained by it; without an error nothing is claimed."""
    bundle = changed(HEALTHY, lambda b: b["change"]["value"].update(at="2026-11-29T11:59:30+00:00"))

    found = diagnosed(bundle, DENIED)

    assert found.cause is not None
    assert (found.cause.check.number, diagnosed(bundle).cause) == (36, None)
    assert "less than a minute ago" in found.cause.outcome.what


def test_permissions_not_trust() -> None:
    """A call that was denied to the role itself proves all that comes before, whatever else is wrong."""
    error = (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/checkout/x is not authorized to perform: s3:GetObject on resource"
    )
    bundle = changed(
        HEALTHY, lambda b: b.update(permission=known({"action": "s3:GetObject", "decision": "implicitDeny"}))
    )

    found = diagnosed(bundle, error)

    assert found.cause is not None
    assert found.cause.check.number == 39
    assert "permissions, not trust" in found.cause.outcome.what
    assert "s3:GetObject (implicitDeny)" in found.cause.outcome.what


def test_call_was_made_by_the_node() -> None:
    """A denial of another role means that the SDK used other credentials; the pod without a role explains it."""
    error = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/node/i-1 is not authorized to perform: s3:GetObject"

    healthy, broken = diagnosed(HEALTHY, error), diagnosed(changed(HEALTHY, bare), error)

    assert healthy.cause is not None
    assert (healthy.cause.check.number, "role node" in healthy.cause.outcome.what) == (39, True)
    assert broken.cause is not None
    assert broken.cause.check.number == 11


def test_error_passes_links_that_do_not_explain_it() -> None:
    """AccessDenied of STS means that a token was sent, so a proxy cannot be the cause; the report still has it."""
    both_broken = changed(
        HEALTHY, both(lambda b: env(b, "HTTPS_PROXY", "http://"), lambda b: role(b, trustPolicy=deny()))
    )

    found = diagnosed(both_broken, DENIED)

    assert found.cause is not None
    assert found.cause.check.number == 30
    assert [link.check.number for link in found.of(State.BROKEN)] == [15, 30]


@pytest.mark.parametrize("name", [n for n in HEALTHY if n not in {"target", "time", "permission", "targetRole"}])
def test_what_is_hidden_is_never_fine(name: str) -> None:
    """With one fact hidden nothing is broken that was not, and no check claims what only that fact could show."""
    healthy = UNTRIED if name in {"public", "header"} else HEALTHY
    bundle = changed(healthy, lambda b: b.update({name: hidden("it is secret")}))

    found = diagnosed(bundle, goes_on=True)

    assert found.of(State.BROKEN) == (), shown(bundle)
    if name not in {"settings", "change", "agent", "association", "namespaceLabels", "backend"}:
        assert any("it is secret" in link.outcome.what for link in found.of(State.UNKNOWN)), shown(bundle)


def test_nothing_is_known() -> None:
    """Of a workload of which nothing could be seen, no link holds and none is broken."""
    bundle = {key: HEALTHY[key] for key in ("target", "time")}

    found = diagnosed(bundle, goes_on=True)

    assert (found.of(State.OK), found.of(State.BROKEN)) == ((), ()), shown(bundle)


def test_every_sentence_is_one_line_without_a_full_stop() -> None:
    """They are put together with codes and hints."""
    for number, healthy, change, _ in FAULTS.values():
        link = diagnosed(changed(healthy, change)).cause
        assert link is not None
        for text in (link.outcome.what, link.outcome.todo):
            assert not re.search(r"\n|\.$|None|\{", text), (number, text)


def test_condition_that_is_not_known() -> None:
    """A condition on what only AWS sees makes the answer depend on it; the report names the key."""
    bundle = changed(HEALTHY, lambda b: role(b, trustPolicy=condition(IpAddress={"aws:SourceIp": "203.0.113.0/24"})))

    found = diagnosed(bundle, goes_on=True)

    assert found.cause is None
    assert [(link.check.number, "aws:SourceIp" in link.outcome.what) for link in found.of(State.UNKNOWN)] == [
        (31, True)
    ]


def test_diagnosis_of_a_case_does_not_depend_on_order_of_keys() -> None:
    """A bundle is data: written and read again it comes to the same."""
    again = json.loads(json.dumps(HEALTHY, sort_keys=True))

    assert diagnose(case_of(again)) == diagnose(case_of(HEALTHY))


def test_pod_identity_of_somebody_else() -> None:
    """A pod that EKS gave credentials by an association of another owner is not called unbound."""
    bundle = changed(AGENT, lambda b: b.update(bindings=known([]), association=hidden("no cluster is named")))

    found = diagnosed(bundle, goes_on=True)

    assert (found.cause, found.of(State.BROKEN)) == (None, ()), shown(bundle)
    assert [link.check.number for link in found.of(State.UNKNOWN)] == [41]


@pytest.mark.parametrize("audience", [5, None, {"a": 1}, [5, None], True, ""])
def test_audience_that_is_no_text(audience: Any) -> None:
    """Claims are whatever a token or a file holds; an audience that is none is another one."""
    found = diagnosed(changed(HEALTHY, lambda b: b["claims"]["value"].update(aud=audience)), goes_on=True)

    assert {link.check.code: link.outcome.state for link in found.links}["TB119"] is State.BROKEN


@pytest.mark.parametrize(("seconds", "code"), [(1, ""), (3600, "TB117")])
def test_token_that_is_not_valid_yet(seconds: int, code: str) -> None:
    """STS looks at nbf as well; a fresh token's is later than the time of the facts, by another clock."""
    now = int(datetime.fromisoformat(HEALTHY["time"]).timestamp())

    found = diagnosed(changed(HEALTHY, lambda b: b["claims"]["value"].update(nbf=now + seconds)))

    assert (found.cause.check.code if found.cause else "") == code
    if found.cause is not None:
        assert "(claim nbf)" in found.cause.outcome.what


def policy(*statements: Json, kind: str = "SCP") -> Json:
    """Return a policy of the organization or of an endpoint."""
    return {"kind": kind, "name": "p", "document": {"Version": "2012-10-17", "Statement": list(statements)}}


DENY: Json = {"Effect": "Deny", "Action": "sts:*", "Resource": "*"}
ALLOW: Json = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
UNMET: Json = {"StringEquals": {"aws:ResourceAccount": "999999999999"}}
OPEN: Json = {"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}
ENDPOINT = "VPC endpoint policy"


@pytest.mark.parametrize(
    ("number", "policies", "state", "said"),
    [
        (37, [policy(DENY)], State.BROKEN, "SCP p denies"),
        (37, [policy(DENY | {"Condition": UNMET})], State.OK, ""),
        (37, [policy(DENY | {"Condition": OPEN})], State.UNKNOWN, "depends on aws:SourceVpc"),
        (37, [policy(DENY | {"Condition": OPEN}), policy(DENY)], State.BROKEN, "SCP p denies"),
        (37, [policy(DENY | {"Resource": f"arn:aws:iam::{ACCOUNT}:role/other/*"})], State.OK, ""),
        (37, [policy(DENY | {"Resource": f"arn:aws:iam::{ACCOUNT}:role/shop/*"})], State.BROKEN, "denies"),
        (37, [policy(DENY | {"Resource": "arn:aws:iam::${aws:PrincipalAccount}:role/*"})], State.UNKNOWN, "variable"),
        (37, [policy({"Effect": "Deny", "NotAction": "s3:*", "NotResource": ROLE})], State.OK, ""),
        (37, [policy(DENY | {"Principal": {"Service": "ec2.amazonaws.com"}}, kind="RCP")], State.OK, ""),
        (37, [policy(DENY | {"Principal": "*"}, kind="RCP")], State.BROKEN, "RCP p denies"),
        (37, [policy(DENY | {"Condition": {"NoSuchOperator": {"a": "b"}}})], State.UNKNOWN, "depends on"),
        (38, [policy(ALLOW, kind=ENDPOINT)], State.OK, ""),
        (38, [policy(ALLOW | {"Condition": UNMET}, kind=ENDPOINT)], State.BROKEN, "does not allow"),
        (38, [policy(ALLOW | {"Condition": OPEN}, kind=ENDPOINT)], State.UNKNOWN, "depends on aws:SourceVpc"),
        (38, [policy(ALLOW | {"Resource": "arn:aws:iam::*:role/x"}, kind=ENDPOINT)], State.BROKEN, "does not allow"),
        (38, [policy(ALLOW, DENY | {"Condition": UNMET}, kind=ENDPOINT)], State.OK, ""),
        (38, [policy(ALLOW, DENY | {"Condition": OPEN}, kind=ENDPOINT)], State.UNKNOWN, "depends on aws:SourceVpc"),
    ],
)
def test_policies_beside_the_trust_policy(number: int, policies: list[Json], state: State, said: str) -> None:
    """Principal, Resource and Condition count; what depends on a value that is not known is not visible."""
    name = {37: "organization", 38: "endpoints"}[number]

    found = diagnosed(changed(HEALTHY, lambda b: b.update({name: known(policies)})), goes_on=True)

    (outcome,) = [link.outcome for link in found.links if link.check.number == number]
    assert outcome.state is state, outcome
    assert said in outcome.what


@pytest.mark.parametrize(
    ("statements", "state", "said"),
    [
        ([{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}], State.OK, ""),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], State.OK, ""),
        ([{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}, DENY], State.BROKEN, "denies sts:AssumeRole"),
        ([{"Effect": "Allow", "Action": "sts:*", "NotResource": TARGET}], State.BROKEN, "no inline policy"),
        ([{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": OPEN}], State.UNKNOWN, "aws:SourceVpc"),
    ],
)
def test_policies_of_a_source_role(statements: list[Json], state: State, said: str) -> None:
    """A Deny, and a condition of an Allow, count as well."""
    document = {"Version": "2012-10-17", "Statement": statements}

    found = diagnosed(changed(CHAIN, lambda b: role(b, inlinePolicies=[document])), goes_on=True)

    (outcome,) = [link.outcome for link in found.links if link.check.number == 40]
    assert outcome.state is state, outcome
    assert said in outcome.what


def test_role_of_that_name_in_another_aws_account() -> None:
    """Names of roles are unique in one AWS account alone."""
    error = "User: arn:aws:sts::444455556666:assumed-role/checkout/x is not authorized to perform: s3:GetObject"

    found = diagnosed(HEALTHY, error)

    assert found.cause is not None
    assert found.cause.check.number == 39
    assert "made as role checkout of AWS account 444455556666" in found.cause.outcome.what


def test_policies_that_cannot_be_seen_are_not_blamed() -> None:
    """The message proves that the call was denied; by which policy is not known without the simulator."""
    error = "is not authorized to perform: s3:GetObject"
    found = diagnosed(changed(HEALTHY, lambda b: b.update(permission=hidden("no right"))), error)

    assert found.cause is not None
    assert "the workload has credentials, and its call of s3:GetObject is denied" in found.cause.outcome.what
    assert "the role's own policies cannot be seen: no right" in found.cause.outcome.what
    assert "do not allow" not in found.cause.outcome.what


def test_claim_of_a_token_that_was_not_seen() -> None:
    """Without a token nothing is said about its claims."""

    def change(bundle: Json) -> None:
        bundle["provider"]["value"]["contextClaims"] = ["/team"]
        bundle["claims"] = hidden()

    found = diagnosed(changed(HEALTHY, change), goes_on=True)

    assert {link.check.number: link.outcome.state for link in found.links}[27] is State.UNKNOWN
