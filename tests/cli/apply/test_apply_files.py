"""``trustbind apply`` where the files or the caller's configuration are not what they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from cli.apply.shell import Shell, account, binding, grant
from support.bodies import set_body
from trustbind_cli.demo.fixtures import ACCOUNT_A, ACCOUNT_B, TARGET_ROLE

OWN_ROLE: Final = f"arn:aws:iam::{ACCOUNT_A}:role/own"
DONE, FAILED, WRONG, UNKNOWN = 0, 1, 2, 3

UNSELECTED: Final = (
    "refused (NoSubjects): RoleBinding team-a/batch selects service accounts and none in the files matches; add them "
    "with -f (kubectl -n team-a get serviceaccounts -o yaml)"
)


def selecting(**spec: Any) -> dict[str, Any]:
    """Return a binding that selects accounts by a label."""
    wish = binding("batch", serviceAccountSelector={"matchLabels": {"aws": "yes"}}, **spec)
    del wish["spec"]["serviceAccountNames"]
    return wish


def selected() -> dict[str, Any]:
    """Return an account with that label."""
    metadata = {"name": "reader", "namespace": "team-a", "labels": {"aws": "yes"}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


@pytest.mark.parametrize("further", [(), (binding("other", serviceAccountNames=["other"]),)])
def test_accounts_left_out(shell: Shell, further: tuple[dict[str, Any], ...]) -> None:
    """Live trust of selected accounts is not taken back because their file was left out; the role is not written."""
    assert shell.apply("--yes", objects=(selecting(), selected(), account())).code == DONE
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]
    before = shell.statements()

    for arguments in (("--yes",), ("--dry-run",), ("--yes", "--role-arn", TARGET_ROLE)):
        done = shell.apply(*arguments, objects=(selecting(), account(), *further))

        assert done.code == UNKNOWN
        assert done.out == f"{TARGET_ROLE}\n  nothing is written\n  {UNSELECTED}\n"
        assert done.err == ""
    assert shell.writes() == []
    assert shell.statements() == before


def test_accounts_left_out_as_data(shell: Shell) -> None:
    """The refusal is in the data, too, with its binding."""
    done = shell.apply("--yes", "-o", "json", objects=(selecting(), account()))

    (entry,) = json.loads(done.out)
    assert done.code == UNKNOWN
    assert (entry["roleArn"], entry["written"]) == (TARGET_ROLE, 0)
    assert [(r["binding"], r["reason"]) for r in entry["refusals"]] == [("team-a/batch", "NoSubjects")]


def test_others_go_on(shell: Shell) -> None:
    """Roles that such a binding is not about are written."""
    shell.role(OWN_ROLE)

    done = shell.apply("--yes", objects=(selecting(), binding("own", OWN_ROLE, profile="own"), account()))

    assert done.code == UNKNOWN
    assert shell.subjects(OWN_ROLE) == ["system:serviceaccount:team-a:reader"]


def test_namespace_left_out(shell: Shell) -> None:
    """Live trust is not taken back because the file does not tell whether a grant selects the namespace."""
    shell.apply("--yes", objects=(binding("b"), account()))
    shell.writes()
    by_label = grant("team-a", f"arn:aws:iam::{ACCOUNT_B}:role/*/*")
    by_label["spec"]["namespaces"] = {"selector": {"matchLabels": {"aws": "yes"}}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"aws": "yes"}}}

    without = shell.apply("--yes", objects=(binding("b"), account(), by_label))
    whole = shell.apply("--yes", objects=(binding("b"), account(), by_label, namespace))

    assert without.code == UNKNOWN
    assert "team-a/b: RoleGrant team-a-may selects namespaces by label; add the Namespace with -f" in without.out
    assert (whole.code, shell.writes()) == (DONE, [])


def test_pod_identity(shell: Shell) -> None:
    """What is EKS's to do is told, with the statement that the role needs."""
    done = shell.apply("--yes", objects=(binding("b", method="PodIdentity"), account()))

    assert done.code == WRONG
    assert "RoleBinding team-a/b has method PodIdentity, for which there is nothing to do in IAM" in done.err
    assert "pods.eks.amazonaws.com" in done.err


def test_no_credentials(shell: Shell) -> None:
    """Without credentials there is one sentence, however many roles, and what the files alone refuse is told."""
    shell.role(OWN_ROLE)
    objects = (
        binding("b"),
        binding("own", OWN_ROLE, profile="own"),
        binding("c", TARGET_ROLE, namespace="team-c"),
        account(),
        grant("team-a", OWN_ROLE, TARGET_ROLE),
    )

    done = shell.apply("--yes", objects=objects, anonymous=True)

    assert done.code == FAILED
    assert done.err == ("trustbind: there are no AWS credentials: sign in, or set AWS_PROFILE or the AWS_* variables\n")
    assert "refused (NotGranted): team-c/c: no RoleGrant covers" in done.out


def test_no_such_profile(shell: Shell) -> None:
    """A profile that does not exist is told as what it is."""
    done = shell.apply("--yes", objects=(binding("b"), account()), anonymous=True, env={"AWS_PROFILE": "nosuch"})

    assert done.code == UNKNOWN
    assert done.err == (
        "trustbind: the AWS configuration cannot be used: The config profile (nosuch) could not be found; correct "
        "AWS_PROFILE, or add that profile\n"
    )


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"AWS_CONFIG_FILE": "broken"}, "the AWS configuration cannot be used: Unable to parse config file"),
        ({"AWS_ACCESS_KEY_ID": "half"}, "the AWS configuration cannot be used: Partial credentials found in env"),
        ({"AWS_CONFIG_FILE": "process"}, "there are no AWS credentials to be had: Error when retrieving credentials"),
        ({"AWS_CONFIG_FILE": "profile"}, 'the AWS configuration cannot be used: The source_profile "gone"'),
        ({"AWS_ENDPOINT_URL": "nonsense", "AWS_PROFILE": "keys", "AWS_CONFIG_FILE": "keys"}, "Invalid endpoint"),
        (
            {"AWS_ROLE_ARN": OWN_ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "gone"},
            "the AWS configuration cannot be used: [Errno 2] No such file or directory",
        ),
    ],
)
def test_broken_configuration(shell: Shell, tmp_path: Path, env: dict[str, str], said: str) -> None:
    """What keeps the caller from having credentials at all is one sentence, however many roles, and never a trace."""
    files = {
        "broken": "x = [\n",
        "process": "[default]\ncredential_process = /bin/false\n",
        "profile": f"[default]\nrole_arn = {OWN_ROLE}\nsource_profile = gone\n",
        "keys": "[profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    known = {k: str(tmp_path / v) if k.endswith("_FILE") else v for k, v in env.items()}

    done = shell.apply(
        "--yes", objects=(binding("b"), binding("own", OWN_ROLE, profile="own"), account()), anonymous=True, env=known
    )

    assert done.code == UNKNOWN
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("trustbind: ")
    assert said in done.err


@pytest.mark.parametrize("fault", ["throttle", "deny", "unreachable"])
def test_words_of_the_operator(shell: Shell, fault: str) -> None:
    """A user at a shell reads nothing of automatic retries, of pods or of the operator."""
    getattr(shell.aws, fault)(ACCOUNT_B)

    done = shell.apply("--yes", objects=(binding("b"), account()), env={"AWS_MAX_ATTEMPTS": "1"})

    assert done.code == FAILED
    assert done.err.startswith(f"trustbind: {TARGET_ROLE}: ")
    assert not any(words in done.err for words in ("automatically", "the operator", "the pod"))


def annotated(name: str, role: str) -> dict[str, Any]:
    """Return a service account with the annotation."""
    metadata = {"name": name, "namespace": "team-a", "annotations": {"eks.amazonaws.com/role-arn": role}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def test_annotated(shell: Shell) -> None:
    """Annotated service accounts are written where that is asked for, and are no bindings without it."""
    reader = annotated("reader", TARGET_ROLE)

    without = shell.apply("--yes", objects=(account(), reader))
    done = shell.apply("--yes", "--bind-annotated", objects=(account(), reader))

    assert without.code == WRONG
    assert "ServiceAccount team-a/reader is annotated with a role, and counted as bound with --bind-an" in without.err
    assert done.code == DONE
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]


def test_annotated_without_a_role(shell: Shell) -> None:
    """What can be written is written, and the annotation that is no ARN is reported."""
    objects = (account(), annotated("reader", TARGET_ROLE), annotated("other", "other"))

    done = shell.apply("--yes", "--bind-annotated", objects=objects)

    assert done.code == FAILED
    assert "ServiceAccount team-a/other is not bound: annotation eks.amazonaws.com/role-arn is 'other'" in done.err
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]


def test_annotated_beside_a_binding(shell: Shell) -> None:
    """That the trust of an annotated service account is taken back is no surprise."""
    shell.role(OWN_ROLE)

    done = shell.apply("--dry-run", objects=(account(), annotated("reader", TARGET_ROLE), binding("b", OWN_ROLE)))

    assert done.code == DONE
    assert "counted as bound with --bind-annotated only" in done.err


def test_what_the_operator_adopts_is_left_alone(shell: Shell) -> None:
    """A role with a binding that adopts is not written: neither its trust is taken back, nor a statement replaced."""
    assert shell.apply("--yes", objects=(binding("app"), account())).code == DONE
    before = shell.statements()
    adopting = binding("app", adopt="Equivalent")

    for objects in ((adopting, account()), (adopting, binding("other", serviceAccountNames=["other"]), account())):
        for flag in ("--yes", "--dry-run"):
            done = shell.apply(flag, objects=objects)

            assert done.code == FAILED
            assert "nothing is written" in done.out
            assert "AdoptionNeedsOperator" in done.out
    assert shell.writes() == []
    assert shell.statements() == before


def test_set_of_which_the_files_do_not_tell_whom_it_binds(shell: Shell) -> None:
    """A role with such a set is not written: what stands of the set may not be in the files."""
    assert shell.apply("--yes", objects=(binding("app"), account())).code == DONE
    before = shell.statements()

    for pattern, reason in (("profile-*", "PatternUnguarded"), ("", "NoNamespaces")):
        wanted = set_body(pattern=pattern, roleArn=TARGET_ROLE)
        done = shell.apply("--yes", objects=(binding("other", serviceAccountNames=["other"]), account(), wanted))

        assert done.code == UNKNOWN
        assert reason in done.out
        assert "RoleBindingSet profiles may stand in it" in done.out
    assert shell.writes() == []
    assert shell.statements() == before
