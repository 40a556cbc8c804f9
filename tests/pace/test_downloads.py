"""How long an address is good, and when the next one is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.pace.downloads import AddressLife, RateLimit, needs_fresh_address, next_address_in_seconds

NOW = 10_000.0


def needs(life: AddressLife | None) -> bool:
    return needs_fresh_address(life, now=NOW)


def test_without_an_address_a_fresh_one_is_needed() -> None:
    assert needs(None)


def test_an_address_that_does_not_expire_is_good() -> None:
    assert not needs(AddressLife(0.0, None))


@pytest.mark.parametrize(("expires_at", "expected"), [(NOW - 1, True), (NOW + 1, True), (NOW + 3, False)])
def test_fault_24_an_address_about_to_expire_is_as_good_as_expired(expires_at: float, expected: bool) -> None:
    assert needs(AddressLife(NOW - 3600, expires_at)) is expected


def test_a_very_short_lived_address_is_used_while_it_is_new() -> None:
    """Its whole life is shorter than the margin: else every address would be refused, for ever."""
    assert not needs(AddressLife(NOW, NOW + 1.5))


@given(whole=st.floats(0.1, 10**6))
def test_a_brand_new_address_is_always_used(whole: float) -> None:
    assert not needs(AddressLife(NOW, NOW + whole))


GOOD_FOR_A_MINUTE = AddressLife(NOW, NOW + 60)


def ask_in(
    life: AddressLife | None, *, left_bytes: int, bytes_per_second: float = 1000.0, takes_seconds: float = 0.2
) -> float:
    return next_address_in_seconds(
        life, left_bytes=left_bytes, bytes_per_second=bytes_per_second, takes_seconds=takes_seconds
    )


def test_the_next_address_is_asked_for_twice_its_time_before_a_download_ends() -> None:
    assert ask_in(GOOD_FOR_A_MINUTE, left_bytes=10_000) == pytest.approx(10 - 0.4)


def test_the_next_address_is_asked_for_at_once_where_the_download_is_about_to_end() -> None:
    assert ask_in(GOOD_FOR_A_MINUTE, left_bytes=300) == 0


@pytest.mark.parametrize("takes_seconds", [3.0, 3600.0])
def test_the_next_address_is_never_asked_for_more_than_seconds_early(takes_seconds: float) -> None:
    """Where it takes an hour, that is the limits' doing, and the address would expire before its turn."""
    assert ask_in(None, left_bytes=10_000, takes_seconds=takes_seconds) == pytest.approx(5)


def test_the_next_address_is_asked_for_at_most_a_quarter_of_its_life_early() -> None:
    assert ask_in(AddressLife(NOW, NOW + 4), left_bytes=10_000, takes_seconds=3) == pytest.approx(9)


def test_at_a_limited_rate_all_who_receive_pause_in_turn() -> None:
    rate = RateLimit(1000.0)
    assert rate.delay_seconds(500, NOW) == pytest.approx(0.45)
    assert rate.delay_seconds(500, NOW) == pytest.approx(0.95)
    assert rate.delay_seconds(500, NOW + 0.95) == pytest.approx(0.5)


def test_a_moment_that_was_not_used_is_made_up_for_and_an_hour_is_not() -> None:
    rate = RateLimit(1000.0)
    rate.delay_seconds(1000, NOW)
    assert rate.delay_seconds(500, NOW + 0.97) == pytest.approx(0.48)
    assert rate.delay_seconds(500, NOW + 3600) == pytest.approx(0.45)
    assert rate.delay_seconds(10, NOW + 7200) == 0


def test_without_a_limit_nobody_pauses() -> None:
    assert RateLimit(None).delay_seconds(10**12, NOW) == 0
