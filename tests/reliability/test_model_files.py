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
    # Real sockets and threads take part: what can follow on what, and how often, is not the same each time.
    tried = {what: count for what, count in counts.items() if isinstance(count, int)}
    assert tried["syncs"] >= 5
    assert tried["syncs that were killed"] >= 5
    assert sum(tried.values()) >= 100


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_and_in_many_more_and_longer_orders(tmp_path: Path) -> None:
    assert measure(long=True, workdir=tmp_path).failures == ()
