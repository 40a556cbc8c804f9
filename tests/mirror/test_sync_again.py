"""Runs after the first: nothing changes where nothing changed, nothing is lost where something did."""

from __future__ import annotations

import gzip
import stat
from collections import Counter
from time import monotonic

import pytest
from oracle import (
    EXPERIMENT,
    contents,
    differences,
    held_rows,
    ledger_rows,
    lines,
    receipts,
    shards,
    state_of_files,
)
from sync_runs import run_sync, settings_for, the_experiment, type_reports

from hsmirror.lab.storage import StorageOptions
from hsmirror.mirror.run import RunOptions, sync
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings

SMALL = {"rooms": 3, "events_per_room": 20, "recordings_per_room": 1}
ROOM = "room_abc123"
EVENTS = {"data_types": ("events",)}


@pytest.mark.parametrize("full", [False, True], ids=["again", "in full"])
@pytest.mark.parametrize("addresses", ["inline", "minted"])
async def test_a_run_over_unchanged_data_changes_nothing(start_lab, tmp_path, addresses, full):
    lab = await start_lab(storage=StorageOptions(addresses=addresses), last_room_active=True, **SMALL)
    first = await run_sync(lab, tmp_path)
    before = state_of_files(tmp_path / "archive")
    second = await run_sync(lab, tmp_path, full=full)
    assert (first.exit_status, second.exit_status) == (0, 0)
    assert state_of_files(tmp_path / "archive") == before
    assert (second.changed_files, second.downloaded_bytes) == (0, 0)
    assert second.requests <= first.requests


@pytest.mark.parametrize(
    "shape", [{"rows_name_rooms": False}, {"big_numbers": True}], ids=["untold", "big numbers"]
)
async def test_nor_does_it_where_rows_are_awkward(start_lab, tmp_path, shape):
    lab = await start_lab(**(SMALL | shape))
    await run_sync(lab, tmp_path)
    before = state_of_files(tmp_path / "archive")
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert state_of_files(tmp_path / "archive") == before


async def test_nothing_is_left_over_outside_its_place(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    archive = tmp_path / "archive"
    assert {path.name for path in archive.iterdir()} == {
        ".hsmirror",
        "SHA256SUMS",
        "archive.json",
        f"experiment_id={EXPERIMENT}",
        "receipts",
    }
    assert [path for path in (archive / ".hsmirror" / "staging").rglob("*") if path.is_file()] == []


# --- the upstream changes ----------------------------------------------------------------------------
async def test_rows_that_came_late_are_found_and_the_older_shard_stands_aside(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    (old,) = [shard for shard in shards(archive, EXPERIMENT, "events") if ROOM in str(shard)]
    old_rows = lines(old)

    lab.source.add_rows(EXPERIMENT, ROOM, "events", 5)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, type_reports(report)["events"].changed_shards) == (0, 1)
    assert differences(archive, lab.source) == {}
    (aside,) = [path for path in (archive / ".hsmirror" / "superseded").rglob("*") if path.is_file()]
    assert not aside.name.endswith((".ndjson", ".ndjson.gz", ".ndjson.zst"))
    assert gzip.decompress(aside.read_bytes()).splitlines() == old_rows
    assert set(archive.glob("**/data_type=events/**/*.ndjson.gz")) == set(shards(archive, EXPERIMENT, "events"))


async def test_rows_that_are_gone_upstream_stay_and_are_counted(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    all_rows = ledger_rows(lab.source, EXPERIMENT, "events")

    lab.source.delete_rows(EXPERIMENT, ROOM, "events", 4)
    for _ in range(2):
        assert (await run_sync(lab, tmp_path)).exit_status == 0
        assert held_rows(archive, EXPERIMENT, "events") == all_rows
        (receipt,) = receipts(archive, kind="shard", data_type="events", room=ROOM)
        assert (receipt["gone_rows"], receipt["complete_for"]) == (4, [{}])


async def test_of_rows_without_an_id_as_many_stay_as_there_ever_were(start_lab, tmp_path):
    """Components have no id, and some rows of a room are alike to the byte."""
    lab = await start_lab(**(SMALL | {"events_per_room": 80}))
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    all_rows = ledger_rows(lab.source, EXPERIMENT, "components")
    assert max(all_rows.values()) > 1

    lab.source.delete_rows(EXPERIMENT, ROOM, "components", 3)
    lab.source.add_rows(EXPERIMENT, ROOM, "components", 2)
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert held_rows(archive, EXPERIMENT, "components") == all_rows | ledger_rows(
        lab.source, EXPERIMENT, "components"
    )


async def test_rows_come_and_go_in_one_night(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    all_rows = ledger_rows(lab.source, EXPERIMENT, "chat")
    lab.source.delete_rows(EXPERIMENT, ROOM, "chat", 2)
    lab.source.add_rows(EXPERIMENT, ROOM, "chat", 6)
    all_rows |= ledger_rows(lab.source, EXPERIMENT, "chat")
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert held_rows(archive, EXPERIMENT, "chat") == all_rows


async def test_a_room_that_is_emptied_upstream_is_kept(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    archive = tmp_path / "archive"
    await run_sync(lab, tmp_path)
    all_rows = ledger_rows(lab.source, EXPERIMENT, "events")
    lab.source.delete_rows(EXPERIMENT, ROOM, "events", 1_000)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == 0
    assert held_rows(archive, EXPERIMENT, "events") == all_rows
    (receipt,) = receipts(archive, kind="shard", data_type="events", room=ROOM)
    assert receipt["gone_rows"] == 20


async def test_a_new_room_is_found(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path)
    lab.source.add_room(EXPERIMENT)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, the_experiment(report).rooms) == (0, 4)
    # The row of the experiment itself has changed, too, and so have no other rows.
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_the_older_files_end_up_beside_the_run_that_replaced_them(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    superseded = tmp_path / "archive" / ".hsmirror" / "superseded"
    await run_sync(lab, tmp_path, **EVENTS)
    for number in range(1, 4):
        lab.source.add_rows(EXPERIMENT, ROOM, "events", 1)
        await run_sync(lab, tmp_path, **EVENTS)
        assert len([path for path in superseded.rglob("*") if path.is_file()]) == number


class ClockThatStands:
    """The date stands still, or goes back; durations go on."""

    def __init__(self, *epochs: float) -> None:
        self.epochs = list(epochs)

    def monotonic(self) -> float:
        return monotonic()

    def epoch(self) -> float:
        return self.epochs[0]


@pytest.mark.parametrize("step_seconds", [0.0, -3600.0], ids=["within one second", "clock set back"])
async def test_receipts_come_in_the_order_of_their_runs(start_lab, tmp_path, step_seconds):
    lab = await start_lab(**SMALL)
    clock = ClockThatStands(1_700_000_000.0)
    for _ in range(7):
        report = await sync(
            settings_for(lab, tmp_path),
            Secret(lab.key),
            [ExperimentSettings(id=EXPERIMENT, data_types=("events",), files=False)],
            options=RunOptions(state_folder=tmp_path / "state"),
            clock=clock,
        )
        assert report.exit_status == 0
        (receipt,) = receipts(tmp_path / "archive", kind="shard", data_type="events", room=ROOM)
        assert receipt["rows"] == len(list(lab.source.ledger_rows(EXPERIMENT, "events"))) - 40
        lab.source.add_rows(EXPERIMENT, ROOM, "events", 1)
        clock.epochs[0] += step_seconds


# --- secrets -----------------------------------------------------------------------------------------
async def test_no_key_and_no_signature_is_left_anywhere(start_lab, tmp_path, caplog, capfd):
    caplog.set_level("DEBUG")
    lab = await start_lab(storage=StorageOptions(addresses="inline"), **SMALL)
    reports = [await run_sync(lab, tmp_path)]
    lab.source.add_rows(EXPERIMENT, ROOM, "recordings", 1)
    reports.append(await run_sync(lab, tmp_path))
    secrets = [lab.key.encode(), lab.key.removeprefix("hst_test_").encode(), b"X-Goog-", b"Signature="]
    for path, content in contents(tmp_path / "archive"):
        assert not any(secret in content for secret in secrets), path
    for path, content in contents(tmp_path / "state"):
        assert not any(secret in content for secret in secrets), path
    printed = capfd.readouterr()
    said = "\n".join((printed.out, printed.err, caplog.text, repr(reports))).encode()
    assert not any(secret in said for secret in secrets)


async def test_what_the_run_needs_to_remember_of_the_key_is_private(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, **EVENTS)
    modes = Counter(stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").rglob("*"))
    assert set(modes) == {0o600}
