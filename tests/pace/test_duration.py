"""How long requests will take is foretold by the budget itself."""

from __future__ import annotations

import pytest

from hsmirror.pace.budget import Budget, Limits
from hsmirror.pace.duration import Requests, Steps, foretold_seconds


def foretold(*stages: list[Steps], at_once: int = 16) -> float:
    return foretold_seconds(stages, Limits(), at_once=at_once, latency_seconds=0.2)


def test_nothing_takes_no_time() -> None:
    assert foretold([], [()], [(Requests("a", 0),)]) == 0.0


def test_what_goes_side_by_side_takes_one_latency_and_what_waits_takes_one_more() -> None:
    assert foretold([(Requests("a", 8),), (Requests("b", 8),)]) == pytest.approx(0.2)
    assert foretold([(Requests("a", 1), Requests("a", 8))]) == pytest.approx(0.4)
    assert foretold([(Requests("a", 1),)], [(Requests("b", 1),)]) == pytest.approx(0.4)


def test_only_so_many_are_under_way_at_once() -> None:
    assert foretold([(Requests("a", 33),)]) == pytest.approx(0.6)
    assert foretold([(Requests("a", 33),)], at_once=1) == pytest.approx(33 * 0.2)


def test_the_answers_share_the_line() -> None:
    assert foretold([(Requests("a", 4, 0.5),), (Requests("b", 4, 0.5),)]) == pytest.approx(0.2 + 8 * 0.5)


def test_the_limit_a_minute_is_an_endpoints() -> None:
    assert foretold([(Requests("a", 101),)], at_once=100) == pytest.approx(60.4)
    assert foretold([(Requests("a", 99),), (Requests("b", 99),)], at_once=100) == pytest.approx(0.4)


def test_the_limit_an_hour_is_for_all_together() -> None:
    stage: list[Steps] = [(Requests(f"endpoint {number}", 91),) for number in range(11)]
    assert foretold(stage, at_once=1001) == pytest.approx(3600.4)


def test_thousands_of_lists_take_as_few_looks_as_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    wait_seconds = Budget.wait_seconds

    def counted(budget: Budget, endpoint: str, now: float) -> float:
        nonlocal looks
        looks += 1
        return wait_seconds(budget, endpoint, now)

    monkeypatch.setattr(Budget, "wait_seconds", counted)
    lists: list[Steps] = [(Requests(f"endpoint {number % 3}", 1),) for number in range(2_000)]
    foretold(lists)
    assert looks < 3 * 4 * len(lists)
