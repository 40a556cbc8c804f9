"""Names of files: safe everywhere, reversible, and never the same for two ids."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsmirror.archive.layout import (
    NO_ROOM,
    SUFFIXES,
    Layout,
    decode_id,
    document_path,
    encode_id,
    experiment_folder,
    file_path,
    is_own_folder,
    room_folder,
    shard_path,
    sidecar_path,
    type_folder,
)

LONGEST_NAME_BYTES = 255
WINDOWS_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{kind}{digit}" for kind in ("com", "lpt") for digit in range(10)),
}
HOSTILE = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "/",
    "\\",
    "a/b",
    "a\x00b",
    "a\nb",
    "-rf",
    ".hidden",
    "trailing.",
    "trailing ",
    "dots...",
    "con",
    "CON",
    "nul.txt",
    "com1",
    "lpt9.x",
    "aux",
    "prn",
    "a=b",
    "room_id=x",
    "100%",
    "%2F",
    "%~",
    "%",
    "~1",
    '*?"<>|:',
    "caf\u00e9",
    unicodedata.normalize("NFD", "caf\u00e9"),
    "\ud800",
    "\ud83d\ude00",
    "😀",
    "x" * 300,
    "X" * 300,
    "é" * 300,
    "x" * 299 + "y",
    "__HIVE_DEFAULT_PARTITION__",
    "__hive_default_partition__",
    ".hsmirror",
    "part-00000.ndjson.gz",
    "\u202e",
]
IDS = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(), min_size=60, max_size=320),
    st.text("aA.-_%~= /\\é", max_size=8),
    st.sampled_from(HOSTILE),
)


@given(text=IDS)
def test_fault_45_a_name_is_reversible_or_admits_that_it_is_not(text: str) -> None:
    name = encode_id(text)
    decoded = decode_id(name)
    if "%~" in name:
        assert decoded is None
        assert len(text.encode("utf-8", "surrogatepass")) > 60
    else:
        assert decoded == text


@pytest.mark.parametrize("text", HOSTILE)
def test_fault_45_every_hostile_id_comes_back(text: str) -> None:
    name = encode_id(text)
    assert decode_id(name) == text or (len(text) >= 299 and decode_id(name) is None)


@given(text=IDS)
def test_other_readers_decode_a_name_as_percent_encoding(text: str) -> None:
    """DuckDB and Spark undo percent codes in the values of Hive-style folders."""
    name = encode_id(text)
    if "%~" not in name and name != "%" and text.isprintable():
        assert unquote(name) == text


@given(text=IDS)
@example(text="x" * 200)
@example(text="é" * 40)
def test_fault_45_a_name_is_safe_on_every_file_system(text: str) -> None:
    name = encode_id(text)
    assert re.fullmatch(r"[a-z0-9_.%~A-F-]+", name)
    assert name[0] not in ".-"
    assert name[-1] != "."
    assert name.partition(".")[0] not in WINDOWS_DEVICES
    assert PurePosixPath(name).name == name
    for whole in (f"room_id={name}", f"experiment_id={name}", f"{name}~12.abcdefgh.superseded.staged"):
        assert len(whole.encode()) <= LONGEST_NAME_BYTES


def same_on_disk(name: str) -> str:
    """What a file system that ignores case and normalises Unicode makes of a name."""
    return unicodedata.normalize("NFC", name).casefold()


@given(ids=st.lists(IDS, min_size=2, max_size=6, unique=True))
@example(ids=["a", "A"])
@example(ids=["caf\u00e9", "cafe\u0301"])
@example(ids=["%41", "A"])
@example(ids=["x" * 300, "x" * 299 + "y", "X" * 300])
@example(ids=["", "%"])
@example(ids=["ß", "ss", "SS"])
def test_fault_45_no_two_ids_meet_not_even_where_case_is_ignored(ids: list[str]) -> None:
    assert len({same_on_disk(encode_id(text)) for text in ids}) == len(ids)


@given(text=IDS, case=st.sampled_from([str.upper, str.lower, str.swapcase, str.title]))
def test_fault_45_case_twins_do_not_meet(text: str, case: object) -> None:
    twin = case(text)  # type: ignore[operator]  # a method of str
    assert (same_on_disk(encode_id(twin)) == same_on_disk(encode_id(text))) == (twin == text)


@given(room=IDS)
@example(room="__HIVE_DEFAULT_PARTITION__")
@example(room="__hive_default_partition__")
def test_fault_60_no_room_is_taken_for_the_rows_without_a_room(room: str) -> None:
    assert same_on_disk(room_folder(room)) != same_on_disk(room_folder(None))
    assert room_folder(None) == f"room_id={NO_ROOM}"


def test_paths_are_those_that_the_design_promises() -> None:
    experiment = "exp_research_001"
    assert experiment_folder(experiment) == "experiment_id=exp_research_001"
    assert document_path(experiment, "experiment.json") == "experiment_id=exp_research_001/experiment.json"
    assert type_folder(experiment, "ratings/continuous").endswith("/data_type=ratings_continuous")
    assert shard_path(experiment, "events", "room_abc123", 0, "gzip") == (
        "experiment_id=exp_research_001/data_type=events/room_id=room_abc123/part-00000.ndjson.gz"
    )
    assert shard_path(experiment, "events", None, 12, "zstd").endswith(
        f"/room_id={NO_ROOM}/part-00012.ndjson.zst"
    )
    assert sidecar_path(experiment, "variables", "r").endswith("/data_type=variables/room_id=r/metadata.json")
    assert file_path(experiment, "room_abc123", "rec_abc123", "mp4") == (
        "experiment_id=exp_research_001/files/room_id=room_abc123/rec_abc123.mp4"
    )


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        ("mp4", "mp4"),
        (".MP4", "mp4"),
        ("", "bin"),
        ("../x", "bin"),
        ("a" * 9, "bin"),
        ("tar.gz", "bin"),
        ("é", "bin"),
    ],
)
def test_a_file_without_a_sane_extension_is_bin(extension: str, expected: str) -> None:
    assert file_path("e", "r", "rec", extension).endswith(f"/rec.{expected}")


SHARD_SUFFIXES = tuple(SUFFIXES.values())


@pytest.mark.parametrize(
    ("recording", "extension"), [("rec", "ndjson"), ("rec.ndjson", "gz"), ("rec.ndjson", "zst")]
)
def test_no_recording_file_ends_like_a_shard(recording: str, extension: str) -> None:
    """Nothing but a current shard does, so that one glob never reads anything else."""
    assert not file_path("e", "r", recording, extension).endswith(SHARD_SUFFIXES)


@given(
    files=st.lists(
        st.tuples(IDS, st.sampled_from(["mp4", "webm", "", "bin"]), st.integers(0, 2)),
        min_size=2,
        max_size=5,
        unique=True,
    )
)
def test_no_two_recordings_meet_unless_their_extension_was_none(files: list[tuple[str, str, int]]) -> None:
    distinct = {(recording, extension or "bin", twin) for recording, extension, twin in files}
    paths = {
        same_on_disk(file_path("e", "r", recording, extension, twin)) for recording, extension, twin in files
    }
    assert len(paths) == len(distinct)


def test_what_is_superseded_stays_out_of_every_glob(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    path = shard_path("e", "events", "r", 0, "gzip")
    superseded = layout.superseded_path("run", path)
    assert not superseded.name.endswith(SHARD_SUFFIXES)
    assert layout.superseded in superseded.parents
    assert layout.absolute(path) == tmp_path / "experiment_id=e/data_type=events/room_id=r/part-00000.ndjson.gz"


def test_all_that_is_not_the_archive_itself_lies_in_its_state_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for path in (
        layout.lock,
        layout.staging_of("run"),
        layout.partial_files,
        layout.superseded,
        layout.report("run"),
    ):
        assert tmp_path / ".hsmirror" in path.parents
    assert layout.segment("run") == tmp_path / "receipts/run.jsonl"


@pytest.mark.parametrize("name", ["lost+found", "notes", "@eaDir", ".Trash-1000", "experiment", "receipts.old"])
def test_a_folder_that_the_archive_does_not_make_is_not_its_own(name: str) -> None:
    assert not is_own_folder(name)


def test_the_folders_that_the_archive_makes_in_its_root_are_its_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for name in (layout.receipts.name, layout.state.name, experiment_folder("x"), experiment_folder("")):
        assert is_own_folder(name)
