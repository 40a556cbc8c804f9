"""The count of requests that runs share: where it cannot be read for a while, our own goes on."""

from __future__ import annotations

import os
from errno import EIO, ESTALE
from pathlib import Path
from unittest import mock

import pytest
from filelock import FileLock
from virtual_time import VirtualClock

from hsmirror.mirror.budget_file import BudgetFile
from hsmirror.model import Secret
from hsmirror.pace.budget import Budget, Limits


def opened(folder: Path) -> BudgetFile:
    return BudgetFile(folder, "https://api.example.com", Secret("key"), VirtualClock())


@pytest.mark.parametrize("call", ["fstat", "pread"])
def test_what_cannot_be_read_for_a_while_is_counted_later(tmp_path: Path, call: str) -> None:
    ours, others, budget = opened(tmp_path), opened(tmp_path), Budget(Limits(requests_per_hour=10))
    others.sent("data/events")
    with mock.patch.object(os, call, side_effect=OSError(ESTALE, "Stale file handle")), ours.exclusive():
        ours.catch_up(budget)
    assert budget.left(None, 0.0) == 10
    with ours.exclusive():
        ours.catch_up(budget)
    assert budget.left(None, 0.0) == 9
    ours.close()
    others.close()


def test_a_lock_that_cannot_be_released_ends_no_run(tmp_path: Path) -> None:
    ours = opened(tmp_path)
    with (
        mock.patch.object(FileLock, "release", side_effect=OSError(EIO, "Input/output error")),
        ours.exclusive(),
    ):
        pass
    ours.close()
