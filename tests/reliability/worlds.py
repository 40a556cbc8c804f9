"""Servers drawn at random, each honest if odd, and their mirror: no run may say complete that is not.

A seed is a world: its rows, one or two oddities of its server, what changes while it is read and between the
nights, and how it is mirrored. After each run, whatever the run calls complete is held against the truth: each
row that was upstream during the whole run, within what the run claims, is in the tree as often as upstream, in
the partition of its room; none stands twice. In the end the server is calm, and a full run has everything.

What the documented design cannot find is left out, and only that (README, "What is promised"): on a night
without `--full`, edits and deletions in rooms that ended two days ago, and rows that came late there if as
many may have gone, or if the type or the server has no total that is right; and what a total names beyond its
list, once that has stood for two days. A row that was edited in the run counts in either version. Rows that
are gone upstream may stay.

    PYTHONPATH=tests:. python -m reliability.worlds --seconds 600 [--seed N] [--world N]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from virtual_time import VirtualClock

from hsmirror.archive.verify import verify
from hsmirror.errors import HsmirrorError
from hsmirror.mirror.report import RunReport
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings, Settings, load
from reliability.jumping_time import run_jumping
from reliability.worlds_drawn import Night, World, draw
from reliability.worlds_servers import Oddities, Server, in_place_of_sockets, serving
from reliability.worlds_truth import (
    DAY,
    HOUR,
    PEOPLE,
    TIMED,
    Experiment,
    Lists,
    Row,
    State,
    contents,
    faults,
    held,
    iso,
    superseded,
)

_KEY = Secret("hst_test_" + "w" * 64)
_MEMORY = Path("/dev/shm")  # archives of a moment
_MOST_TOLD = 3


@dataclass(slots=True)
class Outcome:
    """What became of a world."""

    complete: int = 0
    incomplete: int = 0
    failures: list[str] = field(default_factory=list)


class Play:
    """A world's runs, one after another, each held against the truth."""

    def __init__(self, world: World, folder: Path, clock: VirtualClock | None = None) -> None:
        self.world = world
        self.folder = folder
        self.archive = folder / "archive"
        self.clock = clock or VirtualClock()
        self.chance = Random(f"play/{world.seed}")
        names = [f"exp_{number}" for number in range(world.experiments or 1)]
        self.experiments = {
            name: Experiment(name, self.clock.epoch, self.chance, world.manners) for name in names
        }
        self.server = Server(self.experiments, world.oddities, self.clock.epoch, self.chance)
        self.full_since: dict[tuple[str, str], int] = {}
        """The moment in which the last run began that read all of a list."""
        self.last_run: dict[str, int] = {}
        """The moment in which the last run began, by experiment."""
        self.outcome = Outcome()

    def play(self) -> Outcome:
        for number, night in enumerate(self.world.nights):
            self._night(f"night {number}", night)
        self.clock.advance(DAY)
        self.server.oddities = Oddities()
        self.server.before = lambda request: None
        self.server.unlisted, self.server.emptied = set(), set()
        has_own_ids = not (self.world.manners.shared_ids or self.world.manners.partly_without_ids)
        self._run("calm night", Night(full=True), must_be_complete=has_own_ids)
        if not (found := verify(self.archive)).is_sound:
            self.outcome.failures.append(f"verify says {found}")
        return self.outcome

    def _night(self, name: str, night: Night) -> None:
        self.clock.advance(night.hours_later * HOUR)
        for _ in range(night.changes_before):
            self._stir()
        server = self.server
        server.is_troubled = night.trouble
        server.unlisted = {self.chance.choice(sorted(self.experiments))} if night.unlisted else set()
        full_lists = sorted(kind for (_, kind), rows in held(self.archive).items() if rows)
        server.emptied = {self.chance.choice(full_lists)} if night.emptied and full_lists else set()
        due = [server.requests + self.chance.randint(1, 12) for _ in range(night.changes_meanwhile)]

        def stir_when_due(request: int) -> None:
            for _ in range(due.count(request)):
                self._stir()

        server.before = stir_when_due
        self._run(name, night, must_be_complete=self.world.is_good)

    def _stir(self) -> None:
        experiment = self.experiments[self.chance.choice(sorted(self.experiments))]
        experiment.change(self.chance, list(self.world.manners.kinds), self.chance.choice(self.world.stirs))

    # --- a run, and what it says ---------------------------------------------------------------------
    def _run(self, name: str, night: Night, *, must_be_complete: bool) -> None:
        def fail(text: str) -> None:
            self.outcome.failures.append(f"{name}: {text}")

        held_before = held(self.archive)
        before = contents(held_before)
        moments = {each.name: each.now for each in self.experiments.values()}
        chosen = self._chosen(night)
        if not (chosen.rooms or chosen.participants or chosen.start_time):
            night = replace(night, narrow="")  # there was nothing to narrow it to
        report = self._sync(chosen, full=night.full)
        if isinstance(report, HsmirrorError):
            self.outcome.incomplete += 1
            if must_be_complete or report.exit_status == 1:
                fail(f"ended with {type(report).__name__}: {report}")
            return
        self.outcome.complete += report.is_complete
        self.outcome.incomplete += not report.is_complete
        if report.is_complete != (not report.problems and all(each.is_complete for each in report.experiments)):
            fail(f"exit status {report.exit_status}, and the report says otherwise: {report.problems}")
        if must_be_complete and not report.is_complete:
            kinds = [kind for each in report.experiments for kind in each.types if kind.why]
            whys = [problem.what for problem in report.problems] + [f"{k.data_type}: {k.why}" for k in kinds]
            fail(f"a good server is called incomplete: {whys}")
        self._judge(report, night, chosen, moments, held_before, fail)
        self.last_run = moments
        if lost := before - contents(held(self.archive)):
            older = superseded(self.archive)
            if lost := {each for each in lost if each[1] not in older}:
                fail(f"{len(lost)} rows that were held are lost, such as {min(lost)}")

    def _judge(
        self,
        report: RunReport,
        night: Night,
        chosen: ExperimentSettings,
        moments: dict[str, int],
        before: Lists,
        fail: Callable[[str], None],
    ) -> None:
        """Of a type that is not in the report, a complete run over all says that there is nothing."""
        lists = held(self.archive)
        reports = {each.id: each for each in report.experiments}
        says_all = report.is_complete and not night.narrow
        if says_all and self.world.experiments:
            for name in self.experiments.keys() - reports.keys():
                fail(f"complete, and {name} is not in the report")
        for name, of_experiment in reports.items():
            kinds = {kind.data_type for kind in of_experiment.types if kind.is_complete}
            kinds |= set(self.world.manners.kinds) if says_all else set()
            experiment = self.experiments[name]
            for kind in sorted(kinds & experiment.rows.keys() - set(self.server.oddities.absent)):
                if night.narrow and self._is_empty_rightly(experiment, kind, chosen, before[name, kind]):
                    continue
                found = self._faults(experiment, kind, lists[name, kind], night, chosen, moments[name])
                for fault in found[:_MOST_TOLD]:
                    fail(fault)

    def _is_empty_rightly(
        self, experiment: Experiment, kind: str, chosen: ExperimentSettings, before: Counter[tuple[str, str]]
    ) -> bool:
        """Does nothing that is held of the selection speak against the empty list of tonight?"""
        is_claimed = _claim(kind, chosen)
        return kind in self.server.emptied and not any(
            before[state.place] and is_claimed(state, row)
            for row in experiment.rows[kind]
            for state in row.states
        )

    def _faults(
        self,
        experiment: Experiment,
        kind: str,
        rows: Counter[tuple[str, str]],
        night: Night,
        chosen: ExperimentSettings,
        start: int,
    ) -> list[str]:
        key = (experiment.name, kind)
        lenient_since = None if night.full else self.full_since.get(key)
        now, last_run = self.clock.epoch(), self.last_run.get(experiment.name, 0)

        def is_settled(room: str | None) -> bool:
            return not experiment.is_open(room, kind, now, last_run)

        changed = {
            each.what
            for each in experiment.changes
            if each.moment > (lenient_since or 0) and each.kind == kind and is_settled(each.room)
        }
        if not night.narrow and (night.full or key not in self.full_since):
            self.full_since[key] = start
        elif night.narrow == "rooms" or (night.narrow == "window" and kind not in TIMED):
            self.full_since.setdefault(key, start)  # rooms that a narrow run read whole are settled, too
        return list(
            faults(
                experiment,
                kind,
                rows,
                start=start,
                is_claimed=_claim(kind, chosen),
                lenient_since=lenient_since,
                is_settled=is_settled,
                is_narrow=bool(night.narrow),
                are_late_rows_found=self._has_right_total(kind) and not changed & {"gone", "edit"},
            )
        )

    def _has_right_total(self, kind: str) -> bool:
        odd = self.world.oddities
        is_told = odd.total == "right" and odd.shape not in {"none", "bare"} and odd.hides != kind
        return is_told and kind not in {"variables", "agent-runs"}

    def _chosen(self, night: Night) -> ExperimentSettings:
        narrowing: dict[str, Any] = {}
        experiment = self.experiments["exp_0"]
        times = sorted({iso(row.now.at) for kind in TIMED for row in experiment.there(kind)})
        match night.narrow:
            case "rooms" if experiment.rooms:
                narrowing = {"rooms": (self.chance.choice(experiment.rooms),)}
            case "people":
                narrowing = {"participants": (self.chance.choice(PEOPLE),)}
            case "window" if times:
                start, end = sorted(self.chance.choices(times, k=2))
                narrowing = {"start_time": start} | ({"end_time": end} if start < end else {})
        name = "*" if self.world.experiments else "exp_0"
        kinds = () if self.world.asks_for_all_types else self.world.manners.kinds
        return ExperimentSettings(id=name, data_types=kinds, files=False, **narrowing)

    def _sync(self, chosen: ExperimentSettings, *, full: bool) -> RunReport | HsmirrorError:
        options = RunOptions(full=full, state_folder=self.folder / "state")

        def run(base_url: str) -> Coroutine[Any, Any, RunReport]:
            return sync(self._settings(base_url), _KEY, [chosen], options=options, clock=self.clock)

        try:
            return self._carry_out(run)
        except HsmirrorError as error:
            return error

    def _settings(self, base_url: str) -> Settings:
        given = {"api.base_url": base_url, "archive.path": str(self.archive)}
        limits = {f"limits.requests_per_{each}": 1_000_000 for each in ("hour", "minute_per_endpoint")}
        return load(
            config=None, environ={}, overrides=given | limits, cwd=self.folder, user_config_dir=self.folder
        )

    def _carry_out(self, run: Callable[[str], Coroutine[Any, Any, RunReport]]) -> RunReport:
        """In virtual time, without sockets."""
        with in_place_of_sockets(self.server):
            return run_jumping(lambda _: run("http://127.0.0.1:9/api/v3"), clock=self.clock)


class _ShiftedClock(VirtualClock):
    """Real time, but for the hours between the nights."""

    def monotonic(self) -> float:
        return time.monotonic()

    def epoch(self) -> float:
        return time.time() + self.seconds


class PlayOverHttp(Play):
    """The same over real connections, in real time."""

    def __init__(self, world: World, folder: Path) -> None:
        super().__init__(world, folder, _ShiftedClock())

    def _carry_out(self, run: Callable[[str], Coroutine[Any, Any, RunReport]]) -> RunReport:
        async def over_http() -> RunReport:
            async with serving(self.server) as url:
                return await run(url)

        return asyncio.run(over_http())


def _claim(kind: str, chosen: ExperimentSettings) -> Callable[[State, Row], bool]:
    start, end = chosen.start_time, chosen.end_time

    def is_claimed(state: State, row: Row) -> bool:
        if kind in TIMED and ((start and iso(state.at) < start) or (end and iso(state.at) >= end)):
            return False
        if chosen.participants and (row.person not in chosen.participants or state.room is None):
            return False  # people are asked for by room
        return not chosen.rooms or state.room in chosen.rooms

    return is_claimed


def play(seed: int) -> tuple[World, Outcome]:
    """The world of a seed, played in a folder of its own."""
    world = draw(seed)
    folder = Path(tempfile.mkdtemp(prefix="world-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        return world, Play(world, folder).play()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- the search --------------------------------------------------------------------------------------
@dataclass(slots=True)
class Search:
    """Worlds one after another, and what was found."""

    worlds: int = 0
    failed: int = 0
    by_trait: dict[str, Counter[bool]] = field(default_factory=dict)
    """How many runs said complete, and how many did not, by kind of world."""

    def run(self, seeds: range, seconds: float, on_failure: Callable[[str], None]) -> None:
        ends_at = time.monotonic() + seconds
        for seed in seeds:
            if time.monotonic() >= ends_at:
                break
            world, outcome = play(seed)
            self.worlds += 1
            for trait in ("all", *(world.traits or ["calm"]), *(["good"] if world.is_good else [])):
                counts = self.by_trait.setdefault(trait, Counter())
                counts.update({True: outcome.complete, False: outcome.incomplete})
            if outcome.failures:
                self.failed += 1
                on_failure("\n   ".join((f"world {seed}: {world.told()}", *outcome.failures[:_MOST_TOLD])))

    def share_complete(self, trait: str) -> float:
        counts = self.by_trait[trait]
        return counts[True] / max(1, counts.total())

    def __str__(self) -> str:
        lines = [f"{self.worlds} worlds, {self.failed} failed; runs that said complete, and that did not:"]
        for trait, counts in sorted(self.by_trait.items()):
            share = self.share_complete(trait)
            lines.append(f"{trait:28}{counts[True]:6}{counts[False]:6}  {share:.0%}")
        return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="reliability.worlds", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first world")
    parser.add_argument("--world", type=int, help="only this one")
    chosen = parser.parse_args(arguments)
    first = chosen.seed if chosen.world is None else chosen.world
    search = Search()
    seeds = range(first, first + (10**9 if chosen.world is None else 1))
    search.run(seeds, chosen.seconds, lambda text: sys.stdout.write(text + "\n"))
    sys.stdout.write(f"{search}\n")
    return int(bool(search.failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
