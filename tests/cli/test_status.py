from __future__ import annotations

import re
from typing import Any

from cli.conftest import Command, FakeProgram
from hsmirror.archive.status import HeldExperiment, HeldType, StatusReport
from hsmirror.clock import SystemClock, iso_utc
from hsmirror.errors import Exit

HOURS = 3600
CREATED = "2026-11-22T02:00:03Z"


def ago(seconds: float) -> str:
    return iso_utc(SystemClock().epoch() - seconds)


def status_of(hsmirror: Command, *arguments: str, **given: Any) -> str:
    base: dict[str, Any] = {
        "archive": "here",
        "upstream": "https://api.hyperstudy.io/api/v3",
        "created": ago(9),
    }
    report = StatusReport(**base | given)
    ended = hsmirror("status", "here", *arguments, program=FakeProgram({"status": report}))
    assert ended.status == 0
    return re.sub(r" +\n", "\n", ended.out)


def test_what_is_held_and_how_fresh_it_is(hsmirror: Command) -> None:
    events = HeldType("events", rows=1234, rooms=6, size_bytes=2_000_000, read_at=ago(3 * HOURS))
    experiment = HeldExperiment("exp_1", "Study", (events,), files=2, file_bytes=5_000_000)

    text = status_of(
        hsmirror,
        experiments=(experiment,),
        rows=1234,
        files=2,
        size_bytes=7_000_000,
        last_run={"ended_at": ago(3 * HOURS), "exit_status": 0},
    )

    assert text == (
        "here of https://api.hyperstudy.io/api/v3\n"
        "last run 3 h ago, complete\n"
        "exp_1  Study\n"
        "     data type   rows  rooms    size  read\n"
        "  ✓  events     1,234      6  2.0 MB  3 h ago\n"
        "  ✓  files          2         5.0 MB\n"
        "1 experiment · 1,234 rows · 2 files · 7.0 MB\n"
    )


def test_what_is_missing_is_said_with_why(hsmirror: Command) -> None:
    chat = HeldType("chat", is_complete=False, why="1 row is missing: run again")
    experiment = HeldExperiment(
        "exp_1", types=(chat,), failed=("rec_1: 404 \x1b[2J",), pending=("rec_2: active",)
    )

    text = status_of(
        hsmirror, "-v", experiments=(experiment,), last_run={"ended_at": ago(9 * HOURS), "exit_status": 3}
    )

    assert "last run 9 h ago, not complete (exit status 3)" in text
    assert "1 row is missing" in text
    assert "1 failed, 1 not final yet" in text
    assert "rec_1: 404 \\x1b[2J" in text
    assert "rec_2: active" in text


def test_many_failed_files_are_counted(hsmirror: Command) -> None:
    experiment = HeldExperiment("exp_1", failed=tuple(f"rec_{n}: 404" for n in range(30)))

    assert "20 more: --json has them all" in status_of(hsmirror, experiments=(experiment,))


def test_an_archive_without_a_run_says_so(hsmirror: Command) -> None:
    assert "no run has ended here yet" in status_of(hsmirror)


def test_json_is_the_whole_report(hsmirror: Command) -> None:
    hsmirror("demo", "--rooms", "1")

    document = hsmirror("status", "hsmirror-demo", "--json").document

    assert document["experiments"][0]["id"] == "exp_research_001"
    assert document["last_run"]["upstream"] == document["upstream"]


def test_a_folder_that_is_no_archive_is_a_usage_error(hsmirror: Command) -> None:
    ended = hsmirror("status", "nowhere")

    assert ended.status == Exit.USAGE
    assert "nowhere" in ended.err
