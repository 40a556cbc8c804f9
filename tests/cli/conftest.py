"""The command as its users run it: in this process, with all that is the user's put aside, or on its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from hsmirror.cli.main import main
from hsmirror.cli.output import Output
from hsmirror.mirror.report import RunReport

KEY = "hst_test_" + "k" * 64


@dataclass(frozen=True)
class Ended:
    """A call of the command that has ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; raises if there is anything else."""
        return orjson.loads(self.out)


Command = Callable[..., Ended]


def a_run_report(**given: Any) -> RunReport:
    base: dict[str, Any] = {
        "run": "20261122T020003Z-1f3a",
        "version": "0.1.0",
        "archive": "archive",
        "upstream": "https://api.hyperstudy.io/api/v3",
        "started_at": "2026-11-22T02:00:03Z",
        "ended_at": "2026-11-22T02:00:07Z",
    }
    return RunReport(**base | given)


@dataclass
class FakeProgram:
    """Answers with what it was made with, and writes down what it was asked; raises what is an exception."""

    answers: Mapping[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def sync(self, settings: Any, key: Any, experiments: Any, **options: Any) -> Any:
        return self._answer("sync", {"settings": settings, "key": key, "experiments": experiments} | options)

    async def plan(self, settings: Any, key: Any, experiments: Any, **options: Any) -> Any:
        return self._answer("plan", {"settings": settings, "key": key, "experiments": experiments} | options)

    async def diagnose(self, settings: Any, key: Any) -> Any:
        return self._answer("diagnose", {"settings": settings, "key": key})

    def verify(self, root: Path, *, sample: Any = None, on_progress: Any = None) -> Any:
        return self._answer("verify", {"root": root, "sample": sample})

    async def repair(self, settings: Any, key: Any, broken: Any, **options: Any) -> Any:
        return self._answer("repair", {"settings": settings, "key": key, "broken": broken} | options)

    def status(self, root: Path) -> Any:
        return self._answer("status", {"root": root})

    def _answer(self, name: str, asked: Any) -> Any:
        self.asked.append((name, asked))
        answer = self.answers.get(name)
        if isinstance(answer, BaseException):
            raise answer
        return a_run_report() if answer is None and name == "sync" else answer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a user who has no configuration, no key and no budget yet."""
    for name in os.environ:
        if name.startswith(("HSMIRROR_", "HYPERSTUDY_")):
            monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def key(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An API key, in the environment."""
    monkeypatch.setenv("HYPERSTUDY_API_KEY", KEY)
    return KEY


@pytest.fixture
def hsmirror(home: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`hsmirror("sync", "--json", program=…)` in this process."""

    def run(*arguments: str, program: Any = None) -> Ended:
        capsys.readouterr()
        status = main(arguments, program=program)
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run


@pytest.fixture
def command_line(home: Path) -> Callable[..., subprocess.Popen[str]]:
    """`python -m hsmirror …` as a process, whose output is read from pipes."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        source = str(Path(sys.modules["hsmirror"].__file__ or "").parents[1])
        return subprocess.Popen(
            [sys.executable, "-m", "hsmirror", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": source},
        )

    return start


class Terminal(io.StringIO):
    """A terminal of 80 columns that remembers what it was sent."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@dataclass
class Screens:
    """An `Output`, and what it wrote."""

    output: Output
    stdout: io.StringIO
    stderr: io.StringIO


@pytest.fixture
def screens(home: Path) -> Callable[..., Screens]:
    """`screens(verbosity=1)`: an output into memory; `terminal=True` makes both streams terminals."""

    def make(*, terminal: bool = False, **given: Any) -> Screens:
        streams = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
        return Screens(Output(stdout=streams[0], stderr=streams[1], **given), *streams)

    return make
