"""Recording rows, read for the files behind them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.rows import Row, parse_row
from hsmirror.api.words import printable
from hsmirror.archive.layout import file_path, file_paths
from hsmirror.errors import RefusedAddressError
from hsmirror.mirror.room_states import epoch_of
from hsmirror.mirror.sources import own_path, source_of, without_tokens

Progress: TypeAlias = Literal["final", "failed", "under way", "unknown"]

_FINAL = re.compile(
    "completed?|ended|finished|ready|available|done|succe(?:ss|ssful|eded)|processed|uploaded|stored|saved|archived|"
    "limit_reached"
)
_FAILED = re.compile("failed|failure|error(?:ed)?|aborted|cancell?ed|rejected")
_UNDER_WAY = re.compile(
    "active|starting|started|recording|running|live|ending|stopping|processing|uploading|pending|queued|waiting|"
    "created|scheduled|in_?progress|paused"
)
_PLAIN = re.compile(r"[\w.:+-]{1,64}", re.ASCII)
_PREFIX = re.compile("(?:egress|recording|status|state)_")

_ENDS = ("endTime", "endedAt", "completedAt", "finishedAt", "stoppedAt")

_PLAYLISTS = {"hls", "application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl"}

_TRAITS = (
    "participantId", "userId", "identity", "startTime", "startedAt", "fileName", "filename", "name", "view",
    "layout", "camera", "track", "trackId", "trackSid", "recordingType", "role", "segment", "part", "index",
    "number",
)  # fmt: skip
"""What tells several files of one recording apart."""

_VERSIONS = (
    "fileSize", "updatedAt", "modifiedAt", "lastModified", "processedAt", "version", "versionId", "generation",
    "revision", "etag", "md5", "sha256", "checksum", "crc32c", "hash", "duration",
)  # fmt: skip
"""What differs once a recording has been processed anew."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording file upstream, and how to get at its bytes.

    `source` is where the object is, without signatures; empty where its row has no address. `traits` is a hash
    of what tells it from other files with the same id; `said`, what its row says of its version. `refusal` says
    why its address is not visited. Times are epoch seconds.
    """

    experiment: str
    room: str | None
    recording_id: str
    extension: str
    source: str
    size_bytes: int | None
    started_at: str
    address: SignedAddress | None = None
    mint_path: str | None = None
    refusal: str = ""
    media: str = ""
    traits: str = ""
    said: tuple[tuple[str, str], ...] = ()
    status: str = ""
    progress: Progress = "final"
    ended_epoch: float | None = None
    started_epoch: float | None = None
    has_id: bool = True

    def path(self, twin: int = 0) -> str:
        """Where the file lies in the archive."""
        return file_path(self.experiment, self.room, self.recording_id, self.extension, twin)

    def paths(self) -> Iterator[str]:
        """The names that files of this id can have, the plain one first."""
        return file_paths(self.experiment, self.room, self.recording_id, self.extension)

    @property
    def object_kind(self) -> str:
        """What a receipt remembers of the object beside its source: media, format, and a hash of its traits."""
        return f"{self.media}/{self.extension.lower()} {self.traits}"

    @property
    def place(self) -> str:
        """The source without what may be a token or a host of today."""
        return without_tokens(self.source) if self.source and self.mint_path is None else ""

    def __str__(self) -> str:
        where = f" in room {self.room}" if self.room is not None else ""
        return f"recording {self.recording_id} of experiment {self.experiment}{where}"


def parse_recording(
    row: Row, *, experiment: str, room: str | None, skew_seconds: float, loopback_allowed: bool
) -> Recording | None:
    """The file behind a recording row, as it came; None for a row that is no object."""
    fields = parse_row(row)
    if not isinstance(fields, dict):
        return None
    metadata = fields.get("metadata")
    everything = {**metadata, **fields} if isinstance(metadata, dict) else fields
    link = _text(fields.get("downloadUrl")) or _text(fields.get("url"))
    mint_path = _text(fields.get("downloadPath"))
    size = fields.get("fileSize")
    address, refusal = None, ""
    try:
        if mint_path:
            mint_path = own_path(mint_path)
        elif link:
            address = parse_address(link, skew_seconds=skew_seconds, loopback_allowed=loopback_allowed)
    except RefusedAddressError as error:
        refusal, link, mint_path = str(error), "", ""
    source = source_of(mint_path or link)
    traits = _digest(*(f"{name}={text}" for name, text in _texts(everything, _TRAITS)))
    recording_id = _text(fields.get("recordingId")) or _text(fields.get("egressId"))
    status = _text(fields.get("status"))
    return Recording(
        experiment=experiment,
        room=room,
        recording_id=recording_id or f"row-{_digest(traits, without_tokens(source).rpartition('/')[2])}",
        extension=_extension(_text(fields.get("format")), link, _text(everything.get("type"))),
        source=source,
        size_bytes=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        started_at=_text(fields.get("startTime")),
        address=address,
        mint_path=mint_path or None,
        refusal=refusal,
        media=_text(everything.get("type")),
        traits=traits,
        said=tuple((name, _plain(text)) for name, text in _texts(everything, _VERSIONS)),
        status=printable(status),
        progress=_progress(status),
        ended_epoch=next((at for name in _ENDS if (at := epoch_of(fields.get(name))) is not None), None),
        started_epoch=epoch_of(fields.get("startTime")),
        has_id=bool(recording_id),
    )


def _progress(status: str) -> Progress:
    """What a status says of the file. None at all is final: the oldest rows have none."""
    word = _PREFIX.sub("", re.sub(r"[\s-]+", "_", status.strip().casefold()))
    if not word or _FINAL.fullmatch(word):
        return "final"
    if _FAILED.fullmatch(word):
        return "failed"
    return "under way" if _UNDER_WAY.fullmatch(word) else "unknown"


def _texts(fields: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((name, text) for name in names if (text := _text(fields.get(name))))


def _plain(text: str) -> str:
    """A number, a time or a hash as it is; a hash of anything else, which may be long, or a secret."""
    return text if _PLAIN.fullmatch(text) else _digest(text)


def _digest(*texts: str) -> str:
    content = "\n".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]


def _extension(form: str, link: str, media: str) -> str:
    _, dot, of_link = _path(link).rpartition("/")[2].rpartition(".")
    if of_link.lower() == "m3u8" or form.lower() in _PLAYLISTS:
        return "m3u8"
    if form or dot:
        return form or of_link
    return "webm" if media == "audio" else "mp4"


def _path(link: str) -> str:
    try:
        return urlsplit(link).path
    except ValueError:  # beside a `downloadPath`, which is what counts, a link may be anything
        return ""


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
