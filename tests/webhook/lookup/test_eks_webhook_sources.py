"""The EKS webhook's further sources: ConfigMap, file of identities, roles by name."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from support.processes import eventually
from trustbind.api.annotations import AnnotationKeys
from trustbind.errors import InvalidValueError
from trustbind.reasons import SkipReason
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.pod import pod_of
from trustbind_webhook.lookup.eks_webhook_overlay import CompatibleLookup, ConfigMapStore
from trustbind_webhook.lookup.eks_webhook_sources import (
    Compatibility,
    Entry,
    composed,
    config_of,
    read_config,
    read_identities,
)
from trustbind_webhook.lookup.manifest_files import FileLookup
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.settings import CompatibilitySettings

KEYS = AnnotationKeys.under("eks.amazonaws.com")
ROLE = "arn:aws:iam::444455556666:role/shop/checkout"
OTHER = "arn:aws:iam::444455556666:role/other"
POD = pod_of({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "checkout", "containers": [{"name": "a"}]}})


def outcome_of(account: Account | None) -> Inject | Skip:
    """Return what a pod of the account gets."""
    return decide(POD, account, (), InjectionSettings(), namespace="shop", unique="u")


def test_config_map_gives_roles_to_accounts_without_annotation() -> None:
    """An entry counts where no annotation does; one for any namespace where none is for this one; all its fields."""
    config = {
        "shop/checkout": {"RoleARN": ROLE, "Audience": "a.example", "UseRegionalSTS": True, "TokenExpiration": 3600},
        "*/everywhere": {"RoleARN": OTHER},
    }
    said = Compatibility(read_config(json.dumps(config)))

    outcome = outcome_of(said.applied("shop", "checkout", Account("shop", "checkout"), KEYS))

    assert isinstance(outcome, Inject)
    assert str(outcome.role) == ROLE
    assert [(t.audience, t.expiration_seconds) for t in outcome.delivery.tokens] == [("a.example", 3600)]
    assert outcome.delivery.sts_regional
    anywhere = said.applied("x", "everywhere", None, KEYS)
    assert anywhere is not None
    assert anywhere.annotations == {KEYS.role_arn: OTHER}
    annotated = Account("shop", "checkout", {KEYS.role_arn: OTHER})
    assert said.applied("shop", "checkout", annotated, KEYS) is annotated
    assert said.applied("shop", "nobody", None, KEYS) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "not what the EKS pod identity webhook reads: expected an object, got []"),
        ("{", "not what the EKS pod identity webhook reads"),
        ('{"checkout": {}}', "'checkout' is not namespace/name"),
        ('{"a/b/c": {}}', "'a/b/c' is not namespace/name"),
        ('{"a/b": []}', "data.config: a/b: expected an object, got []"),
        ('{"a/b": {"TokenExpiration": "1h"}}', 'a/b: TokenExpiration: expected a whole number of seconds, got "1h"'),
        ('{"a/b": {"tokenexpiration": true}}', "a/b: tokenexpiration: expected a whole number of seconds, got true"),
        ('{"a/b": {"UseRegionalSTS": "yes"}}', 'a/b: UseRegionalSTS: expected true or false, got "yes"'),
        ('{"a/b": {}, "c/d": {"RoleARN": 5}}', "c/d: RoleARN: expected a text, got 5"),
    ],
)
def test_unreadable_config_map(text: str, sentence: str) -> None:
    """A config that is not the EKS webhook's says what is wrong."""
    with pytest.raises(InvalidValueError, match=r"data\.config") as caught:
        read_config(text)
    assert sentence in str(caught.value)


def test_config_map_is_read_as_go_reads_it() -> None:
    """The case of a key does not matter, null says nothing, and a key that is not known is passed over."""
    entries = read_config(
        '{"a/b": {"roleArn": "x", "AUDIENCE": "y", "useRegionalSts": true, "tokenExpiration": 600, "more": 1},'
        ' "c/d": {"RoleARN": null}, "e/f": null}'
    )

    assert entries == {("a", "b"): Entry("x", "y", use_regional_sts=True, token_expiration=600)} | {
        ("c", "d"): Entry(),
        ("e", "f"): Entry(),
    }


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "data: has no key config"),
        ({"Config": "{}"}, "data: has no key config"),
        ({"config": {"a/b": {}}}, "data.config: not what the EKS pod identity webhook reads: a text of JSON is needed"),
    ],
)
def test_config_map_without_entries(data: object, sentence: str) -> None:
    """What should hold the entries is named."""
    with pytest.raises(InvalidValueError) as caught:
        config_of(data)
    assert str(caught.value).startswith(sentence)
    assert config_of({"config": "{}"}) == "{}"


def test_entry_without_a_role_is_told() -> None:
    """Whoever wrote the entry finds out why it has no effect; the entry of any namespace does not stand in for it."""
    said = Compatibility(read_config(json.dumps({"shop/checkout": {"Audience": "a"}, "*/checkout": {"RoleARN": ROLE}})))

    outcome = outcome_of(said.applied("shop", "checkout", Account("shop", "checkout"), KEYS))

    assert isinstance(outcome, Skip)
    assert outcome.reason is SkipReason.NOT_BOUND
    assert outcome.findings == ("the ConfigMap's entry shop/checkout has no RoleARN, so it gives no role",)
    assert said.applied("shop", "checkout", None, KEYS) is None


@pytest.mark.parametrize("key", ["shop/checkout", "*/checkout"])
def test_role_of_the_config_map_that_is_none(key: str) -> None:
    """The entry is meant, and not an annotation that nobody wrote."""
    said = Compatibility(read_config(json.dumps({key: {"RoleARN": "arn:aws:iam::4:user/x"}})))

    outcome = outcome_of(said.applied("shop", "checkout", Account("shop", "checkout"), KEYS))

    assert isinstance(outcome, Skip)
    assert outcome.reason is SkipReason.INVALID_ROLE_ARN
    assert outcome.message.startswith(f"the ConfigMap's entry {key}, RoleARN: ")


def test_config_map_that_breaks_keeps_what_it_said() -> None:
    """A change that cannot be read is logged and changes nothing; a deletion does."""
    seen: list[dict[tuple[str, str], Entry]] = []
    stream = io.StringIO()
    store = ConfigMapStore("pod-identity-webhook", lambda entries: seen.append(dict(entries)), logger(Log(), stream))
    key = ("kube-system", "pod-identity-webhook")

    def raw(config: str) -> bytes:
        return json.dumps({"data": {"config": config}}).encode()

    store.replace({key: store.read(key, raw(json.dumps({"a/b": {"RoleARN": ROLE}})))})
    store.put(key, store.read(key, raw("nonsense")))
    store.put(("kube-system", "other"), store.read(("kube-system", "other"), raw("{}")))
    store.drop(key)
    store.replace({})
    store.put(key, store.read(key, b'{"data": {"conf": "{}"}}'))

    assert seen == [{("a", "b"): Entry(ROLE)}, {}, {}, {}]
    assert "what it said before stays" in stream.getvalue()
    assert "has no key config, so it gives no roles" in stream.getvalue()


def test_identities_get_container_credentials() -> None:
    """An account in the file of identities gets container credentials, whatever else it has."""
    text = json.dumps({"identities": [{"namespace": "shop", "serviceAccount": "checkout"}]})
    said = Compatibility(identities=read_identities(text))

    outcome = outcome_of(said.applied("shop", "checkout", Account("shop", "checkout", {KEYS.role_arn: ROLE}), KEYS))

    assert isinstance(outcome, Inject)
    assert outcome.role is None
    assert outcome.delivery.volume_name == "eks-pod-identity-token"
    assert (
        dict(outcome.additions[0].env)["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://169.254.170.23/v1/credentials"
    )
    assert read_identities(" ") == frozenset()
    with pytest.raises(InvalidValueError, match="not a file of identities"):
        read_identities('{"identities": [{}]}')


@pytest.mark.parametrize(("name", "arn"), [("shop/checkout", ROLE), ("/shop/checkout", ROLE), ("other", OTHER)])
def test_role_by_name(name: str, arn: str) -> None:
    """A role that is given by its name gets account and partition; an ARN is left as it is."""
    assert composed(name, "444455556666", "aws") == arn
    said = Compatibility(account_id="444455556666")
    account = said.applied("shop", "checkout", Account("shop", "checkout", {KEYS.role_arn: name}), KEYS)

    outcome = outcome_of(account)

    assert isinstance(outcome, Inject)
    assert str(outcome.role) == arn
    given = Account("shop", "checkout", {KEYS.role_arn: "arn:aws:iam::1:role/x"})
    refused = outcome_of(said.applied("shop", "checkout", given, KEYS))
    assert isinstance(refused, Skip)
    assert refused.reason is SkipReason.INVALID_ROLE_ARN


def test_file_of_identities_is_followed(tmp_path: Path) -> None:
    """The file may come, change, break and go while the webhook runs."""
    manifests = tmp_path / "accounts.yaml"
    manifests.write_text("{apiVersion: v1, kind: ServiceAccount, metadata: {name: checkout, namespace: shop}}")
    identities = tmp_path / "identities.json"
    stream = io.StringIO()
    log = logger(Log(), stream)
    lookup = CompatibleLookup(
        FileLookup((str(manifests),), "eks.amazonaws.com", metrics=Metrics(), log=log),
        CompatibilitySettings(identities_file=str(identities)),
        KEYS,
        restarted=lambda *_: None,
        log=log,
    )

    async def marked() -> bool:
        account = await lookup.account("shop", "checkout")
        return account is not None and account.pod_identity

    async def follow() -> None:
        await lookup.start()
        try:
            await lookup.wait_synced()
            assert lookup.synced
            assert not await marked()
            identities.write_text('{"identities": [{"namespace": "shop", "serviceAccount": "checkout"}]}')
            lookup._read_file()  # what the poll does every other second
            assert await marked()
            identities.write_text("{")
            lookup._read_file()
            assert await marked()
            identities.unlink()
            lookup._read_file()
            assert not await marked()
        finally:
            await lookup.stop()

    asyncio.run(follow())
    eventually(lambda: "cannot be read" in stream.getvalue() or None, "a warning")


def test_a_late_config_map_is_told(tmp_path: Path) -> None:
    """It is not read live; what was found past the other caches is right but for what it may say by now."""
    manifest = tmp_path / "account.json"
    manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "plain"}}))
    log = logger(Log(), io.StringIO())
    lookup = CompatibleLookup(
        FileLookup([str(manifest)], "eks.amazonaws.com", metrics=Metrics(), log=log),
        CompatibilitySettings(config_map_namespace="kube-system", role_account_id="444455556666"),
        KEYS,
        restarted=lambda _resource, _cause: None,
        log=log,
        late_seconds=5,
    )
    lookup._config_changed({("default", "checkout"): Entry(role_arn="shop/checkout")})

    async def test() -> None:
        assert lookup.behind == ""
        live = await lookup.live("default", "checkout")
        assert live.account is not None
        assert (live.account.annotations[KEYS.role_arn], live.problem) == (ROLE, "")
        lookup._watcher = Watch(4.0)  # type: ignore[assignment] # all that is asked of it
        assert lookup.behind == ""
        lookup._watcher = Watch(9.0)  # type: ignore[assignment] # likewise
        assert lookup.behind == "the watch of the ConfigMap with roles has been broken or silent for 9 s"
        assert (await lookup.live("default", "checkout")).problem == lookup.behind

    asyncio.run(test())


class Watch:
    """A watch that is late."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def behind(self) -> float:
        """Return by how many seconds."""
        return self._seconds
