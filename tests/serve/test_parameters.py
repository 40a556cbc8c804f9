"""Query parameters: what is understood, and what is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web

from hsmirror.model import Scope
from hsmirror.serve.endpoints import DATA_ENDPOINTS
from hsmirror.serve.parameters import data_query
from hsmirror.serve.source import Query

TWO_O_CLOCK = datetime(2024, 10, 20, 14, 0, tzinfo=UTC).timestamp()


def query(data_type: str = "events", scope: Scope = Scope.ROOM, **given: str) -> Query:
    return data_query(DATA_ENDPOINTS[data_type], scope, "id_1", given, page_cap=10_000)


def refused(**given: str) -> dict[str, str]:
    with pytest.raises(web.HTTPBadRequest) as caught:
        query(**given)
    error = orjson.loads(caught.value.text or "")["error"]
    assert error["code"] == "INVALID_PARAMETER"
    assert error["details"]["parameter"] in error["message"]
    return error["details"]


def test_defaults_are_those_of_the_document():
    assert query() == Query("events", Scope.ROOM, "id_1", sort="timestamp", offset=0, limit=1000)


def test_recordings_are_sorted_by_their_start():
    assert query("recordings").sort == "startTime"


@pytest.mark.parametrize(
    "text",
    [
        "2024-10-20T14:00:00Z",
        "2024-10-20T14:00:00.000Z",
        "2024-10-20T14:00:00",
        "2024-10-20T14:00:00+00:00",
        "2024-10-20T16:00:00+02:00",
        "2024-10-20T14:00:00 00:00",
    ],
)
def test_times_are_read_with_any_zone_or_none(text):
    """The last is `+00:00` as it arrives when the plus was not percent-encoded."""
    assert query(startTime=text).start == TWO_O_CLOCK
    assert query(endTime=text).end == TWO_O_CLOCK


@pytest.mark.parametrize("name", ["startTime", "endTime"])
@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "1729432800", "14:00"])
def test_a_time_that_is_none_is_refused(name, text):
    assert refused(**{name: text}) == {"parameter": name, "value": text}


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "ten", "", "1.5", "٣", "9" * 400])
def test_a_limit_that_is_no_positive_number_is_refused(text):
    assert refused(limit=text)["parameter"] == "limit"


def test_a_refused_value_is_shown_cut_short():
    assert refused(limit="9" * 400)["value"] == "9" * 200


@pytest.mark.parametrize("text", ["-1", "x", "1_000"])
def test_an_offset_below_zero_or_no_number_is_refused(text):
    assert refused(offset=text)["parameter"] == "offset"


def test_a_limit_above_the_cap_is_clamped():
    assert query(limit="10001").limit == 10_000


@pytest.mark.parametrize(("name", "text"), [("sort", "id"), ("sort", "startTime"), ("order", "ascending")])
def test_an_unknown_order_is_refused(name, text):
    assert refused(**{name: text})["parameter"] == name


def test_participant_scope_needs_a_room():
    assert refused(scope=Scope.PARTICIPANT) == {"parameter": "roomId"}
    assert query(scope=Scope.PARTICIPANT, roomId="room_1").room_id == "room_1"


@pytest.mark.parametrize("text", ["0", "-5", "wide"])
def test_an_aggregation_window_is_checked(text):
    assert refused(aggregationWindow=text)["parameter"] == "aggregationWindow"


def test_an_aggregation_window_is_otherwise_ignored():
    assert query("sync", aggregationWindow="1000") == query("sync")


def test_filters_are_handed_on():
    asked = query(scope=Scope.EXPERIMENT, roomId="r", deploymentId="d", category="chat", order="desc")
    assert (asked.room_id, asked.deployment_id, asked.category, asked.descending) == ("r", "d", "chat", True)


def test_agent_decisions_default_to_5000_and_know_no_offset():
    asked = query("agent-decisions", offset="7")
    assert (asked.limit, asked.offset) == (5000, 0)
