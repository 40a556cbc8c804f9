"""What cannot be done: keys that are refused, ids that do not exist, folders that are not ours."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from aiohttp import web
from oracle import DOCUMENTED, EXPERIMENT, differences, held_rows, ledger_rows
from sync_runs import run_sync, the_experiment, type_reports

from hsmirror.errors import ArchiveBusyError, Exit, KeyRefusedError, NotAnArchiveError, UsageError
from hsmirror.lab.answers import AnswerOptions, EndpointOptions
from hsmirror.lab.keys import LabKey
from hsmirror.lab.server import LabFaults

SMALL = {"rooms": 2, "events_per_room": 20, "recordings_per_room": 1}
SCOPES = frozenset(
    f"read:{name}"
    for name in (
        "events",
        "recordings",
        "chat",
        "ratings",
        "sync",
        "components",
        "videochat",
        "eyetracking",
        "deployments",
        "experiments",
    )
)


# --- keys --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("experiments", "endpoints"),
    [
        ((EXPERIMENT,), EndpointOptions()),
        ((EXPERIMENT,), EndpointOptions(experiments=False)),
        ((EXPERIMENT, "exp_research_002"), EndpointOptions()),
        (("*",), EndpointOptions()),
    ],
)
async def test_a_refused_key_ends_the_run_at_once(start_lab, tmp_path, experiments, endpoints):
    lab = await start_lab(experiments=2, endpoints=endpoints, **SMALL)
    with pytest.raises(KeyRefusedError, match="refused the key") as caught:
        await run_sync(lab, tmp_path, *experiments, key="hst_live_" + "f" * 64)
    assert caught.value.exit_status == Exit.KEY_REFUSED
    assert lab.statistics().requests <= 3
    assert "f" * 64 not in str(caught.value)


async def test_a_key_that_is_refused_midway_loses_nothing_of_what_was_committed(start_lab, tmp_path):
    refused = False

    @web.middleware
    async def revoked(request: web.Request, handler: Any) -> web.StreamResponse:
        if refused:
            return web.json_response(
                {"status": "error", "error": {"code": "X", "message": "revoked"}}, status=401
            )
        return await handler(request)

    lab = await start_lab(faults=LabFaults(api=(revoked,)), **SMALL)
    await run_sync(lab, tmp_path)
    refused = True
    lab.source.add_rows(EXPERIMENT, "room_abc123", "events", 3)
    with pytest.raises(KeyRefusedError):
        await run_sync(lab, tmp_path)
    assert held_rows(tmp_path / "archive", EXPERIMENT, "chat") == ledger_rows(lab.source, EXPERIMENT, "chat")
    refused = False
    assert (await run_sync(lab, tmp_path)).exit_status == 0
    assert differences(tmp_path / "archive", lab.source) == {}


async def test_a_scope_that_the_key_lacks_costs_its_data_type_alone(start_lab, tmp_path):
    lab = await start_lab(keys=(LabKey(scopes=SCOPES - {"read:chat"}),), **SMALL)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    (problem,) = report.problems
    assert (problem.experiment, problem.data_type) == (EXPERIMENT, "chat")
    assert "read:chat" in problem.what
    incomplete = [each.data_type for each in type_reports(report).values() if not each.is_complete]
    assert incomplete == ["chat"]
    assert set(differences(tmp_path / "archive", lab.source)) == {"chat"}
    assert sum("/data/chat/" in each.target for each in lab.requests) == 1


async def test_a_scope_of_a_newer_type_that_the_key_lacks_is_a_note(start_lab, tmp_path):
    lab = await start_lab(keys=(LabKey(scopes=SCOPES - {"read:eyetracking"}),), **SMALL)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert any("eyetracking" in note and "read:eyetracking" in note for note in report.notes)
    assert set(differences(tmp_path / "archive", lab.source)) == {"eyetracking"}


async def test_a_key_without_any_scope_is_as_good_as_refused(start_lab, tmp_path):
    lab = await start_lab(keys=(LabKey(scopes=frozenset()),), **SMALL)
    with pytest.raises(KeyRefusedError, match="read:events"):
        await run_sync(lab, tmp_path)


async def test_a_key_that_may_not_see_experiments_still_reads_their_data(start_lab, tmp_path):
    lab = await start_lab(keys=(LabKey(scopes=SCOPES - {"read:experiments"}),), **SMALL)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}


# --- ids ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("endpoints", [EndpointOptions(), EndpointOptions(experiments=False)])
async def test_an_unknown_experiment_is_named_and_the_others_are_complete(start_lab, tmp_path, endpoints):
    lab = await start_lab(experiments=2, endpoints=endpoints, **SMALL)
    report = await run_sync(lab, tmp_path, EXPERIMENT, "exp_typo", "exp_research_002")
    assert report.exit_status == Exit.INCOMPLETE
    (problem,) = report.problems
    assert problem.experiment == "exp_typo"
    for experiment in (EXPERIMENT, "exp_research_002"):
        assert differences(tmp_path / "archive", lab.source, experiment) == {}
    assert [each.id for each in report.experiments if not each.is_complete] == ["exp_typo"]
    assert not list((tmp_path / "archive").glob("experiment_id=exp_typo*"))


@pytest.mark.parametrize(
    "hostile", ["../../etc", "a/b", "x?limit=1", "..", "exp\x00", "%2e%2e", "exp research"]
)
async def test_an_id_that_would_lead_elsewhere_is_just_unknown(start_lab, tmp_path, hostile):
    lab = await start_lab(rooms=1, events_per_room=10, recordings_per_room=0)
    report = await run_sync(lab, tmp_path, hostile)
    assert report.exit_status == Exit.INCOMPLETE
    assert [problem.experiment for problem in report.problems] == [hostile]
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "state", "lab-0"}


async def test_a_room_that_does_not_exist_is_named(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    report = await run_sync(lab, tmp_path, rooms=("room_abc123", "room_typo"), data_types=DOCUMENTED)
    assert report.exit_status == Exit.INCOMPLETE
    assert {problem.room for problem in report.problems} == {"room_typo"}
    held = held_rows(tmp_path / "archive", EXPERIMENT, "events")
    ledger = ledger_rows(lab.source, EXPERIMENT, "events")
    assert held == {key: count for key, count in ledger.items() if key[0] == "room_abc123"}


async def test_a_participant_who_does_not_exist_is_named(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    report = await run_sync(lab, tmp_path, participants=("user_typo",), data_types=DOCUMENTED)
    assert report.exit_status == Exit.INCOMPLETE
    assert any("user_typo" in problem.what for problem in report.problems)


# --- answers that are none ---------------------------------------------------------------------------
async def test_html_under_200_is_no_list(start_lab, tmp_path):
    @web.middleware
    async def portal(request: web.Request, handler: Any) -> web.StreamResponse:
        if "/data/sync/" in request.path:
            return web.Response(text="<!doctype html><title>Sign in</title>", content_type="text/html")
        return await handler(request)

    lab = await start_lab(faults=LabFaults(api=(portal,)), **SMALL)
    report = await run_sync(lab, tmp_path)
    assert report.exit_status == Exit.INCOMPLETE
    assert {problem.data_type for problem in report.problems} == {"sync"}
    assert set(differences(tmp_path / "archive", lab.source)) == {"sync"}


async def test_an_error_now_and_then_is_not_noticed(start_lab, tmp_path):
    count = 0

    @web.middleware
    async def flaky(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal count
        count += 1
        if count % 7 == 3:
            return web.Response(status=503, text="upstream connect error")
        if count % 7 == 5:
            assert request.transport is not None
            request.transport.abort()
        return await handler(request)

    lab = await start_lab(faults=LabFaults(api=(flaky,)), answers=AnswerOptions(page_cap=20), **SMALL)
    report = await run_sync(lab, tmp_path)
    assert (report.exit_status, report.problems) == (0, ())
    assert differences(tmp_path / "archive", lab.source) == {}
    assert report.retried > 0


# --- folders -----------------------------------------------------------------------------------------
async def test_while_a_run_holds_the_archive_another_one_leaves_at_once(start_lab, tmp_path):
    lab = await start_lab(answers=AnswerOptions(latency_seconds=0.3), **SMALL)
    refused: list[ArchiveBusyError] = []
    reports = []

    async def first() -> None:
        reports.append(await run_sync(lab, tmp_path))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        while not lab.statistics().in_flight:
            await anyio.sleep(0.01)
        try:
            await run_sync(lab, tmp_path)
        except ArchiveBusyError as error:
            refused.append(error)
    assert [each.exit_status for each in refused] == [Exit.ARCHIVE_BUSY]
    assert [each.exit_status for each in reports] == [0]
    assert (await run_sync(lab, tmp_path)).exit_status == 0


async def test_a_folder_with_other_things_in_it_is_left_alone(start_lab, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "thesis.docx").write_bytes(b"years of work")
    lab = await start_lab(**SMALL)
    with pytest.raises(UsageError, match="not empty and not an archive"):
        await run_sync(lab, tmp_path)
    assert lab.statistics().requests == 0
    assert (tmp_path / "archive" / "thesis.docx").read_bytes() == b"years of work"


async def test_an_archive_of_another_upstream_is_left_alone(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, data_types=("chat",))
    marker = tmp_path / "archive" / "archive.json"
    changed = json.loads(marker.read_bytes()) | {"upstream": "https://api.hyperstudy.io/api/v3"}
    marker.write_text(json.dumps(changed))
    before = lab.statistics().requests
    with pytest.raises(UsageError, match=r"api\.hyperstudy\.io"):
        await run_sync(lab, tmp_path)
    assert lab.statistics().requests == before


async def test_an_archive_of_a_format_to_come_is_left_alone(start_lab, tmp_path):
    lab = await start_lab(**SMALL)
    await run_sync(lab, tmp_path, data_types=("chat",))
    marker = tmp_path / "archive" / "archive.json"
    marker.write_text(json.dumps(json.loads(marker.read_bytes()) | {"format": 2}))
    with pytest.raises(NotAnArchiveError, match="format 2"):
        await run_sync(lab, tmp_path)


async def test_a_lab_on_another_port_is_the_same_upstream(start_lab, tmp_path):
    first, second = await start_lab(**SMALL), await start_lab(**SMALL)
    await run_sync(first, tmp_path)
    report = await run_sync(second, tmp_path)
    assert (report.exit_status, the_experiment(report).files_fetched) == (0, 0)
