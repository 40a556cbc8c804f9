from __future__ import annotations

import re
from typing import Any

import pytest

from cli.conftest import Command, Ended, FakeProgram
from hsmirror.archive.checks import Coverage
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
        "never verified: see hsmirror verify\n"
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

    assert "last run 9 h ago, incomplete (exit status 3); none was complete yet" in text
    assert "1 row is missing" in text
    assert "1 failed, 1 not final yet" in text
    assert "rec_1: 404 \\x1b[2J" in text
    assert "rec_2: active" in text


def test_rows_that_are_no_longer_upstream_are_counted(hsmirror: Command) -> None:
    events = HeldType("events", rows=1234, rooms=6, gone_rows=120)
    text = status_of(hsmirror, experiments=(HeldExperiment("exp_1", types=(events,)),))
    assert "120 no longer upstream" in text


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


def test_a_last_run_that_failed_is_shown_with_why_and_with_the_last_that_did_not(hsmirror: Command) -> None:
    problems = [{"what": f"404 \x1b[2J {n}", "experiment": "exp_1", "data_type": "chat"} for n in range(7)]

    text = status_of(
        hsmirror,
        last_run={"ended_at": ago(3 * HOURS), "exit_status": 3, "problems": problems},
        last_success_at=ago(50 * HOURS),
    )

    assert "last run 3 h ago, incomplete (exit status 3); the last complete one 2 d ago" in text
    assert "exp_1, chat: 404 \\x1b[2J 0" in text
    assert "2 further problems: --json has them all" in text


def test_what_was_wanted_and_never_read_is_shown(hsmirror: Command) -> None:
    chat = HeldType("chat", is_complete=False, why="never read: no scope", was_read=False)
    experiment = HeldExperiment("exp_1", types=(chat,), problem="404: check the id")

    text = status_of(hsmirror, experiments=(experiment,))

    assert "never read: no scope" in text
    assert "✗ 404: check the id" in text


@pytest.mark.parametrize(
    ("checked", "said"),
    [
        ({}, "last verified 2 h ago: all of it, sound"),
        (
            {"parts": 7, "checked_parts": 7, "oldest_part": "3/7"},
            "all of it sound, the oldest part (3/7) 6 d ago",
        ),
        (
            {"parts": 7, "checked_parts": 5, "oldest_part": "3/7", "checked_since": None},
            "5 of 7 parts sound, 3/7 never looked at",
        ),
        ({"broken_files": 2}, "2 broken files; hsmirror verify names them"),
    ],
)
def test_when_it_was_verified(hsmirror: Command, checked: dict[str, Any], said: str) -> None:
    whole: dict[str, Any] = {
        "checked_since": ago(6 * 24 * HOURS),
        "oldest_part": "1/1",
        "checked_parts": 1,
        "parts": 1,
        "last_checked_at": ago(2 * HOURS),
        "broken_files": 0,
    }

    text = status_of(hsmirror, checked=Coverage(**whole | checked))

    assert said in " ".join(text.split())


# --- for monitors ------------------------------------------------------------------------------------------
def aged(hsmirror: Command, last_success_at: str | None, *arguments: str) -> Ended:
    report = StatusReport(archive="here", upstream="u", created=CREATED, last_success_at=last_success_at)
    return hsmirror("status", "here", *arguments, program=FakeProgram({"status": report}))


def test_json_has_the_age_in_seconds(hsmirror: Command) -> None:
    document = aged(hsmirror, ago(3 * HOURS), "--json").document

    assert document["age_seconds"] == pytest.approx(3 * HOURS, abs=60)
    assert document["exit_status"] == 0


def test_json_has_no_age_where_no_run_was_complete(hsmirror: Command) -> None:
    assert aged(hsmirror, None, "--json").document["age_seconds"] is None


def test_a_young_enough_archive_is_fine(hsmirror: Command) -> None:
    ended = aged(hsmirror, ago(35 * HOURS), "--fail-if-older-than", "36h", "-q")

    assert (ended.status, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize(
    ("seconds_ago", "said"),
    [
        (40 * HOURS, "the last complete run ended 40 h 00 min ago, longer than 36h"),
        (None, "no run was ever complete here, and one was expected within 36h"),
        (-9 * HOURS, "check the clock"),
    ],
)
def test_too_old_or_unknown_ends_with_3_and_one_line(
    hsmirror: Command, seconds_ago: float | None, said: str
) -> None:
    last = None if seconds_ago is None else ago(seconds_ago)

    ended = aged(hsmirror, last, "--fail-if-older-than", "36h", "-q")
    document = aged(hsmirror, last, "--fail-if-older-than", "36h", "--json").document

    assert ended.status == Exit.INCOMPLETE
    assert ended.err.startswith("hsmirror: here: ")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert document["exit_status"] == Exit.INCOMPLETE


def test_a_duration_that_is_none_is_a_usage_error(hsmirror: Command) -> None:
    ended = aged(hsmirror, ago(0), "--fail-if-older-than", "36")

    assert ended.status == Exit.USAGE
    assert "36h, 2d" in ended.err


def test_after_a_run_the_archive_is_young(hsmirror: Command) -> None:
    hsmirror("demo", "--rooms", "1")

    assert hsmirror("status", "hsmirror-demo", "--fail-if-older-than", "1h").status == 0


def test_a_folder_that_is_no_archive_is_a_usage_error(hsmirror: Command) -> None:
    ended = hsmirror("status", "nowhere")

    assert ended.status == Exit.USAGE
    assert "nowhere" in ended.err
