"""Every probe against the local AWS: its answers are what trustbind assumes of AWS."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from aws_probes import known
from aws_probes.catalog import PROBES
from aws_probes.catalog.rule_documents import SKIPPED
from aws_probes.comparison import differences_of
from aws_probes.local import LocalLab
from aws_probes.model import ANY, Probe
from trustbind.policy.document_rules import RULES


@pytest.fixture(scope="module")
def lab() -> Iterator[LocalLab]:
    """Return a lab over a local AWS."""
    with LocalLab.started() as started:
        yield started


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_local_aws(lab: LocalLab, probe: Probe) -> None:
    """The local AWS answers as assumed, known differences apart, and each of those is still one."""
    answers = lab.run(probe)

    assert len(answers) == len(probe.calls)
    found = {each.label: str(each) for each in differences_of(probe, answers)}
    assert sorted(found) == sorted(label for name, label in known.LOCAL if name == probe.name), found


def test_names() -> None:
    """A probe's name is a file's, and no two probes and no two calls of one have the same."""
    names = [probe.name for probe in PROBES]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9-]+", name)] == []
    for probe in PROBES:
        labels = [call.label for call in probe.calls]
        assert len(set(labels)) == len(labels), probe.name


def test_rules_are_probed() -> None:
    """Each rule about trust policies has a probe with its documents, but for those that name why not."""
    probed = {probe.name.removeprefix("rule-") for probe in PROBES if probe.name.startswith("rule-")}
    assert probed == {rule.name for rule in RULES} - SKIPPED


def test_probes_assume_something() -> None:
    """A probe that assumes nothing says so."""
    silent = [
        probe.name
        for probe in PROBES
        if all(call.assumes == ANY for call in probe.calls) and "not known" not in probe.fact
    ]
    assert silent == []


def test_known_differences_name_calls() -> None:
    """Each known difference is one of a call that there is."""
    calls = {(probe.name, call.label) for probe in PROBES for call in probe.calls}
    assert set(known.LOCAL) <= calls
