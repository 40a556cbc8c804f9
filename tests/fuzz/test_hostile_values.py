"""Addresses, ids, rows and settings as nobody meant them: refused in clear words, or safe to use."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from configured import Place, new_place
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from hsmirror.api.addresses import is_sendable, parse_address
from hsmirror.api.data_types import DATA_TYPES
from hsmirror.api.envelope import parse_document, parse_page
from hsmirror.api.rows import parse_row, row_id
from hsmirror.api.signatures import without_signatures
from hsmirror.archive.layout import (
    Layout,
    document_path,
    file_path,
    is_own_path,
    shard_path,
    sidecar_path,
)
from hsmirror.errors import ConfigurationError, CorruptError, RefusedAddressError
from hsmirror.mirror.recordings import parse_recording
from hsmirror.mirror.room_states import room_state
from hsmirror.settings.example import example as example_configuration
from hsmirror.settings.quantities import parse_duration, parse_rate, parse_size

# --- addresses --------------------------------------------------------------------------------------------
PIECES = st.lists(
    st.sampled_from(
        [
            "https://",
            "http://",
            "HTTPS:",
            "file:",
            "//",
            "127.0.0.1",
            "localhost",
            "\uff11\uff12\uff17.0.0.1",
            "ⓛocalhost",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "10.0.0.1",
            "0x7f.1",
            "2130706433",
            "169.254.169.254",
            "storage.example.com",
            "a..b",
            "x" * 64,
            ".",
            ":",
            ":0",
            ":99999",
            "@",
            "\\",
            "/",
            "?",
            "#",
            "%2e",
            "%00",
            "\x00",
            "\r\n",
            " ",
            "\t",
            "\ud800",
            "é",
            "X-Goog-Date=20260101T000000Z&X-Goog-Expires=9e9",
            "Expires=99999999999",
        ]
    ),
    max_size=6,
).map("".join)


@given(
    text=st.one_of(PIECES, PIECES.map("https://storage.example.com".__add__), PIECES.map("https://".__add__))
)
@example(text="https://storage.example.com/a b")
@example(text="https://storage.example.com/a\r\nX-Evil: 1")
@example(text="https://storage.example.com/\x00")
@example(text="https://storage.example.com/\ud800")
@example(text="https://a..example.com/")
@example(text=f"https://{'x' * 64}.example.com/")
@example(text="https://\uff11\uff12\uff17.0.0.1/")
def test_fault_39_an_address_that_is_taken_can_be_sent_to_the_very_host_that_was_judged(text: str) -> None:
    try:
        address = parse_address(text)
    except RefusedAddressError as error:
        str(error).encode()
        assert str(error).isprintable()
        return
    revealed = address.url.reveal()
    assert is_sendable(revealed)
    url = URL(revealed, encoded=True)
    assert url.scheme == "https"
    assert (url.raw_host or "").lower() == address.host
    assert url.user is None
    address.host.encode("idna")
    url.raw_path_qs.encode()


# --- rows -------------------------------------------------------------------------------------------------
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
).filter(lambda value: "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value))
FIELD_NAMES = (
    "id",
    "recordingId",
    "egressId",
    "messageId",
    "roomId",
    "sessionId",
    "metadata",
    "status",
    "fileSize",
    "format",
    "startTime",
    "downloadUrl",
    "downloadPath",
    "url",
)
LINKS = st.sampled_from(
    ["http://[::1", "https://[v1.x]/", "//", "https://h.example.com/a.MP4?x", "\ud800", "?"]
)
ANY_ROW = st.dictionaries(st.sampled_from(FIELD_NAMES), JSON | LINKS, max_size=6)


@given(row=ANY_ROW, data_type=st.sampled_from(sorted(DATA_TYPES)))
@example(row={"id": "\ud800", "roomId": "a\udfff"}, data_type="events")
@example(row={"id": 10**30}, data_type="events")
def test_fault_58_whatever_names_a_row_can_be_written_down(row: dict[str, Any], data_type: str) -> None:
    kind = DATA_TYPES[data_type]
    page = parse_page(json.dumps({"data": [row], "metadata": row}).encode(), kind)
    msgspec.json.encode((page.ids, page.rooms, page.warnings))
    assert json.loads(bytes(page.rows[0])) == row
    assert row_id(bytes(page.rows[0]), kind) == page.ids[0]
    path = shard_path("e", data_type, page.rooms[0], 0, "gzip")
    assert is_own_path(path)


@given(row=ANY_ROW)
@example(row={"status": {}})
@example(row={"downloadUrl": "http://[::1"})
@example(row={"downloadUrl": "http://[::1", "downloadPath": "recordings/1/download"})
@example(row={"recordingId": "\ud800", "startTime": "\ud800"})
def test_fault_38_and_39_any_row_is_a_recording_that_can_be_written_down(row: dict[str, Any]) -> None:
    for loopback_allowed in (True, False):
        recording = parse_recording(
            json.dumps(row).encode(),
            experiment="e",
            room=None,
            skew_seconds=0.0,
            loopback_allowed=loopback_allowed,
        )
        assert recording is not None
        assert is_own_path(recording.path())
        msgspec.json.encode(
            (
                recording.recording_id,
                recording.source,
                recording.refusal,
                recording.status,
                recording.object_kind,
                recording.said,
                recording.started_at,
            )
        )
        path = recording.mint_path or ""
        assert "://" not in path
        assert ".." not in path.split("/")


@given(row=st.dictionaries(st.sampled_from(["status", "endedAt", "completedAt", "updatedAt"]), JSON))
@example(row={"status": "ended", "endedAt": 10**400})
@example(row={"status": "ended", "endedAt": "0001-01-01T00:00:00+23:59"})
@example(row={"status": "ended", "endedAt": -1, "updatedAt": 1e300})
def test_any_row_of_a_room_tells_a_time_or_none(row: dict[str, Any]) -> None:
    finished_at = room_state(json.dumps(row).encode()).finished_at
    assert finished_at is None or math.isfinite(finished_at)


@given(value=JSON)
@example(value={"name": "\ud800"})
@example(value="\\\ud800")
def test_fault_58_what_is_made_of_a_document_can_be_written_down_and_its_bytes_are_what_came(
    value: Any,
) -> None:
    data, document = parse_document(json.dumps({"status": "success", "data": value}).encode())
    msgspec.json.encode(data)
    assert json.loads(document) == value


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b'"\\ud800"', "\ufffd"),
        (b'"\\\\ud800\\ud800"', "\\ud800\ufffd"),
        (b'"\\ud83d\\ude00\\udfff"', "😀\ufffd"),
        (b'"\\ude00\\ud83d"', "\ufffd\ufffd"),
        (b'"\\uD83D\\uDE00\\uD83D"', "😀\ufffd"),
    ],
)
def test_fault_58_half_a_surrogate_pair_is_read_as_a_mark_and_a_whole_one_as_itself(
    text: bytes, read: str
) -> None:
    assert parse_row(text) == read


@given(row=st.text(max_size=30) | JSON.map(json.dumps))
def test_a_row_is_values_or_corrupt(row: str) -> None:
    raw = row.encode("utf-8", "replace")
    try:
        msgspec.json.encode(parse_row(raw))
    except CorruptError:
        with pytest.raises((ValueError, RecursionError)):
            json.loads(raw, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


@given(
    row=PIECES.map(lambda text: json.dumps({"url": f"https://h.example.com/{text}?X-Amz-Signature=abc&x=y"}))
)
def test_fault_62_no_signature_is_left_in_a_row_whatever_its_address(row: str) -> None:
    cut = without_signatures(row.encode(), always=True)
    json.loads(cut)
    assert b"X-Amz-Signature=" not in cut


# --- ids → paths ------------------------------------------------------------------------------------------
IDS = st.one_of(
    st.text(max_size=10),
    st.text("aA.-_%~= /\\é\x00", max_size=6),
    st.sampled_from(
        ["..", "receipts", "archive.json", "SHA256SUMS", ".hsmirror", "x" * 5000, "é" * 100, "CON"]
    ),
)


@given(
    experiment=IDS, room=st.none() | IDS, recording=IDS, extension=st.text(max_size=6), twin=st.integers(0, 3)
)
def test_fault_45_every_path_that_is_made_is_one_that_is_followed(
    experiment: str, room: str | None, recording: str, extension: str, twin: int
) -> None:
    """What `is_own_path` admits and what the layout makes are the same thing, so that no receipt is refused."""
    layout = Layout(Path("/archive"))
    for path in (
        shard_path(experiment, "ratings/continuous", room, 7, "zstd"),
        sidecar_path(experiment, "variables", room),
        document_path(experiment, "experiment.json"),
        file_path(experiment, room, recording, extension, twin),
    ):
        assert is_own_path(path)
        assert layout.root in layout.absolute(path).parents
        assert layout.superseded in layout.superseded_path("20260101T000000Z-aaaa", path).parents
        assert ".." not in layout.absolute(path).parts


@given(
    places=st.lists(
        st.tuples(IDS, st.sampled_from(["events", "chat"]), st.none() | IDS),
        min_size=2,
        max_size=4,
        unique=True,
    )
)
def test_fault_45_no_two_shelves_meet_not_even_where_case_is_ignored(
    places: list[tuple[str, str, str | None]],
) -> None:
    paths = {shard_path(experiment, kind, room, 0, "gzip").casefold() for experiment, kind, room in places}
    assert len(paths) == len(places)


# --- configuration ----------------------------------------------------------------------------------------
TOML_VALUES = st.sampled_from(
    [
        '""',
        '"x"',
        "1",
        "-1",
        "1e400",
        "nan",
        "0x7f",
        "true",
        "[]",
        "{}",
        "[[]]",
        "2026-01-01",
        "07:30:00",
        '"\\u0000"',
        '"9w9d"',
        '"999999999999999TB"',
        '"https://[::1"',
        '"hst_live_' + "a" * 64 + '"',
        "'''\n'''",
        "[" * 500 + "]" * 500,
    ]
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path)


@st.composite
def configurations(draw: st.DrawFn) -> bytes:
    """The example with values replaced, lines doubled, left out or garbled."""
    lines = example_configuration().splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        name = lines[at].partition("=")[0]
        action = draw(st.integers(0, 3))
        if action == 0:
            lines[at] = f"{name.lstrip('#')}= {draw(TOML_VALUES)}"
        elif action == 1:
            lines.insert(at, lines[at])
        elif action == 2:
            del lines[at]
        else:
            lines[at] = draw(st.text(max_size=8)) + lines[at]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@given(content=configurations())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_to_the_example_is_settings_or_one_clear_line(place: Place, content: bytes) -> None:
    try:
        loaded = place.load(content)
    except ConfigurationError as error:
        text = str(error)
        text.encode()
        assert "hsmirror.toml" in text
        assert text.isprintable()
        assert "hst_live_a" not in text
        return
    assert loaded.archive.shard_size_bytes >= 1
    assert loaded.archive.recheck_seconds >= 0
    assert loaded.archive.file_mode & 0o700 == 0o600


@given(text=st.text("0123456789.wdhms kKMGTiBb/-+eE", max_size=14))
@example(text="1w1d1h1m1s")
@example(text="٣h")
@example(text="1" * 5000 + "s")
def test_a_quantity_is_a_sane_number_or_refused(text: str) -> None:
    for parse, least in ((parse_duration, 0.0), (parse_size, 1), (parse_rate, 1.0)):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value is None or least <= value < 1e30
