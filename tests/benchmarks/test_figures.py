"""Medians, ratios and targets."""

from __future__ import annotations

from runs_made_up import result

from benchmarks.figures import Spread, measured_spread, paired_ratio, verdict
from benchmarks.jobs import Measure, Target


def test_a_figure_is_the_median_with_its_extremes() -> None:
    assert measured_spread(result({"curl": [3.0, 1.0, 2.0]}), "curl", Measure.WALL) == Spread(2.0, 1.0, 3.0)


def test_who_was_left_out_has_no_figure() -> None:
    assert measured_spread(result({"curl": [1.0]}), "sdk", Measure.WALL) is None


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that gets ten times slower changes nothing; the ratio of the medians would say otherwise."""
    drifting = result({"hsmirror": [2.0, 20.0, 200.0], "curl": [1.0, 10.0, 100.0]})
    assert paired_ratio(drifting, "hsmirror", "curl") == Spread(2.0, 2.0, 2.0)
    uneven = result({"hsmirror": [2.0, 3.0, 400.0], "curl": [1.0, 30.0, 100.0]})
    assert paired_ratio(uneven, "hsmirror", "curl") == Spread(2.0, 0.1, 4.0)


def test_a_round_without_the_other_one_gives_no_ratio() -> None:
    partly = result({"hsmirror": [2.0, 30.0, 4.0], "curl": [1.0, None, 1.0]})
    assert paired_ratio(partly, "hsmirror", "curl") == Spread(3.0, 2.0, 4.0)
    assert paired_ratio(partly, "hsmirror", "sdk") is None


def test_a_target_is_met_by_the_median_of_the_ratios() -> None:
    measured = result({"hsmirror": [1.0, 1.4, 9.0], "curl": [1.0, 1.0, 1.0], "sdk": [14.0, 14.0, 14.0]})
    assert verdict(measured, Target(1.4, "curl")).is_met
    assert not verdict(measured, Target(1.3, "curl")).is_met
    assert verdict(measured, Target(1 / 10, "sdk")).is_met
    assert not verdict(measured, Target(1 / 11, "sdk")).is_met


def test_a_target_of_memory_is_in_bytes() -> None:
    measured = result({"hsmirror": [1.0]})
    assert verdict(measured, Target(10 << 20, None, Measure.PEAK)).is_met
    assert not verdict(measured, Target((10 << 20) - 1, None, Measure.PEAK)).is_met


def test_a_target_against_who_is_missing_is_not_met() -> None:
    assert not verdict(result({"hsmirror": [1.0]}), Target(99, "dlt-tuned")).is_met
