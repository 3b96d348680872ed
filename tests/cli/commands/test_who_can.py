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
        self._objects: list[Json] = [account("x")]

    def role(self, role: RoleArn, *statements: Json, version: str = "2012-10-17") -> None:
        """Add a role."""
        self._roles[str(role)] = {"Version": version, "Statement": list(statements)}

    def has(self, *objects: Json) -> None:
        """Add objects of the cluster."""
        self._objects += objects

    def ask(self, *arguments: str, with_issuer: bool = True) -> Outcome:
        """Run the command; AWS accounts have a file each."""
        files: list[str] = []
        for number, (arn, document) in enumerate(self._roles.items()):
            name = f"role-{number}.json"
            detail = {"RoleDetailList": [{"Arn": arn, "AssumeRolePolicyDocument": document}]}
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


def test_what_could_not_be_seen(scene: Scene) -> None:
    """A role that no file has, and a cluster whose issuer is not known, are said; nothing is fine then."""
    scene.role(READER, trusting("shop:reader"))
    absent = scene.ask(str(BASE))
    assert (absent.code, f"not seen: {BASE}: its trust policy was not found" in absent.err) == (3, True)
    unknown = scene.ask(str(READER), with_issuer=False)
    assert "not seen: the cluster's issuer; give --issuer" in unknown.err


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
