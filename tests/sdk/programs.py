"""The same small program with each AWS SDK: it says who its default credentials are. See tools/sdk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

__all__ = ["PROGRAMS", "Answer", "AwsCli", "Boto3", "Go", "JavaScript", "Program"]

TOOLS: Final = Path(__file__).parents[2] / "tools" / "sdk"
SECONDS: Final = 60


@dataclass(frozen=True)
class Answer:
    """What a run of a program came to.

    Attributes:
        arn: what GetCallerIdentity says; empty when it failed.
        expires: when its credentials expire; None when they do not, or when the program does not know.
        region: that it used; empty when it does not know.
        error: what it says about its failure; empty when there was none.
    """

    arn: str = ""
    expires: datetime | None = None
    region: str = ""
    error: str = ""


class Program(ABC):
    """A program that uses one SDK.

    Attributes:
        name: for people.
        prepared: what ``tools/sdk/prepare.sh`` calls it; empty when it needs no preparation.
        endpoint: the variable that leads all its calls to another AWS.
    """

    name: str
    prepared: str = ""
    endpoint: str = "AWS_ENDPOINT_URL"

    def problem(self) -> str:
        """Return why it cannot run here; empty when it can."""
        if not self.prepared or (self.folder() / ".ready").exists():
            return ""
        return f"{self.name} is not there; run 'tools/sdk/prepare.sh {self.prepared}'"

    def folder(self) -> Path:
        """Return where ``tools/sdk/prepare.sh`` installs it."""
        command = [str(TOOLS / "prepare.sh"), "--where", self.prepared]
        return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())

    def run(self, environment: Mapping[str, str], home: Path, profile: str = "") -> Answer:
        """Run it with these variables and no others but PATH and HOME; with a profile where one is named."""
        home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            self.command(profile),
            env={**environment, "PATH": os.defpath, "HOME": str(home)},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        answer = self.answer(done, home)
        assert bool(answer.error) == bool(done.returncode), done
        return answer

    @abstractmethod
    def command(self, profile: str) -> list[str]:
        """Return program and arguments."""

    def answer(self, done: subprocess.CompletedProcess[str], home: Path) -> Answer:
        """Return what the program said."""
        del home
        said: dict[str, Any] = json.loads(done.stdout)
        expires = said.get("expires")
        return Answer(
            said.get("arn", ""),
            datetime.fromisoformat(expires) if expires else None,
            said.get("region") or "",
            said.get("error", ""),
        )


class Boto3(Program):
    """boto3, and so botocore, as installed for these tests."""

    name = "boto3"

    def command(self, profile: str) -> list[str]:
        """Return our own interpreter, isolated from variables and folders of Python's."""
        return [sys.executable, "-I", str(TOOLS / "python" / "whoami.py"), *filter(None, [profile])]


class AwsCli(Program):
    """The AWS CLI, version 1."""

    name = "the AWS CLI v1"
    prepared = "aws-cli"

    def command(self, profile: str) -> list[str]:
        """Return ``aws sts get-caller-identity``."""
        options = ["--profile", profile] if profile else []
        return [str(self.folder() / "venv" / "bin" / "aws"), "sts", "get-caller-identity", "--output", "json", *options]

    def answer(self, done: subprocess.CompletedProcess[str], home: Path) -> Answer:
        """Return the identity; when its credentials expire stands in the CLI's cache."""
        if done.returncode:
            return Answer(error=done.stderr.strip() or "failed")
        arn = json.loads(done.stdout)["Arn"]
        for file in (home / ".aws" / "cli" / "cache").glob("*.json"):
            cached = json.loads(file.read_text())
            if cached["AssumedRoleUser"]["Arn"] == arn:
                return Answer(arn, datetime.fromisoformat(cached["Credentials"]["Expiration"]))
        return Answer(arn)


class JavaScript(Program):
    """The SDK for JavaScript v3 on Node."""

    name = "the SDK for JavaScript v3"
    prepared = "javascript"

    def command(self, profile: str) -> list[str]:
        """Return node and the program, which stands beside its packages."""
        return [shutil.which("node") or "node", str(self.folder() / "whoami.mjs"), *filter(None, [profile])]


class Go(Program):
    """The SDK for Go v2."""

    name = "the SDK for Go v2"
    prepared = "go"
    # AWS_ENDPOINT_URL takes effect after the credentials were set up, so their calls go to the real STS.
    endpoint = "AWS_ENDPOINT_URL_STS"

    def command(self, profile: str) -> list[str]:
        """Return the built program."""
        return [str(self.folder() / "whoami"), *filter(None, [profile])]


PROGRAMS: Final[tuple[Program, ...]] = (Boto3(), AwsCli(), JavaScript(), Go())
"""The first needs nothing that the tests do not need anyway."""
