from __future__ import annotations

from pathlib import Path

import duckdb
import orjson
import pandas
import pytest

from cli.conftest import Command
from hsmirror.cli.tour import ways_to_read
from hsmirror.errors import Exit


def test_it_mirrors_verifies_and_shows_what_came_out(hsmirror: Command, home: Path) -> None:
    ended = hsmirror("demo", "--rooms", "2")

    assert ended.status == 0
    assert "exp_research_001" in ended.out
    assert "match their receipts" in " ".join(ended.out.split())
    assert "data_type=events/room_id=" in ended.out
    assert all(name in ended.out for name in ("# DuckDB", "# pandas", "# R", "HYPERSTUDY_API_KEY"))
    assert max(map(len, ended.out.splitlines())) <= 80
    assert list((home / "hsmirror-demo").glob("experiment_id=*/files/*/*.mp4"))


def test_a_second_time_nothing_changes(hsmirror: Command) -> None:
    hsmirror("demo", "--dir", "here", "--rooms", "2")
    again = hsmirror("demo", "--dir", "here", "--rooms", "2")

    assert again.status == 0
    assert "Complete: nothing changed" in again.out


def test_json_is_one_document(hsmirror: Command, home: Path) -> None:
    document = hsmirror("demo", "--rooms", "1", "--json").document

    assert document["archive"] == str(home / "hsmirror-demo")
    assert document["run"]["exit_status"] == 0
    assert document["verify"]["damaged"] == []


def test_neither_the_users_configuration_nor_key_nor_budget_is_touched(
    hsmirror: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "hsmirror.toml").write_text("this is no configuration")
    monkeypatch.setenv("HYPERSTUDY_API_KEY", "not a key")
    monkeypatch.setenv("HYPERSTUDY_BASE_URL", "nonsense")

    assert hsmirror("demo", "--rooms", "1").status == 0
    assert not (home.parent / "xdg_state_home").exists()


def test_real_data_is_never_mixed_with_made_up_rows(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "1")
    marker = home / "hsmirror-demo" / "archive.json"
    real = orjson.loads(marker.read_bytes()) | {"upstream": "https://api.hyperstudy.io/api/v3"}
    marker.write_bytes(orjson.dumps(real))

    ended = hsmirror("demo", "--rooms", "1")

    assert ended.status == Exit.USAGE
    assert "--dir" in ended.err


def test_the_ways_to_read_that_it_shows_work(hsmirror: Command, home: Path) -> None:
    hsmirror("demo", "--rooms", "2")
    code = {way.name: way.code for way in ways_to_read(Path("hsmirror-demo"))}

    by_room = dict(duckdb.sql(code["DuckDB"]).fetchall())
    read: dict[str, pandas.DataFrame] = {}
    exec(code["pandas"], read)

    assert len(by_room) == 2
    assert sum(by_room.values()) == len(read["events"]) == 240
