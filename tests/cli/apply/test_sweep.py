"""``trustbind sweep`` on a local AWS: it shows first, removes what nothing wants, and never a foreign statement."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
import yaml

from cli.apply.shell import Shell, account, binding, document, is_ours
from support.schemas import checked
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build, placeholder_sid, retained
from trustbind.policy.pod_identity import STATEMENT, owner_of
from trustbind_cli.demo.fixtures import ACCOUNT_A, ACCOUNT_B, ISSUER, REGION, TARGET_ROLE

OWN: Final = Issuer.parse(ISSUER)
OTHER: Final = Issuer.parse("https://oidc.example.com/old")
ROLE: Final = RoleArn.parse(TARGET_ROLE)
WEB: Final = WebIdentityKey("sts.amazonaws.com")
READER: Final = Subject("team-a", "reader")
DONE, FAILED, WRONG, UNKNOWN = 0, 1, 2, 3


def left(issuer: Issuer = OWN, *names: str) -> dict[str, Any]:
    """Return a statement that trustbind wrote for service accounts of team-a."""
    return build(issuer, ROLE, WEB, [Subject("team-a", name) for name in names or ("reader",)])


def sweep(shell: Shell, *arguments: str, objects: tuple[dict[str, Any], ...] = (), issuer: str = ISSUER) -> Any:
    """Run ``trustbind sweep`` with the AWSAccount and the objects as what is wanted."""
    file = shell.folder / "wanted.yaml"
    file.write_text(yaml.safe_dump_all([account(), *objects]), encoding="utf-8")
    return shell.trustbind("sweep", "-f", str(file), "--issuer", issuer, *arguments)


@pytest.fixture(name="swept")
def _swept(shell: Shell) -> Shell:
    """Return a shell whose target role has a statement that no binding wants."""
    shell.allow_listing()
    shell.provider(OTHER.url)
    shell.add(left())
    return shell


def test_dry_run_first(swept: Shell) -> None:
    """Without --yes nothing is written, and the exit code says that something is to be removed."""
    before = swept.statements()
    done = sweep(swept)

    assert done.code == FAILED, done.err
    assert f"{TARGET_ROLE}\n  remove statement {left()['Sid']} (Unbound): {READER}\n" in done.out
    assert "1 statement, 0 permissions of source roles and 0 associations that nothing wants, in 1 role" in done.err
    assert "nothing was written, add --yes" in done.err
    assert swept.statements() == before


def test_removed(swept: Shell) -> None:
    """With --yes it goes in one write, the foreign statements stay, and the next run finds nothing."""
    foreign = [s for s in swept.statements() if not is_ours(s)]
    done = sweep(swept, "--yes")

    assert done.code == DONE, done.err
    assert swept.writes() == [("UpdateAssumeRolePolicy", ROLE.name)]
    assert swept.statements() == foreign
    again = sweep(swept, "--yes")
    assert (again.code, again.out) == (DONE, "")
    assert swept.writes() == []


def test_wanted(swept: Shell) -> None:
    """What a binding of the files wants stays; it may be refused by a grant, which is not for sweep to decide."""
    done = sweep(swept, "--yes", objects=(binding("b"),))

    assert done.code == DONE, done.err
    assert swept.subjects() == [str(READER)]
    assert swept.writes() == []


def test_selector_without_service_accounts(swept: Shell) -> None:
    """Of a role for which the files tell too little, nothing goes."""
    selecting = binding("b", serviceAccountNames=None, serviceAccountSelector={"matchLabels": {"app": "web"}})
    selecting["spec"].pop("serviceAccountNames")
    done = sweep(swept, "--yes", objects=(selecting,))

    assert done.code == UNKNOWN
    assert f"not seen: {TARGET_ROLE}: RoleBinding team-a/b selects service accounts" in done.err
    assert swept.subjects() == [str(READER)]


def test_selector_with_some_service_accounts(swept: Shell) -> None:
    """A service account that the files do not have may be selected; one that they have, with other labels, is not."""
    selecting = binding("b", serviceAccountSelector={"matchLabels": {"app": "web"}})
    selecting["spec"].pop("serviceAccountNames")

    def service_account(name: str, app: str) -> dict[str, Any]:
        metadata = {"namespace": "team-a", "name": name, "labels": {"app": app}}
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}

    objects = selecting, service_account("writer", "web")
    done = sweep(swept, "--yes", objects=objects)
    assert done.code == UNKNOWN
    assert "RoleBinding team-a/b selects service accounts, and the files do not have reader, which" in done.err
    assert swept.subjects() == [str(READER)]
    assert sweep(swept, "--yes", objects=(*objects, service_account("reader", "job"))).code == DONE
    assert swept.subjects() == []


def test_set(swept: Shell) -> None:
    """A RoleBindingSet binds in the Namespaces of the files; where they have none that it selects, nothing is swept."""
    shared = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBindingSet",
        "metadata": {"name": "readers"},
        "spec": {
            "namespaceSelector": {"matchLabels": {"team": "a"}},
            "serviceAccountNames": ["reader"],
            "template": {"roleArn": TARGET_ROLE},
        },
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"team": "a"}}}

    refused = sweep(swept, "--yes", objects=(shared,))
    assert refused.code == WRONG
    assert "RoleBindingSet readers is in the files, and what it binds is not known" in refused.err
    done = sweep(swept, "--yes", objects=(shared, namespace))
    assert done.code == DONE, done.err
    assert swept.subjects() == [str(READER)]


def test_retained(swept: Shell) -> None:
    """What deleted bindings left is named, and goes only with --retained."""
    swept.edit(TARGET_ROLE, {**left(OTHER), "Sid": "Theirs"}, retained(OWN, ROLE, WEB, [READER]))
    done = sweep(swept, "--yes")

    assert done.code == DONE
    assert f"note: deleted bindings left trust in {TARGET_ROLE}: {READER}; --retained removes it" in done.err
    assert len(swept.statements()) == 2
    assert sweep(swept, "--yes", "--retained").code == DONE
    assert [s["Sid"] for s in swept.statements()] == ["Theirs"]


def test_another_cluster(swept: Shell) -> None:
    """Statements of another cluster are named; they go with --cluster-gone, and only with its issuer."""
    swept.add(left(OTHER))
    named = sweep(swept)
    assert f"--issuer {OTHER.url} --cluster-gone" in named.err

    done = sweep(swept, "--cluster-gone", "--yes", issuer=OTHER.url)
    assert done.code == DONE, done.err
    assert swept.subjects() == [str(READER)], "this cluster's own stay"


def test_gone_needs_an_issuer(swept: Shell) -> None:
    """--cluster-gone without an issuer is refused in one sentence, as are files without one."""
    gone = swept.trustbind("sweep", "--cluster-gone")
    assert (gone.code, gone.err) == (WRONG, "trustbind: --cluster-gone: say whose cluster is gone with --issuer\n")
    file = swept.folder / "wanted.yaml"
    file.write_text(yaml.safe_dump(account()), encoding="utf-8")
    assert swept.trustbind("sweep", "-f", str(file)).err == (
        "trustbind: -f: files do not say whose statements are meant; add --issuer\n"
    )


def test_last_statement(swept: Shell) -> None:
    """Where nothing would be left, a statement stays that lets nobody in."""
    swept.edit(TARGET_ROLE, left())
    assert sweep(swept, "--yes").code == DONE

    assert [s["Sid"] for s in swept.statements()] == [placeholder_sid(OWN)]


def test_changed_meanwhile(swept: Shell) -> None:
    """A trust policy that is not what was shown any more is left alone; here an export shows an older one."""
    export = swept.folder / "roles.json"
    older = document(*swept.statements(), {**left(OTHER), "Sid": "Older"})
    export.write_text(
        json.dumps({"RoleDetailList": [{"Arn": TARGET_ROLE, "AssumeRolePolicyDocument": older}]}), encoding="utf-8"
    )
    done = sweep(swept, "--yes", "--account-details", str(export))

    assert done.code == FAILED
    assert "has changed since it was read for this plan, so it is left alone; run sweep again" in done.err
    assert swept.writes() == []
    assert swept.subjects() == [str(READER)]


def test_files_alone(swept: Shell) -> None:
    """Where trust policies are from files and nothing is written, AWS is not asked, and that is said."""
    export = swept.folder / "roles.json"
    now = {"Arn": TARGET_ROLE, "AssumeRolePolicyDocument": document(*swept.statements())}
    export.write_text(json.dumps({"RoleDetailList": [now]}), encoding="utf-8")
    done = sweep(swept, "--account-details", str(export), objects=(binding("b"),))

    assert done.code == UNKNOWN
    assert "not seen: permissions of source roles and EKS Pod Identity associations" in done.err
    assert swept.aws.calls() == []


def test_edited(swept: Shell) -> None:
    """A statement of ours that was edited stays, and is named."""
    swept.edit(TARGET_ROLE, {**left(), "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]})
    swept.writes()
    done = sweep(swept, "--yes")

    assert done.code == DONE
    assert "differs from what trustbind writes" in done.err
    assert swept.writes() == []


def test_chain(swept: Shell) -> None:
    """Of a chain that nobody wants go the permission of its source role, and both statements, the near one first."""
    source = swept.role(f"arn:aws:iam::{ACCOUNT_A}:role/base")
    chain = binding("chain", method="AssumeRole", source={"roleArn": source})
    swept.edit(TARGET_ROLE, {**left(OTHER), "Sid": "Theirs"})
    applied = swept.apply("--yes", objects=(chain, account()))
    assert applied.code == DONE, applied.err
    assert swept.source_targets(source) == [TARGET_ROLE]

    done = sweep(swept, "--yes")
    assert done.code == DONE, done.err + done.out
    assert f"take out of its inline policy (Unbound): {TARGET_ROLE}" in done.out
    assert [role for _, role in swept.writes()] == ["base", ROLE.name]
    assert swept.source_targets(source) == []
    assert [s.get("Sid") for s in swept.statements()] == ["Theirs"]


def test_association(swept: Shell) -> None:
    """An association of ours that no binding wants is deleted; a foreign one, and one that is wanted, stay."""
    swept.allow_associations("blue")
    wanted = binding("b", method="PodIdentity")
    ours = {"trustbind.dev/issuer": owner_of(OWN)}
    swept.edit(TARGET_ROLE, dict(STATEMENT))
    for name, tags in (("reader", ours), ("writer", ours), ("theirs", {})):
        swept.associate("blue", name, TARGET_ROLE, tags)
    eks = account(eks={"clusterName": "blue", "region": REGION})
    file = swept.folder / "wanted.yaml"
    file.write_text(yaml.safe_dump_all([eks, wanted]), encoding="utf-8")
    command = ("sweep", "-f", str(file), "--issuer", ISSUER)

    data = checked("sweep", swept.trustbind(*command, "-o", "json").out)
    assert [each["serviceAccount"] for each in data["associations"]] == ["writer"]
    shown = swept.trustbind(*command)
    assert "delete the EKS Pod Identity association of team-a/writer (Unbound)" in shown.out
    assert swept.associated("blue") == ["reader", "theirs", "writer"]
    done = swept.trustbind(*command, "--yes")
    assert done.code == DONE, done.err
    assert swept.associated("blue") == ["reader", "theirs"]


def test_association_of_a_selector(swept: Shell) -> None:
    """Files do not tell which service accounts a selector names, so associations of that namespace are skipped."""
    swept.allow_associations("blue")
    swept.edit(TARGET_ROLE, dict(STATEMENT))
    swept.associate("blue", "writer", TARGET_ROLE, {"trustbind.dev/issuer": owner_of(OWN)})
    eks = account(eks={"clusterName": "blue", "region": REGION})
    selecting = binding("b", method="PodIdentity", serviceAccountSelector={"matchLabels": {"app": "web"}})
    selecting["spec"].pop("serviceAccountNames")
    metadata = {"namespace": "team-a", "name": "reader", "labels": {"app": "web"}}
    reader = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    file = swept.folder / "wanted.yaml"
    for objects in ([eks, selecting], [eks, selecting, reader]):
        file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        done = swept.trustbind("sweep", "-f", str(file), "--issuer", ISSUER, "--yes")
        assert done.code == UNKNOWN, done.err
        assert "not seen: whether the associations of writer in EKS cluster blue are wanted" in done.err
        assert "RoleBinding team-a/b selects service accounts" in done.err
    assert swept.associated("blue") == ["writer"]
    selecting["metadata"]["namespace"] = "team-b"
    file.write_text(yaml.safe_dump_all([eks, selecting]), encoding="utf-8")
    assert swept.trustbind("sweep", "-f", str(file), "--issuer", ISSUER, "--yes").code == DONE
    assert swept.associated("blue") == []


def test_observed(swept: Shell) -> None:
    """In an AWS account that is only observed nothing is written, and the refusal has the words of apply."""
    swept.allow_associations("blue")
    swept.add(dict(STATEMENT))
    swept.associate("blue", "writer", TARGET_ROLE, {"trustbind.dev/issuer": owner_of(OWN)})
    file = swept.folder / "wanted.yaml"
    spec: dict[str, Any] = {"driftPolicy": "Observe", "eks": {"clusterName": "blue", "region": REGION}}
    file.write_text(yaml.safe_dump(account(**spec)), encoding="utf-8")
    command = ("sweep", "-f", str(file), "--issuer", ISSUER)
    before = swept.statements()

    for arguments in ((), ("--yes",), ("--yes", "--cluster-gone")):
        done = swept.trustbind(*command, *arguments)
        assert done.code == FAILED, done.err
        assert (
            f"refused (DriftObserved): AWSAccount account-{ACCOUNT_B} has driftPolicy Observe, so nothing is written "
            f"to the trust policy of {TARGET_ROLE}; it differs: removed {left()['Sid']}"
        ) in done.out
        assert "add --yes" not in done.err
    data = checked("sweep", swept.trustbind(*command, "--yes", "-o", "json").out)
    (association,) = data["associations"]
    assert association["refused"]["message"].endswith("it differs: delete the association of team-a/writer")
    assert {role["refused"]["reason"] for role in data["roles"]} == {"DriftObserved"}
    assert swept.associated("blue") == ["writer"]
    assert swept.writes() == []
    assert swept.statements() == before


def test_as_data(swept: Shell) -> None:
    """JSON and YAML have all of it, and nothing else is on standard output."""
    found = checked("sweep", sweep(swept, "-o", "json").out)

    (role,) = found["roles"]
    assert role["statements"] == [{"sid": left()["Sid"], "reason": "Unbound", "names": [str(READER)], "whole": True}]
    assert (role["written"], role["problem"], found["clusterGone"]) == (False, None, False)
    assert found["rolesRead"] > 1
    assert yaml.safe_load(sweep(swept, "-o", "yaml").out) == found


def test_account_that_cannot_be_entered(swept: Shell) -> None:
    """Where an AWS account cannot be listed, one sentence says so, and that not enough was seen."""
    file = swept.folder / "wanted.yaml"
    file.write_text(yaml.safe_dump(account(externalId="wrong")), encoding="utf-8")
    done = swept.trustbind("sweep", "-f", str(file), "--issuer", ISSUER, "--yes")

    assert done.code == UNKNOWN
    assert f"not seen: the roles of AWS account {ACCOUNT_B} cannot be listed: " in done.err
    assert "check the manager role's trust policy" in done.err
    assert swept.writes() == []


def test_nobody(swept: Shell) -> None:
    """Without credentials it says so once."""
    file = swept.folder / "wanted.yaml"
    file.write_text(yaml.safe_dump(account()), encoding="utf-8")
    export = swept.folder / "roles.json"
    now = {"Arn": TARGET_ROLE, "AssumeRolePolicyDocument": document(*swept.statements())}
    export.write_text(json.dumps({"RoleDetailList": [now]}), encoding="utf-8")
    for arguments in ((), ("--yes",), ("--account-details", str(export), "--yes")):
        done = swept.trustbind("sweep", "-f", str(file), "--issuer", ISSUER, *arguments, anonymous=True)
        assert done.code == UNKNOWN
        assert (
            done.err == "trustbind: there are no AWS credentials: sign in, or set AWS_PROFILE or the AWS_* variables\n"
        )


def test_no_cluster(swept: Shell) -> None:
    """Without files and without a cluster it says so."""
    done = swept.trustbind("sweep", "--kubeconfig", str(swept.folder / "none"))

    assert done.code == WRONG
    assert done.err.startswith("trustbind: the kubeconfig")
    assert "cannot be used: there is no such file" in done.err
