"""Every fault alone, and mixes of them: never wrong, healed by the next run, quiet after that."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from oracle import EXPERIMENT

from hsmirror.lab.chronicle import Chronicle
from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.faults import FAULTS, Outcome
from reliability.chaos import LONG_MIXES, MIXES, Trial, figures_of, mixes, tried

MIXES_A_TEST = 10


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is such a thing: what is tried here is no matter of the disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="hsmirror-chaos-", dir=memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_survives_each_fault_alone(fault: str, scratch: Path) -> None:
    trial = tried((fault,), 1, scratch)
    assert trial.violations == []
    assert trial.struck[fault] > 0
    assert trial.rows_compared > 500
    assert trial.searched_bytes > 50_000


@pytest.mark.parametrize("first_seed", range(1, MIXES + 1, MIXES_A_TEST))
def test_a_run_survives_mixes_of_faults(first_seed: int, scratch: Path) -> None:
    trials = [tried(*mix, scratch) for mix in mixes(MIXES_A_TEST, first_seed=first_seed)]
    assert [f"{trial}: {violation}" for trial in trials for violation in trial.violations] == []
    assert sum(trial.struck.total() for trial in trials) > 10 * MIXES_A_TEST


@pytest.mark.long
@pytest.mark.parametrize("first_seed", range(MIXES + 1, LONG_MIXES + 1, 50))
def test_a_run_survives_more_mixes_of_faults(first_seed: int, scratch: Path) -> None:
    trials = [tried(*mix, scratch) for mix in mixes(50, first_seed=first_seed)]
    assert [f"{trial}: {violation}" for trial in trials for violation in trial.violations] == []


def test_the_figures_tell_what_was_tried_and_what_did_not_hold() -> None:
    good = Trial(("body-cut",), 1, struck=Counter({"body-cut": 3}), was_complete=True, rows_compared=7)
    bad = Trial(("body-cut", "total-high"), 9, struck=Counter({"body-cut": 2}), violations=["a row is missing"])

    figures = figures_of([good], [bad])

    assert figures.failures == ("--seed 9 body-cut total-high: a row is missing",)
    counts = [count for _, count in figures.counts]
    assert counts == [1, 1, 1, 0, 0, 5, 0, 7, 0]
    assert figures.table[1] == ("body-cut", FAULTS["body-cut"].does, "5", "heals", "complete")


def test_a_trial_sees_what_is_wrong(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is called harmless and is not fails its trial: it does look."""
    monkeypatch.setitem(FAULTS, "type-forbidden", replace(FAULTS["type-forbidden"], outcome=Outcome.HEALS))
    (violation,) = tried(("type-forbidden",), 1, scratch).violations
    assert "a fault that heals is not complete" in violation


def test_a_trial_sees_rows_that_are_missing_from_what_is_called_complete(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(source: MadeUpSource) -> Chronicle:
        chronicle = Chronicle(source)
        source.add_rows(EXPERIMENT, source.room_ids(EXPERIMENT)[0], "events", 1)
        chronicle.begin_again()
        source.delete_rows(EXPERIMENT, source.room_ids(EXPERIMENT)[0], "events", 1)
        chronicle.rows_throughout = chronicle.rows_ever  # type: ignore[method-assign]  # the fault to be seen
        return chronicle

    monkeypatch.setattr("reliability.chaos.Chronicle", forgetful)
    violations = tried(("new-fields",), 1, scratch).violations
    assert any("missing from what is called complete" in each for each in violations)
