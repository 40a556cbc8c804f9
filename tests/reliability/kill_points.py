"""A sync that is killed, or refused by the disk, at a system call: the next one goes on, unaided.

`strace` stands between a sync, a process of its own, and the kernel: it kills the process as it makes the
n-th of the calls that change files, has such a call fail with an error of the disk, or claim to have written
one byte and write none. Strace counts each thread's calls by themselves; for every call to have a number, what
goes to worker threads elsewhere is run in the one thread here, and some syncs are killed as they are.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from oracle import EXPERIMENT

import hsmirror
from reliability.crash_stage import SHARD_SIZE, TYPES, Situation, Stage, scratch, stage
from reliability.figures import Figures

_AT_ONCE = 2
_SEED = 1
_LONGEST_SECONDS = 60.0
_SOURCE = str(Path(hsmirror.__file__ or "").parents[1])
_CHANGES = (
    "mkdir,mkdirat,write,writev,pwrite64,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,"
    "fsync,fdatasync,truncate,ftruncate,chmod,fchmod,fchmodat"
)
"""Calls that change files. One that makes a file is followed by its fchmod: a kill there is as good."""

_ERRORS = {
    "ENOSPC": "openat,mkdir,write,rename,link,fsync",
    "EDQUOT": "openat,mkdir,write,rename,link,fsync",
    "EIO": "openat,write,rename,unlink,fsync,fchmod,rmdir,link",
    "EROFS": "openat,mkdir,rename,unlink,link,chmod,rmdir",
    "EACCES": "openat,mkdir,rename,unlink,link,chmod,rmdir",
}
"""Which calls give which error."""

_FORK_SERVER = """
import concurrent.futures, ctypes, json, os, signal, sys
import anyio.to_thread

async def run_sync(work, *arguments, **_):
    return work(*arguments)

class Inline(concurrent.futures.Executor):
    def __init__(self, *_):
        pass
    def submit(self, work, *arguments):
        done = concurrent.futures.Future()
        try:
            done.set_result(work(*arguments))
        except BaseException as error:
            done.set_exception(error)
        return done

anyio.to_thread.run_sync = run_sync
concurrent.futures.ThreadPoolExecutor = Inline
from hsmirror.cli import main, progress, summary, sync
from hsmirror.mirror import run

def begin(task):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(task["environ"])
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(os.open(task["stderr"], os.O_WRONLY | os.O_CREAT, 0o600), 2)
    # The tracer is a sibling, which some systems do not let trace unless it is allowed to.
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
    open(task["go"]).close()
    sys.exit(main.main(task["arguments"]))

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    child = os.fork()
    if not child:
        begin(json.loads(line))
    print(child, flush=True)
"""
"""Has everything imported, and forks a process for each sync: starting anew costs more than the sync does."""


def strace_path() -> str | None:
    """Where strace is; None where it is not installed."""
    return shutil.which("strace")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sync under strace ended."""

    stderr: str
    calls: Sequence[str]
    """Strace's lines, in order."""

    @property
    def status(self) -> int:
        """As the shell has it; 137 for a process that was killed."""
        ends = [match for line in self.calls if (match := _END.search(line))]
        return int(ends[-1]["status"] or 137) if ends else -1

    @property
    def was_killed(self) -> bool:
        return self.status == 137

    @property
    def injected(self) -> str:
        """The call that was made to fail; empty if none was."""
        return next((line for line in self.calls if "(INJECTED)" in line), "")


_END = re.compile(r"\+\+\+ (?:exited with (?P<status>\d+)|killed by SIGKILL(?: \(core dumped\))?) \+\+\+$")


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
    async with stage(workdir / "stage") as set_up, _fork_server() as server:
        for situation in set_up.situations:
            trials = _Trials(set_up, situation, workdir / situation.name, tally, server)
            # Of the merge's steps most are alike: a segment of receipts removed.
            every = 1 if long else {"first": 4, "second": 4, "merge": 14}[situation.name]
            changes, calls = await trials.calls()
            await trials.kill(range(1 + chance.randrange(every), changes + 1, every))
            if situation.name == "merge":
                continue
            await trials.kill_as_it_is(range(2, 60, 1 if long else 12))
            injections = [
                (call, f"error={name}")
                for name, names in _ERRORS.items()
                for call in calls
                if call.name in names.split(",")
            ]
            await trials.refuse(injections if long else chance.sample(injections, 20))
            shorts = [(call, "retval=1") for call in calls if call.name == "write"]
            await trials.refuse(shorts if long else chance.sample(shorts, 6))
    return tally


class _Trials:
    """Of one situation; each in a folder of its own, some at once."""

    def __init__(
        self, set_up: Stage, situation: Situation, workdir: Path, tally: _Tally, server: Process
    ) -> None:
        self._stage = set_up
        self._situation = situation
        self._workdir = workdir
        self._tally = tally
        self._server = server
        self._lock = asyncio.Lock()
        self._count = 0

    async def calls(self) -> tuple[int, list[_Call]]:
        """How many calls that change files a sync makes, and all of its calls on the archive."""
        folder = self._new_folder()
        traced = await self._strace(folder, ["-e", f"trace={_names(f'openat,{_CHANGES}')}"])
        assert traced.status == 0, traced.stderr
        numbers: Counter[str] = Counter()
        found: list[_Call] = []
        changes = 0
        for line in traced.calls:
            if match := re.match(r"\d+ +(\w+)\(", line):
                name = match[1]
                numbers[name] += 1
                changes += name != "openat"
                if str(folder / "archive") in line:
                    found.append(_Call(name, numbers[name]))
        return changes, found

    async def kill(self, steps: Iterable[int]) -> None:
        async def trial(step: int) -> None:
            folder = self._new_folder()
            ended = await self._strace(folder, _injection(_CHANGES, "signal=SIGKILL", step))
            if ended.was_killed:
                await self._judge(folder, f"killed, {self._situation.name} sync", f"call {step}")

        await _some_at_once(trial, steps)

    async def kill_as_it_is(self, steps: Iterable[int]) -> None:
        """The command as users run it, threads and all: as one of its threads makes its n-th call."""

        async def trial(step: int) -> None:
            folder = self._new_folder()
            ended = await self._strace_command(folder, _injection(_CHANGES, "signal=SIGKILL", step))
            if ended.was_killed:
                what = f"killed with threads, {self._situation.name} sync"
                await self._judge(folder, what, f"call {step} of a thread")

        await _some_at_once(trial, steps)

    async def refuse(self, injections: Iterable[tuple[_Call, str]]) -> None:
        async def trial(injection: tuple[_Call, str]) -> None:
            call, fault = injection
            folder = self._new_folder()
            ended = await self._strace(folder, _injection(call.name, fault, call.number))
            if str(folder / "archive") not in ended.injected:
                return  # another run makes other calls here
            what = f"short write, {self._situation.name} sync" if "retval" in fault else fault[len("error=") :]
            where = f"{fault} at {_without_folder(ended.injected, folder)}"
            self._tally.statuses[f"{what}: {ended.status}"] += 1
            self._tally.failures += [f"{where}: {each}" for each in _wrong_with(ended)]
            await self._judge(folder, what, where)

        await _some_at_once(trial, injections)

    async def _judge(self, folder: Path, what: str, where: str) -> None:
        self._tally.counts[what] += 1
        found = await self._stage.failures(self._situation, folder)
        self._tally.failures += [f"{self._situation.name}, {what}, {where}: {each}" for each in found]
        shutil.rmtree(folder)

    def _new_folder(self) -> Path:
        self._count += 1
        folder = self._workdir / f"{self._count:04d}"
        self._situation.set_up(folder)
        return folder

    async def _strace(self, folder: Path, options: Sequence[str]) -> Ended:
        """A sync in a process of the fork server's, traced from its first step on."""
        go, stderr, trace = (folder / name for name in ("go", "stderr", "trace"))
        os.mkfifo(go)
        task = {
            "environ": self._environment(folder),
            "stderr": str(stderr),
            "go": str(go),
            "arguments": self._arguments(folder),
        }
        async with self._lock:
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(json.dumps(task).encode() + b"\n")
            traced = (await self._server.stdout.readline()).strip().decode()
        strace = await _start_strace(trace, ["-p", traced, *options])
        assert strace.stderr is not None
        attached = await strace.stderr.readline()
        assert b"attached" in attached, attached
        go.write_bytes(b"")
        await _ended(strace)
        ended = Ended(stderr.read_text(errors="replace"), trace.read_text(errors="replace").splitlines())
        for path in (go, stderr, trace):
            path.unlink()
        return ended

    async def _strace_command(self, folder: Path, options: Sequence[str]) -> Ended:
        """A sync as users run it, a command of its own."""
        trace = folder / "trace"
        command = [sys.executable, "-m", "hsmirror", *self._arguments(folder)]
        strace = await _start_strace(trace, [*options, *command], env=self._environment(folder))
        stderr = await _ended(strace)
        ended = Ended(stderr, trace.read_text(errors="replace").splitlines())
        trace.unlink()
        return ended

    def _arguments(self, folder: Path) -> list[str]:
        types = [text for name in TYPES for text in ("--type", name)]
        return ["sync", EXPERIMENT, "--archive", str(folder / "archive"), *types]

    def _environment(self, folder: Path) -> dict[str, str]:
        """Nothing of the user's; no byte code is written, which would be calls of their own."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": _SOURCE,
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPERSTUDY_BASE_URL": self._stage.lab.base_url,
            "HYPERSTUDY_API_KEY": self._stage.lab.key,
            "HSMIRROR_ARCHIVE__SHARD_SIZE": SHARD_SIZE,
        }


@asynccontextmanager
async def _fork_server() -> AsyncIterator[Process]:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _FORK_SERVER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _SOURCE},
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert (await server.stdout.readline()) == b"ready\n"
    try:
        yield server
    finally:
        server.stdin.close()
        await server.wait()


async def _start_strace(trace: Path, arguments: Sequence[str], env: dict[str, str] | None = None) -> Process:
    # Not with --seccomp-bpf, which is faster: signals are not injected then.
    return await asyncio.create_subprocess_exec(
        strace_path() or "strace",
        *("-f", "-y", "-s", "8", "-o", str(trace), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )


async def _ended(strace: Process) -> str:
    """Waits for its end; what it, or what it ran, has said."""
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            _, stderr = await strace.communicate()
    except TimeoutError:
        strace.kill()
        await strace.wait()
        return "does not end"
    return stderr.decode(errors="replace")


def _names(calls: str) -> str:
    """With a mark that says: if this machine has it."""
    return f"?{calls.replace(',', ',?')}"


def _injection(calls: str, fault: str, number: int) -> list[str]:
    names = _names(calls)
    return ["-e", f"trace={names}", "-e", f"inject={names}:{fault}:when={number}"]


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
