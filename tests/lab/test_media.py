"""What `make_recording` makes is taken apart by the containers' rules, and decoded where ffmpeg is."""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from hsmirror.lab.media import RecordingKind, make_recording, mp4, recording_pieces, webm, write_recording

KINDS: tuple[RecordingKind, ...] = ("video", "audio")
MIB = 1 << 20
SUFFIXES = {"video": ".mp4", "audio": ".webm"}

both_kinds = pytest.mark.parametrize("kind", KINDS)
several_lengths = pytest.mark.parametrize("seconds", [0.0001, 0.13, 1.0, 7.33, 90.0])
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="ffmpeg is not installed"
)


# --- any recording ----------------------------------------------------------------------------------
@both_kinds
def test_the_same_arguments_give_the_same_bytes(kind: RecordingKind) -> None:
    first, second = (make_recording(kind, seed="a", size_bytes=40_000) for _ in range(2))
    assert first == second


@both_kinds
def test_no_two_seeds_give_the_same_recording(kind: RecordingKind) -> None:
    assert len({make_recording(kind, seed=f"rec_{n}") for n in range(100)}) == 100


@both_kinds
def test_a_second_is_a_small_file(kind: RecordingKind) -> None:
    assert 3_000 < len(make_recording(kind, seed="a")) < 8_000


@both_kinds
@pytest.mark.parametrize("more", [0, 1, 7, 8, 9, 127, 128, 1_000, MIB, 3 * MIB + 1])
def test_a_file_has_exactly_the_size_asked_for(kind: RecordingKind, more: int) -> None:
    size_bytes = len(make_recording(kind, seed="a")) + more
    assert len(make_recording(kind, seed="a", size_bytes=size_bytes)) == size_bytes


@both_kinds
def test_a_size_too_small_is_refused_and_the_smallest_named(kind: RecordingKind) -> None:
    smallest = len(make_recording(kind, seed="a"))
    with pytest.raises(ValueError, match=f"the smallest is {smallest}$"):
        make_recording(kind, seed="a", size_bytes=smallest - 1)


@both_kinds
@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_a_length_that_is_none_is_refused(kind: RecordingKind, seconds: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        recording_pieces(kind, seed="a", seconds=seconds)


@both_kinds
def test_filler_does_not_repeat_itself_and_differs_by_seed(kind: RecordingKind) -> None:
    ends = [make_recording(kind, seed=seed, size_bytes=4 * MIB)[-3 * MIB :] for seed in ("a", "b")]
    blocks = [end[at : at + 4096] for end in ends for at in range(0, 3 * MIB, 4096)]
    assert len(set(blocks)) == len(blocks)


@both_kinds
def test_no_piece_of_a_large_file_is_over_a_mebibyte(kind: RecordingKind) -> None:
    sizes = [len(piece) for piece in recording_pieces(kind, seed="a", size_bytes=20_000_000)]
    assert max(sizes) == MIB
    assert sum(sizes) == 20_000_000


@both_kinds
def test_what_is_written_is_what_is_made(kind: RecordingKind, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    written = write_recording(path, kind, seed="a", seconds=2, size_bytes=2_500_000)
    assert written == 2_500_000
    assert path.read_bytes() == make_recording(kind, seed="a", seconds=2, size_bytes=2_500_000)


@both_kinds
def test_refused_arguments_leave_what_was_there(kind: RecordingKind, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="do not fit"):
        write_recording(path, kind, seed="a", size_bytes=10)
    assert path.read_bytes() == b"before"


# --- MP4 --------------------------------------------------------------------------------------------
CONTAINER_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl"}


@dataclass(frozen=True)
class Box:
    kind: bytes
    start: int
    content: bytes


def boxes(data: bytes) -> Iterator[Box]:
    """The boxes that `data` is made of; fails where their sizes do not add up to it."""
    at = 0
    while at < len(data):
        size, header = int.from_bytes(data[at : at + 4]), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16]), 16
        assert header <= size <= len(data) - at
        yield Box(data[at + 4 : at + 8], at, data[at + header : at + size])
        at += size


def box(data: bytes, *path: bytes) -> bytes:
    for kind in path:
        (found,) = (b for b in boxes(data) if b.kind == kind)
        data = found.content
    return data


def sample_table(video: bytes, kind: bytes) -> list[int]:
    """The numbers of one table of the only track, its version and flags left out."""
    content = box(video, b"moov", b"trak", b"mdia", b"minf", b"stbl", kind)
    return [number for (number,) in struct.iter_unpack(">I", content[4:])]


def samples(video: bytes) -> list[bytes]:
    """Each coded picture, found through the tables alone."""
    chunk_count, at = sample_table(video, b"stco")
    _, count, *sizes = sample_table(video, b"stsz")
    assert chunk_count == 1
    assert sample_table(video, b"stsc") == [1, 1, count, 1]
    found = []
    for size in sizes:
        found.append(video[at : at + size])
        at += size
    return found


def units(sample: bytes) -> Iterator[bytes]:
    """The NAL units of a sample; fails where their lengths do not add up to it."""
    while sample:
        size = int.from_bytes(sample[:4])
        assert 0 < size <= len(sample) - 4
        yield sample[4 : 4 + size]
        sample = sample[4 + size :]


def milliseconds(video: bytes, *path: bytes) -> int:
    """The duration of `mvhd` or `mdhd`, after its time scale."""
    scale, duration = struct.unpack(">II", box(video, *path)[12:20])
    assert scale == 1000
    return int(duration)


def assert_boxes_nest(data: bytes) -> None:
    for found in boxes(data):
        if found.kind in CONTAINER_BOXES:
            assert_boxes_nest(found.content)


@several_lengths
def test_the_boxes_of_a_video_add_up(seconds: float) -> None:
    video = make_recording("video", seed="a", seconds=seconds, size_bytes=200_000)
    assert [b.kind for b in boxes(video)] == [b"ftyp", b"moov", b"mdat", b"free"]
    assert_boxes_nest(video)


def test_the_boxes_of_a_video_beyond_4_gib_add_up() -> None:
    filler_bytes = 5 << 30
    head = mp4.enclose(b"", filler_bytes=filler_bytes)
    assert int.from_bytes(head[:4]) == 1
    assert int.from_bytes(head[8:16]) == len(head) + filler_bytes


@several_lengths
def test_the_sample_table_covers_the_media_data_exactly(seconds: float) -> None:
    video = make_recording("video", seed="a", seconds=seconds)
    assert b"".join(samples(video)) == box(video, b"mdat")


def test_each_sample_is_a_picture_of_three_slices_and_the_sync_table_names_the_keys() -> None:
    video = make_recording("video", seed="a", seconds=70)
    kinds = [[unit[0] & 0x1F for unit in units(sample)] for sample in samples(video)]
    assert all(kind in ([5, 5, 5], [1, 1, 1]) for kind in kinds)
    keys = [number for number, kind in enumerate(kinds, start=1) if kind == [5, 5, 5]]
    assert keys == [1, 241, 481]
    assert sample_table(video, b"stss") == [len(keys), *keys]


def test_no_start_code_appears_inside_a_unit() -> None:
    for n in range(50):
        video = make_recording("video", seed=f"rec_{n}", seconds=4)
        for unit in (unit for sample in samples(video) for unit in units(sample)):
            assert b"\0\0" not in unit


@several_lengths
def test_all_durations_of_a_video_agree(seconds: float) -> None:
    video = make_recording("video", seed="a", seconds=seconds)
    expected = max(1, round(seconds * 1000))
    assert milliseconds(video, b"moov", b"mvhd") == expected
    assert milliseconds(video, b"moov", b"trak", b"mdia", b"mdhd") == expected
    entry_count, *entries = sample_table(video, b"stts")
    counts, ticks = entries[::2], entries[1::2]
    assert entry_count == len(counts)
    assert sum(counts) == len(samples(video))
    assert sum(count * each for count, each in zip(counts, ticks, strict=True)) == expected


def test_the_decoder_configuration_holds_its_two_parameter_sets() -> None:
    entry = box(make_recording("video", seed="a"), b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")[8:]
    configuration = box(box(entry, b"avc1")[78:], b"avcC")
    sequence_end = 8 + int.from_bytes(configuration[6:8])
    sequence, picture = configuration[8:sequence_end], configuration[sequence_end + 3 :]
    assert (sequence[0] & 0x1F, picture[0] & 0x1F) == (7, 8)
    assert sequence[1:4] == configuration[1:4] == bytes([66, 0xC0, 30])
    assert int.from_bytes(configuration[sequence_end + 1 : sequence_end + 3]) == len(picture)


# --- WebM -------------------------------------------------------------------------------------------
EBML, SEGMENT, INFO, TRACKS, CUES, CLUSTER, VOID = (
    bytes.fromhex(text)
    for text in ("1A45DFA3", "18538067", "1549A966", "1654AE6B", "1C53BB6B", "1F43B675", "EC")
)
DURATION, TRACK_ENTRY, CODEC, PRIVATE, CODEC_DELAY = (
    bytes.fromhex(text) for text in ("4489", "AE", "86", "63A2", "56AA")
)
TIMESTAMP, SIMPLE_BLOCK, CUE_TIME, CUE_POSITIONS, CUE_CLUSTER_POSITION = (
    bytes.fromhex(text) for text in ("E7", "A3", "B3", "B7", "F1")
)


def elements(data: bytes) -> Iterator[Box]:
    """The EBML elements that `data` is made of; fails where their sizes do not add up to it."""
    at = 0
    while at < len(data):
        name_end = at + 9 - data[at].bit_length()
        size_end = name_end + 9 - data[name_end].bit_length()
        length_bits = 7 * (size_end - name_end)
        size = int.from_bytes(data[name_end:size_end]) & ((1 << length_bits) - 1)
        assert size != (1 << length_bits) - 1, "a size of all ones means unknown"
        assert size <= len(data) - size_end
        yield Box(data[at:name_end], at, data[size_end : size_end + size])
        at = size_end + size


def element(data: bytes, *path: bytes) -> bytes:
    for kind in path:
        (found,) = (e for e in elements(data) if e.kind == kind)
        data = found.content
    return data


def packets(audio: bytes) -> Iterator[tuple[int, bytes]]:
    """Each packet with its time in milliseconds."""
    for cluster in (e.content for e in elements(element(audio, SEGMENT)) if e.kind == CLUSTER):
        start = int.from_bytes(element(cluster, TIMESTAMP))
        for block in (e.content for e in elements(cluster) if e.kind == SIMPLE_BLOCK):
            assert (block[0], block[3]) == (0x81, 0x80)
            yield start + int.from_bytes(block[1:3], signed=True), block[4:]


@several_lengths
def test_the_elements_of_an_audio_add_up(seconds: float) -> None:
    audio = make_recording("audio", seed="a", seconds=seconds, size_bytes=400_000)
    assert [e.kind for e in elements(audio)] == [EBML, SEGMENT]
    kinds = [e.kind for e in elements(element(audio, SEGMENT))]
    assert kinds == [INFO, TRACKS, CUES, *[CLUSTER] * math.ceil(seconds / 5), VOID]


def test_the_elements_of_an_audio_beyond_4_gib_add_up() -> None:
    filler_bytes = 5 << 30
    head = webm.enclose(b"", filler_bytes=filler_bytes)
    segment_at = head.index(SEGMENT)
    segment_size = int.from_bytes(head[segment_at + 5 : segment_at + 12])
    assert segment_size == len(head) - (segment_at + 12) + filler_bytes
    assert int.from_bytes(head[-7:]) == filler_bytes


@several_lengths
def test_the_packets_of_an_audio_follow_each_other_and_fill_its_duration(seconds: float) -> None:
    audio = make_recording("audio", seed="a", seconds=seconds)
    times = [time_ms for time_ms, _ in packets(audio)]
    assert times == list(range(0, 20 * len(times), 20))
    (duration_ms,) = struct.unpack(">d", element(audio, SEGMENT, INFO, DURATION))
    assert duration_ms == 20 * len(times)
    assert 0 <= duration_ms - seconds * 1000 < 20


def test_the_packets_of_an_audio_are_fullband_opus_and_not_all_alike() -> None:
    found = [packet for _, packet in packets(make_recording("audio", seed="a"))]
    assert {packet[0] for packet in found} == {31 << 3}, (
        "20 ms of mono CELT, one frame a packet (RFC 6716, 3.1)"
    )
    assert len(set(found)) > 10


def test_each_cue_points_at_the_cluster_of_its_time() -> None:
    segment = element(make_recording("audio", seed="a", seconds=17), SEGMENT)
    starts = {e.start: element(e.content, TIMESTAMP) for e in elements(segment) if e.kind == CLUSTER}
    cues = {
        int.from_bytes(element(point.content, CUE_POSITIONS, CUE_CLUSTER_POSITION)): element(
            point.content, CUE_TIME
        )
        for point in elements(element(segment, CUES))
    }
    assert len(cues) == 4
    assert cues == starts


def test_the_opus_header_and_the_track_agree_on_the_delay() -> None:
    track = element(make_recording("audio", seed="a"), SEGMENT, TRACKS, TRACK_ENTRY)
    magic, version, channels, skip, rate, gain, family = struct.unpack("<8sBBHIhB", element(track, PRIVATE))
    assert element(track, CODEC) == b"A_OPUS"
    assert (magic, version, channels, rate, gain, family) == (b"OpusHead", 1, 1, 48_000, 0, 0)
    assert int.from_bytes(element(track, CODEC_DELAY)) == skip * 1_000_000_000 // 48_000


# --- decoded for real -------------------------------------------------------------------------------
def run(*command: str) -> bytes:
    """What the command writes to stdout; any word on stderr is a failure."""
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def decoded(path: Path, *output: str) -> bytes:
    strict = ("-v", "warning", "-nostdin", "-xerror", "-err_detect", "explode")
    return run("ffmpeg", *strict, "-i", str(path), *output, "-")


@needs_ffmpeg
@both_kinds
@pytest.mark.parametrize("size_bytes", [None, 2_000_000])
@pytest.mark.parametrize("seconds", [0.13, 7.33, 40.0])
def test_ffmpeg_decodes_a_recording_without_a_word(
    kind: RecordingKind, seconds: float, size_bytes: int | None, tmp_path: Path
) -> None:
    path = tmp_path / f"recording{SUFFIXES[kind]}"
    write_recording(path, kind, seed="a", seconds=seconds, size_bytes=size_bytes)
    decoded(path, "-f", "null")
    shown = json.loads(run("ffprobe", "-v", "warning", "-show_format", "-of", "json", str(path)))["format"]
    assert float(shown["duration"]) == pytest.approx(seconds, abs=0.02)


@needs_ffmpeg
def test_a_video_runs_round_to_the_left_without_loss_across_key_pictures(tmp_path: Path) -> None:
    path = tmp_path / "recording.mp4"
    write_recording(path, "video", seed="a", seconds=35)
    raw = decoded(path, "-f", "rawvideo", "-pix_fmt", "yuv420p")
    picture_bytes = 64 * 48 * 3 // 2
    pictures = [raw[at : at + 64 * 48] for at in range(0, len(raw), picture_bytes)]  # brightness alone
    assert len(pictures) == 280
    for before, after in pairwise(pictures):
        rows = [before[at : at + 64] for at in range(0, 64 * 48, 64)]
        assert after == b"".join(row[16:] + row[:16] for row in rows)
    assert len(set(pictures)) == 4


@needs_ffmpeg
def test_an_audio_can_be_heard(tmp_path: Path) -> None:
    path = tmp_path / "recording.webm"
    write_recording(path, "audio", seed="a", seconds=2)
    heard = [sample for (sample,) in struct.iter_unpack("<h", decoded(path, "-f", "s16le"))]
    loudest_each_fifth = [max(heard[at : at + 9_600]) for at in range(0, len(heard) - 9_600, 9_600)]
    assert min(loudest_each_fifth) > 8_000
