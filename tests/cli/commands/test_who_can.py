"""``trustbind who-can`` on files: who can assume a role, which roles a service account can assume, and by what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.commands import Cli, Outcome
from support.schemas import checked
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import ChainKey, WebIdentityKey, build
from trustbind.policy.pod_identity import STATEMENT

ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
ACCOUNT: Final = "444455556666"
READER: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/reader")
BASE: Final = RoleArn.parse("arn:aws:iam::111122223333:role/base")
WEB: Final = WebIdentityKey("sts.amazonaws.com")

Json = dict[str, Any]


def trusting(*names: str, role: RoleArn = READER, operator: str = "StringEquals", **members: Any) -> Json:
    """Return a statement for subjects of the cluster."""
    condition: Json = {"StringEquals": {ISSUER.audience_key: "sts.amazonaws.com"}}
    if names:
        condition.setdefault(operator, {})[ISSUER.subject_key] = [f"system:serviceaccount:{name}" for name in names]
    return {
        "Effect": "Allow",
        "Principal": {"Federated": str(ISSUER.provider_for(role))},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    } | members


def account(name: str, role: RoleArn | None = None, namespace: str = "shop") -> Json:
    """Return a service account."""
    annotations = {"eks.amazonaws.com/role-arn": str(role)} if role is not None else {}
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def pod(name: str, service_account: str, phase: str = "Running") -> Json:
    """Return a pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"serviceAccountName": service_account, "containers": [{"name": "app", "image": "x"}]},
        "status": {"phase": phase},
    }


def binding(name: str, role: RoleArn, *accounts: str, **spec: Any) -> Json:
    """Return a RoleBinding."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"roleArn": str(role), "serviceAccountNames": list(accounts), **spec},
    }


class Scene:
    """Files, and the command on them."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self._roles: dict[str, Json] = {}
        self._details: dict[str, Json] = {}
        self._policies: list[Json] = []
        self._objects: list[Json] = [account("x")]

    def role(self, role: RoleArn, *statements: Json, version: str = "2012-10-17") -> None:
        """Add a role."""
        self._roles[str(role)] = {"Version": version, "Statement": list(statements)}

    def details(self, role: RoleArn, **members: Any) -> None:
        """Add the other policies of a role, as get-account-authorization-details has them."""
        lists: Json = {"RolePolicyList": [], "AttachedManagedPolicies": []}
        self._details[str(role)] = lists | members

    def managed(self, arn: str, document: Json) -> None:
        """Add a managed policy."""
        versions = [{"Document": {}, "IsDefaultVersion": False}, {"Document": document, "IsDefaultVersion": True}]
        self._policies.append({"Arn": arn, "PolicyVersionList": versions})

    def has(self, *objects: Json) -> None:
        """Add objects of the cluster."""
        self._objects += objects

    def ask(self, *arguments: str, with_issuer: bool = True) -> Outcome:
        """Run the command; AWS accounts have a file each."""
        files: list[str] = []
        for number, (arn, document) in enumerate(self._roles.items()):
            name = f"role-{number}.json"
            listed = {"Arn": arn, "AssumeRolePolicyDocument": document} | self._details.get(arn, {})
            detail = {"RoleDetailList": [listed], "Policies": self._policies}
            Path(name).write_text(json.dumps(detail), encoding="utf-8")
            files += ["--account-details", name]
        Path("objects.yaml").write_text(yaml.safe_dump_all(self._objects), encoding="utf-8")
        issuer = ["--issuer", ISSUER.url] if with_issuer else []
        return self._cli("who-can", *arguments, "-f", "objects.yaml", *files, *issuer)

    def rows(self, *arguments: str, code: int = 0) -> list[Json]:
        """Return the rows of the first answer, which keep to the schema."""
        done = self.ask(*arguments, "-o", "json")
        assert done.code == code, done.err
        rows: list[Json] = checked("who-can", done.out)["answers"][0]["rows"]
        return rows


@pytest.fixture(name="scene")
def _scene(cli: Cli) -> Scene:
    return Scene(cli)


def told(rows: list[Json]) -> list[tuple[str, str, str]]:
    """Return who, how, and the verdict."""
    return [(row["principal"].removeprefix("system:serviceaccount:"), row["mechanism"], row["verdict"]) for row in rows]


def test_by_what(scene: Scene) -> None:
    """A binding, an annotation and a foreign statement have names of their own; running pods are counted."""
    owned = build(ISSUER, READER, WEB, [Subject("shop", "bound")])
    scene.role(READER, owned, trusting("shop:annotated", "shop:hand", Sid="Hand"))
    scene.has(account("bound"), account("annotated", READER), account("hand"), binding("b", READER, "bound"))
    scene.has(pod("one", "bound"), pod("two", "bound"), pod("done", "bound", "Succeeded"))

    rows = scene.rows(str(READER))
    assert told(rows) == [
        ("shop:annotated", "WebIdentity", "yes"),
        ("shop:bound", "WebIdentity", "yes"),
        ("shop:hand", "WebIdentity", "yes"),
    ]
    assert [(row["bindings"], row["annotation"]) for row in rows] == [([], True), (["shop/b"], False), ([], False)]
    assert rows[1]["pods"] == ["one", "two"]
    assert rows[2]["statement"] == {"number": 2, "sid": "Hand"}
    table = scene.ask(str(READER)).out.splitlines()
    assert table[0].split() == ["SUBJECT", "PODS", "VIA", "MECHANISM", "VERDICT", "CONDITIONS"]
    assert table[2].split() == ["shop/bound", "2", "RoleBinding", "shop/b", "WebIdentity", "yes", "-"]
    assert 'statement 2 (Sid "Hand")' in table[3]


def test_bound_and_not_trusted(scene: Scene) -> None:
    """A binding or an annotation gives no access: the trust policy answers, with its reason."""
    scene.role(READER, trusting("shop:other"))
    scene.has(account("annotated", READER), binding("b", READER, "bound"))

    rows = scene.rows(str(READER))
    assert told(rows) == [
        ("shop:annotated", "WebIdentity", "no"),
        ("shop:bound", "WebIdentity", "no"),
        ("shop:other", "WebIdentity", "yes"),
    ]
    assert "shop:annotated" in rows[0]["reason"]


def test_denied(scene: Scene) -> None:
    """An explicit Deny wins over what a statement names, and nobody is left."""
    deny = {**trusting("shop:reader"), "Effect": "Deny"}
    scene.role(READER, trusting("shop:reader"), deny)

    assert scene.rows(str(READER), code=1) == []


def test_open_condition(scene: Scene) -> None:
    """What depends on a key that is not known is if, with the condition."""
    guarded = trusting("shop:reader")
    guarded["Condition"]["IpAddress"] = {"aws:SourceIp": "192.0.2.0/24"}
    scene.role(READER, guarded)

    (row,) = scene.rows(str(READER))
    assert row["verdict"] == "if"
    assert "aws:SourceIp" in row["conditions"][0]


def test_patterns(scene: Scene) -> None:
    """A pattern is a row of its own, beside the service accounts that match it now."""
    scene.role(READER, trusting("jobs-*:runner", operator="StringLike"))
    scene.has(account("runner", namespace="jobs-1"), account("runner", namespace="web"))

    rows = scene.rows(str(READER))
    assert [(row["principal"], row["isPattern"], row["verdict"]) for row in rows] == [
        ("system:serviceaccount:jobs-1:runner", False, "yes"),
        ("system:serviceaccount:jobs-*:runner", True, "yes"),
    ]


def test_everybody_of_the_cluster(scene: Scene) -> None:
    """A statement without a subject trusts every service account."""
    scene.role(READER, trusting())
    scene.has(account("a"))

    assert told(scene.rows(str(READER))) == [
        ("shop:a", "WebIdentity", "yes"),
        ("shop:x", "WebIdentity", "yes"),
        ("*", "WebIdentity", "yes"),
    ]


def test_other_principals(scene: Scene) -> None:
    """Roles, services, other issuers' subjects and everyone are rows, too."""
    other = {
        **trusting(),
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"},
        "Condition": {
            "StringEquals": {
                "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
                "token.actions.githubusercontent.com:sub": "repo:o/shop:ref:refs/heads/main",
            }
        },
    }
    ops = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/ops"}, "Action": "sts:AssumeRole"}
    ec2 = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    scene.role(READER, other, ops, ec2)

    assert told(scene.rows(str(READER))) == [
        ("https://token.actions.githubusercontent.com repo:o/shop:ref:refs/heads/main", "WebIdentity", "yes"),
        (f"arn:aws:iam::{ACCOUNT}:role/ops", "AssumeRole", "yes"),
        ("ec2.amazonaws.com", "AssumeRole", "yes"),
    ]


@pytest.mark.parametrize("via_root", [False, True])
def test_chain(scene: Scene, via_root: bool) -> None:
    """Over a source role: both trust policies answer; across accounts the source role's own policies decide, too."""
    scene.role(READER, build(ISSUER, READER, ChainKey(BASE, via_root=via_root)))
    scene.role(BASE, build(ISSUER, BASE, WEB, [Subject("shop", "app")]))
    scene.has(account("app"), binding("chain", READER, "app", method="AssumeRole", source={"roleArn": str(BASE)}))

    first, *_ = scene.rows(str(READER))
    assert told([first]) == [("shop:app", "AssumeRole", "if")]
    assert (first["through"], first["bindings"]) == (str(BASE), ["shop/chain"])
    assert f"the policies of {BASE} have to allow sts:AssumeRole on {READER}" in first["conditions"]
    by_subject = scene.rows("--subject", "shop/app")
    assert [(row["roleArn"], row["verdict"], row["through"]) for row in by_subject] == [
        (str(BASE), "yes", None),
        (str(READER), "if", str(BASE)),
    ]


def test_association(scene: Scene) -> None:
    """A binding with method PodIdentity: EKS gets the role for the service account where the trust policy lets it."""
    scene.role(READER, dict(STATEMENT))
    scene.has(
        account("app"),
        binding("pods", READER, "app", method="PodIdentity"),
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "AWSAccount",
            "metadata": {"name": "own"},
            "spec": {"accountId": ACCOUNT, "eks": {"clusterName": "blue", "region": "eu-central-1"}},
        },
    )

    rows = scene.rows(str(READER))
    assert told(rows)[0] == ("shop:app", "PodIdentity", "yes")
    assert rows[0]["bindings"] == ["shop/pods"]


def test_by_subject(scene: Scene) -> None:
    """For a service account, the roles that it can assume, and no others."""
    scene.role(READER, trusting("shop:app"))
    scene.role(RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/other"), trusting("shop:else"))
    scene.role(RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/wide"), trusting("shop:*", operator="StringLike"))

    assert [row["roleArn"].rpartition("/")[2] for row in scene.rows("--subject", "shop/app")] == ["reader", "wide"]
    assert scene.rows("--subject", "other/app", code=1) == []
    table = scene.ask("--subject", "shop/app", "-o", "wide").out.splitlines()
    assert table[0].split()[:1] == ["ROLE"]
    assert "sts.amazonaws.com" in table[1]


def test_namespace(scene: Scene) -> None:
    """A service account without a namespace is of that of -n, as with kubectl."""
    scene.role(READER, trusting("shop:app"))

    assert len(scene.rows("--subject", "app", "-n", "shop")) == 1
    assert scene.rows("--subject", "app", "-n", "other", code=1) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--subject", "shop/app", "-n", "other"), "-n: has an effect only with --subject NAME"),
        ((str(READER), "-n", "other"), "-n: has an effect only with --subject NAME"),
        ((str(READER), "--context", "x"), "--context: has no effect with -f"),
        ((str(READER), "--kubeconfig", "x"), "--kubeconfig: has no effect with -f"),
    ],
)
def test_option_without_effect(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    """It is refused, so that nobody takes the answer for another cluster's or namespace's."""
    done = cli("who-can", *arguments, "-f", "objects.yaml")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"trustbind: {said}")


def test_what_could_not_be_seen(scene: Scene) -> None:
    """A role that no file has, and a cluster whose issuer is not known, are said; nothing is fine then."""
    scene.role(READER, trusting("shop:reader"))
    absent = scene.ask(str(BASE))
    assert (absent.code, f"not seen: {BASE}: its trust policy was not found" in absent.err) == (3, True)
    unknown = scene.ask(str(READER), with_issuer=False)
    assert "not seen: the cluster's issuer; give --issuer" in unknown.err


@pytest.mark.parametrize("name", ["*-prod:app?x", "*:reader"])
def test_pattern_that_no_name_resembles(scene: Scene, name: str) -> None:
    """A pattern of any form has a row, also where no service account matches it now."""
    scene.role(READER, trusting(name, operator="StringLike"))

    assert told(scene.rows(str(READER))) == [(name, "WebIdentity", "yes")]


def test_all_but_some(scene: Scene) -> None:
    """A condition that only excludes leaves everybody else."""
    scene.role(READER, trusting("kube-*", operator="StringNotLike"))

    assert told(scene.rows(str(READER))) == [("shop:x", "WebIdentity", "yes"), ("*", "WebIdentity", "if")]


def test_several_conditions(scene: Scene) -> None:
    """Of several patterns that all have to match, one is the row and the others are its conditions."""
    both = trusting("shop-*:*", operator="StringLike")
    both["Condition"]["ForAnyValue:StringLike"] = {ISSUER.subject_key: "*:reader"}
    scene.role(READER, both)

    (row,) = scene.rows(str(READER))
    assert (row["principal"], row["verdict"]) == ("system:serviceaccount:shop-*:*", "if")
    assert '"*:reader"' in row["conditions"][0]


def test_audience_by_pattern(scene: Scene) -> None:
    """Which audiences that match a pattern the OIDC provider takes is not known, so nothing is certain."""
    named = trusting("shop:reader")
    named["Condition"] = {
        "StringLike": {ISSUER.audience_key: "vault-*"},
        "StringEquals": named["Condition"]["StringEquals"],
    }
    del named["Condition"]["StringEquals"][ISSUER.audience_key]
    scene.role(READER, named)

    done = scene.ask(str(READER), "-o", "json")
    (row,) = checked("who-can", done.out)["answers"][0]["rows"]
    assert (done.code, row["verdict"], row["audience"]) == (3, "if", "vault-*")
    assert row["conditions"] == ['the OIDC provider has to have a client id like "vault-*"']
    assert f"not seen: the client ids of the OIDC providers in AWS account {ACCOUNT}" in done.err


def test_source_that_is_missing(scene: Scene) -> None:
    """A role that may come before, and whose trust policy is not there, is not nobody."""
    scene.role(READER, build(ISSUER, READER, ChainKey(BASE)))
    done = scene.ask("--subject", "shop/app")

    assert done.code == 3
    assert f"not seen: {BASE}: its trust policy was not found, and it may assume {READER}" in done.err


def test_pod_identity_by_hand(scene: Scene) -> None:
    """Associations made by hand cannot be seen without EKS."""
    scene.role(READER, dict(STATEMENT))
    done = scene.ask("--subject", "shop/app")

    assert done.code == 3
    assert f"not seen: EKS: Pod Identity associations that no RoleBinding makes, with {READER}" in done.err


def test_pod_identity_without_cluster(scene: Scene) -> None:
    """A binding with method PodIdentity whose AWSAccount is not there is no refusal."""
    scene.role(READER, dict(STATEMENT))
    scene.has(account("app"), binding("pods", READER, "app", method="PodIdentity"))
    done = scene.ask("--subject", "shop/app", "-o", "json")

    assert (done.code, checked("who-can", done.out)["answers"][0]["rows"]) == (3, [])
    assert f"not seen: the EKS cluster of RoleBinding shop/pods: AWSAccount {ACCOUNT} with spec.eks" in done.err


@pytest.mark.parametrize("name", [f"arn:aws:iam::{BASE.account_id}:root", "*"])
@pytest.mark.parametrize(
    "condition", [{}, {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{BASE.account_id}:role/b*"}}]
)
def test_whole_account(scene: Scene, name: str, condition: Json) -> None:
    """Which roles of an AWS account may come before is decided there."""
    each = {"Effect": "Allow", "Principal": {"AWS": name}, "Action": "sts:AssumeRole", "Condition": condition}
    scene.role(READER, each)
    scene.role(BASE, trusting("shop:app", role=BASE))
    done = scene.ask("--subject", "shop/other")

    assert (done.code, "decide which of its roles can assume" in done.err) == (3, True)
    assert told(scene.rows(str(READER), code=0 if name == "*" and not condition else 3))[-1][0] == name


def policy(role: RoleArn, effect: str = "Allow") -> Json:
    """Return a policy for roles that come before."""
    statement = {"Effect": effect, "Action": "sts:AssumeRole", "Resource": str(role)}
    return {"Version": "2012-10-17", "Statement": [statement]}


def inline(document: Json) -> Json:
    """Return members of a role with an inline policy."""
    return {"RolePolicyList": [{"PolicyName": "p", "PolicyDocument": document}]}


MANAGED: Final = f"arn:aws:iam::{BASE.account_id}:policy/m"
ATTACHED: Final = {"AttachedManagedPolicies": [{"PolicyName": "m", "PolicyArn": MANAGED}]}


@pytest.mark.parametrize(
    ("details", "managed", "verdict"),
    [
        (inline(policy(READER)), None, "yes"),
        (inline(policy(BASE)), None, None),
        ({}, None, None),
        (ATTACHED, policy(READER), "yes"),
        (ATTACHED, policy(READER, "Deny"), None),
        (ATTACHED, None, "if"),
        ({**inline(policy(READER)), "PermissionsBoundary": {"PermissionsBoundaryArn": MANAGED}}, None, "if"),
        ({**inline(policy(READER)), "PermissionsBoundary": {"PermissionsBoundaryArn": MANAGED}}, policy(BASE), None),
    ],
)
@pytest.mark.parametrize("by_account", [False, True])
def test_permissions_of_a_source(
    scene: Scene, details: Json, managed: Json | None, verdict: str | None, by_account: bool
) -> None:
    """The policies of a source role, where the files have them, decide the second half of a chain."""
    whole = {"Effect": "Allow", "Principal": {"AWS": BASE.account_id}, "Action": "sts:AssumeRole"}
    scene.role(READER, whole if by_account else build(ISSUER, READER, ChainKey(BASE)))
    scene.role(BASE, trusting("shop:app", role=BASE))
    scene.details(BASE, **details)
    if managed is not None:
        scene.managed(MANAGED, managed)

    found = {row["roleArn"]: row["verdict"] for row in scene.rows("--subject", "shop/app")}
    assert found.get(str(READER)) == verdict
    rows = checked("who-can", scene.ask(str(READER), "-o", "json").out)["answers"][0]["rows"]
    assert [row["verdict"] for row in rows if row["through"]] == [verdict] * (verdict is not None)


def test_key_twice(cli: Cli) -> None:
    """Of a key that stands twice, one value alone is looked at, which is said."""
    text = json.dumps({"Version": "2012-10-17", "Statement": [trusting("shop:reader")]})
    twice = text.replace('"Condition": {', '"Condition": {"StringEquals": {"x": "y"}, ')
    Path("twice.json").write_text(f'{{"Role": {{"Arn": "{READER}", "AssumeRolePolicyDocument": {twice}}}}}', "utf-8")
    Path("objects.yaml").write_text(yaml.safe_dump(account("x")), "utf-8")
    files = ("-f", "objects.yaml", "--account-details", "twice.json", "--issuer", ISSUER.url)

    assert (
        f"not seen: {READER}: a statement of its trust policy has a key twice"
        in cli("who-can", str(READER), *files).err
    )


def test_no_cluster_and_no_aws(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without files, a cluster and credentials, it says what it could not see."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = cli("who-can", str(READER), "--kubeconfig", "none")

    assert done.code == 3
    assert "there are no AWS credentials" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name roles, or a service account with --subject"),
        ((str(READER), "--subject", "shop/app"), "name roles, or a service account with --subject"),
        (("reader",), "ROLE: "),
        (("--subject", "Shop/app"), "--subject: "),
    ],
)
def test_wrong_usage(scene: Scene, arguments: tuple[str, ...], words: str) -> None:
    """One sentence, and exit code 2."""
    scene.role(READER, trusting("shop:reader"))
    done = scene.ask(*arguments)

    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
