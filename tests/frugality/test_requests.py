"""No more requests than needed, and as many as `plan` foretold, in labs of every size."""

from __future__ import annotations

import pytest

from frugality.labs import LabShape
from frugality.requests import labs, misses
from frugality.runs import FIRST, NEW_ROOMS, REPAIR, UNCHANGED, play


@pytest.mark.parametrize("shape", list(labs(long=False)), ids=str)
def test_each_run_of_a_lab_is_frugal_and_as_planned(shape: LabShape) -> None:
    played = play(shape)
    assert [observed.what for observed in played] == [FIRST, UNCHANGED, NEW_ROOMS, REPAIR]
    assert [miss for observed in played for miss in misses(observed)] == []


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("shape", list(labs(long=True)), ids=str)
def test_so_it_is_in_large_ones(shape: LabShape) -> None:
    assert [miss for observed in play(shape) for miss in misses(observed)] == []
