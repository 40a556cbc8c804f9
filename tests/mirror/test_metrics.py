from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from exposition import samples, value
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.archive.status import HeldExperiment, HeldType, StatusReport
from hsmirror.clock import iso_utc
from hsmirror.errors import Exit
from hsmirror.mirror.metrics import Ended, render
from hsmirror.mirror.report import ExperimentReport, Problem, RunReport

NOW = 1_795_312_800.0


def report(**given_: Any) -> RunReport:
    base: dict[str, Any] = {
        "run": "r",
        "version": "0",
        "archive": "/a",
        "upstream": "u",
        "started_at": "",
        "ended_at": "",
    }
    return RunReport(**base | given_)


def ended(exit_status: int = 0, run_report: RunReport | None = None, archive: str = "/data/archive") -> Ended:
    return Ended(archive, exit_status, NOW, 4.25, run_report)


def held(*experiments: HeldExperiment, last_success_at: str | None = None) -> StatusReport:
    return StatusReport(
        archive="/data/archive",
        upstream="u",
        created="c",
        experiments=experiments,
        last_success_at=last_success_at,
    )


EVENTS = HeldType("events", rows=1234, rooms=6)
CHAT = HeldType("chat", rows=3, is_complete=False)
EXPERIMENT = HeldExperiment(
    "exp_1", types=(EVENTS, CHAT), files=12, file_bytes=5000, pending=("a",), failed=("b", "c")
)


def test_what_the_archive_holds_is_told_by_experiment_and_data_type() -> None:
    found = samples(render(ended(), held(EXPERIMENT, HeldExperiment("exp_2", types=(EVENTS,)))))

    assert value(found, "rows", experiment="exp_1", data_type="events") == 1234
    assert value(found, "rows", experiment="exp_2", data_type="events") == 1234
    assert value(found, "type_complete", experiment="exp_1", data_type="chat") == 0
    assert value(found, "complete", experiment="exp_1") == 0
    assert value(found, "complete", experiment="exp_2") == 1
    names = ("files", "file_bytes", "files_pending", "files_failed")
    assert [value(found, name, experiment="exp_1") for name in names] == [12, 5000, 1, 2]


def test_what_the_run_did_is_told() -> None:
    run_report = report(
        requests=9,
        throttled=2,
        retried=3,
        received_rows=500,
        received_bytes=7000,
        downloaded_bytes=8000,
        changed_files=4,
        problems=(Problem("x"), Problem("y")),
        notes=("odd",),
        experiments=(ExperimentReport("exp_1", files_fetched=2), ExperimentReport("exp_2", files_fetched=3)),
    )

    found = samples(render(ended(3, run_report), held()))

    told = {
        "received_rows": 500,
        "received_bytes": 7000,
        "downloaded_bytes": 8000,
        "requests": 9,
        "throttled_requests": 2,
        "retries": 3,
        "failures": 2,
        "notes": 1,
        "changed_files": 4,
        "files_fetched": 5,
        "exit_status": 3,
        "duration_seconds": 4.25,
        "timestamp_seconds": NOW,
    }
    assert {name: value(found, f"last_run_{name}") for name in told} == told


def test_every_sample_names_the_archive() -> None:
    """The files of several archives lie in one folder, and no two of them may hold the same sample."""
    ours, theirs = (
        samples(render(ended(archive=archive), held(EXPERIMENT))) for archive in ("/data/a", "/data/b")
    )

    assert ours.keys().isdisjoint(theirs)


def test_a_complete_run_is_the_last_success() -> None:
    found = samples(render(ended(), held(last_success_at=iso_utc(NOW - 90_000))))

    assert value(found, "last_success_timestamp_seconds") == NOW


def test_a_run_that_failed_keeps_the_last_success() -> None:
    found = samples(render(ended(Exit.INCOMPLETE), held(last_success_at=iso_utc(NOW - 90_000))))

    assert value(found, "last_success_timestamp_seconds") == NOW - 90_000


def test_without_any_success_its_time_is_0_so_that_an_alert_on_its_age_fires() -> None:
    found = samples(render(ended(Exit.STORAGE), held()))

    assert value(found, "last_success_timestamp_seconds") == 0


def test_a_run_that_never_began_has_its_end_alone() -> None:
    found = samples(render(ended(Exit.ARCHIVE_BUSY), None))

    assert {name for name, _ in found} == {
        "hsmirror_build_info",
        "hsmirror_last_run_timestamp_seconds",
        "hsmirror_last_success_timestamp_seconds",
        "hsmirror_last_run_exit_status",
        "hsmirror_last_run_duration_seconds",
    }


@given(st.text(), st.text())
def test_any_id_is_a_label_that_reads_back(experiment: str, archive: str) -> None:
    found = samples(render(ended(archive=archive), held(HeldExperiment(experiment, types=(EVENTS,)))))

    (labels,) = [dict(labels) for name, labels in found if name == "hsmirror_rows"]
    assert labels["experiment"] == experiment.replace("\r", "\\r")
    assert labels["archive"] == archive.replace("\r", "\\r")


def test_an_id_with_a_lone_surrogate_is_still_utf_8() -> None:
    assert samples(render(ended(), held(HeldExperiment("\ud800", types=(EVENTS,)))))


def test_the_documentation_names_every_metric_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/unattended.md").read_text(encoding="utf-8")

    found = samples(render(ended(3, report()), held(EXPERIMENT)))

    assert set(re.findall(r"hsmirror_[a-z_]+", page)) == {name for name, _ in found}
