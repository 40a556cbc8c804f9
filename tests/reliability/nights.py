"""A hundred nights of a lab that grows, in moments: real runs on a real archive, the network and time made up.

Each night the lab changes by a seeded script, then a run comes, as cron would start it: it waits five minutes
for the limits at most, and where they end it, it is started again when its report says so. What changed must be
found by when it was promised, the limits must hold in every window, and a night without changes leaves none.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median

import orjson
from oracle import held_rows
from virtual_time import VirtualClock

from hsmirror.archive.verify import verify
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, Settings, load
from reliability.figures import Figures
from reliability.growing_lab import EXPERIMENT, HOUR, KINDS, MINUTE, GrowingLab, Shelf
from reliability.jumping_time import run_jumping
from reliability.night_script import RECHECK_NIGHTS, Change, Script

DAY = 24 * HOUR
_MOST_RUNS_A_NIGHT = 8
_UNATTENDED_WAIT_SECONDS = 300.0
_DOCUMENTS = 3
"""Of the experiment itself: its definition, configuration, export."""

_MOST_PROBES = 2
"""Requests for a data type in a night in which nothing has changed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the simulation is."""

    nights: int = 100
    start_rooms: int = 400
    last_rooms: int = 2_000
    page_rows: int = 100
    requests_per_hour: int = 1_000
    """And a tenth of them a minute and endpoint."""
    kinds: tuple[str, ...] = tuple(KINDS)
    seed: int = 1


SHORT = Plan(
    start_rooms=130,
    last_rooms=660,
    page_rows=33,
    requests_per_hour=330,
    kinds=("events", "ratings/sparse", "rooms"),
)
"""The same proportions of rooms, pages and limits, so that the same ways are chosen."""


@dataclass(slots=True)
class Night:
    """What one night cost."""

    number: int
    is_quiet: bool
    requests: int = 0
    runs: int = 0
    by_endpoint: Counter[str] = field(default_factory=Counter)
    ends_after_seconds: float = 0.0


class Nights:
    """Plays the nights, and notes what did not hold."""

    def __init__(self, plan: Plan, workdir: Path, clock: VirtualClock) -> None:
        self.plan = plan
        self.lab = GrowingLab(
            clock,
            page_rows=plan.page_rows,
            kinds=plan.kinds,
            requests_per_hour=plan.requests_per_hour,
            seed=plan.seed,
        )
        self.nights: list[Night] = []
        self.failures: list[str] = []
        self.found_after: dict[str, Counter[int]] = {}
        """By what changed: how many changes were found after how many nights (0: in the night that came)."""
        self.rows_held = 0
        self._archive = workdir / "archive"
        self._state_folder = workdir / "state"
        self._settings = _settings(workdir, plan)
        self._clock = clock
        self._pending: dict[Shelf, Change] = {}

    async def play(self) -> None:
        plan, clock = self.plan, self._clock
        script = Script(self.lab, plan.start_rooms, plan.last_rooms, plan.nights, plan.seed)
        script.begin(ended_at=clock.epoch() - 30 * DAY)
        for number in range(plan.nights):
            await asyncio.sleep(number * DAY - clock.monotonic())
            if number:
                for change in script.change(number, pending=self._pending):
                    self._pending[change.shelf] = change
            await self._spend(Night(number, script.is_quiet(number)))
        self._compare_all()
        self._check_limits()

    # --- one night -----------------------------------------------------------------------------------
    async def _spend(self, night: Night) -> None:
        self.nights.append(night)
        before = _files(self._archive) if night.is_quiet else {}
        asked, began = len(self.lab.ledger.paths), self._clock.monotonic()
        while True:
            night.runs += 1
            report = await self._run()
            if report.exit_status == 0:
                break
            if not report.resume_at or night.runs == _MOST_RUNS_A_NIGHT:
                why = "; ".join(f"{each.data_type} {each.what}" for each in report.problems[:2])
                self._failed(night, f"run {night.runs} ends with {report.exit_status}: {why}")
                break
            await asyncio.sleep(_epoch(report.resume_at) - self._clock.epoch())
        paths = self.lab.ledger.paths[asked:]
        night.requests = len(paths)
        night.by_endpoint.update("/".join(path.split("/")[1:-2]) for path in paths)
        night.ends_after_seconds = self._clock.monotonic() - began
        self._look_for_what_changed(night)
        if night.is_quiet:
            self._check_quiet(night, before)

    async def _run(self) -> RunReport:
        return await sync(
            self._settings,
            Secret("hst_test_nights"),
            [ExperimentSettings(id=EXPERIMENT, data_types=self.plan.kinds, files=False)],
            options=RunOptions(
                longest_wait_seconds=_UNATTENDED_WAIT_SECONDS,
                state_folder=self._state_folder,
                wire=self.lab,
            ),
            clock=self._clock,
        )

    def _look_for_what_changed(self, night: Night) -> None:
        gone_rows = _gone_rows(self._archive)
        for shelf, change in list(self._pending.items()):
            waited = night.number - change.night
            if self._holds(shelf, gone_rows):
                self.found_after.setdefault(change.what, Counter())[waited] += 1
                del self._pending[shelf]
            if waited > change.within_nights:
                self._failed(night, f"{change.what} ({', '.join(shelf)}), found only after {waited} nights")
            elif shelf in self._pending and waited == change.within_nights:
                self._failed(night, f"{change.what} ({', '.join(shelf)}) is not found after {waited} nights")

    def _holds(self, shelf: Shelf, gone_rows: dict[Shelf, int]) -> bool:
        name, room = shelf
        expected = sorted(self.lab.ever[name].get(room, {}).values())
        return sorted(_rows(self._archive, shelf)) == expected and gone_rows.get(shelf, 0) == self.lab.gone(
            shelf
        )

    def _check_quiet(self, night: Night, before: dict[str, tuple[int, int, int]]) -> None:
        after = _files(self._archive)
        if changed := sorted(
            path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
        ):
            self._failed(night, f"nothing had changed upstream, and {changed[:3]} did")
        for endpoint, requests in night.by_endpoint.items():
            allowed = _MOST_PROBES if endpoint else _DOCUMENTS
            if requests > allowed:
                self._failed(
                    night, f"{requests} requests of {endpoint or 'the experiment'} though nothing changed"
                )

    # --- the end -------------------------------------------------------------------------------------
    def _compare_all(self) -> None:
        """The archive holds whatever ever was, in its latest version, but for what is yet to be found."""
        for name in self.plan.kinds:
            held = Counter(held_rows(self._archive, EXPERIMENT, name))
            ever = Counter((room, row) for room, rows in self.lab.ever[name].items() for row in rows.values())
            pending = {room for kind, room in self._pending if kind == name}
            differing = {each for each in (held - ever) + (ever - held) if each[0] not in pending}
            if differing:
                self._failed(
                    self.nights[-1], f"{len(differing)} rows of {name} differ: {min(differing, key=repr)}"
                )
            self.rows_held += held.total()
        gone_rows = _gone_rows(self._archive)
        for shelf in self.lab.shelves_ever():
            if shelf not in self._pending and gone_rows.get(shelf, 0) != self.lab.gone(shelf):
                self._failed(self.nights[-1], f"{shelf} has {self.lab.gone(shelf)} gone rows, not as marked")
        edited = {shelf: rows for shelf, rows in self.lab.older_versions.items() if shelf[0] != "rooms"}
        for shelf, versions in edited.items():
            superseded = set(_superseded_rows(self._archive, shelf))
            if shelf not in self._pending and not superseded.issuperset(versions):
                self._failed(self.nights[-1], f"an older version of a row of {shelf} is not held any more")
        if not (found := verify(self._archive)).is_sound or found.unexpected or found.unproven:
            self._failed(self.nights[-1], f"verify finds {found}")

    def _check_limits(self) -> None:
        ledger = self.lab.ledger
        if ledger.refused:
            self._failed(self.nights[-1], f"{ledger.refused} requests were refused with 429")
        if self.most_in_an_hour() > self.plan.requests_per_hour:
            self._failed(self.nights[-1], f"{self.most_in_an_hour()} requests in an hour")
        if self.most_in_a_minute() > self.plan.requests_per_hour // 10:
            self._failed(self.nights[-1], f"{self.most_in_a_minute()} requests of one endpoint in a minute")

    def most_in_an_hour(self) -> int:
        """In any sliding hour, or in an hour of any of sixty ways to cut time into hours."""
        ledger = self.lab.ledger
        times = ledger.all_counted_at
        return max(ledger.most_in_a_window(times, HOUR), ledger.most_in_fixed_windows(times, HOUR, 60))

    def most_in_a_minute(self) -> int:
        """The same of a minute and one endpoint."""
        ledger = self.lab.ledger
        return max(
            max(ledger.most_in_a_window(times, MINUTE), ledger.most_in_fixed_windows(times, MINUTE, 12))
            for times in ledger.counted_at.values()
        )

    def _failed(self, night: Night, what: str) -> None:
        self.failures.append(f"seed {self.plan.seed}, night {night.number}: {what}")


# --- the archive, read as a stranger would ------------------------------------------------------------
def _settings(workdir: Path, plan: Plan) -> Settings:
    given = {
        "api.base_url": "http://127.0.0.1:9/api/v3",
        "archive.path": str(workdir / "archive"),
        "limits.requests_per_hour": plan.requests_per_hour,
        "limits.requests_per_minute_per_endpoint": plan.requests_per_hour // 10,
        "archive.recheck": f"{RECHECK_NIGHTS}d",
    }
    return load(config=None, environ={}, overrides=given, cwd=workdir, user_config_dir=workdir)


def _rows(archive: Path, shelf: Shelf) -> Iterator[bytes]:
    for path in sorted(_folder(archive, shelf).glob("*.ndjson.gz")):
        yield from gzip.decompress(path.read_bytes()).splitlines()


def _superseded_rows(archive: Path, shelf: Shelf) -> Iterator[bytes]:
    for run in (archive / ".hsmirror" / "superseded").iterdir():
        for path in _folder(run, shelf).glob("*"):
            yield from gzip.decompress(path.read_bytes()).splitlines()


def _folder(root: Path, shelf: Shelf) -> Path:
    name, room = shelf
    return root / f"experiment_id={EXPERIMENT}" / f"data_type={name.replace('/', '_')}" / f"room_id={room}"


def _gone_rows(archive: Path) -> dict[Shelf, int]:
    """By the last receipt of each shard."""
    gone: dict[Shelf, int] = {}
    for segment in sorted((archive / "receipts").glob("*.jsonl")):
        for line in segment.read_bytes().splitlines():
            receipt = orjson.loads(line)
            if receipt["kind"] == "shard":
                gone[receipt["data_type"], receipt["room"]] = receipt.get("gone_rows", 0)
    return gone


def _files(archive: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, time of change and size of every file, but for the reports of runs and the lock."""
    found: dict[str, tuple[int, int, int]] = {}
    state = str(archive / ".hsmirror")
    for folder, _, names in os.walk(archive):
        if folder == state or folder.startswith(f"{state}/runs"):
            continue
        for name in names:
            status = Path(folder, name).stat()
            found[f"{folder}/{name}"] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# --- the figures --------------------------------------------------------------------------------------
def simulate(plan: Plan, workdir: Path) -> Nights:
    """Play the nights in `workdir`, which must be empty."""

    async def play(clock: VirtualClock) -> Nights:
        nights = Nights(plan, workdir, clock)
        await nights.play()
        return nights

    return run_jumping(play)


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """A hundred nights, with everything at a third of its size; long: at full size, with three scripts."""
    plans = [Plan(seed=seed) for seed in (1, 2, 3)] if long else [SHORT]
    played = []
    for plan in plans:
        with tempfile.TemporaryDirectory(dir=workdir) as folder:
            played.append(simulate(plan, Path(folder)))
    first = played[0]
    requests = [night.requests for each in played for night in each.nights[1:]]
    quiet = [night.requests for each in played for night in each.nights if night.is_quiet]
    return Figures(
        title="Nights",
        says="A lab grows night by night while rows come late, go and are edited in settled rooms; a real run "
        "mirrors it each night, in virtual time, against a server in its own process that enforces the limits.",
        counts=(
            ("nights", sum(len(each.nights) for each in played)),
            ("rooms before the first night", first.plan.start_rooms),
            ("rooms after the last", min(len(each.lab.rooms) for each in played)),
            ("rows held at the end", min(each.rows_held for each in played)),
            ("requests in the first night", max(each.nights[0].requests for each in played)),
            ("requests in the median night", median(requests)),
            ("requests in the night with the most", max(requests)),
            ("nights without changes", len(quiet)),
            ("requests in a night without changes, at most", max(quiet)),
            ("runs that the limits ended, and that went on later", sum(_continued(each) for each in played)),
            (
                f"requests in any hour, at most (allowed {first.plan.requests_per_hour:,})",
                max(each.most_in_an_hour() for each in played),
            ),
            (
                f"requests of an endpoint in any minute (allowed {first.plan.requests_per_hour // 10})",
                max(map(Nights.most_in_a_minute, played)),
            ),
            ("requests refused with 429", sum(each.lab.ledger.refused for each in played)),
            ("changes found", sum(c.total() for each in played for c in each.found_after.values())),
        ),
        failures=tuple(failure for each in played for failure in each.failures),
        table=_table(played),
    )


def _continued(played: Nights) -> int:
    return sum(night.runs - 1 for night in played.nights)


def _table(played: list[Nights]) -> tuple[tuple[str, ...], ...]:
    found: dict[str, Counter[int]] = {}
    for each in played:
        for what, counts in each.found_after.items():
            found.setdefault(what, Counter()).update(counts)
    rows = [
        (what, f"{counts.total():,}", f"{counts[0]:,}", f"{max(counts)}")
        for what, counts in sorted(found.items())
    ]
    return (("what changed", "times", "found the same night", "nights until the last was found"), *rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reliability.nights", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--types", nargs="+", default=list(KINDS))
    parser.add_argument("--rooms", type=int, default=2_000, help="after the last night")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        played = simulate(
            Plan(given.nights, last_rooms=given.rooms, kinds=tuple(given.types), seed=given.seed), Path(folder)
        )
    lines = [*map(str, played.nights), *map(str, _table([played])), *(played.failures or ["all held"])]
    sys.stdout.write("\n".join(lines) + "\n")
    return bool(played.failures)


if __name__ == "__main__":
    sys.exit(main())
