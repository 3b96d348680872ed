"""Every failure that a user can meet: how it is told, and that it mends by itself once its cause is gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.processes import eventually
from support.tellings import account_told, bound, told
from support.world import API_VERSION, EXTERNAL_ID, FOREIGN, SECONDS, Account, Binding, World, policy

pytestmark = pytest.mark.usefixtures("operator")


# --- accounts -------------------------------------------------------------------------------------------------------


def test_an_account_that_nobody_describes(world: World) -> None:
    """The message is the object to write; once it is there, the binding is Ready."""
    account = world.account(described=False)
    binding = bound(world, account)
    message = told(binding, "AccountUnknown", f'accountId: "{account.id}"', f"iam::{account.id}:role/trustbind-manager")
    assert "kind: AWSAccount" in message
    assert {c["type"]: c["status"] for c in binding.get()["status"]["conditions"]} == {
        "Ready": "False",
        "Authorized": "True",
        "TrustApplied": "False",
    }
    world.describe(account)
    binding.ready()
    assert world.event(binding.manifest, "TrustApplied")["type"] == "Normal"


def test_a_wrong_external_id_holds_up_one_account_only(world: World) -> None:
    """AWS does not say which of trust policy, external id and permission is wrong; the message names all three."""
    wrong, right = world.account(externalId="somebody/else"), world.account()
    refused, good = bound(world, wrong), bound(world, right)
    good.ready()
    told(refused, "AccountAccessDenied", "trustbind-manager", "spec.externalId")
    account_told(wrong, "AccountAccessDenied", "sts:AssumeRole", "spec.externalId")
    right.ready()
    wrong.patch(externalId=EXTERNAL_ID)
    refused.ready()
    wrong.ready()
    assert world.event(wrong.manifest, "AccountReady")["type"] == "Normal"


def test_an_account_without_a_manager_role(world: World) -> None:
    """A manager role that is created later is found by itself."""
    account = world.account(manager=False)
    binding = bound(world, account)
    told(binding, "AccountAccessDenied", f"{account.id}:role/trustbind-manager")
    trust = {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
    account.role("trustbind-manager", trust)
    anything = policy({"Effect": "Allow", "Action": "iam:*", "Resource": "*"})
    account.iam.put_role_policy(RoleName="trustbind-manager", PolicyName="all", PolicyDocument=json.dumps(anything))
    binding.ready()


def test_an_account_that_does_not_answer(world: World) -> None:
    """It holds up its own bindings, a Ready one only after several tries, and nobody else's."""
    silent, lively = world.account(), world.account()
    before = bound(world, silent)
    before.ready()
    team = world.team()
    team.grant(silent)
    second = silent.role("second")
    world.aws.unreachable(silent.id)
    after = team.binding(second)
    good = bound(world, lively)
    told(after, "AccountUnreachable", "no answer from AWS", "retries automatically")
    good.ready()
    told(before, "AccountUnreachable")
    account_told(silent, "AccountUnreachable", "no answer from AWS")
    world.aws.unreachable(silent.id, on=False)
    for binding in (before, after):
        binding.ready()
    silent.ready()


def test_credentials_of_another_account(world: World) -> None:
    """Without a manager role the operator works as itself; in a foreign account it does not work at all."""
    account = world.account(managerRoleArn=None, externalId=None)
    binding = bound(world, account)
    told(binding, "AccountMismatch", "111122223333", account.id, "spec.managerRoleArn")
    account_told(account, "AccountMismatch", account.id)
    account.patch(managerRoleArn=account.arn("trustbind-manager"), externalId=EXTERNAL_ID)
    binding.ready()


def test_two_objects_for_one_account(world: World) -> None:
    """The older one counts, the other says so; when the older goes, the other counts."""
    account = world.account()
    binding = bound(world, account)
    binding.ready()
    second = world.apply(API_VERSION, "AWSAccount", f"z-{account.id}", spec=account.manifest["spec"])
    condition = world.condition(second, "False", "AccountDuplicate")
    assert account.name in condition["message"]
    world.api.delete(account.manifest)
    world.gone(account.manifest)
    world.condition(second, "True")
    binding.delete()
    binding.gone()
    assert account.statements() == [FOREIGN]


# --- grants ---------------------------------------------------------------------------------------------------------


def test_no_grant_then_a_grant_then_none(world: World) -> None:
    """What is not granted is not written; what a withdrawn grant allowed is revoked."""
    account, team = world.account(), world.team()
    binding = team.binding(account.role())
    message = told(binding, "NotGranted", account.arn("app"), team.namespace, "cluster administrator")
    authorized = binding.refused("NotGranted", type_="Authorized")
    assert authorized["message"] == message
    assert account.statements() == [FOREIGN]
    grant = team.grant(account)
    binding.ready()
    assert account.subjects() == [f"{team.namespace}:reader"]
    world.api.delete(grant)
    binding.refused("NotGranted")
    assert account.statements() == [FOREIGN]
    assert "statementId" not in binding.get()["status"]


def test_a_grant_that_is_narrowed(world: World) -> None:
    """A grant is asked again whenever it changes; the message says what the nearest one lacks."""
    account, team = world.account(), world.team()
    grant = team.grant(account)
    binding = team.binding(account.role())
    binding.ready()
    world.merge(grant, {"spec": {"serviceAccountNames": ["writer"]}})
    told(binding, "NotGranted", "does not cover the service account reader")
    assert account.statements() == [FOREIGN]
    world.merge(grant, {"spec": {"serviceAccountNames": ["writer", "read*"]}})
    binding.ready()


def test_a_namespace_that_changes_its_labels(world: World) -> None:
    """A grant by label follows the label, in both directions."""
    account, team = world.account(), world.team()
    label = f"tier-{team.namespace}"
    team.grant(account, namespaces={"selector": {"matchLabels": {label: "gold"}}})
    binding = team.binding(account.role())
    binding.refused("NotGranted")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team.namespace}}
    world.merge(namespace, {"metadata": {"labels": {label: "gold"}}})
    binding.ready()
    world.merge(namespace, {"metadata": {"labels": {label: None}}})
    binding.refused("NotGranted")
    assert account.statements() == [FOREIGN]


def test_a_role_that_does_not_consent(world: World) -> None:
    """Where an account wants it, the role itself has to name the namespace."""
    account = world.account(requireRoleConsent=True)
    binding = bound(world, account)
    namespace = binding.manifest["metadata"]["namespace"]
    told(binding, "NoRoleConsent", "trustbind.dev/namespaces", namespace, account.name)
    assert account.statements() == [FOREIGN]
    account.iam.tag_role(RoleName="app", Tags=[{"Key": "trustbind.dev/namespaces", "Value": f"other {namespace}"}])
    binding.ready()
    account.iam.untag_role(RoleName="app", TagKeys=["trustbind.dev/namespaces"])
    binding.refused("NoRoleConsent")
    assert account.statements() == [FOREIGN]


# --- the role -------------------------------------------------------------------------------------------------------


def test_a_role_that_is_created_later(world: World) -> None:
    """A binding may come before its role."""
    account, team = world.account(), world.team()
    team.grant(account)
    binding = team.binding(account.arn("later"))
    told(binding, "RoleNotFound", f"there is no role {account.arn('later')}", "create it")
    account.role("later")
    binding.ready()


def test_a_role_that_may_not_be_edited(world: World) -> None:
    """The message names the actions and the role."""
    account = world.account()
    world.aws.deny(account.id, ["UpdateAssumeRolePolicy"])
    binding = bound(world, account)
    told(binding, "AccessDenied", "iam:UpdateAssumeRolePolicy", account.arn("app"), "manager role")
    world.aws.clear_faults()
    binding.ready()


def test_an_account_that_throttles(world: World) -> None:
    """A new binding says why it has to wait; one that is in order stays so, and other accounts go on."""
    busy, quiet = world.account(), world.account()
    before = bound(world, busy)
    before.ready()
    world.aws.throttle(busy.id, ["GetRole", "UpdateAssumeRolePolicy"])
    team = world.team()
    team.grant(busy)
    after = team.binding(busy.role("second"))
    good = bound(world, quiet)
    told(after, "Throttled", "Rate exceeded", "retries automatically")
    good.ready()
    world.aws.clear_faults()
    after.ready()
    before.ready()


def test_a_full_document(world: World) -> None:
    """The newest binding that does not fit is refused with sizes; the others stay; it follows once there is room."""
    account = world.account(described=False)
    world.aws.set_quota(account.id, 946)
    world.describe(account)
    account.role()
    team = world.team()
    team.grant(account)
    first = team.binding(account.arn("app"), "first")
    first.ready()
    many = [f"reader-{n}" for n in range(7)]
    second = team.binding(account.arn("app"), "second", serviceAccountNames=many, profile="second")
    told(second, "TrustPolicyFull", "the AWS account allows 946", "raise the quota", account.arn("app"))
    first.ready()
    assert account.subjects() == [f"{team.namespace}:reader"]
    first.delete()
    second.ready()
    assert account.subjects() == [f"{team.namespace}:{name}" for name in many]
    near = world.condition(second.manifest, "True", "NearLimit", type_="NearLimit")
    assert "80 %" in near["message"]
    third = team.binding(account.arn("app"), "third", serviceAccountNames=["writer"])
    told(third, "TrustPolicyFull")
    world.aws.set_quota(account.id, 2048)
    third.ready()
    eventually(lambda: _types(second) == {"Ready", "Authorized", "TrustApplied"}, "no NearLimit", seconds=SECONDS)


def _types(binding: Binding) -> set[str]:
    return {c["type"] for c in binding.get()["status"]["conditions"]}


def test_a_principal_that_was_deleted(world: World) -> None:
    """IAM would refuse any write of such a document: nothing is written, and the statement is named."""
    account, team = world.account(), world.team()
    someone = account.role("someone")
    named = {"Sid": "Partner", "Effect": "Allow", "Principal": {"AWS": someone}, "Action": "sts:AssumeRole"}
    account.role("app", FOREIGN, named)
    account.iam.delete_role(RoleName="someone")
    team.grant(account)
    binding = team.binding(account.arn("app"))
    told(binding, "StalePrincipal", 'statement 2 (Sid "Partner")', "AROA", account.arn("app"))
    assert account.calls("UpdateAssumeRolePolicy") == 0
    account.write("app", FOREIGN)
    binding.ready()


@contextmanager
def undoing(account: Account) -> Iterator[None]:
    """Undo whatever the operator writes to the account's role, before it can look.

    Each time with a document of its own: the one from before the write would look like a late read.
    """
    state = account.world.aws._state  # over the API it would often be too late

    def undo() -> None:
        role = state.storage.role(account.id, "aws", "app")
        assert role is not None
        prefix = account.world.sid_prefix
        eventually(lambda: prefix in str(role.assume_role_policy_document), "the operator's write", every=0.0005)
        state.visibility.write(role, json.dumps(policy(FOREIGN | {"Sid": f"Terraform{len(threads)}"})))

    threads: list[threading.Thread] = []

    def hook(account_id: str, name: str) -> None:
        if (account_id, name) == (account.id, "app") and not any(t.is_alive() for t in threads):
            thread = threading.Thread(target=undo)
            thread.start()
            threads.append(thread)  # once it runs: the end joins it

    account.world.aws.before_write(hook, times=10_000)
    try:
        yield
    finally:
        account.world.aws.before_write(None)
        for thread in threads:
            thread.join()


def test_a_writer_that_undoes_everything(world: World) -> None:
    """After several lost updates the operator says that there is another writer, and how to find it."""
    account = world.account()
    with undoing(account):
        binding = bound(world, account)
        told(binding, "TrustContended", "written 6 times", "CloudTrail: UpdateAssumeRolePolicy", "Trustbind")
    binding.ready()
    (foreign,) = account.foreign()
    assert foreign["Sid"].startswith("Terraform")


def test_drift_is_repaired(world: World) -> None:
    """What somebody removed or changed is back after a resync; what they added stays."""
    account = world.account()
    binding = bound(world, account)
    binding.ready()
    (ours,) = account.owned()
    added = FOREIGN | {"Sid": "Added"}
    wider = json.loads(json.dumps(ours).replace(":reader", ":admin"))
    for statements in ((FOREIGN, added), (added, wider, FOREIGN)):
        account.write("app", *statements)
        eventually(lambda: account.owned() == [ours], "the statement is back", seconds=SECONDS)
    assert account.foreign() == [added, FOREIGN]
    binding.ready()


def test_drift_is_observed(world: World) -> None:
    """Where an account is only watched, nothing is written there: neither trust nor an OIDC provider."""
    account = world.account(driftPolicy="Observe")
    account.iam.create_open_id_connect_provider(Url=world.issuer, ClientIDList=["sts.amazonaws.com"])
    binding = bound(world, account)
    told(binding, "DriftObserved", account.name, "driftPolicy Observe", f"added {world.sid_prefix}")
    assert account.calls("UpdateAssumeRolePolicy", "AddClientIDToOpenIDConnectProvider") == 0
    account.patch(driftPolicy="Repair")
    binding.ready()
    account.patch(driftPolicy="Observe")
    account.ready()
    binding.ready()
    account.write("app", FOREIGN)
    told(binding, "DriftObserved")
    assert account.statements() == [FOREIGN]
    account.patch(driftPolicy="Repair")
    binding.ready()


def test_an_observed_account_gets_no_provider(world: World) -> None:
    """An account that is only watched is told of the provider that it lacks."""
    account = world.account(driftPolicy="Observe")
    binding = bound(world, account)
    told(binding, "ProviderMissing", world.issuer, "sts.amazonaws.com")
    assert account.calls("CreateOpenIDConnectProvider") == 0
    account.patch(driftPolicy="Repair")
    binding.ready()


def test_a_provider_that_somebody_else_manages(world: World) -> None:
    """The message says what to create or to add. Meanwhile others stay as they are, and go as they should."""
    account = world.account(oidcProvider={"manage": False})
    binding = bound(world, account)
    told(binding, "ProviderMissing", world.issuer, "client id sts.amazonaws.com")
    account_told(account, "ProviderMissing", world.issuer)
    provider = account.iam.create_open_id_connect_provider(Url=world.issuer, ClientIDList=["sts.amazonaws.com"])
    binding.ready()
    account.ready()
    team = world.team()
    team.grant(account)
    going = team.binding(account.arn("app"), "going")
    going.ready()
    other = team.binding(account.arn("app"), "other", audience="vault.example.com", serviceAccountNames=["writer"])
    told(other, "ProviderMissing", "lacks the client id vault.example.com")
    going.delete()
    going.gone()
    binding.ready()
    assert account.subjects() == [f"{binding.manifest['metadata']['namespace']}:reader"]
    account.iam.add_client_id_to_open_id_connect_provider(
        OpenIDConnectProviderArn=provider["OpenIDConnectProviderArn"], ClientID="vault.example.com"
    )
    other.ready()
    assert account.calls("CreateOpenIDConnectProvider", "AddClientIDToOpenIDConnectProvider") == 0


def test_a_managed_provider_is_kept(world: World) -> None:
    """It is created once with the audience in use, gets further ones, and comes back when somebody deletes it."""
    account = world.account()
    binding = bound(world, account)
    binding.ready()
    team = world.team()
    team.grant(account)
    team.binding(account.arn("app"), audience="vault.example.com").ready()
    assert account.calls("CreateOpenIDConnectProvider") == 1
    arn = account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"][0]["Arn"]
    found = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert sorted(found["ClientIDList"]) == ["sts.amazonaws.com", "vault.example.com"]
    account.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    eventually(
        lambda: account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"],
        "the provider is back",
        seconds=SECONDS,
    )
    found = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert sorted(found["ClientIDList"]) == ["sts.amazonaws.com", "vault.example.com"]


def test_what_the_provider_makes_of_claims(world: World) -> None:
    """It is made with the provider, comes back after another writer removes it, and follows the AWSAccount."""
    context = {"subjectSourceKey": "sub", "subjectTypeValue": "workload", "keyDefinitions": [{"sourceKey": "aud"}]}
    account = world.account(oidcProvider={"identityContext": context})
    bound(world, account).ready()
    arn = account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"][0]["Arn"]

    def shown() -> dict[str, object]:
        found = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        return dict(found.get("ContextProvider", {}))

    wanted = {"SubjectSourceKey": "sub", "SubjectTypeValue": "workload", "KeyDefinitionList": [{"SourceKey": "aud"}]}
    eventually(lambda: shown() == wanted, "the provider has the context", seconds=SECONDS)
    account.iam.update_open_id_connect_provider(OpenIDConnectProviderArn=arn, RemoveContextProvider=True)
    request = {"annotations": {"trustbind.dev/reconcile-requested-at": "now"}}
    world.merge(account.manifest, {"metadata": request})
    eventually(lambda: shown() == wanted, "it is back", seconds=SECONDS)
    account.patch(oidcProvider={"identityContext": {"subjectTypeValue": None, "keyDefinitions": None}})
    eventually(lambda: shown() == {"SubjectSourceKey": "sub", "KeyDefinitionList": []}, "it follows", seconds=SECONDS)
