"""AssumeRoleWithWebIdentity: tokens, their claims, and the conditions on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aws_probes.catalog.calls import ACCOUNT_ROOT, DENIED, allow, assume, create_role, document, role_arn
from aws_probes.issuer import ALGORITHMS
from aws_probes.model import ANY, Call, Need, Probe

__all__ = ["CONTROL", "PROBES", "PROVIDER", "WEB", "exchange", "provider"]

WEB: Final = "sts:AssumeRoleWithWebIdentity"
CONTROL: Final = "system:serviceaccount:trustbind-probe:control"
"""Subject of tokens that a control statement admits."""

_ARN: Final = "arn:aws:iam::@{account}:oidc-provider/@{issuer}"
PROVIDER: Final = {"Federated": _ARN}
_INVALID_TOKEN: Final = "InvalidIdentityToken"
_INVALID: Final = "ValidationError"
_SUBJECT: Final = "system:serviceaccount:team-a:reader"
_TRUST: Final = document(
    allow(PROVIDER, WEB, StringEquals={"@{issuer}:aud": "sts.amazonaws.com", "@{issuer}:sub": _SUBJECT})
)
_ISSUER: Final = frozenset({Need.ISSUER})


def provider(*client_ids: str, **more: Any) -> Call:
    """Return a call that creates the provider of the run's issuer."""
    parameters = {"Url": "https://@{issuer}", "ClientIDList": list(client_ids) or ["sts.amazonaws.com"], **more}
    return Call("create the provider", "iam:CreateOpenIDConnectProvider", parameters)


def exchange(short: str, label: str, token: Mapping[str, Any], *, session: str = "probe", **members: Any) -> Call:
    """Return a call that exchanges a token for a session of a role; ``token`` is what `Issuer.mint` takes."""
    more = members.pop("more", {})
    parameters = {
        "RoleArn": role_arn(short),
        "RoleSessionName": session,
        "WebIdentityToken": {"$token": {"subject": _SUBJECT, **token}},
        **more,
    }
    return Call(label, f"{WEB}", parameters, **members)


def _only(*statements: Mapping[str, Any], version: str = "2012-10-17") -> dict[str, Any]:
    """Return a trust policy with a control statement in front."""
    return document(allow(PROVIDER, WEB, StringEquals={"@{issuer}:sub": CONTROL}), *statements, version=version)


def _controlled(short: str) -> Call:
    return exchange(short, f"control of {short}", {"subject": CONTROL}, settles=True)


def _token(**claims: Any) -> dict[str, Any]:
    return claims


_TAGS: Final = {"https://aws.amazon.com/tags": {"principal_tags": {"team": ["a"]}, "transitive_tag_keys": []}}
_OTHER_ACCOUNT: Final = {"Federated": "arn:aws:iam::444455556666:oidc-provider/@{issuer}"}
_BY_VARIABLE: Final = allow(PROVIDER, WEB, StringEquals={"@{issuer}:sub": "${sts:RoleSessionName}"})

PROBES: Final = (
    Probe(
        "web-identity-token",
        "STS verifies a token's signature, expiry and audience, and takes up to 20,000 characters. Source: STS API "
        "reference, AssumeRoleWithWebIdentity",
        (
            provider(),
            create_role("subject", _TRUST),
            exchange(
                "subject",
                "good",
                {},
                settles=True,
                shows={"SubjectFromWebIdentityToken": _SUBJECT, "Audience": "sts.amazonaws.com", "Provider": _ARN},
            ),
            exchange("subject", "one audience of two", {"audience": ["other", "sts.amazonaws.com"]}, assumes=ANY),
            exchange("subject", "an audience that the provider has not", {"audience": "other"}, assumes=_INVALID_TOKEN),
            exchange("subject", "another subject", {"subject": "system:serviceaccount:team-b:reader"}, assumes=DENIED),
            exchange("subject", "another case", {"subject": _SUBJECT.upper()}, assumes=DENIED),
            exchange("subject", "expired", {"expires_in": -600}, assumes="ExpiredTokenException"),
            exchange("subject", "signed by another key", {"wrong_key": True}, assumes=_INVALID_TOKEN),
            exchange("subject", "more than 20,000 characters", {"filler": "x" * 20_000}, assumes=_INVALID),
            exchange("subject", "a session name of one character", {}, session="x", assumes=_INVALID),
            exchange("subject", "3,601 s", {}, more={"DurationSeconds": 3601}, assumes=_INVALID),
            exchange("absent", "an absent role", {}, assumes=DENIED),
        ),
        _ISSUER,
    ),
    Probe(
        "web-identity-algorithms",
        'STS verifies RS256, RS384, RS512, ES256, ES384 and ES512. Source: IAM User Guide, "Create an OpenID Connect '
        '(OIDC) identity provider in IAM"',
        (
            provider(),
            create_role("subject", _TRUST),
            *(exchange("subject", name, {"algorithm": name}, settles=name == "RS256") for name in ALGORITHMS),
        ),
        _ISSUER,
    ),
    Probe(
        "web-identity-azp",
        'Where a token has azp, the key aud is azp, and oaud is the claim aud. Source: IAM User Guide, "IAM and AWS '
        'STS condition context keys", Available keys for AWS OIDC federation',
        (
            provider("sts.amazonaws.com", "the-client"),
            create_role("aud-is-azp", _only(allow(PROVIDER, WEB, StringEquals={"@{issuer}:aud": "the-client"}))),
            create_role("aud-is-aud", _only(allow(PROVIDER, WEB, StringEquals={"@{issuer}:aud": "sts.amazonaws.com"}))),
            create_role("oaud", _only(allow(PROVIDER, WEB, StringEquals={"@{issuer}:oaud": "sts.amazonaws.com"}))),
            *(_controlled(short) for short in ("aud-is-azp", "aud-is-aud", "oaud")),
            exchange("aud-is-azp", "aud is azp", _token(azp="the-client")),
            exchange("aud-is-aud", "aud is not aud", _token(azp="the-client"), assumes=DENIED),
            exchange("oaud", "oaud is aud", _token(azp="the-client")),
        ),
        _ISSUER,
    ),
    Probe(
        "web-identity-provider",
        "STS looks a token's issuer up among the OIDC providers of the role's AWS account: a statement that names "
        'another account\'s never applies. Source: IAM User Guide, "AWS JSON policy elements: Principal"',
        (
            provider(),
            create_role("other-account", _only(allow(_OTHER_ACCOUNT, WEB))),
            _controlled("other-account"),
            exchange("other-account", "the provider of another account", {}, assumes=DENIED),
            Call("delete the provider", "iam:DeleteOpenIDConnectProvider", {"OpenIDConnectProviderArn": _ARN}),
            exchange("other-account", "no provider", {"subject": CONTROL}, assumes=_INVALID_TOKEN, settles=True),
        ),
        _ISSUER,
    ),
    Probe(
        "web-identity-conditions",
        "Variables work with Version 2012-10-17 alone; * in a pattern matches across colons; ForAllValues and "
        'IfExists are true for a request without the key. Source: IAM User Guide, "IAM JSON policy elements: '
        'Version", "Condition operators"',
        (
            provider(),
            create_role("variable", _only(_BY_VARIABLE)),
            create_role("text", _only(_BY_VARIABLE, version="2008-10-17")),
            create_role("pattern", _only(allow(PROVIDER, WEB, StringLike={"@{issuer}:sub": "system:*:reader"}))),
            create_role("for-all", _only(allow(PROVIDER, WEB, ForAllValues_StringEquals={"@{issuer}:amr": "a"}))),
            create_role("if-exists", _only(allow(PROVIDER, WEB, StringEqualsIfExists={"@{issuer}:amr": "a"}))),
            create_role("for-any", _only(allow(PROVIDER, WEB, ForAnyValue_StringEquals={"@{issuer}:amr": "a"}))),
            create_role("key-case", _only(allow(PROVIDER, WEB, StringEquals={"@{issuer}:SUB": _SUBJECT}))),
            *(
                _controlled(short)
                for short in ("variable", "text", "pattern", "for-all", "if-exists", "for-any", "key-case")
            ),
            exchange("variable", "a variable of 2012-10-17", {"subject": "worker-1"}, session="worker-1"),
            exchange("text", "a variable of 2008-10-17", {"subject": "worker-1"}, session="worker-1", assumes=DENIED),
            exchange("pattern", "a pattern across colons", {}),
            exchange("for-all", "ForAllValues without the key", {}),
            exchange("if-exists", "IfExists without the key", {}),
            exchange("for-any", "ForAnyValue without the key", {}, assumes=DENIED),
            exchange("key-case", "a key in another case", {}),
        ),
        _ISSUER,
    ),
    Probe(
        "web-identity-session-tags",
        "The claim https://aws.amazon.com/tags becomes aws:RequestTag keys, and needs sts:TagSession. Source: IAM "
        'User Guide, "Pass session tags in AWS STS"',
        (
            provider(),
            create_role("subject", _TRUST),
            create_role(
                "tagged",
                document(
                    allow(
                        PROVIDER,
                        [WEB, "sts:TagSession"],
                        StringEquals={"@{issuer}:sub": _SUBJECT, "aws:RequestTag/team": "a"},
                    ),
                    allow(PROVIDER, WEB, StringEquals={"@{issuer}:sub": CONTROL}),
                ),
            ),
            exchange("subject", "without tags", {}, settles=True),
            _controlled("tagged"),
            exchange("subject", "tags without sts:TagSession", _TAGS, assumes=DENIED),
            exchange("tagged", "tags with sts:TagSession", _TAGS),
        ),
        _ISSUER,
    ),
    Probe(
        "web-identity-origin",
        "With a ContextProvider, aws:OriginIdentity keys can be read where the session assumes another role. Nothing "
        "is assumed; what AWS answers is recorded. Source: IAM API reference, ContextProvider",
        (
            provider(ContextProvider={"SubjectSourceKey": "sub", "SubjectTypeValue": "workload"}),
            create_role("subject", _TRUST),
            Call(
                "permit subject",
                "iam:PutRolePolicy",
                {
                    "RoleName": "trustbind-probe-@{run}-subject",
                    "PolicyName": "assume",
                    "PolicyDocument": document(
                        {"Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": role_arn("*")}
                    ),
                },
            ),
            create_role(
                "next",
                document(
                    allow({"AWS": ACCOUNT_ROOT}, StringEquals={"sts:ExternalId": "control"}),
                    allow({"AWS": ACCOUNT_ROOT}, Null={"aws:OriginIdentity/Subject": "false"}),
                ),
            ),
            exchange("subject", "session", {}, settles=True),
            assume("next", "control of next", caller="session", more={"ExternalId": "control"}, settles=True),
            assume("next", "aws:OriginIdentity/Subject", caller="session", assumes=ANY),
        ),
        _ISSUER,
    ),
)
