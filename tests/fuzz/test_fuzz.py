"""Each target holds for its corpus and for changes of it; the fuzzer itself finds what is wrong. See README.md."""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz import __main__ as command
from fuzz import mutation
from fuzz.checks import bounded, check_sentence, steps_of
from fuzz.engine import fuzz_plainly
from fuzz.mutation import changed
from fuzz.targets import TARGETS, Target

_TESTS = Path(__file__).parents[1]
_EXAMPLES = 150

every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@st.composite
def inputs(draw: st.DrawFn, target: Target) -> bytes:
    """Return a kept input of a target after some changes."""
    kept = draw(st.sampled_from(target.corpus)).read_bytes()
    rng = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(1, 3))):
        kept = changed(kept, target.words, rng)
    return kept


@every_target
def test_corpus(target: Target) -> None:
    """Every input that is kept passes."""
    assert len(target.corpus) >= 3
    for path in target.corpus:
        target.check(path.read_bytes())


@every_target
def test_changes(target: Target) -> None:
    """So does every change of one: the same ones in each run, since `make fuzz` is there to find new ones."""

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@every_target
@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff", b'"\\ud800"', b"[" * 100_000, b"1" * 5000])
def test_no_input_at_all(target: Target, data: bytes) -> None:
    """What has nothing of an input is refused with a sentence, or means nothing."""
    target.check(data)


def test_every_target_has_a_name_in_the_command() -> None:
    """The command knows the targets without importing them."""
    assert list(TARGETS) == list(command._NAMES)


# --- the fuzzer itself ------------------------------------------------------------------------------------------------


def _fails(match: str) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        if match in data.decode("utf-8", "replace"):
            raise ValueError(match)

    return check


@pytest.mark.parametrize("fault", ["AROAEXAMPLE", "\\ud800", "11111111111111111111", '"Sid":{', "null"])
def test_a_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An input that a target cannot stand is found, kept, and raised."""
    target = TARGETS["documents"]
    broken = Target(target.name, target.text, _fails(fault), target.words)
    monkeypatch.setitem(TARGETS, "documents", broken)

    with pytest.raises(ValueError, match=fault.replace("\\", "\\\\").replace("{", "\\{")):
        fuzz_plainly("documents", 3600, 1, tmp_path)

    (kept,) = tmp_path.glob("crash-*")
    assert fault in kept.read_text(encoding="utf-8", errors="replace")


def test_the_same_seed_changes_alike() -> None:
    """A seed decides the change, so that a run can be repeated."""
    target = TARGETS["validate"]
    kept = target.corpus[0].read_bytes()

    one, other, third = (changed(kept, target.words, random.Random(seed)) for seed in (5, 5, 6))  # noqa: S311

    assert one == other != third


def test_changes_of_changes_do_not_grow_without_end() -> None:
    """A long text is not made many times longer, nor a large list: libFuzzer changes what was changed, for hours."""
    words = TARGETS["objects"].words
    long = "x" * 20_000
    for seed in range(200):
        rng = random.Random(seed)  # noqa: S311 - a seed decides
        spoiled = mutation._spoiled(long, words, rng)
        root = [[long, [long]]]
        mutation._edit(root, words, rng)

        assert len(spoiled) <= len(long) + 6000  # the longest word is put in
        assert mutation._size(root) <= 4 * len(long)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x00", "\ud800", "a\u2028", "x" * 1001])
def test_what_is_no_sentence(text: str) -> None:
    """An error has to be one readable line."""
    with pytest.raises(AssertionError):
        check_sentence(text)


def test_work_is_counted() -> None:
    """Work that grows faster than the input is found; work in proportion to it is not."""

    def linear(size: int) -> int:
        return sum(1 for _ in range(size))

    def quadratic(size: int) -> int:
        return sum(linear(size) for _ in range(size))

    assert steps_of(lambda: linear(1000))[1] < 10_000 < steps_of(lambda: quadratic(300))[1]
    sampled = next(bytes(n) for n in range(200, 2000) if _is_sampled(bytes(n)))
    assert bounded(lambda: linear(len(sampled)), sampled, a_byte=10, fixed=100) == len(sampled)
    with pytest.raises(AssertionError, match="steps for"):
        bounded(lambda: quadratic(len(sampled)), sampled, a_byte=10, fixed=100)


def _is_sampled(data: bytes) -> bool:
    """Return whether work on an input is counted."""
    try:
        bounded(lambda: [0 for _ in range(1000)], data, a_byte=0, fixed=0)
    except AssertionError:
        return True
    return False


def test_command(tmp_path: Path) -> None:
    """The command fuzzes the named targets and reports each result; it refuses an unknown target."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "fuzz", "--engine", "plain", "--folder", str(tmp_path), *arguments]
        return subprocess.run(line, cwd=_TESTS, capture_output=True, text=True, check=False)

    done = run("--seconds", "1", "grants")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[1-9][0-9]* inputs, none failed$", done.stdout, re.MULTILINE)
    assert "1 passed, 0 failed" in done.stdout
    kept = TARGETS["tokens"].corpus[0]
    assert f"tokens: {kept} passes" in run("tokens", "--replay", str(kept)).stdout
    assert run("nothing").returncode == 2
    assert run("--seconds", "0", "grants").returncode == 2


def test_a_failed_target_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says what was found, where its input is, and how to play it again; the other targets go on."""

    def run(line: list[str], *, check: bool, stdout: BinaryIO, stderr: int) -> subprocess.CompletedProcess[bytes]:
        assert (check, stderr) == (False, subprocess.STDOUT)
        is_bad = "tokens" in line
        stdout.write(b"INFO: begin\nAssertionError: odd\n" if is_bad else b"inputs: 7\n")
        return subprocess.CompletedProcess(line, 77 if is_bad else 0)

    monkeypatch.setattr(subprocess, "run", run)
    options = argparse.Namespace(seconds=1, engine="plain", seed=1, folder=tmp_path)

    assert command._fuzz_all(["tokens", "grants"], options) == 1

    said = capsys.readouterr().out
    assert "AssertionError: odd" in said
    assert "INFO: begin" not in said
    assert f"tokens: FAILED; {tmp_path / 'tokens'} has the input" in said
    assert "7 inputs, none failed" in said
    assert "1 passed, 1 failed" in said
