"""Faults 47 to 52: killed, interrupted, doubled and sleeping runs; real processes and real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracle import EXPERIMENT, differences, held_files, held_rows, ledger_files
from sync_runs import settings_for
from virtual_time import FakeAnswer, ScriptedWire, VirtualClock, fetcher_over, run_in_virtual_time

from faults import processes
from hsmirror.archive.verify import verify
from hsmirror.clock import SystemClock
from hsmirror.errors import Exit, ThrottledError
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.storage import StorageOptions
from hsmirror.mirror.fetch import Request
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.pace.agenda import Urgency
from hsmirror.settings import ExperimentSettings

SLOW = {
    "rooms": 3,
    "events_per_room": 30,
    "recordings_per_room": 1,
    "recording_bytes": 200_000,
    "answers": AnswerOptions(latency_seconds=0.05),
    "storage": StorageOptions(bytes_per_second=400_000),
}


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Returns, too, once the process has ended."""
    deadline = time.monotonic() + 30
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def test_fault_47_after_a_kill_anywhere_the_next_run_goes_on_unaided(start_lab_in_thread, tmp_path):
    """Killed among the first requests, while files come, and after the first of them."""
    lab = start_lab_in_thread(**SLOW)
    archive = tmp_path / "archive"
    moments: list[Callable[[], bool]] = [
        lambda: len(lab.requests) >= 8,
        lambda: lab.statistics().storage_in_flight > 0,
        lambda: lab.statistics().storage_by_status.get(200, 0) >= 1,
    ]
    for moment in moments:
        with processes.running(tmp_path, *processes.sync_arguments(), lab=lab) as process:
            wait_until(moment, process)
        if (archive / "archive.json").exists():
            assert verify(archive).is_sound
    assert processes.run(tmp_path, *processes.sync_arguments(), lab=lab).status == 0
    assert differences(archive, lab.source) == {}
    assert verify(archive).is_sound


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)]
)
def test_fault_48_a_signal_starts_no_new_work_and_saves_state_within_ten_seconds(
    start_lab_in_thread, tmp_path, number, status
):
    lab = start_lab_in_thread(**SLOW)
    archive = tmp_path / "archive"
    with processes.running(tmp_path, *processes.sync_arguments(), lab=lab) as process:
        wait_until(lambda: lab.statistics().storage_in_flight > 0, process)
        process.send_signal(number)
        began = time.monotonic()
        ended = processes.ended(process)
    assert time.monotonic() - began < 10
    assert ended.status == status
    assert "run the same command again" in ended.err
    while lab.statistics().storage_in_flight:  # a request is noted when the lab notices that nobody listens
        time.sleep(0.05)
    asked = len(lab.requests)
    (report,) = (archive / ".hsmirror/runs").glob("*.json")
    assert json.loads(report.read_bytes())["exit_status"] == status
    assert verify(archive).is_sound
    time.sleep(0.2)
    assert len(lab.requests) == asked
    assert processes.run(tmp_path, *processes.sync_arguments(), lab=lab).status == 0
    assert differences(archive, lab.source) == {}


def test_fault_49_a_second_run_says_that_there_is_one_and_leaves(start_lab_in_thread, tmp_path):
    lab = start_lab_in_thread(**SLOW | {"storage": StorageOptions(bytes_per_second=10_000)})
    with processes.running(tmp_path, *processes.sync_arguments(), lab=lab) as first:
        wait_until(lambda: lab.statistics().storage_in_flight > 0, first)
        second = processes.run(tmp_path, *processes.sync_arguments(), lab=lab)
        assert (second.status, first.poll()) == (Exit.ARCHIVE_BUSY, None)
        assert "another run holds" in second.err
        assert len(list((tmp_path / "archive/.hsmirror/runs").glob("*"))) == 0  # neither has ended as a run
        first.terminate()
        assert processes.ended(first).status == Exit.TERMINATED


def test_fault_50_a_lock_left_by_a_dead_process_is_no_hindrance(start_lab_in_thread, tmp_path):
    """Killed while it holds the archive; afterwards, the file of the lock is there and says nothing."""
    lab = start_lab_in_thread(**SLOW)
    with processes.running(tmp_path, *processes.sync_arguments(), lab=lab) as process:
        wait_until(lambda: len(lab.requests) > 0, process)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "archive/.hsmirror/lock").exists()
    (tmp_path / "archive/.hsmirror/lock").write_bytes(b"4194303\nanother-host\n")
    assert processes.run(tmp_path, *processes.sync_arguments(), lab=lab).status == 0
    assert differences(tmp_path / "archive", lab.source) == {}


# --- clocks ----------------------------------------------------------------------------------------------
class JumpingClock(SystemClock):
    """The date jumps once, after some looks at it; durations go on."""

    def __init__(self, jump_seconds: float, after_looks: int) -> None:
        self._jump_seconds = jump_seconds
        self._looks_left = after_looks

    def epoch(self) -> float:
        self._looks_left -= 1
        return time.time() + (self._jump_seconds if self._looks_left < 0 else 0.0)

    @property
    def has_jumped(self) -> bool:
        return self._looks_left < 0


@pytest.mark.parametrize("after_looks", [5, 25, 60])
@pytest.mark.parametrize("jump_seconds", [-86_400.0, 86_400.0], ids=["back a day", "on a day"])
async def test_fault_51_a_date_that_jumps_costs_no_row_and_no_wait(
    start_lab, tmp_path, jump_seconds, after_looks
):
    """Addresses live ten minutes; the budget is nearly used up."""
    lab = await start_lab(rooms=2, events_per_room=5, storage=StorageOptions(address_seconds=600))
    clock = JumpingClock(jump_seconds, after_looks)
    report = await sync(
        settings_for(lab, tmp_path, {"limits.requests_per_hour": 40}),
        Secret(lab.key),
        [ExperimentSettings(id=EXPERIMENT)],
        options=RunOptions(state_folder=tmp_path / "state", longest_wait_seconds=0),
        clock=clock,
    )
    assert clock.has_jumped
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    assert report.seconds < 60


def test_fault_51_a_pause_is_measured_by_a_clock_that_does_not_jump() -> None:
    """An hour's pause is asked for, and the date goes back a day meanwhile: it is over after an hour."""

    async def night(clock: VirtualClock) -> tuple[float, float]:
        wire = ScriptedWire(clock, [ThrottledError("429", retry_after_seconds=3600.0), FakeAnswer()])
        request = Request("data/events", "data/events/room/r", {}, Urgency.DOCUMENTED)
        clock.epoch_at_zero -= 86_400.0
        await fetcher_over(wire).get(request)
        return wire.sent_at[0], wire.sent_at[1]

    first, second = run_in_virtual_time(night)
    assert 3600.0 <= second - first < 3602.0


# --- memory ----------------------------------------------------------------------------------------------
_MEASURED = """
import re, sys
from pathlib import Path
from hsmirror.cli.main import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def peak_bytes(folder: Path, lab: Any) -> int:
    """Of a run in a process of its own."""
    folder.mkdir()
    environ = {
        "HYPERSTUDY_BASE_URL": lab.base_url,
        "HYPERSTUDY_API_KEY": lab.key,
        "PYTHONPATH": str(Path(sys.modules["hsmirror"].__file__ or "").parents[1]),
        "XDG_STATE_HOME": str(folder),
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    arguments = processes.sync_arguments("--type", "events", "--type", "recordings")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("small", "large", "growth_bytes"),
    [
        pytest.param({"events_per_room": 10_000}, {"events_per_room": 30_000}, 32 << 20, id="rows"),
        pytest.param({"recording_bytes": 8 << 20}, {"recording_bytes": 48 << 20}, 40 << 20, id="files"),
    ],
)
def test_fault_52_memory_is_flat_whatever_the_size(start_lab_in_thread, tmp_path, small, large, growth_bytes):
    """Three times the rows: 40 MB more of them; six times the files: 160 MB more."""
    peaks = []
    for name, size in (("small", small), ("large", large)):
        shape = {"rooms": 4, "events_per_room": 5, "recordings_per_room": int("recording_bytes" in size)}
        lab = start_lab_in_thread(**shape | size)
        peaks.append(peak_bytes(tmp_path / name, lab))
        held = held_rows(tmp_path / name / "archive", EXPERIMENT, "events").total()
        assert held == 4 * size.get("events_per_room", 5)
        assert held_files(tmp_path / name / "archive", EXPERIMENT) == ledger_files(lab.source, EXPERIMENT)
    assert peaks[1] < 160 << 20
    assert peaks[1] - peaks[0] < growth_bytes
