"""The cluster lookup against a stand-in for the API server that does as it is told."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from pathlib import Path

import pytest

from support.lookups import FAST, ROLE, Clock, run, spec, world
from support.scripted_kube import ScriptedKube, until
from trustbind_runtime.kubernetes.informer import METADATA, Pace
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.lookup.api_server import ClusterLookup
from trustbind_webhook.lookup.interface import Live, LookupFailedError, LookupStartError
from trustbind_webhook.lookup.rates import Bucket, NamespaceBuckets, Rate
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.settings import LookupSettings

ANNOTATED = {"annotations": {"eks.amazonaws.com/role-arn": ROLE, "other.example.com/x": "y" * 100}}


def test_lists_in_pages_and_keeps_only_what_decides(tmp_path: Path) -> None:
    """Metadata is asked for in pages; foreign annotations are dropped; labels stay, for selectors."""

    async def test() -> None:
        kube = ScriptedKube()
        for number in range(7):
            kube.accounts.put("team", f"a{number}", metadata={**ANNOTATED, "labels": {"n": str(number)}})
        pace = Pace(page_size=3, first_delay_seconds=0.01)
        async with world(tmp_path, kube, pace=pace) as w:
            account = await w.lookup.account("team", "a6")
            assert account is not None
            assert account.annotations == {"eks.amazonaws.com/role-arn": ROLE}
            assert account.labels == {"n": "6"}
            pages = [r for r in kube.requests if r.path == kube.accounts.path and "watch" not in r.query]
            assert [r.query.get("continue", "") for r in pages] == ["", "3", "6"]
            assert {r.query["limit"] for r in pages} == {"3"}
            assert {r.accept for r in pages} == {"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
            assert {r.authorization for r in kube.requests} == {"Bearer scripted-token"}
            assert not kube.gets
            assert w.sample("trustbind_webhook_cached_objects", resource="serviceaccounts") == 7

    run(test)


def test_follows_the_watch(tmp_path: Path) -> None:
    """Accounts come, change and go as the watch says, without a live read."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.accounts.put("team", "old")
        async with world(tmp_path, kube) as w:
            await until(lambda: kube.accounts.watchers, "a watch")
            watch = kube.watches(kube.accounts)[0]
            assert watch.query["resourceVersion"] == str(kube.accounts.version)
            assert watch.query["allowWatchBookmarks"] == "true"
            assert int(watch.query["timeoutSeconds"]) >= 60
            assert watch.accept == METADATA
            kube.accounts.put("team", "new")
            await w.cached("team", "new")
            kube.accounts.put("team", "new", metadata=ANNOTATED)
            await until(lambda: w.lookup._accounts.get("team", "new").annotations, "the change")  # type: ignore[union-attr] # it is there
            kube.accounts.delete("team", "old")
            await until(lambda: w.lookup._accounts.get("team", "old") is None, "the deletion")
            assert not kube.gets

    run(test)


@pytest.mark.parametrize("how", ["end", "drop"])
def test_a_watch_that_ends_is_resumed_from_the_last_version(tmp_path: Path, how: str) -> None:
    """After an end or a cut connection, the next watch starts at the last version; a bookmark counts as one."""

    async def test() -> None:
        kube = ScriptedKube()
        async with world(tmp_path, kube) as w:
            await until(lambda: kube.accounts.watchers, "a watch")
            kube.accounts.bookmark()
            kube.accounts.put("team", "a")
            kube.accounts.bookmark()
            version = kube.accounts.version
            await w.cached("team", "a")
            await until(lambda: w.lookup._watchers[0]._version == str(version), "the bookmark")
            getattr(kube.accounts, how)()
            await until(lambda: len(kube.watches(kube.accounts)) > 1, "a second watch")
            assert kube.watches(kube.accounts)[1].query["resourceVersion"] == str(version)
            assert len(kube.lists(kube.accounts)) == 1
            cause = {"end": "ended", "drop": "error"}[how]
            assert w.sample("trustbind_webhook_watch_restarts_total", resource="serviceaccounts", cause=cause) == 1

    run(test)


@pytest.mark.parametrize("how", ["event", "status"])
def test_a_version_that_is_too_old_means_a_new_list(tmp_path: Path, how: str) -> None:
    """410 Gone, as event or status, lists anew: what vanished unheard is gone; the rest is served all the while."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.accounts.put("team", "stays")
        kube.accounts.put("team", "vanishes")
        async with world(tmp_path, kube) as w:
            await until(lambda: kube.accounts.watchers, "a watch")
            kube.accounts.delete("team", "vanishes", tell=False)
            if how == "event":
                kube.accounts.error(410)
            else:
                kube.accounts.refuse_watches.append(410)
                kube.accounts.end()

            def vanished() -> bool:
                assert w.lookup._accounts.get("team", "stays") is not None
                return w.lookup._accounts.get("team", "vanishes") is None

            await until(vanished, "the new list")
            assert len(kube.lists(kube.accounts)) == 2
            assert w.sample("trustbind_webhook_watch_restarts_total", resource="serviceaccounts", cause="gone") == 1

    run(test)


def test_an_error_event_resumes_and_repeated_failures_list_anew(tmp_path: Path) -> None:
    """One error resumes from the version; when watches keep failing, the version is not trusted any more."""

    async def test() -> None:
        kube = ScriptedKube()
        async with world(tmp_path, kube) as w:
            await until(lambda: kube.accounts.watchers, "a watch")
            kube.accounts.error(500)
            await until(lambda: len(kube.watches(kube.accounts)) == 2, "a second watch")
            assert len(kube.lists(kube.accounts)) == 1
            kube.accounts.refuse_watches += [500, 503, 500]
            await until(lambda: kube.accounts.watchers, "the second watch is open")
            kube.accounts.end()
            await until(lambda: len(kube.lists(kube.accounts)) == 2, "a new list")
            kube.accounts.put("team", "late")
            await w.cached("team", "late")
            assert "watch failed" in w.log.getvalue()

    run(test)


def test_a_failed_first_list_is_tried_again_and_is_not_synced(tmp_path: Path) -> None:
    """Until the first lists are in, the lookup says so, and answers from live reads."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.accounts.put("team", "a", metadata=ANNOTATED)
        kube.accounts.refuse_lists += [500, 403, 500]
        async with world(tmp_path, kube, wait=False) as w:
            assert not w.lookup.synced
            account = await w.lookup.account("team", "a")
            assert account is not None
            assert account.annotations
            await w.lookup.wait_synced()
            assert w.lookup.synced

    run(test)


def test_a_missing_crd_counts_as_no_bindings(tmp_path: Path) -> None:
    """Readiness does not wait for the CRD; once it is there, its objects are found."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.bindings.present = False
        async with world(tmp_path, kube) as w:
            assert w.lookup.synced
            assert w.lookup.bindings("team", "app") == []
            kube.bindings.put("team", "b", spec=spec())
            kube.bindings.present = True
            await until(lambda: w.lookup.bindings("team", "app"), "the binding")
            kube.bindings.present = False
            kube.bindings.drop()
            await until(lambda: not w.lookup.bindings("team", "app"), "no binding, since there is no CRD")

    run(test)


def test_bindings_are_found_by_account_and_unreadable_ones_left_out(tmp_path: Path) -> None:
    """A binding is found under each account that it names; one that cannot be read is told once."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.bindings.put("team", "named", spec=spec(serviceAccountNames=["app", "job"]))
        kube.bindings.put(
            "team", "selecting", spec={"roleArn": ROLE, "serviceAccountSelector": {"matchLabels": {"a": "b"}}}
        )
        kube.bindings.put("team", "broken", spec=spec(roleArn="nonsense"))
        async with world(tmp_path, kube) as w:
            names = {b.ref.name for b in w.lookup.bindings("team", "app")}
            assert names == {"named", "selecting"}
            assert [b.ref.name for b in w.lookup.bindings("team", "other")] == ["selecting"]
            assert w.lookup.bindings("elsewhere", "app") == []
            assert w.sample("trustbind_webhook_unreadable_bindings") == 1
            kube.bindings.put("team", "broken", spec=spec(roleArn="nonsense"))
            kube.bindings.put("team", "named", spec=spec(serviceAccountNames=["job"]))
            await until(lambda: len(w.lookup.bindings("team", "app")) == 1, "the change")
            assert w.log.getvalue().count("binding is left out") == 1
            kube.bindings.put("team", "named", spec=spec(roleArn="broken as well"))
            await until(lambda: len(w.lookup.bindings("team", "job")) == 1, "the broken one is gone")
            kube.bindings.put("team", "broken", spec=spec())
            await until(lambda: len(w.lookup.bindings("team", "app")) == 2, "mended")
            kube.bindings.delete("team", "named")
            await until(lambda: w.sample("trustbind_webhook_unreadable_bindings") == 0, "nothing unreadable")

    run(test)


def test_a_late_account_is_read_live(tmp_path: Path) -> None:
    """An account that the watch has not shown yet is found all the same, by one read that many share."""

    async def test() -> None:
        kube = ScriptedKube()
        async with world(tmp_path, kube) as w:
            kube.accounts.put("team", "late", tell=False, metadata=ANNOTATED)
            kube.gate.clear()
            asked = [asyncio.create_task(w.lookup.account("team", "late")) for _ in range(20)]
            await until(lambda: kube.gets["team/late"], "a live read")
            asked[0].cancel()
            kube.gate.set()
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError)
            assert all(getattr(r, "annotations", None) for r in results[1:])
            assert kube.gets["team/late"] == 1
            assert [r.accept for r in kube.requests if r.path.startswith("/api/v1/namespaces/")] == [METADATA]
            assert await w.lookup.account("team", "late") == results[1]
            assert kube.gets["team/late"] == 1
            w.clock.now += 10
            await w.lookup.account("team", "late")
            assert kube.gets["team/late"] == 2
            assert w.sample("trustbind_webhook_live_lookups_total", result="found") == 2

    run(test)


def test_a_missing_account_is_believed_for_a_second(tmp_path: Path) -> None:
    """404 means None; the answer is used again for about a second and no longer."""

    async def test() -> None:
        kube = ScriptedKube()
        async with world(tmp_path, kube) as w:
            assert await w.lookup.account("team", "none") is None
            assert await w.lookup.account("team", "none") is None
            assert kube.gets["team/none"] == 1
            kube.accounts.put("team", "none", tell=False)
            w.clock.now += 1.01
            assert await w.lookup.account("team", "none") is not None
            assert kube.gets["team/none"] == 2

    run(test)


def test_a_name_that_is_a_path_is_never_asked_for(tmp_path: Path) -> None:
    """Admission comes before validation; such an account cannot exist, and no request is made of its name."""

    async def test() -> None:
        kube = ScriptedKube()
        async with world(tmp_path, kube) as w:
            for name in ("../../secrets/x", "A", "", "a/b", "a" * 300, "a?watch=true"):
                assert await w.lookup.account("team", name) is None
            assert not kube.gets

    run(test)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_failed_read_is_an_error_and_not_remembered(tmp_path: Path, status: int) -> None:
    """Anything but 200 and 404 is no answer about the account."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.get_status = status
        async with world(tmp_path, kube) as w:
            with pytest.raises(LookupFailedError, match=f"team/a could not be read: scripted {status}"):
                await w.lookup.account("team", "a")
            kube.get_status = 0
            assert await w.lookup.account("team", "a") is None
            assert w.sample("trustbind_webhook_live_lookups_total", result="failed") == 1

    run(test)


def test_a_slow_read_is_given_up(tmp_path: Path) -> None:
    """A read is bounded in time, so that the API server still gets an answer."""

    async def test() -> None:
        kube = ScriptedKube()
        async with world(tmp_path, kube, timeout_seconds=0.05) as w:
            kube.gate.clear()
            with pytest.raises(LookupFailedError, match=r"did not answer within 0\.05 s"):
                await w.lookup.account("team", "a")

    run(test)


def test_reads_are_bounded_in_rate(tmp_path: Path) -> None:
    """Over the burst, the lookup says so instead of asking; time brings new reads."""

    async def test() -> None:
        kube = ScriptedKube()
        async with world(tmp_path, kube, namespace_rate_per_second=2, namespace_burst=3) as w:
            for number in range(3):
                assert await w.lookup.account("team", f"a{number}") is None
            with pytest.raises(LookupFailedError, match="too many"):
                await w.lookup.account("team", "a3")
            assert sum(kube.gets.values()) == 3
            assert w.sample("trustbind_webhook_live_lookups_total", result="limited") == 1
            w.clock.now += 0.5
            assert await w.lookup.account("team", "a3") is None

    run(test)


def test_one_namespaces_flood_takes_no_other_ones_reads(tmp_path: Path) -> None:
    """Each namespace has reads of its own; namespaces that nobody knows, which a caller may make up, share theirs."""

    async def test() -> None:
        kube = ScriptedKube()
        for namespace in ("evil", "team"):
            kube.accounts.put(namespace, "default")
        async with world(tmp_path, kube, wait=True) as w:

            async def limited(namespace: str, name: str) -> bool:
                try:
                    assert await w.lookup.account(namespace, name) is None
                except LookupFailedError:
                    return True
                return False

            flood = [await limited("evil", f"none{n}") for n in range(500)]
            assert flood.count(False) == 100
            made_up = [await limited(f"made-up-{n}", "none") for n in range(500)]
            assert made_up.count(False) == 100
            assert not any([await limited("team", f"new{n}") for n in range(100)])
            w.clock.now += 1
            assert [await limited("evil", f"more{n}") for n in range(20)].count(False) == 10
            assert not any([await limited("team", f"newer{n}") for n in range(10)])

    run(test)


def test_a_broken_watch_means_live_reads(tmp_path: Path) -> None:
    """Of annotations and bindings, once a second and namespace; when the watch is back, the cache answers again."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.accounts.put("team", "app")
        async with world(tmp_path, kube, late_seconds=0.1) as w:
            await until(lambda: w.lookup.behind == "" and kube.bindings.watchers, "both watches")
            kube.bindings.refuse_watches += [503] * 2000
            kube.bindings.refuse_lists += [503] * 2000
            kube.bindings.drop()
            await until(lambda: "the watch of rolebindings has been broken" in w.lookup.behind, "it is late")
            assert w.sample("trustbind_webhook_watch_behind_seconds", resource="rolebindings") > 0.1
            assert w.sample("trustbind_webhook_watch_behind_seconds", resource="serviceaccounts") == 0
            kube.accounts.put("team", "app", tell=False, metadata=ANNOTATED)
            kube.bindings.put("team", "new", tell=False, spec=spec())
            kube.bindings.put("team", "broken", tell=False, spec=spec(roleArn="nonsense"))
            kube.bindings.put("other", "foreign", tell=False, spec=spec())
            found = await asyncio.gather(*(w.lookup.live("team", "app") for _ in range(20)))
            assert {(live.problem, *(b.ref.name for b in live.bindings)) for live in found} == {("", "new")}
            assert all(live.account is not None and live.account.annotations for live in found)
            assert (kube.gets["team/app"], kube.gets["team/"]) == (1, 1)
            assert w.lookup.bindings("team", "app") == []
            w.clock.now += 1.01
            await w.lookup.live("team", "app")
            assert (kube.gets["team/app"], kube.gets["team/"]) == (2, 2)
            assert await w.lookup.live("team", "../x") == Live(None, ())
            kube.bindings.refuse_watches.clear()
            kube.bindings.refuse_lists.clear()
            await until(lambda: w.lookup.behind == "", "the watch is back")
            await until(lambda: w.lookup.bindings("team", "app"), "the cache has it")

    run(test)


def test_a_silent_watch_is_late(tmp_path: Path) -> None:
    """The API server sends a bookmark a minute; a connection on which nothing comes for longer may be dead."""

    async def test() -> None:
        kube = ScriptedKube()
        pace = dataclasses.replace(FAST, silent_seconds=0.3)
        async with world(tmp_path, kube, pace=pace, late_seconds=0.1) as w:
            await until(lambda: kube.accounts.watchers and kube.bindings.watchers, "watches")
            await until(lambda: "the watch of" in w.lookup.behind, "it is late")
            assert len(kube.watches(kube.accounts)) == 1

            def heard() -> bool:
                kube.accounts.bookmark()
                kube.bindings.bookmark()
                return w.lookup.behind == ""

            await until(heard, "a sign of life")

    run(test)


def test_before_the_first_list_bindings_are_read_live(tmp_path: Path) -> None:
    """A replica that has just started gives nobody a no that it does not know."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.bindings.refuse_lists += [503] * 2000
        kube.accounts.put("team", "app")
        kube.bindings.put("team", "b", spec=spec())
        async with world(tmp_path, kube, wait=False) as w:
            assert "the first list of" in w.lookup.behind
            assert [b.ref.name for b in (await w.lookup.live("team", "app")).bindings] == ["b"]
            kube.bindings.refuse_lists.clear()
            await w.lookup.wait_synced()
            await until(lambda: w.lookup.behind == "", "all is there")

    run(test)


def test_a_missing_crd_is_not_late(tmp_path: Path) -> None:
    """Where there can be no bindings, none are missed."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.bindings.present = False
        async with world(tmp_path, kube, late_seconds=0.1) as w:
            await until(lambda: w.lookup.behind == "", "nothing is late")
            assert (await w.lookup.live("team", "app")).bindings == ()

    run(test)


@pytest.mark.parametrize("how", ["refused", "too many", "limited"])
def test_a_live_read_that_fails_leaves_what_was_known(tmp_path: Path, how: str) -> None:
    """And says why."""

    async def test() -> None:
        kube = ScriptedKube()
        kube.accounts.put("team", "app", metadata=ANNOTATED)
        for number in range(3):
            kube.bindings.put("team", f"b{number}", spec=spec())
        size = 2 if how == "too many" else 500
        async with world(tmp_path, kube, page_size=size, namespace_burst=1 if how == "limited" else 100) as w:
            await w.cached("team", "app")
            kube.get_status = 500 if how == "refused" else 0
            live = await w.lookup.live("team", "app")
            assert live.account is not None
            assert len(live.bindings) == 3
            problem = {
                "refused": "could not be read: scripted 500",
                "too many": "the RoleBindings of namespace team could not be read: there are more than 2",
                "limited": "the RoleBindings of namespace team cannot be read, since too many objects",
            }[how]
            assert problem in live.problem

    run(test)


def test_bucket_never_holds_more_than_its_burst() -> None:
    """A quiet night does not save up reads for the morning."""
    clock = Clock()
    bucket = Bucket(Rate(10, 2), clock)
    clock.now += 3600
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_buckets_of_quiet_namespaces_are_forgotten() -> None:
    """However many namespaces have asked; and what one namespace may do never is more than half of all."""
    clock = Clock()
    buckets = NamespaceBuckets(Rate(10, 100), Rate(100, 50), clock)
    assert [buckets.take("a") for _ in range(26)].count(True) == 25
    assert [buckets.take("b") for _ in range(26)].count(True) == 25
    assert not buckets.take("c")
    assert len(buckets) == 2
    for number in range(10_000):
        clock.now += 0.02
        assert buckets.take(f"n{number}")
    assert len(buckets) <= 10


def test_no_way_to_an_api_server_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or broken kubeconfig is named."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    broken = tmp_path / "broken"
    broken.write_text("{")
    for kubeconfig in (str(tmp_path / "missing"), str(broken)):
        lookup = ClusterLookup(
            LookupSettings(kubeconfig=kubeconfig), "p.example.com", metrics=Metrics(), log=logger(Log(), io.StringIO())
        )
        with pytest.raises(LookupStartError, match=f"kubeconfig {kubeconfig} cannot be used"):
            asyncio.run(lookup.start())
