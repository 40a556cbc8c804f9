"""Rows of many rooms wait in one file, and come back room by room."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmirror.archive import spool as spools
from hsmirror.archive.spool import NO_LINK, Spool
from hsmirror.errors import StorageError

STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.binary(min_size=1, max_size=40) | st.none()), max_size=40)
"""Rows that a room pushes, or None where it takes all it has."""


@given(steps=STEPS)
def test_a_room_gets_back_what_it_pushed_in_order_whatever_the_others_do(
    steps: list[tuple[str, bytes | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool")
        links, pushed = dict.fromkeys("abc", NO_LINK), dict.fromkeys("abc", b"")
        for room, rows in steps:
            if rows is not None:
                links[room] = spool.push(rows, links[room])
                pushed[room] += rows
                continue
            assert spool.take(links[room], len(pushed[room])) == pushed[room]
            links[room], pushed[room] = NO_LINK, b""
        for room, rows in pushed.items():
            assert spool.take(links[room], len(rows)) == rows
        spool.close()
        assert not list(Path(folder).iterdir())


def test_there_is_no_file_before_there_are_rows(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.close()
    assert not list(tmp_path.iterdir())


def test_a_spool_is_worth_renewing_when_it_is_large_and_most_of_it_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "_WORTH_RENEWING_BYTES", 1000)
    spool = Spool(tmp_path / "spool")
    left, taken = spool.push(b"x" * 300, NO_LINK), spool.push(b"y" * 1000, NO_LINK)
    assert not spool.is_worth_renewing
    spool.take(taken, 1000)
    assert spool.is_worth_renewing
    assert spool.take(left, 300) == b"x" * 300


@pytest.mark.parametrize("size_bytes", [0, 10, 20])
def test_rows_that_come_back_short_are_an_error_of_the_disk(tmp_path: Path, size_bytes: int) -> None:
    spool = Spool(tmp_path / "spool")
    link = spool.push(b"a\nb\n" * 2, NO_LINK)
    with (tmp_path / "spool").open("r+b") as file:
        file.truncate(size_bytes)
    with pytest.raises(StorageError, match=r"cannot read .*spool"):
        spool.take(link, 8)


def test_a_chain_of_another_length_than_was_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    link = spool.push(b"a\n", NO_LINK)
    with pytest.raises(StorageError, match="another length"):
        spool.take(link, 4)


def test_what_is_spilled_is_private_whatever_the_archive_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.push(b"a\n", NO_LINK)
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o600
    spool.close()


def test_an_error_as_it_is_closed_matters_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems tell of a full quota then; all that was taken had its length."""
    spool, close = Spool(tmp_path / "spool"), os.close
    spool.push(b"a\n", NO_LINK)

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, "quota exceeded")

    monkeypatch.setattr(os, "close", fail)
    spool.close()
    spool.close()
    assert not list(tmp_path.iterdir())
