"""What is to be held once rows that came meet those that are held; rows that are gone upstream stand last.

Nothing outside what a reading speaks for is touched, and nothing that is held leaves but for a newer version
of itself.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from hsmirror.mirror.asked import Asked
from hsmirror.mirror.merge import RowSet, content_digest, same_rows
from hsmirror.mirror.spelling import longer_ones, spelled_anew, with_a_new_field
from hsmirror.mirror.versions import identity_between

Rows = Callable[[], Iterable[bytes]]


class Merge:
    """The rows of one room, `held` and `came`; of the former, the last `gone_before` are gone already.

    `left_rows` of what is held stay beside what came, `gone_rows` of them are what the server no longer has.
    """

    def __init__(self, held: Rows, came: Rows, asked: Asked, *, held_rows: int, gone_before: int = 0) -> None:
        self._held = held
        self._came = came
        self._asked = asked
        self._held_rows = held_rows
        self._last = held_rows - gone_before
        self._is_whole = asked.is_whole
        identity = identity_between(held, came, asked)
        self._new = _row_set(came(), RowSet(identity))
        self._had = _row_set(held(), RowSet(identity)) if asked.only_adds else None
        self._respelled: Counter[bytes] = self._find_respelled() if asked.is_proven else Counter()
        self.left_rows = self.gone_rows = 0
        for number, _ in self._left():
            self.left_rows += 1
            self.gone_rows += self._is_whole or number >= self._last

    def __repr__(self) -> str:
        return f"<Merge left={self.left_rows} gone={self.gone_rows}>"

    @property
    def is_news(self) -> bool:
        """May there be a row that is not held, or one that is to leave?"""
        return not self._asked.is_narrow or bool(self._respelled) or not _has_all(self._held(), self._taken())

    def rows(self) -> Iterator[bytes]:
        """All that is to be held, those that are gone last."""
        if self._asked.is_narrow:
            yield from (row for number, row in self._left() if number < self._last)
        yield from self._taken()
        for number, row in self._left():
            if number >= self._last or not self._asked.is_narrow:
                yield row

    def are_gone_last(self) -> bool:
        """Do the rows that are gone stand last in what is held already?"""
        if not self._is_whole:
            return True  # what was gone before is all that is known to be
        left = (row for _, row in self._left())
        return same_rows(islice(self._held(), self._held_rows - self.gone_rows, None), left)

    def new_rows(self) -> array[int]:
        """Marks of the rows that came and were not held as they are."""
        held = {row_mark(row) for row in self._held()}
        return array("q", (mark for row in self._taken() if (mark := row_mark(row)) not in held))

    def _taken(self) -> Iterable[bytes]:
        return self._came() if self._had is None else self._had.without(self._came())

    def _left(self) -> Iterator[tuple[int, bytes]]:
        """The rows that are held and stay, with their places."""
        if self._had is not None:
            yield from enumerate(self._held())
            return
        respelled = self._respelled.copy()
        for number, row in self._new.without_numbered(self._held()):
            if respelled and respelled[digest := content_digest(row)] > 0:
                respelled[digest] -= 1
            else:
                yield number, row

    def _find_respelled(self) -> Counter[bytes]:
        """Rows without an id that a proven list has in another spelling."""

        def gone(before: int = self._held_rows) -> Iterator[bytes]:
            for number, row in self._new.without_numbered(self._held()):
                if number < before and self._asked.identity(row) is None and self._asked.speaks_for(row):
                    yield row

        def came() -> Iterator[bytes]:
            return (row for row in self._came() if self._asked.identity(row) is None)

        if not self._new.has_contents or next(gone(), None) is None or next(came(), None) is None:
            return Counter()
        held = _row_set(self._held(), RowSet(lambda _: None))

        def new() -> Iterator[bytes]:
            return held.without(came())

        respelled = longer_ones(gone, new)
        newly_gone = partial(gone, self._last)  # the others were looked at when they went
        if next(newly_gone(), None) is not None:
            respelled |= with_a_new_field(newly_gone, came)
            if sum(1 for _ in new()) == sum(1 for _ in came()):
                respelled |= spelled_anew(newly_gone, came)
        return respelled


def row_mark(row: bytes) -> int:
    """64 bits that tell a row's content; good in an archive, too."""
    return int.from_bytes(content_digest(row)[:8], signed=True)


def _row_set(rows: Iterable[bytes], into: RowSet) -> RowSet:
    for row in rows:
        into.add(row)
    return into


def _has_all(held: Iterable[bytes], came: Iterable[bytes]) -> bool:
    """Is every row that came held already, to the byte?"""
    return next(iter(_row_set(held, RowSet(lambda _: None)).without(came)), None) is None
