"""Recording rows, read for the files behind them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hsmirror.api.addresses import SignedAddress, parse_address
from hsmirror.api.rows import Row, parse_row
from hsmirror.archive.layout import file_path
from hsmirror.errors import RefusedAddressError

_FINAL = ("completed", "complete")  # no set: what a server says may not be hashable
_MINT_PATH = re.compile(r"/?[A-Za-z0-9_.~%!$&'()*+,;=:@-]+(?:/[A-Za-z0-9_.~%!$&'()*+,;=:@-]+)*")


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording file upstream, and how to get at its bytes.

    `source` tells the stored object itself, whatever its address is today. `refusal` says why its address
    is not visited; `pending` why its file is not final.
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
    pending: str = ""

    def path(self, twin: int = 0) -> str:
        """Where the file lies in the archive."""
        return file_path(self.experiment, self.room, self.recording_id, self.extension, twin)

    def __str__(self) -> str:
        where = f" in room {self.room}" if self.room is not None else ""
        return f"recording {self.recording_id} of experiment {self.experiment}{where}"


def parse_recording(
    row: Row, *, experiment: str, room: str | None, skew_seconds: float, loopback_allowed: bool
) -> Recording | None:
    """The file behind a recording row, as it came; None for a row that is no object.

    A missing status counts as final: the oldest rows have none.
    """
    fields = parse_row(row)
    if not isinstance(fields, dict):
        return None
    metadata = fields.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    recording_id = _text(fields.get("recordingId")) or _text(fields.get("egressId"))
    link = _text(fields.get("downloadUrl")) or _text(fields.get("url"))
    mint_path = _text(fields.get("downloadPath"))
    status = fields.get("status")
    size = fields.get("fileSize")
    address, refusal = None, ""
    try:
        if mint_path:
            _require_own_path(mint_path)
        elif link:
            address = parse_address(link, skew_seconds=skew_seconds, loopback_allowed=loopback_allowed)
    except RefusedAddressError as error:
        refusal, link = str(error), ""
    pending = "" if status is None or status in _FINAL else f"its status is {str(status)[:40]!r}"
    if not (address or mint_path or refusal or pending):
        pending = "it has no address yet"
    return Recording(
        experiment=experiment,
        room=room,
        recording_id=recording_id or f"row-{hashlib.sha256(bytes(row)).hexdigest()[:16]}",
        extension=_text(fields.get("format")) or _extension_of(link, metadata.get("type")),
        source=mint_path or urlsplit(link).path if not refusal else "",
        size_bytes=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        started_at=_text(fields.get("startTime")),
        address=address,
        mint_path=mint_path if mint_path and not refusal else None,
        refusal=refusal,
        pending=pending,
    )


def _require_own_path(path: str) -> None:
    """A path of the API itself: relative, with no way out. The key goes along with it."""
    segments = path.lower().replace("%2e", ".").split("/")
    if not _MINT_PATH.fullmatch(path) or path.startswith("//") or "://" in path or ".." in segments:
        raise RefusedAddressError("its downloadPath leads away from the API; the key is not sent there")


def _extension_of(link: str, kind: Any) -> str:
    name = urlsplit(link).path.rpartition("/")[2] if link else ""
    _, dot, extension = name.rpartition(".")
    if dot:
        return extension
    return "webm" if kind == "audio" else "mp4"


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
