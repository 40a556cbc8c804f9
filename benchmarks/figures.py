"""From samples to figures: medians with their extremes, ratios paired within a round, targets met or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from benchmarks.jobs import OURS, Measure, Target
from benchmarks.rounds import JobResult, Sample


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several values, and how far they reach."""

    median: float
    least: float
    most: float


def spread(values: Iterable[float]) -> Spread | None:
    """Of these values; None where there are none."""
    known = list(values)
    return Spread(median(known), min(known), max(known)) if known else None


def measure_of(sample: Sample, measure: Measure) -> float:
    """One figure of one run."""
    return {
        Measure.WALL: sample.wall_seconds,
        Measure.CPU: sample.cpu_seconds,
        Measure.PEAK: sample.peak_bytes,
    }[measure]


def compared(result: JobResult) -> list[Measure]:
    """What a job is compared by: time, and whatever else it has a target for."""
    targets = {target.measure for target in result.job.targets}
    return [measure for measure in Measure if measure is Measure.WALL or measure in targets]


def measured_spread(result: JobResult, peer: str, measure: Measure) -> Spread | None:
    """One figure of a peer over all rounds; None where it has none."""
    return spread(measure_of(sample, measure) for sample in result.of(peer))


def paired_ratio(result: JobResult, ours: str, theirs: str, measure: Measure = Measure.WALL) -> Spread | None:
    """How many times as much `ours` takes as `theirs` in the same round; None where they share no round.

    What slows a machine down for a while slows both of a round: their ratio stands.
    """
    by_round = {sample.round: measure_of(sample, measure) for sample in result.of(theirs)}
    return spread(
        measure_of(sample, measure) / by_round[sample.round]
        for sample in result.of(ours)
        if by_round.get(sample.round)
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what came of it. `reached`: a ratio, or bytes; None: not measured."""

    target: Target
    reached: Spread | None

    @property
    def is_met(self) -> bool:
        return self.reached is not None and self.reached.median <= self.target.at_most


def verdict(result: JobResult, target: Target) -> Verdict:
    """What came of one target."""
    if target.peer is None:
        return Verdict(target, measured_spread(result, OURS, target.measure))
    return Verdict(target, paired_ratio(result, OURS, target.peer, target.measure))
