"""What validation asks of the cluster, against a stand-in for the API server that does as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.lookups import run, spec, world
from support.scripted_kube import ScriptedKube, until

ACCOUNT_SPEC = {"accountId": "444455556666"}
GRANT_SPEC = {"namespaces": {"names": ["team"]}, "roleArns": ["arn:aws:iam::444455556666:role/*"]}


def test_knowledge_for_validation(tmp_path: Path) -> None:
    """Grants, AWSAccounts, the labels of namespaces and the issuer are followed; what cannot be read is left out."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.accounts.put("team", "app", metadata={"labels": {"a": "1"}})
        kube.accounts.put("other", "app")
        kube.bindings.put("team", "b", spec=spec())
        kube.grants.put("", "g", spec=GRANT_SPEC)
        kube.grants.put("", "unreadable", spec={})
        kube.aws_accounts.put("", "production", spec=ACCOUNT_SPEC)
        kube.namespaces.put("", "team", metadata={"labels": {"team": "a"}})
        kube.namespaces.put("", "bare")
        async with world(tmp_path, kube) as w:
            await until(lambda: all(w.known.values()) and w.lookup.knowledge("team").issuer, "everything")
            known = w.lookup.knowledge("team")
            assert str(known.issuer) == "https://oidc.example.com/id/0123"
            assert [str(binding.ref) for binding in known.bindings] == ["team/b"]
            assert known.accounts == {"app": {"a": "1"}}
            assert known.namespaces == {"team": {"team": "a"}, "bare": {}}
            assert [grant.name for grant in known.grants or ()] == ["g"]
            assert [account.account_id for account in known.aws_accounts or ()] == ["444455556666"]
            assert w.sample("trustbind_webhook_cached_objects", resource="namespaces") == 2
            assert all("PartialObjectMetadata" in r.accept for r in kube.requests if r.path == kube.namespaces.path)
            kube.grants.delete("", "g")
            await until(lambda: w.lookup.knowledge("team").grants == [], "the grant is gone")
            nothing = w.lookup.knowledge("")
            assert (nothing.bindings, nothing.accounts) == ([], {})

    run(test)


@pytest.mark.parametrize("status", [403, 404])
def test_what_may_not_be_seen_is_not_known(tmp_path: Path, status: int) -> None:
    """It holds up nothing, is told once, is looked for again, and is taken up when it can be seen at last."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.grants.refuse_lists = [status] * 5
        if status == 404:
            kube.namespaces.present = False
        kube.issuer = status
        kube.grants.put("", "g", spec=GRANT_SPEC)
        async with world(tmp_path, kube) as w:
            await until(lambda: w.known["awsaccounts"] and "counts as not known" in w.log.getvalue(), "the first lists")
            known = w.lookup.knowledge("team")
            assert (known.grants, known.issuer) == (None, None)
            await until(lambda: w.known["rolegrants"], "the grants can be seen")
            assert [grant.name for grant in w.lookup.knowledge("team").grants or ()] == ["g"]
            kube.issuer = "https://oidc.example.com/id/9"
            await until(lambda: w.lookup.knowledge("team").issuer, "the issuer can be read")
            lines = [line for line in w.log.getvalue().splitlines() if "not known" in line]
            assert sum('"resource":"rolegrants"' in line for line in lines) == 1
            assert sum("validation.issuer" in line for line in lines) == 1
            assert (w.lookup.knowledge("team").namespaces is None) == (status == 404)
            # Rights are taken away again: what was known is no longer.
            kube.grants.refuse_watches = [status]
            kube.grants.refuse_lists = [status] * 1000
            kube.grants.end()
            await until(lambda: not w.known["rolegrants"], "the grants cannot be seen any more")
            assert w.lookup.knowledge("team").grants is None
            assert w.lookup.synced

    run(test)


@pytest.mark.parametrize("issuer", ["http://plain.example.com", "nonsense"])
def test_an_issuer_that_iam_would_not_take_is_not_known(tmp_path: Path, issuer: str) -> None:
    """It is told once, and nothing is checked against it."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.issuer = issuer
        async with world(tmp_path, kube) as w:
            discovery = "/.well-known/openid-configuration"
            await until(lambda: sum(r.path == discovery for r in kube.requests) > 2, "it is asked for again")
            assert w.lookup.knowledge("team").issuer is None
            assert w.log.getvalue().count("validation.issuer") == 1

    run(test)
