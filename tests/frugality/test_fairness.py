"""Two who use the same key: neither is starved, and a 429 is not answered with more of the same."""

from __future__ import annotations

import pytest

from frugality.fairness import CASES, Case, play


@pytest.mark.parametrize("case", CASES, ids=lambda each: f"{each.title}, share {each.share}")
def test_each_gets_its_part_and_a_429_is_not_answered_with_more_of_the_same(case: Case) -> None:
    played = play(case)
    assert played.mirror.leanest_hour() >= case.least_for_mirror
    assert played.other.leanest_hour() >= case.least_for_other
    assert played.mirror.most_refused_in_an_hour() <= case.most_refused
    assert played.mirror.given_up == 0
