"""The start of a process and an unchanged night are measured as whole processes."""

from __future__ import annotations

import pytest

from benchmarks.startup import main


def test_the_start_and_an_unchanged_night_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "1"]) == 0
    *_, start, night = capsys.readouterr().out.splitlines()
    assert start.startswith("| `hsmirror --help` | ")
    assert night.startswith("| unchanged small `sync` | ")
