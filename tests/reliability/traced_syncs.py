"""Syncs under strace: traced, killed at a call, or with a call that is made to fail.

Strace counts each thread's calls by themselves, and each kind of call. For every call of a sync to have a
number of its own, what goes to worker threads elsewhere is run in its one thread here;
`TracedSyncs.run_command` runs one as users do.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import hsmirror

_LONGEST_SECONDS = 60.0
_SOURCE = str(Path(hsmirror.__file__ or "").parents[1])

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
    # The tracer is no parent, and some systems let it trace only if it was allowed to: PR_SET_PTRACER.
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
    print(os.getpid(), flush=True)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(os.open(task["stderr"], os.O_WRONLY | os.O_CREAT, 0o600), 2)
    open(task["go"]).close()
    sys.exit(main.main(task["arguments"]))

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    if not os.fork():
        begin(json.loads(line))
"""
"""Has everything imported, and forks a process for each sync: starting anew costs more than the sync does."""


def why_not() -> str:
    """Why syncs cannot be traced here; empty if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "strace may not trace here"


def names(calls: str) -> str:
    """With marks that say: if this machine has it."""
    return f"?{calls.replace(',', ',?')}"


def injection(calls: str, fault: str, number: int) -> list[str]:
    """Strace's options that let a fault happen at the n-th call; each kind is counted by itself."""
    return ["-e", f"trace={names(calls)}", "-e", f"inject={names(calls)}:{fault}:when={number}"]


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


class TracedSyncs:
    """Runs `hsmirror` with arguments and an environment; several at once."""

    def __init__(self, fork_server: Process, environment: Mapping[str, str]) -> None:
        self._fork_server = fork_server
        self._environment = environment
        self._lock = asyncio.Lock()

    async def run(self, folder: Path, options: Sequence[str], arguments: Sequence[str]) -> Ended:
        """In a process of the fork server's, traced from its first step on; strace's output is in `folder`."""
        go, stderr, trace = (folder / name for name in ("go", "stderr", "trace"))
        os.mkfifo(go)
        environ = self._environ(folder)
        task = {"environ": environ, "stderr": str(stderr), "go": str(go), "arguments": list(arguments)}
        async with self._lock:
            assert self._fork_server.stdin is not None
            assert self._fork_server.stdout is not None
            self._fork_server.stdin.write(json.dumps(task).encode() + b"\n")
            traced = int(await self._fork_server.stdout.readline())
        try:
            strace = await _start_strace(trace, ["-p", str(traced), *options])
            assert strace.stderr is not None
            said = await strace.stderr.readline()
            assert b"attached" in said, f"strace says {said!r}"
            go.write_bytes(b"")
            await _ended(strace)
        finally:
            with suppress(ProcessLookupError):  # it has ended, as it should
                os.kill(traced, signal.SIGKILL)
        ended = Ended(stderr.read_text(errors="replace"), trace.read_text(errors="replace").splitlines())
        for path in (go, stderr, trace):
            path.unlink()
        return ended

    async def run_command(self, folder: Path, options: Sequence[str], arguments: Sequence[str]) -> Ended:
        """As users run it, a command of its own, threads and all."""
        trace = folder / "trace"
        command = [sys.executable, "-m", "hsmirror", *arguments]
        strace = await _start_strace(trace, [*options, *command], env=self._environ(folder))
        stderr = await _ended(strace)
        ended = Ended(stderr, trace.read_text(errors="replace").splitlines())
        trace.unlink()
        return ended

    def _environ(self, folder: Path) -> dict[str, str]:
        """Nothing of the user's; no byte code is written, which would be calls of their own."""
        own = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": _SOURCE}
        return own | {"PYTHONDONTWRITEBYTECODE": "1"} | dict(self._environment)


@asynccontextmanager
async def traced_syncs(environment: Mapping[str, str]) -> AsyncIterator[TracedSyncs]:
    """A fork server that ends with the block."""
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
        yield TracedSyncs(server, environment)
    finally:
        server.stdin.close()
        await server.wait()


async def _start_strace(trace: Path, arguments: Sequence[str], env: dict[str, str] | None = None) -> Process:
    # Not with --seccomp-bpf, which is faster: signals are not injected then.
    return await asyncio.create_subprocess_exec(
        *("strace", "-f", "-y", "-s", "8", "-o", str(trace), *arguments),
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
