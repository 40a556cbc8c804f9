from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Command, FakeProgram
from hsmirror.archive.verify import VerifyReport
from hsmirror.errors import Exit

SOUND = VerifyReport(archive="a", checked_files=3, checked_bytes=2_000_000, checked_rows=1234)


def test_a_sound_archive_ends_with_0_and_says_what_was_checked(hsmirror: Command) -> None:
    ended = hsmirror("verify", "here", program=FakeProgram({"verify": SOUND}))

    assert (ended.status, ended.out) == (0, "sound: 3 files, 1,234 rows, 2.0 MB match their receipts\n")


@pytest.mark.parametrize("what", ["missing", "damaged", "unreadable"])
def test_whatever_is_wrong_ends_with_6_and_names_the_file(hsmirror: Command, what: str) -> None:
    report = VerifyReport(archive="a", checked_files=1, **{what: ("x/\x1b.mp4",)})  # type: ignore[arg-type]

    ended = hsmirror("verify", "here", program=FakeProgram({"verify": report}))

    assert ended.status == Exit.DAMAGED
    assert f"hsmirror: {what}: x/\\x1b.mp4" in ended.err
    assert "the next sync fetches it again" in " ".join(ended.out.split())


def test_files_that_nobody_knows_and_unproven_lists_are_no_damage(hsmirror: Command) -> None:
    report = VerifyReport(archive="a", unexpected=("stray.txt",), unproven=("chat of exp_1: 1 row missing",))

    ended = hsmirror("verify", "here", "-v", program=FakeProgram({"verify": report}))

    assert ended.status == 0
    assert "stray.txt" in ended.err
    assert "not proven complete: chat of exp_1: 1 row missing" in ended.err


def test_json_is_the_report_and_the_status(hsmirror: Command) -> None:
    report = VerifyReport(archive="a", missing=("x",))

    document = hsmirror("verify", "here", "--json", program=FakeProgram({"verify": report})).document

    assert (document["missing"], document["exit_status"]) == (["x"], 6)


def test_the_folder_is_the_one_given_else_the_configurations(hsmirror: Command, home: Path) -> None:
    program = FakeProgram({"verify": SOUND})

    hsmirror("verify", "here", "--sample", "2/7", program=program)
    hsmirror("verify", program=program)

    assert [asked["root"] for _, asked in program.asked] == [home / "here", home / "archive"]
    assert [asked["sample"] for _, asked in program.asked] == [(2, 7), None]


@pytest.mark.parametrize("sample", ["0/7", "8/7", "1", "a/b", "1/0", "-1/7"])
def test_a_sample_that_is_none_is_refused(hsmirror: Command, sample: str) -> None:
    ended = hsmirror("verify", "here", f"--sample={sample}")

    assert ended.status == Exit.USAGE
    assert "such as 1/7" in ended.err


def test_a_flipped_bit_is_found(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")
    recording = next((home / "hsmirror-demo").glob("experiment_id=*/files/*/*.mp4"))
    content = bytearray(recording.read_bytes())
    content[100] ^= 1
    recording.write_bytes(content)

    ended = hsmirror("verify", "hsmirror-demo")

    assert ended.status == Exit.DAMAGED
    assert recording.name in ended.err


def test_a_folder_that_is_no_archive_is_a_usage_error(hsmirror: Command) -> None:
    assert hsmirror("verify", ".").status == Exit.USAGE
