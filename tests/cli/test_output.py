from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson

from cli.conftest import Screens, a_run_report
from hsmirror.cli.tables import compact_table
from hsmirror.mirror.report import ExperimentReport

MakeScreens = Callable[..., Screens]


def test_a_document_has_the_fields_that_stand_at_their_defaults_too(screens: MakeScreens) -> None:
    screen = screens(is_json=True)

    screen.output.document(a_run_report(experiments=(ExperimentReport("exp_1"),)))

    document = orjson.loads(screen.stdout.getvalue())
    assert document["exit_status"] == 0
    assert document["experiments"][0]["files_failed"] == 0


def test_a_document_holds_paths_and_broken_texts_as_valid_json(screens: MakeScreens) -> None:
    screen = screens(is_json=True)

    screen.output.document({"path": Path("a/b"), "text": "lone \ud800"})

    assert orjson.loads(screen.stdout.getvalue()) == {"path": "a/b", "text": "lone \\ud800"}


def test_a_document_is_one_line_for_programs_and_indented_for_people(screens: MakeScreens) -> None:
    piped, watched = screens(), screens(terminal=True)
    for screen in (piped, watched):
        screen.output.document({"a": [1]})

    assert piped.stdout.getvalue() == '{"a":[1]}\n'
    assert watched.stdout.getvalue() == '{\n  "a": [\n    1\n  ]\n}\n'


def test_results_for_people_are_left_out_with_json(screens: MakeScreens) -> None:
    screen = screens(is_json=True)

    screen.output.result("a table")
    screen.output.text("a line")

    assert screen.stdout.getvalue() == ""


def test_quiet_leaves_errors_alone(screens: MakeScreens) -> None:
    screen = screens(verbosity=-1)

    screen.output.say("a remark")
    screen.output.detail("a detail")
    screen.output.error("what failed")

    assert screen.stderr.getvalue() == "hsmirror: what failed\n"


def test_errors_are_red_on_a_terminal_and_wrapped_between_words(screens: MakeScreens) -> None:
    screen = screens(terminal=True)

    screen.output.error("word " * 30)

    lines = screen.stderr.getvalue().splitlines()
    assert "\x1b[31m" in lines[0]
    assert len(lines) > 1


def test_in_files_the_blanks_that_fill_a_table_are_cut(screens: MakeScreens) -> None:
    screen = screens()
    table = compact_table(("name", "rows>"), [("events", "1"), ("a much longer name", "2,000")])

    screen.output.result("before ", table)
    screen.output.say(table, "after")

    for text in (screen.stdout.getvalue(), screen.stderr.getvalue()):
        assert "  events" in text
        assert not any(line.endswith(" ") for line in text.splitlines())


def test_square_brackets_are_no_markup(screens: MakeScreens) -> None:
    screen = screens()

    screen.output.error("room [red]1[/red]")

    assert screen.stderr.getvalue() == "hsmirror: room [red]1[/red]\n"


def test_signs_are_words_where_the_encoding_lacks_them() -> None:
    code = (
        "import sys; from hsmirror.cli.output import Output; "
        "o = Output(stdout=sys.stdout, stderr=sys.stderr); "
        "o.result(o.mark(True), o.mark(False), 'Étude')"
    )
    source = str(Path(sys.modules["hsmirror"].__file__ or "").parents[1])
    environ = os.environ | {"PYTHONPATH": source, "PYTHONIOENCODING": "ascii"}

    ended = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )

    assert ended.stdout == "yes\nNO\n\\xc9tude\n"


def test_a_closed_pipe_drops_what_is_written_and_keeps_the_status() -> None:
    code = (
        "import sys; from hsmirror.cli.output import Output; "
        "o = Output(stdout=sys.stdout, stderr=sys.stderr); sys.stdin.read(); "
        "o.result('a'); o.result('b'); o.document({}); sys.exit(3)"
    )
    source = str(Path(sys.modules["hsmirror"].__file__ or "").parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": source},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.close()

        assert process.wait(60) == 3
        assert process.stderr.read() == ""
