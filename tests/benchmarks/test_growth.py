"""What an archive costs grows linearly at worst with what it holds; and what is measured is what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.growth.archives import SAMPLES, Shape, make_archive, make_older
from benchmarks.growth.costs import Client, Cost
from benchmarks.growth.curves import Curve
from benchmarks.growth.drawing import drawn
from benchmarks.growth.fitting import exponent
from benchmarks.growth.subjects import UPSTREAM, start
from hsmirror.archive.reader import Archive
from hsmirror.archive.status import status
from hsmirror.archive.verify import verify

TREE = Path(__file__).parents[2]
SIZES = (8_000, 32_000, 128_000)
LINEAR = 1.3
"""Caches that no longer hold it all make a few thousandths of a second look steeper than they are."""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """With ever more receipts."""
    made = {size: tmp_path_factory.mktemp(str(size)) / "archive" for size in SIZES}
    for size, root in made.items():
        make_archive(root, Shape(size), UPSTREAM)
    return made


def cpu_seconds(act: Callable[[], object]) -> float:
    """The least of three: what else goes on on a machine only ever adds."""
    taken = []
    for _ in range(3):
        began_at = time.process_time()
        act()
        taken.append(time.process_time() - began_at)
    return min(taken)


# --- the shape of what it costs ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "look",
    [Archive.open, status, lambda root: verify(root, sample=(1, SAMPLES))],
    ids=["open", "status", "verify"],
)
def test_cpu_grows_linearly_with_receipts_at_worst(
    archives: dict[int, Path], look: Callable[[Path], object]
) -> None:
    costs = [cpu_seconds(lambda root=root: look(root)) for root in archives.values()]
    grows = exponent(SIZES, costs, at_nothing=0.0)
    assert grows is not None
    assert grows <= LINEAR, costs


def test_a_run_starts_in_the_same_memory_whatever_the_archive_holds(
    archives: dict[int, Path], tmp_path: Path
) -> None:
    """But for the first, which takes up an archive of an older version: one experiment's receipts at a time."""
    few, *_, many = ([start(Client(tmp_path), root).peak_bytes for _ in range(2)] for root in archives.values())
    assert (many[0] - few[0]) / (SIZES[-1] / Shape(0).experiments) < 1_000
    assert (many[1] - few[1]) / SIZES[-1] < 20


@pytest.mark.parametrize("takes_turns", [False, True])
def test_opening_costs_a_fraction_of_reading_all_receipts(tmp_path: Path, takes_turns: bool) -> None:
    make_archive(tmp_path / "archive", Shape(30_000, takes_turns=takes_turns), UPSTREAM)
    opening = cpu_seconds(lambda: Archive.open(tmp_path / "archive"))
    assert opening < cpu_seconds(lambda: list(Archive.open(tmp_path / "archive").receipts)) / 3


# --- what is measured --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "shape",
    [Shape(2_800), Shape(2_800, segments=40), Shape(2_800, takes_turns=True), Shape(2_800, experiments=1)],
)
def test_a_made_up_archive_holds_what_is_asked_for_and_its_sample_is_sound(
    tmp_path: Path, shape: Shape
) -> None:
    root = tmp_path / "archive"
    make_archive(root, shape, UPSTREAM)
    receipts = list(Archive.open(root).shards())
    assert len({receipt.path for receipt in receipts}) == len(receipts) == shape.receipts
    assert len({receipt.experiment for receipt in receipts}) == shape.experiments
    assert len(list((root / "receipts").iterdir())) == shape.segments
    report = verify(root, sample=(1, SAMPLES))
    assert report.is_sound
    assert report.checked_files > 0


def test_an_archive_made_older_has_a_report_and_an_older_generation_a_night(tmp_path: Path) -> None:
    runs = tmp_path / ".hsmirror" / "runs"
    runs.mkdir(parents=True)
    (runs / "20261122T020000Z-0000.json").write_text('{"ended_at":"2026-11-22T02:00:00Z"}')
    make_older(tmp_path, 2)
    assert len(list(runs.iterdir())) == 2 * 365 + 1
    assert len(list((tmp_path / ".hsmirror").rglob("*.superseded"))) == 2 * 365


def test_the_power_of_growth_is_told_from_what_is_beyond_nothing() -> None:
    sizes = (10, 100, 1_000)
    assert exponent(sizes, [5 + size for size in sizes], at_nothing=5) == pytest.approx(1)
    assert exponent(sizes, [5 + size**2 for size in sizes], at_nothing=5) == pytest.approx(2)
    assert exponent(sizes, [5.0, 5.1, 5.2], at_nothing=5) is None


def test_the_drawing_has_a_line_for_each_curve() -> None:
    costs = {size: Cost(1.0, 0.5 + size / 1e6, 30 << 20) for size in (10, 1_000, 100_000)}
    curves = [Curve("receipts", "receipts", what, costs[10], costs) for what in ("start", "status <quickly>")]
    svg = drawn(curves, "a day & a machine")
    assert svg.count('<path class="line ') == 4
    assert "status &lt;quickly&gt;" in svg
    assert "a day &amp; a machine" in svg


def test_the_command_measures_nights_and_writes_what_it_found(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.growth", "--short", "--subject", "years", "--rounds", "1"]
    command += ["--work", str(tmp_path), "--results", str(tmp_path / "results")]
    ended = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    found = json.loads((tmp_path / "results" / "growth.json").read_text())
    assert [curve["what"] for curve in found["curves"]] == ["unchanged night", "status"]
    # One round on a busy machine says little of growth; the status has to be that of what was found.
    exponents = [curve[f"{what}_exponent"] or 0 for curve in found["curves"] for what in ("cpu", "memory")]
    assert ended.returncode == (max(exponents) > 1.1), ended.stdout + ended.stderr
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "growth.json",
        "growth.md",
        "growth.svg",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
