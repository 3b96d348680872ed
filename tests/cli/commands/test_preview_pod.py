"""``trustbind preview pod``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.commands import ROLE, Cli, account, binding, pod, written

MOUNT = "/var/run/secrets/eks.amazonaws.com/serviceaccount"


def env_of(body: dict[str, Any]) -> dict[str, str]:
    """Return the variables of the first container."""
    return {v["name"]: v["value"] for v in body["spec"]["containers"][0].get("env", ())}


def test_yaml_is_the_default(cli: Cli) -> None:
    """The pod is printed as it would be stored, as YAML, and nothing else is said."""
    done = cli("preview", "pod", "-f", written("all.yaml", account(), pod()))

    assert (done.code, done.err) == (0, "")
    body = yaml.safe_load(done.out)
    assert env_of(body) == {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{MOUNT}/token",
        "AWS_ROLE_SESSION_NAME": "default.checkout.web-0",
    }
    assert list(body) == ["apiVersion", "kind", "metadata", "spec"]
    assert body["metadata"] == {"name": "web-0"}


def test_several_files(cli: Cli) -> None:
    """Objects are gathered from all files, in any order of them."""
    files = [written("pod.yaml", pod()), written("account.yaml", account())]

    assert "AWS_ROLE_ARN" in cli("preview", "pod", "-f", files[0], "-f", files[1]).out
    assert "AWS_ROLE_ARN" in cli("preview", "pod", "-f", files[1], "--filename", files[0]).out


def test_standard_input(cli: Cli) -> None:
    """A dash is standard input, beside files."""
    written("account.yaml", account())

    done = cli("preview", "pod", "-f", "account.yaml", "-f", "-", stdin=yaml.safe_dump(pod()).encode())

    assert (done.code, done.err) == (0, "")
    assert "AWS_ROLE_ARN" in done.out


def test_several_pods(cli: Cli) -> None:
    """Every pod of every document is printed, in its order, as documents of their own."""
    written("all.yaml", pod("a"), None, account(), pod("b"))

    done = cli("preview", "pod", "-f", "all.yaml")

    assert [p["metadata"]["name"] for p in yaml.safe_load_all(done.out)] == ["a", "b"]


def test_json(cli: Cli) -> None:
    """JSON output is one list of pods."""
    written("all.yaml", pod("a"), account(), pod("b", serviceAccountName="other"))

    done = cli("preview", "pod", "-f", "all.yaml", "-o", "json")

    one, other = json.loads(done.out)
    assert env_of(one)["AWS_ROLE_ARN"] == ROLE
    assert other == pod("b", serviceAccountName="other")


def test_patch(cli: Cli) -> None:
    """Patch output is one list of operations a pod, empty for one that is not injected."""
    written("all.yaml", pod("a"), account(), pod("b", serviceAccountName="other"))

    done = cli("preview", "pod", "-f", "all.yaml", "--output", "patch")

    one, other = json.loads(done.out)
    assert [o["path"] for o in one] == ["/spec/volumes", "/spec/containers/0/env", "/spec/containers/0/volumeMounts"]
    assert other == []
    assert "Pod default/b is not injected (AccountNotFound)" in done.err


@pytest.mark.parametrize("kind", ["List", "PodList"])
def test_lists(cli: Cli, kind: str) -> None:
    """The items of a list count as objects, whether they carry their own kind or the list's."""
    items = [pod("a"), pod("b")]
    if kind == "PodList":
        items = [{k: v for k, v in item.items() if k not in {"kind", "apiVersion"}} for item in items]
    written("all.yaml", {"apiVersion": "v1", "kind": kind, "items": items}, account())

    done = cli("preview", "pod", "-f", "all.yaml", "-o", "json")

    assert [env_of(p)["AWS_ROLE_SESSION_NAME"] for p in json.loads(done.out)] == [
        "default.checkout.a",
        "default.checkout.b",
    ]


def test_json_input(cli: Cli) -> None:
    """Files may be JSON."""
    Path("all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod(), account()]}))

    assert "AWS_ROLE_ARN" in cli("preview", "pod", "-f", "all.json").out


def test_namespaces(cli: Cli) -> None:
    """Without a namespace an object is in default; accounts and bindings of other namespaces count for nothing."""
    elsewhere = account()
    elsewhere["metadata"]["namespace"] = "elsewhere"
    explicit = pod("explicit")
    explicit["metadata"]["namespace"] = "default"
    written("all.yaml", elsewhere, binding(namespace="elsewhere"), pod(), explicit)

    done = cli("preview", "pod", "-f", "all.yaml")

    assert done.code == 0
    assert "ServiceAccount default/checkout is not in the files; add it with -f" in done.err
    assert "AWS_ROLE_ARN" not in done.out
    written("more.yaml", account())
    done = cli("preview", "pod", "-f", "all.yaml", "-f", "more.yaml", "-o", "json")
    assert ["AWS_ROLE_ARN" in env_of(p) for p in json.loads(done.out)] == [True, True]


def test_binding(cli: Cli) -> None:
    """A binding alone gives the role, and the account that it names counts as there."""
    written("all.yaml", binding(roleArn="arn:aws:iam::444455556666:role/bound", region="us-west-2"), pod())

    done = cli("preview", "pod", "-f", "all.yaml", "-o", "json")

    (body,) = json.loads(done.out)
    assert env_of(body)["AWS_ROLE_ARN"] == "arn:aws:iam::444455556666:role/bound"
    assert env_of(body)["AWS_REGION"] == "us-west-2"


def test_settings(cli: Cli) -> None:
    """Each of the cluster's settings has an option."""
    annotated = account()
    annotated["metadata"]["annotations"] = {"aws.example.com/role-arn": ROLE}
    written("all.yaml", annotated, pod())

    done = cli(
        *("preview", "pod", "-f", "all.yaml", "-o", "json", "--region", "eu-central-1", "--sts-regional-endpoints"),
        *("--annotation-prefix", "aws.example.com", "--token-mount-path", "/aws", "--token-expiration", "7200"),
    )

    (body,) = json.loads(done.out)
    assert list(env_of(body).items())[:5] == [
        ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/aws/token"),
    ]
    assert body["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/aws"
    token = body["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
    assert token["expirationSeconds"] == 7200
    assert done.err == ""


def test_expiration_out_of_range(cli: Cli) -> None:
    """An expiration out of range is brought into it, and that is said."""
    written("all.yaml", account(), pod())

    done = cli("preview", "pod", "-f", "all.yaml", "--token-expiration", "5")

    assert done.code == 0
    assert "expirationSeconds: 600" in done.out
    assert "--token-expiration: 5 is out of range, so 600 is used" in done.err


def test_why_not(cli: Cli) -> None:
    """Why a pod is not injected, and what was ignored on the way, goes to standard error; the pod comes unchanged."""
    written("all.yaml", account(role_arn="checkout"), pod())

    done = cli("preview", "pod", "-f", "all.yaml")

    assert done.code == 0
    assert yaml.safe_load(done.out) == pod()
    assert "Pod default/web-0 is not injected (InvalidRoleArn): service account default/checkout" in done.err
    written("all.yaml", account(token_expiration="soon"), pod())
    done = cli("preview", "pod", "-f", "all.yaml")
    assert "Pod default/web-0: service account default/checkout: annotation" in done.err


def test_what_plays_no_part(cli: Cli) -> None:
    """Objects of other kinds are passed over, and named; RBAC's RoleBinding is one of them."""
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"}}
    services = [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}} for name in "stuvw"]
    written(
        "all.yaml",
        account(),
        pod(),
        rbac,
        *services,
    )

    done = cli("preview", "pod", "-f", "all.yaml")

    assert done.code == 0
    assert done.err.splitlines() == [
        (
            "RoleBinding r is ignored: it is Kubernetes RBAC's kind of that name; trustbind's has apiVersion "
            "trustbind.dev/v1alpha1"
        ),
        "Service s, Service t, Service u and 2 more are ignored: not used here",
    ]


def test_roles_of_the_config_map(cli: Cli) -> None:
    """What kOps' ConfigMap says of an account counts where no annotation does; a role's name is completed."""
    entries = {"default/checkout": {"RoleARN": "shop/checkout", "TokenExpiration": 3600}}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"config": json.dumps(entries)}}
    written("map.yaml", config_map)
    written("all.yaml", pod())
    arguments = ("preview", "pod", "-f", "all.yaml", "--config-map", "map.yaml")

    done = cli(*arguments, "--role-account-id", "444455556666", "--role-partition", "aws-cn")

    assert done.code == 0
    assert "value: arn:aws-cn:iam::444455556666:role/shop/checkout" in done.out
    assert "expirationSeconds: 3600" in done.out
    assert "(InvalidRoleArn)" in cli(*arguments).err
    written("all.yaml", account(role_arn="arn:aws:iam::111122223333:role/other"), pod())
    assert "value: arn:aws:iam::111122223333:role/other" in cli(*arguments).out


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ([], "it has to hold one ConfigMap, and holds none"),
        ([{"data": {"config": "{"}}], "not what the EKS pod identity webhook reads"),
        ([{"data": {"config": '{"checkout": {}}'}}], "'checkout' is not namespace/name"),
        ([{}, {}], "it has to hold one ConfigMap, and holds 2"),
        ([{"data": {"Config": "{}"}}], "ConfigMap m: data: has no key config"),
    ],
)
def test_config_map_of_no_use(cli: Cli, documents: list[dict[str, Any]], sentence: str) -> None:
    """A ConfigMap that the webhook could not read is an error that says what is wrong."""
    written("map.yaml", *({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}} | d for d in documents))
    written("all.yaml", account(), pod())

    done = cli("preview", "pod", "-f", "all.yaml", "--config-map", "map.yaml")

    assert done.code == 2
    assert "map.yaml" in done.err
    assert sentence in done.err


def test_generated_names(cli: Cli) -> None:
    """Two pods with one generated name get session names of their own, the same in every run."""
    body = pod()
    body["metadata"] = {"generateName": "web-"}
    written("all.yaml", account(), body, body)

    runs = [cli("preview", "pod", "-f", "all.yaml", "-o", "json").out for _ in range(2)]

    one, other = (env_of(p)["AWS_ROLE_SESSION_NAME"] for p in json.loads(runs[0]))
    assert one != other
    assert runs[0] == runs[1]


def test_unknown_fields_survive(cli: Cli) -> None:
    """Fields that nobody knows, and texts that look like something else, come out as they went in."""
    text = """
apiVersion: v1
kind: Pod
metadata: {name: web-0, annotations: {when: 2026-01-01, version: "1.10", "on": "yes"}}
spec:
  serviceAccountName: checkout
  fromTheFuture: {deep: [1, 2.5, null, "é"]}
  containers: [{name: app, env: [{name: A, value: "007"}]}]
"""
    Path("pod.yaml").write_text(text, encoding="utf-8")
    written("account.yaml", account())

    done = cli("preview", "pod", "-f", "pod.yaml", "-f", "account.yaml", "-o", "json")

    (body,) = json.loads(done.out)
    assert body["metadata"]["annotations"] == {"when": "2026-01-01", "version": "1.10", "on": "yes"}
    assert body["spec"]["fromTheFuture"] == {"deep": [1, 2.5, None, "é"]}
    assert body["spec"]["containers"][0]["env"][0] == {"name": "A", "value": "007"}
    again = cli("preview", "pod", "-f", "pod.yaml", "-f", "account.yaml")
    assert yaml.safe_load(again.out)["spec"]["containers"][0]["env"][0]["value"] == "007"


def test_second_pass(cli: Cli) -> None:
    """What was printed, previewed again, is not changed again."""
    written("all.yaml", account(), pod())
    first = cli("preview", "pod", "-f", "all.yaml").out
    Path("again.yaml").write_text(first, encoding="utf-8")
    written("account.yaml", account())

    done = cli("preview", "pod", "-f", "account.yaml", "-f", "again.yaml")

    assert done.out == first
    assert "is not injected (AlreadyInjected)" in done.err


def test_what_was_looked_for_in_vain(cli: Cli) -> None:
    """A misspelt annotation, and a binding of another namespace: what would have been read is named."""
    misspelt = account()
    misspelt["metadata"]["annotations"] = {"eks.amazonaws.com/role-anr": ROLE}
    written("all.yaml", misspelt, pod(), binding(namespace="prod"))

    done = cli("preview", "pod", "-f", "all.yaml")

    assert done.code == 0
    assert done.err.splitlines() == [
        "no metadata.namespace, so default is taken: ServiceAccount checkout, Pod web-0",
        (
            "Pod default/web-0 is not injected (NotBound): ServiceAccount default/checkout has no annotation "
            "eks.amazonaws.com/role-arn, and no RoleBinding of namespace default in the files is for it; prod/b names "
            "checkout, but a binding is for accounts of its own namespace"
        ),
    ]


@pytest.mark.parametrize("output", ["yaml", "json", "patch"])
def test_require_injected(cli: Cli, output: str) -> None:
    """In a pipeline, a pod that gets no role can be a failure; what is printed stays the same."""
    plain_account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}}
    written("good.yaml", account(), pod())
    written("bad.yaml", account(), plain_account, pod(), pod("other", serviceAccountName="other"))

    arguments = ("preview", "pod", "-o", output, "-f")

    assert cli(*arguments, "good.yaml", "--require-injected").code == 0
    required, plain = cli(*arguments, "bad.yaml", "--require-injected"), cli(*arguments, "bad.yaml")
    assert (required.code, plain.code) == (1, 0)
    assert (required.out, required.err) == (plain.out, plain.err)


def test_require_injected_without_the_account(cli: Cli) -> None:
    """Files without the service account do not tell whether it is annotated; what is refused weighs more."""
    written("gone.yaml", pod())
    written("refused.yaml", pod("x"), pod("y", serviceAccountName="y"), account("y", role_arn="no ARN"))
    arguments = ("preview", "pod", "--require-injected", "-f")

    assert (cli(*arguments, "gone.yaml").code, cli(*arguments, "refused.yaml").code) == (3, 1)


def test_require_injected_where_the_namespace_is_not_known(cli: Cli) -> None:
    """A pod that has no role in any case is refused, whether or not the webhook serves its namespace."""
    webhook = {"name": "mutate.trustbind.dev", "namespaceSelector": {"matchLabels": {"aws": "enabled"}}}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    written("webhook.yaml", kind | {"metadata": {"name": "w"}, "webhooks": [webhook]})
    written("bound.yaml", pod(), account())
    written("unbound.yaml", pod(), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "checkout"}})
    arguments = ("preview", "pod", "--require-injected", "--webhook-config", "webhook.yaml", "-f")

    assert (cli(*arguments, "bound.yaml").code, cli(*arguments, "unbound.yaml").code) == (3, 1)


def test_require_injected_is_met_by_what_is_there(cli: Cli) -> None:
    """A pod that has everything already lacks nothing."""
    written("once.yaml", account(), pod())
    Path("twice.yaml").write_text(cli("preview", "pod", "-f", "once.yaml").out, encoding="utf-8")

    done = cli("preview", "pod", "-f", "twice.yaml", "-f", written("account.yaml", account()), "--require-injected")

    assert "AlreadyInjected" in done.err
    assert done.code == 0


@pytest.mark.parametrize(
    ("selector", "labels", "sentence"),
    [
        (
            {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["batch", "cron"]}]},
            {},
            "; default/b selects tier In [batch, cron], and the account has no label tier",
        ),
        (
            {"matchLabels": {"app": "x", "tier": "batch"}},
            {"app": "x", "tier": "web"},
            "; default/b selects tier=batch, and the account's label tier is 'web'",
        ),
        (
            {"matchExpressions": [{"key": "legacy", "operator": "DoesNotExist"}]},
            {"legacy": ""},
            "; default/b selects legacy DoesNotExist, and the account's label legacy is ''",
        ),
    ],
)
def test_selector_that_misses(cli: Cli, selector: dict[str, Any], labels: dict[str, str], sentence: str) -> None:
    """What the account lacks of a selector of its namespace is said."""
    plain = account()
    plain["metadata"] |= {"annotations": {}, "labels": labels}
    bound = binding(serviceAccountSelector=selector)
    del bound["spec"]["serviceAccountNames"]
    written("all.yaml", plain, pod(), bound)

    said = cli("preview", "pod", "-f", "all.yaml").err

    assert said.rstrip("\n").endswith(sentence), said


def test_name_that_misses(cli: Cli) -> None:
    """A binding that names nearly this account is said."""
    plain = account()
    plain["metadata"]["annotations"] = {}
    written("all.yaml", plain, pod(), binding(serviceAccountNames=["checkuot", "z"]))

    assert "; default/b names checkuot\n" in cli("preview", "pod", "-f", "all.yaml").err


def test_findings_of_a_pod_whose_account_is_missing(cli: Cli) -> None:
    """They are told beside the reason."""
    body = pod()
    body["metadata"]["annotations"] = {"trustbind.dev/inject": "no"}
    written("all.yaml", body)

    said = cli("preview", "pod", "-f", "all.yaml").err

    assert "(AccountNotFound)" in said
    assert "annotation trustbind.dev/inject is 'no'" in said
