"""What IAM does with a trust policy as a whole: its size, its principals, the form in which it comes back."""

from __future__ import annotations

from typing import Any, Final

from aws_probes.catalog.calls import (
    ACCOUNT_ROOT,
    allow,
    create_role,
    document,
    get_role,
    name_of,
    role_arn,
    update_trust,
)
from aws_probes.model import ANY, Call, Probe
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    FederatedKey,
    WebIdentityKey,
    build,
    placeholder,
    retained,
)
from trustbind.policy.pod_identity import STATEMENT

__all__ = ["PROBES"]

_MALFORMED: Final = "MalformedPolicyDocument"
_ROOT_ALONE: Final = document(allow({"AWS": ACCOUNT_ROOT}))
_DOCUMENT: Final = "Role.AssumeRolePolicyDocument"
_TWO: Final = {"StringEquals": {"sts:ExternalId": "two"}}
_ISSUER: Final = Issuer.parse("https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF")
_OTHER_ISSUER: Final = Issuer.parse("https://token.actions.githubusercontent.com")


def _sized(plus: int, blanks: int = 0) -> dict[str, Any]:
    condition = {"aws:UserAgent": "@{fill}"}
    return {
        "$sized": {
            "document": document(allow({"AWS": ACCOUNT_ROOT}, StringLike=condition)),
            "characters": "@{quota.SummaryMap.AssumeRolePolicySizeQuota}",
            "plus": plus,
            "blanks": blanks,
        }
    }


def _own_documents() -> dict[str, Any]:
    """Return each kind of statement that trustbind writes as a document of its own, for roles of the run."""
    stand_in = RoleArn("aws", "111122223333", "/", "subject")
    source = RoleArn("aws", "111122223333", "/trustbind-probe/", "trustbind-probe-@{run}-source")
    readers = [Subject("team-a", "reader"), Subject("team-b", "reader")]
    key = WebIdentityKey("sts.amazonaws.com")
    statements = {
        "web-identity": build(_ISSUER, stand_in, key, readers),
        "chain": build(_ISSUER, stand_in, ChainKey(source, "external-id")),
        "chain-by-root": build(_ISSUER, stand_in, ChainKey(source, "by-root", via_root=True)),
        "federated": build(
            _ISSUER, stand_in, FederatedKey(_OTHER_ISSUER, "sts.amazonaws.com"), ["repo:example-org/app:*"]
        ),
        "association": build(_ISSUER, stand_in, AssociationKey(source), ["external-id-of-eks"]),
        "retained": retained(_ISSUER, stand_in, key, readers),
        "pod-identity": dict(STATEMENT),
        "placeholder": placeholder(_ISSUER, stand_in),
    }
    return {kind: _of_sandbox(document(statement)) for kind, statement in statements.items()}


def _of_sandbox(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _of_sandbox(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_of_sandbox(part) for part in value]
    return value.replace("111122223333", "@{account}") if isinstance(value, str) else value


PROBES: Final = (
    Probe(
        "trust-policy-size",
        "GetAccountSummary tells how many characters a trust policy may have; one more is refused, and white space "
        'between the parts does not count. Source: IAM User Guide, "IAM and AWS STS quotas"',
        (
            Call("quota", "iam:GetAccountSummary", {}, shows={"SummaryMap.AssumeRolePolicySizeQuota": ANY}),
            create_role("subject", _ROOT_ALONE),
            update_trust("subject", _sized(0), "as long as the quota"),
            update_trust("subject", _sized(0, blanks=100), "as long as the quota, and 100 blanks"),
            update_trust(
                "subject",
                _sized(1),
                "one character too long",
                assumes="LimitExceeded",
                says="Cannot exceed quota for ACLSizePerRole",
            ),
            create_role("long", _sized(1), label="a new role, one too long", assumes="LimitExceeded", settles=False),
        ),
    ),
    Probe(
        "trust-policy-own-statements",
        "IAM stores every kind of statement that trustbind writes, and returns it with the same meaning, so that a "
        "second plan changes nothing",
        (
            create_role("source", _ROOT_ALONE),
            *(create_role(kind, policy) for kind, policy in _own_documents().items()),
            *(
                get_role(kind, f"read {kind}", {_DOCUMENT: policy}, settles=True)
                for kind, policy in _own_documents().items()
            ),
        ),
    ),
    Probe(
        "trust-policy-form",
        "IAM returns a document changed in form and not in meaning: an account id as the ARN of its root, lists of "
        'one, the order of keys. Source: IAM User Guide, "AWS JSON policy elements: Principal"',
        (
            create_role(
                "subject",
                document(
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": ["@{account}"]},
                        "Action": ["sts:AssumeRole"],
                        "Condition": {
                            "StringEquals": {"sts:ExternalId": ["one"], "aws:PrincipalType": "User"},
                            "Bool": {"aws:MultiFactorAuthPresent": True},
                            "NumericLessThan": {"aws:MultiFactorAuthAge": 3600},
                        },
                    }
                ),
            ),
            get_role(
                "subject",
                "read",
                {
                    _DOCUMENT: document(
                        allow(
                            {"AWS": ACCOUNT_ROOT},
                            StringEquals={"aws:PrincipalType": "User", "sts:ExternalId": "one"},
                            Bool={"aws:MultiFactorAuthPresent": "true"},
                            NumericLessThan={"aws:MultiFactorAuthAge": "3600"},
                        )
                    )
                },
            ),
        ),
    ),
    Probe(
        "trust-policy-absent-principal",
        "A principal that does not exist fails the write as a whole. Source: AWS re:Post, "
        '"Failed to update trust policy. Invalid principal"',
        (
            create_role("subject", _ROOT_ALONE),
            update_trust(
                "subject",
                document(allow({"AWS": ACCOUNT_ROOT}), allow({"AWS": role_arn("absent")})),
                "a role that does not exist, beside one that does",
                assumes=_MALFORMED,
                says="Invalid principal in policy",
            ),
            create_role("deep", _ROOT_ALONE, path="/trustbind-probe/deep/"),
            update_trust(
                "subject",
                document(allow({"AWS": role_arn("deep")})),
                "a role without its path",
                assumes=_MALFORMED,
            ),
            update_trust(
                "subject",
                document(allow({"AWS": role_arn("deep", "/trustbind-probe/deep/")})),
                "its path",
                settles=True,
            ),
            update_trust(
                "subject",
                document(allow({"Service": "tagging.amazonaws.com"})),
                "a service that there is not",
                assumes=_MALFORMED,
            ),
            update_trust(
                "subject",
                document(
                    allow(
                        {"Federated": "arn:aws:iam::@{account}:oidc-provider/trustbind-probe-@{run}.example.com"},
                        "sts:AssumeRoleWithWebIdentity",
                    )
                ),
                "an OIDC provider that does not exist",
            ),
        ),
    ),
    Probe(
        "trust-policy-stale-principal",
        "A role that is a principal is stored by its unique id: once it is deleted the document shows the id, and a "
        "write that carries it back fails as a whole; a role that is created again under the name is another one. "
        "An AWS account with a condition on aws:PrincipalArn is not concerned. Source: IAM User Guide, "
        '"AWS JSON policy elements: Principal"',
        (
            create_role("source", _ROOT_ALONE),
            create_role("by-name", document(allow({"AWS": role_arn("source")}))),
            create_role(
                "by-arn",
                document(allow({"AWS": ACCOUNT_ROOT}, ArnEquals={"aws:PrincipalArn": role_arn("source")})),
            ),
            get_role("by-name", "read before", {f"{_DOCUMENT}.Statement.0.Principal.AWS": role_arn("source")}),
            get_role("by-arn", "by-arn before", {f"{_DOCUMENT}.Statement.#": 1}),
            Call("delete the source", "iam:DeleteRole", {"RoleName": name_of("source")}),
            get_role("by-name", "read after", {f"{_DOCUMENT}.Statement.0.Principal.AWS": "@{id}"}, settles=True),
            update_trust(
                "by-name",
                "@{read after.Role.AssumeRolePolicyDocument}",
                "written back as it was read",
                assumes=_MALFORMED,
                says="Invalid principal in policy",
            ),
            create_role("source", _ROOT_ALONE, label="create the source again"),
            get_role("by-name", "read again", {f"{_DOCUMENT}.Statement.0.Principal.AWS": "@{id}"}),
            update_trust("by-arn", "@{by-arn before.Role.AssumeRolePolicyDocument}", "the account's statement back"),
        ),
    ),
    Probe(
        "trust-policy-text",
        "IAM refuses what is no JSON, a key that stands twice, and a document that is no object. Source: IAM API "
        "reference, UpdateAssumeRolePolicy",
        (
            create_role("subject", _ROOT_ALONE),
            update_trust("subject", "{", "no JSON", assumes=_MALFORMED),
            update_trust("subject", "[]", "a list", assumes=_MALFORMED),
            update_trust(
                "subject",
                '{"Version":"2012-10-17","Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":'
                '{"AWS":"arn:aws:iam::@{account}:root"},"Action":"sts:AssumeRole"}]}',
                "a key that stands twice",
                assumes=_MALFORMED,
            ),
        ),
    ),
    Probe(
        "trust-policy-replaced",
        "UpdateAssumeRolePolicy replaces the whole document. A read shows the write within a minute, and once it "
        "has, later reads do, too",
        (
            create_role("subject", document(allow({"AWS": ACCOUNT_ROOT}, StringEquals={"sts:ExternalId": "one"}))),
            update_trust("subject", document(allow({"AWS": ACCOUNT_ROOT}, StringEquals=_TWO["StringEquals"])), "write"),
            *(
                get_role(
                    "subject",
                    f"read {number}",
                    {f"{_DOCUMENT}.Statement.#": 1, f"{_DOCUMENT}.Statement.0.Condition": _TWO},
                    settles=number == 1,
                )
                for number in range(1, 9)
            ),
        ),
    ),
)
