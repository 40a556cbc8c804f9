"""A power loss at every step of a sync: whatever the disk has kept, nothing is lost and the next sync mends it.

A sync is recorded, operation by operation. At each of them, the states that a file system may be in after a
power loss are made, each is checked as it is, brought up to date by a plain sync, and compared with what
there ever was upstream. Killing a process leaves the page cache as it is, so that this is not shown by killing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from reliability.crash_stage import Situation, Stage, breaches, scratch, stage
from reliability.figures import Figures
from reliability.volatile_disk import Disk, Operation, Recorder, Tree, digest, put_tree, tree_of

_SEED = 1
_SHORT_STATES = 170
"""Tried of each situation in the short form; all are made."""
_LONG_STATES = 4_000
_SHORT_SECOND_CRASHES = 25


@dataclass(slots=True)
class _Tally:
    steps: int = 0
    possible: int = 0
    tried: int = 0
    twice: int = 0
    failures: list[str] = field(default_factory=list)


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """Short form: a sample of the states, about a minute; long: thousands."""
    with scratch(workdir) as folder:
        tallies = asyncio.run(_measure(folder, long=long))
    table = [("situation", "steps", "states", "of them tried", "killed, recovered, then power lost")]
    table += [
        (name, f"{tally.steps:,}", f"{tally.possible:,}", f"{tally.tried:,}", f"{tally.twice:,}")
        for name, tally in tallies.items()
    ]
    every = list(tallies.values())
    return Figures(
        title="Power loss",
        says="At each step of a sync, the states were made that a file system may be left in by a power loss: "
        "unsynced bytes missing, cut off or zeroed, unsynced names missing or there, in any order. Each was "
        "checked, brought up to date by a plain sync, and compared with what is upstream.",
        counts=(
            ("steps at which the power was lost", sum(tally.steps for tally in every)),
            ("distinct states that are possible there", sum(tally.possible for tally in every)),
            ("of them tried", sum(tally.tried for tally in every)),
            ("power losses right after a recovery from a kill", sum(tally.twice for tally in every)),
        ),
        failures=tuple(failure for tally in every for failure in tally.failures),
        table=tuple(table),
    )


async def _measure(workdir: Path, *, long: bool) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {}
    async with stage(workdir / "stage") as set_up:
        for situation in set_up.situations:
            trials = _Trials(set_up, situation, workdir / situation.name)
            tallies[situation.name] = await trials.all(
                most_states=_LONG_STATES if long else _SHORT_STATES,
                most_second_crashes=None if long else _SHORT_SECOND_CRASHES,
            )
    return tallies


@dataclass(slots=True)
class _Trials:
    stage: Stage
    situation: Situation
    workdir: Path
    tally: _Tally = field(default_factory=_Tally)
    chance: Random = field(default_factory=lambda: Random(_SEED))

    async def all(self, *, most_states: int, most_second_crashes: int | None) -> _Tally:
        folder = self.workdir / "recorded"
        self.situation.set_up(folder)
        before = tree_of(folder)
        operations = await self._recorded(before, folder)
        await self._try_states(before, operations, most_states)
        await self._try_second_crashes(before, operations, most_second_crashes)
        return self.tally

    async def _recorded(self, before: Tree, folder: Path) -> Sequence[Operation]:
        """What a sync does; what it has reported as complete survives a power loss then and there."""
        operations, ended = await self._sync_recorded(folder)
        disk = Disk(before)
        for operation in operations:
            disk.apply(operation)
        assert not ended, ended
        assert _archive_of(disk.everything()) == _archive_of(tree_of(folder)), "an operation was not recorded"
        self.tally.failures += self._what_is_lost(disk, "right after a sync")
        return operations

    async def _sync_recorded(self, folder: Path) -> tuple[Sequence[Operation], str]:
        with Recorder(folder) as recorder:
            ended = await self.stage.sync(folder)
        return [each for each in recorder.operations if not each.path.startswith("state")], ended

    async def _try_states(self, before: Tree, operations: Sequence[Operation], most: int) -> None:
        possible = list(self._states(before, operations))
        self.tally.steps, self.tally.possible = len(operations), len(possible)
        chosen = possible if len(possible) <= most else self.chance.sample(possible, most)
        for step, tree in chosen:
            folder = self.workdir / "state"
            put_tree(tree, folder)
            found = await self.stage.failures(self.situation, folder)
            self.tally.failures += [
                f"{self.situation.name}, power lost after step {step}: {each}" for each in found
            ]
            self.tally.tried += 1
            shutil.rmtree(folder)

    def _states(self, before: Tree, operations: Sequence[Operation]) -> Iterator[tuple[int, Tree]]:
        """Each distinct state once, with the number of the step after which it first is possible."""
        disk, seen = Disk(before), set[bytes]()
        for step, operation in enumerate(operations, 1):
            disk.apply(operation)
            for tree in disk.after_power_loss(self.chance, samples=6):
                if (mark := digest(tree)) not in seen:
                    seen.add(mark)
                    yield step, tree

    async def _try_second_crashes(
        self, before: Tree, operations: Sequence[Operation], most: int | None
    ) -> None:
        """Killed at a step, and brought up to date by a sync that ends well: the power may be lost then.

        Killed with a folder just made, above all: the next run finds it there, and may take its name for safe.
        """
        steps = list(range(1, len(operations)))
        if most is not None and most < len(steps):
            made = [step for step in steps if operations[step - 1].kind == "make_folder"]
            others = [step for step in steps if step not in made]
            steps = sorted([*made, *self.chance.sample(others, max(0, most - len(made)))])
        for step in steps:
            disk = Disk(before)
            for operation in operations[:step]:
                disk.apply(operation)
            folder = self.workdir / "twice"
            put_tree(disk.everything(), folder)
            more, ended = await self._sync_recorded(folder)
            for operation in more:
                disk.apply(operation)
            what = f"killed after step {step}, recovered"
            self.tally.failures += [f"{what}: {ended}"] if ended else self._what_is_lost(disk, what)
            self.tally.twice += 1
            shutil.rmtree(folder)

    def _what_is_lost(self, disk: Disk, when: str) -> list[str]:
        """What a run that ended well does not find again if the power is lost."""
        folder = self.workdir / "certain"
        put_tree(disk.nothing_unsynced(), folder)
        archive = folder / "archive"
        found = breaches(archive, self.situation.held) + self.situation.expected.differences(archive)
        shutil.rmtree(folder)
        return [f"{self.situation.name}, power lost {when}: {each}" for each in found]


def _archive_of(tree: Tree) -> Tree:
    """Without what lies beside the archive: the budget's state, which may be lost."""
    return {path: content for path, content in tree.items() if path.split("/")[0] == "archive"}
