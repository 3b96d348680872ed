"""Messages as SDKs and programs log them, and what they say about where to look."""

from __future__ import annotations

import pytest

from trustbind.diagnosis.chain import CHECKS
from trustbind.diagnosis.error_text import _KINDS, ErrorClass, classify
from trustbind.identity.arns import RoleArn

MESSAGES = {
    "TrustDenied": (
        (
            "An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation: Not authorized to "
            "perform sts:AssumeRoleWithWebIdentity"
        ),
        (
            "operation error STS: AssumeRoleWithWebIdentity, https response error StatusCode: 403, api error "
            "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
        ),
    ),
    "InvalidToken": (
        "InvalidIdentityToken: No OpenIDConnect provider found in your account for https://oidc.example.com",
        "An error occurred (InvalidIdentityToken): Incorrect token audience",
    ),
    "IssuerUnreachable": (
        (
            "InvalidIdentityToken: Couldn't retrieve verification key from your identity provider, please reference "
            "AssumeRoleWithWebIdentity documentation for requirements"
        ),
        "IDPCommunicationError: Provided identity provider could not be reached",
    ),
    "ExpiredToken": ("ExpiredTokenException: Token expired: current date/time 1796040000 must be before 1796030000",),
    "DurationTooLong": (
        "ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    ),
    "InvalidName": (
        "ValidationError: 1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint",
        "ValidationError: Request ARN is invalid",
    ),
    "RegionDisabled": ("RegionDisabledException: STS is not activated in this region for account:111122223333.",),
    "SessionTooLarge": ("PackedPolicyTooLarge: Packed size of session tags consumes 120% of allotted space.",),
    "NoCredentials": (
        'Unable to locate credentials. You can configure credentials by running "aws configure".',
        "NoCredentialProviders: no valid providers in chain. Deprecated.",
        "failed to refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata",
        "CredentialsProviderError: Could not load credentials from any providers",
    ),
    "TokenUnreadable": (
        "open /var/run/secrets/eks.amazonaws.com/serviceaccount/token: permission denied",
        "[Errno 2] No such file or directory: '/var/run/secrets/eks.amazonaws.com/serviceaccount/token'",
    ),
    "Unreachable": ('Could not connect to the endpoint URL: "https://sts.eu-central-1.amazonaws.com/"',),
    "PermissionDenied": (
        (
            "An error occurred (AccessDenied) when calling the GetObject operation: User: "
            "arn:aws:sts::111122223333:assumed-role/checkout/x is not authorized to perform: s3:GetObject on resource: "
            '"arn:aws:s3:::b/k" because no identity-based policy allows the s3:GetObject action'
        ),
    ),
    "ChainDenied": (
        (
            "User: arn:aws:sts::111122223333:assumed-role/source/x is not authorized to perform: sts:AssumeRole on "
            "resource: arn:aws:iam::444455556666:role/target"
        ),
    ),
    "Unknown": ("something else",),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in MESSAGES.items() for text in texts])
def test_message_is_known(name: str, text: str) -> None:
    """Whatever stands around it, and however its lines are broken."""
    for shown in (text, f"2026-11-29 ERROR app: {text}\n  at main", text.replace(" ", "\n   ")):
        assert classify(shown).name == name


def test_every_kind_leads_somewhere() -> None:
    """To checks that exist."""
    numbers = {check.number for check in CHECKS}
    for texts in MESSAGES.values():
        found = classify(texts[0])
        assert found.checks
        assert found.checks <= numbers
        assert found.meaning.endswith(".")


def test_denied_call() -> None:
    """Who called, and what: two thirds of such questions are not about trust."""
    found = classify(MESSAGES["PermissionDenied"][0])

    assert (found.action, found.caller) == ("s3:GetObject", "checkout")


@pytest.mark.parametrize("found", [found for _, found in _KINDS], ids=lambda found: found.name)
def test_example_of_each_kind(found: ErrorClass) -> None:
    """The message that stands for others of its kind is of that kind."""
    assert classify(found.without_details(())) == found


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("hello", "unknown"),
        (
            "User: arn:aws:sts::111122223333:assumed-role/checkout/x is not authorized to perform: s3:GetObject on x",
            "arn:aws:sts::111122223333:assumed-role/checkout/session is not authorized to perform: s3:GetObject",
        ),
        (
            "User: arn:aws:sts::111122223333:assumed-role/Zq7secret/x is not authorized to perform: x:Zq7secret",
            "arn:aws:sts::000000000000:assumed-role/another-role/session is not authorized to perform: x:UnknownAction",
        ),
        (
            "User: arn:aws:sts::444455556666:assumed-role/checkout/x is not authorized to perform: s3:GetObject",
            "arn:aws:sts::000000000000:assumed-role/another-role/session is not authorized to perform: s3:GetObject",
        ),
        ("is not authorized to perform: sts:AssumeRole", "it is not authorized to perform: sts:AssumeRole"),
    ],
)
def test_message_without_its_details(message: str, kept: str) -> None:
    """Kind, action and a role that is known stay; the rest of the message does not."""
    found = classify(message).without_details([RoleArn.parse("arn:aws:iam::111122223333:role/shop/checkout")])

    assert found == kept
    assert classify(found).name == classify(message).name
