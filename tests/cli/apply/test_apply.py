"""``trustbind apply`` as a process of its own, against an AWS: files in, trust policies out."""

from __future__ import annotations

import json
from typing import Final

import pytest

from cli.apply.shell import Shell, account, binding, document, grant, is_ours
from trustbind_cli.demo.fixtures import ACCOUNT_A, ACCOUNT_B, ISSUER, MANAGER_ROLE, TARGET_ROLE

ACCOUNT_C: Final = "777788889999"
OWN_ROLE: Final = f"arn:aws:iam::{ACCOUNT_A}:role/own"
PROVIDER: Final = f"arn:aws:iam::{ACCOUNT_B}:oidc-provider/{ISSUER.removeprefix('https://')}"

GITHUB: Final = "https://token.actions.githubusercontent.com"

DONE, FAILED, WRONG, UNKNOWN, STOPPED = 0, 1, 2, 3, 130


def test_dry_run(shell: Shell) -> None:
    """The plan is printed, and nothing is written."""
    before = shell.statements()

    done = shell.apply("--dry-run", objects=(binding("b"), account()))

    assert done.code == DONE
    assert "system:serviceaccount:team-a:reader" in done.out
    assert "create the OIDC provider" in done.out
    assert shell.writes() == []
    assert shell.statements() == before


def test_apply(shell: Shell) -> None:
    """What was planned is written and read back; what others wrote stays as it was."""
    before = shell.statements()

    done = shell.apply("--yes", objects=(binding("b"), account()))

    assert (done.code, done.err) == (DONE, f"{TARGET_ROLE}: written and read back\n")
    assert [operation for operation, _ in shell.writes()] == ["CreateOpenIDConnectProvider", "UpdateAssumeRolePolicy"]
    assert [s for s in shell.statements() if not is_ours(s)] == before
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]
    assert shell.audiences() == ["sts.amazonaws.com"]


def test_second_run(shell: Shell) -> None:
    """When everything is as it should be, nothing is asked and nothing is written."""
    shell.apply("--yes", objects=(binding("b"), account()))
    shell.writes()

    done = shell.apply(objects=(binding("b"), account()))

    assert (done.code, done.err) == (DONE, "")
    assert "nothing to do" in done.out
    assert shell.writes() == []


@pytest.mark.parametrize(("answer", "code", "subjects"), [("y", DONE, 1), ("n", STOPPED, 0), ("", STOPPED, 0)])
def test_asks(shell: Shell, answer: str, code: int, subjects: int) -> None:
    """Without --yes one has to agree; anything else, and the end of the input, writes nothing."""
    done = shell.apply(objects=(binding("b"), account()), stdin=f"{answer}\n" if answer else "")

    assert done.code == code
    assert "Write 1 trust policy?" in done.err
    assert len(shell.subjects()) == subjects


def test_audience(shell: Shell) -> None:
    """A binding's audience is added to the provider that is there."""
    shell.apply("--yes", objects=(binding("b"), account()))
    shell.writes()

    done = shell.apply("--yes", objects=(binding("b", audience="reports.example"), account()))

    assert done.code == DONE
    assert shell.writes()[0] == ("AddClientIDToOpenIDConnectProvider", PROVIDER)
    assert shell.audiences() == ["sts.amazonaws.com", "reports.example"]


def test_own_account(shell: Shell) -> None:
    """A role of the account that one is in needs no AWSAccount."""
    shell.role(OWN_ROLE)

    done = shell.apply("--yes", objects=(binding("b", OWN_ROLE),))

    assert done.code == DONE
    assert shell.subjects(OWN_ROLE) == ["system:serviceaccount:team-a:reader"]


def test_grants(shell: Shell) -> None:
    """With grants in the files, what none covers is refused, with a sentence; the rest is written."""
    objects = (
        binding("granted"),
        binding("not-granted", namespace="team-b"),
        account(),
        grant("team-a", f"arn:aws:iam::{ACCOUNT_B}:role/team-a/*"),
    )

    done = shell.apply("--yes", objects=objects)

    assert done.code == FAILED
    assert "refused (NotGranted): team-b/not-granted:" in done.out
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]


def test_consent(shell: Shell) -> None:
    """An account that asks for consent gets it from the role's tag."""
    objects = (binding("b"), account(requireRoleConsent=True))
    shell.tag_role("s3-reader", "team-x")

    refused = shell.apply("--yes", objects=objects)
    assert refused.code == FAILED
    assert "trustbind.dev/namespaces" in refused.out
    assert shell.subjects() == []

    shell.tag_role("s3-reader", "team-x team-a")
    assert shell.apply("--yes", objects=objects).code == DONE
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]


def test_unknown_account(shell: Shell) -> None:
    """A role of another account without an AWSAccount gets a sentence with the fields to write; the rest is written."""
    shell.role(OWN_ROLE)

    done = shell.apply("--yes", objects=(binding("b"), binding("own", OWN_ROLE, profile="own")))

    assert done.code == FAILED
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("trustbind:")]
    assert sentence == (
        f"trustbind: {TARGET_ROLE}: account {ACCOUNT_B} is not the one you are in ({ACCOUNT_A}), and the files hold no "
        "AWSAccount for it; add one with spec.accountId and spec.managerRoleArn"
    )
    assert shell.subjects(OWN_ROLE) == ["system:serviceaccount:team-a:reader"]


def test_observe(shell: Shell) -> None:
    """An account that is only observed is planned for, and not written."""
    observed = account(driftPolicy="Observe")

    for has_provider, reason in ((False, "ProviderMissing"), (True, "DriftObserved")):
        if has_provider:
            shell.provider(ISSUER)
        done = shell.apply("--yes", objects=(binding("b"), observed))

        assert done.code == FAILED
        assert "add statement Trustbind" in done.out
        assert ("create the OIDC provider" in done.out) != has_provider
        assert f"refused ({reason}): " in done.out
        assert "driftPolicy Observe, so" in done.out
        assert shell.writes() == []


def test_provider_managed_by_hand(shell: Shell) -> None:
    """Where the provider is somebody else's to make, they are told, and nothing is written before it is there."""
    done = shell.apply("--yes", objects=(binding("b"), account(oidcProvider={"manage": False})))

    assert done.code == FAILED
    assert f"account {ACCOUNT_B} has no OIDC provider for {ISSUER}; create it" in done.out
    assert shell.writes() == []


def test_other_issuer(shell: Shell) -> None:
    """Trust for another issuer's subjects is written once its provider is there; that it is not is told."""
    entry = {"issuer": GITHUB, "subjects": ["repo:example-org/shop:*"]}
    objects = (binding("b", federatedSubjects=[entry]), account())

    done = shell.apply("--yes", objects=objects)

    assert done.code == FAILED
    assert f"not yet (ProviderMissing): team-a/b: account {ACCOUNT_B} has no OIDC provider for {GITHUB}" in done.out
    assert [operation for operation, _ in shell.writes()] == ["CreateOpenIDConnectProvider", "UpdateAssumeRolePolicy"]
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]

    shell.provider(GITHUB)
    done = shell.apply("--yes", objects=objects)

    assert done.code == DONE
    blocks = [s["Condition"].get("StringLike") for s in shell.statements() if is_ours(s)]
    assert {"token.actions.githubusercontent.com:sub": ["repo:example-org/shop:*"]} in blocks


def test_somebody_writes_while_one_is_asked(shell: Shell) -> None:
    """What stands in the trust policy when one has agreed counts, not what stood there when the plan was shown."""
    lambdas = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}

    done = shell.apply_while(lambda: shell.add(lambdas | {"Sid": "Late"}), (binding("b"), account()))

    assert done.code == DONE
    assert "Late" in [s.get("Sid") for s in shell.statements()]
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]


def test_limit(shell: Shell) -> None:
    """What does not fit is refused with its size; what fits is written."""
    audience = "an-audience-of-many-characters." * 4
    objects = (binding("fits"), binding("does-not", audience=audience, profile="far"), account(trustPolicyLimit=700))

    done = shell.apply("--yes", objects=objects)

    assert done.code == FAILED
    assert "TrustPolicyFull" in done.out
    assert "the AWS account allows 700" in done.out
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]
    assert len(json.dumps(document(*shell.statements()), separators=(",", ":"))) <= 700


def test_json(shell: Shell) -> None:
    """With -o json the plan and its result are data, also what could not be done."""
    other = f"arn:aws:iam::{ACCOUNT_B}:role/team-a/absent"

    done = shell.apply(
        "--yes", "-o", "json", objects=(binding("b"), binding("absent", other, profile="absent"), account())
    )

    roles = {entry["roleArn"]: entry for entry in json.loads(done.out)}
    assert done.code == FAILED
    assert roles[TARGET_ROLE]["written"] == 1
    assert [c["kind"] for c in roles[TARGET_ROLE]["changes"]] == ["added"]
    assert roles[TARGET_ROLE]["size"] <= roles[TARGET_ROLE]["limit"]
    assert roles[TARGET_ROLE]["document"]["Statement"] == shell.statements()
    assert roles[TARGET_ROLE]["refusals"] == []
    assert roles[other]["written"] == 0
    assert "absent" in roles[other]["problem"]


def test_foreign_statement_that_never_applies(shell: Shell) -> None:
    """It is a warning of the plan, in text and as data, and no reason to write nothing."""
    shell.add(
        {
            "Sid": "Deploy",
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT_C}:oidc-provider/gitlab.com"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"gitlab.com:sub": "project_path:example/shop:ref_type:branch:ref:main"}},
        }
    )

    said = shell.apply("--dry-run", objects=(binding("b"), account()))
    done = shell.apply("--yes", "-o", "json", objects=(binding("b"), account()))

    assert (said.code, done.code) == (DONE, DONE)
    assert 'warning: dead (TB219 ProviderOfOtherAccount): statement 2 (Sid "Deploy") names an OIDC provider' in said.out
    (finding,) = json.loads(done.out)[0]["findings"]
    assert [finding[key] for key in ("rule", "severity", "statement", "sid")] == [
        "ProviderOfOtherAccount",
        "dead",
        2,
        "Deploy",
    ]
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]


def test_json_cannot_ask(shell: Shell) -> None:
    """With -o json there is nobody to ask."""
    done = shell.apply("-o", "json", objects=(binding("b"), account()))

    assert (done.code, done.out) == (WRONG, "")
    assert done.err == "trustbind: -o json cannot ask; add --yes or --dry-run\n"
    assert shell.writes() == []


def test_revoke(shell: Shell) -> None:
    """A role that no binding names any more is brought in line by --role-arn: our statement goes, others' stay."""
    before = shell.statements()
    shell.apply("--yes", objects=(binding("b"), account()))
    assert shell.subjects()

    done = shell.apply("--yes", "--role-arn", TARGET_ROLE, objects=(account(),))

    assert done.code == DONE
    assert shell.statements() == before


def test_stale_principal(shell: Shell) -> None:
    """A statement of somebody else's whose role is gone keeps IAM from taking the document, so nothing is tried."""
    gone = shell.role(f"arn:aws:iam::{ACCOUNT_B}:role/gone")
    theirs = {"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": gone}, "Action": "sts:AssumeRole"}
    stale = shell.role(f"arn:aws:iam::{ACCOUNT_B}:role/team-a/stale", theirs)
    shell.delete_role("gone")
    shell.aws.reset_calls()

    done = shell.apply("--yes", objects=(binding("b"), binding("stale", stale, profile="stale"), account()))

    assert done.code == FAILED
    assert "Theirs" in done.out
    assert "AROA" in done.out
    assert [resource for operation, resource in shell.writes() if operation == "UpdateAssumeRolePolicy"] == [
        "s3-reader"
    ]


def test_wrong_external_id(shell: Shell) -> None:
    """A manager role that one may not assume is one sentence; roles of other accounts are written all the same."""
    shell.role(OWN_ROLE)

    done = shell.apply(
        "--yes", objects=(binding("b"), binding("own", OWN_ROLE, profile="own"), account(externalId="wrong"))
    )

    assert done.code == FAILED
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("trustbind:")]
    assert sentence.startswith(f"trustbind: {TARGET_ROLE}: ")
    assert MANAGER_ROLE in sentence
    assert "not authorized" in sentence
    assert "check the manager role's trust policy, spec.externalId" in sentence
    assert shell.subjects() == []
    assert shell.subjects(OWN_ROLE) == ["system:serviceaccount:team-a:reader"]


def test_unreachable_account(shell: Shell) -> None:
    """An account whose manager role does not exist does not hold up the others."""
    far = account(accountId=ACCOUNT_C, managerRoleArn=f"arn:aws:iam::{ACCOUNT_C}:role/trustbind-manager")

    done = shell.apply(
        "--yes",
        objects=(binding("b"), binding("c", f"arn:aws:iam::{ACCOUNT_C}:role/far", profile="far"), account(), far),
    )

    assert done.code == FAILED
    assert f"trustbind: arn:aws:iam::{ACCOUNT_C}:role/far: " in done.err
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]
