"""The options that commands share, each defined once, with the names that kubectl and the AWS CLI have for it.

Nothing heavy is imported here: the shell waits for this module at each press of the Tab key.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer

from trustbind.errors import InvalidValueError
from trustbind_cli import terminal

__all__ = [
    "AccountDetails",
    "AllNamespaces",
    "BindAnnotated",
    "Context",
    "DataOutput",
    "Files",
    "IssuerUrl",
    "Kubeconfig",
    "Kustomizations",
    "LiveRoles",
    "Namespace",
    "NoColor",
    "OutputFormat",
    "Prefix",
    "Profile",
    "Recursive",
    "Region",
    "Selector",
    "TableOutput",
    "TrustPolicies",
    "Yes",
    "refuse_beside",
]


def refuse_beside(option: str, *names: str, given: Iterable[object], because: str) -> None:
    """Refuse options that would be ignored.

    Args:
        option: beside which they would be.
        names: of the others.
        given: their values, in the same order; what is false was not given.
        because: what the user should know; a clause.

    Raises:
        InvalidValueError: one was given.
    """
    for name, value in zip(names, given, strict=True):
        if value:
            raise InvalidValueError(f"has no effect with {option}; {because}", field=name)


class OutputFormat(StrEnum):
    """For people, or as data."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class TableOutput(StrEnum):
    """For people, with further columns, or as data."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


DataOutput = Annotated[OutputFormat, typer.Option("-o", "--output", help="Text, or data.")]

# --- the cluster ------------------------------------------------------------------------------------------------------

Namespace = Annotated[
    str | None,
    typer.Option("-n", "--namespace", metavar="NAME", help="Namespace. Absent: that of the kubeconfig's context."),
]
AllNamespaces = Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces.")]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.")]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="FILE", help="The kubeconfig. Absent: KUBECONFIG, else ~/.kube/config."),
]
Selector = Annotated[
    str | None, typer.Option("-l", "--selector", metavar="LABELS", help="Label selector, such as app=web,tier!=test.")
]

# --- AWS --------------------------------------------------------------------------------------------------------------

Profile = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="Profile of the AWS configuration. Absent: AWS_PROFILE.")
]
Region = Annotated[
    str | None, typer.Option("--region", metavar="NAME", help="AWS region. Absent: that of the AWS configuration.")
]

# --- files ------------------------------------------------------------------------------------------------------------

Files = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--filename",
        metavar="FILE",
        help="File of YAML documents, folder of such files, or - for standard input. Repeatable.",
    ),
]
Recursive = Annotated[bool, typer.Option("-R", "--recursive", help="Also read the folders within folders.")]
Kustomizations = Annotated[
    list[str] | None,
    typer.Option(
        "-k", "--kustomize", metavar="DIR", help="Folder of a kustomization; needs kubectl or kustomize. Repeatable."
    ),
]
AccountDetails = Annotated[
    list[str] | None,
    typer.Option(
        "--account-details",
        metavar="FILE",
        help="Output of 'aws iam get-account-authorization-details', 'list-roles' or 'get-role'. Repeatable.",
    ),
]
TrustPolicies = Annotated[
    list[str] | None,
    typer.Option("--trust", metavar="ARN=FILE", help="One role and its trust policy. Repeatable."),
]

# --- what is meant ----------------------------------------------------------------------------------------------------

LiveRoles = Annotated[
    bool,
    typer.Option("--live", help="List the roles in AWS, also by the manager roles of AWSAccounts in the files."),
]
BindAnnotated = Annotated[
    bool,
    typer.Option(
        "--bind-annotated",
        help="Count annotated ServiceAccounts as bindings, as the operator does with bindAnnotated.mode Bind.",
    ),
]
Prefix = Annotated[str, typer.Option(help="Prefix of the annotations.")]
IssuerUrl = Annotated[str, typer.Option("--issuer", metavar="URL", help="The cluster's service-account token issuer.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _no_color(value: bool) -> None:
    if value:
        terminal.use_no_color(wanted=True)


NoColor = Annotated[
    bool,
    typer.Option(
        "--no-color",
        callback=_no_color,
        is_eager=True,
        expose_value=False,
        help="No colours, as with NO_COLOR in the environment.",
    ),
]
"""`trustbind_cli.command_group` adds it to every command."""
