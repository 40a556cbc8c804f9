"""Recording rows, and the addresses that each request adds to them.

A source's recording rows hold no addresses: those are made for each answer, since signed ones expire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import orjson

from hsmirror.model import Scope
from hsmirror.serve.rows import readable
from hsmirror.serve.source import Query, Source

FINAL_STATUSES = frozenset({"completed", "complete"})
"""What `status` says of a recording whose file is final."""

_EVERYTHING = 1_000_000


class _Metadata(msgspec.Struct):
    roomName: str | None = None  # noqa: N815 - the API's spelling


class _Row(msgspec.Struct):
    recordingId: str | None = None  # noqa: N815 - the API's spelling, here and below
    egressId: str | None = None  # noqa: N815
    roomId: str | None = None  # noqa: N815
    sessionId: str | None = None  # noqa: N815
    status: str | None = None
    format: str | None = None
    metadata: _Metadata | None = None


class _Room(msgspec.Struct):
    id: str


_ROW = msgspec.json.Decoder(_Row)
_ROOM = msgspec.json.Decoder(_Room)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class RecordingRef:
    """What an address is made from; `suffix` is the file name's (`mp4`)."""

    room_id: str
    recording_id: str
    suffix: str


class Addresses(Protocol):
    """Where recording files are to be had."""

    def fields(self, recording: RecordingRef) -> Mapping[str, str]:
        """The address fields of a recording's row (`downloadUrl`, `downloadPath`, `url`)."""

    def mint(self, recording: RecordingRef) -> str:
        """A fresh address of one recording's file."""


async def with_addresses(
    rows: Sequence[bytes], query: Query, source: Source, addresses: Addresses
) -> list[bytes]:
    """The rows with address fields at their ends; rows whose file is not final stay as they are."""
    room_id = query.scope_id if query.scope is Scope.ROOM else query.room_id
    parsed = [_ROW.decode(readable(row)) for row in rows]
    rooms: Mapping[str, str] = {}
    if room_id is None and any(_room_in(row) is None for row in parsed):
        rooms = await _rooms_of_recordings(source, query.scope_id)
    answered = []
    for row, facts in zip(rows, parsed, strict=True):
        recording = _ref(facts, room_id, rooms)
        answered.append(row if recording is None else with_fields(row, addresses.fields(recording)))
    return answered


def with_fields(row: bytes, fields: Mapping[str, str]) -> bytes:
    """`row` with `fields` at its end, every other byte untouched.

    A field that it already has is replaced; only then do lone surrogates in the row become U+FFFD.
    """
    if any(f'"{name}"'.encode() in row for name in fields):
        values = _FIELDS.decode(readable(row))
        return msgspec.json.encode(values | {name: msgspec.Raw(orjson.dumps(fields[name])) for name in fields})
    head = row.rstrip()[:-1].rstrip()
    separator = b"" if head.endswith(b"{") or not fields else b","
    return head + separator + orjson.dumps(dict(fields))[1:]


def _ref(row: _Row, room_id: str | None, rooms: Mapping[str, str]) -> RecordingRef | None:
    recording_id = row.recordingId or row.egressId
    if recording_id is None or row.status not in FINAL_STATUSES:
        return None
    room = room_id or _room_in(row) or rooms.get(recording_id)
    return None if room is None else RecordingRef(room, recording_id, row.format or "mp4")


def _room_in(row: _Row) -> str | None:
    return row.roomId or (row.metadata.roomName if row.metadata else None) or row.sessionId


async def _rooms_of_recordings(source: Source, experiment_id: str) -> dict[str, str]:
    """Which room each recording of an experiment is of, for sources whose rows do not say."""
    room_page = await source.data(Query("rooms", Scope.EXPERIMENT, experiment_id, limit=_EVERYTHING))
    found: dict[str, str] = {}
    for room_row in room_page.rows if room_page else ():
        room_id = _ROOM.decode(readable(room_row)).id
        page = await source.data(Query("recordings", Scope.ROOM, room_id, limit=_EVERYTHING))
        for row in page.rows if page else ():
            facts = _ROW.decode(readable(row))
            found[facts.recordingId or facts.egressId or ""] = room_id
    return found
