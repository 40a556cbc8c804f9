"""Shards: the bytes depend on the rows alone, parts keep to their size, and what is read is what was added."""

from __future__ import annotations

import gzip
import hashlib
import random
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import SUFFIXES
from hsmirror.archive.shards import (
    PIECE_BYTES,
    SMALL_BYTES,
    Form,
    ShardBuilder,
    StagedPart,
    compressor,
    read_rows,
    sound_rows,
    staged_rows,
)
from hsmirror.archive.spool import Spool
from hsmirror.errors import DamagedError

MODES = Modes()
COMPRESSIONS = ["none", "gzip", "zstd"]


def lines(rows: list[bytes]) -> bytes:
    return b"".join(row + b"\n" for row in rows)


def build(folder: Path, rows: list[bytes], cuts: list[tuple[int, str]], form: Form) -> list[StagedPart]:
    """Rows added in batches that end at each cut, followed by what the cut says: add, flush or spill."""
    folder.mkdir(exist_ok=True)
    builder = ShardBuilder(folder, "0000001", form, MODES)
    spool = Spool(folder / "spool")
    start = 0
    for end, then in [*sorted(cuts), (len(rows), "add")]:
        batch = rows[start : max(start, min(end, len(rows)))]
        builder.add(lines(batch))
        start += len(batch)
        if then == "flush":
            builder.flush()
        elif then == "spill":
            builder.spill(spool)
    parts = builder.seal()
    spool.close()
    return parts


def content(parts: list[StagedPart]) -> list[bytes]:
    return [row for part in parts for row in read_rows(part.path)]


ROWS = st.lists(st.binary(max_size=30).map(lambda row: row.replace(b"\n", b"")), max_size=40)
CUTS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["add", "flush", "spill"])), max_size=8)


@given(
    rows=ROWS,
    cuts=CUTS,
    shard_bytes=st.sampled_from([1, 7, 40, 1 << 20]),
    compression=st.sampled_from(COMPRESSIONS),
)
@example(rows=[b"x" * 100, b"y"], cuts=[(1, "spill"), (1, "flush")], shard_bytes=7, compression="none")
def test_the_same_rows_give_the_same_bytes_however_they_come(
    rows: list[bytes], cuts: list[tuple[int, str]], shard_bytes: int, compression: str
) -> None:
    form = Form(compression, shard_bytes)
    with tempfile.TemporaryDirectory() as folder:
        parts = build(Path(folder) / "a", rows, cuts, form)
        at_once = build(Path(folder) / "b", rows, [], form)
        assert content(parts) == rows
        assert [part.path.read_bytes() for part in parts] == [part.path.read_bytes() for part in at_once]
        assert [part.sha256 for part in parts] == [part.sha256 for part in at_once]
        leftovers = set((Path(folder) / "a").iterdir()) - {part.path for part in parts}
        assert not leftovers


@given(rows=ROWS, cuts=CUTS, shard_bytes=st.sampled_from([1, 7, 40, 1 << 20]))
def test_parts_say_of_themselves_what_is_true(
    rows: list[bytes], cuts: list[tuple[int, str]], shard_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for part in build(Path(folder) / "a", rows, cuts, Form("gzip", shard_bytes)):
            held = lines(list(read_rows(part.path)))
            written = part.path.read_bytes()
            assert part.rows == held.count(b"\n") > 0
            assert (part.content_bytes, part.content_sha256) == (len(held), hashlib.sha256(held).hexdigest())
            assert (part.size_bytes, part.sha256) == (len(written), hashlib.sha256(written).hexdigest())
            assert part.content_bytes <= shard_bytes or part.rows == 1


def test_no_rows_make_no_part(tmp_path: Path) -> None:
    assert build(tmp_path / "a", [], [(0, "flush"), (0, "spill")], Form()) == []
    assert not list((tmp_path / "a").iterdir())


@given(rows=ROWS, compression=st.sampled_from(COMPRESSIONS))
def test_what_is_sealed_in_memory_is_what_would_be_written(rows: list[bytes], compression: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        form = Form(compression)
        written = build(Path(folder) / "a", rows, [], form)
        builder = ShardBuilder(Path(folder) / "a", "0000001", form, MODES)
        builder.add(lines(rows))
        assert builder.is_small
        in_memory = builder.seal_in_memory()
        assert [part.in_memory for part in in_memory] == [part.path.read_bytes() for part in written]
        assert [replace(part, in_memory=None) for part in in_memory] == written
        assert [row for part in in_memory for row in staged_rows(part)] == rows
        assert [row for part in written for row in staged_rows(part)] == rows


def test_what_is_large_or_partly_written_or_does_not_fit_into_a_shard_is_not_small(tmp_path: Path) -> None:
    builders = [ShardBuilder(tmp_path, f"{number}", Form(), MODES) for number in range(3)]
    for builder in builders:
        builder.add(b"x" * (SMALL_BYTES - 1) + b"\n")
        assert builder.is_small
    one_more, spilled, flushed = builders
    one_more.add(b"\n")
    spilled.spill(Spool(tmp_path / "spool"))
    assert spilled.is_small
    spilled.add(b"\n")
    flushed.add(b"x" * PIECE_BYTES + b"\n")
    flushed.flush()
    in_small_shards = ShardBuilder(tmp_path, "small", Form(shard_bytes=10), MODES)
    in_small_shards.add(b"12345\n12345\n")
    assert not any(builder.is_small for builder in (*builders, in_small_shards))


def test_parts_are_filled_to_their_size_before_the_next_is_begun(tmp_path: Path) -> None:
    rows = [b"%09d" % number for number in range(100)]
    parts = build(tmp_path / "a", rows, [], Form("none", 250))
    assert [part.rows for part in parts] == [25, 25, 25, 25]


def test_a_row_larger_than_a_shard_has_a_part_of_its_own(tmp_path: Path) -> None:
    parts = build(tmp_path / "a", [b"a", b"x" * 100, b"b"], [], Form("none", 10))
    assert [part.rows for part in parts] == [1, 1, 1]


def test_fault_59_a_row_larger_than_a_shard_is_never_split(tmp_path: Path) -> None:
    """Not even where a flush writes its first pieces before its last one is full."""
    rows = [b"a" * (2 * PIECE_BYTES + 100), b"b", b"c" * (3 * PIECE_BYTES), b"d"]
    for name, then in (("a", "flush"), ("b", "spill"), ("c", "add")):
        cuts = [(number, then) for number in range(1, len(rows))]
        parts = build(tmp_path / name, rows, cuts, Form("none", PIECE_BYTES))
        assert [list(read_rows(part.path)) for part in parts] == [[row] for row in rows]


def noise(size_bytes: int, row_bytes: int = 200) -> list[bytes]:
    chance = random.Random(3)
    return [chance.randbytes(row_bytes // 2).hex().encode() for _ in range(size_bytes // row_bytes)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_part_of_many_pieces_is_read_to_its_end(tmp_path: Path, compression: str) -> None:
    rows = noise(3 * PIECE_BYTES + 1000)
    (part,) = build(
        tmp_path / "a", rows, [(100, "flush"), (9000, "flush"), (12_000, "spill")], Form(compression)
    )
    assert sum(1 for _ in read_rows(part.path)) == len(rows)
    assert content([part]) == rows


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flush_writes_whole_pieces_and_holds_back_the_rest(tmp_path: Path, compression: str) -> None:
    builder = ShardBuilder(tmp_path, "1", Form(compression), MODES)
    builder.add(lines(noise(PIECE_BYTES // 2)))
    builder.flush()
    assert not list(tmp_path.iterdir())
    builder.add(lines(noise(PIECE_BYTES)))
    builder.flush()
    suffix = {"none": ".ndjson", "gzip": ".ndjson.gz", "zstd": ".ndjson.zst"}[compression]
    assert [path.name for path in tmp_path.iterdir()] == [f"1.0{suffix}.staged"]
    assert 0 < builder.pending_bytes < PIECE_BYTES


def test_a_spill_frees_the_memory_and_keeps_the_rows(tmp_path: Path) -> None:
    builder, spool = ShardBuilder(tmp_path, "1", Form(), MODES), Spool(tmp_path / "spool")
    for row in (b"a\n", b"b\n"):
        builder.add(row)
        builder.spill(spool)
    assert (builder.waiting_bytes, builder.pending_bytes) == (0, 4)
    builder.add(b"c\n")
    assert content(builder.seal()) == [b"a", b"b", b"c"]


def test_what_was_spilled_goes_along_to_another_spool(tmp_path: Path) -> None:
    builder, older, newer = (
        ShardBuilder(tmp_path, "1", Form(), MODES),
        Spool(tmp_path / "older"),
        Spool(tmp_path / "newer"),
    )
    builder.add(b"a\n")
    builder.spill(older)
    builder.add(b"b\n")
    builder.spill(newer)
    older.close()
    assert (builder.waiting_bytes, builder.pending_bytes) == (0, 4)
    assert content(builder.seal()) == [b"a", b"b"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_builder_costs_little_until_there_is_something_to_write(tmp_path: Path, compression: str) -> None:
    """Five thousand rooms of fourteen data types have one each."""
    form = Form(compression)
    first = ShardBuilder(tmp_path, "first", form, MODES)
    names = [f"{number:07d}" for number in range(1000)]
    tracemalloc.start()
    try:
        builders = [first, *(ShardBuilder(tmp_path, name, form, MODES) for name in names)]
        assert tracemalloc.get_traced_memory()[0] / len(builders) < 450
    finally:
        tracemalloc.stop()


def test_every_gzip_reader_reads_the_pieces_as_one_stream(tmp_path: Path) -> None:
    rows = noise(2 * PIECE_BYTES + 5)
    (part,) = build(tmp_path / "a", rows, [], Form("gzip"))
    assert gzip.decompress(part.path.read_bytes()) == lines(rows)


def test_every_zstd_reader_reads_the_pieces_as_one_stream(tmp_path: Path) -> None:
    rows = noise(2 * PIECE_BYTES + 5)
    (part,) = build(tmp_path / "a", rows, [], Form("zstd"))
    reader = zstandard.ZstdDecompressor().stream_reader(part.path.read_bytes(), read_across_frames=True)
    assert reader.read() == lines(rows)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_piece_holds_no_time_stamp(compression: str) -> None:
    piece = compressor(compression)(b"x\n")
    if compression == "gzip":
        assert piece[4:8] == bytes(4)
    assert piece == compressor(compression)(b"x\n")


def test_fault_63_a_staged_part_is_private(tmp_path: Path) -> None:
    (part,) = build(tmp_path / "a", [b"x"], [], Form())
    assert part.path.stat().st_mode & 0o777 == 0o600


# --- damage ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
@example(at=0, flip=1)
@example(at=1, flip=255)
@example(at=3, flip=255)
def test_fault_46_a_damaged_shard_gives_its_rows_or_an_error(compression: str, at: int, flip: int) -> None:
    """Never other rows: a wrong first byte does not make it a text of its own."""
    rows = [b'{"id":"%d"}' % number for number in range(50)]
    with tempfile.TemporaryDirectory() as folder:
        (part,) = build(Path(folder), rows, [], Form(compression))
        suffix = {"gzip": ".ndjson.gz", "zstd": ".ndjson.zst"}[compression]
        damaged = bytearray(part.path.read_bytes())
        damaged[at % len(damaged)] ^= flip
        path = Path(folder) / f"part-00000{suffix}"
        path.write_bytes(bytes(damaged))
        try:
            found = list(read_rows(path))
        except DamagedError:
            return
        # zstd frames made in one go bear no checksum of their content: the receipt's hash tells.
        assert compression == "zstd" or found == rows


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [1, 5, 20, 100])
def test_fault_46_a_shard_cut_short_is_an_error(tmp_path: Path, compression: str, cut: int) -> None:
    (part,) = build(tmp_path / "a", noise(5000), [], Form(compression))
    path = tmp_path / {"gzip": "part-00000.ndjson.gz", "zstd": "part-00000.ndjson.zst"}[compression]
    path.write_bytes(part.path.read_bytes()[:-cut])
    with pytest.raises(DamagedError):
        list(read_rows(path))


def test_a_shard_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DamagedError):
        list(read_rows(tmp_path / "part-00000.ndjson.gz"))


# --- what a damaged shard still gives ----------------------------------------------------------------
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_of_a_damaged_shard_the_pieces_before_the_damage_are_proven_sound(
    tmp_path: Path, compression: str
) -> None:
    texts = [random.Random(n).randbytes(40).hex() for n in range(40_000)]
    rows = [f'{{"n": {n}, "text": "{text}"}}'.encode() for n, text in enumerate(texts)]
    (part,) = build(tmp_path, rows, [], Form(compression, 1 << 30))
    path = part.path.rename(tmp_path / f"part-00000{SUFFIXES[compression]}")
    whole = path.read_bytes()
    assert list(sound_rows(path)) == rows
    for at in (len(whole) // 2, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        saved = list(sound_rows(path))
        assert 0 < len(saved) < len(rows)
        assert saved == rows[: len(saved)]
    path.write_bytes(whole[:-9])
    assert list(sound_rows(path)) == rows[: len(list(sound_rows(path)))]


def test_of_one_without_checksums_or_that_is_missing_nothing_is(tmp_path: Path) -> None:
    (part,) = build(tmp_path, [b"{}"], [], Form("none", 1 << 30))
    assert list(sound_rows(part.path.rename(tmp_path / "part-00000.ndjson"))) == []
    assert list(sound_rows(tmp_path / "part-00000.ndjson.gz")) == []
