"""The schemas of what commands print as data: docs/reference/*.schema.json."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from support.pages import DOCS

__all__ = ["checked"]


def checked(command: str, printed: str) -> Any:
    """Return what a command printed as JSON, which keeps to the command's schema."""
    schema = json.loads((DOCS / "reference" / f"{command}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    value = json.loads(printed)
    jsonschema.Draft202012Validator(schema).validate(value)
    return value
