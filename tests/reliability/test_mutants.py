"""Every safeguard has a test that notices when it is gone; a sample by default, all of them with --long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from reliability.mutants import MUTANTS, measure, misplaced


def test_every_mutant_still_has_its_place_in_the_code() -> None:
    assert misplaced() == []
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1


@pytest.mark.timeout(600)
def test_a_sample_of_the_mutants_is_noticed(tmp_path: Path) -> None:
    figures = measure(workdir=tmp_path)
    assert figures.failures == ()
    counts = dict(figures.counts)
    assert counts["noticed"] == counts["safeguards taken out"] >= 9


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_mutant_is_noticed(tmp_path: Path) -> None:
    figures = measure(long=True, workdir=tmp_path)
    assert figures.failures == ()
    assert dict(figures.counts)["noticed"] == len(MUTANTS) >= 60
