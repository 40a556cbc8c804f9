"""What may grow in an archive, and what is measured of each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.growth.archives import SAMPLES, Shape, experiment_id, make_archive, make_older
from benchmarks.growth.costs import API_KEY, Client, Cost
from hsmirror.lab.keys import LabKey
from hsmirror.lab.server import LabOptions, running_lab
from hsmirror.lab.shape import LabShape

UPSTREAM = "http://127.0.0.1:1/api/v3"
_EXPERIMENT = "exp_research_001"

Measures = Mapping[str, Callable[[], Cost]]


@dataclass(frozen=True, slots=True)
class Subject:
    """`prepare` makes an archive of a size in a folder, and gives what is measured of it, by title.

    `nothing` is the size at which there is next to nothing of it: what costs more than there is growth.
    """

    key: str
    title: str
    sizes: tuple[int, ...]
    short_sizes: tuple[int, ...]
    nothing: int
    prepare: Callable[[Path, int], AbstractContextManager[Measures]] = field(repr=False)


@contextmanager
def _receipts(folder: Path, receipts: int) -> Iterator[Measures]:
    archive, client = folder / "archive", Client(folder)
    make_archive(archive, Shape(receipts), UPSTREAM)
    yield {
        "start": lambda: start(client, archive),
        "status": lambda: client.cost("status", str(archive)),
        f"verify --sample 1/{SAMPLES}": lambda: client.cost("verify", str(archive), "--sample", f"1/{SAMPLES}"),
    }


def start(client: Client, archive: Path) -> Cost:
    """Of a sync, until its first request."""
    return client.cost_of_start("sync", experiment_id(0), "--archive", str(archive))


@contextmanager
def _rooms(folder: Path, rooms: int) -> Iterator[Measures]:
    with mirrored(folder, LabShape(rooms=rooms, events_per_room=5, recordings_per_room=0)) as client:
        yield {"unchanged night": lambda: night(client)}


@contextmanager
def _rows(folder: Path, rows: int) -> Iterator[Measures]:
    shape = LabShape(rooms=_ROOMS, events_per_room=max(1, rows // _ROOMS), recordings_per_room=0)
    with mirrored(folder, shape) as client:
        yield {"unchanged night": lambda: night(client)}


@contextmanager
def _years(folder: Path, years: int) -> Iterator[Measures]:
    with mirrored(folder, LabShape(rooms=_ROOMS, events_per_room=5, recordings_per_room=0)) as client:
        make_older(folder / "archive", years)
        yield {
            "unchanged night": lambda: night(client),
            "status": lambda: client.cost("status", "archive"),
        }


_ROOMS = 20

SUBJECTS = (
    Subject(
        "receipts",
        "receipts",
        (10_000, 30_000, 100_000, 300_000, 1_000_000),
        (12_500, 50_000, 200_000),
        14,
        _receipts,
    ),
    Subject("rooms", "rooms of an experiment", (30, 100, 300, 1_000, 3_000), (20, 80, 320), 1, _rooms),
    Subject("rows", "events", (10_000, 30_000, 100_000, 300_000), (2_000, 8_000, 32_000), _ROOMS, _rows),
    Subject("years", "years of nights", (1, 2, 5, 10), (1, 4, 16), 0, _years),
)


def night(client: Client) -> Cost:
    """Of a sync of all that the lab has."""
    return client.cost("sync", _EXPERIMENT, "--archive", "archive")


@contextmanager
def mirrored(folder: Path, shape: LabShape) -> Iterator[Client]:
    """An archive of all that a lab has, synced once, and the lab still running."""
    with _lab(folder, shape) as base_url:
        client = Client(folder, base_url)
        night(client)
        yield client


@contextmanager
def _lab(folder: Path, shape: LabShape) -> Iterator[str]:
    """On a thread: what it costs is not counted."""
    options = LabOptions(shape=shape, keys=(LabKey(API_KEY),), limits=None)
    is_up, loops, urls = threading.Event(), list[asyncio.AbstractEventLoop](), list[str]()
    stopping = asyncio.Event()

    async def serve() -> None:
        async with running_lab(options, files_dir=folder) as lab:
            loops.append(asyncio.get_running_loop())
            urls.append(lab.base_url)
            is_up.set()
            await stopping.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            is_up.set()

    thread = threading.Thread(target=run, name="lab")
    thread.start()
    is_up.wait()
    try:
        yield urls[0]
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        thread.join()
