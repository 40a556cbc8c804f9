"""Requests used over the least possible, in labs of every size, and whether `plan` foretold them.

Each lab has a first sync, a night in which nothing has changed, one with ten new rooms, and a repair of three
damaged shards. The least for ten new rooms is that of a reader that does not rely on the order of lists; beside
it, in brackets, that of one that does, and reads the end of each list alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from frugality.labs import FEW, LabShape, grid
from frugality.least import DOCUMENTS
from frugality.runs import FIRST, RUNS, UNCHANGED, Observed, play

MOST_IN_FIRST_SYNC = 1.1
MOST_A_TYPE = 2
"""In a night in which nothing has changed."""

MOST_OFF_PLAN = 0.1

columns = ("lab", *(f"{run}: used / least" for run in RUNS), "429s", "plan is off by, at most")


def labs(*, long: bool) -> Iterator[LabShape]:
    """Those that are measured; the short form leaves out what takes more than some seconds."""
    if long:
        yield from grid()
        return
    yield from grid(rooms=(1, 10, 100))
    yield LabShape(1_000, FEW, True, 100)


def misses(observed: Observed) -> Iterator[str]:
    """Targets that a run misses, a line each."""
    where = (
        f"{observed.shape}, {observed.what}: {observed.requests.total()} requests in {observed.seconds:.2f} s"
    )
    if observed.refused:
        yield f"{where}, {observed.refused} of them refused with 429"
    if observed.what == FIRST and observed.ratio > MOST_IN_FIRST_SYNC:
        yield f"{where}, where {observed.least.total()} would do"
    if observed.what == UNCHANGED and _most_a_type(observed) > MOST_A_TYPE:
        yield f"{where}, {_most_a_type(observed)} of one data type"
    if observed.planned is not None and off_plan(observed) > MOST_OFF_PLAN:
        yield f"{where}, planned {observed.planned.requests} in {observed.planned.seconds:.2f} s"


def off_plan(observed: Observed) -> float:
    """By which share of what then happened the plan was wrong, in requests or seconds."""
    planned = observed.planned
    if planned is None:
        return 0.0
    return max(
        abs(planned.requests / observed.requests.total() - 1), abs(planned.seconds / observed.seconds - 1)
    )


def measure(*, long: bool) -> Iterator[tuple[str, ...]]:
    """A row of text for each lab; what misses its target stands in bold."""
    return (_row(play(shape)) for shape in labs(long=long))


def _row(played: Sequence[Observed]) -> tuple[str, ...]:
    return (
        str(played[0].shape),
        *(_used(observed) for observed in played),
        str(sum(observed.refused for observed in played)),
        _bold(f"{max(map(off_plan, played)):.0%}", max(map(off_plan, played)) > MOST_OFF_PLAN),
    )


def _used(observed: Observed) -> str:
    in_order = observed.least_in_order
    least = f"{observed.least.total():,}" + (f" ({in_order.total():,})" if in_order else "")
    is_missed = (observed.what == FIRST and observed.ratio > MOST_IN_FIRST_SYNC) or (
        observed.what == UNCHANGED and _most_a_type(observed) > MOST_A_TYPE
    )
    return _bold(f"{observed.requests.total():,} / {least} = {observed.ratio:.3f}", is_missed)


def _most_a_type(observed: Observed) -> int:
    return max(requests for name, requests in observed.requests.items() if name != DOCUMENTS)


def _bold(text: str, is_bold: bool) -> str:
    return f"**{text}**" if is_bold else text
