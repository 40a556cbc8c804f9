"""What envelopes say of pages and of time, and when they are compressed."""

from __future__ import annotations

import pytest

from hsmirror.serve.envelope import accepts_gzip, iso_milliseconds


@pytest.mark.parametrize(
    "header", ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "gzip, deflate, br", "br;q=1.0, gzip;q=1.0"]
)
def test_gzip_is_accepted(header):
    assert accepts_gzip(header)


@pytest.mark.parametrize("header", ["", "identity", "gzip;q=0", "gzip; q=0.000", "br, deflate"])
def test_gzip_is_not_accepted(header):
    assert not accepts_gzip(header)


def test_times_are_utc_with_milliseconds():
    assert iso_milliseconds(1_729_434_900.0625) == "2024-10-20T14:35:00.062Z"
