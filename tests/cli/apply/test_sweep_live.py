"""``trustbind sweep`` against an API server that changes, refuses, or is another one than was meant."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Final

import pytest
import yaml

from cli.apply.shell import Shell, account, binding
from support.commands import Outcome
from support.schemas import checked
from support.scripted_kube import Collection, ScriptedKube
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build, owner_prefix
from trustbind.policy.pod_identity import STATEMENT, owner_of
from trustbind_cli.demo.fixtures import ISSUER, REGION, TARGET_ROLE

OWN: Final = Issuer.parse(ISSUER)
WEB: Final = WebIdentityKey("sts.amazonaws.com")
KUBECONFIG: Final = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "users": [{"name": "u", "user": {"token": "x"}}],
}
DONE, FAILED, WRONG, UNKNOWN = 0, 1, 2, 3


def left(*names: str, issuer: Issuer = OWN) -> dict[str, Any]:
    """Return a statement that trustbind wrote for service accounts of team-a."""
    return build(issuer, RoleArn.parse(TARGET_ROLE), WEB, [Subject("team-a", name) for name in names])


def put(collection: Collection, body: dict[str, Any]) -> None:
    """Store an object."""
    metadata = body["metadata"]
    content = {key: value for key, value in body.items() if key not in {"apiVersion", "kind", "metadata"}}
    collection.put(metadata.get("namespace", ""), metadata["name"], **content)


class Live:
    """A shell with an API server; what it serves is set before a command runs."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.kube = ScriptedKube()
        self.kube.issuer = ISSUER
        put(self.kube.aws_accounts, account())

    def sweep(self, *arguments: str) -> Outcome:
        """Run ``trustbind sweep`` on this cluster."""

        async def run() -> Outcome:
            async with self.kube.running(self.shell.folder) as kubeconfig:
                command = ("sweep", "--kubeconfig", kubeconfig, *arguments)
                return await asyncio.to_thread(self.shell.trustbind, *command)

        return asyncio.run(run())

    def meanwhile(self, change: Callable[[], object]) -> None:
        """Let something happen between the first reading of the bindings and the second."""
        self.kube.bindings.before_lists += [lambda: None, change]


@pytest.fixture(name="live")
def _live(shell: Shell) -> Live:
    """Return a cluster without bindings, and a target role with a statement for two service accounts."""
    shell.allow_listing()
    shell.add(left("reader", "writer"))
    return Live(shell)


def test_binding_that_comes_meanwhile(live: Live) -> None:
    """What a binding wants that came after the plan stays, and is reported; the rest goes."""
    live.meanwhile(lambda: put(live.kube.bindings, binding("b")))
    done = live.sweep("--yes")

    assert done.code == DONE, done.err
    assert live.shell.subjects() == ["system:serviceaccount:team-a:reader"]
    assert (
        f"kept: {TARGET_ROLE}: RoleBinding team-a/b has come since it was read, so system:serviceaccount:team-a:reader "
        "stays\n"
    ) in done.err
    assert "1 of 1 done" in done.err


def test_binding_that_wants_all_of_it(live: Live) -> None:
    """Where a binding wants all that was to go by now, nothing is written; data says what was kept."""
    live.meanwhile(lambda: put(live.kube.bindings, binding("b", serviceAccountNames=["reader", "writer"])))
    live.shell.writes()
    done = live.sweep("--yes", "-o", "json")

    assert done.code == DONE, done.err
    assert live.shell.writes() == []
    (role,) = checked("sweep", done.out)["roles"]
    assert (role["statements"], role["written"]) == ([], False)
    assert role["kept"][0].startswith("RoleBinding team-a/b has come since it was read")


def test_association_that_is_wanted_meanwhile(live: Live) -> None:
    """An association that a new binding wants is not deleted."""
    live.shell.allow_associations("blue")
    live.shell.edit(TARGET_ROLE, dict(STATEMENT))
    live.shell.associate("blue", "reader", TARGET_ROLE, {"trustbind.dev/issuer": owner_of(OWN)})
    put(live.kube.aws_accounts, account(eks={"clusterName": "blue", "region": REGION}))
    live.meanwhile(lambda: put(live.kube.bindings, binding("b", method="PodIdentity")))
    done = live.sweep("--yes")

    assert done.code == DONE, done.err
    assert live.shell.associated("blue") == ["reader"]
    assert "a RoleBinding wants an association of team-a/reader by now" in done.err


def test_account_that_is_observed_meanwhile(live: Live) -> None:
    """Where the AWSAccount has driftPolicy Observe by now, nothing is written."""
    observed = account(driftPolicy="Observe")
    live.kube.aws_accounts.before_lists += [lambda: None, lambda: put(live.kube.aws_accounts, observed)]
    live.shell.writes()
    done = live.sweep("--yes", "-o", "json")

    assert done.code == FAILED, done.err
    (role,) = checked("sweep", done.out)["roles"]
    assert (role["refused"]["reason"], role["written"]) == ("DriftObserved", False)
    assert live.shell.writes() == []


def test_cluster_that_fails_meanwhile(live: Live) -> None:
    """Where the bindings cannot be read again, nothing is removed: exit code 3."""
    live.meanwhile(lambda: live.kube.bindings.refuse_lists.append(403))
    live.shell.writes()
    done = live.sweep("--yes")

    assert done.code == UNKNOWN, done.err
    assert "not seen: what is wanted, right before a write, so nothing more is removed: RoleBindings" in done.err
    assert live.shell.writes() == []


def test_issuer_that_changes_meanwhile(live: Live) -> None:
    """Where the cluster has another issuer by now, nothing is removed."""
    live.meanwhile(lambda: None)
    live.kube.aws_accounts.before_lists.append(lambda: setattr(live.kube, "issuer", "https://oidc.example.com/new"))
    done = live.sweep("--yes")

    assert done.code == UNKNOWN, done.err
    assert f"the cluster has the issuer https://oidc.example.com/new by now, and not {ISSUER}" in done.err
    assert len(live.shell.subjects()) == 2


def gone(live: Live, *arguments: str, issuer: str = ISSUER) -> Outcome:
    """Run ``trustbind sweep --cluster-gone`` on this cluster; nothing may be written unless it is another one."""
    return live.sweep("--issuer", issuer, "--cluster-gone", "--yes", *arguments)


def accounts_file(live: Live) -> str:
    """Return the name of a file with the AWSAccount."""
    file = live.shell.folder / "accounts.yaml"
    file.write_text(yaml.safe_dump(account()), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("has_files", [False, True])
def test_gone_cluster_that_is_there(live: Live, has_files: bool) -> None:
    """The issuer of the cluster of the context is refused, also where AWSAccounts are from files."""
    done = gone(live, *(["-f", accounts_file(live)] if has_files else []), issuer=f"{ISSUER}/")

    assert done.code == WRONG
    assert f"has this issuer: {ISSUER}/; it is there, so delete its bindings instead" in done.err
    assert len(live.shell.subjects()) == 2


def test_gone_cluster_whose_operator_is_there(live: Live) -> None:
    """The operator of the cluster of the context may write for another issuer than the API server publishes."""
    live.kube.issuer = "https://kubernetes.default.svc"
    put(live.kube.bindings, binding("b") | {"status": {"statementId": left("reader")["Sid"]}})
    done = gone(live, "-f", accounts_file(live))

    assert done.code == WRONG
    assert f"has an operator that writes for this issuer: {ISSUER}" in done.err
    assert len(live.shell.subjects()) == 2


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_gone_cluster_that_answers(live: Live, status: int) -> None:
    """An API server that refuses to say its issuer is there: nothing is removed, with files or without."""
    live.kube.issuer = status
    for arguments in ((), ("-f", accounts_file(live))):
        done = gone(live, *arguments)
        assert done.code == UNKNOWN, done.err
        assert f"not seen: whether the cluster of {ISSUER} is gone: the one at http://127.0.0.1:" in done.err
        assert f"(HTTP {status}); let your user read its issuer" in done.err
    assert len(live.shell.subjects()) == 2


def test_gone_beside_another_cluster(live: Live) -> None:
    """Where the cluster of the context is another one, its AWSAccounts lead to the statements, which go."""
    live.kube.issuer = "https://oidc.example.com/new"
    done = gone(live)

    assert done.code == DONE, done.err
    assert live.shell.subjects() == []


def test_gone_without_a_cluster(live: Live) -> None:
    """Where nothing listens, or the kubeconfig has no such context, the cluster is gone."""
    command = ("sweep", "--issuer", ISSUER, "--cluster-gone", "-f", accounts_file(live))
    config = live.shell.folder / "config"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config.write_text(json.dumps(KUBECONFIG | {"clusters": [_cluster(f"http://127.0.0.1:{port}")]}), encoding="utf-8")

    for arguments in (("--context", "c"), ("--context", "none")):
        done = live.shell.trustbind(*command, "--kubeconfig", str(config), *arguments)
        assert done.code == FAILED, done.err
        assert "(ClusterGone)" in done.out


@pytest.mark.parametrize("text", ["{", json.dumps(KUBECONFIG | {"clusters": []})])
def test_gone_with_a_broken_kubeconfig(live: Live, text: str) -> None:
    """A kubeconfig that has the context and cannot be used says nothing about the cluster."""
    config = live.shell.folder / "config"
    config.write_text(text, encoding="utf-8")
    done = live.shell.trustbind("sweep", "--issuer", ISSUER, "--cluster-gone", "--yes", "--kubeconfig", str(config))

    assert done.code == UNKNOWN, done.err
    assert "not seen: whether the cluster of" in done.err
    assert "correct the kubeconfig" in done.err


@pytest.mark.parametrize("kind", ["bindings", "grants", "aws_accounts"])
def test_kinds_that_are_not_served(live: Live, kind: str) -> None:
    """Without the custom resources it is not known what is wanted; it is not nothing."""
    getattr(live.kube, kind).present = False
    done = live.sweep("--yes")

    assert done.code == UNKNOWN, done.err
    assert "the custom resources are not served" in done.err
    assert len(live.shell.subjects()) == 2


def test_object_that_breaks_a_rule(live: Live) -> None:
    """A binding that cannot be read wants something that is not known."""
    put(live.kube.bindings, binding("b", roleArn="none"))
    done = live.sweep("--yes")

    assert done.code == UNKNOWN, done.err
    assert "RoleBinding team-a/b: spec.roleArn" in done.err
    assert len(live.shell.subjects()) == 2


def test_operator_with_another_issuer(live: Live) -> None:
    """Statements that the statuses name are the cluster's, whatever issuer is published; --issuer can say so."""
    live.kube.issuer = "https://oidc.example.com/published"
    put(live.kube.bindings, binding("b") | {"status": {"statementId": left("reader")["Sid"]}})
    unclear = live.sweep("--yes")
    assert unclear.code == UNKNOWN, unclear.err
    assert f"status.statementId of its RoleBindings begins with {owner_prefix(OWN)}" in unclear.err
    assert "another cluster" not in unclear.err
    assert len(live.shell.subjects()) == 2

    done = live.sweep("--yes", "--issuer", ISSUER)
    assert done.code == DONE, done.err
    assert live.shell.subjects() == ["system:serviceaccount:team-a:reader"]


def test_operator_with_two_issuers(live: Live) -> None:
    """While some statements are of one issuer and some of another, nothing is removed."""
    for name, issuer in (("b", OWN), ("c", Issuer.parse("https://oidc.example.com/new"))):
        put(live.kube.bindings, binding(name) | {"status": {"statementId": left("reader", issuer=issuer)["Sid"]}})
    done = live.sweep("--yes")

    assert done.code == UNKNOWN, done.err
    assert len(live.shell.subjects()) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-f", "x.yaml", "--issuer", ISSUER, "--context", "c"), "--context: has no effect with -f; the files"),
        (("-f", "x.yaml", "--issuer", ISSUER, "--kubeconfig", "c"), "--kubeconfig: has no effect with -f; the files"),
        (("--cluster-gone", "--issuer", ISSUER, "--retained"), "--retained: has no effect with --cluster-gone; it"),
    ],
)
def test_options_that_would_be_ignored(shell: Shell, arguments: tuple[str, ...], problem: str) -> None:
    """An option that has no meaning beside another one is refused."""
    done = shell.trustbind("sweep", *arguments)

    assert done.code == WRONG
    assert done.err.startswith(f"trustbind: {problem}")


def _cluster(address: str) -> dict[str, Any]:
    return {"name": "c", "cluster": {"server": address}}
