from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.conftest import Command, FakeProgram, Terminal
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.lock import exclusive
from hsmirror.errors import Exit
from hsmirror.mirror.forget import ForgetReport
from hsmirror.mirror.traces import RowCount

PERSON = "user_xyz789"
FOUND = ForgetReport(
    archive="here",
    participant="p",
    is_finished=True,
    rows=12,
    by_room=(RowCount("e", "chat", "r", 5), RowCount("e", "chat", "s", 3), RowCount("e", "events", None, 4)),
    files=2,
    file_bytes=5_000_000,
)


class Forgetting(FakeProgram):
    """Answers a removal; what it was asked is `dry_run`s, in order."""

    async def forget(self, root: Path, participant: str, *, dry_run: bool = False) -> Any:
        return self._answer("forget", (root, participant, dry_run))


def program(**given: Any) -> Forgetting:
    return Forgetting({"forget": msgspec.structs.replace(FOUND, **given)})


def test_without_a_terminal_it_is_done_at_once(hsmirror: Command, home: Path) -> None:
    forgetting = program()

    ended = hsmirror("forget", "--participant", "p", "here", program=forgetting)

    assert forgetting.asked == [("forget", (home / "here", "p", False))]
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == (
        "of p: 12 rows, 2 recording files (5.0 MB)\n"
        "  chat: 8 rows in 2 rooms\n"
        "  events: 4 rows in 1 room\n"
        "removed; later syncs leave p out\n"
    )


def test_with_v_rows_are_told_by_room(hsmirror: Command) -> None:
    ended = hsmirror("forget", "--participant", "p", "here", "-v", program=program())

    assert "  chat of room r of e: 5 rows\n" in ended.out
    assert "  events of no room of e: 4 rows\n" in ended.out


def test_a_dry_run_says_that_nothing_was_removed(hsmirror: Command) -> None:
    forgetting = program(is_dry_run=True, is_finished=False)

    ended = hsmirror("forget", "--participant", "p", "here", "-n", program=forgetting)

    assert [asked[2] for _, asked in forgetting.asked] == [True]
    assert "nothing was removed" in ended.out
    assert ended.status == 0


def test_what_stays_is_said(hsmirror: Command) -> None:
    forgetting = program(
        still_naming=(RowCount("e", "chat", "r", 7),),
        older_rows_still_naming=1,
        rows_of_nobody=(RowCount("e", "components", "r", 2),),
        documents_naming=tuple(f"experiment_id=e/{number}.json" for number in range(30)),
        shared_files=("a\x1b.mp4",),
    )

    ended = hsmirror("forget", "--participant", "p", "here", program=forgetting)

    assert "stays: 7 rows of other people that name p\n  chat: 7 rows in 1 room\n" in ended.out
    assert "stays: 1 such row in older versions\n" in ended.out
    assert "stays: 2 rows of the same rooms that do not tell whose they are\n" in ended.out
    assert "stays: it names this person: 10 more; --json names them all\n" in ended.out
    assert "stays: it may be somebody else's: a\\x1b.mp4\n" in ended.out


def test_what_is_damaged_ends_with_3(hsmirror: Command) -> None:
    ended = hsmirror(
        "forget", "--participant", "p", "here", "-q", program=program(unreadable=("x",), is_finished=False)
    )

    assert (ended.status, ended.out) == (Exit.INCOMPLETE, "")
    assert "1 damaged shard may still hold rows of this person" in ended.err


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`at_terminal("y")`: somebody sits there, and will answer this."""

    def sit(answer: str) -> None:
        stdin = Terminal(f"{answer}\n")
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr("hsmirror.cli.output.Output.is_terminal", True)

    return sit


@pytest.mark.parametrize("answer", ["y", "Yes"])
def test_at_a_terminal_it_asks_first(hsmirror: Command, at_terminal: Any, answer: str) -> None:
    at_terminal(answer)
    forgetting = program()

    ended = hsmirror("forget", "--participant", "p", "here", program=forgetting)

    assert [asked[2] for _, asked in forgetting.asked] == [True, False]
    assert "This cannot be undone" in ended.err
    assert ended.status == 0


@pytest.mark.parametrize("answer", ["", "n", "what?"])
def test_whatever_is_no_yes_is_a_no(hsmirror: Command, at_terminal: Any, answer: str) -> None:
    at_terminal(answer)
    forgetting = program()

    ended = hsmirror("forget", "--participant", "p", "here", program=forgetting)

    assert [asked[2] for _, asked in forgetting.asked] == [True]
    assert ended.status == Exit.USAGE
    assert "nothing was removed" in ended.err


@pytest.mark.parametrize("option", ["--yes", "-y", "--json"])
def test_nobody_is_asked_who_said_yes_or_is_a_program(hsmirror: Command, at_terminal: Any, option: str) -> None:
    at_terminal("n")
    forgetting = program()

    ended = hsmirror("forget", "--participant", "p", "here", option, program=forgetting)

    assert [asked[2] for _, asked in forgetting.asked] == [False]
    assert ended.status == 0


def test_the_id_must_be_given(hsmirror: Command) -> None:
    ended = hsmirror("forget", "here", program=program())

    assert ended.status == Exit.USAGE
    assert "--participant" in ended.err


# --- the whole way -----------------------------------------------------------------------------------
def test_a_person_is_forgotten_in_a_real_archive(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")

    first = hsmirror("forget", "--participant", PERSON, "hsmirror-demo", "--json")
    second = hsmirror("forget", "--participant", PERSON, "hsmirror-demo")

    document = first.document
    assert (document["exit_status"], document["is_finished"], document["was_forgotten"]) == (0, True, False)
    assert document["rows"] == sum(each["rows"] for each in document["by_room"]) > 0
    assert (second.status, second.out.splitlines()[0]) == (0, f"nothing left of {PERSON}")
    assert hsmirror("verify", "hsmirror-demo").status == 0


def test_status_and_verify_tell_of_a_removal_that_was_cut_short(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")
    receipt = {"kind": "forgotten", "person": "ab" * 32, "salt": "cd" * 16, "began_at": "2026-01-01T00:00:00Z"}
    segment = home / "hsmirror-demo" / "receipts" / "29991231T000000Z-0000.jsonl"
    segment.write_text(json.dumps(receipt) + "\n")

    status, verify = hsmirror("status", "hsmirror-demo"), hsmirror("verify", "hsmirror-demo")

    for text in (status.out, verify.err):
        assert "the removal of 1 person is not finished" in " ".join(text.split())
    assert hsmirror("status", "hsmirror-demo", "--json").document["unfinished_removals"] == 1


def test_while_a_run_holds_the_archive_it_ends_with_5(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")
    with exclusive(Layout(home / "hsmirror-demo"), Modes()):
        ended = hsmirror("forget", "--participant", PERSON, "hsmirror-demo")

    assert ended.status == Exit.ARCHIVE_BUSY


def test_a_folder_that_is_no_archive_is_a_usage_error(hsmirror: Command, home: Path) -> None:
    assert hsmirror("forget", "--participant", "p", ".").status == Exit.USAGE
    assert list(home.iterdir()) == []
