"""What is made of the figures: the tables, the drawing, the files."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from runs_made_up import report, result

from benchmarks.chart import drawn
from benchmarks.jobs import Measure, Target
from benchmarks.results import write
from benchmarks.table import document

WALLS = {"hsmirror": [1.2, 1.3, 1.4], "curl": [1.0, 1.0, 1.0], "sdk": [14.0, 13.0, 15.0]}


def first_row(text: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith("| 1,000 records"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_the_reference_as_1_and_the_others_as_ratios() -> None:
    row = first_row(document(report(result(WALLS))))
    assert row[1:3] == ["1 (1.00 s)", "14.0 ×"]
    assert row[7] == "1.30 ×"


def test_the_table_says_what_was_to_be_reached_and_whether_it_was() -> None:
    targets = (Target(1.5, "curl"), Target(1 / 20, "sdk"), Target(80 << 20, None, Measure.PEAK))
    text = document(report(result(WALLS, targets=targets)))
    assert first_row(text)[-2:] == [
        "≤ 1.50 × curl; ≥ 20 × better than official SDK",
        "1.30 ×; **10.7 ×**, missed",
    ]
    assert "| 1,000 records, peak memory | 10 MiB |" in text
    assert "| ≤ 80 MiB | 10 MiB |" in text


def test_the_table_says_which_peer_was_missing_and_why() -> None:
    text = document(report(result(WALLS, absent={"dlt-tuned": "dlt not installed"})))
    assert first_row(text)[3] == "missing"
    assert "**dlt, tuned** in “1,000 records”: missing, dlt not installed" in text


def test_the_table_says_whose_output_was_wrong() -> None:
    text = document(report(result(WALLS, failures={"minimal": "its output is wrong: 999 rows, not 1000"})))
    assert first_row(text)[5] == "failed"
    assert "**minimal client** in “1,000 records”: no figure, its output is wrong: 999 rows, not 1000" in text


def test_a_target_against_who_was_missing_counts_as_not_measured() -> None:
    missing = {"dlt-tuned": "dlt not installed"}
    text = document(report(result(WALLS, targets=(Target(1 / 12, "dlt-tuned"),), absent=missing)))
    assert first_row(text)[-1] == "not measured"


def test_the_details_give_least_and_most_and_what_a_record_costs() -> None:
    text = document(report(result(WALLS)))
    spread = "1.30 [1.20–1.40]"
    assert f"| hsmirror | {spread} | {spread} | 0.65 | {spread} | 650 | 10 | 400 |" in text


def test_the_drawing_has_a_bar_for_each_figure_and_none_for_who_is_missing() -> None:
    targets = (Target(1.5, "curl"), Target(80 << 20, None, Measure.PEAK))
    svg = ET.fromstring(drawn(report(result(WALLS, targets=targets, absent={"minimal": "not there"}))))
    space = "{http://www.w3.org/2000/svg}"
    bars = [each for each in svg.iter(f"{space}rect") if each.get("class") in {"bar", "ours"}]
    assert len(bars) == 6  # three peers in two panels, time and memory
    texts = [each.text for each in svg.iter(f"{space}text")]
    assert {"1.30 s", "10 MiB", "1,000 records, peak memory"} <= set(texts)
    assert "minimal client" not in texts


def test_bars_are_as_long_as_their_figures() -> None:
    svg = ET.fromstring(drawn(report(result({"curl": [1.0], "sdk": [4.0]}))))
    widths = [float(each.get("width", 0)) for each in svg.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert abs(widths[1] / widths[0] - 4) < 0.01


def test_every_sample_is_kept_in_the_results(tmp_path: Path) -> None:
    write(report(result(WALLS)), tmp_path / "results", tmp_path / "speed.svg")
    kept = json.loads((tmp_path / "results" / "speed.json").read_text())
    samples = kept["jobs"]["plain"]["samples"]
    assert [each["wall_seconds"] for each in samples if each["peer"] == "hsmirror"] == [1.2, 1.3, 1.4]
    assert (tmp_path / "results" / "speed.md").read_text().startswith("# Speed")
    assert (tmp_path / "speed.svg").read_text().startswith("<svg")
