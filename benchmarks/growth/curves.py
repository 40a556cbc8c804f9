"""Each subject measured at each of its sizes, and how what it costs grows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.growth.archives import Shape, make_archive
from benchmarks.growth.costs import Client, Cost, least
from benchmarks.growth.fitting import exponent
from benchmarks.growth.subjects import UPSTREAM, Subject, start


@dataclass(frozen=True, slots=True)
class Curve:
    """What one thing costs by size. `at_nothing` is its cost where there is next to nothing."""

    subject: str
    axis: str
    what: str
    at_nothing: Cost
    costs: dict[int, Cost]

    @property
    def cpu_exponent(self) -> float | None:
        """1 is linear; None: it does not grow to speak of."""
        return self._exponent(lambda cost: cost.cpu_seconds)

    @property
    def memory_exponent(self) -> float | None:
        return self._exponent(lambda cost: float(cost.peak_bytes))

    def _exponent(self, of: Callable[[Cost], float]) -> float | None:
        costs = [of(cost) for cost in self.costs.values()]
        return exponent(list(self.costs), costs, at_nothing=of(self.at_nothing))

    @property
    def bytes_each(self) -> float:
        """Peak memory beyond that at nothing, by size."""
        largest = max(self.costs)
        return (self.costs[largest].peak_bytes - self.at_nothing.peak_bytes) / largest


def curves(subject: Subject, sizes: Iterable[int], folder: Path, *, rounds: int) -> list[Curve]:
    """Measured in new folders below `folder`, which are removed again."""
    found: dict[str, dict[int, Cost]] = {}
    for size in (subject.nothing, *sizes):
        with _fresh(folder / f"{subject.key}-{size}") as place, subject.prepare(place, size) as measures:
            for what, measure in measures.items():
                found.setdefault(what, {})[size] = least(measure, rounds)
    return [
        Curve(subject.key, subject.title, what, costs.pop(subject.nothing), costs)
        for what, costs in found.items()
    ]


def starts(receipts: int, folder: Path, *, rounds: int) -> dict[str, Cost]:
    """Of a sync over as many receipts, however they stand."""
    shapes = {
        "one segment, an experiment's lines together": Shape(receipts),
        "40 segments": Shape(receipts, segments=40),
        "lines of 14 experiments in turn": Shape(receipts, takes_turns=True),
        "one experiment": Shape(receipts, experiments=1),
    }
    found = {}
    for title, shape in shapes.items():
        with _fresh(folder / "start") as place:
            make_archive(place / "archive", shape, UPSTREAM)
            found[title] = least(partial(start, Client(place), place / "archive"), rounds)
    return found


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
