"""One run an archive, and a dead one is no hindrance."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.lock import exclusive
from hsmirror.errors import ArchiveBusyError


def test_fault_49_who_comes_second_is_told_at_once_and_who_comes_after_is_let_in(tmp_path: Path) -> None:
    layout, modes = Layout(tmp_path), Modes()
    with exclusive(layout, modes):
        with pytest.raises(ArchiveBusyError, match="another run holds"), exclusive(layout, modes):
            raise AssertionError("two runs hold the archive")
        with pytest.raises(ArchiveBusyError), exclusive(layout, modes):
            raise AssertionError("the one that was refused has freed it")
    with exclusive(layout, modes):
        assert layout.lock.exists()


def test_fault_50_a_lock_file_that_nobody_holds_is_no_lock(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.state.mkdir()
    layout.lock.write_bytes(b"4242\n")
    with exclusive(layout, Modes()):
        assert layout.lock.exists()


def test_a_run_that_fails_frees_the_archive(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(KeyError), exclusive(layout, Modes()):
        raise KeyError("anything")
    with exclusive(layout, Modes()):
        assert layout.lock.exists()
