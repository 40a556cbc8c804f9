from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from exposition import samples, value

from cli.conftest import Command, FakeProgram, a_run_report
from hsmirror.errors import Exit
from hsmirror.lab.answers import AnswerOptions
from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.limits import LimitOptions
from hsmirror.lab.server import Lab
from hsmirror.settings import ExperimentSettings

StartLab = Callable[..., Lab[MadeUpSource]]
Start = Callable[..., "subprocess.Popen[str]"]


class Pinged:
    """A monitor on loopback, on threads of its own, and the paths that were asked of it."""

    def __init__(self, server: ThreadingHTTPServer, paths: list[str], answering: threading.Event) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.paths = paths
        self._answering = answering

    def hang(self) -> None:
        """Answer nobody from now on, until the test ends."""
        self._answering.clear()


@pytest.fixture
def pinged() -> Iterator[Pinged]:
    paths: list[str] = []
    answering = threading.Event()
    answering.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            answering.wait()
            with suppress(ConnectionError):
                self.send_response(200)
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Pinged(server, paths, answering)
        answering.set()
        server.shutdown()
        thread.join()


def asked(program: FakeProgram) -> dict[str, Any]:
    ((_, what),) = program.asked
    return dict(what)


@pytest.fixture
def lab_for(home: Path, monkeypatch: pytest.MonkeyPatch, start_lab_in_thread: StartLab) -> StartLab:
    """A lab whose address and key are in the environment."""

    def start(**given: Any) -> Lab[MadeUpSource]:
        lab = start_lab_in_thread(**given)
        monkeypatch.setenv("HYPERSTUDY_BASE_URL", lab.base_url)
        monkeypatch.setenv("HYPERSTUDY_API_KEY", lab.key)
        return lab

    return start


# --- what the program is asked for ---------------------------------------------------------------------
def test_ids_and_an_archive_need_no_configuration_file(hsmirror: Command, key: str, home: Path) -> None:
    program = FakeProgram()

    assert hsmirror("sync", "exp_1", "exp_2", "--archive", "out", program=program).status == 0

    assert asked(program)["settings"].archive.path == home / "out"
    assert asked(program)["experiments"] == (ExperimentSettings(id="exp_1"), ExperimentSettings(id="exp_2"))
    assert asked(program)["key"].reveal() == key


def test_the_configuration_is_the_one_named(hsmirror: Command, key: str, home: Path) -> None:
    (home / "other.toml").write_text('[archive]\npath = "there"\n[[experiments]]\nid = "exp_9"\n')
    program = FakeProgram()

    hsmirror("sync", "-c", "other.toml", program=program)

    assert asked(program)["settings"].archive.path == home / "there"
    assert asked(program)["experiments"] == (ExperimentSettings(id="exp_9"),)


def test_options_narrow_every_experiment(hsmirror: Command, key: str) -> None:
    program = FakeProgram()
    options = "--room r1 --room r2 --participant p --type events --type chat --since 2026-01-01 --no-files"

    hsmirror("sync", "a", "b", *options.split(), program=program)

    for experiment in asked(program)["experiments"]:
        assert experiment.rooms == ("r1", "r2")
        assert experiment.participants == ("p",)
        assert experiment.data_types == ("events", "chat")
        assert experiment.start_time == "2026-01-01T00:00:00Z"
        assert not experiment.files


@pytest.mark.parametrize(
    ("arguments", "longest_wait_seconds"), [((), 300.0), (("--wait",), None), (("--no-wait",), 0.0)]
)
def test_how_long_a_run_waits_where_nobody_looks_on(
    hsmirror: Command, key: str, arguments: tuple[str, ...], longest_wait_seconds: float | None
) -> None:
    program = FakeProgram()

    hsmirror("sync", "a", *arguments, program=program)

    assert asked(program)["longest_wait_seconds"] == longest_wait_seconds


def test_full_reads_everything_again(hsmirror: Command, key: str) -> None:
    program = FakeProgram()

    hsmirror("sync", "a", "--full", program=program)

    assert asked(program)["full"] is True


def test_nothing_to_fetch_is_a_usage_error_that_says_both_ways(hsmirror: Command, key: str) -> None:
    ended = hsmirror("sync", "--archive", "out")

    assert ended.status == Exit.USAGE
    assert "hsmirror sync exp_research_001" in ended.err
    assert "[[experiments]]" in ended.err


def test_no_key_is_a_configuration_error(hsmirror: Command) -> None:
    ended = hsmirror("sync", "a")

    assert ended.status == Exit.USAGE
    assert "HYPERSTUDY_API_KEY" in ended.err


def test_the_status_is_that_of_the_report(hsmirror: Command, key: str) -> None:
    program = FakeProgram({"sync": a_run_report(exit_status=3, resume_at="2026-11-22T03:00:00Z")})

    ended = hsmirror("sync", "a", program=program)

    assert ended.status == Exit.INCOMPLETE
    assert ended.out == ""


def test_json_is_the_whole_report_and_nothing_else_on_stdout(hsmirror: Command, key: str) -> None:
    ended = hsmirror("sync", "a", "--json", program=FakeProgram())

    assert ended.document["run"] == "20261122T020003Z-1f3a"
    assert ended.document["exit_status"] == 0


# --- the whole program against a lab -------------------------------------------------------------------
def test_a_lab_is_mirrored_and_a_second_run_changes_nothing(
    hsmirror: Command, home: Path, lab_for: StartLab
) -> None:
    lab_for(rooms=2)

    first, second = (hsmirror("sync", "*", "--archive", "out") for _ in range(2))

    assert (first.status, second.status) == (0, 0)
    assert "exp_research_001" in first.err
    assert "complete: nothing changed in" in second.err
    assert first.out == second.out == ""
    assert list((home / "out").glob("experiment_id=*/data_type=events/*/*.ndjson.gz"))


def test_a_key_that_the_server_refuses_ends_with_4(
    hsmirror: Command, lab_for: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab_for(rooms=1)
    wrong = "hst_test_" + "x" * 64
    monkeypatch.setenv("HYPERSTUDY_API_KEY", wrong)

    ended = hsmirror("sync", "exp_research_001", "--archive", "out")

    assert ended.status == Exit.KEY_REFUSED
    assert wrong not in ended.out + ended.err


def test_used_up_limits_end_a_run_that_may_not_wait_with_3_and_a_time(
    hsmirror: Command, lab_for: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab_for(rooms=3)
    monkeypatch.setenv("HSMIRROR_LIMITS__REQUESTS_PER_HOUR", "5")

    ended = hsmirror("sync", "exp_research_001", "--archive", "out", "--no-wait", "--json")

    assert ended.status == Exit.INCOMPLETE
    assert ended.document["resume_at"]
    assert ended.document["requests"] <= 5


@pytest.mark.parametrize("arguments", [("plan",), ("sync", "--dry-run"), ("sync", "-n")])
def test_a_plan_says_what_it_costs_and_touches_nothing(
    hsmirror: Command, home: Path, lab_for: StartLab, arguments: tuple[str, ...]
) -> None:
    lab_for(rooms=2)

    shown = hsmirror(*arguments, "exp_research_001", "--archive", "out")
    document = hsmirror(*arguments, "exp_research_001", "--archive", "out", "--json").document

    assert shown.status == 0
    assert "exp_research_001" in shown.out
    assert f"{document['requests']} requests" in shown.out
    assert not (home / "out").exists()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)]
)
def test_a_signal_ends_a_run_in_time_and_the_next_one_goes_on(
    hsmirror: Command,
    command_line: Start,
    home: Path,
    lab_for: StartLab,
    number: signal.Signals,
    status: Exit,
) -> None:
    lab = lab_for(rooms=2, answers=AnswerOptions(latency_seconds=0.3))
    process = command_line("sync", "exp_research_001", "--archive", "out")
    while not lab.requests and process.poll() is None:
        time.sleep(0.01)

    process.send_signal(number)
    out, err = process.communicate(timeout=10)

    assert process.returncode == status
    assert out == ""
    assert err.splitlines()[-1].startswith("hsmirror: interrupted; ")
    (report,) = (home / "out/.hsmirror/runs").glob("*.json")
    assert json.loads(report.read_bytes())["exit_status"] == status
    assert hsmirror("sync", "exp_research_001", "--archive", "out").status == 0


def test_a_signal_leaves_metrics_and_a_ping_of_failure_in_time(
    command_line: Start, home: Path, lab_for: StartLab, pinged: Pinged, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_for(rooms=2, answers=AnswerOptions(latency_seconds=0.3))
    monkeypatch.setenv("HSMIRROR_MONITOR__PING_URL", f"{pinged.url}/5ecret")
    arguments = ("--metrics-file", "hsmirror.prom", "--log-format", "json")
    process = command_line("sync", "exp_research_001", "--archive", "out", *arguments)
    while not lab.requests and process.poll() is None:
        time.sleep(0.01)

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)

    assert process.returncode == Exit.TERMINATED
    assert pinged.paths == ["/5ecret/start", "/5ecret/fail"]
    found = samples((home / "hsmirror.prom").read_bytes())
    assert value(found, "last_run_exit_status", archive=str(home / "out")) == Exit.TERMINATED
    assert value(found, "last_run_requests") >= 1
    assert json.loads(err.splitlines()[-1])["exit_status"] == Exit.TERMINATED
    assert "5ecret" not in out + err


def test_a_monitor_that_hangs_does_not_keep_a_stopped_run_from_leaving(
    command_line: Start, lab_for: StartLab, pinged: Pinged, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_for(rooms=2, answers=AnswerOptions(latency_seconds=0.3))
    monkeypatch.setenv("HSMIRROR_MONITOR__PING_URL", f"{pinged.url}/5ecret")
    process = command_line("sync", "exp_research_001", "--archive", "out", "-v")
    while not lab.requests and process.poll() is None:
        time.sleep(0.01)

    pinged.hang()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)

    assert process.returncode == Exit.TERMINATED
    assert "the monitor was not told of the run's failure" in err


# --- who watches ---------------------------------------------------------------------------------------
def test_a_run_tells_the_monitor_and_writes_what_the_archive_holds(
    hsmirror: Command, home: Path, lab_for: StartLab, pinged: Pinged
) -> None:
    lab_for(rooms=2)
    (home / "hsmirror.toml").write_text(
        f'[monitor]\nmetrics_file = "hsmirror.prom"\nping_url = "{pinged.url}/5ecret"\n'
        '[archive]\npath = "out"\n[[experiments]]\nid = "exp_research_001"\n'
    )

    ended = hsmirror("sync", "--json", "-vv")

    assert ended.status == 0
    assert pinged.paths == ["/5ecret/start", "/5ecret"]
    assert "5ecret" not in ended.out + ended.err
    found = samples((home / "hsmirror.prom").read_bytes())
    rows = {kind["data_type"]: kind["rows"] for kind in ended.document["experiments"][0]["types"]}
    for data_type, count in rows.items():
        if count:
            assert value(found, "rows", experiment="exp_research_001", data_type=data_type) == count
    assert value(found, "last_run_received_rows") >= sum(rows.values()) > 0
    assert value(found, "last_run_requests") == ended.document["requests"]
    age_seconds = value(found, "last_run_timestamp_seconds") - value(found, "last_success_timestamp_seconds")
    assert 0 <= age_seconds < 60


def test_a_missing_key_is_told_to_the_monitor_too(
    hsmirror: Command, home: Path, pinged: Pinged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSMIRROR_MONITOR__PING_URL", f"{pinged.url}/5ecret")

    assert hsmirror("sync", "a", "--metrics-file", "hsmirror.prom").status == Exit.USAGE

    assert pinged.paths == ["/5ecret/fail"]
    assert value(samples((home / "hsmirror.prom").read_bytes()), "last_run_exit_status") == Exit.USAGE


@pytest.mark.parametrize("arguments", [("plan",), ("sync", "--dry-run")])
def test_a_plan_tells_nobody(
    hsmirror: Command,
    lab_for: StartLab,
    pinged: Pinged,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    lab_for(rooms=1)
    monkeypatch.setenv("HSMIRROR_MONITOR__PING_URL", f"{pinged.url}/5ecret")

    hsmirror(*arguments, "exp_research_001", "--archive", "out")

    assert pinged.paths == []


def test_after_a_failed_run_the_metrics_keep_the_last_success(
    hsmirror: Command, home: Path, lab_for: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab_for(rooms=1)
    arguments = ("sync", "exp_research_001", "--archive", "out", "--metrics-file", "hsmirror.prom")
    hsmirror(*arguments)
    succeeded = value(samples((home / "hsmirror.prom").read_bytes()), "last_success_timestamp_seconds")
    monkeypatch.setenv("HYPERSTUDY_API_KEY", "hst_test_" + "x" * 64)

    assert hsmirror(*arguments).status == Exit.KEY_REFUSED

    found = samples((home / "hsmirror.prom").read_bytes())
    assert value(found, "last_success_timestamp_seconds") == succeeded > 0
    assert value(found, "last_run_exit_status") == Exit.KEY_REFUSED
    assert value(found, "rows", data_type="events") > 0


def test_neither_key_nor_signature_is_ever_shown(hsmirror: Command, home: Path, lab_for: StartLab) -> None:
    """Fault 62, with the limits, a forbidden type and every word that the command has to say."""
    lab = lab_for(rooms=1, limits=LimitOptions(requests_per_hour=20))

    for arguments in (("-vv",), ("--json",), ("-vv", "--no-wait", "--full"), ("-vv", "--log-format=json")):
        ended = hsmirror("sync", "exp_research_001", "--archive", "out", "--no-wait", *arguments)

        assert lab.key not in ended.out + ended.err
        assert "X-Goog-" not in ended.out + ended.err
