"""Both limits, in both readings of what a window is; no time passes but that of a manual clock."""

from __future__ import annotations

import pytest

from hsmirror.errors import UsageError
from hsmirror.lab.limits import LimitOptions, RequestLimits


@pytest.mark.parametrize(
    "impossible",
    [{"requests_per_hour": 0}, {"requests_per_minute_per_endpoint": -1}, {"hour_seconds": 0}],
)
def test_limits_that_cannot_be_are_refused(impossible):
    with pytest.raises(UsageError):
        LimitOptions(**impossible)


def admitted(limits: RequestLimits, endpoint: str, now: float, *, asked: int) -> int:
    return sum(limits.admit("key", endpoint, now) == 0 for _ in range(asked))


@pytest.mark.parametrize("window", ["sliding", "fixed"])
def test_an_endpoint_gets_100_requests_a_minute_and_a_key_1000_an_hour(window):
    limits = RequestLimits(LimitOptions(window=window))
    counts = [admitted(limits, f"data/{number}", 3600.0, asked=200) for number in range(12)]
    assert counts == [100] * 10 + [0, 0]


def test_keys_do_not_share_their_limits():
    limits = RequestLimits(LimitOptions(requests_per_minute_per_endpoint=1))
    assert limits.admit("one", "data/events", 0.0) == 0
    assert limits.admit("other", "data/events", 0.0) == 0
    assert limits.admit("one", "data/events", 0.0) == 60


def test_a_sliding_window_frees_each_request_when_its_own_minute_is_over():
    limits = RequestLimits(LimitOptions(requests_per_minute_per_endpoint=2))
    assert limits.admit("key", "data/events", 100.0) == 0
    assert limits.admit("key", "data/events", 130.0) == 0
    assert limits.admit("key", "data/events", 150.0) == 10.0
    assert limits.admit("key", "data/events", 160.0) == 0
    assert limits.admit("key", "data/events", 160.0) == 30.0


def test_a_fixed_window_frees_all_at_once_at_its_boundary():
    limits = RequestLimits(LimitOptions(requests_per_minute_per_endpoint=2, window="fixed"))
    assert admitted(limits, "data/events", 119.0, asked=5) == 2
    assert limits.admit("key", "data/events", 119.0) == 1.0
    assert admitted(limits, "data/events", 120.0, asked=5) == 2


def test_a_refused_request_is_not_counted():
    limits = RequestLimits(LimitOptions(requests_per_hour=150))
    assert admitted(limits, "data/events", 0.0, asked=500) == 100
    assert admitted(limits, "data/chat", 0.0, asked=500) == 50


def test_the_longer_wait_counts_where_both_limits_refuse():
    options = LimitOptions(requests_per_hour=1, requests_per_minute_per_endpoint=1)
    limits = RequestLimits(options)
    limits.admit("key", "data/events", 0.0)
    assert limits.admit("key", "data/events", 10.0) == 3590.0


def test_an_hour_can_be_cut_to_seconds():
    limits = RequestLimits(LimitOptions(requests_per_hour=5, hour_seconds=4))
    assert admitted(limits, "data/events", 0.0, asked=9) == 5
    assert admitted(limits, "data/events", 3.9, asked=9) == 0
    assert admitted(limits, "data/events", 4.0, asked=9) == 5
