"""Recordings: their rows as documented, and the files behind them, made when first asked for."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from zlib import crc32

import google_crc32c

from hsmirror.errors import StorageError, UsageError
from hsmirror.lab.media import RecordingKind, make_recording, recording_pieces
from hsmirror.lab.plans import Person, RoomPlan
from hsmirror.lab.row import Row, iso, text_of
from hsmirror.lab.shape import LabShape
from hsmirror.serve.source import RecordingFile

_KINDS: tuple[RecordingKind, ...] = ("video", "audio")
_SUFFIXES = {"video": "mp4", "audio": "webm"}
_MARGIN_BYTES = 64
_SPREAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """One recording before its file is made. `number` counts from 0 in its room."""

    id: str
    egress_id: str
    room: RoomPlan
    person: Person
    number: int
    kind: RecordingKind
    size_bytes: int
    is_final: bool
    """False while it is still being recorded: there is no file then."""

    @property
    def file_name(self) -> str:
        return f"{self.id}.{_SUFFIXES[self.kind]}"


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A recording's file as it is served, and its whole-file SHA-256 (hexadecimal) for comparisons."""

    served: RecordingFile
    sha256: str


class RecordingFiles:
    """The files of one source, in a folder that is its alone; an older file of the same name is replaced.

    Raises UsageError where `recording_seconds` or `recording_bytes` of the shape make no file.
    """

    def __init__(self, shape: LabShape, folder: Path) -> None:
        self._shape = shape
        self._folder = folder
        self._made: dict[str, MadeFile] = {}
        self._revisions: Counter[str] = Counter()
        self._making = Lock()
        try:
            # Files of one kind and length are of one size, so that rows can tell sizes before files are made.
            self._smallest_bytes = {
                kind: len(
                    make_recording(
                        kind, seed="", seconds=shape.recording_seconds, size_bytes=shape.recording_bytes
                    )
                )
                for kind in _KINDS
            }
        except ValueError as error:
            raise UsageError(f"the lab cannot make its recordings: {error}") from error

    def plan(self, room: RoomPlan, number: int) -> RecordingPlan:
        """The recording of that number in the room."""
        shape = self._shape
        is_first = room.id == "room_abc123" and number == 0
        egress_id = f"EG_{room.tag}_{number}"
        recording_id = "rec_abc123" if is_first else f"rec_{room.tag}_{number}"
        if shape.room_field == "newer":
            recording_id = egress_id
        kind = _KINDS[number % 2]
        size_bytes = self._smallest_bytes[kind]
        if shape.recording_bytes is None:
            size_bytes += _MARGIN_BYTES + crc32(recording_id.encode()) % _SPREAD_BYTES
        is_last = number == shape.recordings_per_room - 1
        person = room.people[number // 2 % len(room.people)]
        return RecordingPlan(
            recording_id, egress_id, room, person, number, kind, size_bytes, not (room.is_active and is_last)
        )

    def file(self, plan: RecordingPlan) -> MadeFile | None:
        """The file, made and hashed the first time; None while it is still being recorded.

        May be called from any thread. Raises StorageError where the folder cannot be written.
        """
        if not plan.is_final:
            return None
        with self._making:
            if plan.id not in self._made:
                self._made[plan.id] = self._make(plan)
            return self._made[plan.id]

    def revise(self, recording_id: str) -> None:
        """Other bytes of the same size take the place of a recording's file, as a new version of it."""
        with self._making:
            self._revisions[recording_id] += 1
            self._made.pop(recording_id, None)

    def _make(self, plan: RecordingPlan) -> MadeFile:
        revision = self._revisions[plan.id]
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        crc32c = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # the package has no types
        # What is being sent of an older version goes on from a file of its own.
        path = self._folder / (f"{revision}-{plan.file_name}" if revision else plan.file_name)
        pieces = recording_pieces(
            plan.kind,
            seed=f"{self._shape.seed}/{plan.id}" + (f"/{revision}" if revision else ""),
            seconds=self._shape.recording_seconds,
            size_bytes=plan.size_bytes,
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                    for digest in (md5, crc32c, sha256):
                        digest.update(piece)
        except OSError as error:
            raise StorageError(
                f"the lab cannot write its recording {path}: {error.strerror}; "
                "free some space or give it another folder"
            ) from error
        crc32c_digest: bytes = crc32c.digest()  # type: ignore[no-untyped-call]  # nor here
        served = RecordingFile(
            recording_id=plan.id,
            room_id=plan.room.id,
            path=path,
            size_bytes=plan.size_bytes,
            media_type=f"{plan.kind}/{_SUFFIXES[plan.kind]}",
            md5_base64=base64.b64encode(md5.digest()).decode(),
            crc32c_base64=base64.b64encode(crc32c_digest).decode(),
            generation=1 + revision,
        )
        return MadeFile(served, sha256.hexdigest())


def recording_rows(shape: LabShape, plans: Sequence[RecordingPlan]) -> Iterator[Row]:
    """One row a recording, without addresses. Every fifth lacks its `fileSize`.

    Documented: all but `egressId` and `metadata`, which recorded answers of newer servers show; those have
    neither `experimentId` nor `roomId` beside it.
    """
    for plan in plans:
        room = plan.room
        started_ms = (
            room.started_ms + 5000 + plan.number // 2 * 1500 % (room.closed_ms - room.started_ms - 5000)
        )
        fields = _recording_fields(shape, plan, started_ms)
        yield Row(text_of(fields), started_ms, started_ms - room.started_ms, plan.person.id)


def _recording_fields(shape: LabShape, plan: RecordingPlan, started_ms: int) -> dict[str, object]:
    room = plan.room
    duration_ms = round(shape.recording_seconds * 1000)
    fields: dict[str, object] = {
        "recordingId": plan.id,
        "egressId": plan.egress_id,
        "participantId": plan.person.id,
        "participantName": plan.person.name,
    }
    if shape.room_field == "document":
        fields["experimentId"] = room.experiment_id
        if shape.rows_name_rooms:
            fields["roomId"] = room.id
    fields["startTime"] = iso(started_ms)
    if plan.is_final:
        fields |= {"endTime": iso(started_ms + duration_ms), "duration": duration_ms}
    fields["videoOffset"] = started_ms - room.started_ms
    if plan.is_final and (room.index + plan.number) % 5 != 4:
        fields["fileSize"] = plan.size_bytes
    final = "completed" if plan.number % 3 != 2 else "complete"
    fields |= {"status": final if plan.is_final else "active", "format": _SUFFIXES[plan.kind]}
    if plan.kind == "video":
        fields["resolution"] = "1280x720"
    metadata = {"type": plan.kind, "recordingType": "individual" if plan.kind == "video" else "audio"}
    if shape.rows_name_rooms:
        metadata["roomName"] = room.id
    fields["metadata"] = {**metadata, "experimentId": room.experiment_id}
    return fields
