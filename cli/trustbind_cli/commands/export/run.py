"""One run of ``trustbind export``: read, rename, print."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.migration.leaving import without_owner
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli import output
from trustbind_cli.commands.import_.exports import ExportedRole, without_repeats
from trustbind_cli.exit_codes import DONE, FAILED
from trustbind_cli.files.new_files import write_new
from trustbind_cli.terminal import note

__all__ = ["run", "terraform"]

_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")


def run(roles: Iterable[ExportedRole], issuer: Issuer, *, as_terraform: bool, output_dir: str | None) -> int:
    """Print the trust policies that hold something of the cluster's; return the exit code.

    Args:
        roles: with their trust policies.
        issuer: the cluster's.
        as_terraform: whether Terraform is printed, and not JSON.
        output_dir: folder for one file a role; None: standard output.

    Returns:
        1 where a trust policy could not be read; the others are printed.

    Raises:
        InvalidValueError: a file of the folder exists, or the folder cannot be written.
    """
    documents: dict[RoleArn, TrustDocument] = {}
    problems: list[str] = []
    total = 0
    for total, exported in enumerate(without_repeats(roles), start=1):  # noqa: B007 - it is used after the loop
        try:
            role = RoleArn.parse(exported.arn)
            plain = without_owner(TrustDocument.parse(exported.policy, stored=True), issuer)
        except InvalidValueError as error:
            problems.append(f"{exported.source}: {exported.arn}: {error}")
            continue
        if plain is not None:
            documents[role] = plain
    ordered = {role: documents[role] for role in sorted(documents)}
    if output_dir is not None:
        write_new(output_dir, _files(ordered, as_terraform=as_terraform))
    elif as_terraform:
        print("\n".join(terraform(role, document) for role, document in ordered.items()), end="")
    else:
        print(output.to_json({str(role): document.to_json_object() for role, document in ordered.items()}))
    for problem in problems:
        note(f"trustbind: {problem}")
    note(f"trustbind: {len(ordered)} of {total} trust policies hold statements of this cluster's trustbind")
    return FAILED if problems else DONE


def terraform(role: RoleArn, document: TrustDocument) -> str:
    """Return a Terraform local with the trust policy, for ``assume_role_policy`` of the role's ``aws_iam_role``."""
    text = json.dumps(document.to_json_object(), indent=2, ensure_ascii=False)
    # Terraform reads ${ and %{ as the beginning of a template (Terraform documentation, "Strings and Templates").
    escaped = text.replace("${", "$${").replace("%{", "%%{").replace("\n", "\n  ")
    return f"# {role}\nlocals {{\n  trust_{_name(role)} = jsonencode({escaped})\n}}\n"


def _name(role: RoleArn) -> str:
    return _NOT_IN_NAME.sub("_", f"{role.account_id}{role.path}{role.name}")


def _files(documents: Mapping[RoleArn, TrustDocument], *, as_terraform: bool) -> dict[str, str]:
    """Return name and text of a file for each role."""
    return {
        f"{_name(role)}.{'tf' if as_terraform else 'json'}": (
            terraform(role, document) if as_terraform else output.to_json(document.to_json_object()) + "\n"
        )
        for role, document in documents.items()
    }
