"""AssumeRole: who is trusted, chains, external ids, limits, and what a session outlives."""

from __future__ import annotations

from typing import Any, Final

from aws_probes.catalog.calls import (
    ACCOUNT_ROOT,
    DENIED,
    allow,
    assume,
    create_role,
    document,
    name_of,
    permit_assume_role,
    role_arn,
    update_trust,
)
from aws_probes.model import Call, Probe

__all__ = ["PROBES"]

_INVALID: Final = "ValidationError"
_BY_ROOT: Final = document(allow({"AWS": ACCOUNT_ROOT}))
_WITH_ID: Final = document(allow({"AWS": ACCOUNT_ROOT}, StringEquals={"sts:ExternalId": "the-id"}))


def _id(text: str) -> dict[str, Any]:
    return {"ExternalId": text}


def _seconds(number: int) -> dict[str, Any]:
    return {"DurationSeconds": number}


PROBES: Final = (
    Probe(
        "assume-role-external-id",
        "A condition on sts:ExternalId admits the right id alone. An id has 2 to 1,224 characters of a fixed set. "
        "Source: STS API reference, AssumeRole",
        (
            create_role("subject", _WITH_ID),
            assume("subject", "the right id", more=_id("the-id"), settles=True),
            assume("subject", "another id", more=_id("another-id"), assumes=DENIED),
            assume("subject", "another case", more=_id("The-Id"), assumes=DENIED),
            assume("subject", "no id", assumes=DENIED),
            assume("subject", "one character", more=_id("x"), assumes=_INVALID),
            assume("subject", "1,225 characters", more=_id("x" * 1225), assumes=_INVALID),
            assume("subject", "a space", more=_id("the id"), assumes=_INVALID),
        ),
    ),
    Probe(
        "assume-role-limits",
        "A session has a name of 2 to 64 characters and lasts 900 s up to what the role allows. A role that does not "
        "exist answers as one that does not trust. Source: STS API reference, AssumeRole",
        (
            create_role("subject", _BY_ROOT, more={"MaxSessionDuration": 3600}),
            assume("subject", "shortest", more=_seconds(900), session="ab", settles=True),
            assume("subject", "a name of 64 characters", session="x" * 64),
            assume("subject", "a name of one character", session="x", assumes=_INVALID),
            assume("subject", "a name of 65 characters", session="x" * 65, assumes=_INVALID),
            assume("subject", "a colon in the name", session="a:b", assumes=_INVALID),
            assume("subject", "899 s", more=_seconds(899), assumes=_INVALID),
            assume("subject", "43,201 s", more=_seconds(43_201), assumes=_INVALID),
            assume("subject", "more than the role allows", more=_seconds(3601), assumes=_INVALID),
            assume("absent", "an absent role", assumes=DENIED),
            assume("subject", "another path", arn=role_arn("subject", "/"), assumes=DENIED),
        ),
    ),
    Probe(
        "assume-role-chain",
        "A session of a role that assumes another role gets at most 3,600 s. aws:PrincipalArn of a session is the "
        "ARN of its role, with its path. Within one AWS account, a role that is named as principal needs no policy "
        'of its own; where the account is named, it does. Source: IAM User Guide, "Methods to assume a role", '
        '"Policy evaluation logic", "AWS global condition context keys"',
        (
            create_role("source", _BY_ROOT),
            create_role("plain", _BY_ROOT),
            permit_assume_role("source"),
            create_role(
                "target",
                document(allow({"AWS": ACCOUNT_ROOT}, ArnEquals={"aws:PrincipalArn": role_arn("source")})),
                more={"MaxSessionDuration": 7200},
            ),
            create_role("names-plain", document(allow({"AWS": role_arn("plain")}))),
            create_role("names-account", _BY_ROOT),
            assume("source", "source", settles=True),
            assume("plain", "plain", settles=True),
            assume("target", "source to target", caller="source", settles=True),
            assume("target", "3,600 s", caller="source", more=_seconds(3600)),
            assume("target", "3,601 s", caller="source", more=_seconds(3601), assumes=_INVALID),
            assume("target", "plain to target", caller="plain", assumes=DENIED),
            assume("names-plain", "plain to a role that names it", caller="plain", settles=True),
            assume("names-account", "source to a role that names the account", caller="source", settles=True),
            assume("names-account", "plain to a role that names the account", caller="plain", assumes=DENIED),
        ),
    ),
    Probe(
        "assume-role-created-again",
        "A role that is created again under its name is admitted by AWS account and aws:PrincipalArn, and no longer "
        'by a statement that names it. Source: IAM User Guide, "AWS JSON policy elements: Principal"',
        (
            create_role("source", _BY_ROOT),
            create_role("by-name", document(allow({"AWS": role_arn("source")}))),
            create_role(
                "by-arn", document(allow({"AWS": ACCOUNT_ROOT}, ArnEquals={"aws:PrincipalArn": role_arn("source")}))
            ),
            Call("delete the source", "iam:DeleteRole", {"RoleName": name_of("source")}),
            create_role("source", _BY_ROOT, label="create the source again"),
            permit_assume_role("source"),
            assume("source", "source", settles=True),
            assume("by-arn", "by account and ARN", caller="source", settles=True),
            assume("by-name", "by name", caller="source", assumes=DENIED),
        ),
    ),
    Probe(
        "assume-role-revoked",
        "Trust that is granted, and trust that is revoked, shows at STS within a minute. A session outlives the "
        "trust that made it",
        (
            create_role("subject", _WITH_ID),
            assume("subject", "granted", more=_id("the-id"), settles=True),
            update_trust(
                "subject",
                document(allow({"AWS": ACCOUNT_ROOT}, StringEquals={"sts:ExternalId": "a-new-id"})),
                "revoke, and grant to another id",
            ),
            assume("subject", "the new id", more=_id("a-new-id"), settles=True),
            assume("subject", "the old id", more=_id("the-id"), assumes=DENIED, settles=True),
            Call(
                "the session of before",
                "sts:GetCallerIdentity",
                {},
                shows={"Arn": f"arn:aws:sts::@{{account}}:assumed-role/{name_of('subject')}/probe"},
                caller="granted",
            ),
        ),
    ),
    Probe(
        "assume-role-tags",
        "Session tags need sts:TagSession in the trust policy, a source identity sts:SetSourceIdentity. Source: IAM "
        'User Guide, "Pass session tags in AWS STS"',
        (
            create_role("subject", _BY_ROOT),
            create_role(
                "tagged",
                document(allow({"AWS": ACCOUNT_ROOT}, ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"])),
            ),
            assume("subject", "no tags", settles=True),
            assume("subject", "tags", more={"Tags": [{"Key": "team", "Value": "a"}]}, assumes=DENIED),
            assume("subject", "a source identity", more={"SourceIdentity": "someone"}, assumes=DENIED),
            assume("tagged", "tags that may be", more={"Tags": [{"Key": "team", "Value": "a"}]}, settles=True),
            assume("tagged", "a source identity that may be", more={"SourceIdentity": "someone"}, settles=True),
        ),
    ),
)
