"""Receipts: appended, read back, the last one for a key counts, and no damage stops the reading."""

from __future__ import annotations

import os
import sys
import tracemalloc
from array import array
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event, RLock, Thread

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import (
    WHOLE,
    AbsenceReceipt,
    Claim,
    DocumentReceipt,
    FileReceipt,
    IntentReceipt,
    ListReceipt,
    PendingReceipt,
    Receipt,
    ShardReceipt,
    encode,
    require_sane,
    with_check,
)
from hsmirror.archive.segments import MOST_OPEN_SEGMENTS, MOST_SEGMENTS, Receipts, segments
from hsmirror.errors import StorageError

MODES = Modes()


def opened(root: Path, run_id: str = "20260101T000000Z-a") -> Receipts:
    return Receipts(Layout(root), MODES, run_id)


def shard(path: str = "e/part-00000", *, rows: int = 1, sha256: str | None = "a") -> ShardReceipt:
    return ShardReceipt(path=path, experiment="e", data_type="events", room="r", rows=rows, sha256=sha256)


ONE_OF_EACH: list[Receipt] = [
    ShardReceipt(
        path="s",
        experiment="e",
        data_type="events",
        room=None,
        rows=3,
        sha256="a",
        complete_for=(WHOLE, Claim(start="2026-01-01T00:00:00Z", participant="p")),
        gone_rows=1,
    ),
    FileReceipt(path="f", experiment="e", room="r", recording_id="x", size_bytes=1, sha256="b", etag='"e"'),
    DocumentReceipt(path="d", experiment="e", size_bytes=1, sha256="c"),
    ListReceipt(experiment="e", data_type="events", total=5, is_complete=False, why="it moved"),
    PendingReceipt(path="f2", experiment="e", room=None, recording_id="y", why="active", is_failure=True),
    AbsenceReceipt(what="data/sync", why="404", until_epoch=1.5),
    IntentReceipt(receipts=(shard("other"),), staged=("0000001.0.staged",)),
]


def test_every_kind_of_receipt_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    opened(tmp_path).append(ONE_OF_EACH)
    assert list(opened(tmp_path)) == ONE_OF_EACH


def test_a_receipt_is_one_line_and_a_run_writes_one_segment(tmp_path: Path) -> None:
    receipts = opened(tmp_path, "20260101T000000Z-a")
    for receipt in ONE_OF_EACH:
        receipts.append([receipt])
    (segment,) = segments(Layout(tmp_path))
    assert segment.name == "20260101T000000Z-a.jsonl"
    assert len(segment.read_bytes().splitlines()) == len(ONE_OF_EACH)


def test_a_run_that_changes_nothing_leaves_no_segment(tmp_path: Path) -> None:
    opened(tmp_path).append([])
    assert segments(Layout(tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_the_last_receipt_for_a_key_counts_within_a_run_and_across_runs(tmp_path: Path) -> None:
    opened(tmp_path, "20260101T000000Z-a").append([shard(rows=1), shard(rows=2)])
    assert opened(tmp_path).shard("e/part-00000") == shard(rows=2)
    opened(tmp_path, "20260102T000000Z-a").append([shard(rows=3)])
    assert opened(tmp_path).shard("e/part-00000") == shard(rows=3)


def test_a_receipt_is_found_under_its_own_kind_only(tmp_path: Path) -> None:
    receipts = opened(tmp_path)
    receipts.append(ONE_OF_EACH)
    assert receipts.shard("s") is not None
    assert receipts.file("f") is not None
    assert receipts.document("d") is not None
    assert receipts.shard("f") is None
    assert receipts.file("d") is None
    assert receipts.document("s") is None
    assert receipts.get("absent data/sync") == ONE_OF_EACH[5]


def test_an_intent_stands_until_the_last_of_its_receipts_has_come(tmp_path: Path) -> None:
    receipts = opened(tmp_path)
    intent = IntentReceipt(receipts=(shard("one"), shard("two")), staged=("1.staged", "2.staged"))
    receipts.append([intent])
    assert opened(tmp_path).get("intent two") == intent
    receipts.append([shard("one")])
    assert opened(tmp_path).get("intent two") == intent
    receipts.append([shard("two")])
    assert opened(tmp_path).get("intent two") is None


# --- crashes and damage ----------------------------------------------------------------------------------
@given(cut=st.integers(0, 2000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fault_47_a_segment_cut_anywhere_gives_the_whole_lines_before_the_cut(tmp_path: Path, cut: int) -> None:
    root = tmp_path / str(cut)
    receipts = opened(root)
    receipts.append(ONE_OF_EACH)
    (segment,) = segments(Layout(root))
    content = segment.read_bytes()
    segment.write_bytes(content[:cut])
    read = opened(root)
    whole_lines = content[:cut].count(b"\n")
    found = list(read)
    assert found[:whole_lines] == ONE_OF_EACH[:whole_lines]
    assert len(found) <= whole_lines + 1  # a line that lacks its line break alone is whole
    assert read.unreadable_lines == []
    segment.unlink()


def test_fault_47_the_next_run_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    opened(tmp_path, "20260101T000000Z-a").append([shard("one"), shard("two")])
    (segment,) = segments(Layout(tmp_path))
    segment.write_bytes(segment.read_bytes()[:-10])
    opened(tmp_path, "20260102T000000Z-a").append([shard("three")])
    assert [receipt.key for receipt in opened(tmp_path)] == ["one", "three"]


@given(at=st.integers(0, 400), value=st.integers(0, 255))
@example(at=30, value=0xFF)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fault_46_a_damaged_byte_never_stops_the_reading(tmp_path: Path, at: int, value: int) -> None:
    root = tmp_path / f"{at}-{value}"
    opened(root, "20260101T000000Z-a").append([shard("one"), shard("two")])
    (segment,) = segments(Layout(root))
    content = bytearray(segment.read_bytes())
    content[at % len(content)] = value
    segment.write_bytes(bytes(content))
    opened(root, "20260102T000000Z-a").append([shard("three")])
    assert opened(root).shard("three") is not None


def test_fault_46_a_damaged_line_is_named(tmp_path: Path) -> None:
    opened(tmp_path, "20260101T000000Z-a").append([shard("one"), shard("two"), shard("three")])
    (segment,) = segments(Layout(tmp_path))
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(lines[0] + b"{broken\n" + lines[2])
    receipts = opened(tmp_path)
    assert receipts.unreadable_lines == ["20260101T000000Z-a.jsonl, line 2"]
    assert [receipt.key for receipt in receipts] == ["one", "three"]


@pytest.mark.parametrize("takes_turns", [False, True])
def test_a_line_that_is_written_while_the_receipts_are_opened_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes_turns: bool
) -> None:
    """A group of receipts is one write, of which a reader may see a part, and a moment later the rest."""
    lines = b"".join(encode(each) for each in of_experiments(3, takes_turns=takes_turns))
    opened(tmp_path).append([shard("first")])
    (segment,) = segments(Layout(tmp_path))
    before = segment.read_bytes()
    segment.write_bytes(before + lines[:-100])
    take_in = Receipts._take_in

    def written_on(self: Receipts, address: int, chunk: bytes) -> None:
        if not chunk.endswith(b"\n"):
            segment.write_bytes(before + lines)
        take_in(self, address, chunk)

    monkeypatch.setattr(Receipts, "_take_in", written_on)
    receipts = opened(tmp_path)
    assert segment.read_bytes() == before + lines
    assert [receipt.key for receipt in receipts][:1] == ["first"]
    assert receipts.unreadable_lines == []


def test_a_receipt_of_a_kind_that_a_newer_version_knows_is_passed_over(tmp_path: Path) -> None:
    opened(tmp_path).append([shard("one"), shard("two")])
    (segment,) = segments(Layout(tmp_path))
    segment.write_bytes(b'{"kind":"hologram","path":"x"}\n' + segment.read_bytes())
    assert len(list(opened(tmp_path))) == 2


# --- merging ---------------------------------------------------------------------------------------------
def runs(root: Path, count: int) -> list[str]:
    ids = [f"202601{day:02d}T000000Z-{day % 7}" for day in range(1, 32)] + [
        f"202602{day:02d}T000000Z-{day % 7}" for day in range(1, 29)
    ]
    for number, run_id in enumerate(ids[:count]):
        opened(root, run_id).append([shard("same", rows=number), shard(f"own-{number}")])
    return ids[:count]


def test_few_segments_are_not_merged(tmp_path: Path) -> None:
    runs(tmp_path, MOST_SEGMENTS)
    opened(tmp_path).merge()
    assert len(segments(Layout(tmp_path))) == MOST_SEGMENTS


def test_many_segments_become_one_that_says_the_same(tmp_path: Path) -> None:
    last = runs(tmp_path, MOST_SEGMENTS + 1)[-1]
    before = {receipt.key: receipt for receipt in opened(tmp_path)}
    receipts = opened(tmp_path, last)
    receipts.merge()
    assert len(segments(Layout(tmp_path))) == 1
    assert {receipt.key: receipt for receipt in opened(tmp_path)} == before
    receipts.append([shard("same", rows=999)])
    assert opened(tmp_path).shard("same") == shard("same", rows=999)
    opened(tmp_path, "20260301T000000Z-0").append([shard("same", rows=1000)])
    assert opened(tmp_path).shard("same") == shard("same", rows=1000)


@pytest.mark.parametrize("left", [1, 2, 25, MOST_SEGMENTS, MOST_SEGMENTS + 1])
def test_fault_47_a_merge_that_dies_while_removing_the_old_segments_loses_nothing(
    tmp_path: Path, left: int
) -> None:
    """`left` of the old ones, the newest, are still there beside the merged one."""
    last = runs(tmp_path, MOST_SEGMENTS + 1)[-1]
    old = {segment: segment.read_bytes() for segment in segments(Layout(tmp_path))}
    before = {receipt.key: receipt for receipt in opened(tmp_path)}
    opened(tmp_path, last).merge()
    for segment in list(old)[-left:]:
        segment.write_bytes(old[segment])
    assert {receipt.key: receipt for receipt in opened(tmp_path)} == before


def test_who_has_opened_the_receipts_reads_on_while_a_run_merges_them(tmp_path: Path) -> None:
    last = runs(tmp_path, MOST_SEGMENTS + 1)[-1]
    before = {receipt.key: receipt for receipt in opened(tmp_path)}
    reader = opened(tmp_path)
    opened(tmp_path, last).merge()
    assert {receipt.key: receipt for receipt in reader} == before


def test_receipts_that_are_merged_while_they_are_opened_are_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = runs(tmp_path, MOST_SEGMENTS + 1)[-1]
    before = {receipt.key: receipt for receipt in opened(tmp_path)}
    opened_truly = os.open

    def opened_late(path: Path, flags: int) -> int:
        monkeypatch.undo()
        opened(tmp_path, last).merge()
        return opened_truly(path, flags)

    monkeypatch.setattr(os, "open", opened_late)
    assert {receipt.key: receipt for receipt in opened(tmp_path)} == before


def test_a_segment_that_cannot_be_read_is_an_error_of_the_disk(tmp_path: Path) -> None:
    opened(tmp_path).append([shard("one")])
    (segment,) = segments(Layout(tmp_path))
    segment.rename(segment.with_suffix(".moved"))
    segment.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="receipts"):
        opened(tmp_path)


def test_what_a_newer_version_wrote_into_a_receipt_outlives_a_merge(tmp_path: Path) -> None:
    opened(tmp_path).append([shard("one")])
    (segment,) = segments(Layout(tmp_path))
    newer = with_check(encode(shard("one"))[:-21].replace(b'"kind"', b'"colour":"blue","kind"') + b"}")
    segment.write_bytes(newer + b"\n{broken\n")
    receipts = opened(tmp_path)
    assert list(receipts) == [shard("one")]
    receipts.merge()
    (merged,) = segments(Layout(tmp_path))
    assert b'"colour":"blue"' in merged.read_bytes()
    assert b"broken" not in merged.read_bytes()


def test_a_line_of_a_kind_that_a_newer_version_knows_outlives_a_merge_and_one_that_damage_made_does_not(
    tmp_path: Path,
) -> None:
    opened(tmp_path).append([shard("one")])
    (segment,) = segments(Layout(tmp_path))
    newer = with_check(b'{"kind":"hologram","of":"e"}')
    segment.write_bytes(segment.read_bytes() + newer + b"\n" + newer.replace(b'"e"', b'"f"') + b"\n")
    receipts = opened(tmp_path)
    assert receipts.unreadable_lines == [f"{segment.name}, line 3"]
    receipts.merge()
    (merged,) = segments(Layout(tmp_path))
    assert merged.read_bytes() == encode(shard("one")) + newer + b"\n"
    assert opened(tmp_path).unreadable_lines == []


@pytest.mark.parametrize("receipt", ONE_OF_EACH, ids=lambda receipt: type(receipt).__name__)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=25)
def test_fault_120_a_flipped_bit_makes_a_line_unreadable_or_leaves_its_meaning(
    tmp_path_factory: pytest.TempPathFactory, receipt: Receipt, at: int, bit: int
) -> None:
    root = tmp_path_factory.mktemp("archive")
    opened(root).append([receipt, shard("last")])
    (segment,) = segments(Layout(root))
    content = bytearray(segment.read_bytes())
    content[at % (len(encode(receipt)) - 1)] ^= 1 << bit
    segment.write_bytes(content)
    receipts = opened(root)
    assert [each for each in receipts if each.key != "last"] in ([], [receipt])
    assert receipts.unreadable_lines or receipts.get(receipt.key) == receipt


def test_lines_of_an_older_version_have_no_check_and_get_one_by_a_merge(tmp_path: Path) -> None:
    opened(tmp_path).append([shard("one")])
    (segment,) = segments(Layout(tmp_path))
    with_its_check = segment.read_bytes()
    segment.write_bytes(with_its_check[:-21] + b"}\n")
    receipts = opened(tmp_path)
    assert list(receipts) == [shard("one")]
    receipts.rewrite(lambda each: each)
    assert segments(Layout(tmp_path))[0].read_bytes() == with_its_check


@pytest.mark.parametrize(
    "name",
    [
        "20260101T000000Z-a (1).jsonl",
        "Copy of 20260101T000000Z-a.jsonl",
        "20260101T000000Z-a.sync-conflict-20260102-101010-ABCDEFG.jsonl",
        "20260101T000000Z-a (conflicted copy 2026-01-02).jsonl",
        "20260101T000000Z-a-PC of mine.jsonl",
        "zzzz.jsonl",
        ".jsonl",
    ],
)
def test_fault_95_a_copy_of_a_segment_is_neither_read_nor_merged(tmp_path: Path, name: str) -> None:
    opened(tmp_path).append([shard("one")])
    copy = tmp_path / "receipts" / name
    copy.write_bytes(encode(shard("one", rows=7)) + encode(shard("two")))
    receipts = opened(tmp_path)
    assert list(receipts) == [shard("one")]
    receipts.rewrite(lambda each: each)
    assert list(opened(tmp_path)) == [shard("one")]
    assert copy.exists()


def test_a_rewrite_leaves_out_what_is_to_count_no_more_and_changes_the_rest(tmp_path: Path) -> None:
    receipts = opened(tmp_path)
    receipts.append([shard("e/one"), shard("e/two"), shard("e/three")])
    changed = {"e/one": None, "e/two": shard("e/two", rows=2)}
    receipts.rewrite(lambda receipt: changed.get(receipt.key, receipt))
    for read in (receipts, opened(tmp_path)):
        assert list(read) == [shard("e/two", rows=2), shard("e/three")]
        assert read.get("e/one") is None


# --- many experiments, many lines --------------------------------------------------------------------------
def place(experiment: int, number: int) -> str:
    return f"experiment_id=e{experiment}/data_type=events/room_id=r{number}/part-00000.ndjson"


def of_experiments(count: int, *, rows: int = 1, takes_turns: bool = False) -> list[Receipt]:
    """More of each than are read at once, as they stand after a merge, or as runs write them."""
    each = [(experiment, number) for experiment in range(count) for number in range(400)]
    if takes_turns:
        each.sort(key=lambda pair: pair[1])
    return [
        msgspec.structs.replace(shard(place(*pair), rows=rows, sha256="a" * 64), experiment=f"e{pair[0]}")
        for pair in each
    ]


@pytest.mark.parametrize("takes_turns", [False, True])
def test_an_experiments_receipts_are_found_however_they_stand(tmp_path: Path, takes_turns: bool) -> None:
    written = of_experiments(4, takes_turns=takes_turns)
    opened(tmp_path).append(written)
    receipts = opened(tmp_path)
    assert list(receipts.of("e2")) == [each for each in written if each.experiment == "e2"]
    assert receipts.folders == [f"experiment_id=e{number}" for number in range(4)]
    assert all(receipts.get(each.key) == each for each in written)
    assert list(receipts.of("e9")) == []
    assert receipts.get(place(9, 1)) is None


@pytest.mark.parametrize("takes_turns", [False, True])
def test_what_comes_counts_from_then_on_whether_or_not_its_experiment_was_looked_at(
    tmp_path: Path, takes_turns: bool
) -> None:
    opened(tmp_path).append(of_experiments(3, takes_turns=takes_turns))
    receipts = opened(tmp_path, "20260102T000000Z-a")
    receipts.load("e1")
    newer = of_experiments(3, rows=2)
    receipts.append([*newer[5::7], LISTED])
    for read in (receipts, opened(tmp_path)):
        assert all(read.get(each.key) == each for each in newer[5::7])
        assert sum(each.rows for each in read.of("e1") if isinstance(each, ShardReceipt)) > 400
        assert read.get(LISTED.key) == LISTED
        assert LISTED.key in read


@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_receipt_that_is_replaced_while_they_are_gone_through_is_given_once(
    tmp_path: Path, is_loaded: bool
) -> None:
    written = of_experiments(1)
    opened(tmp_path).append(written)
    receipts = opened(tmp_path, "20260102T000000Z-a")
    if is_loaded:
        receipts.load("e0")
    going_through = receipts.of("e0")
    found = [next(going_through)]
    receipts.append(of_experiments(1, rows=2)[:2] + of_experiments(1, rows=2)[-2:])
    found += going_through
    assert found == written
    assert receipts.get(written[-1].key) == of_experiments(1, rows=2)[-1]


class MetLock:
    """Tells when somebody finds it held."""

    def __init__(self, met: Event) -> None:
        self._lock = RLock()
        self._met = met

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._met.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_receipts_are_gone_through_while_another_thread_appends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever begins amid an append, when an extent has its beginning and not its end, waits for it."""
    written = of_experiments(2, takes_turns=True)
    opened(tmp_path).append(written)
    receipts = opened(tmp_path, "20260102T000000Z-a")
    assert len(list(receipts)) == len(written)
    done_or_waiting = Event()
    monkeypatch.setattr(receipts, "_lock", MetLock(done_or_waiting))
    found: list[Receipt] = []

    def go_through() -> None:
        try:
            found.extend(receipts.of("e0"))
        finally:
            done_or_waiting.set()

    reader = Thread(target=go_through)

    class Watched(array):  # type: ignore[type-arg]  # no more than the one is made
        def append(self, value: int) -> None:
            super().append(value)
            if not reader.ident:
                reader.start()
                done_or_waiting.wait()

    receipts._extents["experiment_id=e0"] = Watched("q", receipts._extents["experiment_id=e0"])
    receipts.append(of_experiments(2, rows=2, takes_turns=True)[:2])
    reader.join()
    assert len(found) == len(written) / 2


LISTED = ListReceipt(experiment="e1", data_type="ratings/continuous", total=5)


def damaged(lines: list[bytes], random: Random) -> list[bytes]:
    """Some of them no receipts any more, in ways that show at once and in ways that do not."""
    spoilt = (
        lambda line: b"{broken",
        lambda line: b"",
        lambda line: bytes(len(line)),
        lambda line: line.replace(b'"rows":', b'"rows":-'),
        lambda line: line.replace(b"experiment_id=", b"../experiment_id="),
        lambda line: line.replace(b'"kind":"shard"', b'"kind":"hologram"'),
        lambda line: line[:-1] + b',"fetched_at":"soon"}',
        lambda line: line + line,
        lambda line: line.replace(b",", b",\n", 1),
    )
    return [random.choice(spoilt)(line) if random.random() < 0.05 else line for line in lines]


@pytest.mark.parametrize("seed", range(6))
def test_fault_46_what_counts_is_what_reading_line_by_line_makes_of_it(tmp_path: Path, seed: int) -> None:
    """Lines of several experiments in several segments, some superseded, some damaged, the last one torn."""
    random = Random(seed)
    written = [encode(each) for each in of_experiments(3, takes_turns=bool(seed % 2))]
    written += random.choices([encode(each) for each in of_experiments(3, rows=2)], k=500)
    written.insert(random.randrange(len(written)), encode(ABSENT))
    lines = b"\n".join(damaged([line.rstrip(b"\n") for line in written], random)).split(b"\n")
    folder = tmp_path / "receipts"
    folder.mkdir()
    for number in range(3):
        part = lines[number * len(lines) // 3 : (number + 1) * len(lines) // 3]
        (folder / f"2026010{number + 1}T000000Z-a.jsonl").write_bytes(b"\n".join(part) + b'\n{"kind":"sh')

    expected: dict[str, Receipt] = {}
    unreadable = 0
    for line in lines:
        receipt = one_by_one(line)
        if receipt is not None:
            expected[receipt.key] = receipt
        elif line and b"\0" not in line:
            unreadable += 1
    receipts = opened(tmp_path)
    assert {receipt.key: receipt for receipt in receipts} == expected
    assert all(receipts.get(key) == receipt for key, receipt in expected.items())
    assert len(receipts.unreadable_lines) == len(set(receipts.unreadable_lines)) == unreadable


ABSENT = AbsenceReceipt(what="data/sync", why="404", until_epoch=1.5)


def one_by_one(line: bytes) -> Receipt | None:
    try:
        receipt = msgspec.json.decode(line, type=Receipt)
        require_sane(receipt)
    except (msgspec.MsgspecError, ValueError):
        return None
    return receipt


def test_fault_46_a_damaged_line_that_only_a_whole_look_shows_leaves_the_older_receipt(tmp_path: Path) -> None:
    line = encode(shard("e/one", rows=2)).replace(b'"rows":2', b'"rows":-2')
    opened(tmp_path).append([shard("e/one")])
    (segment,) = segments(Layout(tmp_path))
    segment.write_bytes(segment.read_bytes() + line)
    receipts = opened(tmp_path)
    assert receipts.shard("e/one") == shard("e/one")
    assert receipts.unreadable_lines == [f"{segment.name}, line 2"]


def test_an_intent_whose_receipts_come_many_lines_later_is_done_with(tmp_path: Path) -> None:
    intent = IntentReceipt(receipts=(shard("e/one", rows=2), shard("e/two", rows=2)))
    opened(tmp_path).append([intent, *of_experiments(2)])
    assert list(opened(tmp_path).of_no_experiment) == [intent]
    opened(tmp_path).append([*of_experiments(2, takes_turns=True), shard("e/one", rows=2)])
    assert list(opened(tmp_path).of_no_experiment) == [intent]
    opened(tmp_path).append([shard("e/two", rows=2)])
    assert list(opened(tmp_path).of_no_experiment) == []


def test_an_intent_of_which_the_receipts_that_came_are_others_stands(tmp_path: Path) -> None:
    intent = IntentReceipt(receipts=(shard("e/one", rows=2), shard("e/two", rows=2)))
    opened(tmp_path).append([intent, shard("e/one", rows=1), shard("e/two", rows=2)])
    assert list(opened(tmp_path).of_no_experiment) == [intent]


# --- what it takes -----------------------------------------------------------------------------------------
def bytes_kept(make: Callable[[], object]) -> int:
    """Memory that is taken by what is made, or done, and stays."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = make()
        after, _ = tracemalloc.get_traced_memory()
        del kept
        return after - before
    finally:
        tracemalloc.stop()


def test_receipts_take_no_memory_until_their_experiment_is_looked_at(tmp_path: Path) -> None:
    opened(tmp_path).append(of_experiments(10))
    receipts = opened(tmp_path)
    assert bytes_kept(lambda: opened(tmp_path)) / 4000 < 20
    assert 100 < bytes_kept(lambda: receipts.load("e3")) / 400 < 300


def test_an_experiment_that_is_done_with_takes_no_memory_and_is_still_known(tmp_path: Path) -> None:
    opened(tmp_path).append(of_experiments(10))
    receipts = opened(tmp_path, "20260102T000000Z-a")

    def look_at_each() -> None:
        for number in range(10):
            receipts.load(f"e{number}")
            receipts.release(f"e{number}")

    assert bytes_kept(look_at_each) / 4000 < 20
    receipts.append([msgspec.structs.replace(of_experiments(10)[0], rows=77)])
    receipts.release("e0")
    assert receipts.get(of_experiments(10)[0].key) == msgspec.structs.replace(of_experiments(10)[0], rows=77)


def test_receipts_of_experiments_that_take_turns_take_the_place_of_each_line_alone(tmp_path: Path) -> None:
    opened(tmp_path).append(of_experiments(10, takes_turns=True))
    receipts = opened(tmp_path)
    receipts.load("e3")
    assert bytes_kept(lambda: receipts.load("e4")) / 400 < 300


@pytest.mark.skipif(sys.platform != "linux", reason="open files are read from /proc")
def test_a_segment_is_open_once_for_as_long_as_its_receipts_are_wanted(tmp_path: Path) -> None:
    def times_open() -> int:
        return [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()].count(str(segment))

    opened(tmp_path).append(of_experiments(2))
    (segment,) = segments(Layout(tmp_path))
    receipts = opened(tmp_path)
    part_way = receipts.of("e1")
    next(part_way)
    assert receipts.get(place(0, 1)) is not None
    assert times_open() == 1
    del part_way, receipts
    assert times_open() == 0


def test_however_many_segments_there_are_few_stay_open_and_all_are_read(tmp_path: Path) -> None:
    """As runs leave them that are killed, each of them, before they come to the merging."""
    folder = tmp_path / "receipts"
    folder.mkdir()
    written = of_experiments(1)[:300]
    for number, receipt in enumerate(written):
        (folder / f"20260101T{number:06d}Z-a.jsonl").write_bytes(encode(receipt))
    (folder / "20260101T000007Z-a.jsonl").write_bytes(encode(written[7]) + b"{broken\n")
    before = len(list(Path("/dev/fd").iterdir()))
    receipts = opened(tmp_path, "20260102T000000Z-a")
    assert list(receipts) == written
    assert all(receipts.get(each.key) == each for each in written)
    assert receipts.unreadable_lines == ["20260101T000007Z-a.jsonl, line 2"]
    assert len(list(Path("/dev/fd").iterdir())) <= before + MOST_OPEN_SEGMENTS
    receipts.merge_many()
    assert len(segments(Layout(tmp_path))) == 1
    assert list(receipts) == list(opened(tmp_path)) == written


def test_a_line_that_is_left_out_by_a_merge_is_named_still(tmp_path: Path) -> None:
    last = runs(tmp_path, MOST_SEGMENTS + 1)[-1]
    first, *_ = segments(Layout(tmp_path))
    first.write_bytes(first.read_bytes() + b"{broken\n")
    receipts = opened(tmp_path, last)
    receipts.merge_many()
    assert receipts.unreadable_lines == [f"{first.name}, line 3"]
    assert opened(tmp_path).unreadable_lines == []
