"""A hundred nights of a growing lab: all is found in time, the limits hold, quiet nights leave no trace."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from reliability.figures import Figures
from reliability.growing_lab import Ledger
from reliability.nights import measure

MEMORY = Path("/dev/shm")  # a file system in memory: what is measured is not the disk


def measured(tmp_path: Path, *, long: bool = False) -> Figures:
    if not MEMORY.is_dir():
        return measure(long=long, workdir=tmp_path)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        return measure(long=long, workdir=Path(folder))


def require_all_held(figures: Figures, *, rooms: int) -> None:
    assert figures.failures == ()
    counts = dict(figures.counts)
    assert int(counts["nights"]) >= 100
    assert int(counts["rooms after the last"]) >= rooms
    assert int(counts["nights without changes"]) >= 18
    times = {what: int(count.replace(",", "")) for what, count, _, _ in figures.table[1:]}
    assert times["late rows"] >= 5
    assert times["rows that are gone"] >= 3
    assert times["a row that was edited"] >= 5
    assert times["a room that vanished"] >= 6
    assert times["a new room"] >= rooms


@pytest.mark.timeout(400)
def test_faults_14_55_56_and_61_over_a_hundred_nights(tmp_path: Path) -> None:
    require_all_held(measured(tmp_path), rooms=600)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_faults_14_55_56_and_61_over_a_hundred_nights_and_2000_rooms(tmp_path: Path) -> None:
    require_all_held(measured(tmp_path, long=True), rooms=1_900)


def test_the_ledger_sees_one_request_too_many_in_either_reading_of_a_window() -> None:
    times, ledger = [2.0, 58.0, 61.0], Ledger()
    assert ledger.most_in_a_window(times, 60.0) == 3
    assert ledger.most_in_fixed_windows(times, 60.0, 1) == 2
    assert ledger.most_in_fixed_windows(times, 60.0, 60) == 3
