"""What decides the lab's data: two sources of one shape hold the same rows and files, to the byte."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from hsmirror.errors import UsageError

RoomField = Literal["document", "newer"]

_AT_LEAST_ONE = ("experiments", "participants")


@dataclass(frozen=True, slots=True)
class LabShape:
    """How much data there is, and in which of the ways seen upstream its rows are written.

    The first experiment is always `exp_research_001`, its first room `room_abc123`, that room's first
    participant `user_xyz789`: the names that the API's document uses.

    Raises UsageError for sizes below their minimum and for an unknown `room_field`.
    """

    seed: int = 1
    experiments: int = 1
    """Experiments of the key's owner."""
    shared_experiments: int = 0
    """Further ones, listed as shared with the owner; everything below holds for them too."""
    rooms: int = 4
    """Rooms per experiment."""
    participants: int = 2
    """Participants per room; sync metrics exist only where there are at least two."""
    events_per_room: int = 120
    """Events per room; the other types scale with it (`rows.row_count`)."""
    recordings_per_room: int = 2
    """Recordings per room, video (mp4) and audio (webm) in turn."""
    recording_seconds: float = 1.0
    recording_bytes: int | None = None
    """Every file is padded to exactly this many bytes; None: each has a small size of its own."""
    rows_name_rooms: bool = True
    """False: no row of any data type says which room it is of; only the catalogue of rooms has room ids."""
    room_field: RoomField = "document"
    """`newer`: events carry `roomId` (and a `sessionId` that is no room id), recordings only
    `metadata.roomName`, and sparse ratings no room at all."""
    big_numbers: bool = False
    """Valid JSON that a careless parser changes: numbers beyond 64 bits, `1.10`, `1e400`, lone surrogates."""
    last_room_active: bool = False
    """The last room of each experiment is still running, and its last recording has no file yet."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "seed" or isinstance(value, (bool, str, type(None))):
                continue
            smallest = 1 if field.name in _AT_LEAST_ONE else 0
            if value < smallest:
                raise UsageError(f"the lab's {field.name} is {value}: give {smallest} or more")
        if not self.recording_seconds > 0:
            raise UsageError("the lab's recording_seconds is not positive: a recording has some length")
        if self.room_field not in get_args(RoomField):
            raise UsageError(f"the lab's room_field is {self.room_field!r}: give 'document' or 'newer'")
