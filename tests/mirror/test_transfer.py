"""How much of recording files is in memory at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.mirror.transfer import piece_bytes

MIB = 1 << 20


@given(downloads=st.integers(1, 128), rate=st.none() | st.floats(1, 1e10))
def test_pieces_of_all_downloads_fit_into_their_share_of_memory(downloads: int, rate: float | None) -> None:
    assert 2 * downloads * piece_bytes(downloads, rate) <= 24 * MIB


@pytest.mark.parametrize(("downloads", "expected"), [(1, 2 * MIB), (4, 2 * MIB), (16, 24 * MIB // 32)])
def test_pieces_are_as_large_as_that_allows(downloads: int, expected: int) -> None:
    assert piece_bytes(downloads, None) == expected


@given(rate=st.floats(1, 1e10), downloads=st.integers(1, 16))
def test_at_a_limited_rate_a_piece_of_each_download_is_worth_a_moment(rate: float, downloads: int) -> None:
    assert downloads * piece_bytes(downloads, rate) <= max(rate / 20, downloads * 4096)
