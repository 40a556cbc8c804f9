"""The cursor through one paginated list. It decides what to ask next, and does no I/O.

Everything that a server says of a list is advisory; what counts is the rows received. The cursor always ends:
each page received moves it on or ends it. What it cannot read to the end it says so of, in its claims.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsmirror.api.envelope import Page
from hsmirror.api.list_claims import Pagination
from hsmirror.api.signatures import content_of

SMALLEST_LIMIT = 10
"""Below this, a page that times out is not a matter of its size."""

SMALLER_LIMITS = (1_000, 100)
UNPAGED_SMALLER_LIMITS = (5_000, 1_000, 100)
"""What to ask for where a server refuses more rows, from the documented defaults down; after these, nothing."""

_UNNAMED_LIMIT = 10_000
"""What a page may hold where no size is named: the server's own is learnt from what comes."""

_EMPTY_PAGE_RECHECKS = 1
_MOST_EMPTY_PAGES = 3
_MOST_IDS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Ask:
    """The rows to ask for next, and, before them, `overlap` rows that the page before it ends with."""

    offset: int
    limit: int
    overlap: int = 0

    @property
    def from_offset(self) -> int:
        """Where the page begins."""
        return self.offset - self.overlap

    @property
    def page_rows(self) -> int:
        """How many rows the page has."""
        return self.limit + self.overlap


@dataclass(frozen=True, slots=True)
class Claims:
    """What the pages of one pass said, for the proof of completeness."""

    rows: int
    pages: int
    """Pages with rows: what came in one page did not move while it was read."""
    first_total: int | None
    last_total: int | None
    total_moved: bool
    fell_short: bool
    """The list ended before its total: rows are missing, or the total is wrong."""
    has_hole: bool = False
    """It ended at an empty page although the server itself says that there are rows behind it."""
    has_shifted: bool = False
    """Where two pages meet they do not show the same row: it moved meanwhile, or its order is not stable."""
    says_more: bool = False
    """The last answer says that there is more behind it."""
    ends_in_refusal: bool = False
    """The server has no page there, instead of an empty one: the end, or a whim."""
    trouble: str = ""
    """Why the list cannot be read to its end."""
    page_rows: int = 0
    """How many rows a page had; how many it might have had, where there was one."""


@dataclass(frozen=True, slots=True)
class _Furthest:
    """The page furthest down the list, without its rows: `rows` of it were kept."""

    offset: int
    limit: int
    rows: int
    pagination: Pagination
    was_cut: bool

    @property
    def end(self) -> int:
        return self.offset + self.rows

    @property
    def is_short(self) -> bool:
        """Shorter than the page size that the server itself names, or has granted before."""
        granted = self.pagination.limit
        if granted is None:
            return self.offset > 0 and self.rows < self.limit
        return self.rows < granted


class Cursor:
    """Asks for the pages of one list, several at once as soon as the total is known.

    `asks(n)` gives up to n further pages to ask for; each must be answered by `received`, `timed_out` or
    `limit_refused`. `received` gives the rows to be kept.

    Each page begins with the `overlap` rows that the one before it ends with: a row deleted before it
    meanwhile shows there, even where another one was added, so that the total is the same.

    A list that is not `paged` is asked for whole; where its answer says that there is more, it is paged after
    all.
    """

    def __init__(self, *, limit: int, paged: bool = True, rows_have_ids: bool = True, overlap: int = 0) -> None:
        if limit < 1:
            raise ValueError("a page has at least one row")
        self._overlap_rows = overlap
        self.names_limit = True
        """False: the server refuses every page size, and is asked for its own."""
        self.limit = limit
        self.learnt_limit: int | None = None
        """The page size that the server has shown to be its own; None while there is no good evidence."""
        self._paged = paged
        self._rows_have_ids = rows_have_ids
        self._waiting: list[Ask] = [Ask(0, limit)]
        self._outstanding: set[Ask] = set()
        self._frontier = limit  # the first offset that nothing has been asked for at
        self._started = False
        self._end: int | None = None  # an empty page stood here
        self._last: _Furthest | None = None
        self._totals: list[int] = []
        self._seen: dict[int, int] = {}  # fingerprint of a page → its offset
        self._seen_ids: set[int] = set()
        self._pages = 0
        self._repeats = 0
        self._rechecks: dict[int, int] = {}
        self._total_moved = False
        self._has_shifted = False
        self._meetings: dict[int, object] = {}  # what stands where two pages meet, until both have shown it
        self._last_answer: tuple[int, Pagination] = (-1, Pagination())
        """Of the furthest page: its offset, and its claims."""
        self._first_page_number = 1
        self._passed_over = 0  # empty pages that the server itself says are not the end
        self._leaves_out = False  # it gives shorter pages than it might, and says that they are not the end
        self._largest_page = 0
        self._ends_in_refusal = False
        self._trouble = ""
        self.rows = 0

    def __repr__(self) -> str:
        return (
            f"<Cursor rows={self.rows} total={self.total} asked={len(self._outstanding)} done={self.is_done}>"
        )

    @property
    def total(self) -> int | None:
        return self._totals[-1] if self._totals else None

    @property
    def is_done(self) -> bool:
        return self._started and not self._waiting and not self._outstanding and not self._may_run_ahead()

    @property
    def claims(self) -> Claims:
        total = self.total
        return Claims(
            rows=self.rows,
            pages=self._pages,
            first_total=self._totals[0] if self._totals else None,
            last_total=total,
            total_moved=self._total_moved,
            fell_short=total is not None and self.rows < total,
            has_hole=self._passed_over > 0
            or (self._leaves_out and total is None)
            or (total is not None and self.rows < total and self._lacks_rows_before_its_end()),
            has_shifted=self._has_shifted,
            says_more=self._says_more(),
            ends_in_refusal=self._ends_in_refusal,
            trouble=self._trouble,
            page_rows=self._largest_page if self._pages > 1 else self.limit,
        )

    def least_pages_left(self) -> int:
        """Further pages at the least, as far as the total tells."""
        total = self.total
        step = max(1, self._next(self._frontier).limit)
        ahead = max(0, total - self._frontier) if total is not None and self._paged else 0
        return -(-ahead // step) + len(self._waiting)

    def asks(self, at_most: int) -> list[Ask]:
        """Up to `at_most` further pages to ask for now; an empty list where an answer must come first."""
        asks: list[Ask] = []
        while len(asks) < at_most:
            if self._waiting:
                ask = self._waiting.pop(0)
            elif self._may_run_ahead():
                ask = self._next(self._frontier)
                self._frontier += ask.limit
            else:
                break
            self._outstanding.add(ask)
            asks.append(ask)
        return asks

    def received(self, ask: Ask, page: Page) -> Page:
        """Take note of a page; gives its rows that are new and to be kept."""
        self._outstanding.remove(ask)
        self._note_total(page.pagination.total)
        if ask.offset >= self._last_answer[0]:
            self._last_answer = ask.offset, page.pagination
        if page.rows and self._is_repeat(ask, page):
            self._end = ask.offset
            self._waiting.clear()
            return page.first(0)
        self._note_meetings(ask, page)
        self._note_what_is_left_out(ask, page)
        # What the page before it ended with is not there: nor is, where it was, what stood behind it.
        self._has_shifted |= len(page.rows) < ask.overlap and self.total is None
        if ask.overlap and len(page.rows) == ask.overlap and self.total is not None and ask.offset < self.total:
            # Nothing but what is known already: asked for by itself, the next row has to come.
            self._waiting.append(Ask(ask.offset, ask.limit))
            return page.first(0)
        page = page.after(ask.overlap)
        self._pages += bool(page.rows)
        count = len(page.rows)
        if not self._started:
            self._learn_from_first(ask, page)
        elif count < ask.limit:
            count = self._short(ask, page)
        else:
            count = ask.limit
            self.learnt_limit = self.limit
        self.rows += count
        kept = page.first(count)
        self._require_news(ask, kept)
        if count and (self._last is None or ask.offset >= self._last.offset):
            was_cut = count < len(page.rows)
            self._last = _Furthest(ask.offset, ask.limit, count, kept.pagination, was_cut)
        self._require_an_end()
        if not self._waiting and not self._outstanding and not self._may_run_ahead():
            self._go_on_or_end()
        return kept

    def refused(self, ask: Ask, why: str, *, is_end: bool) -> None:
        """The server has no such page (`is_end`), or gives no rows so far down the list."""
        self._outstanding.remove(ask)
        self._waiting.clear()
        self._end = ask.offset if self._end is None else min(self._end, ask.offset)
        if is_end:
            self._ends_in_refusal = True
        else:
            self._trouble = self._trouble or f"no rows are given beyond the first {self._end} ({why})"

    def can_halve(self, ask: Ask) -> bool:
        """Is the page large enough for its size to be what makes it late?"""
        return ask.limit // 2 >= SMALLEST_LIMIT

    def timed_out(self, ask: Ask) -> bool:
        """Halve the page that took too long; False if it is too small for that to be the reason."""
        self._outstanding.remove(ask)
        half = ask.limit // 2
        if half < SMALLEST_LIMIT:
            self._outstanding.add(ask)
            return False
        self._shrink_to(ask, half)
        return True

    def limit_refused(self, ask: Ask) -> bool:
        """The server refuses a first page this large: ask for less, at last for its own size; then False."""
        if self._started or not self.names_limit:
            return False
        self._outstanding.remove(ask)
        steps = SMALLER_LIMITS if self._paged else UNPAGED_SMALLER_LIMITS
        smaller = next((limit for limit in steps if limit < ask.limit), None)
        self.names_limit = smaller is not None
        self.limit = smaller or _UNNAMED_LIMIT
        self.learnt_limit = smaller
        self._frontier = self.limit
        self._waiting.append(Ask(0, self.limit))
        return True

    def _shrink_to(self, ask: Ask, limit: int) -> None:
        self.limit = self.learnt_limit = min(self.limit, limit)
        if ask.offset + ask.limit >= self._frontier:
            # Nothing was asked for behind it: what it leaves out is asked for when its answer has come.
            again = Ask(ask.offset, limit, ask.overlap)
            self._waiting.append(again)
            self._frontier = ask.offset + limit
            return
        for offset in range(ask.offset, ask.offset + ask.limit, limit):
            rows = min(limit, ask.offset + ask.limit - offset)
            self._waiting.append(Ask(offset, rows, self._overlap(offset)))

    def _next(self, offset: int) -> Ask:
        """A page of the size that was learnt."""
        overlap = self._overlap(offset)
        return Ask(offset, self.limit - overlap, overlap)

    def _overlap(self, offset: int) -> int:
        return min(self._overlap_rows, offset, self.limit - 1) if self._paged else 0

    def _note_meetings(self, ask: Ask, page: Page) -> None:
        """Where two pages meet, both show the same rows, unless the list moved in between."""
        if not self._overlap_rows:
            return
        count = min(len(page.rows), ask.page_rows)
        begin, end = range(min(self._overlap_rows, count)), range(max(0, count - self._overlap_rows), count)
        for at in {*begin, *end}:
            row = _identity(page, at)
            other = self._meetings.pop(ask.from_offset + at, None)
            if other is None:
                self._meetings[ask.from_offset + at] = row
            elif other != row:
                self._has_shifted = True

    def _note_what_is_left_out(self, ask: Ask, page: Page) -> None:
        """Some servers filter after they have taken a page: then offsets count rows that are not shown."""
        self._largest_page = max(self._largest_page, len(page.rows))
        might_hold = min(ask.page_rows, page.pagination.limit or self._largest_page)
        if page.pagination.has_more is True and len(page.rows) < might_hold:
            self._leaves_out = True

    def _may_run_ahead(self) -> bool:
        total = self.total
        is_open = self._started and self._paged and self._end is None and not self._trouble
        return is_open and total is not None and self._frontier < total

    def _says_more(self) -> bool:
        """Is there more behind the last answer? Page numbers count where no other word speaks."""
        claims = self._last_answer[1]
        if claims.has_more is not None or self.total is not None or claims.pages is None:
            return claims.has_more is True
        page = self._pages if claims.page is None else claims.page - self._first_page_number + 1
        return page < claims.pages

    def _lacks_rows_before_its_end(self) -> bool:
        if self._last is None:
            return False  # nothing shows at all: that is short of its total, and no hole
        if self._last.end > self.rows:
            return True  # a gap before what was received
        return self._end is not None and (
            self._last.offset > self._end or self._last.pagination.has_more is True
        )

    def _note_total(self, total: int | None) -> None:
        if total is None:
            return
        if self._totals and total != self._totals[-1]:
            self._total_moved = True
        self._totals.append(total)
        if len(self._totals) > 2:  # the first and the last are enough
            del self._totals[1:-1]

    def _learn_from_first(self, ask: Ask, page: Page) -> None:
        self._started = True
        count, granted = len(page.rows), page.pagination.limit
        self._first_page_number = 0 if page.pagination.page == 0 else 1
        says_more = page.pagination.has_more is True or (self.total or 0) > count > 0
        is_full = granted is not None and 0 < granted <= count and self.total is None
        if not self._paged and (says_more or (is_full and page.pagination.has_more is None)):
            self._paged, self.limit = True, count or self.limit
        if granted and count <= granted < ask.limit:
            self.limit = self.learnt_limit = granted
        elif 0 < count < ask.limit and page.pagination.has_more is not False and (self.total or 0) > count:
            self.limit = count  # clamped without a word
        self._frontier = count
        if self._overlap_rows:  # a page is mostly news, however small the server makes it
            self._overlap_rows = min(self._overlap_rows, max(1, count // 4))
        if not count and not self._passes_over(ask, page):
            self._end = 0

    def _short(self, ask: Ask, page: Page) -> int:
        """A page with fewer rows than asked for: the end, a smaller page size, or a hole."""
        count = len(page.rows)
        reached = ask.offset + count
        total = self.total
        is_inside = total is not None and reached < total and reached < self._frontier
        is_furthest = ask.offset + ask.limit >= max(self._frontier, total or 0)
        if count and is_inside and not (is_furthest and page.pagination.has_more is False):
            self._waiting.append(Ask(reached, ask.limit - count, self._overlap(reached)))
            if ask.page_rows == self.limit:
                self.limit = count + ask.overlap
        elif not count and is_inside and self._may_recheck(ask.offset):
            self._waiting.append(ask)
        elif not count and not self._passes_over(ask, page):
            self._end = ask.offset if self._end is None else min(self._end, ask.offset)
        return count

    def _passes_over(self, ask: Ask, page: Page) -> bool:
        """Is there more behind an empty page by the server's own word? Some filter after they took a page."""
        if page.pagination.has_more is not True or self._passed_over >= _MOST_EMPTY_PAGES or not self._paged:
            return False
        self._passed_over += 1
        behind = ask.offset + min(ask.limit, page.pagination.limit or self.limit)
        if behind >= self._frontier or self.total is None:
            self._waiting.append(Ask(behind, self.limit))  # no overlap: nobody knows what stands before it
            self._frontier = behind + self.limit
        return True

    def _may_recheck(self, offset: int) -> bool:
        self._rechecks[offset] = self._rechecks.get(offset, 0) + 1
        return self._rechecks[offset] <= _EMPTY_PAGE_RECHECKS

    def _go_on_or_end(self) -> None:
        """All that was asked has come: is this the end, by its own evidence?"""
        if not self._paged or self._end is not None or self._last is None or self._trouble:
            return
        last = self._last
        reached = last.end
        total, claims = self.total, last.pagination
        # That there is no more is believed where the total says the same, or a page shorter than the size that
        # the server names; else one look past the end shows it. The same after a page whose rows were not all
        # kept: its claims are of the others, too.
        is_short = claims.limit is not None and last.rows < claims.limit
        is_met = not last.was_cut and (reached == total if total is not None else is_short)
        is_last = claims.has_more is False or (claims.has_more is None and total is not None and last.is_short)
        if is_met and is_last:
            return
        ask = self._next(reached)
        self._waiting.append(ask)
        self._frontier = reached + ask.limit

    def _is_repeat(self, ask: Ask, page: Page) -> bool:
        """Is this the end because offsets mean nothing here, and the whole list came again?"""
        first = self._offset_of_same(ask, page)
        if first is None:
            return False
        total = self.total
        is_full = total is not None and self.rows >= total and page.pagination.has_more is not True
        if page.pagination.is_absent or is_full:
            return True
        self._note_repeat(first, ask.offset)
        return bool(self._trouble)

    def _note_repeat(self, first: int, again: int) -> None:
        # One page again can be real: as many rows as it has were inserted before it meanwhile. So can several,
        # where rows have no id.
        self._repeats += 1
        if self._repeats > (1 if self._rows_have_ids else 3) and not self._total_moved:
            self._give_up(f"the server repeats the page at offset {first} at offset {again}")

    def _give_up(self, why: str) -> None:
        self._trouble = self._trouble or f"{why}; the list cannot be read to its end"
        self._waiting.clear()

    def _offset_of_same(self, ask: Ask, page: Page) -> int | None:
        """Where the same rows were given before."""
        # Ids make a few rows telling enough; rows without one are compared whole.
        has_ids = self._rows_have_ids and None not in page.ids
        rows = (page.rows[0], page.rows[len(page.rows) // 2], page.rows[-1]) if has_ids else page.rows
        fingerprint = hash((len(page.rows), *(hash(content_of(row)) for row in rows)))
        first = self._seen.setdefault(fingerprint, ask.from_offset)
        return None if first == ask.from_offset else first

    def _require_news(self, ask: Ask, kept: Page) -> None:
        """Without a total to bound it, a list goes on only while its pages bring rows not seen before."""
        if self.total is not None or not self._rows_have_ids or len(self._seen_ids) > _MOST_IDS_KEPT:
            return
        before = len(self._seen_ids)
        for room, row_id, row in zip(kept.rooms, kept.ids, kept.rows, strict=True):
            self._seen_ids.add(hash((room, row_id) if row_id is not None else content_of(row)))
        if kept.rows and len(self._seen_ids) == before:
            self._note_repeat(0, ask.offset)

    def _require_an_end(self) -> None:
        total = self.total
        if total is not None and self.rows > 20 * total + 50 * self.limit:
            self._give_up(f"the server hands out rows without end ({self.rows} of a total of {total})")


def _identity(page: Page, at: int) -> object:
    """What tells a row: its room and id, or its content."""
    row_id = page.ids[at]
    return content_of(page.rows[at]) if row_id is None else (page.rooms[at], row_id)
