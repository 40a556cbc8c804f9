"""The lock where something goes wrong: its run is killed, or the file system gives no locks."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.lock import exclusive
from hsmirror.errors import StorageError

MODES = Modes()
DIES_WITH_THE_LOCK = """
import os, signal, sys
from pathlib import Path
from hsmirror.archive.durable import Modes
from hsmirror.archive.layout import Layout
from hsmirror.archive.lock import exclusive
with exclusive(Layout(Path(sys.argv[1])), Modes()):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_fault_50_a_lock_of_a_run_that_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "archive")
    died = subprocess.run([sys.executable, "-c", DIES_WITH_THE_LOCK, str(layout.root)], check=False)
    assert died.returncode == -9
    assert layout.lock.exists()
    with exclusive(layout, MODES):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_fault_44_a_file_system_that_gives_no_locks_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Stands in for NFS without its lock service."""

    def refuse(_: int, operation: int) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="cannot lock"), exclusive(Layout(tmp_path / "archive"), MODES):
        pass


def test_a_lock_that_cannot_be_given_back_does_not_turn_a_run_into_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def refuse(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "bad disk")
        flock(descriptor, operation)

    with exclusive(Layout(tmp_path / "archive"), MODES):
        monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.undo()
