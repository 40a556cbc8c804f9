"""Which file is next, and whether its address will last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.pace.downloads import AddressLife, DownloadQueue, needs_fresh_address

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


@given(expiries=st.lists(st.none() | st.integers(0, 5)))
def test_the_next_download_is_the_one_whose_address_expires_first(expiries: list[int | None]) -> None:
    queue: DownloadQueue[int] = DownloadQueue()
    for number, expiry in enumerate(expiries):
        queue.add(number, expires_at=expiry)
    assert len(queue) == len(expiries)
    order = [queue.take() for _ in expiries]
    never = float("inf")
    assert order == sorted(
        range(len(expiries)), key=lambda job: (never if expiries[job] is None else expiries[job], job)
    )
    assert queue.take() is None
