"""A whole experiment over real HTTP: every row in its room, every file by its hash, ready for other tools."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections import Counter

import duckdb
import pandas
import polars
import pytest
from oracle import DOCUMENTED, EXPERIMENT, NEWER, differences, ledger_rows, receipts, shards
from sync_runs import run_sync, the_experiment, type_reports

from hsmirror.lab.answers import AnswerOptions


async def test_forty_rooms_come_out_to_the_byte(start_lab, tmp_path):
    lab = await start_lab(rooms=40, recordings_per_room=2)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    experiment = the_experiment(report)
    assert (experiment.rooms, experiment.files, experiment.files_fetched) == (40, 80, 80)
    assert [each.data_type for each in experiment.types] == [*DOCUMENTED, *NEWER]


async def test_the_report_counts_what_is_held(start_lab, tmp_path):
    lab = await start_lab(rooms=4, events_per_room=20)
    types = type_reports(await run_sync(lab, tmp_path))
    for data_type in (*DOCUMENTED, *NEWER):
        expected = ledger_rows(lab.source, EXPERIMENT, data_type)
        assert types[data_type].rows == expected.total(), data_type
        assert types[data_type].rooms == len({room for room, _ in expected}), data_type
        assert types[data_type].is_complete, data_type


async def test_every_experiment_own_and_shared_is_meant_by_an_asterisk(start_lab, tmp_path):
    lab = await start_lab(
        experiments=2, shared_experiments=1, rooms=2, events_per_room=20, recordings_per_room=1
    )
    report = await run_sync(lab, tmp_path, "*")
    assert report.exit_status == 0
    assert {each.id for each in report.experiments} == set(lab.source.experiment_ids())
    assert len(report.experiments) == 3
    for experiment in lab.source.experiment_ids():
        assert differences(tmp_path / "archive", lab.source, experiment) == {}, experiment


async def test_an_asterisk_narrows_the_rest_and_not_the_experiment_that_is_named(start_lab, tmp_path):
    lab = await start_lab(experiments=2, rooms=1, events_per_room=20, recordings_per_room=1)
    report = await run_sync(lab, tmp_path, EXPERIMENT, "*", data_types=("chat",), files=False)
    assert sorted(each.id for each in report.experiments) == lab.source.experiment_ids()


async def test_requests_are_as_few_as_the_pages(start_lab, tmp_path):
    """By room are read variables, which have no other scope, and components, whose rows name no room."""
    lab = await start_lab(rooms=6, events_per_room=20, recordings_per_room=1)
    report = await run_sync(lab, tmp_path)
    targets = [each.target for each in lab.requests if each.site == "api"]
    by_room = Counter(target.split("/data/")[1].split("/")[0] for target in targets if "/room/" in target)
    assert by_room == {"variables": 6, "components": 6}
    definition, lists = 3, len(DOCUMENTED) + len(NEWER) - 1
    assert report.requests == lab.statistics().requests == definition + lists + 12


async def test_the_experiments_definition_is_kept(start_lab, tmp_path):
    lab = await start_lab(rooms=1, events_per_room=20, recordings_per_room=0)
    await run_sync(lab, tmp_path)
    folder = tmp_path / "archive" / f"experiment_id={EXPERIMENT}"
    assert (folder / "experiment.json").read_bytes() == await lab.source.experiment(EXPERIMENT) + b"\n"
    assert (folder / "config.json").read_bytes() == await lab.source.experiment_config(EXPERIMENT) + b"\n"
    assert (folder / "export.json").read_bytes() == await lab.source.experiment_export(EXPERIMENT) + b"\n"


async def test_the_timeline_of_variables_is_kept_beside_their_rows(start_lab, tmp_path):
    lab = await start_lab(rooms=1, events_per_room=20, recordings_per_room=0)
    await run_sync(lab, tmp_path)
    (shard,) = shards(tmp_path / "archive", EXPERIMENT, "variables")
    timeline = json.loads((shard.parent / "metadata.json").read_bytes())
    assert set(timeline) == {"timeline", "variableNames", "matrixColumns", "droppedWrites", "mode"}
    assert timeline["variableNames"] == ["condition", "shared_rating"]


async def test_a_large_shard_is_split_and_still_whole(start_lab, tmp_path):
    lab = await start_lab(rooms=1, events_per_room=400, recordings_per_room=0)
    report = await run_sync(lab, tmp_path, overrides={"archive.shard_size": "32KiB"})
    assert report.exit_status == 0
    assert len(shards(tmp_path / "archive", EXPERIMENT, "events")) > 1
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_a_list_without_rows_has_a_receipt_and_no_file(start_lab, tmp_path):
    """Every fourth room of the lab has no chat."""
    lab = await start_lab(rooms=4, events_per_room=20, recordings_per_room=0)
    await run_sync(lab, tmp_path, data_types=("chat",))
    archive = tmp_path / "archive"
    silent = lab.source.room_ids(EXPERIMENT)[3]
    (receipt,) = receipts(archive, kind="shard", data_type="chat", room=silent)
    assert receipt["complete_for"] == [{}]
    assert "sha256" not in receipt
    assert not (archive / receipt["path"]).exists()
    assert len(shards(archive, EXPERIMENT, "chat")) == 3


# --- for other tools ---------------------------------------------------------------------------------
async def test_sha256sum_confirms_every_file(start_lab, tmp_path):
    sha256sum = shutil.which("sha256sum")
    if sha256sum is None:
        pytest.skip("this system has no sha256sum")
    lab = await start_lab(rooms=3, events_per_room=20, recordings_per_room=1)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    checked = subprocess.run(
        [sha256sum, "--check", "--strict", "SHA256SUMS"],
        cwd=archive,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    named = {line.removesuffix(": OK") for line in checked.stdout.splitlines()}
    below = (archive / f"experiment_id={EXPERIMENT}").rglob("*")
    assert named == {path.relative_to(archive).as_posix() for path in below if path.is_file()}


async def test_duckdb_counts_all_rows_with_one_glob_and_sees_their_rooms(start_lab, tmp_path):
    lab = await start_lab(rooms=5, events_per_room=20, recordings_per_room=1)
    await run_sync(lab, tmp_path)
    for data_type in ("events", "ratings/sparse", "components", "deployments"):
        glob = tmp_path / "archive" / "*" / f"data_type={data_type.replace('/', '_')}" / "*" / "*.ndjson.gz"
        counted = duckdb.sql(
            f"SELECT room_id, count(*) FROM read_ndjson('{glob}', hive_partitioning = true) GROUP BY room_id"
        ).fetchall()
        expected: dict[str | None, int] = {}
        for (room, _), count in ledger_rows(lab.source, EXPERIMENT, data_type).items():
            expected[room] = expected.get(room, 0) + count
        assert dict(counted) == expected, data_type


async def test_pandas_and_polars_read_a_shard(start_lab, tmp_path):
    lab = await start_lab(rooms=1, events_per_room=20, recordings_per_room=0)
    await run_sync(lab, tmp_path, data_types=("ratings/continuous",))
    (shard,) = shards(tmp_path / "archive", EXPERIMENT, "ratings/continuous")
    by_pandas = pandas.read_json(shard, lines=True)
    by_polars = polars.read_ndjson(shard)
    assert len(by_pandas) == len(by_polars) == 40
    assert list(by_pandas["ratingId"]) == by_polars["ratingId"].to_list()


async def test_nobody_else_may_read_participants_data(start_lab, tmp_path):
    lab = await start_lab(rooms=2, events_per_room=20, recordings_per_room=1)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (archive, *archive.rglob("*"))}
    assert modes == {(True, 0o700), (False, 0o600)}


async def test_the_mode_in_the_settings_counts(start_lab, tmp_path):
    lab = await start_lab(rooms=1, events_per_room=20, recordings_per_room=1)
    await run_sync(lab, tmp_path, overrides={"archive.mode": "0750"})
    archive = tmp_path / "archive"
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (archive, *archive.rglob("*"))}
    assert modes == {(True, 0o750), (False, 0o640)}


async def test_a_whole_run_answers_while_pages_are_slow(start_lab, tmp_path):
    """Lists are read side by side: the answers' latency is not paid once for each of them."""
    lab = await start_lab(
        rooms=3, events_per_room=20, recordings_per_room=0, answers=AnswerOptions(latency_seconds=0.1)
    )
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 0
    assert lab.statistics().max_in_flight >= 10
    assert report.seconds < 0.1 * report.requests
