"""An answer is taken only if nothing in it says that it is another request's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made_up_answers import page_of

from hsmirror.api.data_types import DATA_TYPES, SESSIONS
from hsmirror.api.echo import parse_answer, require_answer
from hsmirror.errors import CorruptError
from hsmirror.model import ListKey, Scope

ROW = {"id": "a", "roomId": "r1", "experimentId": "e1"}
OF_EXPERIMENT = ListKey("e1", DATA_TYPES["events"], Scope.EXPERIMENT, "e1")
OF_ROOM = ListKey("e1", DATA_TYPES["events"], Scope.ROOM, "r1", "r1")
OF_PERSON = ListKey("e1", DATA_TYPES["events"], Scope.PARTICIPANT, "p1", "r1")
ASKED = {"limit": "100", "offset": "0"}


def take(key: ListKey, *rows: object, asked: dict[str, str] | None = None, **metadata: Any) -> None:
    page = page_of(*rows, metadata=metadata, data_type=key.data_type.name)
    assert require_answer(page, key, ASKED | (asked or {})) is page


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"dataType": "events", "scope": "experiment", "scopeId": "e1"},
        {"dataType": "Events", "scope": "EXPERIMENTS", "scopeId": "e1"},
        {"dataType": "telemetry", "scope": "user", "scopeId": "u1"},
        {"dataType": None, "scope": None, "scopeId": None, "query": None, "pagination": []},
        {"query": {"startTime": None, "endTime": None, "limit": 50, "offset": "0"}},
        {"query": {"startTime": "1970-01-01T00:00:00Z"}, "pagination": {"offset": 0}},
        {"timestamp": "2024-06-15T10:00:00Z", "query": {"endTime": "2024-06-15T10:00:00.000Z"}},
    ],
)
def test_an_answer_that_contradicts_nothing_is_taken(metadata: dict[str, Any]) -> None:
    take(OF_EXPERIMENT, ROW, **metadata)
    take(OF_EXPERIMENT, **metadata)


@pytest.mark.parametrize(
    ("key", "metadata"),
    [
        (OF_EXPERIMENT, {"scopeId": "e2"}),
        (OF_EXPERIMENT, {"experimentId": "e2"}),
        (OF_EXPERIMENT, {"scope": "room", "scopeId": "e1"}),
        (OF_EXPERIMENT, {"dataType": "chat"}),
        (OF_EXPERIMENT, {"dataType": "ratings_continuous"}),
        (OF_EXPERIMENT, {"query": {"offset": 100}}),
        (OF_EXPERIMENT, {"pagination": {"offset": "7"}}),
        (OF_EXPERIMENT, {"query": {"startTime": "2024-06-15T10:00:00Z"}}),
        (OF_EXPERIMENT, {"query": {"endTime": 1718445600000}}),
        (OF_ROOM, {"scopeId": "r2"}),
        (OF_ROOM, {"query": {"roomId": "r2"}}),
        (OF_ROOM, {"query": {"participantId": "p1"}}),
        (OF_PERSON, {"scopeId": "p2"}),
        (OF_PERSON, {"query": {"participantId": "p2"}}),
    ],
)
def test_an_answer_that_says_that_it_is_another_ones_is_trouble(key: ListKey, metadata: dict[str, Any]) -> None:
    with pytest.raises(CorruptError, match="another request's"):
        take(key, **metadata)


def test_a_page_that_was_asked_for_in_one_room_of_a_person_is_of_that_room() -> None:
    take(OF_PERSON, ROW, asked={"roomId": "r1"}, query={"roomId": "r1", "participantId": "p1"})
    with pytest.raises(CorruptError):
        take(OF_PERSON, ROW, asked={"roomId": "r1"}, query={"roomId": "r2"})


def test_an_id_that_the_server_resolved_is_taken_where_the_rows_name_the_one_that_was_asked_for() -> None:
    take(OF_EXPERIMENT, ROW, scopeId="65f0")
    take(OF_ROOM, ROW, scopeId="65f0", roomId="65f0")


def test_rows_that_all_name_another_room_or_experiment_are_another_lists() -> None:
    other = {"id": "b", "roomId": "r2", "experimentId": "e1"}
    for rows in ([other], [other, {"id": "c"}]):
        with pytest.raises(CorruptError, match="its room is 'r2'"):
            take(OF_ROOM, *rows)
    with pytest.raises(CorruptError, match="its experiment is 'e2'"):
        take(OF_EXPERIMENT, ROW | {"experimentId": "e2"})


def test_rows_that_all_name_another_person_or_deployment_are_another_lists() -> None:
    row = ROW | {"participantId": "p2"}
    with pytest.raises(CorruptError, match="its participant is 'p2'"):
        take(OF_PERSON, row, asked={"roomId": "r1"})
    take(OF_PERSON, row, row | {"participantId": "p1"}, asked={"roomId": "r1"})
    take(OF_PERSON, row, asked={"roomId": "r1"}, scope="participant", scopeId="p1")
    sessions = ListKey("e1", SESSIONS, Scope.DEPLOYMENT, "d1")
    with pytest.raises(CorruptError, match="its deployment is 'd2'"):
        require_answer(page_of({"id": "r1", "deploymentId": "d2"}), sessions, {})


def test_rows_of_another_experiment_beside_its_own_make_a_list_doubtful() -> None:
    page = page_of(ROW, ROW | {"experimentId": "e2"}, metadata={"scope": "experiment", "scopeId": "e1"})
    assert "another experiment" in require_answer(page, OF_EXPERIMENT, ASKED).warnings[0]


def test_rows_of_a_break_out_room_may_stand_in_a_rooms_list() -> None:
    other = {"id": "b", "roomId": "r2"}
    take(OF_ROOM, ROW, other)
    take(OF_ROOM, other, scope="room", scopeId="r1")


def test_deployments_are_a_users_narrowed_to_an_experiment() -> None:
    key = ListKey("e1", DATA_TYPES["deployments"], Scope.EXPERIMENT, "e1")
    deployment = {"id": "d1", "experimentId": "e1"}
    take(key, deployment, dataType="deployments", scope="user", scopeId="u1")
    take(key, deployment | {"experimentId": "e2"})
    of_deployment = ListKey("e1", SESSIONS, Scope.DEPLOYMENT, "d1")
    page = page_of({"id": "r1"}, metadata={"dataType": "sessions", "scope": "deployment", "scopeId": "d1"})
    assert require_answer(page, of_deployment, {})


@pytest.mark.parametrize(
    ("asked", "echoed", "is_taken"),
    [
        ("2024-06-15T10:00:00Z", "2024-06-15T10:00:00.000+00:00", True),
        ("2024-06-15T10:00:00Z", 1718445600, True),
        ("2024-06-15T10:00:00Z", "1718445600000", True),
        ("2024-06-15T10:00:00.500Z", "2024-06-15T10:00:01Z", True),
        ("2024-06-15T10:00:00Z", "2024-06-15", True),
        ("2024-06-15T10:00:00Z", "2024-06-15T11:00:00Z", False),
    ],
)
def test_a_range_may_be_echoed_in_other_words_and_wider_but_not_narrower(
    asked: str, echoed: object, is_taken: bool
) -> None:
    if is_taken:
        take(OF_EXPERIMENT, asked={"startTime": asked}, query={"startTime": echoed})
    else:
        with pytest.raises(CorruptError):
            take(OF_EXPERIMENT, asked={"startTime": asked}, query={"startTime": echoed})


def document(data: object) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


def test_a_definition_is_of_the_experiment_that_was_asked_for() -> None:
    for data in (
        {"id": "e1"},
        [{"id": "e1", "name": "x"}],
        {"name": "x"},
        {"id": "65f0", "slug": "e1"},
        [],
        {"x": "\ud800"},
    ):
        parse_answer(document(data), "e1", is_definition=True)
    for data in ({"id": "e2"}, [{"id": "e2"}], {"experimentId": "e2"}):
        with pytest.raises(CorruptError, match="its experiment is 'e2'"):
            parse_answer(document(data), "e1", is_definition=True)


def test_what_the_metadata_say_of_a_document_counts_too() -> None:
    body = {"status": "success", "data": {"id": "65f0"}, "metadata": {"scope": "experiment", "scopeId": "e1"}}
    parse_answer(json.dumps(body).encode(), "e1", is_definition=True)
    with pytest.raises(CorruptError):
        parse_answer(json.dumps(body | {"data": {"name": "x"}}).encode(), "e2", is_definition=False)


def test_another_document_may_have_an_id_of_its_own() -> None:
    assert parse_answer(document({"id": "c1"}), "e1", is_definition=False)[0] == {"id": "c1"}
    with pytest.raises(CorruptError):
        parse_answer(document({"id": "c1", "experimentId": "e2"}), "e1", is_definition=False)
