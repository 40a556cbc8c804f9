"""The experiments that the server has: what is in them, and what their few short lists say."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from benchmarks.rows import encoded, iso, made_row, random_id

SEED = 20250601
SMALL_TYPES = ("events", "chat", "videochat", "sync", "ratings/continuous", "components", "participants")
_PEOPLE = 100


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment. A list's rows lie in the order of time.

    `rows` of each type are dealt to the rooms in turn; where `most_rows_a_room` is given instead, each room has
    up to that many, a tenth of them none, and one room comes after the other.
    """

    id: str
    rooms: int
    data_types: tuple[str, ...] = ("events",)
    rows: int = 0
    most_rows_a_room: int = 0
    names_rooms: bool = True
    files: int = 0
    file_bytes: int = 0

    def room_ids(self) -> tuple[str, ...]:
        """Ids of the rooms, in the order in which they were opened; no other experiment has the same."""
        return tuple(f"{self.id}_room_{number:03d}" for number in range(self.rooms))

    def file_names(self) -> tuple[str, ...]:
        """Names of the recording files."""
        return tuple(f"rec_{number:02d}.mp4" for number in range(self.files))


def made_rows(experiment: Experiment, data_type: str) -> Iterator[tuple[int, bytes]]:
    """(number of the room, row) of one list, the same each time."""
    random = Random(f"{SEED} {experiment.id} {data_type}")
    people = [random_id(random, 28) for _ in range(_PEOPLE)]
    rooms = experiment.room_ids()
    for number, room in enumerate(_rooms_of_rows(experiment, random)):
        name = rooms[room] if experiment.names_rooms else None
        yield room, made_row(random, data_type, number, experiment.id, name, people)


def _rooms_of_rows(experiment: Experiment, random: Random) -> Iterator[int]:
    for number in range(experiment.rows):
        yield number % experiment.rooms
    if experiment.most_rows_a_room:
        for room in range(experiment.rooms):
            rows = random.randint(1, experiment.most_rows_a_room) if random.random() > 0.1 else 0
            yield from (room for _ in range(rows))


def room_rows(experiment: Experiment) -> list[bytes]:
    """The rows of `rooms`: all have ended long ago."""
    return [
        encoded(
            {
                "id": room,
                "experimentId": experiment.id,
                "status": "completed",
                "participantCount": 2,
                "createdAt": iso(number * 3_600_000),
                "endedAt": iso(number * 3_600_000 + 1_800_000),
            }
        )
        for number, room in enumerate(experiment.room_ids())
    ]


def recording_rows(experiment: Experiment, address: Callable[[str], str]) -> list[bytes]:
    """The rows of `recordings`; `address` gives a file's signed address for its name."""
    rooms = experiment.room_ids()
    return [
        encoded(
            {
                "recordingId": name.removesuffix(".mp4"),
                "participantId": f"user_{number:03d}",
                "participantName": f"P{number:02d}",
                "experimentId": experiment.id,
                "roomId": rooms[number % len(rooms)],
                "startTime": iso(number * 3_600_000),
                "duration": 900_000,
                "downloadUrl": address(name),
                "fileSize": experiment.file_bytes,
                "status": "completed",
                "format": "mp4",
                "metadata": {"type": "video", "roomName": rooms[number % len(rooms)]},
            }
        )
        for number, name in enumerate(experiment.file_names())
    ]


def document(experiment: Experiment, part: str) -> bytes:
    """`/experiments/{id}`, or its `config` or `export`."""
    fields: dict[str, object] = {"id": experiment.id, "name": f"Benchmark {experiment.id}"}
    if part:
        fields[part] = {"states": [{"id": f"state_{number}"} for number in range(40)]}
    else:
        fields |= {"roomCount": experiment.rooms, "createdAt": iso(0), "updatedAt": iso(0)}
    return encoded(fields)


def file_blocks(experiment: Experiment, name: str, block_bytes: int = 1 << 20) -> Iterator[bytes]:
    """A recording's bytes: nothing that compresses, the same each time."""
    random = Random(zlib.crc32(f"{SEED} {experiment.id} {name}".encode()))
    for start in range(0, experiment.file_bytes, block_bytes):
        yield random.randbytes(min(block_bytes, experiment.file_bytes - start))
