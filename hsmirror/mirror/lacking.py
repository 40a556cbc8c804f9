"""Rooms whose recordings are held as rows, and not yet as files: their addresses have to be asked for again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hsmirror.errors import DamagedError
from hsmirror.mirror.context import Context
from hsmirror.mirror.listed_files import file_of_stored, files_of, has_no_file
from hsmirror.mirror.night import HeldList, Room
from hsmirror.mirror.recordings import Recording, parse_recording
from hsmirror.mirror.settle import Shelf
from hsmirror.mirror.write import rows_of


def without_lacking_files(context: Context, experiment: str, held: HeldList) -> HeldList:
    """The same, rooms that lack a file not taken for intact. Reads the held rows: for a thread."""
    rooms = dict(held.rooms)
    for room, of_room in held.rooms.items():
        if of_room.rows and of_room.is_intact and _lacks_file(context, experiment, room):
            rooms[room] = replace(of_room, is_intact=False)
    return replace(held, rooms=rooms)


def _lacks_file(context: Context, experiment: str, room: Room) -> bool:
    """Is there a row without its file?"""
    taken: set[str] = set()
    try:
        for recording in _recordings(context, experiment, room):
            if has_no_file(recording):
                continue
            files = [each for each in files_of(context, recording) if each.path not in taken]
            held = file_of_stored(recording, files)
            if held is None or not context.held.is_intact(held):
                return True
            taken.add(held.path)
    except DamagedError:
        return True
    return False


def _recordings(context: Context, experiment: str, room: Room) -> Iterator[Recording]:
    shards = Shelf(experiment, "recordings", room).held(context.receipts)
    for row in rows_of(context.layout.absolute(shard.path) for shard in shards if shard.sha256):
        recording = parse_recording(
            row, experiment=experiment, room=room, skew_seconds=0.0, loopback_allowed=True
        )
        if recording is not None:
            yield recording
