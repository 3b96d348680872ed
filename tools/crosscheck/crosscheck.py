"""Compares the evaluator with an independent one, on generated trust policies: iam-simulate's core engine, in Node.

python tools/crosscheck/crosscheck.py ENGINE_FOLDER [--first SEED] [--documents N]

Each difference has to be one of known-differences.json, which says who is right; any other ends with exit code 1. The
engine is run, never copied. `tools/crosscheck/prepare.sh` installs it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from trustbind.evaluation import Answer, Caller, Decision, Request, evaluate

HERE: Final = Path(__file__).resolve().parent
KNOWN: Final = HERE / "known-differences.json"
DOCUMENTS: Final = 200
REQUESTS: Final = 5
"""Requests to each document."""

ROLE: Final = "arn:aws:iam::444455556666:role/app"
HOST: Final = "oidc.example.com/id/1"
WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
PROVIDER: Final = f"arn:aws:iam::444455556666:oidc-provider/{HOST}"
CALLERS: Final[tuple[tuple[str, str], ...]] = (
    (PROVIDER, WEB_IDENTITY),
    (PROVIDER, WEB_IDENTITY),
    ("arn:aws:iam::444455556666:oidc-provider/token.actions.githubusercontent.com", WEB_IDENTITY),
    ("arn:aws:iam::111122223333:role/ci", "sts:AssumeRole"),
    ("arn:aws:sts::444455556666:assumed-role/ci/s1", "sts:AssumeRole"),
    ("arn:aws:iam::444455556666:user/ann", "sts:AssumeRole"),
    ("pods.eks.amazonaws.com", "sts:AssumeRole"),
)
PRINCIPALS: Final[tuple[Any, ...]] = (
    *({"Federated": PROVIDER}, {"Federated": PROVIDER}, {"Federated": [PROVIDER, CALLERS[2][0]]}),
    *({"AWS": "111122223333"}, {"AWS": "arn:aws:iam::444455556666:root"}, {"AWS": "*"}),
    *({"AWS": "arn:aws:iam::111122223333:role/ci"}, {"AWS": "arn:aws:iam::444455556666:role/ci"}),
    *({"AWS": ["arn:aws:sts::444455556666:assumed-role/ci/s1", "arn:aws:iam::444455556666:user/ann"]},),
    *({"Service": "pods.eks.amazonaws.com"}, {"Service": ["ec2.amazonaws.com", "pods.eks.amazonaws.com"]}),
)
ACTIONS: Final[tuple[Any, ...]] = (
    *(WEB_IDENTITY, WEB_IDENTITY, "sts:AssumeRole", "sts:*", "sts:AssumeRole*", "STS:assumerole"),
    *(["sts:AssumeRole", "sts:TagSession"], [WEB_IDENTITY, "sts:AssumeRole"], "sts:TagSession"),
)
VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    f"{HOST}:sub": ("system:serviceaccount:team-a:reader", "system:serviceaccount:team-b:reader", "Reader"),
    f"{HOST}:aud": ("sts.amazonaws.com", "vault"),
    "sts:ExternalId": ("e-1", "e-2", "E-1"),
    "sts:RoleSessionName": ("pod-1", "ann"),
    "aws:PrincipalArn": ("arn:aws:iam::444455556666:role/ci", "arn:aws:iam::444455556666:user/ann"),
    "aws:PrincipalAccount": ("444455556666", "111122223333"),
    "aws:username": ("ann", "bob"),
    "aws:SourceIp": ("203.0.113.7", "198.51.100.7", "2001:db8::1"),
    "aws:CurrentTime": ("2026-11-29T12:00:00Z", "2024-02-29T00:00:00Z"),
    "aws:MultiFactorAuthAge": ("10", "3600"),
    "aws:MultiFactorAuthPresent": ("true", "false"),
    "aws:TagKeys": ("team", "cost"),
    "aws:RequestTag/team": ("a", "b"),
}
WANTED: Final[Mapping[str, tuple[str, ...]]] = {
    f"{HOST}:sub": ("system:serviceaccount:team-a:*", "*:reader", "system:serviceaccount:team-?:reader", "*"),
    "sts:ExternalId": ("e-?", "${aws:username}", "*"),
    "sts:RoleSessionName": ("${aws:username}", "pod-*", "${aws:username, 'pod-1'}"),
    "aws:PrincipalArn": (
        "arn:aws:iam::444455556666:role/*",
        "arn:aws:iam::*:user/${aws:username}",
        "arn:*:iam::*:role/c?",
    ),
    "aws:SourceIp": ("203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"),
    "aws:CurrentTime": ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00+01:00", "2026-11-29"),
    "aws:MultiFactorAuthAge": ("3600", "60"),
}
"""What policies have besides the values of requests."""

OPERATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "StringEquals": (f"{HOST}:sub", f"{HOST}:aud", "sts:ExternalId", "aws:RequestTag/team", "sts:RoleSessionName"),
    "StringNotEquals": (f"{HOST}:aud", "sts:ExternalId", "aws:PrincipalAccount", "aws:RequestTag/team"),
    "StringEqualsIgnoreCase": (f"{HOST}:sub", "sts:ExternalId"),
    "StringNotEqualsIgnoreCase": ("sts:ExternalId",),
    "StringLike": (f"{HOST}:sub", "sts:ExternalId", "sts:RoleSessionName", "aws:PrincipalArn"),
    "StringNotLike": (f"{HOST}:sub", "sts:RoleSessionName"),
    "ArnEquals": ("aws:PrincipalArn",),
    "ArnLike": ("aws:PrincipalArn",),
    "ArnNotLike": ("aws:PrincipalArn",),
    "IpAddress": ("aws:SourceIp",),
    "NotIpAddress": ("aws:SourceIp",),
    "DateLessThan": ("aws:CurrentTime",),
    "DateGreaterThanEquals": ("aws:CurrentTime",),
    "NumericLessThan": ("aws:MultiFactorAuthAge",),
    "NumericGreaterThanEquals": ("aws:MultiFactorAuthAge",),
    "NumericNotEquals": ("aws:MultiFactorAuthAge",),
    "Bool": ("aws:MultiFactorAuthPresent",),
    "Null": tuple(VALUES),
    "ForAnyValue:StringEquals": ("aws:TagKeys",),
    "ForAllValues:StringEquals": ("aws:TagKeys",),
    "ForAnyValue:StringLike": ("aws:TagKeys",),
    "ForAllValues:StringNotEquals": ("aws:TagKeys",),
}
"""Operator to the keys that it can read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to both.

    Attributes:
        seed: from which the document was drawn.
        document: the trust policy.
        principal: who calls.
        action: what is called.
        context: everything that the request has.
    """

    seed: int
    document: dict[str, Any]
    principal: str
    action: str
    context: dict[str, list[str]]

    def line(self) -> str:
        """Return the question as the engine reads it; a key with one value is no list there."""
        context = {key: value if key == "aws:TagKeys" else value[0] for key, value in self.context.items()}
        return json.dumps(
            {
                "document": self.document,
                "principal": self.principal,
                "action": self.action,
                "context": context,
                "role": ROLE,
            }
        )

    def decide(self) -> Decision:
        """Return our own answer."""
        return evaluate(self.document, Request(Caller.parse(self.principal), self.action, self.context))


def drawn(seed: int) -> Iterator[Asked]:
    """Yield the questions of one seed."""
    random = Random(seed)  # noqa: S311 - it draws questions
    document = {
        "Version": "2012-10-17" if random.random() < 0.8 else "2008-10-17",
        "Statement": [_statement(random) for _ in range(random.choice((1, 1, 2, 3)))],
    }
    for _ in range(REQUESTS):
        principal, action = random.choice(CALLERS)
        keys = [key for key in VALUES if random.random() < 0.7]
        context = {key: [random.choice(VALUES[key])] for key in keys}
        if "aws:TagKeys" in context and random.random() < 0.5:
            context["aws:TagKeys"] = list(VALUES["aws:TagKeys"])
        context.pop("aws:PrincipalArn", None)  # it follows from who calls
        arn = principal.replace(":sts:", ":iam:").replace("assumed-role/ci/s1", "role/ci")
        if ":role/" in arn or ":user/" in arn:
            context |= {"aws:PrincipalArn": [arn], "aws:PrincipalAccount": [arn.split(":")[4]]}
        yield Asked(seed, document, principal, action, context)


def _statement(random: Random) -> dict[str, Any]:
    statement = {
        "Effect": "Allow" if random.random() < 0.85 else "Deny",
        "Principal": random.choice(PRINCIPALS),
        "Action": random.choice(ACTIONS),
    }
    block: dict[str, dict[str, Any]] = {}
    for _ in range(random.choice((0, 1, 1, 2))):
        operator = random.choice(list(OPERATORS))
        key = random.choice(OPERATORS[operator])
        values = ["true", "false"] if operator == "Null" else [*VALUES[key], *WANTED.get(key, ())]
        chosen = random.sample(values, 1 if operator in {"Null", "Bool"} else random.choice((1, 1, 2)))
        name = operator
        if operator != "Null" and random.random() < 0.15:
            name = f"{operator}IfExists"
        block.setdefault(name, {})[key] = chosen if len(chosen) > 1 or random.random() < 0.5 else chosen[0]
    return statement | ({"Condition": block} if block else {})


@dataclass(frozen=True, slots=True)
class KnownDifference:
    """A difference that is understood.

    Attributes:
        name: short.
        ours: our answer.
        theirs: the engine's.
        pattern: found in the JSON of the question, or in what we did not understand of it.
        right: who is right, and by which source.
    """

    name: str
    ours: str
    theirs: str
    pattern: re.Pattern[str]
    right: str

    def covers(self, asked: Asked, decision: Decision, theirs: str) -> bool:
        """Return whether the difference is of this kind."""
        text = "\n".join((asked.line(), *decision.unknown))
        return decision.answer == self.ours and theirs == self.theirs and self.pattern.search(text) is not None


def known_differences() -> list[KnownDifference]:
    """Return what known-differences.json lists."""
    return [
        KnownDifference(each["name"], each["ours"], each["theirs"], re.compile(each["pattern"]), each["right"])
        for each in json.loads(KNOWN.read_text(encoding="utf-8"))
    ]


def main(arguments: list[str] | None = None) -> int:
    """Compare, print, and return 1 where a difference is not known."""
    parser = argparse.ArgumentParser(description="Compare the evaluator with iam-simulate's core engine.")
    parser.add_argument("folder", type=Path, help="where the engine is installed")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="how many trust policies")
    options = parser.parse_args(arguments)
    questions = [asked for seed in range(options.first, options.first + options.documents) for asked in drawn(seed)]
    done = subprocess.run(
        ["node", str(HERE / "engine.mjs"), str(options.folder)],
        input="".join(f"{asked.line()}\n" for asked in questions),
        capture_output=True,
        text=True,
        check=False,
    )
    answers = done.stdout.splitlines()
    if done.returncode or len(answers) != len(questions):
        print(f"crosscheck: the engine gave {len(answers)} answers to {len(questions)} questions: {done.stderr}")
        return 1
    known = known_differences()
    found: Counter[str] = Counter()
    problems = 0
    for asked, theirs in zip(questions, answers, strict=True):
        decision = asked.decide()
        if (decision.answer is Answer.ALLOW) == (theirs == "Allowed") and not theirs.startswith("Failed"):
            found[f"both {decision.answer}"] += 1
            continue
        kind = next((each for each in known if each.covers(asked, decision, theirs)), None)
        if kind is not None:
            found[f"known: {kind.name}"] += 1
            continue
        problems += 1
        print(f"seed {asked.seed}: trustbind says {decision.answer}, the engine {theirs}\n  {asked.line()}")
        print(f"  {decision.reason} {' '.join(decision.unknown)}")
    print(f"crosscheck: {len(questions)} questions, {options.documents} trust policies from seed {options.first}")
    for text, count in sorted(found.items()):
        print(f"  {count:5} {text}")
    print(f"  {problems:5} differences that are not known")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
