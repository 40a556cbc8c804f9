"""An H.264 (ITU-T H.264) constrained-baseline stream, written without an encoder.

A key picture carries its samples as they are (I_PCM macroblocks). Every other picture only says where to
copy from: each macroblock takes the one at its right in the picture before, the last of a row the first
one, so that the picture runs round to the left, a macroblock a picture, without loss. Clauses in brackets
are the standard's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

MACROBLOCK: Final = 16
COLUMNS: Final = 4
ROWS: Final = 3
WIDTH: Final = COLUMNS * MACROBLOCK
HEIGHT: Final = ROWS * MACROBLOCK

PICTURES_A_KEY: Final = 240
"""A multiple of `COLUMNS`: the picture has then run round, and the first key picture fits again."""

_FRAME_NUM_BITS: Final = 4
_PROFILE_BASELINE: Final = 66
_CONSTRAINTS: Final = 0b1100_0000  # constraint_set0 and 1: constrained baseline
_LEVEL: Final = 30

_NAL_SLICE: Final = 0x61  # nal_ref_idc 3, nal_unit_type 1
_NAL_KEY_SLICE: Final = 0x65  # nal_ref_idc 3, nal_unit_type 5
_NAL_SEQUENCE: Final = 0x67
_NAL_PICTURE: Final = 0x68

_SLICE_P: Final = 5  # and every other slice of the picture too (table 7-6)
_SLICE_I: Final = 7
_MACROBLOCK_I_PCM: Final = 25  # table 7-11


@dataclass(frozen=True, slots=True)
class _Tile:
    """One macroblock's look: a colour, and a sloping, repeating ramp of brightness over it."""

    luma: int
    cb: int
    cr: int
    across: int
    down: int

    def samples(self) -> bytes:
        """256 luma samples, 64 Cb, 64 Cr: I_PCM's order [7.3.5]; all within 16…240, the video range."""
        cells = range(MACROBLOCK)
        luma = bytes(self.luma + (x * self.across + y * self.down) % 64 for y in cells for x in cells)
        return luma + bytes([self.cb]) * 64 + bytes([self.cr]) * 64


def decoder_configuration() -> bytes:
    """The `avcC` box's content (ISO/IEC 14496-15, 5.3.3.1): both parameter sets, lengths of four bytes."""
    sequence, picture = _sequence_parameters(), _picture_parameters()
    return b"".join(
        (
            bytes([1, _PROFILE_BASELINE, _CONSTRAINTS, _LEVEL, 0xFF, 0xE1]),
            len(sequence).to_bytes(2),
            sequence,
            b"\x01",
            len(picture).to_bytes(2),
            picture,
        )
    )


def pictures(rng: random.Random, count: int) -> list[bytes]:
    """`count` coded pictures as MP4 samples. The first and each `PICTURES_A_KEY`th after is a key."""
    key = _key_picture([_random_tile(rng) for _ in range(ROWS * COLUMNS)])
    numbers = 1 << _FRAME_NUM_BITS
    moved = [_moved_picture(frame_num) for frame_num in range(numbers)]
    return [key if (n := index % PICTURES_A_KEY) == 0 else moved[n % numbers] for index in range(count)]


def _random_tile(rng: random.Random) -> _Tile:
    # Built on random() alone: its sequence is what Python promises to keep from version to version.
    def between(low: int, high: int) -> int:
        return low + int(rng.random() * (high - low))

    return _Tile(between(32, 160), between(32, 224), between(32, 224), between(1, 8), between(1, 8))


def _key_picture(tiles: list[_Tile]) -> bytes:
    rows = [tiles[first : first + COLUMNS] for first in range(0, len(tiles), COLUMNS)]
    return b"".join(_sample(_NAL_KEY_SLICE, _key_slice(number, row)) for number, row in enumerate(rows))


def _key_slice(row: int, tiles: list[_Tile]) -> bytes:
    ahead = _slice_header(row, _SLICE_I, 0, _ue(0) + "00")  # idr_pic_id; nothing marked
    body = bytearray()
    for tile in tiles:
        body += _aligned(ahead + _ue(_MACROBLOCK_I_PCM)) + tile.samples()
        ahead = ""
    return bytes(body) + b"\x80"


def _moved_picture(frame_num: int) -> bytes:
    return b"".join(_sample(_NAL_SLICE, _moved_slice(row, frame_num)) for row in range(ROWS))


def _moved_slice(row: int, frame_num: int) -> bytes:
    # A slice a row: then nothing above is available, and the predicted vector is the left one's [8.4.1.3].
    quarter_samples = 4 * MACROBLOCK
    vectors = [quarter_samples] * (COLUMNS - 1) + [-quarter_samples * (COLUMNS - 1)]
    bits = _slice_header(row, _SLICE_P, frame_num, "0" + "0" + "0")  # default references, sliding window
    for left, vector in pairwise([0, *vectors]):
        # mb_skip_run 0, mb_type P_L0_16x16, mvd_l0 across and down, no residual [7.3.4, 7.3.5]
        bits += _ue(0) + _ue(0) + _se(vector - left) + _se(0) + _ue(0)
    return _closed(bits)


def _slice_header(row: int, slice_type: int, frame_num: int, middle: str) -> str:
    """[7.3.3]. `middle`: what stands between frame_num and slice_qp_delta, which differs by slice type."""
    start = _ue(row * COLUMNS) + _ue(slice_type) + _ue(0)
    return start + f"{frame_num:0{_FRAME_NUM_BITS}b}" + middle + _se(0) + _ue(1)  # 1: no deblocking


def _sequence_parameters() -> bytes:
    """[7.3.2.1.1]. Pictures come out in the order they are coded in, each predicted from the one before."""
    bits = (
        _ue(0)  # seq_parameter_set_id
        + _ue(_FRAME_NUM_BITS - 4)
        + _ue(2)  # pic_order_cnt_type: output order is coding order
        + _ue(1)  # max_num_ref_frames
        + "0"  # no gaps in frame_num
        + _ue(COLUMNS - 1)
        + _ue(ROWS - 1)
        + "11"  # frames only, direct_8x8_inference
        + "00"  # no cropping, no usability information
    )
    head = bytes([_NAL_SEQUENCE, _PROFILE_BASELINE, _CONSTRAINTS, _LEVEL])
    return head + _closed(bits)


def _picture_parameters() -> bytes:
    """[7.3.2.2]. CAVLC, one slice group, one reference, and slices may switch deblocking off."""
    bits = _ue(0) + _ue(0) + "00" + _ue(0) + _ue(0) + _ue(0) + "000" + _se(0) + _se(0) + _se(0) + "100"
    return bytes([_NAL_PICTURE]) + _closed(bits)


def _sample(nal_header: int, payload: bytes) -> bytes:
    # Bytes that keep start codes from appearing inside [7.4.1] are not needed: no sample value is 0, and no
    # code here has as many zero bits in a row as two zero bytes.
    unit = bytes([nal_header]) + payload
    return len(unit).to_bytes(4) + unit


def _ue(value: int) -> str:
    """Unsigned Exp-Golomb code [9.1]."""
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


def _se(value: int) -> str:
    """Signed Exp-Golomb code [9.1.1]."""
    return _ue(2 * value - 1 if value > 0 else -2 * value)


def _closed(bits: str) -> bytes:
    """With the stop bit that ends every payload [7.3.2.11]."""
    return _aligned(bits + "1")


def _aligned(bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    return int(padded, 2).to_bytes(len(padded) // 8)
