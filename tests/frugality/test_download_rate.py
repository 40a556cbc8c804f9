"""The download rate that was asked for is kept in every few seconds, and used."""

from __future__ import annotations

import pytest

from frugality.download_rate import CASES, LEAST_USED, MOST_IN_A_WINDOW, Limited, fetch_limited


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
def test_the_rate_holds_in_every_three_seconds_and_is_used(case: Limited) -> None:
    came = fetch_limited(case)
    assert came.most_in_a_window <= MOST_IN_A_WINDOW
    assert came.used >= LEAST_USED
