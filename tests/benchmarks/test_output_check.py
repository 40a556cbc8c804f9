"""A figure counts only with the right output: what is wrong with one has to be noticed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.dataset import Expected
from benchmarks.fingerprints import file_fingerprint, fingerprint
from benchmarks.outputs import Form, wrong

ROWS = [json.dumps({"id": f"row_{number}", "value": number}).encode() for number in range(50)]
FILES = {"rec_00.mp4": b"a" * 1000, "rec_01.mp4": b"b" * 2000}
FORMS_WITH_ROWS = (Form.PAGES, Form.NDJSON, Form.ARCHIVE, Form.DLT)


def expected(folder: Path) -> Expected:
    right = folder / "right"
    leave_files(right, FILES)
    return Expected(
        rows=fingerprint(ROWS),
        ids=fingerprint(json.loads(row)["id"].encode() for row in ROWS),
        files=file_fingerprint(right.iterdir()),
        row_bytes=sum(map(len, ROWS)),
        file_bytes=3000,
    )


def leave_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def leave_rows(form: Form, out: Path, rows: Sequence[bytes]) -> Path:
    """What a contender leaves for these rows; the last file of it."""
    some, others = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    if form is Form.NDJSON:
        path = out / "rows.ndjson"
        path.write_bytes(b"".join(row + b"\n" for row in rows))
        return path
    if form is Form.PAGES:
        for number, part in enumerate((some, others)):
            page = b'{"status":"success","metadata":{},"data":[' + b",".join(part) + b"]}"
            (out / f"{number:06d}.json").write_bytes(page)
        return out / "000001.json"
    if form is Form.DLT:
        lake = out / "lake" / "data" / "events"
        lake.mkdir(parents=True)
        written = b"".join(json.dumps({**json.loads(row), "_dlt_id": "x"}).encode() + b"\n" for row in rows)
        (lake / "1.jsonl.gz").write_bytes(gzip.compress(written))
        return lake / "1.jsonl.gz"
    for room, part in (("a", some), ("b", others)):
        shard = (
            out
            / "archive"
            / "experiment_id=e"
            / "data_type=events"
            / f"room_id={room}"
            / "part-00000.ndjson.gz"
        )
        shard.parent.mkdir(parents=True)
        shard.write_bytes(gzip.compress(b"".join(row + b"\n" for row in part)))
    return shard


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("form", FORMS_WITH_ROWS)
def test_all_rows_in_any_order_are_right(form: Form, tmp_path: Path, out: Path) -> None:
    leave_rows(form, out, ROWS[::-1])
    assert wrong(form, out, expected(tmp_path)) == ""


@pytest.mark.parametrize("form", FORMS_WITH_ROWS)
def test_a_missing_row_is_noticed(form: Form, tmp_path: Path, out: Path) -> None:
    leave_rows(form, out, ROWS[:-1])
    assert wrong(form, out, expected(tmp_path)).startswith("49 ")


@pytest.mark.parametrize("form", FORMS_WITH_ROWS)
def test_a_row_twice_in_place_of_another_is_noticed(form: Form, tmp_path: Path, out: Path) -> None:
    leave_rows(form, out, [*ROWS[:-1], ROWS[0]])
    assert wrong(form, out, expected(tmp_path)).endswith("that differ")


@pytest.mark.parametrize("form", FORMS_WITH_ROWS)
def test_an_altered_byte_is_noticed(form: Form, tmp_path: Path, out: Path) -> None:
    leave_rows(form, out, [ROWS[0].replace(b"row_0", b"row_O"), *ROWS[1:]])
    assert wrong(form, out, expected(tmp_path)).endswith("that differ")


@pytest.mark.parametrize("form", FORMS_WITH_ROWS)
def test_a_file_that_is_cut_short_is_noticed(form: Form, tmp_path: Path, out: Path) -> None:
    last = leave_rows(form, out, ROWS)
    last.write_bytes(last.read_bytes()[:-12])
    assert wrong(form, out, expected(tmp_path))


@pytest.mark.parametrize("form", [*FORMS_WITH_ROWS, Form.FILES, Form.ARCHIVED_FILES])
def test_no_output_at_all_is_noticed(form: Form, tmp_path: Path, out: Path) -> None:
    assert wrong(form, out, expected(tmp_path))


def test_superseded_and_staged_shards_are_no_output(tmp_path: Path, out: Path) -> None:
    leave_rows(Form.ARCHIVE, out, ROWS)
    staged = out / "archive" / ".hsmirror" / "staging"
    leave_files(staged, {"1.ndjson.part": ROWS[0] + b"\n"})
    assert wrong(Form.ARCHIVE, out, expected(tmp_path)) == ""


@pytest.mark.parametrize(
    ("form", "folder"),
    [(Form.FILES, "."), (Form.ARCHIVED_FILES, "archive/experiment_id=e/files/room_id=a")],
)
@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"x.mp4": b"b" * 2000, "y.mp4": b"a" * 1000}, ""),
        ({"x.mp4": b"b" * 2000}, "1 files, not 2"),
        ({"x.mp4": b"b" * 1999, "y.mp4": b"a" * 1000}, "files that differ"),
        ({"x.mp4": b"b" * 1999 + b"c", "y.mp4": b"a" * 1000}, "files that differ"),
    ],
    ids=["right under other names", "one missing", "one cut short", "one byte altered"],
)
def test_files_are_compared_by_their_bytes(
    form: Form, folder: str, files: dict[str, bytes], why: str, tmp_path: Path, out: Path
) -> None:
    leave_files(out / "place" if folder == "." else out / folder, files)
    assert wrong(form, out, expected(tmp_path)) == why
