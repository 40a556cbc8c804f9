"""Rounds: whose turn it is, whose figures count."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.dataset import Dataset
from benchmarks.experiments import Experiment
from benchmarks.jobs import SHORT, Job
from benchmarks.outputs import Form
from benchmarks.peers import Peer, Task, Work
from benchmarks.renderer import PLAIN, Switch
from benchmarks.rounds import JobResult, Stage, rotated, run_job
from benchmarks.server import Server

EXPERIMENT = Experiment("exp", 2, rows=20)


def copies_the_data(data: Path, *, without_last: int = 0) -> Callable[[Task], Sequence[str]]:
    """A peer that asks no server: it takes the rows from where they were made."""
    source = data / "exp" / "events.ndjson"
    code = """
import sys
rows = open(sys.argv[1]).readlines()
open(sys.argv[2], "w").writelines(rows[:int(sys.argv[3])])
"""
    return lambda task: [
        sys.executable,
        "-c",
        code,
        str(source),
        str(task.out / "rows.ndjson"),
        str(20 - without_last),
    ]


def fails(task: Task) -> Sequence[str]:
    return [sys.executable, "-c", "import sys; print('no route'); sys.exit(7)"]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stage(tmp_path: Path, said: list[str]) -> Stage:
    data, work = tmp_path / "data", tmp_path / "work"
    work.mkdir()
    forms = {Work.LIST: Form.NDJSON}
    peers = {
        "right": Peer("right", "right", "", copies_the_data(data), forms),
        "also right": Peer("also right", "also right", "", copies_the_data(data), forms),
        "wrong": Peer("wrong", "wrong", "", copies_the_data(data, without_last=1), forms),
        "failing": Peer("failing", "failing", "", fails, forms),
    }
    requests = iter(range(0, 10_000, 7))
    server = Server("nobody", {PLAIN: "http://127.0.0.1:9"}, lambda: next(requests))
    return Stage(SHORT, Dataset(data), server, work, sys.executable, peers, said.append)


def run(stage: Stage, *peers: str, rounds: int = 2, switch: Switch = PLAIN) -> JobResult:
    job = Job("plain", "20 records", Work.LIST, EXPERIMENT, peers, (), switch)
    return run_job(stage, job, peers, {"missing": "not installed"}, rounds)


def test_each_round_begins_with_the_next_one() -> None:
    assert [rotated("abc", number) for number in (-1, 0, 1, 2, 3)] == [
        ["c", "a", "b"],
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_everyone_runs_once_a_round_and_the_warm_up_does_not_count(stage: Stage, said: list[str]) -> None:
    result = run(stage, "right", "also right")
    assert [(each.peer, each.round) for each in result.samples] == [
        ("right", 0),
        ("also right", 0),
        ("also right", 1),
        ("right", 1),
    ]
    assert sum("warm-up" in each for each in said) == 2


def test_requests_are_those_of_the_run_alone(stage: Stage) -> None:
    assert {each.requests for each in run(stage, "right").samples} == {7}


def test_a_wrong_output_has_no_figure_and_is_not_run_again(stage: Stage, said: list[str]) -> None:
    result = run(stage, "wrong", "right")
    assert result.failures == {"wrong": "its output is wrong: 19 rows, not 20"}
    assert {each.peer for each in result.samples} == {"right"}
    assert sum("wrong" in each for each in said) == 1


def test_a_run_that_fails_has_no_figure_and_its_last_words_are_kept(stage: Stage) -> None:
    assert run(stage, "failing").failures == {"failing": "ended with status 7: no route"}


def test_who_is_not_installed_is_named(stage: Stage) -> None:
    result = run(stage, "missing", "right")
    assert result.absent == {"missing": "not installed"}
    assert result.failures == {}


def test_a_server_that_cannot_delay_answers_is_a_reason_for_all(stage: Stage) -> None:
    result = run(stage, "right", switch=Switch(delayed=True))
    assert result.samples == ()
    assert "echo module" in result.absent["right"]


def test_nothing_of_a_run_is_left(stage: Stage) -> None:
    run(stage, "right", "wrong", "failing")
    assert list(stage.work.iterdir()) == []
