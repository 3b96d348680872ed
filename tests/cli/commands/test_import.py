"""``trustbind import``: exports of the AWS command line in, objects out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from support.commands import ROLE, Cli, Outcome, account, binding, written
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build

ISSUER = "https://oidc.example.com/id/1"
HOST = ISSUER.removeprefix("https://")
OTHER = "arn:aws:iam::111122223333:role/shop/checkout"
ISSUER_OPTION = ("import", "--issuer", ISSUER)


def trusting(*subjects: str, operator: str = "StringEquals", role: str = ROLE) -> dict[str, Any]:
    """Return a trust policy for service accounts of namespace shop."""
    named = [f"system:serviceaccount:shop:{name}" for name in subjects]
    condition: dict[str, dict[str, Any]] = {"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com"}}
    condition.setdefault(operator, {})[f"{HOST}:sub"] = named
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{role.split(':')[4]}:oidc-provider/{HOST}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def detail(document: Any, arn: str = ROLE) -> dict[str, Any]:
    """Return a role as an export has it, with more members than are read."""
    return {"Path": "/", "Arn": arn, "AssumeRolePolicyDocument": document, "RolePolicyList": [], "Tags": []}


def export(name: str, *roles: dict[str, Any], **more: Any) -> str:
    """Write an export and return the file's name."""
    Path(name).write_text(json.dumps({"RoleDetailList": list(roles), "Policies": []} | more), encoding="utf-8")
    return name


def bindings(done: Outcome) -> dict[str, dict[str, Any]]:
    """Return namespace and name of each RoleBinding that was printed, with its spec."""
    objects = [each for each in yaml.safe_load_all(done.out) if each["kind"] == "RoleBinding"]
    return {f"{each['metadata']['namespace']}/{each['metadata']['name']}": each["spec"] for each in objects}


EXPECTED = {"shop/checkout": {"roleArn": ROLE, "serviceAccountNames": ["checkout"], "adopt": "Equivalent"}}


def test_audience_of_the_cluster(cli: Cli) -> None:
    """--audience is that of the bindings whose statement names none, and of their grant; others keep theirs."""
    document = trusting("checkout")
    del document["Statement"][0]["Condition"]["StringEquals"][f"{HOST}:aud"]
    named = export("roles.json", detail(document), detail(trusting("other"), ROLE + "-2"))

    done = cli(*ISSUER_OPTION, "--account-details", named, "--audience", "amazonaws.com")
    assert {spec["roleArn"]: spec.get("audience") for spec in bindings(done).values()} == {
        ROLE: "amazonaws.com",
        ROLE + "-2": None,
    }
    (grant,) = [each for each in yaml.safe_load_all(done.out) if each["kind"] == "RoleGrant"]
    assert grant["spec"]["audiences"] == ["amazonaws.com", "sts.amazonaws.com"]


def test_no_audience(cli: Cli) -> None:
    """A text that no token has as its audience is refused."""
    done = cli(*ISSUER_OPTION, "--account-details", "roles.json", "--audience", "a b")
    assert done.code == 2
    assert "--audience" in done.err


@pytest.mark.parametrize("form", ["object", "text", "encoded"])
@pytest.mark.parametrize("kind", ["details", "list-roles", "get-role"])
def test_exports(cli: Cli, kind: str, form: str) -> None:
    """Each output of the AWS command line is read, whatever form its trust policies have."""
    text = json.dumps(trusting("checkout"))
    role = detail({"object": trusting("checkout"), "text": text, "encoded": quote(text, safe="")}[form])
    body = {"details": {"RoleDetailList": [role]}, "list-roles": {"Roles": [role]}, "get-role": {"Role": role}}[kind]
    Path("roles.json").write_text(json.dumps(body), encoding="utf-8-sig")

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json")

    assert (done.code, bindings(done)) == (0, EXPECTED), done
    assert done.err == (
        "trustbind: 1 role read: 1 RoleBinding, 1 RoleGrant, 1 AWSAccount; 0 findings about what is not imported; "
        "0 statements not about this cluster\n"
    )


def test_one_trust_policy(cli: Cli) -> None:
    """A trust policy alone is given with the ARN of its role; from standard input, too."""
    done = cli(*ISSUER_OPTION, "--trust", f"{ROLE}=-", stdin=json.dumps(trusting("checkout")).encode())

    assert (done.code, bindings(done)) == (0, EXPECTED), done


def test_several_accounts(cli: Cli) -> None:
    """Files of several AWS accounts make an AWSAccount for each; the manager role is named on request."""
    first = export("a.json", detail(trusting("checkout")))
    second = export("b.json", detail(trusting("cart", role=OTHER), OTHER))

    done = cli(*ISSUER_OPTION, "--account-details", first, "--account-details", second, "--manager-role", "manager")

    objects = [each for each in yaml.safe_load_all(done.out) if each["kind"] == "AWSAccount"]
    assert [each["spec"] for each in objects] == [
        {
            "accountId": number,
            "driftPolicy": "Observe",
            "managerRoleArn": f"arn:aws:iam::{number}:role/manager",
        }
        for number in ("111122223333", "444455556666")
    ]


def test_what_is_not_imported(cli: Cli) -> None:
    """What no binding can say is on standard error with its reason, and the exit code is 1."""
    export("roles.json", detail(trusting("check*", "cart", operator="StringLike")))

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json")

    assert done.code == 1
    assert bindings(done)["shop/checkout"]["serviceAccountNames"] == ["cart"]
    assert done.err.splitlines()[0] == (
        f"not imported (WildcardSubject): {ROLE}, statement 1: the subject system:serviceaccount:shop:check* has a "
        "wildcard, and a binding names service accounts of one namespace"
    )


def test_annotations(cli: Cli) -> None:
    """Service accounts of the files are compared with the trust policies."""
    export("roles.json", detail(trusting("cart")))
    shop = account() | {"metadata": account()["metadata"] | {"namespace": "shop"}}

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json", "-f", written("sa.yaml", shop))

    assert done.code == 0
    assert [line.partition(":")[0] for line in done.err.splitlines()[:2]] == [
        "note (AnnotatedNotTrusted)",
        "note (NotInFiles)",
    ]


def test_what_is_bound_already(cli: Cli) -> None:
    """What the files bind is not printed again."""
    export("roles.json", detail(trusting("checkout")))

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json", "-f", written("b.yaml", binding(namespace="shop")))

    assert (done.code, done.out) == (0, "")


def test_data(cli: Cli) -> None:
    """As data: objects, what is not imported, notes, and what is about others."""
    service = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = trusting("*", operator="StringLike")
    export("roles.json", detail(document | {"Statement": [*document["Statement"], service]}))

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json", "-o", "json")

    assert done.code == 1
    assert json.loads(done.out) == {
        "objects": [],
        "notImported": [
            {
                "reason": "WildcardSubject",
                "role": ROLE,
                "statement": 1,
                "sid": None,
                "subject": "system:serviceaccount:shop:*",
                "message": "the subject system:serviceaccount:shop:* has a wildcard, and a binding names service "
                "accounts of one namespace",
            }
        ],
        "notes": [],
        "otherStatements": {"an AWS service": 1},
        "rolesRead": 1,
    }


def test_many_notes(cli: Cli) -> None:
    """Of each kind of note the first ten are printed, and how many more there are."""
    roles = [detail(trusting(f"a{i}"), f"{ROLE}{i}") for i in range(13)]
    shop = account() | {"metadata": account()["metadata"] | {"namespace": "shop"}}

    done = cli(*ISSUER_OPTION, "--account-details", export("r.json", *roles), "-f", written("sa.yaml", shop))

    assert done.err.count("note (NotInFiles)") == 11
    assert "note (NotInFiles): 3 more; -o json lists all" in done.err


def test_folder(cli: Cli) -> None:
    """A folder gets a file for each kind, and one for the bindings of each namespace; preview accepts them."""
    export("roles.json", detail(trusting("checkout", "cart")))
    Path("trust.json").write_text(json.dumps(trusting("checkout", "cart")), encoding="utf-8")

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json", "--output-dir", "out/new")

    assert (done.code, done.out) == (0, "")
    assert sorted(path.name for path in Path("out/new").iterdir()) == [
        "awsaccounts.yaml",
        "rolebindings-shop.yaml",
        "rolegrants.yaml",
    ]
    shown = cli("preview", "trust", "-f", "out/new", "--issuer", ISSUER, "--role-arn", ROLE, "--current", "trust.json")
    assert shown.code == 0, shown
    (own,) = json.loads(shown.out)["Statement"]  # in place of the statement that it says the same as
    assert own["Sid"].startswith("Trustbind")
    assert own["Condition"]["StringEquals"][f"{HOST}:sub"] == [
        "system:serviceaccount:shop:cart",
        "system:serviceaccount:shop:checkout",
    ]


def test_folder_with_files(cli: Cli) -> None:
    """No file is written over."""
    export("roles.json", detail(trusting("checkout")))
    Path("out").mkdir()
    Path("out/rolegrants.yaml").write_text("mine\n", encoding="utf-8")

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json", "--output-dir", "out")

    assert (done.code, done.out) == (2, "")
    assert "out/rolegrants.yaml exists" in done.err
    assert [path.name for path in Path("out").iterdir()] == ["rolegrants.yaml"]


def test_one_role_that_cannot_be_read(cli: Cli) -> None:
    """A trust policy that is none is named, and the other roles are imported."""
    export("roles.json", detail({"Statement": "x"}, f"{ROLE}-bad"), detail(trusting("checkout")))

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json")

    assert (done.code, bindings(done)) == (1, EXPECTED)
    assert f"not imported (Unreadable): roles.json: {ROLE}-bad: Statement is a list of statements" in done.err


PERMISSIONS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "a policy": (json.dumps(PERMISSIONS), ("roles.json: is a single policy; give it with --trust ARN=FILE",)),
    "cut off": ('{"RoleDetailList": [{"Arn": "arn:aws', ("roles.json: not JSON, or the export was cut off",)),
    "empty": ("", ("roles.json: not JSON, or the export was cut off",)),
    "not text": ("\x00", ("roles.json: not JSON",)),
    "a page": (
        json.dumps({"RoleDetailList": [], "IsTruncated": True, "Marker": "x"}),
        ("roles.json: holds only a part of the roles; export them again without --max-items",),
    ),
    "a page of the command line": (
        json.dumps({"Roles": [detail(PERMISSIONS)], "NextToken": "x"}),
        ("roles.json: holds only a part of the roles",),
    ),
    "no roles": (json.dumps({"RoleDetailList": []}), ("roles.json: holds no role",)),
    "users only": (json.dumps({"UserDetailList": []}), ("roles.json: has no RoleDetailList; make it with 'aws iam",)),
    "a role list": (json.dumps([detail(PERMISSIONS)]), ("roles.json: not an export of roles", "make it with")),
    "something else": (json.dumps({"Users": []}), ("roles.json: is not an export of roles: it has no RoleDetailList",)),
    "without a document": (json.dumps({"Role": {"Arn": ROLE}}), ("roles.json: not an export of roles", "AssumeRole")),
    "two AWS accounts": (
        json.dumps({"Roles": [detail(trusting("a")), detail(trusting("a"), OTHER)]}),
        ("roles.json: holds roles of the AWS accounts 111122223333 and 444455556666",),
    ),
}


def check(done: Outcome, *said: str) -> None:
    """Assert that there is one sentence that says all of this, and no data."""
    assert (done.code, done.out) == (2, ""), done
    assert len(done.err.splitlines()) == 1, done.err
    assert [text for text in said if text not in done.err] == []


@pytest.mark.parametrize("what", BAD)
def test_bad_export(cli: Cli, what: str) -> None:
    """What is no export of roles, or only a part of one, gets one sentence."""
    content, said = BAD[what]
    Path("roles.json").write_text(content, encoding="utf-8")

    check(cli(*ISSUER_OPTION, "--account-details", "roles.json"), *said)


def test_bad_trust_policies(cli: Cli) -> None:
    """A permissions policy, and the file of another role, get one sentence."""
    Path("p.json").write_text(json.dumps(PERMISSIONS), encoding="utf-8")
    Path("g.json").write_text(json.dumps({"Role": detail(trusting("a"), OTHER)}), encoding="utf-8")

    check(cli(*ISSUER_OPTION, "--trust", f"{ROLE}=p.json"), "p.json: not a trust policy: it is a permissions policy")
    check(cli(*ISSUER_OPTION, "--trust", f"{ROLE}=g.json"), f"g.json: it holds the role {OTHER}, and --trust is")
    check(cli(*ISSUER_OPTION, "--trust", "p.json"), "--trust: 'p.json' is not ARN=FILE")
    check(cli(*ISSUER_OPTION, "--trust", "reader=p.json"), "--trust: ", "reader")


def test_two_documents_for_one_role(cli: Cli) -> None:
    """Two files that do not agree are named; the same twice is read once."""
    first, second = export("a.json", detail(trusting("a"))), export("b.json", detail(trusting("b")))

    check(
        cli(*ISSUER_OPTION, "--account-details", first, "--account-details", second),
        f"b.json: {ROLE} has another trust policy than in a.json",
    )
    assert "1 role read" in cli(*ISSUER_OPTION, "--account-details", first, "--account-details", first).err


def test_bad_options(cli: Cli) -> None:
    """Options that contradict each other, or say nothing, get one sentence."""
    export("roles.json", detail(trusting("a")))
    read = (*ISSUER_OPTION, "--account-details", "roles.json")

    check(cli(*ISSUER_OPTION), "give --account-details, --trust or --live")
    check(cli(*read, "-o", "json", "--output-dir", "x"), "leave out --output-dir")
    check(cli(*read, "--manager-role", "a b"), "--manager-role: 'a b' is not the name of a role")
    check(cli(*ISSUER_OPTION, "--account-details", "-", "-f", "-"), "standard input can be read only once")
    check(cli(*read, "--output-dir", "roles.json"), "--output-dir: roles.json cannot be written")


def test_for_another_cluster(cli: Cli) -> None:
    """The new cluster gets what the old one has, also what trustbind wrote there; nothing is taken over."""
    by_hand = trusting("checkout")["Statement"][0]
    by_hand["Condition"]["StringEquals"][f"{HOST}:job"] = "x"
    ours = build(
        Issuer.parse(ISSUER), RoleArn.parse(ROLE), WebIdentityKey("sts.amazonaws.com"), [Subject("shop", "cart")]
    )
    export("roles.json", detail({"Version": "2012-10-17", "Statement": [by_hand, ours]}))

    old = cli(*ISSUER_OPTION, "--account-details", "roles.json")
    new = cli(*ISSUER_OPTION, "--account-details", "roles.json", "--as", "https://oidc.example.com/id/2")

    assert {tuple(spec["serviceAccountNames"]) for spec in bindings(old).values()} == {("checkout",)}
    made = {tuple(spec.pop("serviceAccountNames")): spec for spec in bindings(new).values()}
    assert made == {
        ("cart",): {"roleArn": ROLE},
        ("checkout",): {
            "roleArn": ROLE,
            "conditions": [{"operator": "StringEquals", "key": "oidc.example.com/id/2:job", "values": ["x"]}],
        },
    }
    assert "allowAdopt" not in new.out


def test_the_same_cluster_is_no_other_one(cli: Cli) -> None:
    """One sentence says what is wrong."""
    export("roles.json", detail(trusting("checkout")))

    done = cli(*ISSUER_OPTION, "--account-details", "roles.json", "--as", ISSUER)

    assert (done.code, done.out) == (2, "")
    assert "--as" in done.err
