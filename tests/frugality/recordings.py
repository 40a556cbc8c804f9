"""Recordings.

Real runs in virtual time, over a simulated API, which enforces its limits, and a simulated store, whose
bandwidth all connections share and whose addresses expire. Held against what is least possible by limits,
latency, bandwidth and the lives of the addresses: the run's time until the last byte, and the requests for
addresses beyond the list itself. "Twice" are bytes that were sent again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, inf
from pathlib import Path

from reliability.jumping_time import run_jumping
from virtual_time import VirtualClock

from frugality.recordings_api import (
    API_LATENCY_SECONDS,
    EXPERIMENT,
    RecordingsApi,
    Scenario,
    Sizes,
)
from frugality.recordings_least import (
    fewest_mints,
    fewest_pages,
    least_seconds_for_bytes,
    least_seconds_for_requests,
)
from frugality.store import SimulatedStore
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, load

MOST_OVER_LEAST_SECONDS = 1.05
MOST_OVER_LEAST_REQUESTS = 1.10

SMALL = Sizes(1e3, 1e6)
MIXED = Sizes(1e3, 2e9)
LARGE = Sizes(50e6, 500e6)

MINUTE, HOUR, WEEK = 60, 3_600, 604_800
MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: what is measured is not the disk."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one run over a scenario came to. `address_requests` are those beyond the list itself."""

    scenario: Scenario
    report: RunReport
    seconds: float
    """From the start to the last byte of the last file."""
    least_seconds: float
    address_requests: int
    least_address_requests: int
    begun_expired: int
    bytes_twice: int
    breaks: int
    refused: int
    failures: tuple[str, ...]
    """What is not held as the store has it, and what the run itself complains of."""

    @property
    def makespan_ratio(self) -> float:
        return self.seconds / self.least_seconds

    @property
    def is_frugal(self) -> bool:
        """At most a tenth more requests than the least, of which there is no fraction."""
        return self.address_requests <= ceil(MOST_OVER_LEAST_REQUESTS * self.least_address_requests)


def simulate(scenario: Scenario) -> Fetched:
    """Mirror the scenario's recordings into a new archive, and look at what came of it."""

    async def fetch(clock: VirtualClock) -> Fetched:
        api = RecordingsApi(scenario, clock)
        report = await sync(
            settings,
            Secret("hst_test_recordings"),
            [ExperimentSettings(id=EXPERIMENT, data_types=("recordings",))],
            options=RunOptions(state_folder=workdir / "state", wire=api, storage=api.store),
            clock=clock,
        )
        return _fetched(scenario, report, api, settings.archive.path)

    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        workdir = Path(folder)
        given = {"archive.path": folder, "limits.max_concurrent_downloads": scenario.downloads}
        given["archive.path"] = str(workdir / "archive")
        settings = load(config=None, environ={}, overrides=given, cwd=workdir, user_config_dir=workdir)
        return run_jumping(fetch)


def _fetched(scenario: Scenario, report: RunReport, api: RecordingsApi, archive: Path) -> Fetched:
    store, life = api.store, scenario.address_seconds
    # No address expires so soon: what is asked for in the first moments is the list itself.
    list_requests = [at for at in api.listed_at if at < api.listed_at[0] + MINUTE / 2]
    if scenario.are_minted:
        least = fewest_mints(store.begun, life)
    else:
        listed_at = max(list_requests)
        least = fewest_pages(store.begun, life, page_rows=scenario.page_rows, listed_at=listed_at)
    return Fetched(
        scenario=scenario,
        report=report,
        seconds=store.last_byte_at,
        least_seconds=_least_seconds(scenario, least),
        address_requests=api.minted + len(api.listed_at) - len(list_requests),
        least_address_requests=least,
        begun_expired=sum(each.is_expired for each in store.begun),
        bytes_twice=store.bytes_served - sum(store.sizes_bytes.values()),
        breaks=store.breaks,
        refused=len(api.rationing.refused_at),
        failures=(*(problem.what for problem in report.problems), *_differences(store, archive)),
    )


def _least_seconds(scenario: Scenario, address_requests: int) -> float:
    """All bytes have come; or all requests for addresses have been answered and the smallest file has come.

    Before the first byte the experiment and its list have been read, one after the other, and where addresses
    are minted one of those, too.
    """
    sizes, line = scenario.sizes_bytes(), scenario.line
    round_trips = 3 if scenario.are_minted else 2
    for_requests = least_seconds_for_requests(
        scenario.pages + address_requests,
        requests_per_hour=1_000,
        requests_per_minute=100,
        latency_seconds=API_LATENCY_SECONDS,
    )
    return max(
        round_trips * API_LATENCY_SECONDS + least_seconds_for_bytes(sizes, line),
        API_LATENCY_SECONDS + for_requests + least_seconds_for_bytes([min(sizes)], line),
    )


def _differences(store: SimulatedStore, archive: Path) -> Iterator[str]:
    """Files that are not in the archive as the store has them, to the byte."""
    files = archive / f"experiment_id={EXPERIMENT}" / "files"
    held = {path.relative_to(files).as_posix(): path for path in files.glob("*/*") if path.is_file()}
    for name in store.sizes_bytes:
        path = held.pop(f"room_id={name}", None)
        if path is None:
            yield f"{name} is not held"
        elif path.read_bytes() != store.content(name):
            yield f"{name} differs"
    yield from (f"{name} is not the store's" for name in held)


# --- the scenarios -----------------------------------------------------------------------------------------
SHORT = (
    Scenario(200, MIXED, are_minted=False, address_seconds=MINUTE, store_rate=100),
    Scenario(200, MIXED, are_minted=False, address_seconds=MINUTE, store_rate=10, gigabytes_between_breaks=1),
    Scenario(
        120,
        LARGE,
        are_minted=False,
        address_seconds=MINUTE,
        store_rate=5,
        gigabytes_between_breaks=0.5,
        ahead_seconds=300,
    ),
    Scenario(1_200, SMALL, are_minted=False, address_seconds=MINUTE, store_rate=1, downloads=8, page_rows=100),
    Scenario(400, LARGE, are_minted=False, address_seconds=MINUTE, store_rate=1_000, downloads=16),
    Scenario(150, MIXED, are_minted=False, address_seconds=HOUR, store_rate=100, connection_rate=25),
    Scenario(300, MIXED, are_minted=False, address_seconds=WEEK, store_rate=100, downloads=16, page_rows=100),
    Scenario(10, LARGE, are_minted=False, address_seconds=MINUTE, store_rate=1, downloads=1),
    Scenario(150, MIXED, are_minted=True, address_seconds=MINUTE, store_rate=100, connection_rate=25),
    Scenario(300, LARGE, are_minted=True, address_seconds=MINUTE, store_rate=50, gigabytes_between_breaks=0.5),
    Scenario(400, MIXED, are_minted=True, address_seconds=MINUTE, store_rate=1_000, connection_rate=100),
    Scenario(1_100, SMALL, are_minted=True, address_seconds=HOUR, store_rate=10, downloads=1),
)


def scenarios(*, long: bool) -> Iterator[Scenario]:
    """Those that CI runs; long: lives from a minute to a week, stores from 1 to 1,000 MB/s, up to 20,000 files,
    with and without broken connections.
    """
    yield from SHORT
    if not long:
        return
    for are_minted, life, rate, breaks in product(
        (False, True), (MINUTE, 15 * MINUTE, WEEK), (1, 30, 1_000), (inf, 0.3)
    ):
        sizes = LARGE if rate > 1 else SMALL
        scaled = breaks if rate > 1 else breaks / 300
        yield Scenario(
            800, sizes, are_minted, life, rate, downloads=4 if rate < 1_000 else 16,
            gigabytes_between_breaks=scaled,
        )  # fmt: skip
    whole = Scenario(5_000, MIXED, are_minted=False, address_seconds=15 * MINUTE, store_rate=100)
    yield whole
    yield replace(whole, are_minted=True)
    yield replace(whole, files=20_000, sizes=LARGE, store_rate=1_000, downloads=16)
    yield replace(whole, files=20_000, sizes=SMALL, are_minted=True, address_seconds=MINUTE)


# --- the figures -------------------------------------------------------------------------------------------
columns = (
    "recordings",
    "addresses live",
    "store, a connection",
    "downloads at once",
    "seconds / least",
    "address requests / least",
    "broken off",
    "begun under an expired address",
    "bytes twice",
    "429s",
)


def measure(*, long: bool) -> Iterator[tuple[str, ...]]:
    """A row of text for each scenario; what misses its target stands in bold."""
    return (_row(simulate(scenario)) for scenario in scenarios(long=long))


def _row(fetched: Fetched) -> tuple[str, ...]:
    scenario = fetched.scenario
    seconds = f"{fetched.seconds:,.0f} / {fetched.least_seconds:,.0f} = {fetched.makespan_ratio:.3f}"
    requests = f"{fetched.address_requests:,} / {fetched.least_address_requests:,}"
    has_failed = bool(fetched.failures) or fetched.report.exit_status != 0
    return (
        _bold(str(scenario), has_failed),
        f"{scenario.address_seconds:,} s",
        f"{scenario.store_rate:g}, {scenario.connection_rate:g} MB/s",
        str(scenario.downloads),
        _bold(seconds, fetched.makespan_ratio > MOST_OVER_LEAST_SECONDS),
        _bold(requests, not fetched.is_frugal),
        str(fetched.breaks),
        _bold(str(fetched.begun_expired), fetched.begun_expired > 0),
        _bold(str(fetched.bytes_twice), fetched.bytes_twice > 0),
        _bold(str(fetched.refused), fetched.refused > 0),
    )


def _bold(text: str, is_missed: bool) -> str:
    return f"**{text}**" if is_missed else text
