"""An MP4 file (ISO/IEC 14496-12) with one H.264 track: `ftyp`, `moov`, `mdat`, `free`.

`moov` stands before the samples and the filler after them, so that a player starts before all has come.
"""

from __future__ import annotations

import math
import random
from typing import Final

from hsmirror.lab.media import h264

_TICKS_A_SECOND: Final = 1000
_PICTURE_TICKS: Final = 125  # 8 pictures a second
_TRACK: Final = 1
_NO_TURN: Final = b"".join(v.to_bytes(4) for v in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))


def make_content(rng: random.Random, seconds: float) -> bytes:
    """Everything up to the `free` box. The last picture is shown as long as the duration leaves it."""
    duration = max(1, round(seconds * _TICKS_A_SECOND))
    samples = h264.pictures(rng, math.ceil(duration / _PICTURE_TICKS))
    file_type = _box(b"ftyp", b"isom", _u32(0x200), b"isom", b"iso2", b"avc1", b"mp41")
    sizes = [len(sample) for sample in samples]
    first_sample = len(file_type) + len(_movie(sizes, duration, 0)) + 8  # mdat's own size and type
    return file_type + _movie(sizes, duration, first_sample) + _box(b"mdat", *samples)


def enclose(content: bytes, *, filler_bytes: int) -> bytes:
    """The file but for its last `filler_bytes`, which the caller adds; as long for any number of them."""
    # The 64-bit form of a size, for any: the header is then as long for 5 GB as it is for none.
    return content + _u32(1) + b"free" + (16 + filler_bytes).to_bytes(8)


def _movie(sizes: list[int], duration: int, first_sample: int) -> bytes:
    header = _full_box(
        b"mvhd",
        0,
        bytes(8),  # made and changed: not said, so that the same arguments give the same bytes
        _u32(_TICKS_A_SECOND, duration),
        _u32(1 << 16),  # normal speed
        _u16(1 << 8),  # full volume
        bytes(10),
        _NO_TURN,
        bytes(24),
        _u32(_TRACK + 1),  # the next track's id
    )
    return _box(b"moov", header, _track(sizes, duration, first_sample))


def _track(sizes: list[int], duration: int, first_sample: int) -> bytes:
    header = _full_box(
        b"tkhd",
        3,  # enabled, in the movie
        bytes(8),
        _u32(_TRACK, 0, duration),
        bytes(16),
        _NO_TURN,
        _u32(h264.WIDTH << 16, h264.HEIGHT << 16),
    )
    media_header = _full_box(b"mdhd", 0, bytes(8), _u32(_TICKS_A_SECOND, duration), _language("und"), bytes(2))
    handler = _full_box(b"hdlr", 0, bytes(4), b"vide", bytes(12), b"video\0")
    information = _box(
        b"minf",
        _full_box(b"vmhd", 1, bytes(8)),
        _box(b"dinf", _full_box(b"dref", 0, _u32(1), _full_box(b"url ", 1))),  # in this very file
        _sample_table(sizes, duration, first_sample),
    )
    return _box(b"trak", header, _box(b"mdia", media_header, handler, information))


def _sample_table(sizes: list[int], duration: int, first_sample: int) -> bytes:
    """All samples lie in one chunk, one after the other."""
    count = len(sizes)
    last_ticks = duration - _PICTURE_TICKS * (count - 1)
    durations = [(count - 1, _PICTURE_TICKS), (1, last_ticks)] if count > 1 else [(1, last_ticks)]
    keys = range(1, count + 1, h264.PICTURES_A_KEY)
    return _box(
        b"stbl",
        _full_box(b"stsd", 0, _u32(1), _sample_entry()),
        _full_box(b"stts", 0, _u32(len(durations)), *(_u32(*entry) for entry in durations)),
        _full_box(b"stss", 0, _u32(len(keys), *keys)),
        _full_box(b"stsc", 0, _u32(1, 1, count, 1)),
        _full_box(b"stsz", 0, _u32(0, count, *sizes)),
        _full_box(b"stco", 0, _u32(1, first_sample)),
    )


def _sample_entry() -> bytes:
    return _box(
        b"avc1",
        bytes(6),
        _u16(1),  # the data reference above
        bytes(16),
        _u16(h264.WIDTH, h264.HEIGHT),
        _u32(72 << 16, 72 << 16),  # dots an inch; the standard's constant
        bytes(4),
        _u16(1),  # frames a sample
        bytes(32),  # no compressor's name
        _u16(24, 0xFFFF),  # colour without alpha, no colour table
        _box(b"avcC", h264.decoder_configuration()),
    )


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return _u32(8 + len(content)) + kind + content


def _full_box(kind: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(kind, _u32(flags), *parts)  # version 0 in the upper byte


def _u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4) for value in values)


def _u16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2) for value in values)


def _language(code: str) -> bytes:
    first, second, third = (ord(letter) - 0x60 for letter in code)
    return _u16(first << 10 | second << 5 | third)
