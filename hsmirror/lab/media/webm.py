"""A WebM file (Matroska, RFC 9559) with one Opus track: `Info`, `Tracks`, `Cues`, `Cluster`s, `Void`.

`Cues` stand before the clusters, so that a player can seek before all has come.
"""

from __future__ import annotations

import math
import random
import struct
from typing import Final

from hsmirror.lab.media import opus

_CLUSTER_PACKETS: Final = 250  # 5 s
_TRACK: Final = 1
_NANOSECONDS_A_SAMPLE: Final = 1e9 / opus.SAMPLE_RATE

_EBML: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_INFO: Final = 0x1549A966
_TRACKS: Final = 0x1654AE6B
_TRACK_ENTRY: Final = 0xAE
_AUDIO: Final = 0xE1
_CUES: Final = 0x1C53BB6B
_CUE_POINT: Final = 0xBB
_CUE_TRACK_POSITIONS: Final = 0xB7
_CLUSTER: Final = 0x1F43B675
_SIMPLE_BLOCK: Final = 0xA3
_VOID: Final = 0xEC


def make_content(rng: random.Random, seconds: float) -> bytes:
    """What the segment holds before its `Void`. The duration is rounded up to a whole packet."""
    packets = opus.melody(rng, math.ceil(round(seconds * 1000) / opus.PACKET_MS) or 1)
    clusters = [
        (first * opus.PACKET_MS, _cluster(first * opus.PACKET_MS, packets[first : first + _CLUSTER_PACKETS]))
        for first in range(0, len(packets), _CLUSTER_PACKETS)
    ]
    ahead = _info(len(packets) * opus.PACKET_MS) + _tracks()
    first_cluster = len(ahead) + len(_cues(clusters, 0))
    return ahead + _cues(clusters, first_cluster) + b"".join(cluster for _, cluster in clusters)


def enclose(content: bytes, *, filler_bytes: int) -> bytes:
    """The file but for its last `filler_bytes`, which the caller adds; as long for any number of them."""
    void = _head(_VOID, filler_bytes)
    return _ebml() + _head(_SEGMENT, len(content) + len(void) + filler_bytes) + content + void


def _ebml() -> bytes:
    return _element(
        _EBML,
        _unsigned(0x4286, 1),  # EBMLVersion
        _unsigned(0x42F7, 1),  # EBMLReadVersion
        _unsigned(0x42F2, 4),  # EBMLMaxIDLength
        _unsigned(0x42F3, 8),  # EBMLMaxSizeLength
        _element(0x4282, b"webm"),  # DocType
        _unsigned(0x4287, 4),  # DocTypeVersion: CodecDelay and SeekPreRoll are of 4
        _unsigned(0x4285, 2),  # DocTypeReadVersion: SimpleBlock is of 2
    )


def _info(duration_ms: int) -> bytes:
    return _element(
        _INFO,
        _unsigned(0x2AD7B1, 1_000_000),  # TimestampScale: timestamps are milliseconds
        _element(0x4489, struct.pack(">d", duration_ms)),  # Duration
        _element(0x4D80, b"hsmirror lab"),  # MuxingApp
        _element(0x5741, b"hsmirror lab"),  # WritingApp
    )


def _tracks() -> bytes:
    audio = _element(
        _AUDIO,
        _element(0xB5, struct.pack(">d", opus.SAMPLE_RATE)),  # SamplingFrequency
        _unsigned(0x9F, 1),  # Channels
    )
    entry = _element(
        _TRACK_ENTRY,
        _unsigned(0xD7, _TRACK),  # TrackNumber
        _unsigned(0x73C5, _TRACK),  # TrackUID
        _unsigned(0x83, 2),  # TrackType: audio
        _unsigned(0x9C, 0),  # FlagLacing: a packet a block
        _element(0x86, b"A_OPUS"),  # CodecID
        _element(0x63A2, opus.identification_header()),  # CodecPrivate
        _unsigned(0x56AA, round(opus.PRE_SKIP_SAMPLES * _NANOSECONDS_A_SAMPLE)),  # CodecDelay
        _unsigned(0x56BB, 80_000_000),  # SeekPreRoll: what RFC 7845 asks for
        audio,
    )
    return _element(_TRACKS, entry)


def _cues(clusters: list[tuple[int, bytes]], position: int) -> bytes:
    """Where each cluster begins, counted from the segment's content; as long for any `position`."""
    points = []
    for timestamp_ms, cluster in clusters:
        place = _element(
            _CUE_TRACK_POSITIONS,
            _unsigned(0xF7, _TRACK),  # CueTrack
            _unsigned(0xF1, position),  # CueClusterPosition
        )
        points.append(_element(_CUE_POINT, _unsigned(0xB3, timestamp_ms), place))
        position += len(cluster)
    return _element(_CUES, *points)


def _cluster(timestamp_ms: int, packets: list[bytes]) -> bytes:
    blocks = (_block(index * opus.PACKET_MS, packet) for index, packet in enumerate(packets))
    return _element(_CLUSTER, _unsigned(0xE7, timestamp_ms), *blocks)


def _block(offset_ms: int, packet: bytes) -> bytes:
    """A `SimpleBlock`: track number, time since the cluster's, the flag of a key frame, the packet."""
    return _element(_SIMPLE_BLOCK, bytes([0x80 | _TRACK]), offset_ms.to_bytes(2), b"\x80", packet)


def _unsigned(identifier: int, value: int) -> bytes:
    # Always eight bytes: no element's length then depends on the number in it.
    return _element(identifier, value.to_bytes(8))


def _element(identifier: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 0x7F:  # 0x7F itself means "unknown"
        return _name(identifier) + bytes([0x80 | len(content)]) + content
    return _head(identifier, len(content)) + content


def _head(identifier: int, size_bytes: int) -> bytes:
    """An element's identifier and size, the size in its longest form: eight bytes."""
    return _name(identifier) + (1 << 56 | size_bytes).to_bytes(8)


def _name(identifier: int) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8)
