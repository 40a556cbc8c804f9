from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from hsmirror.archive.checks import Check, remember
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.receipts import FORMAT, ListReceipt, Marker, ShardReceipt, write_marker
from hsmirror.archive.segments import Receipts
from hsmirror.archive.status import StatusReport, _Found, status
from hsmirror.clock import iso_utc

NOW = 1_795_312_800.0
HOUR = 3600.0


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    write_marker(layout, Marker(FORMAT, "https://api.hyperstudy.io/api/v3", iso_utc(NOW)), Modes())
    layout.runs.mkdir(parents=True)
    return layout


def ended(layout: Layout, run: str, seconds_ago: float, exit_status: int = 0, **given: Any) -> None:
    report = {"run": run, "ended_at": iso_utc(NOW - seconds_ago), "exit_status": exit_status} | given
    layout.report(run).write_text(json.dumps(report))


def age_seconds(layout: Layout) -> float | None:
    return status(layout.root).age_seconds(NOW)


# --- how old it is -----------------------------------------------------------------------------------------
def test_without_a_run_there_is_no_age(layout: Layout) -> None:
    assert age_seconds(layout) is None


def test_the_age_counts_from_the_end_of_the_last_complete_run(layout: Layout) -> None:
    ended(layout, "20261101T020000Z-0001", 30 * HOUR)
    ended(layout, "20261102T020000Z-0002", 6 * HOUR)

    assert age_seconds(layout) == 6 * HOUR


@pytest.mark.parametrize("exit_status", [1, 3, 4, 130, 143])
def test_a_run_that_was_not_complete_is_no_success(layout: Layout, exit_status: int) -> None:
    ended(layout, "20261101T020000Z-0001", 30 * HOUR)
    ended(layout, "20261102T020000Z-0002", 6 * HOUR, exit_status)

    assert age_seconds(layout) == 30 * HOUR
    assert (status(layout.root).last_run or {})["exit_status"] == exit_status


def test_reports_without_an_exit_status_are_of_complete_runs(layout: Layout) -> None:
    """Fields at their defaults are left out of them."""
    layout.report("20261101T020000Z-0001").write_text(json.dumps({"ended_at": iso_utc(NOW)}))

    assert age_seconds(layout) == 0


def test_a_report_that_cannot_be_read_is_no_success(layout: Layout) -> None:
    ended(layout, "20261101T020000Z-0001", 30 * HOUR)
    layout.report("20261102T020000Z-0002").write_bytes(b'{"ended_at": "20')
    layout.report("20261103T020000Z-0003").write_bytes(b"\xff")

    assert age_seconds(layout) == 30 * HOUR


def test_a_time_that_is_none_gives_no_age() -> None:
    report = StatusReport(archive="a", upstream="u", created="c", last_success_at="yesterday")

    assert report.age_seconds(NOW) is None


def test_what_is_not_a_report_is_not_read_as_one(layout: Layout) -> None:
    ended(layout, "20261101T020000Z-0001", 6 * HOUR)
    (layout.runs / "20261103T020000Z-0003.json.staged").write_text("{}")

    assert age_seconds(layout) == 6 * HOUR


# --- what was wanted and never read ------------------------------------------------------------------------
def test_a_type_that_was_wanted_and_never_read_is_named_with_why(layout: Layout) -> None:
    read = ListReceipt(experiment="exp_1", data_type="events", way="experiment", rows=0, is_complete=True)
    Receipts(layout, Modes(), "20261101T020000Z-0001").append([read])
    types = [
        {"data_type": "events"},
        {"data_type": "chat", "is_complete": False, "why": "the key lacks read:chat"},
        {"data_type": "sync", "is_complete": False},
    ]
    ended(layout, "20261101T020000Z-0001", HOUR, 3, experiments=[{"id": "exp_1", "types": types}])

    (experiment,) = status(layout.root).experiments

    assert [(kind.data_type, kind.was_read) for kind in experiment.types] == [
        ("chat", False),
        ("events", True),
        ("sync", False),
    ]
    assert experiment.types[0].why == "never read: the key lacks read:chat"
    assert not experiment.is_complete


def test_an_experiment_that_could_not_be_read_at_all_is_there_with_why(layout: Layout) -> None:
    ended(layout, "20261101T020000Z-0001", HOUR, 3, experiments=[{"id": "exp_9", "problem": "404"}])

    (experiment,) = status(layout.root).experiments

    assert (experiment.id, experiment.problem, experiment.is_complete) == ("exp_9", "404", False)


@pytest.mark.parametrize("experiments", ["none", [1], [{"id": 7}]])
def test_a_report_of_another_form_adds_nothing(layout: Layout, experiments: Any) -> None:
    ended(layout, "20261101T020000Z-0001", HOUR, experiments=experiments)

    assert status(layout.root).experiments == ()


# --- when it was checked -----------------------------------------------------------------------------------
def test_status_tells_of_the_last_check(layout: Layout) -> None:
    assert status(layout.root).checked is None

    remember(layout, Check(part=1, parts=1, checked_at=iso_utc(NOW)))

    checked = status(layout.root).checked
    assert checked is not None
    assert checked.checked_since == iso_utc(NOW)


# --- what it takes -----------------------------------------------------------------------------------------
def test_the_rooms_of_each_experiment_are_counted_once(layout: Layout) -> None:
    Receipts(layout, Modes(), "20261101T020000Z-0001").append(
        [
            ShardReceipt(
                path=f"experiment_id=e{experiment}/data_type=events/room_id=r{room}/part-00000.ndjson",
                experiment=f"e{experiment}",
                data_type="events",
                room=f"r{room}",
                rows=1,
                sha256="a",
            )
            for experiment in range(20)
            for room in range(3)
        ]
    )
    with mock.patch.object(_Found, "count_rooms", autospec=True, side_effect=_Found.count_rooms) as counted:
        report = status(layout.root)
    assert [held.types[0].rooms for held in report.experiments] == [3] * 20
    assert counted.call_count == 20
