"""Where a row lies is told by the row: in one room of its own experiment, once, however it came."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from oracle import receipts
from small_api import SmallApi, held, night, page_of, said

from hsmirror.errors import Exit

Row = dict[str, Any]


def event(number: int, room: str | None = "r1", **more: Any) -> Row:
    return {"id": f"e{number}", "participantId": "p1", **({"roomId": room} if room else {}), **more}


def api_of(
    *rows: Row, rooms: tuple[str, ...] = ("r1", "r2"), kind: str = "events", status: str = "active"
) -> SmallApi:
    people = [{"participantId": "p1", "roomId": room} for room in rooms]
    listed = [{"id": room, "status": "active"} for room in rooms]
    return SmallApi({kind: list(rows), "rooms": listed, "participants": people})


def by_room(folder: Path, data_type: str = "events") -> dict[str, list[Row]]:
    """The rows of the tree by the room that they lie in."""
    found: dict[str, list[Row]] = {}
    for shard in sorted((folder / "archive").glob(f"*/data_type={data_type}/*/*.ndjson.gz")):
        room = shard.parent.name.removeprefix("room_id=")
        found.setdefault(room, []).extend(map(json.loads, gzip.decompress(shard.read_bytes()).splitlines()))
    return found


def superseded(folder: Path) -> list[Path]:
    return [path for path in (folder / "archive" / ".hsmirror" / "superseded").rglob("*") if path.is_file()]


# --- the answer to another request -------------------------------------------------------------------
@pytest.mark.parametrize("echo", [{}, {"scope": "room", "scopeId": "r1"}, {"query": {"roomId": "r1"}}])
def test_a_mixed_up_cache_is_trouble_and_asked_again(tmp_path, echo):
    rows = [event(1), event(2, "r2")]
    api, answers = api_of(*rows), [0]

    def mixed(path: str, params: Mapping[str, str]) -> Any:
        if path == "data/events/room/r2" and answers[0] < 2:
            answers[0] += 1
            answer = page_of(rows[:1], params)
            answer["metadata"] |= echo
            return answer
        return None

    api.other = mixed
    report = night(api, tmp_path, "events", rooms=("r2",))
    assert report.exit_status == 0
    assert by_room(tmp_path) == {"r2": [rows[1]]}


def test_an_answer_that_stays_another_requests_is_told_at_last_and_files_nothing(tmp_path):
    api = api_of(event(1), event(2, "r2"))
    api.other = lambda path, params: page_of([event(1)], params) if path.endswith("room/r2") else None
    report = night(api, tmp_path, "events", rooms=("r2",))
    assert report.exit_status == Exit.INCOMPLETE
    assert "another request's" in said(report)
    assert by_room(tmp_path) == {}


def test_another_experiments_definition_is_not_taken(tmp_path):
    api = api_of(event(1))
    other = {"status": "success", "data": {"id": "exp_2", "name": "Other"}}
    api.other = lambda path, params: other if path == "experiments/exp_1" else None
    report = night(api, tmp_path, "events")
    assert report.exit_status == Exit.INCOMPLETE
    assert "exp_2" in said(report)
    assert not (tmp_path / "archive" / "experiment_id=exp_1" / "experiment.json").exists()
    assert held(tmp_path, "events") == [event(1)]


# --- rows of other rooms and experiments -------------------------------------------------------------
def test_rows_of_a_break_out_room_are_filed_there_and_claim_nothing_of_it(tmp_path):
    rows = [event(1), event(2, "r2")]
    api = api_of(*rows)
    api.other = lambda path, params: page_of(rows, params) if path.endswith("room/r1") else None
    report = night(api, tmp_path, "events", rooms=("r1",))
    assert report.exit_status == 0
    assert "rows of room r2; they are filed there" in said(report)
    assert by_room(tmp_path) == {"r1": [rows[0]], "r2": [rows[1]]}
    claims = {
        each["room"]: each.get("complete_for", []) for each in receipts(tmp_path / "archive", kind="shard")
    }
    assert claims == {"r1": [{}], "r2": []}


def test_a_room_that_nobody_knows_is_left_out_with_a_word(tmp_path):
    rows = [event(1), event(2, "elsewhere")]
    api = api_of(*rows)
    api.other = lambda path, params: page_of(rows, params) if path.endswith("room/r1") else None
    report = night(api, tmp_path, "events", rooms=("r1",))
    assert report.exit_status == Exit.INCOMPLETE
    assert "rows of room elsewhere" in said(report)
    assert by_room(tmp_path) == {"r1": [rows[0]]}


def test_a_persons_list_that_looks_at_no_room_files_each_row_once(tmp_path):
    rows = [event(1), event(2, "r2")]
    api = api_of(*rows)
    api.other = lambda path, params: page_of(rows, params) if "/participant/" in path else None
    assert night(api, tmp_path, "events", participants=("p1",)).exit_status == 0
    assert by_room(tmp_path) == {"r1": [rows[0]], "r2": [rows[1]]}


def test_rows_of_another_experiment_are_left_out_and_the_list_is_not_called_whole(tmp_path):
    rows = [event(1, experimentId="exp_1"), event(2, experimentId="exp_2")]
    api = api_of(*rows)
    api.other = lambda path, params: page_of(rows, params) if path == "data/events/experiment/exp_1" else None
    report = night(api, tmp_path, "events")
    assert report.exit_status == Exit.INCOMPLETE
    assert "rows of another experiment came, 'exp_2'" in said(report)
    assert held(tmp_path, "events") == rows[:1]


def test_deployments_of_other_experiments_in_a_users_list_are_left_out_in_silence(tmp_path):
    rows = [{"id": f"d{number}", "experimentId": f"exp_{number}"} for number in (1, 2)]
    api = SmallApi({"events": []})
    api.other = lambda path, params: page_of(rows, params) if path == "deployments" else None
    assert night(api, tmp_path, "deployments").exit_status == 0
    assert held(tmp_path, "deployments") == rows[:1]


# --- rows that move ----------------------------------------------------------------------------------
def moved(kind: str, number: int, room: str) -> Row:
    """A row of a type with ids, or of one without."""
    row = event(number, room, timestamp=f"2026-01-01T00:00:{number:02}Z")
    if kind == "components":
        del row["id"]
    return row


@pytest.mark.parametrize("kind", ["events", "components"])
@pytest.mark.parametrize("is_merged", [False, True])
def test_a_room_that_is_renamed_or_merged_has_its_rows_once(tmp_path, kind, is_merged):
    kept = [moved(kind, number, "new") for number in range(3, 5)] if is_merged else []
    old = [moved(kind, number, "old") for number in range(3)]
    assert night(api_of(*old, *kept, rooms=("old", "new"), kind=kind), tmp_path, kind, "rooms").exit_status == 0
    new = [moved(kind, number, "new") for number in range(3)]
    api = api_of(*new, *kept, rooms=("new",), kind=kind)
    assert night(api, tmp_path, kind, "rooms", days=1).exit_status == 0
    assert sorted(by_room(tmp_path, kind)) == ["new"]
    assert sorted(map(str, held(tmp_path, kind))) == sorted(map(str, [*new, *kept]))
    assert superseded(tmp_path)
    api.requests()
    report = night(api, tmp_path, kind, "rooms", days=2)
    assert report.exit_status == 0
    assert [each.changed_shards for each in report.experiments[0].types] == [0, 0]


def test_rows_that_moved_on_a_night_that_proved_nothing_stand_once_after_the_next(tmp_path):
    night(api_of(*(event(number, "old") for number in range(3)), rooms=("old",)), tmp_path, "events", "rooms")
    new = [event(number, "new") for number in range(3)]
    api = api_of(*new, rooms=("new",))

    def warned(path: str, params: Mapping[str, str]) -> Any:
        answer = page_of(new, params)
        answer["metadata"]["_warnings"] = ["results may be incomplete"]
        return answer if path.startswith("data/events") else None

    api.other = warned
    assert night(api, tmp_path, "events", "rooms", days=1).exit_status == Exit.INCOMPLETE
    assert len(held(tmp_path, "events")) == 6
    api.other = lambda path, params: None
    assert night(api, tmp_path, "events", "rooms", days=2).exit_status == 0
    assert by_room(tmp_path) == {"new": new}


def test_rows_that_move_between_rooms_that_are_read_one_by_one_stand_once(tmp_path):
    where = {"e1": "r1", "e2": "r1", "e3": "r2"}
    api = api_of(kind="ratings/sparse")

    def by_id(path: str, params: Mapping[str, str]) -> Any:
        if not path.startswith("data/ratings/sparse/"):
            return None
        scope, name = path.split("/")[-2:]
        rows = [
            {"ratingId": row, "timestamp": "2026-01-01"}
            for row, room in where.items()
            if scope != "room" or room == name
        ]
        return page_of(rows, params)

    api.other = by_id
    assert night(api, tmp_path, "ratings/sparse", "rooms").exit_status == 0
    where["e2"] = "r2"
    report = night(api, tmp_path, "ratings/sparse", "rooms", days=1)
    assert report.exit_status == 0
    assert {room: len(rows) for room, rows in by_room(tmp_path, "ratings_sparse").items()} == {"r1": 1, "r2": 2}


@pytest.mark.parametrize("is_gone_first", [False, True])
def test_rows_that_a_narrow_run_found_in_their_new_room_leave_the_old_one(tmp_path, is_gone_first):
    """The new room has ended long ago, and is not read again by the run that sees them go."""
    where = {"e1": "old", "e2": "new"}
    api = api_of()
    listed = [{"id": each, "status": "completed", "endedAt": "2020-01-01T00:00:00Z"} for each in ("old", "new")]
    api.rows["rooms"] = listed

    def nameless(path: str, params: Mapping[str, str]) -> Any:
        if not path.startswith("data/events/"):
            return None
        scope, name = path.split("/")[-2:]
        there = [row for row, room in where.items() if scope != "room" or room == name]
        return page_of([{"id": row, "timestamp": "2026-01-01T00:00:00Z"} for row in there], params)

    api.other = nameless
    assert night(api, tmp_path, "events", "rooms").exit_status == 0
    del listed[0]
    if is_gone_first:
        del where["e1"]
        assert night(api, tmp_path, "events", "rooms", days=1).exit_status == 0
    where["e1"] = "new"
    assert night(api, tmp_path, "events", start_time="2026-01-01T00:00:00Z", days=2).exit_status == 0
    assert night(api, tmp_path, "events", "rooms", days=3).exit_status == 0
    assert {room: len(rows) for room, rows in by_room(tmp_path).items()} == {"new": 2}


def test_rows_that_are_gone_and_came_nowhere_else_stay(tmp_path):
    night(api_of(*(event(number) for number in range(3))), tmp_path, "events", "rooms")
    report = night(api_of(event(0), event(9, "r2")), tmp_path, "events", "rooms", days=1)
    assert report.exit_status == 0
    assert {room: len(rows) for room, rows in by_room(tmp_path).items()} == {"r1": 3, "r2": 1}


# --- narrow runs -------------------------------------------------------------------------------------
def rating(person: str, day: int, value: int = 0) -> Row:
    when = f"2026-01-0{day}T12:00:00Z"
    return {"ratingId": "q1", "participantId": person, "roomId": "r1", "timestamp": when, "value": value}


def in_range(rows: list[Row], *, after: Any, before: Any) -> Any:
    """A server that reads the bounds of a range as these comparisons do."""

    def answer(path: str, params: Mapping[str, str]) -> Any:
        if not path.startswith("data/events"):
            return None
        start, end = params.get("startTime", ""), params.get("endTime", "~")
        return page_of(
            [row for row in rows if after(row["timestamp"], start) and before(row["timestamp"], end)], params
        )

    return answer


def first(length: int, compare: Any) -> Any:
    return lambda time, bound: compare(time[:length], bound[:length])


BOUNDS = {
    "both included": (str.__ge__, str.__le__),
    "both excluded": (str.__gt__, str.__lt__),
    "the first included": (str.__ge__, str.__lt__),
    "minutes after and before": (first(16, str.__gt__), first(16, str.__lt__)),
    "whole days": (first(10, str.__ge__), first(10, str.__le__)),
    "days after and before": (first(10, str.__gt__), first(10, str.__lt__)),
}


@pytest.mark.parametrize("bounds", BOUNDS)
def test_fault_79_windows_that_meet_lose_no_row_and_double_none(tmp_path, bounds):
    after, before = BOUNDS[bounds]
    times = ["01T23:59:59Z", "02T00:00:00Z", "02T00:00:01Z", "02T23:59:59.999Z", "03T00:00:00.000Z"]
    rows = [event(number, timestamp=f"2026-01-{time}") for number, time in enumerate(times)]
    api = api_of(*rows)
    api.other = in_range(rows, after=after, before=before)
    start, end = "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"
    assert night(api, tmp_path, "events", end_time=start).exit_status == 0
    assert held(tmp_path, "events") == rows[:1]
    assert night(api, tmp_path, "events", start_time=start, end_time=end).exit_status == 0
    assert held(tmp_path, "events") == rows[:4]
    assert night(api, tmp_path, "events", start_time=end).exit_status == 0
    assert held(tmp_path, "events") == rows


@pytest.mark.parametrize("bounds", [name for name in BOUNDS if "days" not in name])
def test_fault_79_windows_may_meet_at_any_second(tmp_path, bounds):
    after, before = BOUNDS[bounds]
    rows = [event(second, timestamp=f"2026-01-01T12:00:{second:02}Z") for second in (29, 30, 31)]
    api = api_of(*rows)
    api.other = in_range(rows, after=after, before=before)
    for window in ({"end_time": "2026-01-01T12:00:30Z"}, {"start_time": "2026-01-01T12:00:30Z"}):
        assert night(api, tmp_path, "events", **window).exit_status == 0
    assert held(tmp_path, "events") == rows


def test_fault_112_an_archive_that_is_filled_person_by_person_keeps_all_of_them(tmp_path):
    rows = [rating("p1", 1), rating("p2", 1)]
    api = api_of(*rows, kind="ratings/sparse")
    api.rows["participants"] = [{"participantId": person, "roomId": "r1"} for person in ("p1", "p2")]
    for person in ("p1", "p2", "p1"):
        assert night(api, tmp_path, "ratings/sparse", participants=(person,)).exit_status == 0
    assert sorted(map(str, held(tmp_path, "ratings_sparse"))) == sorted(map(str, rows))


def test_an_edited_row_replaces_itself_in_a_narrow_run_too(tmp_path):
    api = api_of(rating("p1", 1), rating("p1", 3), kind="ratings/sparse")
    night(api, tmp_path, "ratings/sparse")
    api.rows["ratings/sparse"] = [rating("p1", 1, value=5), rating("p1", 3)]
    night(api, tmp_path, "ratings/sparse", participants=("p1",), days=1)
    assert sorted(map(str, held(tmp_path, "ratings_sparse"))) == sorted(map(str, api.rows["ratings/sparse"]))


@pytest.mark.parametrize(
    ("narrowing", "is_doubted"),
    [
        ({"start_time": "2026-01-02T00:00:00Z"}, True),
        ({"start_time": "2026-01-04T00:00:00Z"}, False),
        ({"participants": ("p1",)}, True),
        ({"participants": ("p2",)}, False),
    ],
    ids=str,
)
def test_an_empty_list_is_believed_of_a_selection_of_which_nothing_is_held(tmp_path, narrowing, is_doubted):
    rows = [rating("p1", 1), rating("p1", 3)]
    api = api_of(*rows, kind="ratings/sparse")
    api.rows["participants"].append({"participantId": "p2", "roomId": "r1"})
    night(api, tmp_path, "ratings/sparse", "rooms")
    api.rows["ratings/sparse"] = []
    report = night(api, tmp_path, "ratings/sparse", days=1, **narrowing)
    assert report.exit_status == (Exit.INCOMPLETE if is_doubted else 0)
    assert ("the server lists none of the" in said(report)) == is_doubted
    assert held(tmp_path, "ratings_sparse") == rows
    assert night(api, tmp_path, "ratings/sparse", days=2, full=True, **narrowing).exit_status == 0


# --- damage ------------------------------------------------------------------------------------------
def damage(folder: Path) -> None:
    shard = next((folder / "archive").glob("*/data_type=events/room_id=r1/*.gz"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def test_fault_114_rows_that_only_a_damaged_shard_had_are_told_to_be_lost(tmp_path):
    api = api_of(*(event(number) for number in range(3)))
    night(api, tmp_path, "events", "rooms")
    api.rows["events"] = [event(1), event(2)]
    night(api, tmp_path, "events", "rooms", days=1)
    damage(tmp_path)
    api.rows["events"] = [event(number) for number in range(1, 5)]
    report = night(api, tmp_path, "events", "rooms", days=2)
    assert report.exit_status == Exit.INCOMPLETE
    assert "of its 3 rows (of room r1) may be lost, at least 1 of them for sure" in said(report)
    assert night(api, tmp_path, "events", "rooms", days=3).exit_status == 0


def test_a_damaged_shard_whose_rows_all_came_again_is_whole(tmp_path):
    api = api_of(*(event(number) for number in range(3)))
    night(api, tmp_path, "events", "rooms")
    damage(tmp_path)
    api.rows["events"].append(event(3))
    report = night(api, tmp_path, "events", "rooms", days=1)
    assert report.exit_status == 0
    assert "its rows were fetched again" in said(report)
    assert len(held(tmp_path, "events")) == 4
