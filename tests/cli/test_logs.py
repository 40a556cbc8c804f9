from __future__ import annotations

import io
import json
import threading
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli.conftest import KEY, Command, FakeProgram, a_run_report
from hsmirror.cli.logs import JsonLog, Level
from hsmirror.cli.output import Output
from hsmirror.cli.progress import showing
from hsmirror.clock import ManualClock
from hsmirror.errors import Exit, StorageError
from hsmirror.mirror.report import ExperimentReport, Problem, RunStatistics, TypeReport

NOW = 1_795_312_800.25
EVENTS = TypeReport("events", rows=5, rooms=2)
CHAT = TypeReport("chat", rows=3, rooms=1, is_complete=False, why="1 row is missing: run again")
INCOMPLETE = a_run_report(
    exit_status=int(Exit.INCOMPLETE),
    experiments=(ExperimentReport("exp_1", rooms=2, types=(EVENTS, CHAT), files=4, files_failed=1),),
    problems=(Problem("1 row is missing: run again", "exp_1", "chat", "room_1"),),
    notes=("no videochat here",),
    requests=9,
)


def written(level: Level = Level.INFO, event: str = "e", message: str = "m", **fields: Any) -> str:
    stream = io.StringIO()
    JsonLog(stream, ManualClock(NOW), least=Level.DEBUG).write(level, event, message, **fields)
    return stream.getvalue()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def logged(hsmirror: Command, *arguments: str, **answers: Any) -> list[dict[str, Any]]:
    ended = hsmirror(*arguments, "--log-format", "json", program=FakeProgram(answers))
    return lines(ended.err)


# --- a line ------------------------------------------------------------------------------------------------
def test_a_line_has_time_level_event_message_and_fields() -> None:
    assert lines(written(Level.WARNING, "problem", "what", room="r1", rows=7)) == [
        {
            "time": "2026-11-22T02:00:00.250Z",
            "level": "warning",
            "event": "problem",
            "message": "what",
            "room": "r1",
            "rows": 7,
        }
    ]


def test_fields_that_say_nothing_are_left_out() -> None:
    (line,) = lines(written(room="", data_type=None, rows=0, is_complete=False))

    assert line.keys() == {"time", "level", "event", "message", "rows", "is_complete"}


@given(st.text(st.characters(blacklist_categories=())), st.text())
@example("\x1b]0;owned\x07\x7f\x9b2J\u202e\u2028\r\n\ud800", "room\x7f")
def test_any_text_is_one_line_of_visible_ascii_that_reads_back(message: str, room: str) -> None:
    text = written(message=message, room=room)

    assert text.endswith("\n")
    assert all(" " <= character <= "~" for character in text[:-1])
    (line,) = lines(text)
    assert line["message"] == message
    assert line.get("room", "") == room


def test_neither_key_nor_signature_is_written_however_deep_it_stands() -> None:
    address = "https://storage/x.mp4?X-Goog-Signature=5ecret"

    text = written(message=f"{KEY} {address}", nested={"list": [(address,)], KEY: 1}, error=ValueError(address))

    assert "5ecret" not in text
    assert KEY not in text
    assert text.count("https://storage/x.mp4?") == 3


def test_lines_of_threads_do_not_mix() -> None:
    class InPieces(io.StringIO):
        def write(self, text: str) -> int:
            for start in range(0, len(text), 500):
                super().write(text[start : start + 500])
                time.sleep(0)  # another thread's turn
            return len(text)

    stream = InPieces()
    log = JsonLog(stream, ManualClock(NOW))

    def write_many(text: str) -> None:
        for _ in range(50):
            log.write(Level.INFO, "e", text * 2000)

    threads = [threading.Thread(target=write_many, args=(text,)) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lines(stream.getvalue())) == 200


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_a_log_that_takes_no_more_is_no_reason_to_end(error: OSError) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise error

    output = Output(stdout=io.StringIO(), stderr=Full(), logs_json=True)

    output.error("a")
    output.error("b")

    assert output.console.quiet


# --- a run -------------------------------------------------------------------------------------------------
def test_a_run_begins_with_start_and_ends_with_its_exit_status(hsmirror: Command, key: str) -> None:
    log = logged(hsmirror, "sync", "exp_1", "--archive", "out")

    assert [line["event"] for line in log] == ["start", "run", "end"]
    assert log[0]["experiments"] == ["exp_1"]
    assert log[0]["archive"].endswith("/out")
    assert (log[-1]["exit_status"], log[-1]["level"]) == (0, "info")


def test_what_is_missing_is_a_line_each_with_its_place_as_fields(hsmirror: Command, key: str) -> None:
    log = logged(hsmirror, "sync", "exp_1", sync=INCOMPLETE)

    by_event = {line["event"]: line for line in log}
    assert list(by_event) == ["start", "data_type", "experiment", "problem", "note", "run", "end"]
    problem = by_event["problem"]
    assert (problem["experiment"], problem["room"], problem["data_type"]) == ("exp_1", "room_1", "chat")
    assert problem["level"] == "error"
    assert by_event["data_type"]["message"] == CHAT.why
    assert (by_event["experiment"]["rows"], by_event["experiment"]["files_failed"]) == (8, 1)
    assert (by_event["run"]["requests"], by_event["run"]["problems"]) == (9, 1)
    assert (by_event["end"]["exit_status"], by_event["end"]["message"]) == (3, "ended: incomplete")


def test_verbose_has_a_line_for_each_data_type(hsmirror: Command, key: str) -> None:
    log = logged(hsmirror, "sync", "exp_1", "-v", sync=INCOMPLETE)

    assert [line["data_type"] for line in log if line["event"] == "data_type"] == ["events", "chat"]


def test_quiet_leaves_errors_alone(hsmirror: Command, key: str) -> None:
    assert [line["event"] for line in logged(hsmirror, "sync", "a", "-q", sync=INCOMPLETE)] == [
        "problem",
        "end",
    ]
    assert logged(hsmirror, "sync", "a", "-q") == []


def test_the_report_on_stdout_and_the_log_on_stderr_go_together(hsmirror: Command, key: str) -> None:
    ended = hsmirror("sync", "a", "--json", "--log-format=json", program=FakeProgram())

    assert ended.document["exit_status"] == 0
    assert lines(ended.err)[-1]["event"] == "end"


def test_an_error_is_a_line_and_the_end_has_its_status(hsmirror: Command, key: str) -> None:
    log = logged(hsmirror, "sync", "a", sync=StorageError("the disk is full"))

    error, end = log[-2:]
    assert (error["event"], error["message"], error["exit_status"]) == ("error", "the disk is full", 7)
    assert (end["event"], end["level"], end["exit_status"]) == ("end", "error", 7)


@pytest.mark.parametrize("arguments", [("syn",), ("sync", "--rom"), ("sync", "a")])
def test_what_goes_wrong_before_anything_begins_is_logged_alike(
    hsmirror: Command, arguments: tuple[str, ...]
) -> None:
    for form in (("--log-format", "json"), ("--log-format=json",)):
        log = lines(hsmirror(*arguments, *form).err)

        assert [line["event"] for line in log] == ["error", "end"]
        assert log[-1]["exit_status"] == Exit.USAGE


def test_a_traceback_is_one_line_too(hsmirror: Command, key: str) -> None:
    log = logged(hsmirror, "sync", "a", "-vv", sync=ValueError("odd"))

    (trace,) = [line for line in log if line["event"] == "traceback"]
    assert "ValueError: odd" in trace["message"]


def test_another_format_is_a_usage_error(hsmirror: Command) -> None:
    assert hsmirror("status", "--log-format", "xml").status == Exit.USAGE


def test_progress_is_a_line_now_and_then_even_on_a_terminal(screens: Any) -> None:
    screen = screens(terminal=True, logs_json=True)
    told = threading.Event()

    class View:
        def statistics(self) -> RunStatistics:
            told.set()
            return RunStatistics(1.0, 1, 0, 4, 2, 100, 5000, 3, 0, 997, 1000, None, 0, 0, 0, 0)

    with showing(screen.output, interval_seconds=0.001) as on_start:
        on_start(View())
        assert told.wait(10)

    (first, *_) = lines(screen.stderr.getvalue())
    assert first["event"] == "progress"
    assert (first["rows"], first["requests"], first["lists_done"]) == (100, 3, 2)
