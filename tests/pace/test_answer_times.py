"""What answers tell of the server and the line."""

from __future__ import annotations

import pytest

from hsmirror.pace.answer_times import AnswerTimes


def times_of(*answers: tuple[int, float]) -> AnswerTimes:
    """By size in bytes and seconds."""
    times = AnswerTimes()
    for size_bytes, seconds in answers:
        times.note(size_bytes, seconds)
    return times


def test_before_there_is_an_answer_nothing_takes_time() -> None:
    assert (times_of().latency_seconds, times_of().line_seconds(1e6)) == (0.0, 0.0)


def test_the_quickest_answer_is_the_latency_and_the_largest_one_tells_of_the_line() -> None:
    times = times_of((100, 0.2), (1_000_000, 1.2), (50, 0.3))
    assert times.latency_seconds == 0.2
    assert times.line_seconds(500_000) == pytest.approx(0.5)


def test_a_large_answer_that_is_hardly_slower_says_nothing_of_the_line() -> None:
    assert times_of((100, 0.20), (1_000_000, 0.21)).line_seconds(1e9) == 0.0
