"""OIDC providers: what IAM takes, and what it does twice."""

from __future__ import annotations

from typing import Any, Final

from aws_probes.model import ANY, Call, Probe

__all__ = ["PROBES"]

_HOST: Final = "trustbind-probe-@{run}.example.com"
_URL: Final = f"https://{_HOST}"
_ARN: Final = f"arn:aws:iam::@{{account}}:oidc-provider/{_HOST}"
_THUMBPRINT: Final = "0123456789abcdef0123456789abcdef01234567"
"""Given in every call but one, so that IAM need not reach the host, which does not exist."""
_INVALID: Final = "ValidationError"
_REFUSED_INPUT: Final = "InvalidInput"


def _create(label: str, assumes: str = "", **parameters: Any) -> Call:
    sent = {"Url": _URL, "ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": [_THUMBPRINT], **parameters}
    return Call(label, "iam:CreateOpenIDConnectProvider", sent, assumes=assumes)


def _get(label: str, **shows: Any) -> Call:
    return Call(
        label,
        "iam:GetOpenIDConnectProvider",
        {"OpenIDConnectProviderArn": _ARN},
        shows={path.replace("__", "."): value for path, value in shows.items()},
        settles=True,
    )


def _change(label: str, operation: str, assumes: str = "", **parameters: Any) -> Call:
    return Call(label, f"iam:{operation}", {"OpenIDConnectProviderArn": _ARN, **parameters}, assumes=assumes)


PROBES: Final = (
    Probe(
        "provider-url",
        "An OIDC provider's URL is https, without port and query, and has up to 255 characters. Source: IAM API "
        "reference, CreateOpenIDConnectProvider",
        (
            _create("http", _INVALID, Url=f"http://{_HOST}"),
            _create("a port", _INVALID, Url=f"{_URL}:8443"),
            _create("a query", _INVALID, Url=f"{_URL}/a?b=c"),
            _create("more than 255 characters", _INVALID, Url=f"{_URL}/{'x' * 255}"),
            _create("a path", Url=f"{_URL}/a/b"),
            _create("host alone"),
            _create("a provider that is there", "EntityAlreadyExists"),
        ),
    ),
    Probe(
        "provider-without-thumbprint",
        "The list of thumbprints is optional. trustbind sends none; here the host does not exist, and whether IAM "
        "looks for it is not known. Source: IAM API reference, CreateOpenIDConnectProvider, ThumbprintList",
        (
            Call(
                "create",
                "iam:CreateOpenIDConnectProvider",
                {"Url": _URL, "ClientIDList": ["sts.amazonaws.com"]},
                assumes=ANY,
            ),
        ),
    ),
    Probe(
        "provider-client-ids",
        "A provider has up to 100 client ids of up to 255 characters. Adding one twice, and removing one that is not "
        "there, succeeds. Source: IAM API reference, AddClientIDToOpenIDConnectProvider",
        (
            _create("101 client ids", "LimitExceeded", ClientIDList=[f"client-{n}" for n in range(101)]),
            _create("a client id of 256 characters", _INVALID, ClientIDList=["x" * 256]),
            _create("99 client ids", ClientIDList=[f"client-{n}" for n in range(99)]),
            _change("the 100th", "AddClientIDToOpenIDConnectProvider", ClientID="client-99"),
            _change("the 100th again", "AddClientIDToOpenIDConnectProvider", ClientID="client-99"),
            _get("read 100", **{"ClientIDList.#": 100}),
            _change("the 101st", "AddClientIDToOpenIDConnectProvider", "LimitExceeded", ClientID="client-100"),
            _change("remove", "RemoveClientIDFromOpenIDConnectProvider", ClientID="client-99"),
            _change("remove again", "RemoveClientIDFromOpenIDConnectProvider", ClientID="client-99"),
        ),
    ),
    Probe(
        "provider-thumbprints",
        "A provider has up to five thumbprints of 40 hexadecimal digits. Source: IAM API reference, "
        "CreateOpenIDConnectProvider",
        (
            _create("six thumbprints", _REFUSED_INPUT, ThumbprintList=[f"{n}" * 40 for n in range(6)]),
            _create("a thumbprint of 39 digits", _INVALID, ThumbprintList=["0" * 39]),
            _create("five thumbprints", ThumbprintList=[f"{n}" * 40 for n in range(5)]),
        ),
    ),
    Probe(
        "provider-identity-context",
        "ContextProvider says what AWS makes of claims; it is kept, replaced by UpdateOpenIDConnectProvider, and "
        "removed. Source: IAM API reference, ContextProvider",
        (
            _create("create", ContextProvider={"SubjectSourceKey": "sub", "SubjectTypeValue": "workload"}),
            _get("read", ContextProvider__SubjectSourceKey="sub", ContextProvider__SubjectTypeValue="workload"),
            _change(
                "replace",
                "UpdateOpenIDConnectProvider",
                ContextProvider={
                    "SubjectSourceKey": "sub",
                    "SubjectTypeSourceKey": "type",
                    "KeyDefinitionList": [{"SourceKey": "namespace", "TargetKey": "Namespace"}],
                },
            ),
            _get(
                "read what replaced it",
                ContextProvider__SubjectTypeSourceKey="type",
                ContextProvider__SubjectTypeValue=None,
                ContextProvider__KeyDefinitionList__0__TargetKey="Namespace",
            ),
            _change("neither replace nor remove", "UpdateOpenIDConnectProvider", _REFUSED_INPUT),
            _change(
                "a type that is both fixed and from a claim",
                "UpdateOpenIDConnectProvider",
                _REFUSED_INPUT,
                ContextProvider={
                    "SubjectSourceKey": "sub",
                    "SubjectTypeSourceKey": "type",
                    "SubjectTypeValue": "workload",
                },
            ),
            _change("remove", "UpdateOpenIDConnectProvider", RemoveContextProvider=True),
            _get("read after removal", ContextProvider=None),
        ),
    ),
    Probe(
        "provider-absent",
        "Calls on a provider that does not exist answer NoSuchEntity. Source: IAM API reference, "
        "GetOpenIDConnectProvider",
        (
            Call("read", "iam:GetOpenIDConnectProvider", {"OpenIDConnectProviderArn": _ARN}, assumes="NoSuchEntity"),
            _change("add", "AddClientIDToOpenIDConnectProvider", "NoSuchEntity", ClientID="sts.amazonaws.com"),
        ),
    ),
)
