"""Download rate.

`max_download_rate` in virtual time, over a store that is much faster: how much comes in any window of three
seconds, and how much of what is allowed is used.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from reliability.jumping_time import run_jumping
from virtual_time import VirtualClock

from frugality.recordings import MEMORY, WEEK
from frugality.recordings_api import EXPERIMENT, MEGABYTE, RecordingsApi, Scenario, Sizes
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, load

WINDOW_SECONDS = 3.0
MOST_IN_A_WINDOW = 1.05
LEAST_USED = 0.95


@dataclass(frozen=True, slots=True)
class Limited:
    """Files of about `file_megabytes`, of which as much comes as a minute allows."""

    megabytes_per_second: float
    downloads: int
    file_megabytes: float
    are_minted: bool = False

    @property
    def name(self) -> str:
        kind = "minted" if self.are_minted else "inline"
        return (
            f"{self.megabytes_per_second:g} MB/s, {self.downloads} at once, "
            f"files of {self.file_megabytes:g} MB, {kind}"
        )


CASES = (
    Limited(0.5, 4, 2),
    Limited(1, 16, 2),
    Limited(4, 1, 8, are_minted=True),
    Limited(4, 4, 0.5),
    Limited(10, 16, 20),
)


@dataclass(frozen=True, slots=True)
class Came:
    """Parts of what is allowed."""

    most_in_a_window: float
    used: float


def fetch_limited(case: Limited) -> Came:
    """Fetch a minute's worth of files."""
    size = case.file_megabytes * MEGABYTE
    files = round(60 * case.megabytes_per_second / case.file_megabytes)
    scenario = Scenario(
        files,
        Sizes(0.8 * size, 1.2 * size),
        case.are_minted,
        address_seconds=WEEK,
        store_rate=1_000,
        downloads=case.downloads,
        bytes_a_byte=1,
    )

    async def fetch(clock: VirtualClock) -> Came:
        api = RecordingsApi(scenario, clock)
        options = RunOptions(state_folder=workdir / "state", wire=api, storage=api.store)
        chosen = [ExperimentSettings(id=EXPERIMENT, data_types=("recordings",))]
        report = await sync(settings, Secret("hst_test_rate"), chosen, options=options, clock=clock)
        assert report.exit_status == 0
        return _came(api.store.served, case.megabytes_per_second * MEGABYTE)

    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        workdir = Path(folder)
        given = {
            "archive.path": str(workdir / "archive"),
            "limits.max_concurrent_downloads": case.downloads,
            "limits.max_download_rate": f"{case.megabytes_per_second}MB/s",
        }
        settings = load(config=None, environ={}, overrides=given, cwd=workdir, user_config_dir=workdir)
        return run_jumping(fetch)


def _came(served: Sequence[tuple[float, int]], allowed_bytes_per_second: float) -> Came:
    times = [at for at, _ in served]
    sums = [0, *accumulate(size for _, size in served)]
    most = max(sums[bisect_left(times, at + WINDOW_SECONDS)] - sums[number] for number, at in enumerate(times))
    took = times[-1] - times[0]
    return Came(
        most_in_a_window=most / (WINDOW_SECONDS * allowed_bytes_per_second),
        used=sums[-1] / (took * allowed_bytes_per_second),
    )


# --- the figures -------------------------------------------------------------------------------------------
columns = ("allowed, downloads, files", "most in any three seconds", "used")


def measure(*, long: bool) -> Iterator[tuple[str, ...]]:
    """A row of text for each case; what misses its target stands in bold. There is no longer form."""
    for case in CASES:
        came = fetch_limited(case)
        most, used = f"{came.most_in_a_window:.1%}", f"{came.used:.1%}"
        yield (
            case.name,
            most if came.most_in_a_window <= MOST_IN_A_WINDOW else f"**{most}**",
            used if came.used >= LEAST_USED else f"**{used}**",
        )
