"""Whatever happens to recording files in whatever order: none is wrong, none is lost, none is said to be there
that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.model_files import measure


@pytest.mark.timeout(400)
def test_files_agree_with_a_dictionary_in_whatever_order_things_happen(tmp_path: Path) -> None:
    figures = measure(workdir=tmp_path)
    assert figures.failures == ()
    assert list(tmp_path.iterdir()) == []
    counts = dict(figures.counts)
    assert int(counts["syncs"]) >= 10
    assert int(counts["syncs that were killed"]) >= 10
    assert int(counts["syncs while the storage failed"]) >= 10
    assert int(counts["addresses that expired"]) >= 5
    assert int(counts["downloads broken off"]) >= 5
    assert int(counts["files damaged"]) >= 5
    assert int(counts["repairs"]) >= 2
    assert int(counts["people forgotten"]) >= 5


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_and_in_many_more_and_longer_orders(tmp_path: Path) -> None:
    assert measure(long=True, workdir=tmp_path).failures == ()
