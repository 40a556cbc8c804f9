"""What the server renders: the same each time, all of the data, and never more than its page cap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dataset import Dataset
from benchmarks.experiments import Experiment
from benchmarks.fingerprints import fingerprint
from benchmarks.pages import Pages

DEALT = Experiment("exp_dealt", 3, rows=25)
BY_ROOM = Experiment("exp_by_room", 4, ("events", "components"), most_rows_a_room=6, names_rooms=False)
WITH_FILES = Experiment("exp_files", 2, (), files=3, file_bytes=5000)
ALL = (DEALT, BY_ROOM, WITH_FILES)


def pages_in(root: Path) -> Pages:
    dataset = Dataset(root)
    for experiment in ALL:
        dataset.prepare(experiment)
    return Pages(dataset, ALL, 10, lambda experiment, name: f"http://files/{experiment}/{name}?signature=x")


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return pages_in(tmp_path)


def answer(pages: Pages, path: str, **query: int) -> dict[str, Any]:
    body = pages.answer(path, {name: str(value) for name, value in query.items()})
    assert body is not None
    parsed: dict[str, Any] = json.loads(body)
    return parsed


def test_rendering_is_deterministic(tmp_path: Path) -> None:
    once, again = pages_in(tmp_path / "once"), pages_in(tmp_path / "again")
    for path in (
        "data/events/experiment/exp_dealt",
        "experiments/exp_dealt",
        "data/rooms/experiment/exp_by_room",
    ):
        query = {"limit": "10", "offset": "9"}
        assert once.answer(path, query) == again.answer(path, query)


def test_recording_files_are_the_same_each_time(tmp_path: Path) -> None:
    once, again = Dataset(tmp_path / "once"), Dataset(tmp_path / "again")
    assert once.prepare(WITH_FILES) == again.prepare(WITH_FILES)


def test_data_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    expected = dataset.prepare(DEALT)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ndjson")}
    assert Dataset(tmp_path).prepare(DEALT) == expected
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ndjson")} == before


def test_data_of_another_shape_are_made_anew(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    dataset.prepare(DEALT)
    assert dataset.prepare(Experiment("exp_dealt", 3, rows=26)).rows.count == 26


def test_a_page_has_no_more_rows_than_the_cap_and_says_so(pages: Pages) -> None:
    page = answer(pages, "data/events/experiment/exp_dealt", limit=10_000, offset=0)
    assert len(page["data"]) == 10
    assert page["metadata"]["pagination"] == {
        "total": 25,
        "returned": 10,
        "limit": 10,
        "offset": 0,
        "hasMore": True,
        "nextOffset": 10,
    }


def test_the_last_page_names_no_next_one(pages: Pages) -> None:
    page = answer(pages, "data/events/experiment/exp_dealt", limit=10, offset=20)
    assert len(page["data"]) == 5
    assert page["metadata"]["pagination"]["hasMore"] is False
    assert "nextOffset" not in page["metadata"]["pagination"]


def test_pages_that_overlap_show_the_same_row(pages: Pages) -> None:
    first = answer(pages, "data/events/experiment/exp_dealt", limit=10, offset=0)
    second = answer(pages, "data/events/experiment/exp_dealt", limit=10, offset=9)
    assert first["data"][-1] == second["data"][0]


def test_all_pages_together_are_what_is_expected(pages: Pages, tmp_path: Path) -> None:
    rows = [
        json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()
        for offset in (0, 10, 20)
        for row in answer(pages, "data/events/experiment/exp_dealt", limit=10, offset=offset)["data"]
    ]
    assert fingerprint(rows) == Dataset(tmp_path).prepare(DEALT).rows


@pytest.mark.parametrize("data_type", BY_ROOM.data_types)
def test_lists_of_rooms_make_up_the_list_of_the_experiment(data_type: str, pages: Pages) -> None:
    whole = []
    for offset in (0, 10, 20):
        whole += answer(pages, f"data/{data_type}/experiment/exp_by_room", limit=10, offset=offset)["data"]
    by_room = [answer(pages, f"data/{data_type}/room/{room}")["data"] for room in BY_ROOM.room_ids()]
    assert [row for rows in by_room for row in rows] == whole


def test_rows_name_their_room_or_do_not_as_the_experiment_has_it(pages: Pages) -> None:
    dealt = answer(pages, "data/events/experiment/exp_dealt")["data"]
    assert [row["roomId"] for row in dealt[:3]] == list(DEALT.room_ids())
    by_room = answer(pages, "data/events/experiment/exp_by_room")["data"]
    assert not any({"roomId", "sessionId"} & row.keys() for row in by_room)


def test_rooms_and_recordings_are_listed(pages: Pages) -> None:
    assert [row["id"] for row in answer(pages, "data/rooms/experiment/exp_files")["data"]] == [
        "exp_files_room_000",
        "exp_files_room_001",
    ]
    addresses = [row["downloadUrl"] for row in answer(pages, "data/recordings/experiment/exp_files")["data"]]
    assert addresses[0] == "http://files/exp_files/rec_00.mp4?signature=x"
    assert len(addresses) == 3


@pytest.mark.parametrize("part", ["", "/config", "/export"])
def test_an_experiment_has_its_documents(part: str, pages: Pages) -> None:
    assert answer(pages, f"experiments/exp_dealt{part}")["data"][0]["id"] == "exp_dealt"


@pytest.mark.parametrize(
    "path",
    [
        "experiments/none",
        "experiments/exp_dealt/secret",
        "data/events/experiment/none",
        "data/events/room/none",
        "health",
    ],
)
def test_what_is_not_there_has_no_answer(path: str, pages: Pages) -> None:
    assert pages.answer(path, {}) is None
