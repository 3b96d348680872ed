"""``trustbind sweep`` against an API server that changes, refuses, or is another one than was meant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

from cli.apply.shell import Shell, account, binding
from support.commands import Outcome
from support.schemas import checked
from support.scripted_kube import Collection, ScriptedKube
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind.policy.pod_identity import STATEMENT, owner_of
from trustbind_cli.demo.fixtures import ISSUER, REGION, TARGET_ROLE

OWN: Final = Issuer.parse(ISSUER)
WEB: Final = WebIdentityKey("sts.amazonaws.com")
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
