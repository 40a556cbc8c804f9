from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import KEY, Command, FakeProgram
from hsmirror import __version__
from hsmirror.cli.commands import COMMANDS
from hsmirror.errors import Exit, HsmirrorError, StorageError

Start = Callable[..., "subprocess.Popen[str]"]
SOURCE = Path(sys.modules["hsmirror"].__file__ or "").parents[1]
NAMES = [command.name for command in COMMANDS]


def test_help_lists_every_command_with_what_it_does_on_one_line(hsmirror: Command) -> None:
    ended = hsmirror("--help")

    assert ended.status == 0
    for command in COMMANDS:
        assert any(command.name in line and command.help in line for line in ended.out.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_each_commands_help_has_its_options_the_global_ones_and_an_example(
    hsmirror: Command, name: str
) -> None:
    ended = hsmirror(name, "--help")

    assert ended.status == 0
    assert f"Usage: hsmirror {name}" in ended.out
    assert "--json" in ended.out
    assert "Example" in ended.out
    assert f"  hsmirror {name}" in ended.out.split("Example")[1]
    options = [line for line in ended.out.splitlines() if line.startswith("│ -")]
    assert all(len(line.strip("│ ").split("  ")) > 1 for line in options), "an option without a word on it"


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_in_the_help_are_ones_that_the_command_takes(hsmirror: Command, name: str) -> None:
    """`--help` at the end has every option before it looked at."""
    for example in next(command.examples for command in COMMANDS if command.name == name):
        assert hsmirror(*example.split()[1:], "--help").status == 0


def test_version_says_which(hsmirror: Command) -> None:
    ended = hsmirror("--version")

    assert (ended.status, ended.out) == (0, f"hsmirror {__version__}\n")


def test_help_needs_none_of_the_modules_that_take_long_to_import() -> None:
    code = (
        "import sys; from hsmirror.cli.main import main; main(['--help']); "
        "slow = {'aiohttp', 'asyncio', 'rich.progress', 'msgspec', 'hsmirror.mirror', 'hsmirror.lab'}; "
        "sys.exit(f'imported: {slow & set(sys.modules)}' if slow & set(sys.modules) else 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr


def test_no_command_at_all_shows_the_help_and_is_a_usage_error(hsmirror: Command) -> None:
    ended = hsmirror()

    assert ended.status == Exit.USAGE
    assert "Usage: hsmirror COMMAND" in ended.out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("syn",), '"sync"'),
        (("sync", "--rom", "a"), "--room"),
        (("sync", "--archive"), "requires an argument"),
        (("lab", "--rooms", "many"), "many"),
    ],
)
def test_wrong_arguments_get_a_short_hint_on_stderr_and_status_2(
    hsmirror: Command, arguments: tuple[str, ...], hint: str
) -> None:
    ended = hsmirror(*arguments)

    assert ended.status == Exit.USAGE
    assert ended.out == ""
    assert hint in ended.err
    assert ended.err.startswith("hsmirror: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--json", "-v", "sync", "a"), ("sync", "a", "-v", "--json")])
def test_global_options_stand_before_or_after_the_command(
    hsmirror: Command, key: str, arguments: tuple[str, ...]
) -> None:
    ended = hsmirror(*arguments, program=FakeProgram())

    assert ended.status == 0
    assert ended.document["exit_status"] == 0


def test_what_follows_two_dashes_is_never_an_option(hsmirror: Command, key: str) -> None:
    program = FakeProgram()

    hsmirror("sync", "--", "--json", program=program)

    assert [each.id for each in program.asked[0][1]["experiments"]] == ["--json"]


def test_an_error_ends_with_its_own_status_and_one_line(hsmirror: Command, key: str) -> None:
    program = FakeProgram({"sync": StorageError("cannot write out/x: No space left on device")})

    ended = hsmirror("sync", "a", "-q", program=program)

    assert ended.status == Exit.STORAGE
    assert ended.err == "hsmirror: cannot write out/x: No space left on device\n"


def test_an_error_with_json_is_the_one_document_on_stdout(hsmirror: Command, key: str) -> None:
    program = FakeProgram({"sync": StorageError("the disk is full")})

    ended = hsmirror("sync", "a", "--json", program=program)

    assert ended.document == {"exit_status": 7, "error": "the disk is full"}


def test_a_usage_error_with_json_is_one_document_too(hsmirror: Command) -> None:
    assert hsmirror("sync", "--json", "--rom", "a").document["exit_status"] == Exit.USAGE


def test_errors_of_a_task_group_are_told_as_the_one_that_counts(hsmirror: Command, key: str) -> None:
    group = ExceptionGroup("", [ExceptionGroup("", [StorageError("the disk is full")])])

    ended = hsmirror("sync", "a", program=FakeProgram({"sync": group}))

    assert ended.status == Exit.STORAGE
    assert "the disk is full" in ended.err


def test_a_bug_is_one_line_that_says_where_and_how_to_report_it(hsmirror: Command, key: str) -> None:
    ended = hsmirror("sync", "a", "-q", program=FakeProgram({"sync": KeyError("secret=hst_test_1")}))

    assert ended.status == Exit.BUG
    assert ended.err.startswith("hsmirror: this is a bug: KeyError in ")
    assert "Please report it" in ended.err
    assert "Traceback" not in ended.err
    assert "secret" not in ended.err


def test_a_traceback_needs_vv_and_holds_neither_key_nor_signature(hsmirror: Command, key: str) -> None:
    error = ValueError(f"https://storage/x.mp4?X-Goog-Signature=5ecret with {KEY}")

    ended = hsmirror("sync", "a", "-vv", program=FakeProgram({"sync": error}))

    assert "Traceback" in ended.err
    assert "https://storage/x.mp4?…" in ended.err
    assert "5ecret" not in ended.err
    assert KEY not in ended.err


def test_a_key_typed_as_an_argument_is_refused_and_not_shown(hsmirror: Command, key: str) -> None:
    for arguments in (("sync", KEY), ("sync", "a", f"--api-key={KEY}"), (KEY,)):
        ended = hsmirror(*arguments)

        assert ended.status == Exit.USAGE
        assert KEY not in ended.out + ended.err


def test_control_characters_in_an_error_are_shown_as_escapes(hsmirror: Command, key: str) -> None:
    ended = hsmirror("sync", "a", program=FakeProgram({"sync": HsmirrorError("room \x1b[2J\u202e")}))

    assert "room \\x1b[2J\\u202e" in ended.err
    assert "\x1b[2J" not in ended.err


def test_the_command_runs_as_a_module(command_line: Start) -> None:
    process = command_line("status", "--json")
    out, err = process.communicate(timeout=60)

    assert process.returncode == Exit.USAGE
    assert out.startswith('{"exit_status":2')
    assert err.startswith("hsmirror: ")


def test_a_reader_that_leaves_early_is_no_failure(command_line: Start) -> None:
    process = command_line("--help")
    assert process.stdout is not None
    process.stdout.close()

    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_no_color_is_honoured(hsmirror: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = hsmirror("syn").err
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[31m" in coloured
    assert "\x1b[31m" not in hsmirror("syn").err
