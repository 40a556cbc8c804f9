from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import KEY, Command, FakeProgram
from hsmirror.archive.verify import VerifyReport
from hsmirror.errors import Exit
from hsmirror.mirror.report import Problem

SOUND = VerifyReport(archive="a", checked_files=3, checked_bytes=2_000_000, checked_rows=1234)


def test_a_sound_archive_ends_with_0_and_says_what_was_checked(hsmirror: Command) -> None:
    ended = hsmirror("verify", "here", program=FakeProgram({"verify": SOUND}))

    assert (ended.status, ended.out) == (0, "sound: 3 files, 1,234 rows, 2.0 MB match their receipts\n")


def test_quiet_says_nothing_of_a_sound_archive(hsmirror: Command) -> None:
    ended = hsmirror("verify", "here", "-q", program=FakeProgram({"verify": SOUND}))

    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_quiet_names_what_is_damaged(hsmirror: Command) -> None:
    report = VerifyReport(archive="a", checked_files=1, damaged=("x.mp4: its bytes have changed",))

    ended = hsmirror("verify", "here", "-q", program=FakeProgram({"verify": report}))

    assert ended.status == Exit.DAMAGED
    assert "x.mp4: its bytes have changed" in ended.err


@pytest.mark.parametrize("what", ["missing", "damaged", "unreadable"])
def test_whatever_is_wrong_ends_with_6_and_names_the_file(hsmirror: Command, what: str) -> None:
    report = VerifyReport(archive="a", checked_files=1, **{what: ("x/\x1b.mp4",)})  # type: ignore[arg-type]

    ended = hsmirror("verify", "here", program=FakeProgram({"verify": report}))

    assert ended.status == Exit.DAMAGED
    assert f"hsmirror: {what}: x/\\x1b.mp4" in ended.err
    assert "--repair fetches them again" in " ".join(ended.out.split())


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


def test_when_it_was_checked_is_remembered_for_status(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")
    (home / "hsmirror-demo/.hsmirror/checks/1-of-1.json").unlink()  # the demo verifies all of it
    for part in ("1/2", "2/2"):
        assert hsmirror("verify", "hsmirror-demo", "--sample", part).status == 0

    checked = hsmirror("status", "hsmirror-demo", "--json").document["checked"]
    shown = hsmirror("status", "hsmirror-demo").out

    assert (checked["checked_parts"], checked["parts"], checked["broken_files"]) == (2, 2, 0)
    assert checked["checked_since"] <= checked["last_checked_at"]
    assert "all of it sound, the oldest part (1/2)" in shown


def test_damage_that_was_found_is_remembered_for_status(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")
    next((home / "hsmirror-demo").glob("experiment_id=*/files/*/*.mp4")).unlink()

    hsmirror("verify", "hsmirror-demo")

    assert "1 broken file; hsmirror verify names them" in hsmirror("status", "hsmirror-demo").out


def test_checking_changes_nothing_outside_the_state_folder(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")
    root = home / "hsmirror-demo"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if ".hsmirror" not in path.parts}

    hsmirror("verify", "hsmirror-demo")

    assert before == {
        path: path.stat().st_mtime_ns for path in root.rglob("*") if ".hsmirror" not in path.parts
    }


def test_a_folder_that_is_no_archive_is_a_usage_error(hsmirror: Command) -> None:
    assert hsmirror("verify", ".").status == Exit.USAGE


def test_repair_fetches_what_is_damaged_again_and_ends_with_0(
    hsmirror: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSTUDY_API_KEY", KEY)
    broken = VerifyReport(archive="a", checked_files=3, damaged=("x.mp4: its bytes have changed",))
    program = FakeProgram({"verify": broken, "repair": (VerifyReport(archive="a", checked_files=1), ())})
    ended = hsmirror("verify", "here", "--repair", "--json", program=program)
    assert (ended.status, ended.document["repaired"], ended.document["damaged"]) == (0, ["x.mp4"], [])
    (_, asked) = program.asked[-1]
    assert (asked["broken"], asked["settings"].archive.path.name) == (broken, "here")


def test_what_cannot_be_repaired_still_ends_with_6(hsmirror: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSTUDY_API_KEY", KEY)
    broken = VerifyReport(archive="a", checked_files=3, missing=("x.mp4", "y.mp4"))
    left = VerifyReport(archive="a", checked_files=2, missing=("y.mp4",))
    ended = hsmirror(
        "verify", "here", "--repair", program=FakeProgram({"verify": broken, "repair": (left, ())})
    )
    assert (ended.status, "missing: y.mp4" in ended.err, "repaired: 1 file" in ended.err) == (6, True, True)


def test_repair_of_a_sound_archive_needs_no_key(hsmirror: Command) -> None:
    assert hsmirror("verify", "here", "--repair", program=FakeProgram({"verify": SOUND})).status == 0


def test_what_was_lost_in_a_repair_is_told_and_ends_with_6_although_all_files_match_again(
    hsmirror: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSTUDY_API_KEY", KEY)
    broken = VerifyReport(archive="a", checked_files=3, missing=("x",))
    lost = Problem("of its 5 rows the server has 0 still", experiment="exp", data_type="events", room="r")
    program = FakeProgram({"verify": broken, "repair": (VerifyReport(archive="a", checked_files=1), (lost,))})
    ended = hsmirror("verify", "here", "--repair", program=program)
    assert (ended.status, "of its 5 rows the server has 0 still" in ended.err) == (6, True)
    assert "not all that they held could be had" in ended.out


@pytest.mark.parametrize(
    ("field", "what", "advice"),
    [
        ("unvouched", "receipts/20260101T000000Z-aaaa.jsonl: it is missing", "the next sync, or --repair"),
        ("strays", "experiment_id=e/data_type=events/room_id=r/part-00000 (1).ndjson.gz", "puts copies aside"),
        ("strays", "receipts/Copy of 20260101T000000Z-aaaa.jsonl", "move it out of the archive"),
    ],
)
def test_faults_95_and_120_what_vouches_no_more_and_strays_are_named_with_what_to_do(
    hsmirror: Command, field: str, what: str, advice: str
) -> None:
    report = VerifyReport(archive="a", checked_files=3, **{field: (what,)})  # type: ignore[arg-type]

    ended = hsmirror("verify", "here", program=FakeProgram({"verify": report}))

    assert ended.status == Exit.DAMAGED
    assert what in ended.err
    assert advice in " ".join(ended.err.split())
    assert "damaged: " in ended.out


def test_what_is_behind_is_told_and_no_damage(hsmirror: Command) -> None:
    report = VerifyReport(archive="a", notes=("SHA256SUMS is behind",))

    ended = hsmirror("verify", "here", program=FakeProgram({"verify": report}))

    assert (ended.status, "SHA256SUMS is behind" in ended.err) == (0, True)


def test_fault_95_repair_puts_a_stray_shard_aside_and_deletes_nothing(
    hsmirror: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSTUDY_API_KEY", KEY)
    monkeypatch.setenv("HYPERSTUDY_BASE_URL", "http://127.0.0.1:1/api/v3")
    hsmirror("demo", "--rooms", "1")
    shard = next((home / "hsmirror-demo").glob("*/data_type=events/*/*.ndjson.gz"))
    stray = shard.with_name("part-00000 (conflicted copy).ndjson.gz")
    stray.write_bytes(shard.read_bytes())
    assert hsmirror("verify", "hsmirror-demo").status == Exit.DAMAGED

    ended = hsmirror("verify", "hsmirror-demo", "--repair")

    assert (ended.status, stray.exists(), shard.exists()) == (0, False, True)
    (aside,) = (home / "hsmirror-demo/.hsmirror/superseded").rglob("part-00000%20*")
    assert aside.read_bytes() == shard.read_bytes()


def test_fault_120_repair_takes_up_the_files_whose_receipts_are_lost_and_says_what_is_left_to_do(
    hsmirror: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERSTUDY_API_KEY", KEY)
    monkeypatch.setenv("HYPERSTUDY_BASE_URL", "http://127.0.0.1:1/api/v3")
    hsmirror("demo", "--rooms", "1")
    sound = hsmirror("verify", "hsmirror-demo").out
    for segment in (home / "hsmirror-demo/receipts").glob("*.jsonl"):
        segment.unlink()

    ended = hsmirror("verify", "hsmirror-demo", "--repair")

    assert (ended.status, ended.out) == (0, sound)
    assert "run sync now" in ended.err
