"""Which page of a list is read next for the addresses in it: where it begins, and how many rows it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_FEWEST_ROWS = 250
"""A quarter of the documented page."""


@dataclass(frozen=True, slots=True)
class PageOfAddresses:
    """What to ask for, and the source that it should begin with, or nearly."""

    source: str
    offset: int
    rows: int


class AddressPages:
    """One list's addresses, by the sources that they lead to.

    A source stands where it stood when the list was read; pages that come tell how far it has moved. Downloads
    go in about the order of the list, so that a page begins with the first source that somebody waits for. It
    has twice as many rows as could be used of the last one: servers sign row by row, and what is not used
    expires.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._places: dict[str, int] = {}
        self._shift = 0
        self._misses = 0
        self._wanted: set[str] = set()
        self._page_offset: int | None = None
        self._used = 0
        self._useful: int | None = None

    def __repr__(self) -> str:
        return f"<AddressPages rows={self._rows} wanted={len(self._wanted)} shift={self._shift}>"

    def listed(self, source: str | None) -> None:
        """The list's next row has come; None: it has no address."""
        if source is not None:
            self._places.setdefault(source, self._rows)
        self._rows += 1

    def want(self, source: str) -> None:
        """Somebody waits for an address."""
        self._wanted.add(source)

    def drop(self, source: str) -> None:
        """Nobody waits for it any more."""
        self._wanted.discard(source)

    def used_one(self) -> None:
        """An address of the last page has been of use."""
        self._used += 1

    def next_page(self, *, most_rows: int) -> PageOfAddresses | None:
        """The page for what is wanted; None where nothing wanted has a known place in the list."""
        first = min(
            (source for source in self._wanted if source in self._places), key=self._place, default=None
        )
        if first is None:
            return None
        place = self._place(first)
        if (
            self._page_offset is not None and place >= self._page_offset
        ):  # else the page is left before its time
            self._useful = self._used
        # Where there are rows to spare: a download that breaks off and goes on stands before the newest.
        if self._useful is None:
            rows, spare = most_rows, most_rows - (self._rows - place)
        else:
            rows = min(most_rows, max(_FEWEST_ROWS, 2 * self._useful))
            spare = (rows - self._useful) // 2
        return PageOfAddresses(first, max(0, place - max(0, spare)), rows)

    def received(self, page: PageOfAddresses, sources: Sequence[str]) -> bool:
        """Take note of the sources of a page that came; False where this list is not as it was listed.

        Where the page's own source is not on it, the others tell how far rows have moved, and it is looked for
        there once more; or, where they stand where they should, that it is gone.
        """
        self._page_offset, self._used = page.offset, 0
        self._wanted.difference_update(sources)
        if page.source in sources:
            self._misses = 0
            return True
        moves = [
            page.offset + number - self._place(source)
            for number, source in enumerate(sources)
            if source in self._places
        ]
        if 0 in moves:
            del self._places[page.source]
            self._misses = 0
            return True
        self._misses += 1
        if not moves or self._misses > 1:
            return False
        self._shift += moves[0]
        return True

    def _place(self, source: str) -> int:
        return max(0, self._places[source] + self._shift)
