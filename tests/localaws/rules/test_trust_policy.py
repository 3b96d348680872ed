"""What CreateRole and UpdateAssumeRolePolicy accept, and the form in which GetRole gives it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from trustbind_localaws import LocalAws

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]

GOOD = {"Effect": "Allow", "Principal": {"AWS": A}, "Action": "sts:AssumeRole"}
PROVIDER = f"arn:aws:iam::{A}:oidc-provider/issuer.example/cluster"


def _document(*statements: Any, **members: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | members)


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


REFUSED = {
    "not JSON": ("{", "invalid Json"),
    "not an object": ("[]", "Syntax errors"),
    "no statement": (_document(), "Statement is empty"),
    "statement is no object": (_document("x"), "Syntax errors"),
    "unknown member": (_document(GOOD, Extra=1), "Syntax errors"),
    "unknown version": (_document(GOOD, Version="2020-01-01"), "valid version"),
    "duplicate key": ('{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}', "Syntax errors"),
    "Resource": (_document({**GOOD, "Resource": "*"}), "Has prohibited field Resource"),
    "NotResource": (_document({**GOOD, "NotResource": "*"}), "Has prohibited field NotResource"),
    "unknown element": (_document({**GOOD, "Comment": "x"}), "Syntax errors"),
    "Sid with a dash": (_document({**GOOD, "Sid": "a-b"}), "Statement IDs"),
    "Sid twice": (_document({**GOOD, "Sid": "a"}, {**GOOD, "Sid": "a"}), "must be unique"),
    "no Effect": (_document(_without("Effect")), "Missing required field Effect"),
    "wrong Effect": (_document({**GOOD, "Effect": "allow"}), "Invalid effect"),
    "no Action": (_document(_without("Action")), "Missing required field Action"),
    "empty Action": (_document({**GOOD, "Action": []}), "Action"),
    "action of another service": (_document({**GOOD, "Action": "s3:GetObject"}), "only specify STS"),
    "action star": (_document({**GOOD, "Action": "*"}), "only specify STS"),
    "no Principal": (_document(_without("Principal")), "Missing required field Principal"),
    "empty Principal": (_document({**GOOD, "Principal": {}}), "Principal"),
    "Principal star": (_document({**GOOD, "Principal": "*"}), '"STAR":"*"'),
    "unknown principal type": (
        _document({**GOOD, "Principal": {"Foo": "x"}}),
        'Invalid principal in policy: "FOO":"x"',
    ),
    "role that is not there": (
        _document({**GOOD, "Principal": {"AWS": f"arn:aws:iam::{A}:role/nobody"}}),
        f'Invalid principal in policy: "AWS":"arn:aws:iam::{A}:role/nobody"',
    ),
    "user that is not there": (
        _document({**GOOD, "Principal": {"AWS": [f"arn:aws:iam::{A}:user/nobody"]}}),
        'Invalid principal in policy: "AWS"',
    ),
    "role with a wildcard": (
        _document({**GOOD, "Principal": {"AWS": f"arn:aws:iam::{A}:role/*"}}),
        'Invalid principal in policy: "AWS"',
    ),
    "id of a deleted role": (
        _document({**GOOD, "Principal": {"AWS": "AROAABCDEFGHIJKLMNOPQ"}}),
        'Invalid principal in policy: "AWS":"AROAABCDEFGHIJKLMNOPQ"',
    ),
    "id of a deleted user": (
        _document({**GOOD, "Principal": {"AWS": "AIDAABCDEFGHIJKLMNOPQ"}}),
        'Invalid principal in policy: "AWS"',
    ),
    "account of 11 digits": (_document({**GOOD, "Principal": {"AWS": "11112222333"}}), "Invalid principal"),
    "root of another partition": (
        _document({**GOOD, "Principal": {"AWS": f"arn:aws-cn:iam::{A}:root"}}),
        "Invalid principal",
    ),
    "federated that is no provider": (
        _document({**GOOD, "Principal": {"Federated": "https://issuer.example"}}),
        "Federated principals must be valid domain names or SAML metadata ARNs",
    ),
    "service that is none": (
        _document({**GOOD, "Principal": {"Service": "ec2"}}),
        'Invalid principal in policy: "SERVICE":"ec2"',
    ),
    "service that AWS does not have": (
        _document({**GOOD, "Principal": {"Service": "ec2.example.com"}}),
        'Invalid principal in policy: "SERVICE":"ec2.example.com"',
    ),
    "NotPrincipal": (
        _document({"Effect": "Deny", "NotPrincipal": {"AWS": A}, "Action": "sts:AssumeRole"}),
        "NotPrincipal",
    ),
    "role's ARN of STS": (
        _document({**GOOD, "Principal": {"AWS": f"arn:aws:sts::{A}:role/app"}}),
        f'Invalid principal in policy: "AWS":"arn:aws:sts::{A}:role/app"',
    ),
    "shared provider without the claim that it needs": (
        _document(
            {
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:aws:iam::{A}:oidc-provider/token.actions.githubusercontent.com"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}},
            }
        ),
        "token.actions.githubusercontent.com:sub",
    ),
    "unknown operator": (
        _document({**GOOD, "Condition": {"StringEqualz": {"a:b": "c"}}}),
        "Invalid Condition type : StringEqualz",
    ),
    "operator in lower case": (_document({**GOOD, "Condition": {"stringEquals": {"a:b": "c"}}}), "Invalid Condition"),
    "condition value is an object": (
        _document({**GOOD, "Condition": {"StringEquals": {"a:b": {"c": "d"}}}}),
        "Syntax errors",
    ),
}

ACCEPTED = {
    "account id": GOOD,
    "root of an account": {**GOOD, "Principal": {"AWS": f"arn:aws:iam::{B}:root"}},
    "every AWS principal": {**GOOD, "Principal": {"AWS": "*"}},
    "service": {**GOOD, "Principal": {"Service": ["ec2.amazonaws.com", "edgelambda.amazonaws.com"]}},
    "OIDC provider": {**GOOD, "Principal": {"Federated": PROVIDER}, "Action": "sts:AssumeRoleWithWebIdentity"},
    "SAML provider": {**GOOD, "Principal": {"Federated": f"arn:aws:iam::{A}:saml-provider/corp"}},
    "built-in provider": {**GOOD, "Principal": {"Federated": "accounts.google.com"}},
    "several actions": {**GOOD, "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]},
    "action with a wildcard": {**GOOD, "Action": "sts:Assume*"},
    "explicit deny": {**GOOD, "Effect": "Deny"},
    "operators with prefix and suffix": {
        **GOOD,
        "Condition": {
            "ForAnyValue:StringLikeIfExists": {"a:b": ["c*", "d"]},
            "Null": {"a:b": "false"},
            "Bool": {"aws:MultiFactorAuthPresent": True},
            "NumericLessThan": {"a:n": 5},
            "ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{A}:role/*"},
        },
    },
    "empty Sid": {**GOOD, "Sid": ""},
}


@pytest.fixture
def update(client: Client, make_role: Any) -> Callable[[str], None]:
    """Return a writer of the trust policy of one role."""
    make_role(A, "target")

    def write(document: str) -> None:
        client("iam", A).update_assume_role_policy(RoleName="target", PolicyDocument=document)

    return write


def _read(client: Client, name: str = "target") -> Any:
    return client("iam", A).get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]


@pytest.mark.parametrize(("document", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_malformed_document_is_refused(client: Client, update: Any, refused: Any, document: str, message: str) -> None:
    """CreateRole and UpdateAssumeRolePolicy refuse it alike, and what was there stays."""
    before = _read(client)
    with refused("MalformedPolicyDocument", message, 400):
        update(document)
    assert _read(client) == before
    with refused("MalformedPolicyDocument", message, 400):
        client("iam", A).create_role(RoleName="fresh", AssumeRolePolicyDocument=document)
    with refused("NoSuchEntity"):
        client("iam", A).get_role(RoleName="fresh")


@pytest.mark.parametrize("statement", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_good_statement_is_accepted(client: Client, update: Any, statement: dict[str, Any]) -> None:
    """What IAM takes is taken, and shown again."""
    update(_document(statement))
    assert _read(client)["Statement"][0]["Effect"] == statement["Effect"]


def test_one_statement_without_a_list_is_accepted(client: Client, update: Any) -> None:
    """Statement may be an object, and Version may be the old one or missing."""
    update(json.dumps({"Version": "2008-10-17", "Statement": GOOD}))
    update(json.dumps({"Statement": GOOD}))
    assert "Version" not in _read(client)


def test_documents_come_back_changed_in_form(client: Client, update: Any) -> None:
    """Account ids come back as root ARNs and condition keys sorted; foreign readers must compare by meaning."""
    update(_document({**GOOD, "Condition": {"StringEquals": {"b:x": "1", "a:x": "2"}}}))
    (statement,) = _read(client)["Statement"]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{A}:root"}
    assert list(statement["Condition"]["StringEquals"]) == ["a:x", "b:x"]


def test_principals_of_all_accounts_are_known(client: Client, make_role: Any, update: Any) -> None:
    """A role, a role's session and a user of another account are valid principals; the path must be right."""
    role = make_role(B, "caller", Path="/team/")
    client("iam", B).create_user(UserName="ann", Path="/people/")
    session = f"arn:aws:sts::{B}:assumed-role/caller/pod"
    named = [role, f"arn:aws:iam::{B}:user/people/ann", session]
    update(_document({**GOOD, "Principal": {"AWS": named}}))
    assert _read(client)["Statement"][0]["Principal"]["AWS"] == named


def test_wrong_path_is_another_principal(make_role: Any, update: Any, refused: Any) -> None:
    """A role's ARN without its path names nobody."""
    make_role(B, "caller", Path="/team/")
    with refused("MalformedPolicyDocument", "Invalid principal"):
        update(_document({**GOOD, "Principal": {"AWS": f"arn:aws:iam::{B}:role/caller"}}))


def _sized(characters: int) -> dict[str, Any]:
    statement = {**GOOD, "Condition": {"StringEquals": {"a:b": ""}}}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    room = characters - len(json.dumps(document, separators=(",", ":")))
    return {**document, "Statement": [{**GOOD, "Condition": {"StringEquals": {"a:b": "x" * room}}}]}


def test_length_is_limited_without_white_space(update: Any, refused: Any) -> None:
    """2,048 characters fit, however they are spaced; one more does not: LimitExceeded."""
    update(json.dumps(_sized(2048), indent=8))
    with refused("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048", 409):
        update(json.dumps(_sized(2049), separators=(",", ":")))


def test_quota_is_the_accounts(aws: LocalAws, client: Client, update: Any, refused: Any) -> None:
    """A raised quota holds in its account only, and GetAccountSummary reports it."""
    aws.set_quota(A, 4096)
    update(json.dumps(_sized(4096)))
    with refused("LimitExceeded", "4096"):
        update(json.dumps(_sized(4097)))
    quotas = [client("iam", each).get_account_summary()["SummaryMap"]["AssumeRolePolicySizeQuota"] for each in (A, B)]
    assert quotas == [4096, 2048]
    with refused("LimitExceeded", "2048"):
        client("iam", B).create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(_sized(2049)))


def test_missing_role(client: Client, refused: Any) -> None:
    """Everything on a role that is not there is NoSuchEntity."""
    iam = client("iam", A)
    with refused("NoSuchEntity", "The role with name nobody cannot be found.", 404):
        iam.update_assume_role_policy(RoleName="nobody", PolicyDocument=_document(GOOD))
    with refused("NoSuchEntity"):
        iam.get_role(RoleName="nobody")
    with refused("NoSuchEntity"):
        iam.put_role_policy(RoleName="nobody", PolicyName="p", PolicyDocument="{}")


def test_service_linked_role_is_not_ours_to_modify(client: Client, refused: Any) -> None:
    """UnmodifiableEntity for a role below /aws-service-role/; reading it works."""
    iam = client("iam", A)
    name = iam.create_service_linked_role(AWSServiceName="eks.amazonaws.com")["Role"]["RoleName"]
    with refused("UnmodifiableEntity", f"protected role '{name}'", 400):
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=_document(GOOD))
    with refused("UnmodifiableEntity"):
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument="{}")
    assert iam.get_role(RoleName=name)["Role"]["Path"] == "/aws-service-role/eks.amazonaws.com/"


@pytest.mark.parametrize(
    "settings",
    [{"RoleName": "a b"}, {"RoleName": "x" * 65}, {"Path": "team"}, {"MaxSessionDuration": 3599}],
    ids=["name", "long name", "path", "duration"],
)
def test_create_role_checks_its_parameters(client: Client, refused: Any, settings: dict[str, Any]) -> None:
    """Name, path and maximum duration have AWS's constraints."""
    with refused("ValidationError", "validation error detected", 400):
        client("iam", A).create_role(**({"RoleName": "r", "AssumeRolePolicyDocument": _document(GOOD)} | settings))


def test_role_name_is_taken_once(client: Client, make_role: Any, refused: Any) -> None:
    """EntityAlreadyExists for a second role of that name, whatever its path."""
    make_role(A, "twin")
    with refused("EntityAlreadyExists", status=409):
        client("iam", A).create_role(RoleName="twin", Path="/x/", AssumeRolePolicyDocument=_document(GOOD))


def test_update_role_keeps_what_it_does_not_name(client: Client, make_role: Any) -> None:
    """UpdateRole changes the maximum duration and leaves the description."""
    make_role(A, "target", Description="what for")
    client("iam", A).update_role(RoleName="target", MaxSessionDuration=7200)
    role = client("iam", A).get_role(RoleName="target")["Role"]
    assert (role["MaxSessionDuration"], role["Description"]) == (7200, "what for")


def test_inline_policies_and_tags_pass_through(client: Client, make_role: Any) -> None:
    """Inline policies and tags are stored and given back."""
    make_role(A, "target", allow="", Tags=[{"Key": "team", "Value": "a"}])
    iam = client("iam", A)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="target", PolicyName="p", PolicyDocument=json.dumps(policy))
    assert iam.get_role_policy(RoleName="target", PolicyName="p")["PolicyDocument"] == policy
    iam.tag_role(RoleName="target", Tags=[{"Key": "more", "Value": "b"}])
    assert {tag["Key"] for tag in iam.list_role_tags(RoleName="target")["Tags"]} == {"team", "more"}
    iam.delete_role_policy(RoleName="target", PolicyName="p")
    assert iam.list_role_policies(RoleName="target")["PolicyNames"] == []


@pytest.mark.parametrize("kind", ["role", "user"])
def test_deleted_principal_shows_its_id(client: Client, update: Any, make_role: Any, refused: Any, kind: str) -> None:
    """A deleted principal shows as AROA or AIDA, also once the name is used again, and the document cannot go back."""
    other = client("iam", B)

    def create() -> str:
        if kind == "role":
            return str(make_role(B, "gone", allow=""))
        return str(other.create_user(UserName="gone")["User"]["Arn"])

    arn = create()
    unique_id = (
        other.get_role(RoleName="gone")["Role"]["RoleId"]
        if kind == "role"
        else other.get_user(UserName="gone")["User"]["UserId"]
    )
    assert unique_id.startswith("AROA" if kind == "role" else "AIDA")
    update(_document({**GOOD, "Sid": "a", "Principal": {"AWS": [arn, B]}}, GOOD))
    getattr(other, f"delete_{kind}")(**{f"{kind.capitalize()}Name": "gone"})
    create()
    shown = _read(client)
    assert shown["Statement"][0]["Principal"]["AWS"] == [unique_id, f"arn:aws:iam::{B}:root"]
    (listed,) = client("iam", A).list_roles()["Roles"]
    assert listed["AssumeRolePolicyDocument"] == shown
    with refused("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{unique_id}"'):
        update(json.dumps(shown))
    update(_document({**GOOD, "Principal": {"AWS": arn}}))
    assert _read(client)["Statement"][0]["Principal"] == {"AWS": arn}


def test_failed_deletion_changes_no_document(client: Client, update: Any, make_role: Any, refused: Any) -> None:
    """A role that still has policies is not deleted: DeleteConflict, and documents keep naming it."""
    arn = make_role(B, "kept")
    update(_document({**GOOD, "Principal": {"AWS": arn}}))
    with refused("DeleteConflict", status=409):
        client("iam", B).delete_role(RoleName="kept")
    assert _read(client)["Statement"][0]["Principal"] == {"AWS": arn}


def test_inline_policies_share_a_quota(client: Client, refused: Any) -> None:
    """All inline policies of a role together have 10,240 characters without white space; each role has its own."""
    iam = client("iam", A)
    for name in ("r", "other"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=_document(GOOD))
    long, short = json.dumps(_inline(10_000), indent=4), json.dumps(_inline(240))
    iam.put_role_policy(RoleName="r", PolicyName="one", PolicyDocument=long)
    iam.put_role_policy(RoleName="r", PolicyName="one", PolicyDocument=long)  # its own former text does not count
    iam.put_role_policy(RoleName="r", PolicyName="two", PolicyDocument=short)
    with refused("LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role r"):
        iam.put_role_policy(RoleName="r", PolicyName="two", PolicyDocument=json.dumps(_inline(241)))
    iam.put_role_policy(RoleName="other", PolicyName="one", PolicyDocument=json.dumps(_inline(10_240)))


def _inline(characters: int) -> dict[str, Any]:
    """Return a policy of so many characters without white space."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": ""}]}
    resource = "arn:aws:s3:::"
    room = characters - len(json.dumps(policy, separators=(",", ":"))) - len(resource)
    policy["Statement"] = [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": resource + "x" * room}]
    return policy
