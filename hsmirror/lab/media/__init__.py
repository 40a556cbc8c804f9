"""Recordings for the lab: real, small files that players play, made without an encoder.

Video is an MP4 with an H.264 track (`video/mp4`), audio a WebM with an Opus track (`audio/webm`). A size may
be asked for: the file is then filled up inside its container with seeded bytes that players skip. The same
arguments always give the same bytes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from hsmirror.lab.media import mp4, webm

RecordingKind = Literal["video", "audio"]

_PIECE_BYTES = 1 << 20


def make_recording(
    kind: RecordingKind, *, seed: str, seconds: float = 1.0, size_bytes: int | None = None
) -> bytes:
    """A whole recording file as bytes; arguments, guarantees and errors are those of `recording_pieces`."""
    return b"".join(recording_pieces(kind, seed=seed, seconds=seconds, size_bytes=size_bytes))


def write_recording(
    path: Path, kind: RecordingKind, *, seed: str, seconds: float = 1.0, size_bytes: int | None = None
) -> int:
    """Write a recording file to `path`, replacing what is there, and return its size in bytes.

    Memory stays flat whatever `size_bytes` is. Arguments and errors are those of `recording_pieces`, and
    `OSError` where the disk refuses; nothing is created or replaced if the arguments are refused.
    """
    pieces = recording_pieces(kind, seed=seed, seconds=seconds, size_bytes=size_bytes)
    with path.open("wb") as file:
        return sum(file.write(piece) for piece in pieces)


def recording_pieces(
    kind: RecordingKind, *, seed: str, seconds: float = 1.0, size_bytes: int | None = None
) -> Iterator[bytes]:
    """The file in pieces, in order: what players read first, then filler in pieces of at most 1 MiB.

    The duration is `seconds`, to the millisecond for video, rounded up to a packet's 20 ms for audio. With
    `size_bytes` the pieces add up to exactly that; without, the file is as small as it can be: a second has
    about 6 kB of video or 4 kB of audio, an hour 2 MB or 12 MB.

    ValueError, raised at the call: `seconds` is not a positive, finite number, or `size_bytes` is smaller
    than the smallest file, which the message names.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a recording lasts a positive number of seconds, not {seconds}")
    container = mp4 if kind == "video" else webm
    content = container.make_content(random.Random(f"{seed}/{kind}"), seconds)
    smallest = len(container.enclose(content, filler_bytes=0))
    if size_bytes is None:
        size_bytes = smallest
    if size_bytes < smallest:
        raise ValueError(
            f"{seconds:g} s of {kind} do not fit into {size_bytes} bytes; the smallest is {smallest}"
        )
    filler_bytes = size_bytes - smallest
    head = container.enclose(content, filler_bytes=filler_bytes)
    return _pieces(head, random.Random(f"{seed}/filler"), filler_bytes)


def _pieces(head: bytes, rng: random.Random, filler_bytes: int) -> Iterator[bytes]:
    yield head
    while filler_bytes > 0:
        piece = rng.randbytes(min(filler_bytes, _PIECE_BYTES))
        filler_bytes -= len(piece)
        yield piece
