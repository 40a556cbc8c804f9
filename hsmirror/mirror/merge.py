"""Rows that are held and rows that came: which are the same, which are new, which are gone.

Two rows are the same row only if their id says so. Where a data type's rows have no id, only rows that are
alike to the byte can be the same, and each may be real as often as it occurs: they are matched with a count.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

Identity: TypeAlias = Callable[[bytes], str | None]
"""A row's id, or None where it has none."""


def content_digest(row: bytes) -> bytes:
    """16 bytes that tell a row's content."""
    return hashlib.blake2b(row, digest_size=16).digest()


def by_content_where_ids_conflict(identity: Identity, *readings: Iterable[bytes]) -> Identity:
    """The same identity, but none for ids that one reading has with several contents.

    Such an id does not tell which row is which: a version that comes alone must not take the place of all.
    """
    conflicting: set[str] = set()
    for rows in readings:
        contents: dict[str, bytes] = {}
        for row in rows:
            row_id = identity(row)
            if row_id is not None and contents.setdefault(row_id, content_digest(row)) != content_digest(row):
                conflicting.add(row_id)
    if not conflicting:
        return identity

    def told(row: bytes) -> str | None:
        row_id = identity(row)
        return None if row_id in conflicting else row_id

    return told


def same_rows(some: Iterable[bytes], others: Iterable[bytes]) -> bool:
    """Are these the same rows, each as often, in whatever order? In constant memory."""
    return _sum_and_count(some) == _sum_and_count(others)


def _sum_and_count(rows: Iterable[bytes]) -> tuple[int, int]:
    total, count = 0, 0
    for row in rows:
        total += int.from_bytes(content_digest(row))
        count += 1
    return total, count


@dataclass(slots=True)
class RowSet:
    """What one reading of a list holds: ids, or contents with their counts, as digests."""

    identity: Identity
    _ids: set[bytes] = field(default_factory=set)
    _contents: Counter[bytes] = field(default_factory=Counter)

    def add(self, row: bytes) -> None:
        row_id = self.identity(row)
        if row_id is None:
            self._contents[content_digest(row)] += 1
        else:
            self._ids.add(_id_digest(row_id))

    def update(self, other: RowSet) -> None:
        """Add all that another set of the same identity holds."""
        self._ids |= other._ids
        self._contents += other._contents

    @property
    def has_contents(self) -> bool:
        """Is there a row that is told by its content alone?"""
        return bool(self._contents)

    def without(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Those of `rows` that are not in this set; a content is used up as often as it was added."""
        return (row for _, row in self.without_numbered(rows))

    def without_numbered(self, rows: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The same, each with its place among `rows`."""
        left = self._contents.copy()
        for number, row in enumerate(rows):
            row_id = self.identity(row)
            if row_id is not None:
                if _id_digest(row_id) not in self._ids:
                    yield number, row
                continue
            digest = content_digest(row)
            if left[digest] > 0:
                left[digest] -= 1
            else:
                yield number, row

    def __len__(self) -> int:
        return len(self._ids) + self._contents.total()


def _id_digest(row_id: str) -> bytes:
    return hashlib.blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(slots=True)
class Deduplicated:
    """Rows with the repeats dropped: same id and same content. One id with two contents stays twice.

    `conflicts` counts ids that came with more than one content; `rows` what came out. Both are right once
    the iteration has ended.
    """

    identity: Identity
    conflicts: int = 0
    rows: int = 0

    def of(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        seen: dict[bytes, set[bytes]] = {}
        for row in rows:
            row_id = self.identity(row)
            if row_id is not None:
                contents = seen.setdefault(_id_digest(row_id), set())
                digest = content_digest(row)
                if digest in contents:
                    continue
                self.conflicts += len(contents) == 1
                contents.add(digest)
            self.rows += 1
            yield row
