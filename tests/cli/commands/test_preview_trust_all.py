"""``trustbind preview trust`` for all roles of the files, and for annotated service accounts."""

from __future__ import annotations

import json

import pytest
import yaml

from support.commands import ROLE, Cli, account, binding, written

ISSUER = "https://oidc.example.com/id/1"
OTHER = "arn:aws:iam::111122223333:role/other"
ARGUMENTS = ("preview", "trust", "-f", "b.yaml", "--issuer", ISSUER)
HINT = "is annotated with a role, and counted as bound with --bind-annotated only\n"


def test_headings(cli: Cli) -> None:
    """Each role's document is what --role-arn gives, below the role's ARN, sorted."""
    written("b.yaml", binding(namespace="shop"), binding("c", "shop", roleArn=OTHER, profile="other"))

    done = cli(*ARGUMENTS)

    alone = {role: cli(*ARGUMENTS, "--role-arn", role).out for role in (OTHER, ROLE)}
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{OTHER}\n{alone[OTHER]}\n{ROLE}\n{alone[ROLE]}"


def test_source_roles(cli: Cli) -> None:
    """The source role of a chain is one of the roles."""
    base = "arn:aws:iam::111122223333:role/base"
    written("b.yaml", binding(namespace="shop", method="AssumeRole", source={"roleArn": base}))

    listed = json.loads(cli(*ARGUMENTS, "-o", "json").out)

    assert [each["roleArn"] for each in listed] == [base, ROLE]


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_data(cli: Cli, output: str) -> None:
    """As data it is one list, with what is refused beside each document."""
    written("b.yaml", binding(namespace="shop"), binding("c", "shop", roleArn=OTHER))

    done = cli(*ARGUMENTS, "-o", output)

    other, own = json.loads(done.out) if output == "json" else yaml.safe_load(done.out)
    assert (done.code, done.err) == (1, "")
    assert set(own) == {"roleArn", "document", "size", "limit", "refusals", "findings", "warnings", "problems"}
    assert (own["roleArn"], own["refusals"], own["limit"]) == (ROLE, [], 2048)
    assert own["document"] == json.loads(cli(*ARGUMENTS, "--role-arn", ROLE).out)
    assert [(r["binding"], r["reason"]) for r in other["refusals"]] == [("shop/c", "ProfileConflict")]


def test_differences(cli: Cli) -> None:
    """With --diff, each role has its heading once."""
    written("b.yaml", binding(namespace="shop"), binding("c", "shop", roleArn=OTHER, profile="other"))

    done = cli(*ARGUMENTS, "--diff")

    assert [line for line in done.out.splitlines() if line in {ROLE, OTHER}] == [OTHER, ROLE]
    assert done.out.count("add statement") == 2


def test_worst_exit_code(cli: Cli) -> None:
    """What is refused weighs more than what the files do not tell."""
    selecting = binding("s", "shop", roleArn=OTHER, serviceAccountSelector={"matchLabels": {"a": "b"}})
    del selecting["spec"]["serviceAccountNames"]
    written("b.yaml", binding(namespace="shop"), selecting)

    unknown, refused = cli(*ARGUMENTS), cli(*ARGUMENTS, "--limit", "10")

    assert (unknown.code, refused.code) == (3, 1)


def test_annotated(cli: Cli) -> None:
    """An annotated service account counts as a binding where that is asked for; else the option is named."""
    written("b.yaml", binding("b", "shop", roleArn=OTHER), account())

    without, done = cli(*ARGUMENTS), cli(*ARGUMENTS, "--bind-annotated")

    assert (without.code, without.err.splitlines(keepends=True)[0]) == (0, f"ServiceAccount checkout {HINT}")
    assert ROLE not in without.out
    assert (done.code, done.err) == (0, "no metadata.namespace, so default is taken: ServiceAccount checkout\n")
    assert done.out.splitlines()[0] == OTHER
    assert f"\n{ROLE}\n" in done.out
    assert "system:serviceaccount:default:checkout" in done.out


def test_annotated_needs_a_grant(cli: Cli) -> None:
    """As in the cluster, a grant has to cover it."""
    grant = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleGrant",
        "metadata": {"name": "g"},
        "spec": {"namespaces": {"names": ["shop"]}, "roleArns": [ROLE]},
    }
    written("b.yaml", account(), grant)

    done = cli(*ARGUMENTS, "--bind-annotated")

    assert done.code == 1
    assert "refused (NotGranted): default/annotated-checkout" in done.err


def test_annotated_without_a_role(cli: Cli) -> None:
    """An annotation that is no ARN is reported, and the others are shown."""
    written("b.yaml", account(), account("wrong", role_arn="wrong"))

    done = cli(*ARGUMENTS, "--bind-annotated")

    assert done.code == 1
    assert "trustbind: ServiceAccount default/wrong is not bound: annotation eks.amazonaws.com/role-arn is" in done.err
    assert "system:serviceaccount:default:checkout" in done.out


def test_annotated_under_another_prefix(cli: Cli) -> None:
    """The prefix is the operator's bindAnnotated.annotationPrefix."""
    written("b.yaml", account())

    done = cli(*ARGUMENTS, "--bind-annotated", "--annotation-prefix", "aws.example.com")

    assert (done.code, done.err) == (2, "trustbind: there is no RoleBinding in the files, and no --role-arn is given\n")
