"""Lists that decide what is read: experiments, shared ones, deployments, sessions, rooms, participants."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from small_api import Answer, SmallApi, held, night, no_route, not_found, page_of, said

from hsmirror.errors import Exit, ForbiddenError, IntermediaryError, TransientError

NAMES = [f"exp_{number}" for number in range(1, 7)]


def events_of(*experiments: str) -> list[dict[str, str]]:
    return [{"id": f"of {each}", "roomId": "r1", "experimentId": each} for each in experiments]


def experiments_held(folder) -> set[str]:
    return {name for name in NAMES if held(folder, "events", name)}


def everything(api: SmallApi, folder, **given):
    return night(api, folder, "events", experiments=("*",), **given)


# --- the list of experiments ------------------------------------------------------------------------
def test_a_list_of_one_page_costs_one_request(tmp_path):
    api = SmallApi({"events": events_of("exp_1")})
    assert everything(api, tmp_path).exit_status == 0
    requests = api.requests()
    assert (requests["experiments"], requests["experiments/shared"]) == (1, 1)


def test_an_experiment_that_is_held_and_not_listed_is_asked_for_by_its_id_and_named(tmp_path):
    api = SmallApi({"events": events_of("exp_1", "exp_2")}, experiments=["exp_1", "exp_2"])
    assert everything(api, tmp_path).exit_status == 0
    api.other = lambda path, params: page_of([{"id": "exp_1"}], params) if path == "experiments" else None
    api.rows["events"].append({"id": "late", "roomId": "r1", "experimentId": "exp_2"})
    report = everything(api, tmp_path)
    assert (report.exit_status, len(held(tmp_path, "events", "exp_2"))) == (0, 2)
    assert "exp_2 is held, and the server does not list it" in said(report)


def test_an_experiment_that_is_neither_listed_nor_known_any_more_is_noted_and_kept(tmp_path):
    api = SmallApi({"events": events_of("exp_1", "exp_2")}, experiments=["exp_1", "exp_2"])
    everything(api, tmp_path)
    api.experiments.remove("exp_2")
    api.other = lambda path, params: not_found("Experiment not found") if path.endswith("/exp_2") else None
    report = everything(api, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert "exp_2 is no longer there" in said(report)
    assert experiments_held(tmp_path) == {"exp_1", "exp_2"}


@pytest.mark.parametrize("shared", [[], [{"id": "exp_3"}]], ids=["nothing", "something"])
def test_an_empty_list_where_experiments_are_held_is_never_complete(tmp_path, shared):
    """Another organisation's key sees nothing of its own, be something shared with it or not."""
    api = SmallApi({"events": events_of("exp_1", "exp_2", "exp_3")}, experiments=["exp_1", "exp_2"])
    everything(api, tmp_path)
    api.rows["events"].append({"id": "late", "roomId": "r1", "experimentId": "exp_2"})
    lists = {"experiments": [], "experiments/shared": shared}
    api.other = lambda path, params: page_of(lists[path], params) if path in lists else None
    report = everything(api, tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    assert "the 2 that are held: check whose key it is" in said(report)
    assert len(held(tmp_path, "events", "exp_2")) == 2


def test_a_list_that_names_none_of_those_that_are_held_is_another_keys(tmp_path):
    api = SmallApi({"events": events_of("exp_1", "exp_2", "exp_9")}, experiments=["exp_1", "exp_2"])
    everything(api, tmp_path)
    api.experiments = ["exp_9"]
    report = everything(api, tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    assert "the server lists none of those 2 that are held" in said(report)
    assert held(tmp_path, "events", "exp_9")


def test_a_key_that_may_read_no_experiment_at_all_is_complete(tmp_path):
    assert everything(SmallApi(experiments=[]), tmp_path).exit_status == 0


def test_an_experiment_that_moves_to_the_front_between_two_pages_is_not_passed_over(tmp_path):
    order = list(NAMES)

    def moving(path: str, params: Mapping[str, str]) -> Answer | None:
        if path != "experiments":
            return None
        answer = page_of([{"id": each} for each in order], params, most=3)
        if order == NAMES:
            order.insert(0, order.pop(4))
        return answer

    api = SmallApi({"events": events_of(*NAMES)}, experiments=NAMES, other=moving)
    report = everything(api, tmp_path)
    assert experiments_held(tmp_path) == set(NAMES) or (
        report.exit_status == 3 and "experiments" in said(report)
    )


@pytest.mark.parametrize("path", ["experiments", "experiments/shared"])
def test_a_list_that_comes_without_its_tail_is_not_proven_and_what_it_names_is_mirrored(tmp_path, path):
    def cut(asked: str, params: Mapping[str, str]) -> Answer | None:
        if asked != path:
            return None
        return page_of([{"id": each} for each in NAMES[:3]], params, total=6, hasMore=False)

    report = everything(SmallApi({"events": events_of(*NAMES)}, experiments=NAMES[:1], other=cut), tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    assert "is not proven: the server says 6 rows and lists 3" in said(report)
    assert experiments_held(tmp_path) >= set(NAMES[:3] if path == "experiments" else ["exp_1"])


def test_a_warning_in_the_list_is_not_overlooked(tmp_path):
    def warned(path: str, params: Mapping[str, str]) -> Answer | None:
        if path != "experiments":
            return None
        answer = page_of([{"id": "exp_1"}], params)
        answer["metadata"]["_warnings"] = ["MISSING_INDEX: Results may be incomplete."]
        return answer

    report = everything(SmallApi({"events": events_of("exp_1")}, other=warned), tmp_path)
    assert (report.exit_status, experiments_held(tmp_path)) == (3, {"exp_1"})
    assert "MISSING_INDEX" in said(report)


FAILURES = {
    "500": TransientError("the API is in trouble (500 boom)"),
    "a firewall's 403": IntermediaryError("not the API answered but something before it (403, an HTML page)"),
    "suspended": ForbiddenError("the API forbids it (403 account suspended)"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_where_shared_experiments_cannot_be_listed_the_own_ones_are_mirrored_and_that_is_said(
    tmp_path, failure
):
    fails = lambda path, params: FAILURES[failure] if path == "experiments/shared" else None  # noqa: E731
    report = everything(SmallApi({"events": events_of("exp_1")}, other=fails), tmp_path)
    assert (report.exit_status, experiments_held(tmp_path)) == (3, {"exp_1"})
    assert f"shared experiments cannot be listed: {FAILURES[failure]}" in said(report)


@pytest.mark.parametrize("failure", ["a firewall's 403"])
def test_where_own_experiments_cannot_be_listed_shared_and_held_ones_are_mirrored(tmp_path, failure):
    api = SmallApi({"events": events_of("exp_1", "exp_2")})
    everything(api, tmp_path)
    api.experiments.append("exp_2")

    def fails(path: str, params: Mapping[str, str]) -> Answer | Exception | None:
        if path == "experiments":
            return FAILURES[failure]
        return page_of([{"id": "exp_2"}], params) if path == "experiments/shared" else None

    api.other = fails
    api.rows["events"].append({"id": "late", "roomId": "r1", "experimentId": "exp_1"})
    report = everything(api, tmp_path)
    assert (report.exit_status, experiments_held(tmp_path)) == (3, {"exp_1", "exp_2"})
    assert len(held(tmp_path, "events")) == 2
    assert str(FAILURES[failure]) in said(report)


def test_a_server_on_which_nothing_is_shared_is_complete(tmp_path):
    older = lambda path, params: no_route() if path == "experiments/shared" else None  # noqa: E731
    assert everything(SmallApi({"events": events_of("exp_1")}, other=older), tmp_path).exit_status == 0


def test_a_list_that_breaks_off_on_its_second_page_costs_what_it_did_not_name(tmp_path):
    def breaks(path: str, params: Mapping[str, str]) -> Answer | Exception | None:
        if path != "experiments":
            return None
        is_first = params.get("offset", "0") == "0"
        listed = [{"id": each} for each in NAMES]
        return page_of(listed, params, most=3) if is_first else FAILURES["500"]

    report = everything(SmallApi({"events": events_of(*NAMES)}, experiments=NAMES, other=breaks), tmp_path)
    assert (report.exit_status, experiments_held(tmp_path)) == (3, set(NAMES[:3]))
    assert "the list of experiments is not proven" in said(report)


# --- rooms, sessions, participants ------------------------------------------------------------------
ROWS_WITHOUT_ROOMS = {
    "events": [{"id": "e1", "experimentId": "exp_1"}],
    "variables": [{"roomId": room, "name": "score"} for room in ("r1", "r2")],
}


def of_deployments(
    deployments: list[str], sessions: Mapping[str, list[str]], broken: Mapping[str, Exception], **told: object
):
    """A server that tells rooms by the sessions of its deployments."""

    def answer(path: str, params: Mapping[str, str]) -> Answer | Exception | None:
        if path in broken:
            return broken[path]
        if path == "deployments":
            return page_of([{"id": each} for each in deployments], params, **told)
        if path.startswith("deployments/"):
            return page_of(
                [{"id": each, "status": "completed"} for each in sessions[path.split("/")[1]]], params
            )
        return None

    return answer


SESSIONS = {"d1": ["r1"], "d2": ["r2"]}


def test_the_rooms_of_all_deployments_are_read(tmp_path):
    api = SmallApi(ROWS_WITHOUT_ROOMS, other=of_deployments(["d1", "d2"], SESSIONS, {}))
    report = night(api, tmp_path, "events", "variables")
    assert (report.exit_status, len(held(tmp_path, "variables"))) == (0, 2)


@pytest.mark.parametrize("failure", ["a firewall's 403"])
def test_sessions_that_cannot_be_listed_cost_their_rooms_alone_and_are_named(tmp_path, failure):
    broken = {"deployments/d1/sessions": FAILURES[failure]}
    api = SmallApi(ROWS_WITHOUT_ROOMS, other=of_deployments(["d1", "d2"], SESSIONS, broken))
    report = night(api, tmp_path, "events", "variables")
    assert (report.exit_status, [row["roomId"] for row in held(tmp_path, "variables")]) == (3, ["r2"])
    assert "variables there may be rooms that are not known: the sessions of deployment d1" in said(report)


def test_deployments_that_come_without_their_tail_are_not_all_of_them(tmp_path):
    api = SmallApi(ROWS_WITHOUT_ROOMS, other=of_deployments(["d1"], SESSIONS, {}, total=2, hasMore=False))
    report = night(api, tmp_path, "events", "variables")
    assert (report.exit_status, [row["roomId"] for row in held(tmp_path, "variables")]) == (3, ["r1"])
    assert "the list of deployments is not proven: the server says 2 rows and lists 1" in said(report)


@pytest.mark.parametrize("failure", ["a firewall's 403"])
def test_rooms_that_cannot_be_listed_leave_what_is_read_by_room_incomplete(tmp_path, failure):
    fails = lambda path, params: FAILURES[failure] if "/rooms/" in path else None  # noqa: E731
    rows = {"events": [{"id": "e1", "roomId": "r1"}], "variables": [{"roomId": "r1", "name": "score"}]}
    report = night(SmallApi(rows, other=fails), tmp_path, "events", "variables")
    assert report.exit_status == 3
    assert (len(held(tmp_path, "events")), len(held(tmp_path, "variables"))) == (1, 1)
    assert [each.data_type for each in report.problems] == ["variables"]


PEOPLE = [{"participantId": "p1", "roomId": room} for room in ("r1", "r2")]
OF_PEOPLE = [
    {"id": f"{person}{room}", "roomId": room, "participantId": person}
    for person in ("p1", "p2")
    for room in ("r1", "r2")
]


def test_a_participant_of_an_unproven_list_may_have_been_in_more_rooms(tmp_path):
    def cut(path: str, params: Mapping[str, str]) -> Answer | None:
        is_list = path == "data/participants/experiment/exp_1"
        return page_of(PEOPLE[:1], params, total=2, hasMore=False) if is_list else None

    api = SmallApi({"events": OF_PEOPLE, "participants": PEOPLE}, other=cut)
    report = night(api, tmp_path, "events", participants=("p1",))
    assert (report.exit_status, [row["id"] for row in held(tmp_path, "events")]) == (3, ["p1r1"])
    assert "events the list of participants is not proven" in said(report)
    assert [each.is_complete for each in report.experiments[0].types] == [False]


@pytest.mark.parametrize("failure", ["a firewall's 403"])
def test_where_participants_cannot_be_listed_they_are_looked_for_in_all_rooms(tmp_path, failure):
    fails = lambda path, params: FAILURES[failure] if "/participants/" in path else None  # noqa: E731
    rooms = [{"id": room, "status": "completed"} for room in ("r1", "r2")]
    report = night(
        SmallApi({"events": OF_PEOPLE, "rooms": rooms}, other=fails), tmp_path, "events", participants=("p1",)
    )
    assert report.exit_status == 3
    assert sorted(row["id"] for row in held(tmp_path, "events")) == ["p1r1", "p1r2"]
    assert f"events the participants cannot be listed: {FAILURES[failure]}" in said(report)
    assert [each.is_complete for each in report.experiments[0].types] == [False]


@pytest.mark.parametrize("rooms", [("r1",), ("r1", "r2"), ("r2",)])
def test_a_wanted_room_that_an_unproven_list_lacks_leaves_what_is_asked_for_incomplete(tmp_path, rooms):
    def cut(path: str, params: Mapping[str, str]) -> Answer | None:
        is_list = path == "data/rooms/experiment/exp_1"
        return page_of([{"id": "r1"}], params, total=1, hasMore=True) if is_list else None

    report = night(SmallApi({"events": OF_PEOPLE}, other=cut), tmp_path, "events", rooms=rooms)
    assert len(held(tmp_path, "events")) == 2 * ("r1" in rooms)
    assert report.experiments[0].is_complete == ("r2" not in rooms)
    assert ("room r2 is not listed, and the list of rooms is not proven" in said(report)) == ("r2" in rooms)


def test_no_participants_where_rows_are_held_leave_what_is_asked_for_incomplete(tmp_path):
    api = SmallApi({"events": OF_PEOPLE, "participants": PEOPLE})
    assert night(api, tmp_path, "events").exit_status == 0
    api.rows["participants"] = []
    report = night(api, tmp_path, "events", participants=("p1",), days=1)
    assert (report.exit_status, report.experiments[0].is_complete) == (3, False)
    assert "events the server lists no participants, where 2 rooms are held" in said(report)


def test_a_room_that_is_renamed_while_a_participants_lists_are_read_is_noticed(tmp_path):
    def rows(room: str) -> dict[str, list[dict[str, str]]]:
        event = {"id": "e1", "roomId": room, "participantId": "p1"}
        return {
            "events": [event],
            "participants": [{"participantId": "p1", "roomId": room}],
            "rooms": [{"id": room}],
        }

    api = SmallApi(rows("r1"))

    def rename(path: str, params: Mapping[str, str]) -> None:
        if "/events/" in path:
            api.rows.update(rows("r2"))

    api.other = rename
    report = night(api, tmp_path, "events", participants=("p1",))
    assert report.exit_status == Exit.INCOMPLETE
    assert "room r2 came up" in said(report)
    assert night(api, tmp_path, "events", days=1, participants=("p1",)).exit_status == 0
    assert held(tmp_path, "events")
