"""What ``trustbind preview trust`` refuses from the files alone, and of what it warns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.commands import ROLE, Cli, account, binding, written

ISSUER = "https://oidc.example.com/id/1"
BASE = "arn:aws:iam::111122223333:role/base"
GITHUB = "https://token.actions.githubusercontent.com"
OPS = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
ARGUMENTS = ("preview", "trust", "-f", "b.yaml", "--role-arn", ROLE, "--issuer", ISSUER)


def selecting(name: str = "batch", namespace: str = "billing", **spec: Any) -> dict[str, Any]:
    """Return a RoleBinding that selects accounts by a label."""
    wish = binding(name, namespace, serviceAccountSelector={"matchLabels": {"aws": "yes"}}, **spec)
    del wish["spec"]["serviceAccountNames"]
    return wish


def selected(namespace: str = "billing") -> dict[str, Any]:
    """Return an account with that label."""
    body = account("worker")
    body["metadata"] |= {"namespace": namespace, "labels": {"aws": "yes"}}
    return body


def grant(name: str = "g", role_arn: str = ROLE, **namespaces: Any) -> dict[str, Any]:
    """Return a RoleGrant."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleGrant",
        "metadata": {"name": name},
        "spec": {"namespaces": namespaces, "roleArns": [role_arn]},
    }


def namespace(name: str, **labels: str) -> dict[str, Any]:
    """Return a Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


UNSELECTED = (
    "RoleBinding billing/batch selects service accounts and none in the files matches; add them with -f "
    "(kubectl -n billing get serviceaccounts -o yaml)"
)


@pytest.mark.parametrize("diff", [[], ["--diff"]])
@pytest.mark.parametrize("others", [[], [binding("c", "billing", serviceAccountNames=["other"])]])
def test_selector_without_accounts(cli: Cli, others: list[Any], diff: list[str]) -> None:
    """A selector that selects nobody takes nothing back, and is refused: the accounts may be in no file."""
    written("b.yaml", selecting(), selected())
    Path("now.json").write_text(cli(*ARGUMENTS).out, encoding="utf-8")
    written("b.yaml", selecting(), *others)

    done = cli(*ARGUMENTS, "--current", "now.json", *diff)

    assert done.code == 3
    assert f"refused (NoSubjects): {UNSELECTED}" in (done.out if diff else done.err)
    assert "remove statement" not in done.out
    assert diff or done.out == Path("now.json").read_text(encoding="utf-8")


def test_selector_of_another_role(cli: Cli) -> None:
    """A binding that is not about the role holds nobody up."""
    written("b.yaml", selecting(roleArn=f"{ROLE}-2"), binding("b", "shop"))

    assert (cli(*ARGUMENTS).code, cli(*ARGUMENTS).err) == (0, "")


def test_selector_of_a_chain(cli: Cli) -> None:
    """Both roles of a chain wait for its accounts."""
    written("b.yaml", selecting(method="AssumeRole", source={"roleArn": BASE}))

    for role in (ROLE, BASE):
        done = cli("preview", "trust", "-f", "b.yaml", "--role-arn", role, "--issuer", ISSUER)
        assert done.code == 3
        assert UNSELECTED in done.err
        assert json.loads(done.out)["Statement"] == []


def test_pod_identity(cli: Cli) -> None:
    """Nothing is written for EKS Pod Identity; what the trust policy needs is said."""
    written("b.yaml", binding("agent", "shop", method="PodIdentity"))
    current = json.dumps({"Statement": [OPS]}).encode()

    done = cli(*ARGUMENTS, "--current", "-", stdin=current)

    assert done.code == 1
    assert json.loads(done.out)["Statement"] == [OPS]
    assert "RoleBinding shop/agent has method PodIdentity, for which there is nothing to do in IAM" in done.err
    assert '"Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]' in (
        done.err
    )


def test_grants(cli: Cli) -> None:
    """With grants in the files, what none covers is refused and left out; the rest is there."""
    written("b.yaml", binding("a", "shop"), binding("b", "other"), grant(names=["shop"]))

    done = cli(*ARGUMENTS)

    assert done.code == 1
    assert done.err == (
        f"trustbind: refused (NotGranted): other/b: no RoleGrant covers {ROLE} for namespace other; "
        "ask a cluster administrator for one\n"
    )
    assert "system:serviceaccount:shop:checkout" in done.out
    assert "system:serviceaccount:other:checkout" not in done.out


SELECTOR = {"matchLabels": {"team": "shop"}}


@pytest.mark.parametrize(
    ("grants", "further", "said"),
    [
        pytest.param(
            [grant(selector=SELECTOR)],
            [],
            "shop/b: RoleGrant g selects namespaces by label; add the Namespace with -f",
            id="labels are not told",
        ),
        pytest.param(
            [grant(selector={"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]})],
            [],
            "shop/b: RoleGrant g selects namespaces by label; add the Namespace with -f",
            id="a label that may be there",
        ),
        pytest.param([grant(selector=SELECTOR)], [namespace("shop", team="shop")], "", id="labels match"),
        pytest.param(
            [grant(selector=SELECTOR)], [namespace("shop", team="x")], "shop/b: no RoleGrant covers", id="do not match"
        ),
        pytest.param(
            [grant(role_arn=f"{ROLE}-2", selector=SELECTOR)], [], "shop/b: no RoleGrant covers", id="another role"
        ),
        pytest.param([grant(selector=SELECTOR), grant("h", names=["shop"])], [], "", id="another grant covers it"),
        pytest.param([grant(selector={})], [], "", id="every namespace"),
        pytest.param(
            [grant(selector={"matchLabels": {"kubernetes.io/metadata.name": "shop"}})], [], "", id="label of the name"
        ),
    ],
)
def test_grant_with_selector(cli: Cli, grants: list[Any], further: list[Any], said: str) -> None:
    """Whether a grant selects a namespace by label is told by the Namespace; without it, it is asked for."""
    written("b.yaml", binding("b", "shop"), *grants, *further)

    done = cli(*ARGUMENTS)

    assert done.code == (0 if not said else 3 if "add the Namespace" in said else 1)
    assert said in done.err
    assert said or done.err == ""
    assert ("system:serviceaccount:shop:checkout" in done.out) == (not said)


def test_namespace_that_is_missing_takes_nothing_back(cli: Cli) -> None:
    """What stands stays, as long as the files do not tell whether it is granted."""
    written("b.yaml", binding("b", "shop"))
    Path("now.json").write_text(cli(*ARGUMENTS).out, encoding="utf-8")
    written("b.yaml", binding("b", "shop"), grant(selector=SELECTOR))

    assert cli(*ARGUMENTS, "--current", "now.json").out == Path("now.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("count", "more"), [(1, ""), (3, ""), (5, " and 2 more")])
def test_role_that_no_binding_names(cli: Cli, count: int, more: str) -> None:
    """The roles that the files do name are listed, up to three."""
    written("b.yaml", *(binding(f"b{i}", "shop", roleArn=f"{ROLE}-{i}") for i in range(count)))

    done = cli(*ARGUMENTS)

    listed = ", ".join(f"{ROLE}-{i}" for i in range(min(count, 3)))
    assert done.code == 1
    assert done.err == f"trustbind: no RoleBinding in the files names {ROLE}; they name {listed}{more}\n"


def test_no_binding_at_all(cli: Cli) -> None:
    """Files without any binding are told so."""
    written("b.yaml", account())

    assert "there is none in them" in cli(*ARGUMENTS).err


def test_wide_patterns(cli: Cli) -> None:
    """What the webhook would warn of is warned of here, too, and is no refusal."""
    entry = {"issuer": GITHUB, "subjects": ["repo:acme*"]}
    written("b.yaml", binding("wide", "shop", federatedSubjects=[entry]))

    done = cli(*ARGUMENTS)

    assert done.code == 0
    assert done.err.startswith("warning: shop/wide: spec.federatedSubjects: repo:acme* has a wildcard before")
