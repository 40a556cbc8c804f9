from __future__ import annotations

import pytest

from cli.conftest import Command, FakeProgram
from hsmirror.errors import Exit
from hsmirror.mirror.doctor import Finding

GOOD = Finding("disk", True, "76 GiB free")
UNSURE = Finding("clock", None, "40 s behind", "set the clock")
REFUSED = Finding("key", False, "the API refused the key", "make a new one", Exit.KEY_REFUSED)


def test_where_nothing_stops_a_run_it_says_so(hsmirror: Command, key: str) -> None:
    ended = hsmirror("doctor", program=FakeProgram({"diagnose": (GOOD, UNSURE)}))

    assert ended.status == 0
    assert "✓  disk" in ended.out
    assert "?  clock" in ended.out
    assert "→ set the clock" in ended.out
    assert "nothing stops a run" in ended.out


def test_a_hindrance_has_the_status_that_the_run_would_have(hsmirror: Command, key: str) -> None:
    ended = hsmirror("doctor", program=FakeProgram({"diagnose": (GOOD, REFUSED)}))

    assert ended.status == Exit.KEY_REFUSED
    assert "✗  key" in ended.out
    assert "→ make a new one" in ended.out
    assert "nothing stops a run" not in ended.out


def test_a_key_that_is_missing_is_a_finding_among_the_others(hsmirror: Command) -> None:
    program = FakeProgram({"diagnose": (GOOD,)})

    ended = hsmirror("doctor", program=program)

    assert ended.status == Exit.USAGE
    assert program.asked[0][1]["key"] is None
    assert "✗  key" in ended.out
    assert "✓  disk" in ended.out


def test_a_configuration_that_is_wrong_is_told_before_all_else(
    hsmirror: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSMIRROR_LIMITS__SHARE", "2")

    ended = hsmirror("doctor")

    assert ended.status == Exit.USAGE
    assert "limits.share" in ended.err


def test_json_is_the_findings_and_the_status(hsmirror: Command, key: str) -> None:
    document = hsmirror("doctor", "--json", program=FakeProgram({"diagnose": (REFUSED,)})).document

    assert document["exit_status"] == 4
    assert document["findings"][0]["todo"] == "make a new one"
