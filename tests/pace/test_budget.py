"""The budget: both limits, in sliding windows, corrected by what the server says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.pace.budget import Budget, Limits

NOW = 1_000.0


def spend(budget: Budget, endpoint: str, count: int, at: float = NOW) -> None:
    """Send and answer requests in one instant."""
    for _ in range(count):
        budget.sent(endpoint)
        budget.answered(endpoint, at)


def test_an_unused_budget_lets_a_request_go_at_once() -> None:
    assert Budget(Limits()).wait_seconds("data/events", NOW) == 0.0


def test_the_hours_limit_holds_for_all_endpoints_together() -> None:
    budget = Budget(Limits(requests_per_hour=4, requests_per_minute_per_endpoint=100))
    spend(budget, "a", 2)
    spend(budget, "b", 2)
    assert budget.wait_seconds("c", NOW) == 3600.0


def test_the_minutes_limit_holds_for_one_endpoint() -> None:
    budget = Budget(Limits(requests_per_hour=1000, requests_per_minute_per_endpoint=3))
    spend(budget, "a", 3)
    assert budget.wait_seconds("a", NOW) == 60.0
    assert budget.wait_seconds("b", NOW) == 0.0


def test_a_request_counts_for_a_whole_window_after_its_answer() -> None:
    budget = Budget(Limits(requests_per_hour=1))
    budget.sent("a")
    budget.answered("a", NOW + 50)
    assert budget.wait_seconds("a", NOW + 3649.9) == pytest.approx(0.1)
    assert budget.wait_seconds("a", NOW + 3650) == 0.0


def test_while_all_of_the_budget_is_under_way_only_an_answer_can_tell() -> None:
    budget = Budget(Limits(requests_per_hour=2))
    budget.sent("a")
    budget.sent("a")
    assert budget.wait_seconds("a", NOW) == math.inf


def test_a_share_of_the_limits_is_at_least_one_request() -> None:
    assert Limits(1000, 100).shared(0.25) == Limits(250, 25)
    assert Limits(1000, 100).shared(0.0001) == Limits(1, 1)


def test_fault_14_what_another_run_spent_counts_here_too_even_where_it_is_told_late() -> None:
    budget = Budget(Limits(requests_per_hour=3))
    spend(budget, "a", 1, at=NOW)
    budget.spent_elsewhere("a", NOW - 100)
    budget.spent_elsewhere("a", NOW - 200)
    assert budget.wait_seconds("a", NOW) == 3400.0
    assert budget.wait_seconds("a", NOW + 3400) == 0.0


def test_more_spent_than_the_limit_allows_is_waited_out_bit_by_bit() -> None:
    budget = Budget(Limits(requests_per_hour=2))
    for at in (NOW, NOW + 10, NOW + 20):
        budget.spent_elsewhere("a", at)
    now = NOW + 20
    waits = []
    while (wait := budget.wait_seconds("a", now)) > 0:
        waits.append(wait)
        now += wait
    assert now == NOW + 3610
    assert len(waits) <= 3


def test_fault_12_a_429_without_a_cause_of_ours_rests_the_whole_key() -> None:
    budget = Budget(Limits())
    budget.throttled("a", now=NOW, pause_seconds=30.0)
    assert budget.wait_seconds("a", NOW) == 30.0
    assert budget.wait_seconds("b", NOW) == 30.0
    assert budget.wait_seconds("b", NOW + 30) == 0.0


def test_a_429_to_an_endpoint_that_was_near_its_limit_rests_that_endpoint_alone() -> None:
    budget = Budget(Limits(requests_per_minute_per_endpoint=100))
    spend(budget, "a", 99)
    spend(budget, "a", 1, at=NOW + 50)
    budget.throttled("a", now=NOW + 50, pause_seconds=30.0)
    assert budget.wait_seconds("a", NOW + 50) == 30.0
    assert budget.wait_seconds("b", NOW + 50) == 0.0


def test_a_pause_longer_than_a_minute_is_the_hours_and_rests_the_whole_key() -> None:
    budget = Budget(Limits(requests_per_minute_per_endpoint=100))
    spend(budget, "a", 60)
    budget.throttled("a", now=NOW, pause_seconds=600.0)
    assert budget.wait_seconds("b", NOW) == 600.0


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    budget = Budget(Limits())
    budget.throttled("a", now=NOW, pause_seconds=600.0)
    budget.throttled("a", now=NOW, pause_seconds=5.0)
    assert budget.wait_seconds("a", NOW) == 600.0


def test_a_server_that_counts_fewer_left_than_we_do_is_believed() -> None:
    budget = Budget(Limits(requests_per_hour=1000))
    spend(budget, "a", 10)
    budget.server_says_left(0, NOW)
    assert budget.statistics(NOW).left_this_hour == 0
    assert budget.wait_seconds("b", NOW) == 3600.0


def test_a_server_that_counts_more_left_than_we_do_is_not() -> None:
    budget = Budget(Limits(requests_per_hour=1000))
    spend(budget, "a", 10)
    budget.server_says_left(1000, NOW)
    assert budget.statistics(NOW).left_this_hour == 990


def test_its_statistics_say_what_was_sent_and_what_is_left() -> None:
    budget = Budget(Limits(requests_per_hour=10))
    spend(budget, "a", 2)
    budget.sent("a")
    budget.throttled("a", now=NOW, pause_seconds=50.0)
    statistics = budget.statistics(NOW)
    assert (statistics.sent, statistics.left_this_hour, statistics.requests_per_hour) == (3, 7, 10)
    assert statistics.blocked_seconds == 50.0
    assert repr(budget) == "<Budget sent=3 in_flight=1 of 10>"


def refused_for(budget: Budget, seconds: float, *, at: float, requests: int = 1) -> None:
    """So many requests that are under way together get 429s."""
    for _ in range(requests):
        budget.sent("a")
    for _ in range(requests):
        budget.throttled("a", now=at, pause_seconds=seconds)
        budget.answered("a", at)


def refused_for_the_hour(budget: Budget, at: float, requests: int = 1) -> None:
    refused_for(budget, 1800.0, at=at, requests=requests)


def left_at_all(budget: Budget, at: float) -> int:
    """What a whole hour allows."""
    budget.wait_seconds("a", at)
    return budget.statistics(at).requests_per_hour


def test_others_who_use_the_key_get_twice_what_they_must_have_used() -> None:
    budget = Budget(Limits(requests_per_hour=1000))
    spend(budget, "a", 950)
    refused_for_the_hour(budget, NOW)
    assert left_at_all(budget, NOW) == 1000 - 2 * 50


def test_where_more_was_used_than_is_now_ours_waits_are_told_to_their_end() -> None:
    budget = Budget(Limits(requests_per_hour=1000, requests_per_minute_per_endpoint=10_000))
    for number in range(900):
        spend(budget, "a", 1, at=NOW + number)
    refused_for_the_hour(budget, NOW + 900)
    at = NOW + 901 + 1800
    allowed = left_at_all(budget, at)
    assert allowed < 900
    wait = budget.wait_seconds("a", at)
    assert budget.seconds_until_free(1, None, at) == wait
    assert budget.wait_seconds("a", at + wait - 2) > 0
    assert budget.wait_seconds("a", at + wait) == 0


def test_requests_that_are_refused_together_give_way_once() -> None:
    budget = Budget(Limits(requests_per_hour=1000))
    spend(budget, "a", 934)
    refused_for_the_hour(budget, NOW, requests=16)
    assert left_at_all(budget, NOW) == 1000 - 2 * 51


def test_others_who_want_more_get_more_and_at_most_half() -> None:
    budget = Budget(Limits(requests_per_hour=1000))
    left = []
    for hour in range(6):
        at = NOW + 3601.0 * hour
        spend(budget, "a", left_at_all(budget, at) - 1 if hour else 950, at=at)
        refused_for_the_hour(budget, at)
        left.append(1000 - left_at_all(budget, at))
    assert left == sorted(left)
    assert left[0] == 100
    assert left[-1] == 500


def test_room_that_others_do_not_use_is_taken_back_hour_by_hour() -> None:
    budget = Budget(Limits(requests_per_hour=1000))
    spend(budget, "a", 950)
    refused_for_the_hour(budget, NOW)
    assert [1000 - left_at_all(budget, NOW + 3600.0 * hours) for hours in (1, 2, 3, 9)] == [100, 50, 25, 0]


def test_others_who_use_an_endpoint_get_room_in_its_minute() -> None:
    budget = Budget(Limits(requests_per_minute_per_endpoint=100))
    spend(budget, "a", 80)
    refused_for(budget, 30.0, at=NOW)
    assert budget.left("b", NOW) == 100
    assert [budget.left("a", NOW + seconds) for seconds in (61, 91, 151, 1000)] == [60, 80, 90, 100]


def test_a_short_pause_says_nothing_of_the_hour() -> None:
    budget = Budget(Limits(requests_per_hour=1000))
    budget.throttled("a", now=NOW, pause_seconds=30.0)
    assert left_at_all(budget, NOW) == 1000


def test_of_two_runs_side_by_side_none_knows_sooner_that_a_request_no_longer_counts() -> None:
    one, other = (Budget(Limits(requests_per_hour=2)) for _ in range(2))
    other.spent_elsewhere("a", NOW + 5, told_late_seconds=5.0)
    one.spent_elsewhere("a", NOW + 5, told_late_seconds=5.0)
    spend(one, "a", 1)
    spend(other, "a", 1)
    assert one.wait_seconds("a", NOW) == other.wait_seconds("a", NOW) == 3605.0


@given(
    hour=st.integers(1, 6),
    minute=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 900), st.floats(0, 40)), max_size=60),
)
def test_whoever_waits_as_told_never_exceeds_either_limit_in_any_span(
    hour: int, minute: int, steps: list[tuple[str, float, float]]
) -> None:
    """One request after another, each of some latency, counted by the server at any moment of it."""
    budget = Budget(Limits(requests_per_hour=hour, requests_per_minute_per_endpoint=minute))
    now = NOW
    log: list[tuple[str, float, float]] = []
    for endpoint, pause, latency in steps:
        now += pause
        while (wait := budget.wait_seconds(endpoint, now)) > 0:
            now += wait
        budget.sent(endpoint)
        log.append((endpoint, now, now + latency))
        now += latency
        budget.answered(endpoint, now)
    blink = 1e-6
    for _, _, answered_at in log:
        within_hour = [
            entry for entry in log if entry[2] >= answered_at and entry[1] < answered_at + 3600 - blink
        ]
        assert len(within_hour) <= hour
        for endpoint in "ab":
            spent = [entry for entry in log if entry[0] == endpoint]
            within_minute = [
                entry for entry in spent if entry[2] >= answered_at and entry[1] < answered_at + 60 - blink
            ]
            assert len(within_minute) <= minute
