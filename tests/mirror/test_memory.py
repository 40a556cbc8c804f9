"""Memory is bounded by configuration, not by data: the peak of a real process, over rows, rooms and lists."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.memory import Lists, main, peak_mib

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux")

MOST_MIB = 80


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("page_cap", "rows"), [(1000, 60_000), (10_000, 120_000)])
async def test_four_times_the_rows_take_no_more_memory(tmp_path: Path, page_cap: int, rows: int) -> None:
    """A dozen pages and more both times: before that, not all that may be under way is."""
    few = await peak_mib(made(tmp_path / "few"), Lists(rows, page_cap=page_cap))
    many = await peak_mib(made(tmp_path / "many"), Lists(4 * rows, page_cap=page_cap))
    assert many < few * 1.08
    assert many < MOST_MIB


async def test_four_times_the_rooms_take_a_few_kilobytes_each(tmp_path: Path) -> None:
    few = await peak_mib(made(tmp_path / "few"), Lists(60_000, rooms=500))
    many = await peak_mib(made(tmp_path / "many"), Lists(60_000, rooms=2000))
    assert (many - few) * 1024 / 1500 < 4
    assert many < MOST_MIB


async def test_several_lists_at_once_share_one_bound(tmp_path: Path) -> None:
    one = await peak_mib(made(tmp_path / "one"), Lists(60_000))
    seven = await peak_mib(made(tmp_path / "seven"), Lists(20_000, types=7))
    assert seven < one * 1.2


async def test_reading_all_of_it_again_takes_no_more_than_the_first_time(tmp_path: Path) -> None:
    first = await peak_mib(made(tmp_path / "first"), Lists(60_000))
    again = await peak_mib(made(tmp_path / "again"), Lists(60_000, again=1))
    assert again < first * 1.08


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_ten_million_rows_take_no_more_than_some_thousands(tmp_path: Path) -> None:
    assert await peak_mib(made(tmp_path / "most"), Lists(10_000_000, rooms=5_000)) < MOST_MIB


def test_the_table_has_a_row_for_each_case(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--work", str(tmp_path)], [Lists(1_000, rooms=5), Lists(1_000, rooms=5, again=1)]) == 0
    *_, first, again = capsys.readouterr().out.splitlines()
    assert first.startswith("| 1 | 1,000 | 5 | 1,000 | first | ")
    assert again.startswith("| 1 | 1,000 | 5 | 1,000 | reads all again | ")
    assert list(tmp_path.iterdir()) == []
