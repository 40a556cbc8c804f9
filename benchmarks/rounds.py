"""Jobs run in rounds: everyone in turn, in an order that rotates, outputs checked before figures count."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dataset import Dataset, Expected
from benchmarks.jobs import Job, Scale
from benchmarks.measuring import measured, touch_memory
from benchmarks.outputs import wrong
from benchmarks.peers import Peer, Task, environment
from benchmarks.server import Server

_LONGEST_SECONDS = 900.0
_SPARE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one peer, its output right. Rounds count from 0."""

    peer: str
    round: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    requests: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of a job. By peer, why it has no figure: `absent` was not to be had, `failures` went wrong."""

    job: Job
    expected: Expected
    peers: tuple[str, ...]
    samples: tuple[Sample, ...]
    absent: dict[str, str]
    failures: dict[str, str]

    def of(self, peer: str) -> list[Sample]:
        """A peer's samples, in the order of the rounds; none where it has no figure."""
        return [sample for sample in self.samples if sample.peer == peer]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where jobs run, and who there is. `work` is for outputs; `python` runs the peers written in it."""

    scale: Scale
    dataset: Dataset
    server: Server
    work: Path
    python: str
    peers: Mapping[str, Peer]
    say: Callable[[str], None]


def run_job(stage: Stage, job: Job, peers: Sequence[str], missing: Mapping[str, str], rounds: int) -> JobResult:
    """A warm-up round, then `rounds` that count. A peer whose output is wrong once is out, with the reason.

    `missing` says of peers that cannot take part why that is so.
    """
    expected = stage.dataset.prepare(job.experiment)
    absent = {peer: missing[peer] for peer in peers if peer in missing}
    if job.switch not in stage.server.origins:
        absent = dict.fromkeys(peers, "the server cannot delay answers: nginx has no echo module")
    failures: dict[str, str] = {}
    samples: list[Sample] = []
    for number in range(-1, rounds):
        for peer in rotated(peers, number):
            if peer in absent or peer in failures:
                continue
            sample = _run(stage, job, peer, expected, number)
            if isinstance(sample, str):
                failures[peer] = sample
                stage.say(f"{job.key}: {peer}: {sample}")
            elif number >= 0:
                samples.append(sample)
    counted = tuple(sample for sample in samples if sample.peer not in failures)
    return JobResult(job, expected, tuple(peers), counted, absent, failures)


def rotated(peers: Sequence[str], number: int) -> Sequence[str]:
    """The order of one round: each begins with the next one, so that drift hits all alike."""
    first = number % len(peers)
    return [*peers[first:], *peers[:first]]


def task_of(stage: Stage, job: Job, out: Path) -> Task:
    """What a peer is asked to do."""
    return Task(
        work=job.work,
        experiment=job.experiment,
        origin=stage.server.origins[job.switch],
        out=out,
        connections=job.connections,
        page_rows=stage.scale.page_cap,
        gzip=job.switch.gzip,
        python=stage.python,
    )


def _run(stage: Stage, job: Job, peer: str, expected: Expected, number: int) -> Sample | str:
    """One run; a text says what went wrong."""
    out = stage.work / "out"
    out.mkdir()
    try:
        touch_memory(out, expected.row_bytes * 3 + expected.file_bytes + _SPARE_BYTES)
        task = task_of(stage, job, out)
        command = stage.peers[peer].command(task)
        requests_before = stage.server.requests_served()
        usage = measured(command, environment(task), out, longest_seconds=_LONGEST_SECONDS)
        requests = stage.server.requests_served() - requests_before
        if usage.exit_status:
            log = (out / "log").read_text(errors="replace").strip()
            return f"ended with status {usage.exit_status}: {log[-500:]}"
        if why := wrong(stage.peers[peer].forms[job.work], out, expected):
            return f"its output is wrong: {why}"
    finally:
        shutil.rmtree(out)
    stage.say(
        f"{job.key} {'warm-up' if number < 0 else number + 1}: {peer}: {usage.wall_seconds:.2f} s, "
        f"CPU {usage.cpu_seconds:.2f} s, {usage.peak_bytes / (1 << 20):.0f} MiB, {requests:,} requests"
    )
    return Sample(peer, number, usage.wall_seconds, usage.cpu_seconds, usage.peak_bytes, requests)
