"""Whatever happens in whatever order: nothing held is lost, and nothing is called complete that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.model import measure


@pytest.mark.timeout(400)
def test_the_archive_agrees_with_a_dictionary_in_whatever_order_things_happen(tmp_path: Path) -> None:
    figures = measure(workdir=tmp_path)
    assert figures.failures == ()
    counts = dict(figures.counts)
    assert int(counts["syncs"]) >= 50
    assert int(counts["syncs that were killed"]) >= 10
    assert int(counts["syncs while the server failed"]) >= 10
    assert int(counts["shards damaged"]) >= 5
    assert int(counts["repairs"]) >= 2


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_and_in_many_more_and_longer_orders(tmp_path: Path) -> None:
    assert measure(long=True, workdir=tmp_path).failures == ()
