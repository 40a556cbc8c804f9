"""A sync that is killed or refused at a system call loses nothing that was held, and the next one mends it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from reliability.kill_points import measure
from reliability.traced_syncs import why_not

pytestmark = pytest.mark.skipif(
    bool(why_not()) and not os.environ.get("CI"), reason=f"{why_not()} (CI insists on it)"
)


@pytest.mark.timeout(400)
def test_faults_40_to_42_and_47_at_system_calls(tmp_path: Path) -> None:
    figures = measure(workdir=tmp_path)
    assert figures.failures == ()
    counts = Counter({name: int(count) for name, count in figures.counts})
    assert counts["killed, first sync"] >= 20
    assert counts["killed, second sync"] >= 18
    assert counts["killed, merge sync"] >= 3
    assert counts["killed with threads, first sync"] + counts["killed with threads, second sync"] >= 2
    for error in ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES"):
        assert counts[f"calls refused with {error}"] >= 2
    assert counts["short writes"] >= 6


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_faults_40_to_42_and_47_at_every_system_call(tmp_path: Path) -> None:
    assert measure(long=True, workdir=tmp_path).failures == ()
