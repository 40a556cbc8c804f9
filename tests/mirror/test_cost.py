"""What a list costs: its pages, its rooms, and what a total that has moved leads to."""

from __future__ import annotations

from hsmirror.mirror.cost import needs_sample, of_night, room_by_room, total_requests, whole_list
from hsmirror.mirror.night import HeldList, HeldRoom, Night, Step
from hsmirror.mirror.plan import Way
from hsmirror.pace.duration import Requests, Steps

HELD = HeldList(
    Way.EXPERIMENT, dict.fromkeys(["a", "b"], HeldRoom(rows=250)), total=500, page_rows=101, whole_at=1.0
)


def tonight(night: Night, *, total: int | None = 500, can_probe: bool = True) -> Steps:
    return of_night("events", night, HELD, 101, 0.0, total=total, can_probe=can_probe)


def test_the_first_page_of_a_list_goes_alone() -> None:
    assert whole_list("events", 500, 101, 0.01) == (Requests("events", 1, 1.01), Requests("events", 4, 1.01))
    assert total_requests(whole_list("events", 0, 101, 0.01)) == 1


def test_rooms_with_less_than_a_page_cost_one_request_each() -> None:
    assert not needs_sample(300, 100, 100)
    assert total_requests(room_by_room("events", 300, 100, 100, 0.0, sample=[])) == 100


def test_rooms_with_more_cost_what_a_sample_of_them_tells() -> None:
    assert needs_sample(25_000, 100, 101)
    assert total_requests(room_by_room("events", 25_000, 100, 101, 0.0, sample=[250, 250])) == 300
    assert total_requests(room_by_room("events", 25_000, 100, 101, 0.0, sample=[100, 400])) == 250


def test_a_night_without_changes_costs_the_probe() -> None:
    assert total_requests(tonight(Night(Step.PROBE))) == 1
    assert total_requests(tonight(Night(Step.PROBE), total=None)) == 1
    assert total_requests(tonight(Night(Step.NOTHING))) == 0


def test_where_the_total_has_moved_the_whole_list_comes_on_top() -> None:
    assert total_requests(tonight(Night(Step.PROBE), total=601)) == 1 + 6
    assert total_requests(tonight(Night(Step.WHOLE), total=601)) == 6


def test_open_rooms_cost_their_pages_and_a_look_at_the_total() -> None:
    assert total_requests(tonight(Night(Step.ROOMS, ("a",)))) == 3 + 1
    assert total_requests(tonight(Night(Step.ROOMS, ("a",)), can_probe=False)) == 3


def test_new_rooms_have_the_rows_that_the_total_has_more() -> None:
    assert total_requests(tonight(Night(Step.ROOMS, ("c", "d")), total=520)) == 2 + 1
    assert total_requests(tonight(Night(Step.ROOMS, ("c", "d")), total=500 + 2 * 250)) == 2 * 3 + 1
