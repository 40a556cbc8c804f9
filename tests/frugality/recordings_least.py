"""What a mirror of recordings cannot do without: the fewest requests for addresses, and the shortest time.

Computed from the scenario and from what the store saw, by nothing of the mirror's own code. All of these are
lower bounds: what no mirror can beat, whether or not one can reach it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from frugality.rationing import HOUR, MINUTE
from frugality.store import Begun

_ROUNDS = 50
"""From here on that the connections' shares do not come out even is less than a fiftieth."""


def fewest_mints(begun: Iterable[Begun], life_seconds: float) -> int:
    """Requests for the addresses of these downloads, where each gives the address of one file.

    An address serves every download of its file that begins while it lives, the resumed ones too. That the
    first of them is asked for at the very moment when the download begins is the best there is.
    """
    good_until: dict[str, float] = {}
    requests = 0
    for each in sorted(begun, key=lambda each: each.at):
        if each.at >= good_until.get(each.name, 0.0):
            requests += 1
            good_until[each.name] = each.at + life_seconds
    return requests


def fewest_pages(begun: Iterable[Begun], life_seconds: float, *, page_rows: int, listed_at: float) -> int:
    """Requests for the addresses of these downloads beyond the list itself, where each gives those of a page.

    The list has been read once, at `listed_at`, and its addresses serve all that begins while they live. Then a
    page is asked for when a download begins that has no living address: the latest moment, and so the one whose
    addresses live longest. It is taken to bring the addresses of the very files that come next, as if a
    page could hold any files, so that no mirror does with fewer.
    """
    good_until: dict[str, float] = {}
    page_is_good_until, page_has_left, requests = 0.0, 0, 0
    for each in sorted(begun, key=lambda each: each.at):
        if each.at < good_until.get(each.name, listed_at + life_seconds):
            continue
        if not page_has_left or each.at >= page_is_good_until:
            requests += 1
            page_is_good_until, page_has_left = each.at + life_seconds, page_rows
        page_has_left -= 1
        good_until[each.name] = page_is_good_until
    return requests


@dataclass(frozen=True, slots=True)
class Line:
    """The way to the store: sizes in bytes, times in seconds."""

    connections: int
    bytes_per_second: float
    connection_bytes_per_second: float
    latency_seconds: float


def least_seconds_for_bytes(sizes_bytes: Sequence[int], line: Line) -> float:
    """No schedule of whole files over these connections is shorter: the line is full all the time, every
    connection is busy all the time, and the largest files go together as well as they can.

    The last is the pigeonhole's: of the `k * connections + 1` largest files some connection has `k + 1`, which
    last as long as the smallest `k + 1` of them.
    """
    fastest = min(line.bytes_per_second, line.connection_bytes_per_second)
    each = sorted((line.latency_seconds + size / fastest for size in sizes_bytes), reverse=True)
    bounds = [sum(sizes_bytes) / line.bytes_per_second + line.latency_seconds, sum(each) / line.connections]
    for start in range(0, len(each), line.connections):
        rounds = start // line.connections
        if rounds > _ROUNDS:
            break
        bounds.append(sum(each[start - rounds : start + 1]))
    return max(bounds)


def least_seconds_for_requests(
    requests: int, *, requests_per_hour: int, requests_per_minute: int, latency_seconds: float
) -> float:
    """Until the last of so many requests of one endpoint is answered: whole hours' and minutes' lots go at
    once, and the next one when its window is over.
    """
    hours, in_hour = divmod(max(0, requests - 1), requests_per_hour)
    return hours * HOUR + in_hour // requests_per_minute * MINUTE + latency_seconds
