"""The jobs, who takes part in each, and what hsmirror has to reach: the table of the design, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from benchmarks.experiments import SMALL_TYPES, Experiment
from benchmarks.peers import Work
from benchmarks.renderer import PLAIN, Switch

OURS = "hsmirror"
REFERENCE = "curl"
"""Whose figure is 1."""
_EVERYWHERE = (OURS, "hsmirror-none", REFERENCE, "sdk", "minimal", "bare")


class Measure(StrEnum):
    """What is compared."""

    WALL = "wall_seconds"
    CPU = "cpu_seconds"
    PEAK = "peak_bytes"


@dataclass(frozen=True, slots=True)
class Target:
    """What hsmirror has to reach: at most `at_most` times what a peer takes; bytes where there is no peer."""

    at_most: float
    peer: str | None
    measure: Measure = Measure.WALL


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of work on one experiment, for these peers. `connections`: how many each may open at once."""

    key: str
    title: str
    work: Work
    experiment: Experiment
    peers: tuple[str, ...]
    targets: tuple[Target, ...]
    switch: Switch = PLAIN
    connections: int = 16


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. `page_cap`: rows in a page at the most, as the server grants them."""

    page_cap: int
    fewer_rows: int
    rows: int
    rooms: int
    small_rooms: int
    most_rows_a_room: int
    files: int
    file_bytes: int
    delay_seconds: float


FULL = Scale(1_000, 100_000, 400_000, 50, 200, 120, 20, 50 << 20, 0.05)
SHORT = Scale(100, 500, 2_000, 5, 6, 20, 3, 1 << 18, 0.005)


def jobs(scale: Scale) -> tuple[Job, ...]:
    """All of them, in the order of the table."""
    one = Experiment("exp_one", 1, rows=1)
    fewer = Experiment("exp_fewer", scale.rooms, rows=scale.fewer_rows)
    many = Experiment("exp_many", scale.rooms, rows=scale.rows)
    return (
        Job("start", "1 record: what it takes to start", Work.LIST, one, (*_EVERYWHERE, "dlt-tuned"), ()),
        Job(
            "fewer",
            f"{fewer.rows:,} records, plain",
            Work.LIST,
            fewer,
            (*_EVERYWHERE, "dlt-tuned", "dlt-default"),
            (_faster(12, "dlt-tuned"),),
        ),
        Job(
            "plain",
            f"{many.rows:,} records, plain",
            Work.LIST,
            many,
            (*_EVERYWHERE, "dlt-tuned"),
            (Target(1.5, REFERENCE), Target(80 << 20, None, Measure.PEAK)),
        ),
        Job(
            "gzip",
            f"{many.rows:,} records, gzip answers",
            Work.LIST,
            many,
            _EVERYWHERE,
            (Target(1.3, REFERENCE), _faster(10, "sdk"), _faster(10, "sdk", Measure.CPU)),
            Switch(gzip=True),
        ),
        _latency("latency", many, scale, 16, (Target(1.05, REFERENCE),)),
        _latency("latency-32", many, scale, 32, (Target(1.05, REFERENCE), _faster(25, "sdk"))),
        *_small(scale),
        _files(scale),
    )


def _faster(times: float, peer: str, measure: Measure = Measure.WALL) -> Target:
    return Target(1 / times, peer, measure)


def _latency(
    key: str, experiment: Experiment, scale: Scale, connections: int, targets: tuple[Target, ...]
) -> Job:
    pages, milliseconds = experiment.rows // scale.page_cap, scale.delay_seconds * 1000
    title = f"{pages:,} pages, {milliseconds:g} ms an answer, {connections} connections"
    switch = Switch(delayed=True)
    return Job(key, title, Work.LIST, experiment, _EVERYWHERE, targets, switch, connections)


def _small(scale: Scale) -> tuple[Job, Job]:
    rooms, types, most = scale.small_rooms, SMALL_TYPES, scale.most_rows_a_room
    title = f"{rooms * len(types):,} small answers"
    targets = (_faster(5, "sdk"),)
    untold = Experiment("exp_small", rooms, types, most_rows_a_room=most, names_rooms=False)
    told = Experiment("exp_small_told", rooms, types, most_rows_a_room=most)
    return (
        Job("small", title, Work.ROOMS, untold, _EVERYWHERE, targets),
        Job("small-told", f"{title}, rows name their rooms", Work.ROOMS, told, _EVERYWHERE, targets),
    )


def _files(scale: Scale) -> Job:
    ours_and_tools = (OURS, "curl", "curl-sha256", "sdk", "aria2c", "rclone", "wget2")
    return Job(
        "files",
        f"{scale.files} files of {scale.file_bytes / (1 << 20):g} MiB",
        Work.FILES,
        Experiment("exp_files", 4, (), files=scale.files, file_bytes=scale.file_bytes),
        (*ours_and_tools, "threads-sha256", "threads", "async-sha256", "async"),
        (Target(1.0, REFERENCE),),
        connections=4,
    )
