"""A sync that is killed, or refused by the disk, at a system call: the next one goes on, unaided.

`strace` stands between a sync, a process of its own, and the kernel: it kills the process as it makes the
n-th of the calls that change files, has such a call fail with an error of the disk, or claim to have written
one byte and write none.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from oracle import EXPERIMENT

from reliability.crash_stage import SHARD_SIZE, TYPES, Situation, Stage, scratch, stage
from reliability.figures import Figures
from reliability.traced_syncs import Ended, TracedSyncs, injection, names, traced_syncs

_AT_ONCE = 2
_SEED = 1
_CHANGES = (
    "mkdir,mkdirat,write,writev,pwrite64,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,"
    "fsync,fdatasync,truncate,ftruncate,chmod,fchmod,fchmodat"
)
"""Calls that change files. One that makes a file is followed by its fchmod: a kill there is as good."""

_ERRORS = {
    "ENOSPC": "openat,mkdir,write,rename,link,linkat,fsync",
    "EDQUOT": "openat,mkdir,write,rename,link,linkat,fsync",
    "EIO": "openat,write,rename,unlink,unlinkat,fsync,fchmod,rmdir,link,linkat",
    "EROFS": "openat,mkdir,rename,unlink,unlinkat,link,linkat,chmod,rmdir",
    "EACCES": "openat,mkdir,rename,unlink,unlinkat,link,linkat,chmod,rmdir",
}
"""Which calls give which error."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call on the archive, and its number among all of that name."""

    name: str
    number: int


@dataclass(slots=True)
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """Short form: every few calls, a minute and a half of one core; long: every call, every error."""
    with scratch(workdir) as folder:
        tally = asyncio.run(_measure(folder, long=long))
    return Figures(
        title="Killed, or refused by the disk, at a system call",
        says="Strace killed a sync with SIGKILL as it made a call that changes files, or had that call fail. "
        "The archive was checked, brought up to date by a plain sync, and compared with what is upstream.",
        counts=tuple(sorted(tally.counts.items())),
        failures=tuple(tally.failures),
        table=(
            ("what was done", "how the run ended", "runs"),
            *((*key.split(": ", 1), f"{count:,}") for key, count in sorted(tally.statuses.items())),
        ),
    )


async def _measure(workdir: Path, *, long: bool) -> _Tally:
    tally = _Tally()
    chance = Random(_SEED)
    async with stage(workdir / "stage") as set_up, traced_syncs(_environment(set_up)) as syncs:
        for situation in set_up.situations:
            trials = _Trials(set_up, situation, workdir / situation.name, tally, syncs)
            # Of the merge's steps most are alike: a segment of receipts removed.
            every = 1 if long else {"first": 5, "second": 5, "merge": 14}[situation.name]
            calls = await trials.calls()
            changes = [call for call in calls if call.name != "openat"]
            await trials.kill(changes[chance.randrange(every) :: every])
            if situation.name == "merge":
                continue
            await trials.kill_as_it_is(range(2, 60, 1 if long else 12))
            faults = [
                (call, f"error={error}")
                for error, calls_that_may in _ERRORS.items()
                for call in calls
                if call.name in calls_that_may.split(",")
            ]
            await trials.refuse(faults if long else chance.sample(faults, 20))
            shorts = [(call, "retval=1") for call in calls if call.name == "write"]
            await trials.refuse(shorts if long else chance.sample(shorts, 6))
    return tally


def _environment(set_up: Stage) -> dict[str, str]:
    return {
        "HYPERSTUDY_BASE_URL": set_up.lab.base_url,
        "HYPERSTUDY_API_KEY": set_up.lab.key,
        "HSMIRROR_ARCHIVE__SHARD_SIZE": SHARD_SIZE,
    }


class _Trials:
    """Of one situation; each in a folder of its own, some at once."""

    def __init__(
        self, set_up: Stage, situation: Situation, workdir: Path, tally: _Tally, syncs: TracedSyncs
    ) -> None:
        self._stage = set_up
        self._situation = situation
        self._workdir = workdir
        self._tally = tally
        self._syncs = syncs
        self._count = 0

    async def calls(self) -> list[_Call]:
        """The calls of a sync that open or change something of the archive, in order."""
        with self._folder() as folder:
            options = ["-e", f"trace={names(f'openat,{_CHANGES}')}"]
            traced = await self._syncs.run(folder, options, _arguments(folder))
        assert traced.status == 0, traced.stderr
        numbers: Counter[str] = Counter()
        found: list[_Call] = []
        for line in traced.calls:
            if match := re.match(r"\d+ +(\w+)\(", line):
                name = match[1]
                numbers[name] += 1
                if str(folder / "archive") in line:
                    found.append(_Call(name, numbers[name]))
        return found

    async def kill(self, calls: Iterable[_Call]) -> None:
        async def trial(call: _Call) -> None:
            with self._folder() as folder:
                options = injection(call.name, "signal=SIGKILL", call.number)
                ended = await self._syncs.run(folder, options, _arguments(folder))
                if ended.was_killed:
                    what = f"killed, {self._situation.name} sync"
                    await self._judge(folder, what, f"{call.name} number {call.number}")

        await _some_at_once(trial, calls)

    async def kill_as_it_is(self, steps: Iterable[int]) -> None:
        """The command as users run it, threads and all: as a thread makes its n-th call of a kind."""

        async def trial(step: int) -> None:
            with self._folder() as folder:
                options = injection(_CHANGES, "signal=SIGKILL", step)
                ended = await self._syncs.run_command(folder, options, _arguments(folder))
                if ended.was_killed:
                    what = f"killed with threads, {self._situation.name} sync"
                    await self._judge(folder, what, f"at call {step} of a kind and thread")

        await _some_at_once(trial, steps)

    async def refuse(self, faults: Iterable[tuple[_Call, str]]) -> None:
        """Have one call fail in one way."""

        async def trial(case: tuple[_Call, str]) -> None:
            call, fault = case
            with self._folder() as folder:
                options = injection(call.name, fault, call.number)
                ended = await self._syncs.run(folder, options, _arguments(folder))
                if str(folder / "archive") not in ended.injected:
                    return  # another run makes other calls here
                error = fault.partition("error=")[2]
                what = f"calls refused with {error}" if error else "short writes"
                where = f"{fault} at {_without_folder(ended.injected, folder)}"
                self._tally.statuses[f"{what}: {ended.status}"] += 1
                self._tally.failures += [f"{where}: {each}" for each in _wrong_with(ended)]
                await self._judge(folder, what, where)

        await _some_at_once(trial, faults)

    async def _judge(self, folder: Path, what: str, where: str) -> None:
        self._tally.counts[what] += 1
        found = await self._stage.failures(self._situation, folder)
        self._tally.failures += [f"{self._situation.name}, {what}, {where}: {each}" for each in found]

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A fresh one, with the archive as the sync finds it."""
        self._count += 1
        folder = self._workdir / f"{self._count:04d}"
        self._situation.set_up(folder)
        yield folder
        shutil.rmtree(folder)


def _arguments(folder: Path) -> list[str]:
    types = [text for name in TYPES for text in ("--type", name)]
    return ["sync", EXPERIMENT, "--archive", str(folder / "archive"), *types]


def _wrong_with(ended: Ended) -> list[str]:
    """What a run that the disk refused something must not do: it ends with 7, and says why in a line, or it
    got along without, and ends with 0.
    """
    found = [] if ended.status in {0, 7} else [f"ended with {ended.status}"]
    if "Traceback" in ended.stderr or "Signature" in ended.stderr or "hst_" in ended.stderr:
        found.append("a traceback or a secret on stderr")
    last = ended.stderr.strip().splitlines()[-1:]
    if ended.status == 7 and not (last and re.search(r"cannot \w+ ", last[0])):
        found.append(f"does not say what failed: {last}")
    return [f"{each} ({' / '.join(ended.stderr.strip().splitlines()[-2:])})" for each in found]


def _without_folder(line: str, folder: Path) -> str:
    return re.sub(r"^\d+ +", "", line).replace(f"{folder}/archive/", "").replace(str(folder / "archive"), ".")


T = TypeVar("T")


async def _some_at_once(trial: Callable[[T], Awaitable[None]], cases: Iterable[T]) -> None:
    waiting = iter(list(cases))

    async def work() -> None:
        for case in waiting:
            await trial(case)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(work())
