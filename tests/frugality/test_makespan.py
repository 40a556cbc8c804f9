"""First syncs take hardly longer than limits, latency and bandwidth make them, and no 429 comes."""

from __future__ import annotations

import pytest

from frugality.labs import LabShape, Link
from frugality.makespan import cases, first_sync, most_over_least, over_least


@pytest.mark.parametrize(("shape", "link"), list(cases(long=False)), ids=str)
def test_a_first_sync_is_done_about_as_soon_as_it_can_be(shape: LabShape, link: Link) -> None:
    observed = first_sync(shape, link)
    assert over_least(observed) <= most_over_least(shape)
    assert not observed.refused


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(("shape", "link"), list(cases(long=True)), ids=str)
def test_so_is_one_of_a_large_lab(shape: LabShape, link: Link) -> None:
    observed = first_sync(shape, link)
    assert over_least(observed) <= most_over_least(shape)
    assert not observed.refused
