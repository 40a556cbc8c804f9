"""`python -m benchmarks`, as it is started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes_ended import await_end

from benchmarks import nginx
from benchmarks.jobs import SHORT, jobs

TREE = Path(__file__).parents[2]
SHORT_RUN = [sys.executable, "-m", "benchmarks", "--short"]

needs_nginx = pytest.mark.skipif(nginx.installed() is None, reason="nginx is not installed")


def run(tmp_path: Path, *arguments: str) -> dict[str, dict[str, dict[str, object]]]:
    """A short run of one round; what it found, by job."""
    results = tmp_path / "results"
    command = [*SHORT_RUN, "--rounds", "1", "--results", str(results), *arguments]
    ended = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (results / "speed.svg").exists()
    found: dict[str, dict[str, dict[str, object]]] = json.loads((results / "speed.json").read_text())["jobs"]
    return found


def test_every_job_runs_with_the_renderer_alone(tmp_path: Path) -> None:
    found = run(tmp_path, "--no-nginx", "--peer", "hsmirror")
    assert list(found) == [job.key for job in jobs(SHORT)]
    assert [len(job["samples"]) for job in found.values()] == [1] * len(found)


@needs_nginx
def test_jobs_run_with_nginx(tmp_path: Path) -> None:
    found = run(tmp_path, "--job", "gzip", "--job", "small", "--job", "files", "--peer", "hsmirror")
    assert [len(job["samples"]) for job in found.values()] == [1] * 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_hsmirror_and_its_peers_fetch_the_same(tmp_path: Path) -> None:
    chosen = ("hsmirror-none", "curl", "minimal", "bare", "sdk")
    peers = [argument for peer in chosen for argument in ("--peer", peer)]
    found = run(tmp_path, "--no-nginx", "--job", "small", *peers)
    assert len(found["small"]["samples"]) == len(chosen)


def test_a_peer_that_is_not_installed_is_named_and_left_out(tmp_path: Path) -> None:
    """An interpreter that sees no packages has neither the SDK nor dlt."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    chosen = ["--job", "fewer", "--peer", "sdk", "--peer", "dlt-tuned", "--peer", "hsmirror"]
    found = run(tmp_path, "--no-nginx", "--peers-python", str(bare), *chosen)
    assert found["fewer"]["absent"] == {"sdk": "hyperstudy not installed", "dlt-tuned": "dlt not installed"}
    assert "official SDK** in “500 records, plain”: missing" in (tmp_path / "results" / "speed.md").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_that_it_started_ends_when_it_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    command = [*SHORT_RUN, "--serve", "--job", "gzip", "--peer", "hsmirror", "--data", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=TREE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as serving:
        assert serving.stderr is not None
        while "serving" not in serving.stderr.readline():
            assert serving.poll() is None
        children = Path(f"/proc/{serving.pid}/task/{serving.pid}/children").read_text().split()
        assert children
        os.kill(serving.pid, number)
        assert serving.wait(60) == 128 + number
    assert all(await_end(int(child)) for child in children)
