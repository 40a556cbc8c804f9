from __future__ import annotations

import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable

import orjson
import pytest

from cli.conftest import Command
from hsmirror.cli.lab import Behaviour, Data, Trouble, lab_options
from hsmirror.errors import Exit, UsageError
from hsmirror.lab.faults import FAULTS

Start = Callable[..., "subprocess.Popen[str]"]


def test_every_option_arrives_at_the_lab() -> None:
    options = lab_options(
        Data(rooms=7, experiments=2, seed=9, recordings=3, recording_size="50MB", participants=4, events=11),
        Behaviour(
            mint=True,
            address_life="90s",
            requests_per_hour=50,
            requests_per_minute=5,
            page_cap=100,
            latency="50ms",
            pagination="flat",
            no_rooms_endpoint=True,
        ),
    )

    shape = options.shape
    assert (shape.rooms, shape.experiments, shape.seed, shape.participants) == (7, 2, 9, 4)
    assert (shape.recordings_per_room, shape.recording_bytes, shape.events_per_room) == (3, 50_000_000, 11)
    assert (options.storage.addresses, options.storage.address_seconds) == ("minted", 90)
    assert options.limits is not None
    assert (options.limits.requests_per_hour, options.limits.requests_per_minute_per_endpoint) == (50, 5)
    assert (options.answers.page_cap, options.answers.latency_seconds) == (100, 0.05)
    assert options.answers.pagination == "flat"
    assert (options.endpoints.rooms, options.endpoints.experiments) == (False, True)


def test_unless_told_otherwise_the_documented_limits_hold_and_rows_hold_addresses() -> None:
    options = lab_options(Data(), Behaviour())

    assert options.limits is not None
    assert (options.limits.requests_per_hour, options.limits.requests_per_minute_per_endpoint) == (1000, 100)
    assert options.storage.addresses == "inline"


def test_no_requests_per_hour_means_no_limits() -> None:
    assert lab_options(Data(), Behaviour(requests_per_hour=0)).limits is None


def test_an_older_server_has_none_of_the_newer_endpoints() -> None:
    endpoints = lab_options(Data(), Behaviour(older=True)).endpoints

    assert not any((endpoints.rooms, endpoints.newer_types, endpoints.experiments, endpoints.deployments))


@pytest.mark.parametrize(
    ("data", "behaviour", "option"),
    [
        (Data(recording_size="big"), Behaviour(), "--recording-size big"),
        (Data(), Behaviour(latency="fast"), "--latency fast"),
        (Data(), Behaviour(latency="xms"), "--latency xms"),
        (Data(), Behaviour(address_life="7"), "--address-life 7"),
    ],
)
def test_a_size_or_time_that_is_none_is_refused_by_its_option(
    data: Data, behaviour: Behaviour, option: str
) -> None:
    with pytest.raises(UsageError, match=option):
        lab_options(data, behaviour)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_how_to_reach_it_serves_and_ends_with_a_signal(
    command_line: Start, number: signal.Signals
) -> None:
    process = command_line("lab", "--port", "0", "--rooms", "2", "--json")
    assert process.stdout is not None
    told = orjson.loads(process.stdout.readline())

    request = urllib.request.Request(
        f"{told['base_url']}/data/events/experiment/{told['experiments'][0]}",
        headers={"X-API-Key": told["key"]},
    )
    with urllib.request.urlopen(request) as response:
        assert orjson.loads(response.read())["status"] == "success"
    process.send_signal(number)
    out, err = process.communicate(timeout=10)

    assert (process.returncode, out, err) == (0, "", "ended\n")


def test_for_people_there_is_a_line_to_be_copied(command_line: Start) -> None:
    process = command_line("lab", "--port", "0")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(7)]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)

    assert lines[4].startswith("HYPERSTUDY_BASE_URL=http://127.0.0.1:")
    assert lines[4].endswith("hsmirror sync '*' --archive out\n")


def test_a_port_that_is_taken_is_a_usage_error(hsmirror: Command, command_line: Start) -> None:
    process = command_line("lab", "--port", "0", "--json")
    assert process.stdout is not None
    port = orjson.loads(process.stdout.readline())["base_url"].split(":")[2].split("/")[0]

    ended = hsmirror("lab", "--port", port)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)

    assert ended.status == Exit.USAGE
    assert f"port {port} cannot be had" in ended.err


# --- faults ------------------------------------------------------------------------------------------
def test_faults_arrive_at_the_lab_and_adjust_it() -> None:
    options = lab_options(Data(seed=4), Behaviour(), Trouble(fault=("minting-limited=0.9", "still-recording")))

    adjusted = options.faults.adjusted(options)
    assert adjusted.storage.addresses == "minted"
    assert adjusted.shape.last_room_active


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("body-cutt", "did you mean body-cut"),
        ("body-cut=1.5", "above 0 and up to 1"),
        ("body-cut=often", "above 0 and up to 1"),
        ("total-high=0.5", "takes no rate"),
    ],
)
def test_a_fault_that_is_none_is_a_usage_error(fault: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        lab_options(Data(), Behaviour(), Trouble(fault=(fault,)))


def test_the_faults_are_listed_with_what_they_do(hsmirror: Command) -> None:
    listed = hsmirror("lab", "--list-faults")
    assert (listed.status, listed.err) == (0, "")
    shown = listed.out.replace("\n", " ")
    for name, fault in FAULTS.items():
        assert name in shown, name
        assert fault.outcome.value in shown


def test_the_list_of_faults_is_one_document_for_programs(hsmirror: Command) -> None:
    listed = orjson.loads(hsmirror("lab", "--fault", "help", "--json").out)
    assert [each["name"] for each in listed] == list(FAULTS)
    assert {each["outcome"] for each in listed} == {"heals", "may stop", "must stop"}


def test_a_lab_with_a_fault_misbehaves(command_line: Start) -> None:
    process = command_line("lab", "--port", "0", "--fault", "internal-error=1", "--json")
    assert process.stdout is not None
    told = orjson.loads(process.stdout.readline())

    request = urllib.request.Request(
        f"{told['base_url']}/data/events/experiment/{told['experiments'][0]}",
        headers={"X-API-Key": told["key"]},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)

    assert refused.value.code == 500
