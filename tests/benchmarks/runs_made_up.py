"""Results of runs that nobody ran, for what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.dataset import Expected
from benchmarks.experiments import Experiment
from benchmarks.fingerprints import Fingerprint
from benchmarks.jobs import Job, Target
from benchmarks.peers import Work
from benchmarks.report import Report
from benchmarks.rounds import JobResult, Sample

EXPECTED = Expected(Fingerprint(1000, 1), Fingerprint(1000, 2), Fingerprint(), 400_000, 0)


def result(
    walls: Mapping[str, Sequence[float | None]],
    *,
    targets: tuple[Target, ...] = (),
    absent: dict[str, str] | None = None,
    failures: dict[str, str] | None = None,
) -> JobResult:
    """Seconds by peer, one a round or None for no figure; CPU is half of that, memory 10 MiB."""
    peers = (*walls, *(absent or {}), *(failures or {}))
    job = Job("plain", "1,000 records", Work.LIST, Experiment("exp", 1, rows=1000), peers, targets)
    samples = tuple(
        Sample(peer, number, seconds, seconds / 2, 10 << 20, 400)
        for peer, each in walls.items()
        for number, seconds in enumerate(each)
        if seconds is not None
    )
    return JobResult(job, EXPECTED, peers, samples, absent or {}, failures or {})


def report(*results: JobResult) -> Report:
    return Report(
        began_at="2026-11-23",
        command="python -m benchmarks",
        machine="2 cores",
        server="nginx",
        load=0.1,
        rounds=3,
        is_short=False,
        versions={"curl": "8.0"},
        results=results,
    )
