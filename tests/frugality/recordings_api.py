"""An API with recordings, in virtual time: the experiment, its list of recordings, and their addresses."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import unquote

import orjson
from virtual_time import FakeAnswer, VirtualClock

from frugality.rationing import Rationing
from frugality.recordings_least import Line
from frugality.store import Link, SimulatedStore
from hsmirror.errors import NotFoundError
from hsmirror.serve.envelope import PageFacts, document_paging, object_envelope, rows_envelope

EXPERIMENT = "exp_recordings"
API_LATENCY_SECONDS = 0.2
STORE_LATENCY_SECONDS = 0.1
MEGABYTE, GIGABYTE = 1e6, 1e9


@dataclass(frozen=True, slots=True)
class Sizes:
    """The smallest and the largest file, in bytes; those between are spread evenly over their logarithms."""

    smallest: float
    largest: float

    def __str__(self) -> str:
        return f"{_bytes(self.smallest)} to {_bytes(self.largest)}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Recordings of one experiment, where they lie, and how they are fetched. Rates are in MB/s.

    `ahead_seconds` is by how much the clocks of API and store are ahead of the mirror's. A byte that is
    written stands for `bytes_a_byte`: sizes and rates are scaled down together.
    """

    files: int
    sizes: Sizes
    are_minted: bool
    address_seconds: int
    store_rate: float
    connection_rate: float = math.inf
    downloads: int = 4
    page_rows: int = 1_000
    files_a_room: int = 4
    gigabytes_between_breaks: float = math.inf
    ahead_seconds: float = 0.0
    bytes_a_byte: int = 1_000
    seed: int = 1

    @property
    def line(self) -> Line:
        """The way to the store, scaled."""
        rates = [rate * MEGABYTE / self.bytes_a_byte for rate in (self.store_rate, self.connection_rate)]
        return Line(self.downloads, *rates, STORE_LATENCY_SECONDS)

    @property
    def pages(self) -> int:
        """Of the list."""
        return math.ceil(self.files / self.page_rows)

    def sizes_bytes(self) -> list[int]:
        """Of all files, scaled."""
        chance = Random(f"sizes/{self.seed}")
        low, high = (math.log(size / self.bytes_a_byte) for size in (self.sizes.smallest, self.sizes.largest))
        return [max(1, round(math.exp(chance.uniform(low, high)))) for _ in range(self.files)]

    def __str__(self) -> str:
        kind = "minted" if self.are_minted else f"inline, pages of {self.page_rows:,}"
        return f"{self.files:,} of {self.sizes}, {kind}"

    @property
    def name(self) -> str:
        """With all that tells it from others; for a test's."""
        breaks = "" if self.gigabytes_between_breaks == math.inf else ", breaking off"
        return f"{self}, {self.address_seconds} s, {self.store_rate} MB/s, {self.downloads} at once{breaks}"


class RecordingsApi:
    """The API, as the transport answers for it, and the store behind it."""

    def __init__(self, scenario: Scenario, clock: VirtualClock) -> None:
        self.rationing = Rationing()
        self.listed_at: list[float] = []
        """When each page of recordings was asked for, epoch seconds of the store's clock."""
        self.minted = 0
        self._scenario = scenario
        self._clock = clock
        self._sizes = {
            f"room_{number // scenario.files_a_room}/rec_{number}.mp4": size
            for number, size in enumerate(scenario.sizes_bytes())
        }
        self.store = SimulatedStore(
            clock,
            Link(clock, scenario.line.bytes_per_second, scenario.line.connection_bytes_per_second),
            self._sizes,
            address_seconds=scenario.address_seconds,
            latency_seconds=STORE_LATENCY_SECONDS,
            ahead_seconds=scenario.ahead_seconds,
            bytes_between_breaks=scenario.gigabytes_between_breaks * GIGABYTE / scenario.bytes_a_byte,
            seed=scenario.seed,
        )

    async def get(self, path: str, params: Mapping[str, str], *, timeout_seconds: float) -> FakeAnswer:
        """As the transport does: a 200, or the error that stands for another status."""
        await asyncio.sleep(API_LATENCY_SECONDS / 2)
        parts = [unquote(part) for part in path.split("/")]
        endpoint = "/".join(parts[:2]) if parts[0] == "data" else parts[0]
        self.rationing.admit(endpoint, self._clock.monotonic())
        body = self._answer(parts, params)
        await asyncio.sleep(API_LATENCY_SECONDS / 2)
        return FakeAnswer(body, skew_seconds=self._scenario.ahead_seconds)

    def _answer(self, parts: Sequence[str], params: Mapping[str, str]) -> bytes:
        match parts:
            case ["experiments", name, *rest] if name == EXPERIMENT:
                return object_envelope(orjson.dumps({"id": EXPERIMENT, "part": "/".join(rest)}))
            case ["data", "recordings", "download", room, recording]:
                self.minted += 1
                return object_envelope(orjson.dumps({"url": self.store.sign(f"{room}/{recording}.mp4")}))
            case ["data", "recordings", "experiment", name] if name == EXPERIMENT:
                return self._page(list(self._sizes), params)
            case ["data", "recordings", "room", room]:
                return self._page([name for name in self._sizes if name.startswith(f"{room}/")], params)
        raise NotFoundError("404")

    def _page(self, names: Sequence[str], params: Mapping[str, str]) -> bytes:
        self.listed_at.append(self.store.epoch())
        offset, limit = int(params["offset"]), min(int(params["limit"]), self._scenario.page_rows)
        page = names[offset : offset + limit]
        paging = document_paging(PageFacts(len(names), len(page), offset, limit))
        return rows_envelope([self._row(name) for name in page], paging)

    def _row(self, name: str) -> bytes:
        room, _, file_name = name.partition("/")
        recording = file_name.removesuffix(".mp4")
        if self._scenario.are_minted:
            address = {"downloadPath": f"/data/recordings/download/{room}/{recording}"}
        else:
            address = {"downloadUrl": self.store.sign(name)}
        told = {"recordingId": recording, "roomId": room, "fileSize": self._sizes[name], "status": "completed"}
        return orjson.dumps(told | address)


def _bytes(size: float) -> str:
    unit, name = max((unit, name) for unit, name in ((1e3, "kB"), (1e6, "MB"), (1e9, "GB")) if unit <= size)
    return f"{size / unit:g} {name}"
