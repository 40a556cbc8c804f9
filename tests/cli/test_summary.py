from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cli.conftest import Screens, a_run_report
from hsmirror.cli.summary import problem_line, problem_lines, show_summary
from hsmirror.errors import Exit
from hsmirror.mirror.report import ExperimentReport, Problem, TypeReport

MakeScreens = Callable[..., Screens]

EVENTS = TypeReport("events", rows=12_345, rooms=6, changed_shards=6)
CHAT = TypeReport("chat", rows=3, rooms=1, is_complete=False, why="1 row is missing: run again")
EXPERIMENT = ExperimentReport(
    "exp_1", "Study", rooms=6, types=(EVENTS, TypeReport("sync")), files=12, files_fetched=2
)
INCOMPLETE = ExperimentReport("exp_2", rooms=1, types=(CHAT,), files_failed=1, files_pending=2)


def summary(screens: MakeScreens, *, terminal: bool = False, verbosity: int = 0, **given: Any) -> str:
    screen = screens(terminal=terminal, verbosity=verbosity)
    show_summary(a_run_report(**given), screen.output)
    assert screen.stdout.getvalue() == ""
    return re.sub(r" +\n", "\n", re.sub(r"\x1b\[[0-9;]*m", "", screen.stderr.getvalue()))


def test_a_complete_run_is_a_table_its_costs_and_one_last_line(screens: MakeScreens) -> None:
    assert summary(screens, experiments=(EXPERIMENT,), changed_files=8, requests=9, seconds=4.2) == (
        "exp_1  Study · 6 rooms\n"
        "     data type    rows  rooms  changed\n"
        "  ✓  events     12,345      6        6\n"
        "  ✓  files          12               2\n"
        "  no rows: sync\n"
        "9 requests · 0 bytes received · 4.2 s\n"
        "complete: 8 files changed in archive\n"
    )


def test_a_run_that_changed_nothing_says_so(screens: MakeScreens) -> None:
    assert "complete: nothing changed in archive" in summary(screens)


def test_what_is_missing_is_said_once_with_where_and_what_to_do(screens: MakeScreens) -> None:
    problems = (Problem("1 row is missing: run again", "exp_2", "chat", "room_1"),)

    text = summary(screens, experiments=(INCOMPLETE,), problems=problems, exit_status=int(Exit.INCOMPLETE))

    assert "✗  chat" in text
    assert text.count("1 row is missing") == 1
    assert "hsmirror: exp_2, room room_1, chat: 1 row is missing: run again" in text
    assert "1 failed, 2 not final yet" in text
    assert "incomplete: what is not named above is held" in text


def test_a_room_that_the_problem_names_itself_is_not_named_twice() -> None:
    named = Problem("room room_1 is not in exp_2; check the id", "exp_2", room="room_1")
    other = Problem("room room_12 is larger", "exp_2", room="room_1")

    assert problem_line(named) == "exp_2: room room_1 is not in exp_2; check the id"
    assert problem_line(other) == "exp_2, room room_1: room room_12 is larger"


def test_what_several_data_types_have_in_common_is_said_once() -> None:
    types = ("sync", "chat", "events", "rooms", "components")
    problems = [Problem("nobody knows", "exp_2", each) for each in types]
    assert problem_lines(problems) == ["exp_2, chat, components, events and 2 more data types: nobody knows"]
    assert problem_lines(problems[:2]) == ["exp_2, chat, sync: nobody knows"]
    elsewhere = [Problem("nobody knows", "exp_3", "sync"), Problem("nobody knows", "exp_2", "sync", "room_1")]
    assert len(problem_lines([*problems, *elsewhere])) == 3


def test_why_a_type_is_incomplete_stands_in_the_table_where_no_problem_tells_it(screens: MakeScreens) -> None:
    assert "1 row is missing: run again" in summary(screens, experiments=(INCOMPLETE,), exit_status=3)


def test_quiet_shows_problems_alone(screens: MakeScreens) -> None:
    problems = (Problem("401", "exp_2"),)

    text = summary(screens, verbosity=-1, experiments=(INCOMPLETE,), problems=problems, exit_status=3)

    assert text == "hsmirror: exp_2: 401\n"


def test_many_experiments_get_a_line_each(screens: MakeScreens) -> None:
    text = summary(screens, experiments=(EXPERIMENT,) * 5 + (INCOMPLETE,), exit_status=3)

    assert len([line for line in text.splitlines() if "exp_1" in line]) == 5
    assert re.search(r"✗  exp_2 .*chat, 1 failed, 2 not final yet", text)


def test_verbose_shows_empty_types_and_notes(screens: MakeScreens) -> None:
    text = summary(screens, verbosity=1, experiments=(EXPERIMENT,), notes=("no videochat here",))

    assert re.search(r"✓  sync +0", text)
    assert "note: no videochat here" in text


def test_notes_are_counted_unless_verbose(screens: MakeScreens) -> None:
    assert "1 note: run with -v to see them" in summary(screens, notes=("no videochat here",))


def test_a_run_that_the_limits_ended_says_when_to_come_back(screens: MakeScreens) -> None:
    text = summary(screens, exit_status=3, resume_at="2026-11-22T03:00:00Z")

    assert re.search(r"run the same command again after 2026-11-2[123] \d\d:\d\d", " ".join(text.split()))


def test_nothing_is_wider_than_80_columns_and_nothing_is_cut(screens: MakeScreens) -> None:
    experiment = ExperimentReport("X" * 200, "Y" * 90, 1, (TypeReport("chat", 1, 1, False, 0, "Z" * 300),))

    text = summary(screens, terminal=True, experiments=(experiment,), exit_status=3)

    assert max(map(len, text.splitlines())) <= 80
    assert [text.count(letter) for letter in "XYZ"] == [200, 90, 300]


def test_names_from_the_server_cannot_steer_the_terminal(screens: MakeScreens) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    experiment = ExperimentReport(evil, evil, 1, (TypeReport("chat", 1, 1, False, 0, evil),), problem=evil)
    screen = screens(terminal=True)

    show_summary(
        a_run_report(experiments=(experiment,), problems=(Problem(evil, evil, room=evil),), notes=(evil,)),
        screen.output,
    )

    text = screen.stderr.getvalue()
    assert "\\x1b]0;owned\\x07\\u202e" in text
    assert not any(sign in text for sign in ("\x1b]", "\x07", "\u202e"))
