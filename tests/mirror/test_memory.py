"""Memory is bounded by configuration, not by data: the peak of a real process, over rows, rooms and lists."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from big_lists import serving_big_lists

import hsmirror

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")

MOST_MIB = 80
_UNLIMITED = "[limits]\nrequests_per_hour = 100000000\nrequests_per_minute_per_endpoint = 100000000\n"
# The peak of the process itself: what `getrusage` gives is the parent's where that was larger.
_RUN = """
import sys
from hsmirror.cli.main import main
status = main()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]))
sys.exit(status)
"""


async def peak_mib(
    folder: Path, *, rows: int, rooms: int = 50, page_cap: int = 1000, types: int = 1, runs: int = 1
) -> float:
    """Of a first `sync` of `types` lists of `rows` each, or of a later one that reads all of it again."""
    folder.mkdir()
    (folder / "hsmirror.toml").write_text(_UNLIMITED)
    names = ("events", "chat", "sync", "videochat", "ratings/continuous", "ratings/sparse", "components")
    arguments = ["-q", "sync", f"e{rows}x{rooms}", "--archive", "archive"]
    for name in names[:types]:
        arguments += ["--type", name]
    async with serving_big_lists(page_cap=page_cap) as base_url:
        env = {
            name: text for name, text in os.environ.items() if not name.startswith(("HSMIRROR_", "HYPERSTUDY_"))
        }
        env |= {"HYPERSTUDY_BASE_URL": base_url, "HYPERSTUDY_API_KEY": "hst_test_" + "k" * 64}
        env |= {
            "PYTHONPATH": str(Path(hsmirror.__file__).parents[1]),
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder),
        }
        out = b""
        for run in range(runs):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _RUN,
                *arguments,
                *(["--full"] if run else []),
                cwd=folder,
                env=env,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            assert process.returncode == 0
    return int(out.split()[-1]) / 1024


@pytest.mark.parametrize("page_cap", [1000, 10_000])
async def test_four_times_the_rows_take_no_more_memory(tmp_path: Path, page_cap: int) -> None:
    few = await peak_mib(tmp_path / "few", rows=60_000, page_cap=page_cap)
    many = await peak_mib(tmp_path / "many", rows=240_000, page_cap=page_cap)
    assert many < few * 1.08
    assert many < MOST_MIB


async def test_four_times_the_rooms_take_a_few_kilobytes_each(tmp_path: Path) -> None:
    few = await peak_mib(tmp_path / "few", rows=60_000, rooms=500)
    many = await peak_mib(tmp_path / "many", rows=60_000, rooms=2000)
    assert (many - few) * 1024 / 1500 < 4
    assert many < MOST_MIB


async def test_several_lists_at_once_share_one_bound(tmp_path: Path) -> None:
    one = await peak_mib(tmp_path / "one", rows=60_000)
    seven = await peak_mib(tmp_path / "seven", rows=20_000, types=7)
    assert seven < one * 1.2


async def test_reading_all_of_it_again_takes_no_more_than_the_first_time(tmp_path: Path) -> None:
    first = await peak_mib(tmp_path / "first", rows=60_000)
    again = await peak_mib(tmp_path / "again", rows=60_000, runs=2)
    assert again < first * 1.08
