"""What a refusal says, and what it does not: absence is believed of one list, for one night."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from oracle import receipts
from small_api import SmallApi, held, night, no_route, not_found, page_of, said

from hsmirror.errors import Exit, ForbiddenError, IntermediaryError

HTML = {
    status: IntermediaryError(f"not the API answered but something before it ({status}, an HTML page)")
    for status in (401, 403, 404)
}
ROOMS = [f"r{number:02}" for number in range(40)]


def small(**rows: list[dict[str, str]]) -> SmallApi:
    return SmallApi({"events": [{"id": "e1", "roomId": "r1"}], "variables": [], **rows})


# --- intermediaries ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("where", "status"),
    [
        ("data/videochat", 403),
        ("data/videochat", 404),
        ("data/events", 401),
        ("data/rooms", 404),
        ("experiments/exp_1", 401),
        ("experiments/exp_1", 404),
    ],
)
def test_a_page_of_a_firewall_is_trouble_and_nothing_is_remembered_of_it(tmp_path, where, status):
    api = small(videochat=[{"id": "v1", "roomId": "r1"}], rooms=[{"id": "r1", "status": "active"}])
    api.other = lambda path, params: HTML[status] if path.startswith(where) else None
    report = night(api, tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    assert f"{status}, an HTML page" in said(report)
    assert api.requests().most_common(1)[0][1] <= 3
    api.other = lambda path, params: None
    assert night(api, tmp_path, days=1).exit_status == 0
    assert all(held(tmp_path, kind) for kind in ("events", "videochat", "rooms"))
    assert receipts(tmp_path / "archive", kind="absent") == []


def test_room_after_room_refused_by_a_firewall_ends_that_type(tmp_path):
    rooms = [{"id": room, "status": "completed"} for room in ROOMS]
    api = small(rooms=rooms, variables=[])
    api.other = lambda path, params: HTML[403] if path.startswith("data/variables") else None
    assert night(api, tmp_path).exit_status == Exit.INCOMPLETE
    assert sum(count for path, count in api.requests().items() if path.startswith("data/variables")) <= 3 * 19


# --- the API's own words ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("data/", "ACCOUNT_SUSPENDED"),
        ("data/eyetracking", "IP not allowed"),
        ("data/eyetracking", "You may view this, but not export"),
        ("experiments/exp_1/export", "You may view this, but not export"),
    ],
)
def test_a_refusal_that_names_no_scope_is_told_as_it_came(tmp_path, where, words):
    api = small(eyetracking=[{"id": "g1", "roomId": "r1"}])
    api.other = lambda path, params: ForbiddenError(f"403 {words}") if path.startswith(where) else None
    report = night(api, tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    assert words in said(report)
    assert "lacks the scope" not in said(report)
    api.other = lambda path, params: None
    assert night(api, tmp_path, days=1).exit_status == 0
    assert len(held(tmp_path, "eyetracking")) == 1


def test_a_night_that_failed_as_a_whole_leaves_nothing_remembered(tmp_path):
    rooms = [{"id": "r1", "status": "completed"}]
    api = small(
        rooms=rooms, variables=[{"roomId": "r1", "name": "score"}], videochat=[{"id": "v", "roomId": "r1"}]
    )
    api.other = lambda path, params: not_found("it is being moved") if path.startswith("data/") else None
    assert night(api, tmp_path).exit_status == Exit.INCOMPLETE
    api.other = lambda path, params: None
    assert night(api, tmp_path, days=1).exit_status == 0
    assert all(held(tmp_path, kind) for kind in ("events", "videochat", "rooms", "variables"))


def test_where_all_that_was_asked_for_is_404_that_is_no_success(tmp_path):
    """The experiment may be what is not found, and no list has shown that it is."""
    report = night(small(), tmp_path, "videochat", "rooms")
    assert report.exit_status == Exit.INCOMPLETE
    assert "404" in said(report)


def test_what_a_server_does_not_offer_is_asked_for_each_night_once(tmp_path):
    api = small()
    for day in range(3):
        report = night(api, tmp_path, "events", "videochat", days=day)
        assert (report.exit_status, "videochat of exp_1: this server does not offer it" in said(report)) == (
            0,
            True,
        )
        assert api.requests()["data/videochat/experiment/exp_1"] == 1
    api.rows["videochat"] = [{"id": "v1", "roomId": "r1"}]
    night(api, tmp_path, "events", "videochat", days=3)
    assert len(held(tmp_path, "videochat")) == 1


@pytest.mark.parametrize("document", ["", "/config", "/export"])
def test_a_document_that_was_there_and_is_not_any_more_is_named(tmp_path, document):
    api = small()
    assert night(api, tmp_path, "events").exit_status == 0
    api.other = lambda path, params: not_found() if path == f"experiments/exp_1{document}" else None
    report = night(api, tmp_path, "events", days=1)
    assert report.exit_status == Exit.INCOMPLETE
    assert f"{document.strip('/') or 'experiment'}.json" in said(report)
    assert night(api, tmp_path, "events", days=2, full=True).exit_status == 0


# --- rooms ------------------------------------------------------------------------------------------
def with_variables_in(*rooms: str) -> SmallApi:
    """Rooms without any answer 404, as if nothing were there."""

    def answer(path: str, params: Mapping[str, str]) -> Exception | None:
        room = path.rpartition("/")[2]
        is_empty = not any(row["roomId"] == room for row in api.rows["variables"])
        return (
            not_found("No variables in this room") if path.startswith("data/variables") and is_empty else None
        )

    api = SmallApi(
        {
            "events": [{"id": f"e{room}", "roomId": room} for room in ROOMS],
            "rooms": [{"id": room, "status": "completed", "endedAt": "2020-01-01T00:00:00Z"} for room in ROOMS],
            "variables": [{"roomId": room, "name": "score"} for room in rooms],
        },
        other=answer,
    )
    return api


def variables_asked(api: SmallApi) -> int:
    return sum(count for path, count in api.requests().items() if path.startswith("data/variables"))


def test_a_rooms_404_says_nothing_of_the_others_and_settled_rooms_are_asked_once(tmp_path):
    api = with_variables_in("r05", "r17")
    report = night(api, tmp_path)
    assert (report.exit_status, len(held(tmp_path, "variables"))) == (0, 2)
    assert variables_asked(api) == len(ROOMS)
    assert night(api, tmp_path, days=1).exit_status == 0
    assert variables_asked(api) == 0


def test_where_no_room_has_a_type_one_is_asked_each_night_and_all_as_soon_as_it_has_it(tmp_path):
    api = with_variables_in()
    assert night(api, tmp_path).exit_status == 0
    assert variables_asked(api) == len(ROOMS)
    for day in (1, 2):
        assert night(api, tmp_path, days=day).exit_status == 0
        assert variables_asked(api) == 1
    api.rows["variables"] = [{"roomId": room, "name": "score"} for room in ROOMS]
    assert night(api, tmp_path, days=3).exit_status == 0
    assert (len(held(tmp_path, "variables")), variables_asked(api)) == (len(ROOMS), len(ROOMS))
    assert night(api, tmp_path, days=4).exit_status == 0
    assert variables_asked(api) == 0


def test_a_server_that_says_it_lacks_the_endpoint_is_asked_once(tmp_path):
    api = with_variables_in("r05")
    api.other = lambda path, params: no_route() if path.startswith("data/variables") else None
    for day in range(2):
        assert night(api, tmp_path, days=day).exit_status == 0
        assert variables_asked(api) == 1
    api.other = lambda path, params: None
    assert night(api, tmp_path, days=2).exit_status == 0
    assert len(held(tmp_path, "variables")) == 1


# --- participants -----------------------------------------------------------------------------------
def test_a_participants_404_is_answered_from_the_rooms_own_list(tmp_path):
    people = [{"participantId": person, "roomId": "r1"} for person in ("p1", "p2")]
    chat = [{"messageId": f"m{person}", "roomId": "r1", "senderId": person} for person in ("p1", "p2")]
    api = SmallApi({"chat": chat, "participants": people})
    api.other = lambda path, params: not_found("Participant not found") if "/participant/" in path else None
    report = night(api, tmp_path, "chat", participants=("p1",))
    assert (report.exit_status, held(tmp_path, "chat")) == (0, chat[:1])


def test_rows_that_name_nobody_cannot_be_narrowed(tmp_path):
    people = [{"participantId": "p1", "roomId": "r1"}]
    api = SmallApi({"events": [{"id": "e1", "roomId": "r1"}], "participants": people})
    api.other = lambda path, params: not_found() if "/participant/" in path else None
    report = night(api, tmp_path, "events", participants=("p1",))
    assert report.exit_status == Exit.INCOMPLETE
    assert "cannot be told" in said(report)


# --- narrow runs ------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_empty", [True, False], ids=["an empty list", "a 404"])
@pytest.mark.parametrize("data_type", ["events", "variables"])
def test_a_narrow_run_takes_nothing_for_gone_that_a_whole_one_would_not(tmp_path, data_type, is_empty):
    api = SmallApi(
        {
            "events": [{"id": "e1", "roomId": "r1"}],
            "variables": [{"roomId": "r1", "name": "score"}],
            "rooms": [{"id": "r1", "status": "completed"}],
        }
    )
    night(api, tmp_path, "events", "variables")
    of_room = f"data/{data_type}/room/r1"
    answer = page_of([], {}) if is_empty else not_found()
    api.other = lambda path, params: answer if path == of_room else None
    assert night(api, tmp_path, "events", "variables", days=1, rooms=("r1",)).exit_status == Exit.INCOMPLETE
    assert not any(each.get("gone_rows") for each in receipts(tmp_path / "archive", kind="shard"))


# --- what has answered is there ---------------------------------------------------------------------
@pytest.mark.parametrize("data_type", ["videochat", "eyetracking", "participants"])
@pytest.mark.parametrize(
    "refusal", [no_route(), ForbiddenError("403", required_scopes=("read:rooms",))], ids=str
)
def test_a_type_that_an_experiment_lists_is_not_absent_where_its_rooms_lists_are_refused(
    tmp_path, data_type, refusal
):
    api = SmallApi({data_type: [{"id": "v1"}], "rooms": [{"id": "r1", "status": "completed"}]})
    api.other = lambda path, params: refusal if path.startswith(f"data/{data_type}/room") else None
    report = night(api, tmp_path, data_type)
    assert report.exit_status == Exit.INCOMPLETE
    assert "of which another list has rows" in said(report)


def test_a_type_that_one_room_has_is_not_absent_whatever_the_words_of_the_next_ones_404(tmp_path):
    rooms = ["r1", "r2", "r3"]
    rows = [{"roomId": room, "name": "score", "value": 1} for room in ("r1", "r3")]
    api = SmallApi({"rooms": [{"id": room, "status": "completed"} for room in rooms], "variables": rows})
    api.other = lambda path, params: no_route() if path == "data/variables/room/r2" else None
    report = night(api, tmp_path, "rooms", "variables")
    assert report.exit_status == Exit.COMPLETE
    assert len(held(tmp_path, "variables")) == 2


def test_where_no_room_is_known_and_nothing_may_name_one_what_is_read_by_room_is_not_complete(tmp_path):
    api = SmallApi({"variables": [{"name": "v", "roomId": "r1"}], "events": [{"id": "e1", "roomId": "r1"}]})
    report = night(api, tmp_path, "variables")
    assert report.exit_status == Exit.INCOMPLETE
    assert "no room is known" in said(report)
    (tmp_path / "both").mkdir()
    assert night(api, tmp_path / "both", "variables", "events").exit_status == 0
    assert held(tmp_path / "both", "variables")
