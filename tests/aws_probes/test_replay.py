"""The vectors in tests/data/aws-vectors, again: against the local AWS with its evaluator, and the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aws_probes.catalog import PROBES
from aws_probes.local import ACCOUNT, LocalLab
from aws_probes.model import Answer, Call, Probe
from aws_probes.replay import WEB_IDENTITY, against_evaluator, against_local_aws, against_rules
from aws_probes.vectors import AWS, LOCAL, Vector, read, write

FOLDER = Path(__file__).parents[1] / "data" / "aws-vectors"
FILES = sorted(FOLDER.glob("*.json"))
BY_NAME = {probe.name: probe for probe in PROBES}


@pytest.fixture(scope="module")
def lab() -> Iterator[LocalLab]:
    """Return a lab over a local AWS."""
    with LocalLab.started() as started:
        yield started


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_replay(lab: LocalLab, path: Path) -> None:
    """The local AWS answers as was observed; its own vectors also have its messages."""
    vector = read(path)

    assert against_local_aws(vector, lab) == ()
    if vector.observed_at == LOCAL:
        assert lab.run(vector.probe) == vector.answers, "run: make generate"


def test_vectors_are_of_probes() -> None:
    """Each probe has a vector, and one of the local AWS has the probe's present calls."""
    assert [path.stem for path in FILES] == sorted(BY_NAME)
    stale = []
    for path in FILES:
        vector, probe = read(path), BY_NAME[path.stem]
        assert vector.probe.name == path.stem
        sent = [(call.label, call.operation, _plain(call.parameters), call.caller) for call in vector.probe.calls]
        wanted = [(call.label, call.operation, _plain(call.parameters), call.caller) for call in probe.calls]
        if vector.observed_at == LOCAL and (sent, vector.probe.fact) != (wanted, probe.fact):
            stale.append(path.stem)
    assert stale == [], "run: make generate"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_rules() -> None:
    """The rules refuse each trust policy that was refused, and no other."""
    differing = [str(each) for path in FILES for each in against_rules(read(path))]

    assert differing == []


def test_evaluator() -> None:
    """The evaluator allows each exchange of a token that was allowed, and no other."""
    differing = [str(each) for path in FILES for each in against_evaluator(read(path))]

    assert differing == []


def test_evaluator_is_contradicted() -> None:
    """Nearly every exchange whose answer is turned round contradicts the evaluator; the rest depends on its time."""
    turned, found = [], []
    for vector in map(read, FILES):
        for number, (call, answer) in enumerate(zip(vector.probe.calls, vector.answers, strict=True)):
            if call.operation == WEB_IDENTITY and answer.code in {"", "AccessDenied"}:
                answers = list(vector.answers)
                answers[number] = Answer("" if answer.code else "AccessDenied")
                turned.append((vector.probe.name, call.label))
                found += [(e.probe, e.label) for e in against_evaluator(replace(vector, answers=tuple(answers)))]

    assert len(turned) > 50
    assert set(turned) - set(found) == {
        ("keys-web-identity", "aws:PrincipalArn"),
        ("keys-web-identity", "aws:SourceIp"),
        ("web-identity-token", "an absent role"),
    }


def test_vectors_name_no_aws_account() -> None:
    """No id of an AWS account but those of AWS's documentation, and no credentials."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\b[0-9]{12}\b", text)) <= {ACCOUNT, "444455556666"}, path
        assert re.findall(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", text) == [], path
        assert "SessionToken" not in text, path


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::@{account}:root"}, "Action": "sts:AssumeRole"}
    ],
}
CREATE = Call(
    "create",
    "iam:CreateRole",
    {"RoleName": "trustbind-probe-@{run}-a", "Path": "/trustbind-probe/", "AssumeRolePolicyDocument": TRUST},
)
READ = Call("read", "iam:GetRole", {"RoleName": "trustbind-probe-@{run}-a"}, shows={"Role.Path": ""})
ASSUME = Call(
    "assume",
    "sts:AssumeRole",
    {"RoleArn": "arn:aws:iam::@{account}:role/trustbind-probe/trustbind-probe-@{run}-a", "RoleSessionName": "probe"},
)


def _vector(*answers: Answer, calls: tuple[Call, ...] = (CREATE, READ, ASSUME)) -> Vector:
    return Vector(Probe("made-up", "made up", calls), answers, AWS, "2026-11-29")


RIGHT = (Answer(), Answer(shows={"Role.Path": "/trustbind-probe/"}), Answer())


def test_right_vector(lab: LocalLab) -> None:
    """A vector with the local AWS's own answers shows no difference."""
    assert against_local_aws(_vector(*RIGHT), lab) == ()
    assert against_rules(_vector(*RIGHT)) == ()


@pytest.mark.parametrize(
    ("number", "answer", "says"),
    [
        (0, Answer("MalformedPolicyDocument"), "create: assumed MalformedPolicyDocument, answered success"),
        (
            1,
            Answer(shows={"Role.Path": "/other/"}),
            "read: assumed Role.Path = '/other/', answered '/trustbind-probe/'",
        ),
        (1, Answer("NoSuchEntity"), "read: assumed NoSuchEntity, answered success"),
        (2, Answer("AccessDenied"), "assume: assumed AccessDenied, answered success"),
    ],
)
def test_wrong_vector(lab: LocalLab, number: int, answer: Answer, says: str) -> None:
    """A vector with another answer than the local AWS's fails the replay, and the difference says where."""
    answers = [*RIGHT]
    answers[number] = answer

    assert [str(each) for each in against_local_aws(_vector(*answers), lab)] == [f"made-up, {says}"]


def test_wrong_vector_for_the_rules() -> None:
    """IAM refused what the rules take, or took what they refuse: both are differences."""
    refused = _vector(Answer("MalformedPolicyDocument"), *RIGHT[1:])
    resource = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Resource": "*"}]}  # type: ignore[dict-item]  # a policy
    taken = _vector(
        *RIGHT, calls=(replace(CREATE, parameters={**CREATE.parameters, "AssumeRolePolicyDocument": resource}), READ)
    )

    assert [str(each) for each in against_rules(refused)] == [
        "made-up, create: assumed MalformedPolicyDocument, answered success"
    ]
    assert [each.label for each in against_rules(taken)] == ["create"]
    assert "has a Resource" in against_rules(taken)[0].answered


def test_call_that_was_not_made(lab: LocalLab) -> None:
    """A call that cannot be made, since one before it failed, is a difference."""
    late = replace(READ, parameters={"RoleName": "@{create.Role.RoleName}"}, shows={})
    broken = replace(CREATE, parameters={**CREATE.parameters, "AssumeRolePolicyDocument": "{"})

    found = against_local_aws(_vector(Answer("MalformedPolicyDocument"), Answer(), calls=(broken, late)), lab)

    assert [str(each) for each in found] == ["made-up, read: assumed success, answered nothing: it was not made"]


def test_written_and_read(tmp_path: Path) -> None:
    """A vector reads back as it was written."""
    vector = _vector(Answer(tries=3, seconds=4.5), Answer(shows={"Role.Path": None}), Answer("AccessDenied", "no"))

    again = read(write(tmp_path, vector))

    assert again.answers == vector.answers
    assert (again.observed_at, again.observed_on) == (AWS, "2026-11-29")
    assert [call.parameters for call in again.probe.calls] == [call.parameters for call in vector.probe.calls]


def _without_day(content: dict[str, Any]) -> None:
    del content["observed_on"]


def _elsewhere(content: dict[str, Any]) -> None:
    content["observed_at"] = "moon"


def _without_answer(content: dict[str, Any]) -> None:
    del content["calls"][0]["answer"]


@pytest.mark.parametrize(
    ("change", "says"),
    [(_without_day, "has the day"), (_elsewhere, "it is aws or local"), (_without_answer, "is no vector")],
)
def test_file_that_is_no_vector(tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    """A vector of AWS has a day, and every vector says where it was observed."""
    path = write(tmp_path, _vector(*RIGHT))
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(ValueError, match=says):
        read(path)
