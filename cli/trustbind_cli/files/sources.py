"""The texts that ``-f``, ``-R`` and ``-k`` name: files, folders, standard input, and what kustomize prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from trustbind.errors import InvalidValueError, ManifestError
from trustbind.evaluation.token_claims import is_token

__all__ = ["STANDARD_INPUT", "bytes_of", "files_of", "kustomized", "template_problem", "text_of"]

STANDARD_INPUT: Final = "-"
_SUFFIXES: Final = (".yaml", ".yml", ".json")
"""What kubectl reads in a folder."""
_KUSTOMIZATIONS: Final = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
"""Kustomize documentation, "kustomization"."""
_CHART: Final = "Chart.yaml"
"""Helm documentation, "Charts": every chart has it."""
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_ACTION: Final = re.compile(r"\{\{.*")
_HELM_ACTION: Final = re.compile(
    r"\{\{-?\s*(?:\.(?:Values|Release|Chart|Capabilities|Template|Files)\b|(?:include|template|toYaml|tpl)\s).*"
)
"""Helm documentation, "Built-in Objects" and "Named Templates"."""
_MAX_SHOWN: Final = 40
"""Characters of a template expression that a message shows."""
_MAX_FILE_BYTES: Final = 64 * 1024 * 1024
_KUSTOMIZE_SECONDS: Final = 120
"""A kustomization may fetch remote bases; longer than that is a network that does not answer."""


def files_of(names: Iterable[str], *, recursive: bool) -> Iterator[str]:
    """Yield the files that ``-f`` names, in order; those of a folder are sorted.

    Hidden files and folders of a folder are passed over, as are links to folders.

    Args:
        names: files, folders, and ``-`` for standard input.
        recursive: whether the folders within a folder count, too.

    Raises:
        InvalidValueError: a name is a URL.
        ManifestError: a folder holds no manifests, or a chart or kustomization, which has to be rendered first.
    """
    for name in names:
        if _URL.match(name):
            raise InvalidValueError(
                f"{name} is a URL, and trustbind reads files only; pipe it: curl -fsSL {name} | trustbind ... -f -",
                field="-f",
            )
        if name == STANDARD_INPUT or not Path(name).is_dir():
            yield name
            continue
        found = list(_in_folder(Path(name), recursive=recursive))
        if not found:
            deeper = not recursive and any(_in_folder(Path(name), recursive=True))
            advice = "; its subfolders do, so add -R" if deeper else ""
            raise ManifestError(name, 0, f"the folder holds no {', '.join(_SUFFIXES)} file{advice}")
        yield from found


def _in_folder(folder: Path, *, recursive: bool) -> Iterator[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ManifestError(str(folder), 0, f"cannot be read: {error.strerror or error}") from None
    for path in entries:
        if path.name == _CHART:
            raise ManifestError(
                str(folder), 0, f"is a Helm chart, whose templates have to be rendered; {_render(str(folder))}"
            )
        if path.name in _KUSTOMIZATIONS:
            raise ManifestError(
                str(folder), 0, f"is a kustomization, which changes its files; give it with -k {folder}"
            )
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if recursive and not path.is_symlink():
                yield from _in_folder(path, recursive=True)
        elif path.suffix in _SUFFIXES:
            yield str(path)


def kustomized(folder: str) -> str:
    """Return what an installed kubectl or kustomize makes of the kustomization in a folder.

    Raises:
        InvalidValueError: ``folder`` is a URL, or neither program is installed.
        ManifestError: the program refuses the folder.
    """
    if _URL.match(folder):
        raise InvalidValueError(
            f"{folder} is a URL, and trustbind reads folders only; pipe it: kustomize build {folder} | "
            "trustbind ... -f -",
            field="-k",
        )
    for program, command in (("kubectl", "kustomize"), ("kustomize", "build")):
        path = shutil.which(program)
        if path is not None:
            return _output([path, command, folder], folder, f"{program} {command}")
    raise InvalidValueError(
        "neither kubectl nor kustomize is installed; install one of them, or give the output of "
        f"'kustomize build {folder}' with -f",
        field="-k",
    )


def _output(command: list[str], folder: str, what: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_KUSTOMIZE_SECONDS, check=False)  # noqa: S603 - the program was found on PATH, and no shell reads the folder's name
    except subprocess.TimeoutExpired:
        raise ManifestError(folder, 0, f"'{what}' does not end within {_KUSTOMIZE_SECONDS} seconds") from None
    except OSError as error:
        raise ManifestError(folder, 0, f"'{what}' cannot be started: {error.strerror or error}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split()).removeprefix("error: ").removeprefix("Error: ")
        raise ManifestError(folder, 0, f"'{what}' fails: {said or f'exit code {done.returncode}'}")
    return _decoded(_within(done.stdout, folder, _MAX_FILE_BYTES), folder)


def bytes_of(name: str, limit: int) -> bytes:
    """Return what a file, or standard input, holds.

    Args:
        name: of the file; ``-`` is standard input.
        limit: the most bytes.

    Raises:
        ManifestError: it cannot be read, or is larger; or it is no name but a token, which is not shown.
    """
    if is_token(name):
        raise ManifestError(
            "a token", 0, "is no name of a file; write it to a file and give its name, or pipe it and give -"
        )
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise ManifestError(name, 0, f"cannot be read: {error.strerror or error}") from None
    return _within(data, name, limit)


def text_of(name: str) -> str:
    """Return the text of a file, or of standard input.

    Raises:
        ManifestError: it cannot be read, is too large, or is no text.
    """
    return _decoded(bytes_of(name, _MAX_FILE_BYTES), name)


def _within(data: bytes, name: str, limit: int) -> bytes:
    if len(data) > limit:
        raise ManifestError(name, 0, f"is larger than {limit // 1024 // 1024} MiB")
    return data


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(name, 0, f"is not UTF-8 text (byte {error.start})") from None


def template_problem(text: str, source: str, *, is_readable: bool) -> ManifestError | None:
    """Return the error about a template that was not rendered; None when the text has no such expression.

    Args:
        text: of the file.
        source: its name.
        is_readable: whether it is YAML as it stands. Then ``{{ }}`` may belong to the manifest, such as in an alert's
            text, and only what Helm alone understands counts.
    """
    pattern = _HELM_ACTION if is_readable else _ACTION
    if (found := pattern.search(text)) is None:
        return None
    line = text.count("\n", 0, found.start()) + 1
    shown = found.group().partition("}}")[0].removesuffix("-").rstrip()
    shown = f"{shown[:_MAX_SHOWN]}..." if len(shown) > _MAX_SHOWN else f"{shown} }}}}"
    return ManifestError(
        source, 0, f"line {line}: {shown} is a template expression that was not rendered; {_render(_chart_of(source))}"
    )


def _chart_of(source: str) -> str:
    """Return the chart that a file belongs to, or a word for it."""
    for folder in Path(source).resolve().parents if source != STANDARD_INPUT else ():
        if (folder / _CHART).is_file():
            return os.path.relpath(folder)
    return "CHART"


def _render(chart: str) -> str:
    return f"pipe what Helm makes of it: helm template NAME {chart} | trustbind ... -f -"
