"""A lab and its nights: each planned and then run by the real code, on a real archive, in virtual time.

A first sync; a night in which nothing has changed; one with ten new rooms; a repair of a few damaged shards.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from reliability.jumping_time import run_jumping
from virtual_time import VirtualClock

from frugality import least
from frugality.labs import DATA_TYPES, DAY, EXPERIMENT, HOUR, FrugalLab, LabShape, Link
from frugality.least import Offer
from hsmirror.archive.layout import shard_path
from hsmirror.archive.reader import Archive
from hsmirror.mirror.planning import PlanReport, plan
from hsmirror.mirror.repair import repair
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, Settings, load

FIRST, UNCHANGED, NEW_ROOMS, REPAIR = "first sync", "unchanged night", "ten new rooms", "repair"
RUNS = (FIRST, UNCHANGED, NEW_ROOMS, REPAIR)
USUAL_LINK = Link()
_MEMORY = Path("/dev/shm")
_NEW_ROOMS = 10
_DAMAGED_SHARDS = 3
_KEY = Secret("hst_test_frugality")
_CHOSEN = (ExperimentSettings(id=EXPERIMENT, data_types=DATA_TYPES, files=False),)


@dataclass(frozen=True, slots=True)
class Observed:
    """One run of a lab: requests by endpoint, used and least, and what `plan` foretold. Times are virtual.

    `planned` is None for a repair, which has no plan.
    """

    shape: LabShape
    link: Link
    what: str
    requests: Counter[str]
    least: Counter[str]
    seconds: float
    refused: int
    answered_bytes: int
    offer: Offer
    planned: PlanReport | None = None
    least_in_order: Counter[str] | None = None
    """Where it differs: the least if lists keep their order."""

    @property
    def ratio(self) -> float:
        """Requests used over the least possible."""
        return self.requests.total() / self.least.total()


def play(shape: LabShape, *, link: Link = USUAL_LINK, runs: int = len(RUNS)) -> list[Observed]:
    """Play the first `runs` of a lab's runs, on an archive in memory where there is such a file system.

    Raises:
        AssertionError: a run does not end with a complete archive.
    """
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:

        async def play_them(clock: VirtualClock) -> list[Observed]:
            nights = _Nights(shape, link, clock, Path(folder))
            steps = (nights.first, nights.unchanged, nights.new_rooms, nights.repaired)
            return [await step() for step in steps[:runs]]

        return run_jumping(play_them)


class _Nights:
    def __init__(self, shape: LabShape, link: Link, clock: VirtualClock, folder: Path) -> None:
        self._lab = FrugalLab(shape, clock, link=link)
        self._clock = clock
        self._state_folder = folder / "state"
        self._settings = _settings(folder)

    async def first(self) -> Observed:
        return await self._planned_and_run(FIRST, least.first_sync(self._lab.offer()))

    async def unchanged(self) -> Observed:
        return await self._planned_and_run(UNCHANGED, least.unchanged_night(self._lab.offer()))

    async def new_rooms(self) -> Observed:
        new = self._lab.open_rooms(_NEW_ROOMS, ended_at=self._clock.epoch())
        offer = self._lab.offer()
        return await self._planned_and_run(
            NEW_ROOMS,
            least.night_with_new_rooms(offer, new, order_is_kept=False),
            least_in_order=least.night_with_new_rooms(offer, new, order_is_kept=True),
        )

    async def repaired(self) -> Observed:
        await self._until_the_next_night()
        rooms = self._lab.rooms
        broken = rooms[:: max(1, len(rooms) // _DAMAGED_SHARDS)][:_DAMAGED_SHARDS]
        paths = {shard_path(EXPERIMENT, "events", room, 0, "gzip") for room in broken}
        for path in paths:
            (self._settings.archive.path / path).unlink()
        receipts = Archive.open(self._settings.archive.path).receipts
        needed = least.repair(self._lab.offer(), {"events": broken})

        async def run() -> RunReport:
            return await repair(
                self._settings, _KEY, receipts, paths, options=self._options(), clock=self._clock
            )

        return await self._observed(REPAIR, needed, run)

    async def _planned_and_run(
        self, what: str, needed: Counter[str], *, least_in_order: Counter[str] | None = None
    ) -> Observed:
        await self._until_the_next_night()
        options = self._options()
        planned = await plan(
            self._settings, _KEY, _CHOSEN, clock=self._clock, state_folder=self._state_folder, wire=options.wire
        )
        await asyncio.sleep(2 * HOUR)  # so that the run has the limits for itself

        async def run() -> RunReport:
            return await sync(self._settings, _KEY, _CHOSEN, options=options, clock=self._clock)

        return await self._observed(what, needed, run, planned=planned, least_in_order=least_in_order)

    async def _observed(
        self,
        what: str,
        needed: Counter[str],
        run: Callable[[], Awaitable[RunReport]],
        *,
        planned: PlanReport | None = None,
        least_in_order: Counter[str] | None = None,
    ) -> Observed:
        self._lab.open_ledger()
        began = self._clock.monotonic()
        report = await run()
        seconds = self._clock.monotonic() - began
        assert report.exit_status == 0, f"{self._lab.shape}, {what}: {report.problems[:2]}"
        ledger = self._lab.ledger
        return Observed(
            self._lab.shape,
            self._lab.link,
            what,
            Counter(ledger.requests),
            needed,
            seconds,
            ledger.refused,
            ledger.answered_bytes,
            self._lab.offer(),
            planned,
            least_in_order,
        )

    async def _until_the_next_night(self) -> None:
        await asyncio.sleep(DAY - self._clock.monotonic() % DAY)

    def _options(self) -> RunOptions:
        return RunOptions(state_folder=self._state_folder, wire=self._lab)


def _settings(folder: Path) -> Settings:
    given = {"api.base_url": "http://127.0.0.1:9/api/v3", "archive.path": str(folder / "archive")}
    return load(config=None, environ={}, overrides=given, cwd=folder, user_config_dir=folder)
