"""`plan` says how many requests a run will take; then the run takes them."""

from __future__ import annotations

from typing import Any

import pytest
from oracle import EXPERIMENT, state_of_files
from sync_runs import run_sync, settings_for

from hsmirror.lab.answers import AnswerOptions, EndpointOptions
from hsmirror.lab.storage import StorageOptions
from hsmirror.mirror.planning import PlanReport, plan
from hsmirror.model import Secret
from hsmirror.settings import ExperimentSettings

LAB = {"rooms": 12, "events_per_room": 80, "recordings_per_room": 1, "answers": AnswerOptions(page_cap=300)}


async def run_plan(lab: Any, folder: Any, experiment: str = EXPERIMENT, **given: Any) -> PlanReport:
    full = given.pop("is_full", False)
    chosen = [ExperimentSettings(id=experiment, **given)]
    return await plan(settings_for(lab, folder), Secret(lab.key), chosen, is_full=full)


def assert_close(planned: PlanReport, requests: int) -> None:
    assert planned.requests == pytest.approx(requests, rel=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rows_name_rooms": False},
        {"room_field": "newer"},
        {"storage": StorageOptions(addresses="minted")},
        {"endpoints": EndpointOptions(newer_types=False)},
    ],
    ids=["as documented", "rows name no rooms", "newer rows", "minted addresses", "an older server"],
)
async def test_the_requests_of_a_first_run_are_foretold_and_those_of_the_nights_after_it(
    start_lab, tmp_path, options
):
    lab = await start_lab(**LAB, **options)
    planned = await run_plan(lab, tmp_path)
    assert_close(planned, (await run_sync(lab, tmp_path)).requests)
    planned = await run_plan(lab, tmp_path)
    assert_close(planned, (await run_sync(lab, tmp_path)).requests)
    for _ in range(2):
        lab.source.add_room(EXPERIMENT)
    planned = await run_plan(lab, tmp_path)
    assert_close(planned, (await run_sync(lab, tmp_path)).requests)


async def test_what_a_full_run_takes_is_foretold_too(start_lab, tmp_path):
    lab = await start_lab(**LAB)
    await run_sync(lab, tmp_path)
    planned = await run_plan(lab, tmp_path, is_full=True)
    assert_close(planned, (await run_sync(lab, tmp_path, full=True)).requests)


async def test_a_plan_touches_nothing_and_costs_little(start_lab, tmp_path):
    lab = await start_lab(**LAB)
    await run_plan(lab, tmp_path)
    assert not (tmp_path / "archive").exists()
    await run_sync(lab, tmp_path)
    before = state_of_files(tmp_path / "archive")
    planned = await run_plan(lab, tmp_path)
    assert planned.probe_requests <= 20
    assert state_of_files(tmp_path / "archive") == before


async def test_an_experiment_that_nobody_knows_costs_two_requests_to_find_out(start_lab, tmp_path):
    lab = await start_lab(**LAB)
    planned = await run_plan(lab, tmp_path, "exp_unknown")
    assert (planned.probe_requests, planned.experiments[0].note) == (
        2,
        "the API knows no such experiment",
    )


async def test_what_a_server_did_not_offer_is_asked_for_again_once(start_lab, tmp_path):
    lab = await start_lab(**LAB, endpoints=EndpointOptions(newer_types=False))
    await run_sync(lab, tmp_path)
    planned = await run_plan(lab, tmp_path)
    absent = {each.data_type: each for each in planned.experiments[0].types if "404" in each.note}
    assert {"videochat", "eyetracking", "variables"} <= set(absent)
    assert all(each.requests == 1 for each in absent.values())
