"""How many rows are distinct, counted in little memory however many there are."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from hsmirror.archive import durable

_RUN_HASHES = 32_768
_BUCKETS = 256
_HASH_BYTES = 8
_MASK = (1 << 64) - 1


class DistinctCounter:
    """Counts distinct rows by the hashes of what identifies them.

    Up to `run_hashes` are kept in memory, more of them on disk, eight bytes a row, in runs that are sorted into
    buckets: a bucket is counted at a time, of ten million rows 40,000. `new_path` names a file for them, made
    if need be; `close` removes it.

    Two different rows with the same 64-bit hash would count as one: that is taken for a repeat, which costs
    a second reading and never a row.
    """

    def __init__(
        self, new_path: Callable[[], Path], modes: durable.Modes, *, run_hashes: int = _RUN_HASHES
    ) -> None:
        self._run_hashes = run_hashes
        self._new_path = new_path
        self._modes = modes
        self._waiting = array("q")
        self._path: Path | None = None
        self._runs: list[array[int]] = []
        """Where each bucket begins, in hashes from the start of the file, and where the last one ends."""
        self._sum = 0
        self.distinct_in_batches = 0
        """Distinct ones of each batch, added up: more than `count` where one came in several of them."""

    def __repr__(self) -> str:
        return f"<DistinctCounter waiting={len(self._waiting)} runs={len(self._runs)}>"

    def add(self, identities: Iterable[object]) -> None:
        """Take in the identities of some rows.

        Raises:
            StorageError: they do not fit on the disk.
        """
        hashes = list(map(hash, identities))
        self._sum += sum(hashes)
        self.distinct_in_batches += len(set(hashes))
        self._waiting.fromlist(hashes)
        if len(self._waiting) > self._run_hashes:
            self._write_run()

    def count(self) -> int:
        """How many were distinct. Reads the disk: for a worker thread.

        Raises:
            StorageError: the disk does not give back what was written.
        """
        if self._path is None:
            return len(set(self._waiting))
        if self._waiting:
            self._write_run()
        with durable.disk_errors(f"read {self._path}"):
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                return sum(self._count_bucket(descriptor, bucket) for bucket in range(_BUCKETS))
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Forget them all."""
        self._waiting, self._runs = array("q"), []
        if self._path is not None:
            with suppress(OSError):  # the run clears its staging folder in the end
                self._path.unlink()
            self._path = None

    @property
    def fingerprint(self) -> int:
        """The same for the same rows in any order."""
        return self._sum & _MASK

    def _write_run(self) -> None:
        buckets: list[list[int]] = [[] for _ in range(_BUCKETS)]
        appends = [bucket.append for bucket in buckets]
        for value in self._waiting:
            appends[value & (_BUCKETS - 1)](value)
        self._path = self._path or self._new_path()
        content = b"".join(array("q", bucket).tobytes() for bucket in buckets)
        durable.append(self._path, content, self._modes)
        start = self._runs[-1][-1] if self._runs else 0
        self._runs.append(array("q", accumulate(map(len, buckets), initial=start)))
        self._waiting = array("q")

    def _count_bucket(self, descriptor: int, bucket: int) -> int:
        seen: set[int] = set()
        for ends in self._runs:
            start, size = ends[bucket], ends[bucket + 1] - ends[bucket]
            content = os.pread(descriptor, size * _HASH_BYTES, start * _HASH_BYTES)
            if len(content) != size * _HASH_BYTES:
                raise OSError("fewer bytes came back than were written")
            seen.update(array("q", content))
        return len(seen)
