"""No run may say complete with a row missing, twice or elsewhere, whatever its honest server is like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from reliability.worlds import Play, PlayOverHttp, Search
from reliability.worlds_drawn import World, draw
from reliability.worlds_servers import Oddities
from reliability.worlds_truth import NO_ROOM, Experiment, Manners, faults

MANNERS = Manners(("rooms", "participants", "events", "components", "variables"), rows_a_kind=(12,), twins=0.5)


def calm_world() -> World:
    world = draw(0)
    world.manners, world.oddities, world.nights, world.traits = MANNERS, Oddities(), world.nights[:1], []
    return world


def search(seeds: range, seconds: float) -> Search:
    found: list[str] = []
    search = Search()
    search.run(seeds, seconds, found.append)
    assert not found, "\n".join((*found, str(search)))
    return search


def test_no_world_is_called_complete_that_is_not() -> None:
    tried = search(range(30), seconds=90.0)
    assert tried.worlds >= 10
    assert tried.share_complete("good") == 1.0
    assert tried.share_complete("all") > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_nor_is_one_over_real_connections(seed: int, tmp_path: Path) -> None:
    assert PlayOverHttp(draw(seed), tmp_path).play().failures == []


def test_a_row_that_is_missing_or_doubled_or_misplaced_is_noticed(tmp_path: Path) -> None:
    assert Play(calm_world(), tmp_path).play().failures == []
    experiment = Experiment("exp_0", lambda: 1e9, Random(1), MANNERS)
    rows = Counter(row.now.place for row in experiment.there("events"))

    def found(rows: Counter[tuple[str, str]]) -> list[str]:
        return list(faults(experiment, "events", rows, start=0, is_claimed=lambda state, row: True))

    place = min(rows)
    assert found(rows) == []
    assert "is held 0 of 1 times" in found(rows - Counter([place]))[0]
    assert "is held 2 times" in found(rows + Counter([place]))[0]
    assert NO_ROOM in found(rows - Counter([place]) + Counter([(NO_ROOM, place[1])]))[0]


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_nor_any_of_thousands() -> None:
    assert search(range(10_000, 10**9), seconds=900.0).worlds >= 1_000
