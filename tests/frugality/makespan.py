"""How long first syncs take, over the least that limits, latency and bandwidth allow, in virtual time.

The lower bound knows nothing of hsmirror, and takes the fewest requests, as `least` counts them. It is the
largest of these, none of which a correct reader can undercut:

- Each endpoint by itself: a request comes at the earliest an hour after the one a thousand before it, a minute
  after the one a hundred before it, and, with sixteen requests under way at the most, a latency after the one
  sixteen before it. And all requests together, with as many a minute as all their endpoints can use.
- What depends on an answer waits for it: everything on the experiment's definition (nobody asks for the lists
  of an experiment before it is known that the key is good for it), further pages on the first one, rooms' own
  lists on the list of rooms.
- The bytes of all answers, over the line that they share; those of further pages after two answers.

That sixteen requests at the most are under way is hsmirror's default and a courtesy, not a limit of the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from frugality.labs import FEW, HOUR, MANY, MINUTE, LabShape, Link, grid
from frugality.least import DOCUMENTS, ListedType, Offer, pages
from frugality.runs import USUAL_LINK, Observed, play

REQUESTS_PER_HOUR, REQUESTS_PER_MINUTE = 1_000, 100
AT_ONCE = 16
MOST_OVER_LEAST = 1.05
MOST_WHERE_ROWS_NAME_NO_ROOM = 1.10
"""The last page of the experiment's list is looked at, too; and where rows are alike in two rooms, all of it is
read once the rooms have been: until then nobody knows."""


def most_over_least(shape: LabShape) -> float:
    """What a first sync of such a lab may take, over the least."""
    return MOST_OVER_LEAST if shape.tells_rooms else MOST_WHERE_ROWS_NAME_NO_ROOM


SLOW_LINK = Link(latency_seconds=1.5, bytes_per_second=5e6)
_JUST_OVER_AN_HOUR = LabShape(400, MANY, True, 100)
_JUST_OVER_TWO = LabShape(800, MANY, True, 100)

columns = ("lab", "latency", "bandwidth", "requests", "seconds", "least seconds", "ratio", "429s")


def cases(*, long: bool) -> Iterator[tuple[LabShape, Link]]:
    """Labs and links that are measured; the short form leaves out what takes more than some seconds."""
    shapes = (*grid(), _JUST_OVER_TWO) if long else (*grid(rooms=(1, 10, 100)), LabShape(1_000, FEW, True, 100))
    for shape in (*shapes, _JUST_OVER_AN_HOUR):
        yield shape, USUAL_LINK
    for shape in grid(rooms=(10, 100), page_rows=(100, 10_000)):
        yield shape, SLOW_LINK


def first_sync(shape: LabShape, link: Link) -> Observed:
    """A first sync under the limits."""
    (observed,) = play(shape, link=link, runs=1)
    return observed


def over_least(observed: Observed) -> float:
    """A first sync's duration over the least possible."""
    return observed.seconds / least_seconds(observed.offer, observed.answered_bytes, observed.link)


def measure(*, long: bool) -> Iterator[tuple[str, ...]]:
    """A row of text for each first sync; what misses its target stands in bold."""
    return (_row(first_sync(shape, link)) for shape, link in cases(long=long))


def _row(observed: Observed) -> tuple[str, ...]:
    link, ratio = observed.link, over_least(observed)
    return (
        str(observed.shape),
        f"{link.latency_seconds} s",
        f"{link.bytes_per_second / 1e6:.0f} MB/s",
        f"{observed.requests.total():,}",
        f"{observed.seconds:,.2f}",
        f"{observed.seconds / ratio:,.2f}",
        f"{ratio:.3f}" if ratio <= most_over_least(observed.shape) else f"**{ratio:.3f}**",
        str(observed.refused),
    )


def least_seconds(offer: Offer, answered_bytes: int, link: Link) -> float:
    """No correct reader is done with a first sync sooner."""
    latency = link.latency_seconds
    may_start = {DOCUMENTS: [0.0, *[latency] * (offer.documents - 1)]}
    may_start |= {name: [latency] for name in offer.absent}
    may_start |= {name: _may_start(listed, offer, latency) for name, listed in offer.types.items()}
    by_requests = max(_last_start(times, REQUESTS_PER_MINUTE, latency) for times in may_start.values())
    everything = sorted(start for times in may_start.values() for start in times)
    a_minute = sum(min(REQUESTS_PER_MINUTE, len(times)) for times in may_start.values())
    together = _last_start(everything, a_minute, latency)
    return max(by_requests + latency, together + latency, _of_bytes(offer, answered_bytes, link))


def _may_start(listed: ListedType, offer: Offer, latency: float) -> list[float]:
    """When each request for a type can be known to be needed."""
    rows = sum(listed.rows_by_room.values())
    if listed.tells_rooms:
        return [latency, *[latency * 2] * (pages(rows, offer.page_rows) - 1)]
    rooms_list = 1 + (pages(len(listed.rows_by_room), offer.page_rows) > 1)
    rooms_known_at = latency * (1 + rooms_list)
    first = [rooms_known_at] * len(listed.rows_by_room)
    further = sum(pages(each, offer.page_rows) for each in listed.rows_by_room.values()) - len(first)
    return [latency, *first, *[rooms_known_at + latency] * further]


def _of_bytes(offer: Offer, answered_bytes: int, link: Link) -> float:
    rows = {name: sum(listed.rows_by_room.values()) for name, listed in offer.types.items()}
    further = sum(
        max(0, rows[name] - offer.page_rows) for name, listed in offer.types.items() if listed.tells_rooms
    )
    seconds = answered_bytes / link.bytes_per_second
    whole = link.latency_seconds * 2 + seconds
    if not further:
        return whole
    row_seconds = seconds / sum(rows.values())
    # The first page of one of these lists at least has come, too.
    with_first = link.latency_seconds * 3 + row_seconds * (further + offer.page_rows)
    # The last page is asked for when all but as many as may be under way with it have come; one of each list
    # may be a short one.
    told = [name for name, listed in offer.types.items() if listed.tells_rooms]
    come_before = sum(pages(rows[name], offer.page_rows) - 1 for name in told) - AT_ONCE - len(told)
    last = link.latency_seconds * 4 + row_seconds * offer.page_rows * come_before if come_before > 0 else 0.0
    return max(whole, with_first, last)


def _last_start(may_start: Sequence[float], per_minute: int, latency: float) -> float:
    """When the last of these requests starts, in this order, each as early as it may."""
    starts: list[float] = []
    for number, earliest in enumerate(may_start):
        windows = ((REQUESTS_PER_HOUR, HOUR), (per_minute, MINUTE), (AT_ONCE, latency))
        after = [starts[number - before] + seconds for before, seconds in windows if number >= before]
        starts.append(max(earliest, *after) if after else earliest)
    return starts[-1]
