"""``trustbind export``: plain trust policies, for leaving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.commands import ROLE, Cli
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
OURS = build(ISSUER, RoleArn.parse(ROLE), WebIdentityKey("sts.amazonaws.com"), [Subject("shop", "checkout")])
THEIRS = {
    "Sid": "Theirs",
    "Effect": "Allow",
    "Principal": {"AWS": "111122223333"},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:PrincipalTag/team": "${aws:RequestTag/team}%{x}"}},
}
OTHER = "arn:aws:iam::444455556666:role/other"


def policy(*statements: Any) -> dict[str, Any]:
    """Return a trust policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def roles(**documents: Any) -> str:
    """Write an export and return the file's name."""
    listed = [
        {"Arn": ROLE if name == "role" else OTHER, "AssumeRolePolicyDocument": d} for name, d in documents.items()
    ]
    Path("roles.json").write_text(json.dumps({"Roles": listed}), encoding="utf-8")
    return "roles.json"


EXPORT = ("export", "--issuer", ISSUER.url, "--account-details")


def test_json(cli: Cli) -> None:
    """Roles with something of ours are printed, with other Sids; the others are counted."""
    done = cli(*EXPORT, roles(role=policy(THEIRS, OURS), other=policy(THEIRS)))

    assert done.code == 0, done
    assert json.loads(done.out) == {ROLE: policy(THEIRS, OURS | {"Sid": "ServiceAccounts"})}
    assert "1 of 2 trust policies" in done.err


def test_terraform(cli: Cli) -> None:
    """A local for each role; what Terraform would read as a template is escaped."""
    done = cli(*EXPORT, roles(role=policy(THEIRS, OURS)), "-o", "terraform")

    head, _, rest = done.out.partition("jsonencode(")
    assert head == f"# {ROLE}\nlocals {{\n  trust_444455556666_shop_checkout = "
    assert "$${aws:RequestTag/team}%%{x}" in rest
    plain = rest.rpartition(")")[0].replace("$${", "${").replace("%%{", "%{")
    assert json.loads(plain) == policy(THEIRS, OURS | {"Sid": "ServiceAccounts"})


def test_folder(cli: Cli) -> None:
    """A file for each role; no file is written over."""
    name = roles(role=policy(OURS))

    assert cli(*EXPORT, name, "--output-dir", "out").code == 0
    (file,) = Path("out").iterdir()
    assert file.name == "444455556666_shop_checkout.json"
    assert json.loads(file.read_text()) == policy(OURS | {"Sid": "ServiceAccounts"})
    again = cli(*EXPORT, name, "--output-dir", "out")
    assert (again.code, "exists" in again.err) == (2, True)


def test_what_cannot_be_read(cli: Cli) -> None:
    """It is named, and the others are printed; without a source, one sentence says what is needed."""
    done = cli(*EXPORT, roles(role=policy(OURS), other={"Statement": 1}))

    assert done.code == 1
    assert list(json.loads(done.out)) == [ROLE]
    assert OTHER in done.err
    nothing = cli("export", "--issuer", ISSUER.url)
    assert (nothing.code, "--account-details" in nothing.err) == (2, True)
