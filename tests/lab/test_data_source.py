"""The lab's data as a source: scopes, pages, filters, orders, files, the ledger, and changes."""

from __future__ import annotations

import base64
import hashlib
import json
import tracemalloc
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from hsmirror.errors import StorageError, UsageError
from hsmirror.lab.data import LabShape, MadeUpSource
from hsmirror.model import Scope
from hsmirror.serve.source import Page, Query

EXPERIMENT = "exp_research_001"
EVERYTHING = 1_000_000
THREE_SCOPES = (
    "chat",
    "components",
    "events",
    "eyetracking",
    "ratings/continuous",
    "ratings/sparse",
    "recordings",
    "sync",
    "videochat",
)


@pytest.fixture
def source(tmp_path: Path) -> MadeUpSource:
    return MadeUpSource(LabShape(rooms=6), tmp_path)


async def page_of(source: MadeUpSource, data_type: str, scope: Scope, scope_id: str, **query: Any) -> Page:
    page = await source.data(Query(data_type, scope, scope_id, **({"limit": EVERYTHING} | query)))
    assert page is not None
    return page


async def events_of(source: MadeUpSource, **query: Any) -> list[dict[str, Any]]:
    page = await page_of(source, "events", Scope.EXPERIMENT, EXPERIMENT, **query)
    assert page.total == len(page.rows)
    return [json.loads(row) for row in page.rows]


def ledger(source: MadeUpSource, data_type: str) -> Counter[bytes]:
    return Counter(text for _, text in source.ledger_rows(EXPERIMENT, data_type))


def epoch(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


# --- the same shape, the same data ----------------------------------------------------------------
def test_one_shape_gives_the_same_bytes_wherever_reading_starts(tmp_path: Path) -> None:
    shape = LabShape(seed=7, big_numbers=True)
    one, other = (MadeUpSource(shape, tmp_path / name) for name in ("one", "other"))
    for data_type in reversed(THREE_SCOPES):
        list(other.ledger_rows(EXPERIMENT, data_type))
    for data_type in THREE_SCOPES:
        assert list(one.ledger_rows(EXPERIMENT, data_type)) == list(other.ledger_rows(EXPERIMENT, data_type))
    assert list(one.ledger_files(EXPERIMENT)) == list(other.ledger_files(EXPERIMENT))


def test_another_seed_gives_other_data(tmp_path: Path) -> None:
    one, other = (MadeUpSource(LabShape(seed=seed), tmp_path / str(seed)) for seed in (1, 2))
    assert one.room_ids(EXPERIMENT)[1:] != other.room_ids(EXPERIMENT)[1:]
    same = ledger(one, "events") & ledger(other, "events")
    assert {json.loads(text)["sessionId"] for text in same} <= {"room_abc123"}
    assert same.total() < 10


# --- scopes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("data_type", THREE_SCOPES)
async def test_rooms_and_people_add_up_to_the_experiment(data_type: str, source: MadeUpSource) -> None:
    expected = ledger(source, data_type)
    whole = await page_of(source, data_type, Scope.EXPERIMENT, EXPERIMENT)
    by_room: Counter[bytes] = Counter()
    for room_id in source.room_ids(EXPERIMENT):
        by_room.update((await page_of(source, data_type, Scope.ROOM, room_id)).rows)
    people = await page_of(source, "participants", Scope.EXPERIMENT, EXPERIMENT)
    by_person: Counter[bytes] = Counter()
    for person_id in {json.loads(row)["participantId"] for row in people.rows}:
        by_person.update((await page_of(source, data_type, Scope.PARTICIPANT, person_id)).rows)
    assert whole.total == expected.total() > 0
    assert Counter(whole.rows) == by_room == by_person == expected


async def test_a_persons_rows_in_one_room_are_theirs_alone(source: MadeUpSource) -> None:
    page = await page_of(source, "chat", Scope.PARTICIPANT, "user_xyz789", room_id="room_abc123")
    whole = await page_of(source, "chat", Scope.ROOM, "room_abc123")
    assert page.rows == [row for row in whole.rows if json.loads(row)["senderId"] == "user_xyz789"]
    assert 0 < len(page.rows) < len(whole.rows)


async def test_counts_are_those_of_the_lists(source: MadeUpSource) -> None:
    counts = await source.counts("user_xyz789", "room_abc123")
    assert counts is not None
    assert set(counts) == set(THREE_SCOPES)
    for data_type, count in counts.items():
        page = await page_of(
            source, data_type, Scope.PARTICIPANT, "user_xyz789", room_id="room_abc123", limit=1
        )
        assert page.total == count


async def test_unknown_ids_give_none(source: MadeUpSource) -> None:
    for scope in (Scope.EXPERIMENT, Scope.ROOM, Scope.PARTICIPANT):
        assert await source.data(Query("events", scope, "nobody")) is None
    assert await source.data(Query("events", Scope.PARTICIPANT, "user_xyz789", "no_room")) is None
    assert await source.data(Query("no-such-type", Scope.EXPERIMENT, EXPERIMENT)) is None
    assert await source.counts("nobody", "room_abc123") is None
    assert await source.experiment("exp") is None
    assert await source.experiment_config("exp") is None
    assert await source.experiment_export("exp") is None
    assert await source.deployment("dep") is None
    assert await source.deployment_sessions("dep") is None


@pytest.mark.parametrize(
    ("data_type", "scope", "scope_id"),
    [
        ("rooms", Scope.ROOM, "room_abc123"),
        ("participants", Scope.PARTICIPANT, "user_xyz789"),
        ("variables", Scope.EXPERIMENT, EXPERIMENT),
        ("agent-runs", Scope.ROOM, "room_abc123"),
    ],
)
async def test_a_scope_that_a_type_lacks_gives_none(
    data_type: str, scope: Scope, scope_id: str, source: MadeUpSource
) -> None:
    assert await source.data(Query(data_type, scope, scope_id)) is None


async def test_onsets_count_from_the_start_that_a_page_names(source: MadeUpSource) -> None:
    page = await page_of(source, "events", Scope.ROOM, source.room_ids(EXPERIMENT)[2])
    assert page.experiment_started_at is not None
    for row in map(json.loads, page.rows):
        passed_ms = (epoch(row["timestamp"]) - epoch(page.experiment_started_at)) * 1000
        assert passed_ms == pytest.approx(row["onset"], abs=0.01)


async def test_an_experiment_without_rooms_has_empty_lists(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(rooms=0), tmp_path)
    for sort in ("timestamp", "onset"):
        page = await page_of(source, "events", Scope.EXPERIMENT, EXPERIMENT, sort=sort)
        assert (list(page.rows), page.total) == ([], 0)


# --- pages, orders, filters -----------------------------------------------------------------------
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", [None, "timestamp", "onset"])
@pytest.mark.parametrize("limit", [1, 7, 100, 719])
async def test_pages_put_together_are_the_list(
    limit: int, sort: str | None, descending: bool, source: MadeUpSource
) -> None:
    order = {"sort": sort, "descending": descending}
    whole = await page_of(source, "events", Scope.EXPERIMENT, EXPERIMENT, **order)
    rows: list[bytes] = []
    while len(rows) < whole.total:
        page = await page_of(
            source, "events", Scope.EXPERIMENT, EXPERIMENT, offset=len(rows), limit=limit, **order
        )
        assert page.total == whole.total
        assert len(page.rows) == min(limit, whole.total - len(rows))
        rows += page.rows
    assert rows == whole.rows


async def test_beyond_the_end_there_is_an_empty_page(source: MadeUpSource) -> None:
    page = await page_of(source, "events", Scope.EXPERIMENT, EXPERIMENT, offset=720)
    assert (list(page.rows), page.total) == ([], 720)


@pytest.mark.parametrize("descending", [False, True])
async def test_lists_go_by_time_across_rooms_that_overlap(descending: bool, source: MadeUpSource) -> None:
    rows = await events_of(source, descending=descending)
    keys = [row["timestamp"] for row in rows]
    assert keys == sorted(keys, reverse=descending)
    changes = sum(a["sessionId"] != b["sessionId"] for a, b in pairwise(rows))
    assert changes > len(source.room_ids(EXPERIMENT)) - 1, "no room overlaps another"


@pytest.mark.parametrize("descending", [False, True])
async def test_lists_go_by_onset_across_all_rooms(descending: bool, source: MadeUpSource) -> None:
    keys = [row["onset"] for row in await events_of(source, sort="onset", descending=descending)]
    assert keys == sorted(keys, reverse=descending)


async def test_recordings_go_by_their_start(source: MadeUpSource) -> None:
    page = await page_of(source, "recordings", Scope.EXPERIMENT, EXPERIMENT, sort="startTime")
    keys = [json.loads(row)["startTime"] for row in page.rows]
    assert keys == sorted(keys)


async def test_a_time_range_takes_its_start_and_leaves_its_end(source: MadeUpSource) -> None:
    rows = await events_of(source)
    start, end = rows[200]["timestamp"], rows[500]["timestamp"]
    expected = [row for row in rows if start <= row["timestamp"] < end]
    assert await events_of(source, start=epoch(start), end=epoch(end)) == expected
    assert rows[200] in expected
    assert rows[500] not in expected


async def test_a_time_range_holds_to_the_millisecond(source: MadeUpSource) -> None:
    rows = await events_of(source)
    for row in rows[::20]:
        moment = epoch(row["timestamp"])
        found = await events_of(source, start=moment, end=moment + 0.001)
        assert found == [other for other in rows if other["timestamp"] == row["timestamp"]]


async def test_categories_rooms_and_deployments_narrow_a_list(source: MadeUpSource) -> None:
    rows = await events_of(source)
    assert await events_of(source, category="media") == [row for row in rows if row["category"] == "media"]
    room_id = source.room_ids(EXPERIMENT)[3]
    assert await events_of(source, room_id=room_id) == [row for row in rows if row["sessionId"] == room_id]
    parts = [await events_of(source, deployment_id=name) for name in ("dep_001", "dep_002")]
    assert all(parts)
    assert len(parts[0]) + len(parts[1]) == len(rows)
    assert await events_of(source, deployment_id="dep_009") == []


async def test_what_was_dropped_for_want_of_space_is_made_again_alike(tmp_path: Path) -> None:
    roomy, tight = MadeUpSource(LabShape(), tmp_path), MadeUpSource(LabShape(), tmp_path, kept_bytes=1)
    for offset in (0, 250, 0):
        pages = [
            await page_of(each, "events", Scope.EXPERIMENT, EXPERIMENT, offset=offset, limit=200)
            for each in (roomy, tight)
        ]
        assert pages[0] == pages[1]


async def test_five_thousand_rooms_start_in_little_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        source = MadeUpSource(LabShape(rooms=5000, events_per_room=12), tmp_path)
        page = await page_of(source, "events", Scope.EXPERIMENT, EXPERIMENT, offset=30_000, limit=1000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (page.total, len(page.rows)) == (60_000, 1000)
    assert peak_bytes < 40 << 20


# --- types that come whole ------------------------------------------------------------------------
async def test_variables_come_whole_with_their_timeline(source: MadeUpSource) -> None:
    page = await page_of(source, "variables", Scope.ROOM, "room_abc123", limit=1)
    assert len(page.rows) == page.total == 12
    assert page.extra is not None
    assert set(page.extra) == {"timeline", "variableNames", "matrixColumns", "droppedWrites", "mode"}
    assert page.extra["variableNames"] == ["condition", "shared_rating", "partner_ready"]
    assert page.extra["timeline"][-1].keys() == set(page.extra["matrixColumns"])


async def test_agent_decisions_are_cut_by_room_and_say_so(source: MadeUpSource) -> None:
    whole = await page_of(source, "agent-decisions", Scope.EXPERIMENT, EXPERIMENT)
    assert (len(whole.rows), whole.total, whole.extra) == (18, 18, None)
    cut = await page_of(source, "agent-decisions", Scope.EXPERIMENT, EXPERIMENT, limit=2)
    assert (len(cut.rows), cut.extra) == (12, {"truncated": True})
    room = await page_of(source, "agent-decisions", Scope.ROOM, "room_abc123", limit=2)
    assert [json.loads(row)["_type"] for row in room.rows] == ["decision", "decision", "run"]
    assert room.extra == {"truncated": True}


async def test_agent_runs_come_one_a_room(source: MadeUpSource) -> None:
    page = await page_of(source, "agent-runs", Scope.EXPERIMENT, EXPERIMENT, limit=1)
    assert Counter(page.rows) == ledger(source, "agent-runs")
    assert page.total == 6


# --- experiments and deployments ------------------------------------------------------------------
async def test_experiments_are_listed_by_owner_searched_and_paged(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(experiments=3, shared_experiments=2, rooms=1), tmp_path)

    async def listed(**query: Any) -> tuple[list[str], int]:
        given = {"search": None, "offset": 0, "limit": 50, "shared": False} | query
        page = await source.experiments(**given)
        return [json.loads(row)["id"] for row in page.rows], page.total

    own = ["exp_research_001", "exp_research_002", "exp_research_003"]
    shared = ["exp_shared_001", "exp_shared_002"]
    assert await listed() == (own, 3)
    assert await listed(shared=True) == (shared, 2)
    assert await listed(offset=1, limit=1) == (own[1:2], 3)
    assert await listed(search="STUDY 2") == (own[1:2], 1)
    assert source.experiment_ids() == own + shared


async def test_an_experiment_counts_its_rooms_and_people(source: MadeUpSource) -> None:
    row = json.loads(await source.experiment(EXPERIMENT) or b"null")
    people = await page_of(source, "participants", Scope.EXPERIMENT, EXPERIMENT)
    assert row["roomCount"] == 6
    assert row["participantCount"] == len({json.loads(person)["participantId"] for person in people.rows})
    assert list(row["roles"]) == ["participant_a", "participant_b"]
    config = json.loads(await source.experiment_config(EXPERIMENT) or b"null")
    export = json.loads(await source.experiment_export(EXPERIMENT) or b"null")
    assert export["experiment"] == config
    assert config["id"] == EXPERIMENT


async def test_deployments_share_out_the_rooms(source: MadeUpSource) -> None:
    page = await source.deployments(experiment_id=EXPERIMENT, status=None)
    deployment_ids = [json.loads(row)["id"] for row in page.rows]
    sessions: list[bytes] = []
    for deployment_id, row in zip(deployment_ids, page.rows, strict=True):
        assert await source.deployment(deployment_id) == row
        listed = await source.deployment_sessions(deployment_id)
        assert listed is not None
        sessions += listed.rows
    assert [json.loads(row)["id"] for row in sessions] == source.room_ids(EXPERIMENT)
    assert Counter(sessions) == ledger(source, "sessions")
    assert Counter(page.rows) == ledger(source, "deployments")
    active = await source.deployments(experiment_id=None, status="active")
    assert [json.loads(row)["name"] for row in active.rows] == ["Main Study"]


# --- files ----------------------------------------------------------------------------------------
async def test_files_are_made_on_demand_as_their_rows_and_the_ledger_say(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(rooms=2), tmp_path / "files")
    assert not (tmp_path / "files").exists()
    rows = [json.loads(text) for _, text in source.ledger_rows(EXPERIMENT, "recordings")]
    for row, expected in zip(rows, source.ledger_files(EXPERIMENT), strict=True):
        file = await source.recording_file(row["roomId"], row["recordingId"])
        assert file is not None
        held = file.path.read_bytes()
        assert len(held) == file.size_bytes == expected.size_bytes == row.get("fileSize", len(held))
        assert hashlib.sha256(held).hexdigest() == expected.sha256
        assert base64.b64decode(file.md5_base64) == hashlib.md5(held).digest()
        assert base64.b64decode(file.crc32c_base64) == google_crc32c.value(held).to_bytes(4, "big")
        assert (file.recording_id, file.room_id) == (expected.recording_id, expected.room_id)
        assert file.media_type == {"mp4": "video/mp4", "webm": "audio/webm"}[row["format"]]
        assert file.path.suffix == f".{row['format']}"


async def test_a_file_is_made_once(source: MadeUpSource) -> None:
    first = await source.recording_file("room_abc123", "rec_abc123")
    assert first is not None
    first.path.unlink()
    assert await source.recording_file("room_abc123", "rec_abc123") == first
    assert not first.path.exists()


async def test_files_have_the_size_that_was_asked_for(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(rooms=1, recording_bytes=50_000), tmp_path)
    assert [file.size_bytes for file in source.ledger_files(EXPERIMENT)] == [50_000, 50_000]
    assert len({file.sha256 for file in source.ledger_files(EXPERIMENT)}) == 2


async def test_there_is_no_file_of_another_room_or_of_a_recording_that_goes_on(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(rooms=2, last_room_active=True), tmp_path)
    first_room, last_room = source.room_ids(EXPERIMENT)
    *_, (_, last) = source.ledger_rows(EXPERIMENT, "recordings")
    assert await source.recording_file(last_room, json.loads(last)["recordingId"]) is None
    assert await source.recording_file(last_room, "rec_abc123") is None
    assert await source.recording_file("no_room", "rec_abc123") is None
    assert await source.recording_file(first_room, "rec_abc123") is not None
    assert len(list(source.ledger_files(EXPERIMENT))) == 3


async def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    source = MadeUpSource(LabShape(), blocked)
    with pytest.raises(StorageError, match="blocked"):
        await source.recording_file("room_abc123", "rec_abc123")


# --- shapes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"rooms": -1}, "rooms"),
        ({"experiments": 0}, "experiments"),
        ({"participants": 0}, "participants"),
        ({"room_field": "older"}, "room_field"),
        ({"recording_seconds": 0.0}, "recording_seconds"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        LabShape(**given)


def test_recordings_too_small_to_be_any_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="smallest"):
        MadeUpSource(LabShape(recording_bytes=10), tmp_path)


# --- changes --------------------------------------------------------------------------------------
@pytest.mark.parametrize("data_type", [*THREE_SCOPES, "variables", "agent-decisions"])
def test_late_rows_join_and_leave_the_others_as_they_were(data_type: str, source: MadeUpSource) -> None:
    before = ledger(source, data_type)
    source.add_rows(EXPERIMENT, "room_abc123", data_type, 5)
    after = ledger(source, data_type)
    assert before <= after
    assert after.total() == before.total() + 5


async def test_late_rows_shift_the_pages_behind_them(source: MadeUpSource) -> None:
    before = await page_of(source, "events", Scope.EXPERIMENT, EXPERIMENT)
    source.add_rows(EXPERIMENT, "room_abc123", "events", 5)
    after = await page_of(source, "events", Scope.EXPERIMENT, EXPERIMENT)
    assert after.total == before.total + 5
    assert after.rows[500:505] == before.rows[495:500]


async def test_deleted_rows_are_gone_and_late_ones_get_no_id_anew(source: MadeUpSource) -> None:
    before = [text for room, text in source.ledger_rows(EXPERIMENT, "events") if room == "room_abc123"]
    source.delete_rows(EXPERIMENT, "room_abc123", "events", 100)
    source.add_rows(EXPERIMENT, "room_abc123", "events", 7)
    page = await page_of(source, "events", Scope.ROOM, "room_abc123")
    assert page.total == 27
    assert set(before[100:]) < set(page.rows)
    assert not set(before[:100]) & set(page.rows)
    assert len({json.loads(row)["id"] for row in page.rows}) == 27
    source.delete_rows(EXPERIMENT, "room_abc123", "events", 1000)
    assert (await page_of(source, "events", Scope.ROOM, "room_abc123")).total == 0


async def test_a_deleted_recording_has_no_file(source: MadeUpSource) -> None:
    source.delete_rows(EXPERIMENT, "room_abc123", "recordings", 1)
    assert await source.recording_file("room_abc123", "rec_abc123") is None
    assert next(file.recording_id for file in source.ledger_files(EXPERIMENT)) == "rec_abc123_1"


async def test_a_new_room_comes_last_and_ends_the_one_that_was_running(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(rooms=2, last_room_active=True), tmp_path)
    earlier = source.room_ids(EXPERIMENT)
    room_id = source.add_room(EXPERIMENT)
    assert source.room_ids(EXPERIMENT) == [*earlier, room_id]
    page = await page_of(source, "rooms", Scope.EXPERIMENT, EXPERIMENT)
    assert [json.loads(row)["status"] for row in page.rows] == ["completed", "completed", "active"]
    assert (await page_of(source, "events", Scope.ROOM, room_id)).total == 120


@pytest.mark.parametrize("data_type", ["rooms", "participants", "agent-runs", "moods"])
def test_what_cannot_change_is_refused_by_name(data_type: str, source: MadeUpSource) -> None:
    with pytest.raises(UsageError, match=data_type):
        source.add_rows(EXPERIMENT, "room_abc123", data_type, 1)
    with pytest.raises(UsageError, match=data_type):
        source.delete_rows(EXPERIMENT, "room_abc123", data_type, 1)


def test_changes_to_what_is_not_there_are_refused_by_name(source: MadeUpSource) -> None:
    with pytest.raises(UsageError, match="exp_nowhere"):
        source.add_room("exp_nowhere")
    with pytest.raises(UsageError, match="room_nowhere"):
        source.add_rows(EXPERIMENT, "room_nowhere", "events", 1)


async def test_a_room_that_was_removed_is_nowhere_any_more(tmp_path: Path) -> None:
    source = MadeUpSource(LabShape(rooms=3), tmp_path)
    (experiment,) = source.experiment_ids()
    gone, *left = source.room_ids(experiment)
    source.remove_room(experiment, gone)
    assert source.room_ids(experiment) == left
    assert {room for room, _ in source.ledger_rows(experiment, "events")} == set(left)
    with pytest.raises(UsageError, match=gone):
        source.add_rows(experiment, gone, "events", 1)
