"""Distinct rows counted as a set counts them, and in little memory."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.archive.durable import Modes
from hsmirror.errors import StorageError
from hsmirror.mirror.distinct import DistinctCounter

identities = st.one_of(st.text(max_size=3), st.binary(max_size=2), st.integers())


@contextmanager
def counter_of(batches: Sequence[Sequence[object]], run_hashes: int) -> Iterator[DistinctCounter]:
    with tempfile.TemporaryDirectory() as folder:
        counter = DistinctCounter(lambda: Path(folder, "hashes"), Modes(), run_hashes=run_hashes)
        for batch in batches:
            counter.add(batch)
        yield counter
        counter.close()
        assert not list(Path(folder).iterdir())


@given(batches=st.lists(st.lists(identities, max_size=20)), run_hashes=st.sampled_from([3, 1000]))
def test_it_counts_as_a_set_does_in_memory_and_on_disk(batches: list[list[object]], run_hashes: int) -> None:
    with counter_of(batches, run_hashes) as counter:
        assert counter.count() == len({hash(entry) for batch in batches for entry in batch})


def test_it_counts_many_as_it_counts_few() -> None:
    batches = [
        [f"row-{number}" for number in range(start, start + 15_000)] for start in range(0, 200_000, 10_000)
    ]
    with counter_of(batches, 32_768) as counter:
        assert counter.count() == 205_000


@given(rows=st.lists(st.text(max_size=4), max_size=30), seed=st.integers(0, 9), cut=st.integers(0, 30))
def test_the_fingerprint_is_of_the_rows_in_any_order_and_any_batches(
    rows: list[str], seed: int, cut: int
) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))
    with counter_of([shuffled[:cut], shuffled[cut:]], 3) as in_batches, counter_of([rows], 1000) as at_once:
        assert in_batches.fingerprint == at_once.fingerprint


@given(rows=st.sets(st.text(max_size=4), min_size=1))
def test_the_fingerprint_tells_a_missing_row(rows: set[str]) -> None:
    fewer = sorted(rows)[1:]
    with counter_of([fewer], 1000) as without, counter_of([sorted(rows)], 1000) as whole:
        assert without.fingerprint != whole.fingerprint or hash(min(rows)) == 0


def test_its_memory_hardly_grows_with_what_it_counts() -> None:
    peaks: list[int] = []
    for thousands in (50, 200):
        batches = (
            [number * 2_654_435_761 for number in range(first, first + 1000)]
            for first in range(0, thousands * 1000, 1000)
        )
        tracemalloc.start()
        try:
            with tempfile.TemporaryDirectory() as folder:
                counter = DistinctCounter(lambda: Path(folder, "hashes"), Modes(), run_hashes=10_000)
                for batch in batches:
                    counter.add(batch)
                assert counter.count() == thousands * 1000
                counter.close()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_fault_37_hashes_that_the_disk_gives_back_short_are_an_error_of_the_disk(tmp_path: Path) -> None:
    counter = DistinctCounter(lambda: tmp_path / "hashes", Modes(), run_hashes=10)
    counter.add(range(100))
    (tmp_path / "hashes").write_bytes(b"")
    with pytest.raises(StorageError):
        counter.count()
