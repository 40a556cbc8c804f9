"""Recordings in virtual time: in time, once, and with hardly more requests than there is no way around."""

from __future__ import annotations

import pytest

from frugality.recordings import MOST_OVER_LEAST_SECONDS, SHORT, Scenario, scenarios, simulate

LONG = [each for each in scenarios(long=True) if each not in SHORT]


def require_targets_met(scenario: Scenario) -> None:
    fetched = simulate(scenario)
    assert (fetched.report.exit_status, fetched.failures) == (0, ())
    assert fetched.begun_expired == 0, "a download was begun under an expired address"
    assert fetched.bytes_twice == 0, "bytes were sent twice"
    assert fetched.refused == 0, "the API refused a request with 429"
    assert fetched.is_frugal, (
        f"{fetched.address_requests} requests for addresses, {fetched.least_address_requests} at least"
    )
    assert fetched.makespan_ratio <= MOST_OVER_LEAST_SECONDS


@pytest.mark.parametrize("scenario", SHORT, ids=lambda each: each.name)
def test_every_file_comes_in_time_once_and_under_a_living_address(scenario: Scenario) -> None:
    require_targets_met(scenario)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", LONG, ids=lambda each: each.name)
def test_every_file_comes_in_time_once_and_under_a_living_address_at_any_scale(scenario: Scenario) -> None:
    require_targets_met(scenario)
