"""The file lookup: manifests in place of a cluster."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from support.scripted_kube import until
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.lookup.interface import LookupStartError
from trustbind_webhook.lookup.manifest_files import FileLookup
from trustbind_webhook.metrics import Metrics

ACCOUNT = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: reader
  namespace: team
  labels: {tier: back}
  annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::444455556666:role/reader", other/x: "1"}
"""
BINDING = """\
apiVersion: trustbind.dev/v1alpha1
kind: RoleBinding
metadata: {name: b, namespace: team}
spec: {roleArn: "arn:aws:iam::444455556666:role/reader", serviceAccountNames: [reader]}
"""
RBAC = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: b, namespace: team}
"""


def lookup_of(*paths: Path, log: io.StringIO | None = None) -> FileLookup:
    """Return a lookup that looks for changes all the time."""
    return FileLookup(
        [str(path) for path in paths],
        "eks.amazonaws.com",
        metrics=Metrics(),
        log=logger(Log(), log or io.StringIO()),
        poll_seconds=0.01,
    )


def test_reads_files_and_folders_and_passes_over_other_kinds(tmp_path: Path) -> None:
    """Accounts and our bindings are taken; RBAC's kind of the same name, and everything else, is not ours."""

    async def test() -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "a.yaml").write_text(f"{ACCOUNT}---\n{RBAC}")
        (folder / "notes.txt").write_text("not: [yaml")
        (tmp_path / "b.yml").write_text(BINDING)
        lookup = lookup_of(folder, tmp_path / "b.yml")
        before = lookup.synced
        await lookup.start()
        await lookup.wait_synced()
        assert (before, lookup.synced) == (False, True)
        account = await lookup.account("team", "reader")
        assert account is not None
        assert list(account.annotations) == ["eks.amazonaws.com/role-arn"]
        assert account.labels == {"tier": "back"}
        assert [str(b.ref) for b in lookup.bindings("team", "reader")] == ["team/b"]
        assert await lookup.account("team", "other") is None
        default = await lookup.account("team", "default")
        assert default is not None
        assert not default.annotations
        await lookup.stop()

    asyncio.run(test())


FURTHER = """\
apiVersion: trustbind.dev/v1alpha1
kind: RoleGrant
metadata: {name: g}
spec: {namespaces: {names: [team]}, roleArns: ["arn:aws:iam::444455556666:role/*"]}
---
apiVersion: trustbind.dev/v1alpha1
kind: AWSAccount
metadata: {name: production}
spec: {accountId: "444455556666"}
"""
NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {a: b}}
"""


def test_knowledge_for_validation(tmp_path: Path) -> None:
    """What validation asks for is read from manifests, too; namespaces count as not known where none is described."""

    async def test() -> None:
        path = tmp_path / "a.yaml"
        path.write_text(f"{ACCOUNT}---\n{BINDING}---\n{FURTHER}")
        lookup = lookup_of(path)
        await lookup.start()
        known = lookup.knowledge("team")
        assert [str(binding.ref) for binding in known.bindings] == ["team/b"]
        assert known.accounts == {"default": {}, "reader": {"tier": "back"}}
        assert [grant.name for grant in known.grants or ()] == ["g"]
        assert [account.name for account in known.aws_accounts or ()] == ["production"]
        assert (known.namespaces, known.issuer) == (None, None)
        path.write_text(NAMESPACE)
        await until(lambda: lookup.knowledge("team").namespaces, "the edit")
        known = lookup.knowledge("team")
        assert known.namespaces == {"team": {"a": "b", "kubernetes.io/metadata.name": "team"}}
        assert (known.grants, known.aws_accounts, known.bindings) == ([], [], [])
        await lookup.stop()

    asyncio.run(test())


def test_changes_are_seen_and_mistakes_leave_what_was(tmp_path: Path) -> None:
    """An edit is taken up; a broken one is told once, and the former contents stay until it is mended."""

    async def test() -> None:
        path = tmp_path / "a.yaml"
        path.write_text(ACCOUNT)
        log = io.StringIO()
        lookup = lookup_of(path, log=log)
        await lookup.start()
        path.write_text(f"{ACCOUNT}---\nkind: [")
        await until(lambda: "the former ones stay" in log.getvalue(), "the mistake is told")
        assert await lookup.account("team", "reader") is not None
        path.write_text(ACCOUNT.replace("reader", "writer"))
        await until(lambda: log.getvalue().count("manifests read") == 2, "the edit")
        assert await lookup.account("team", "reader") is None
        assert await lookup.account("team", "writer") is not None
        assert log.getvalue().count("the former ones stay") == 1
        path.unlink()
        await until(lambda: log.getvalue().count("cannot be read") == 1, "the deletion is told")
        await lookup.stop()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind: [", "document 1: line 2, column 1: not YAML"),
        (f"{ACCOUNT}---\n{ACCOUNT}", "document 2: ServiceAccount team/reader: it stands twice"),
        (ACCOUNT.replace("reader\n", "Reader\n"), "'Reader' is not a service account name"),
        (ACCOUNT.replace('"1"', "1"), "metadata.annotations[other/x]: a text is needed; write it in quotes"),
        (ACCOUNT.replace("{tier: back}", "[x]"), "metadata.labels: a mapping is needed"),
        ("apiVersion: v1\nkind: ServiceAccount", "metadata.name: a name is required"),
        (BINDING.replace("444455556666", "4444"), "RoleBinding team/b: spec.roleArn: "),
        (
            BINDING.replace("metadata: {", "metadata: {label: {}, "),
            "RoleBinding team/b: metadata: there is no field `label`",
        ),
        (FURTHER.replace("role/*", "user/*"), "RoleGrant g: spec.roleArns[0]: "),
        (FURTHER.replace('"444455556666"', "4"), "AWSAccount production: spec.accountId: "),
        (f"{FURTHER}---\n{FURTHER}", "document 3: RoleGrant g: it stands twice"),
        (NAMESPACE.replace("{a: b}", "{a: 1}"), "Namespace team: metadata.labels[a]: a text is needed"),
        (BINDING.replace("v1alpha1", "v9"), "apiVersion: 'trustbind.dev/v9' is not trustbind.dev/v1alpha1"),
    ],
)
def test_a_bad_file_keeps_it_from_starting(tmp_path: Path, text: str, sentence: str) -> None:
    """The sentence names file, document and field."""
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(LookupStartError) as caught:
        asyncio.run(lookup_of(path).start())
    assert str(caught.value).startswith(f"{path}, document ")
    assert sentence in str(caught.value)


def test_a_missing_or_binary_file_keeps_it_from_starting(tmp_path: Path) -> None:
    """Both are named."""
    with pytest.raises(LookupStartError, match=r"missing.yaml: it cannot be read: No such file"):
        asyncio.run(lookup_of(tmp_path / "missing.yaml").start())
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xff")
    with pytest.raises(LookupStartError, match=r"binary.yaml: it is not UTF-8"):
        asyncio.run(lookup_of(tmp_path).start())
